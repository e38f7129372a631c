#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <limits>
#include <mutex>
#include <thread>
#include <utility>

#if defined(__linux__)
#include <sched.h>
#endif

#include "parallel.h"
#include "runtime/errors.h"
#include "runtime/given.h"
#include "runtime/library.h"
#include "runtime/run_state.h"

namespace stylogram {

using runtime::require;

namespace {

int processors() {
#if defined(__linux__)
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof(allowed), &allowed) == 0) return CPU_COUNT(&allowed);
#endif
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

/// Opens ONNX Runtime first, which everything else calls.
std::unique_ptr<runtime::Pair> loaded(const std::string& folder, const std::string& onnxruntime, int threads) {
  runtime::open_library(onnxruntime);
  return std::make_unique<runtime::Pair>(folder, threads);
}

std::vector<float> clipped(std::vector<float> values) {
  for (float& value : values) value = std::min(std::max(value, 0.0F), 1.0F);
  return values;
}

}  // namespace

class Engine::Impl {
 public:
  class Visit;
  class Work;

  Impl(const std::string& folder, const Options& options)
      : options_(runtime::checked(options)),
        threads_(options.threads > 0 ? options.threads : processors()),
        pair_(loaded(folder, options.onnxruntime, threads_)),
        plan_(runtime::plan_of(pair_->plan(), options)) {}

  void set_styles(const std::vector<Style>& styles);
  void set_content(const Pictures& contents);
  void set_picture(const Pictures& pictures);
  Ending step();
  Ending run(std::int64_t iterations, const Callback& callback);
  void cancel() noexcept { stop_.request(); }
  void close() noexcept;
  template <class Body>
  auto read(const Body& body) const {
    const std::lock_guard<std::mutex> lock(seen_mutex_);
    return body(seen_);
  }

 private:
  void require_ready() const;
  void look();
  void iterate();
  void show();
  void tell(const Callback& callback, std::int64_t last);
  template <class Body>
  Ending until_cancelled(const Body& body);

  const Options options_;
  const int threads_;
  std::unique_ptr<runtime::Pair> pair_;
  const runtime::Plan plan_;
  std::vector<runtime::StyleTarget> styles_;
  std::unique_ptr<runtime::Run> run_;
  runtime::Stop stop_;

  std::mutex work_;                      // held by what sets, steps or runs
  std::atomic<std::thread::id> worker_;  // who holds it
  mutable std::mutex seen_mutex_;        // for seen_
  runtime::Seen seen_;
  std::mutex gate_;  // for visitors_ and closed_
  std::condition_variable left_;
  int visitors_ = 0;  // calls that go on
  bool closed_ = false;
};

/// A call that goes on: close() waits for it. Keeps the Impl alive, even where its own callback destroys the Engine.
class Engine::Impl::Visit {
 public:
  explicit Visit(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {
    const std::lock_guard<std::mutex> lock(impl_->gate_);
    require(!impl_->closed_, Code::state, "the engine is closed");
    ++impl_->visitors_;
  }
  ~Visit() {
    const std::lock_guard<std::mutex> lock(impl_->gate_);
    --impl_->visitors_;
    impl_->left_.notify_all();
  }
  Visit(const Visit&) = delete;
  Visit& operator=(const Visit&) = delete;
  Impl* operator->() const { return impl_.get(); }

 private:
  std::shared_ptr<Impl> impl_;
};

/// A call that changes the engine: one at a time, with its number of threads for the kernels.
class Engine::Impl::Work {
 public:
  explicit Work(Impl& impl) : impl_(impl), threads_before_(threads()) {
    require(impl.worker_ != std::this_thread::get_id(), Code::state,
            "an engine cannot be set, stepped or run from its own callback");
    lock_ = std::unique_lock<std::mutex>(impl.work_);
    const std::lock_guard<std::mutex> lock(impl.gate_);
    require(!impl.closed_, Code::state, "the engine is closed");
    impl.worker_ = std::this_thread::get_id();
    set_threads(impl.threads_);
  }
  ~Work() {
    set_threads(threads_before_);
    impl_.worker_ = std::thread::id();
  }
  Work(const Work&) = delete;
  Work& operator=(const Work&) = delete;

 private:
  Impl& impl_;
  int threads_before_;
  std::unique_lock<std::mutex> lock_;
};

void Engine::Impl::set_styles(const std::vector<Style>& styles) {
  require(!styles.empty(), Code::invalid_argument, "style: at least one is needed, got none");
  for (const Style& style : styles) {
    require(style.share > 0 && style.share < 1e30, Code::invalid_argument, "style: a share must be above 0, got ",
            style.share);
    pair_->check_size("style", style.pictures);
    runtime::check_values("style", style.pictures, true);
  }
  const Work work(*this);
  runtime::guarded([&] {
    std::vector<runtime::StyleTarget> targets;
    targets.reserve(styles.size());
    for (const Style& style : styles) targets.push_back(runtime::style_target(*pair_, style));
    if (run_ != nullptr) run_->set_styles(targets);
    styles_ = std::move(targets);
    show();
  });
}

void Engine::Impl::set_content(const Pictures& contents) {
  pair_->check_size("content", contents);
  pair_->check_count("content", contents.count);
  runtime::check_values("content", contents, true);
  const Work work(*this);
  stop_.clear();
  if (plan_.style_weight > 0) runtime::check_count(styles_, contents.count);  // before anything is given up
  runtime::guarded([&] {
    const bool fits = run_ != nullptr && run_->shape().count == contents.count &&
                      run_->shape().height == contents.height && run_->shape().width == contents.width;
    std::unique_ptr<runtime::Run> same = std::move(run_);  // after an exception there is none
    if (fits) {
      same->set_contents(contents);
    } else {
      same.reset();  // before the new one: both would be the peak
      same = std::make_unique<runtime::Run>(*pair_, plan_, options_.history, contents);
    }
    if (!styles_.empty()) same->set_styles(styles_);
    run_ = std::move(same);
    show();
  });
}

void Engine::Impl::set_picture(const Pictures& pictures) {
  pair_->check_size("picture", pictures);
  runtime::check_values("picture", pictures, false);
  const Work work(*this);
  require(run_ != nullptr, Code::state, "there is no content yet: call set_content first");
  const Shape& shape = run_->shape();
  require(pictures.count == shape.count && pictures.height == shape.height && pictures.width == shape.width,
          Code::invalid_argument, "picture: the contents' shape ",
          runtime::text({shape.count, 3, shape.height, shape.width}), " is accepted, got ",
          runtime::text({pictures.count, 3, pictures.height, pictures.width}));
  runtime::guarded([&] {
    run_->set_pictures(pictures.data);
    show();
  });
}

void Engine::Impl::require_ready() const {
  require(run_ != nullptr, Code::state, "there is no content yet: call set_content first");
  require(!styles_.empty() || plan_.style_weight <= 0 || plan_.style.empty(), Code::state,
          "there is no style yet: call set_style first");
}

void Engine::Impl::look() {
  runtime::guarded([&] {
    run_->look(stop_);
    show();
    run_->require_finite();
  });
}

void Engine::Impl::iterate() {
  runtime::guarded([&] {
    run_->step(stop_);
    show();
    run_->require_finite();
  });
}

void Engine::Impl::show() {
  if (run_ == nullptr) return;
  const std::lock_guard<std::mutex> lock(seen_mutex_);
  run_->show(seen_);
}

void Engine::Impl::tell(const Callback& callback, std::int64_t last) {
  if (callback && !callback({run_->iteration(), last, run_->losses()})) throw runtime::Cancelled();
}

/// Calls body until it is done or cancelled; either way the request is used up.
template <class Body>
Ending Engine::Impl::until_cancelled(const Body& body) {
  struct Clear {
    runtime::Stop& stop;
    ~Clear() { stop.clear(); }
  };
  const Clear clear{stop_};
  try {
    stop_.check();
    body();
    return Ending::done;
  } catch (const runtime::Cancelled&) {
    return Ending::cancelled;
  }
}

Ending Engine::Impl::step() {
  const Work work(*this);
  require_ready();
  return until_cancelled([&] {
    if (!run_->looked()) look();
    iterate();
  });
}

Ending Engine::Impl::run(std::int64_t iterations, const Callback& callback) {
  require(iterations >= 0, Code::invalid_argument, "iterations: at least 0 is accepted, got ", iterations);
  const Work work(*this);
  require_ready();
  constexpr std::int64_t kEnd = std::numeric_limits<std::int64_t>::max();
  const std::int64_t last = iterations > kEnd - run_->iteration() ? kEnd : run_->iteration() + iterations;
  return until_cancelled([&] {
    if (!run_->looked()) {
      look();
      tell(callback, last);
    }
    while (run_->iteration() < last) {
      iterate();
      tell(callback, last);
      stop_.check();
    }
  });
}

void Engine::Impl::close() noexcept {
  std::unique_lock<std::mutex> lock(gate_);
  closed_ = true;
  stop_.request();
  // In the own callback run has not returned: what it uses goes with the Impl.
  if (worker_ == std::this_thread::get_id()) return;
  left_.wait(lock, [&] { return visitors_ == 0; });
  run_.reset();
  pair_.reset();
}

Engine::Engine(const std::string& folder, const Options& options)
    : impl_(runtime::guarded([&] { return std::make_shared<Impl>(folder, options); })) {}

Engine::~Engine() { close(); }

void Engine::set_style(const Pictures& style) { set_styles({Style{style, 1}}); }
void Engine::set_styles(const std::vector<Style>& styles) { Impl::Visit(impl_)->set_styles(styles); }
void Engine::set_content(const Pictures& contents) { Impl::Visit(impl_)->set_content(contents); }
void Engine::set_picture(const Pictures& pictures) { Impl::Visit(impl_)->set_picture(pictures); }
Ending Engine::step() { return Impl::Visit(impl_)->step(); }
Ending Engine::run(std::int64_t iterations, const Callback& callback) {
  return Impl::Visit(impl_)->run(iterations, callback);
}
void Engine::cancel() noexcept { impl_->cancel(); }
void Engine::close() noexcept { impl_->close(); }

namespace {

const runtime::Seen& filled(const runtime::Seen& seen) {
  require(seen.shape.count > 0, Code::state, "there is no content yet: call set_content first");
  return seen;
}

void copy(const std::vector<float>& from, float* out, std::size_t count) {
  require(out != nullptr, Code::invalid_argument, "picture: the place for it is a null pointer");
  require(count == from.size(), Code::invalid_argument, "picture: a place for ", from.size(),
          " numbers is needed, got ", count);
  std::copy(from.begin(), from.end(), out);
}

// Whether a term is meant: "" are all, "style" all whose names begin with that.
bool meant(const std::string& name, const std::string& wanted) {
  return wanted.empty() || name == wanted || name.rfind(wanted + " ", 0) == 0;
}

std::vector<double> sum_of(const runtime::Seen& seen, const std::string& wanted) {
  require(!seen.total.empty(), Code::state, "there are no losses yet: call step or run first");
  if (wanted.empty()) return seen.total;
  std::vector<double> sum(seen.total.size());
  bool found = false;
  for (std::size_t term = 0; term < seen.names.size(); ++term) {
    if (!meant(seen.names[term], wanted)) continue;
    found = true;
    for (std::size_t n = 0; n < sum.size(); ++n) sum[n] += seen.values[term * sum.size() + n];
  }
  require(found, Code::invalid_argument, "there is no term '", wanted, "'; terms() lists them");
  return sum;
}

}  // namespace

Shape Engine::shape() const {
  return Impl::Visit(impl_)->read([](const runtime::Seen& seen) { return filled(seen).shape; });
}
std::int64_t Engine::iteration() const {
  return Impl::Visit(impl_)->read([](const runtime::Seen& seen) { return filled(seen).iteration; });
}
std::vector<double> Engine::losses(const std::string& term) const {
  return Impl::Visit(impl_)->read([&](const runtime::Seen& seen) { return sum_of(filled(seen), term); });
}
std::vector<std::string> Engine::terms() const {
  return Impl::Visit(impl_)->read([](const runtime::Seen& seen) { return filled(seen).names; });
}
std::vector<float> Engine::picture() const {
  return clipped(Impl::Visit(impl_)->read([](const runtime::Seen& seen) { return filled(seen).best; }));
}
void Engine::picture(float* out, std::size_t count) const { copy(picture(), out, count); }
std::vector<float> Engine::present() const {
  return Impl::Visit(impl_)->read([](const runtime::Seen& seen) { return filled(seen).present; });
}
void Engine::present(float* out, std::size_t count) const { copy(present(), out, count); }

const char* version() noexcept { return STYLOGRAM_VERSION; }

}  // namespace stylogram
