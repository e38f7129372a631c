// Keeps the workers of a pool off the processor that its caller runs on.
//
// A thread that has slept is often woken on the processor of the thread that woke it, and waits there for milliseconds,
// as long as a kernel takes, while another processor idles: with two processors most kernels that followed a pause
// were seen to run on one. Libraries that spin between their calls avoid this by never sleeping. Here workers sleep,
// since the network's own threads need the processors, and are told where to wake up instead.
#pragma once

#include <thread>
#include <vector>

#if defined(__linux__)
#include <pthread.h>
#include <sched.h>
#endif

namespace stylogram {

class Placement {
 public:
#if defined(__linux__)
  /// Lets the workers run wherever the caller may, except where it is now. Does nothing if there is no other place.
  void keep_apart(std::vector<std::thread>& workers) {
    cpu_set_t allowed;
    const int here = sched_getcpu();
    if (here < 0 || sched_getaffinity(0, sizeof(allowed), &allowed) != 0 || CPU_COUNT(&allowed) < 2) return;
    CPU_CLR(here, &allowed);
    if (placed_ == workers.size() && CPU_EQUAL(&allowed, &last_)) return;
    for (std::thread& worker : workers) pthread_setaffinity_np(worker.native_handle(), sizeof(allowed), &allowed);
    last_ = allowed;
    placed_ = workers.size();
  }

 private:
  cpu_set_t last_ = {};
  std::size_t placed_ = 0;
#else
  void keep_apart(std::vector<std::thread>&) {}
#endif
};

}  // namespace stylogram
