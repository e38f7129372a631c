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

struct Inside {
  Inside() { inside = true; }
  ~Inside() { inside = false; }
};

class Pool {
 public:
  int size() const { return size_.load(); }

  void resize(int count) {
    std::lock_guard<std::mutex> region(region_);
    stop();
    size_ = count;
  }

  void run(std::int64_t parts, detail::Part call, const void* body) {
    std::unique_lock<std::mutex> region(region_, std::defer_lock);
    // `inside` first: a part that starts a region would find the mutex locked by its own thread.
    if (parts <= 1 || inside || size() == 1 || !region.try_lock()) {
      for (std::int64_t part = 0; part < parts; ++part) call(body, part);
      return;
    }
    start();
    placement_.keep_apart(workers_);
    open(parts, call, body);
    take_parts();
    close();
  }

 private:
  void start() {
    while (static_cast<int>(workers_.size()) < size() - 1) workers_.emplace_back([this] { work(); });
  }

  void stop() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    for (std::thread& worker : workers_) worker.join();
    workers_.clear();
    placement_.forget();
    stopping_ = false;
  }

  void open(std::int64_t parts, detail::Part call, const void* body) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      parts_ = parts;
      call_ = call;
      body_ = body;
      next_ = 0;
      error_ = nullptr;
      ++region_number_;
      is_open_ = true;
    }
    wake_.notify_all();
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
      wake_.wait(lock, [&] { return stopping_ || (is_open_ && region_number_ != seen); });
      if (stopping_) return;
      seen = region_number_;
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
  std::atomic<int> size_{std::max(1, static_cast<int>(std::thread::hardware_concurrency()))};
  std::atomic<std::int64_t> next_{0};
  std::int64_t parts_ = 0;
  detail::Part call_ = nullptr;
  const void* body_ = nullptr;
  std::exception_ptr error_;
  std::uint64_t region_number_ = 0;
  int active_ = 0;
  bool is_open_ = false;
  bool stopping_ = false;
};

// Never destroyed: at exit its threads may still sleep on what a destructor would take away.
std::atomic<Pool*> the_pool{nullptr};

// The threads of the parent do not exist in the child, and its locks may be held for ever: a new pool.
[[maybe_unused]] void after_fork() {
  const int count = the_pool.load()->size();
  the_pool = new Pool;
  the_pool.load()->resize(count);
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

int threads() { return pool().size(); }

void set_threads(int count) {
  check(count >= 1 && count <= 1024, "threads", "the number of threads must be 1 to 1024, got ", count);
  pool().resize(count);
}

namespace detail {
void run_parts(std::int64_t parts, Part call, const void* body) { pool().run(parts, call, body); }
}  // namespace detail

}  // namespace stylogram
