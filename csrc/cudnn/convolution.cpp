#include "cudnn/convolution.h"

#include <algorithm>
#include <exception>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "check.h"

namespace stylogram::cudnn {
namespace {

enum Id : std::int64_t { kX = 1, kW, kBias, kY, kConvolved, kBiased };

Data type_of(cuda::Number number) {
  switch (number) {
    case cuda::Number::float16:
      return Data::float16;
    case cuda::Number::bfloat16:
      return Data::bfloat16;
    default:
      return Data::float32;
  }
}

// `between`: not in memory, between the operations of a graph.
Descriptor tensor(Id id, const Sizes& sizes, Data type, bool between) {
  const auto [n, c, h, w] = sizes;
  const std::int64_t alignment = 16;
  Descriptor made(Kind::tensor);
  made.set(Name::tensor_type, Type::data_type, between ? Data::float32 : type);
  made.set(Name::tensor_sizes, {n, c, h, w});
  made.set(Name::tensor_strides, {h * w * c, 1, w * c, c});
  made.set(Name::tensor_id, Type::int64, std::int64_t{id});
  made.set(Name::tensor_alignment, Type::int64, alignment);
  made.set(Name::tensor_virtual, Type::boolean, between);
  made.finish();
  return made;
}

Descriptor convolved(const Problem& problem, const Descriptor& x, const Descriptor& w, const Descriptor& y) {
  const auto pair = [](const std::array<std::int64_t, 2>& values) { return std::vector(values.begin(), values.end()); };
  Descriptor how(Kind::convolution);
  how.set(Name::spatial_axes, Type::int64, std::int64_t{2});
  how.set(Name::convolution_type, Type::data_type, Data::float32);
  how.set(Name::convolution_mode, Type::convolution_mode, kCrossCorrelation);
  how.set(Name::pads_before, pair(problem.pads));
  how.set(Name::pads_after, pair(problem.pads));
  how.set(Name::strides, pair(problem.strides));
  how.set(Name::dilations, pair(problem.dilations));
  how.finish();
  const bool back = problem.transposed;
  Descriptor made(back ? Kind::convolution_backward_data : Kind::convolution_forward);
  made.set(back ? Name::backward_data_dy : Name::forward_x, x);
  made.set(back ? Name::backward_data_w : Name::forward_w, w);
  made.set(back ? Name::backward_data_dx : Name::forward_y, y);
  made.set(back ? Name::backward_data_convolution : Name::forward_convolution, how);
  made.set(back ? Name::backward_data_alpha : Name::forward_alpha, Type::real, 1.0F);
  made.set(back ? Name::backward_data_beta : Name::forward_beta, Type::real, 0.0F);
  made.finish();
  return made;
}

Descriptor pointwise(Pointwise mode, const Descriptor& x, const Descriptor* b, const Descriptor& y) {
  Descriptor how(Kind::pointwise);
  how.set(Name::pointwise_mode, Type::pointwise_mode, mode);
  how.set(Name::pointwise_precision, Type::data_type, Data::float32);
  // Else it makes 0 of what has overflowed. An addition has no such attribute (cudnn-frontend, PointWiseDesc).
  if (mode == Pointwise::relu) how.set(Name::pointwise_nan, Type::nan_propagation, kPropagated);
  how.finish();
  Descriptor made(Kind::pointwise_operation);
  made.set(Name::operation_pointwise, how);
  made.set(Name::operation_x, x);
  if (b != nullptr) made.set(Name::operation_b, *b);
  made.set(Name::operation_y, y);
  made.finish();
  return made;
}

// Whether cuDNN notes this of an engine, or its notes cannot be read: both notes that are asked for speak against one.
bool noted(const Descriptor& config, Name notes, Type type, int note) try {
  const Descriptor engine(Kind::engine);
  void* into = engine.made();
  config.get(Name::config_engine, Type::descriptor, 1, &into);
  std::array<int, 16> found = {};  // more than cuDNN has
  const std::int64_t most = found.size();
  const std::int64_t count = std::min(engine.get(notes, type, most, found.data()), most);
  return std::find(found.begin(), found.begin() + count, note) != found.begin() + count;
} catch (const Refusal&) {
  return true;
}

bool is_compiled(const Descriptor& config) {
  return noted(config, Name::engine_behaviour, Type::behaviour, kRuntimeCompilation);
}

bool is_steady(const Descriptor& config) {
  return !noted(config, Name::engine_numerics, Type::numerical_note, kNondeterministic);
}

Descriptor graph_of(Handle handle, const Problem& problem, bool whole) {
  const Data type = type_of(problem.number);
  const bool bias = whole && problem.bias;
  const bool rectify = whole && problem.rectify;
  const Sizes channels = {1, problem.y[1], 1, 1};
  const Descriptor x = tensor(kX, problem.x, type, false);
  const Descriptor w = tensor(kW, problem.w, type, false);
  const Descriptor b = tensor(kBias, channels, type, false);
  const Descriptor y = tensor(kY, problem.y, type, false);
  const Descriptor first = tensor(kConvolved, problem.y, type, true);
  const Descriptor second = tensor(kBiased, problem.y, type, true);
  std::vector<Descriptor> operations;
  operations.push_back(convolved(problem, x, w, bias || rectify ? first : y));
  if (bias) operations.push_back(pointwise(Pointwise::add, first, &b, rectify ? second : y));
  if (rectify) operations.push_back(pointwise(Pointwise::relu, bias ? second : first, nullptr, y));
  std::vector<void*> made;
  for (const Descriptor& operation : operations) made.push_back(operation.made());
  Descriptor graph(Kind::graph);
  graph.set(Name::graph_handle, Type::handle, handle);
  graph.set(Name::graph_operations, Type::descriptor, static_cast<std::int64_t>(made.size()), made.data());
  graph.finish();
  return graph;
}

// The engines that cuDNN's heuristics have for a graph, set up, in their order; but those that add up in the same order
// every time come first: not all that go back to a convolution's input do.
std::vector<Descriptor> configs_of(const Descriptor& graph, Heuristics mode) {
  Descriptor heuristics(Kind::heuristics);
  heuristics.set(Name::heuristics_graph, graph);
  heuristics.set(Name::heuristics_mode, Type::heuristics_mode, mode);
  heuristics.finish();
  const std::int64_t count = heuristics.get(Name::heuristics_results, Type::descriptor, 0, nullptr);
  std::vector<Descriptor> configs;
  if (count == 0) return configs;
  std::vector<void*> into;
  for (std::int64_t i = 0; i < count; ++i) into.push_back(configs.emplace_back(Kind::engine_config).made());
  const std::int64_t found = heuristics.get(Name::heuristics_results, Type::descriptor, count, into.data());
  configs.erase(configs.begin() + std::min(found, count), configs.end());
  std::stable_partition(configs.begin(), configs.end(), is_steady);
  return configs;
}

struct Counted {
  std::mutex mutex;
  Choices choices = {};

  void add(std::int64_t Choices::* which) {
    const std::lock_guard<std::mutex> lock(mutex);
    ++(choices.*which);
  }
};
Counted& counted() {
  static Counted all;
  return all;
}

// The search for a plan of a problem.
class Search {
 public:
  Search(Handle handle, const Problem& problem, const std::function<void(const Plan&)>& first_run)
      : handle_(handle), problem_(problem), first_run_(first_run) {}

  // A plan of one of the engines that these heuristics have; with `whole`, of none that cuDNN has to compile.
  std::optional<Plan> among(Heuristics mode, bool whole) try {
    Descriptor graph = graph_of(handle_, problem_, whole);
    for (Descriptor& config : configs_of(graph, mode)) {
      if (whole && is_compiled(config)) continue;
      std::optional<Plan> made = planned(graph, config, whole);
      if (!made) continue;
      if (runs(*made)) return made;
      graph = std::move(made->graph);
    }
    return std::nullopt;
  } catch (const Refusal& refusal) {
    refusal_ = refusal.what();
    return std::nullopt;
  }

  // Throws why there is none.
  [[noreturn]] void give_up() const {
    if (failure_ != nullptr) std::rethrow_exception(failure_);
    const auto [n, channels, height, width] = problem_.x;
    fail(problem_.transposed ? "CudaConvTranspose" : "CudaConv", "cuDNN has no engine for x of (", n, ",", channels,
         ",", height, ",", width, ") with its channels last and ", problem_.y[1], " filters of ", problem_.w[2], "x",
         problem_.w[3], refusal_.empty() ? "" : ": ", refusal_);
  }

 private:
  // Takes the graph and the configuration, if cuDNN makes a plan of them.
  std::optional<Plan> planned(Descriptor& graph, Descriptor& config, bool whole) try {
    Descriptor plan(Kind::plan);
    plan.set(Name::plan_handle, Type::handle, handle_);
    plan.set(Name::plan_config, config);
    plan.finish();
    std::int64_t workspace = 0;
    plan.get(Name::plan_workspace, Type::int64, 1, &workspace);
    return Plan{std::move(graph), std::move(config), std::move(plan), whole, workspace};
  } catch (const Refusal& refusal) {
    refusal_ = refusal.what();
    return std::nullopt;
  }

  // Not if it fails, or there is no memory for it to work in.
  bool runs(const Plan& plan) try {
    first_run_(plan);
    return true;
  } catch (const std::exception&) {
    if (failure_ == nullptr) failure_ = std::current_exception();
    counted().add(&Choices::failed);
    return false;
  }

  Handle handle_;
  const Problem& problem_;
  const std::function<void(const Plan&)>& first_run_;
  std::exception_ptr failure_;  // the first
  std::string refusal_;         // the last
};

}  // namespace

Plan chosen(Handle handle, const Problem& problem, const std::function<void(const Plan&)>& first_run) {
  const bool more = problem.bias || problem.rectify;
  Search search(handle, problem, first_run);
  std::optional<Plan> plan;
  if (more) plan = search.among(Heuristics::a, true);
  if (!plan) plan = search.among(Heuristics::a, false);
  if (!plan) plan = search.among(Heuristics::fallback, false);
  if (!plan) search.give_up();
  counted().add(!more ? &Choices::bare : plan->whole ? &Choices::fused : &Choices::split);
  if (!is_steady(plan->config)) counted().add(&Choices::unsteady);
  return std::move(*plan);
}

void run(Handle handle, const Plan& plan, const Arrays& arrays, void* workspace) {
  std::vector<std::int64_t> ids = {kX, kW, kY};
  std::vector<const void*> pointers = {arrays.x, arrays.w, arrays.y};
  if (plan.whole && arrays.bias != nullptr) {
    ids.push_back(kBias);
    pointers.push_back(arrays.bias);
  }
  Descriptor pack(Kind::variant_pack);
  pack.set(Name::pack_ids, ids);
  pack.set(Name::pack_pointers, Type::pointer, static_cast<std::int64_t>(pointers.size()), pointers.data());
  pack.set(Name::pack_workspace, Type::pointer, workspace);
  pack.finish();
  execute(handle, plan.plan, pack);
}

Choices choices() {
  const std::lock_guard<std::mutex> lock(counted().mutex);
  return counted().choices;
}

}  // namespace stylogram::cudnn
