#include "cudnn/convolution.h"

#include <algorithm>
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
  how.set(Name::pointwise_nan, Type::nan_propagation, kPropagated);  // else a ReLU makes 0 of what has overflowed
  how.finish();
  Descriptor made(Kind::pointwise_operation);
  made.set(Name::operation_pointwise, how);
  made.set(Name::operation_x, x);
  if (b != nullptr) made.set(Name::operation_b, *b);
  made.set(Name::operation_y, y);
  made.finish();
  return made;
}

// Whether cuDNN notes this of an engine.
bool noted(const Descriptor& config, Name notes, Type type, int note) {
  const Descriptor engine(Kind::engine);
  void* into = engine.made();
  config.get(Name::config_engine, Type::descriptor, 1, &into);
  std::array<int, 16> found = {};  // more than cuDNN has
  const std::int64_t most = found.size();
  const std::int64_t count = std::min(engine.get(notes, type, most, found.data()), most);
  return std::find(found.begin(), found.begin() + count, note) != found.begin() + count;
}

bool is_compiled(const Descriptor& config) {
  return noted(config, Name::engine_behaviour, Type::behaviour, kRuntimeCompilation);
}

bool is_steady(const Descriptor& config) {
  return !noted(config, Name::engine_numerics, Type::numerical_note, kNondeterministic);
}

// The first plan of a graph that cuDNN can make, which takes the graph; none, if it knows of none. Engines that add up
// in the same order every time come first: not all that go back to a convolution's input do. `ready`: not one that
// cuDNN has to compile.
std::optional<Plan> plan(Handle handle, Descriptor& graph, Heuristics mode, bool ready) {
  Descriptor heuristics(Kind::heuristics);
  heuristics.set(Name::heuristics_graph, graph);
  heuristics.set(Name::heuristics_mode, Type::heuristics_mode, mode);
  if (!heuristics.finishes()) return std::nullopt;
  const std::int64_t count = heuristics.get(Name::heuristics_results, Type::descriptor, 0, nullptr);
  if (count == 0) return std::nullopt;
  std::vector<Descriptor> configs;
  std::vector<void*> into;
  for (std::int64_t i = 0; i < count; ++i) into.push_back(configs.emplace_back(Kind::engine_config).made());
  const std::int64_t found = heuristics.get(Name::heuristics_results, Type::descriptor, count, into.data());
  configs.erase(configs.begin() + std::min(found, count), configs.end());
  std::stable_partition(configs.begin(), configs.end(), is_steady);
  for (Descriptor& config : configs) {
    if (ready && is_compiled(config)) continue;
    Descriptor made(Kind::plan);
    made.set(Name::plan_handle, Type::handle, handle);
    made.set(Name::plan_config, config);
    if (made.finishes()) return Plan{std::move(graph), std::move(config), std::move(made)};
  }
  return std::nullopt;
}

std::optional<Plan> plan(Handle handle, const Problem& problem, bool whole) {
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
  if (!graph.finishes()) return std::nullopt;
  const bool ready = made.size() > 1;
  std::optional<Plan> chosen = plan(handle, graph, Heuristics::a, ready);
  return chosen || ready ? std::move(chosen) : plan(handle, graph, Heuristics::fallback, false);
}

}  // namespace

Convolution::Convolution(Handle handle, const Problem& problem) {
  plan_ = plan(handle, problem, true);
  whole_ = plan_.has_value();
  if (!whole_ && (problem.bias || problem.rectify)) plan_ = plan(handle, problem, false);
  check(plan_.has_value(), problem.transposed ? "CudaConvTranspose" : "CudaConv", "cuDNN has no engine for x of (",
        problem.x[0], ",", problem.x[1], ",", problem.x[2], ",", problem.x[3], ") with its channels last and ",
        problem.y[1], " filters of ", problem.w[2], "x", problem.w[3]);
  plan_->plan.get(Name::plan_workspace, Type::int64, 1, &workspace_);
}

void Convolution::run(Handle handle, const void* x, const void* w, const void* bias, void* y, void* workspace) const {
  std::vector<std::int64_t> ids = {kX, kW, kY};
  std::vector<const void*> pointers = {x, w, y};
  if (whole_ && bias != nullptr) {
    ids.push_back(kBias);
    pointers.push_back(bias);
  }
  Descriptor pack(Kind::variant_pack);
  pack.set(Name::pack_ids, ids);
  pack.set(Name::pack_pointers, Type::pointer, static_cast<std::int64_t>(pointers.size()), pointers.data());
  pack.set(Name::pack_workspace, Type::pointer, workspace);
  pack.finish();
  execute(handle, plan_->plan, pack);
}

}  // namespace stylogram::cudnn
