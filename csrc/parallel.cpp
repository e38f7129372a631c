#include "parallel.h"

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "check.h"
#include "placement.h"

namespace stylogram {
namespace {

thread_local bool inside = false;  // this thread runs a part
thread_local int chosen = 0;       // how many threads its kernels use; 0: not set

struct Inside {
  Inside() { inside = true; }
  ~Inside() { inside = false; }
};

class Pool {
 public:
  void run(std::int64_t parts, detail::Part call, const void* body) {
    std::unique_lock<std::mutex> region(region_, std::defer_lock);
    // `inside` first: a part that starts a region would find the mutex locked by its own thread.
    if (parts <= 1 || inside || threads() == 1 || !region.try_lock()) {
      for (std::int64_t part = 0; part < parts; ++part) call(body, part);
      return;
    }
    const std::size_t helpers = static_cast<std::size_t>(threads()) - 1;
    start(helpers);
    placement_.keep_apart(workers_);
    open(parts, call, body, helpers);
    take_parts();
    close();
  }

 private:
  void start(std::size_t helpers) {
    while (workers_.size() < helpers) workers_.emplace_back([this] { work(); });
  }

  void open(std::int64_t parts, detail::Part call, const void* body, std::size_t helpers) {
    std::unique_lock<std::mutex> lock(mutex_);
    parts_ = parts;
    call_ = call;
    body_ = body;
    next_ = 0;
    error_ = nullptr;
    places_ = helpers;
    ++region_number_;
    is_open_ = true;
    if (helpers == workers_.size()) {
      lock.unlock();
      wake_.notify_all();
      return;
    }
    // Another caller wanted more of them, who sleep on. Under the lock, so that none that is done is called twice.
    for (std::size_t helper = 0; helper < helpers; ++helper) wake_.notify_one();
  }

  // A worker that wakes up after this finds the region closed and is not waited for.
  void close() {
    std::unique_lock<std::mutex> lock(mutex_);
    is_open_ = false;
    idle_.wait(lock, [this] { return active_ == 0; });
    if (error_) std::rethrow_exception(error_);
  }

  void work() {
    std::uint64_t seen = 0;
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      wake_.wait(lock, [&] { return is_open_ && places_ > 0 && region_number_ != seen; });
      seen = region_number_;
      --places_;
      ++active_;
      lock.unlock();
      take_parts();
      lock.lock();
      if (--active_ == 0) idle_.notify_one();
    }
  }

  void take_parts() {
    const Inside mark;
    try {
      for (std::int64_t part = next_++; part < parts_; part = next_++) call_(body_, part);
    } catch (...) {
      next_ = parts_;
      std::lock_guard<std::mutex> lock(mutex_);
      if (!error_) error_ = std::current_exception();
    }
  }

  std::mutex region_;  // held by the caller whose region runs
  std::mutex mutex_;   // for all below that is not atomic
  std::condition_variable wake_;
  std::condition_variable idle_;
  std::vector<std::thread> workers_;
  Placement placement_;  // of the workers
  std::atomic<std::int64_t> next_{0};
  std::int64_t parts_ = 0;
  detail::Part call_ = nullptr;
  const void* body_ = nullptr;
  std::exception_ptr error_;
  std::uint64_t region_number_ = 0;
  std::size_t places_ = 0;  // workers that the open region still takes
  int active_ = 0;
  bool is_open_ = false;
};

// Never destroyed: at exit its threads may still sleep on what a destructor would take away.
std::atomic<Pool*> the_pool{nullptr};

// The threads of the parent do not exist in the child, and its locks may be held for ever: a new pool.
[[maybe_unused]] void after_fork() {
  the_pool = new Pool;
  inside = false;
}

Pool& pool() {
  static const bool made = [] {
    the_pool = new Pool;
#if defined(__unix__) || defined(__APPLE__)
    pthread_atfork(nullptr, nullptr, after_fork);
#endif
    return true;
  }();
  static_cast<void>(made);
  return *the_pool.load();
}

}  // namespace

int threads() {
  static const int processors = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  return chosen > 0 ? chosen : processors;
}

void set_threads(int count) {
  check(count >= 1 && count <= 1024, "threads", "the number of threads must be 1 to 1024, got ", count);
  chosen = count;
}

namespace detail {
void run_parts(std::int64_t parts, Part call, const void* body) { pool().run(parts, call, body); }
}  // namespace detail

}  // namespace stylogram
