// Memory and threads of a convolution while it runs. Memory: one block of the process for each that runs at a time,
// grown and kept. Threads: whose they are, the caller says.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "reserve.h"

namespace stylogram {

/// Calls its second argument with 0 ... parts - 1, in any order and on any threads, and returns when all are done.
using ForEach = std::function<void(std::int64_t parts, const std::function<void(std::int64_t)>& part)>;

/// Takes a block of at least so many floats, and gives it back when it goes out of scope.
class Workspace {
 public:
  explicit Workspace(std::int64_t floats) : block_(take(static_cast<std::size_t>(floats) * sizeof(float))) {}
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;
  ~Workspace() {
    const std::lock_guard<std::mutex> lock(mutex());
    idle().push_back(std::move(block_));
  }
  float* floats() const { return block_->floats(); }

 private:
  using Block = std::unique_ptr<Reserved>;

  static Block take(std::size_t bytes) {
    const std::lock_guard<std::mutex> lock(mutex());
    std::vector<Block>& blocks = idle();
    Block block;
    if (!blocks.empty()) {
      block = std::move(blocks.back());
      blocks.pop_back();
    }
    if (block == nullptr || block->bytes() < bytes) {
      block.reset();  // first: never two of them
      block = std::make_unique<Reserved>(bytes);
    }
    return block;
  }
  // Never destroyed: at exit other threads may still compute.
  static std::mutex& mutex() {
    static auto* const the = new std::mutex;
    return *the;
  }
  static std::vector<Block>& idle() {
    static auto* const the = new std::vector<Block>;
    return *the;
  }

  Block block_;
};

/// Parts of a workspace for the threads: each that asks gets one that no other has, the lowest first.
class Slots {
 public:
  explicit Slots(std::int64_t most)
      : used_(static_cast<std::size_t>(
            std::max<std::int64_t>(1, std::min<std::int64_t>(most, 2 * std::thread::hardware_concurrency())))) {}

  std::int64_t count() const { return static_cast<std::int64_t>(used_.size()); }

  class Slot {
   public:
    explicit Slot(Slots& slots) : slots_(slots), index_(slots.take()) {}
    Slot(const Slot&) = delete;
    Slot& operator=(const Slot&) = delete;
    ~Slot() { slots_.used_[static_cast<std::size_t>(index_)].store(false, std::memory_order_release); }
    std::int64_t index() const { return index_; }

   private:
    Slots& slots_;
    std::int64_t index_;
  };

 private:
  std::int64_t take() {
    for (;;) {  // with more threads than slots the others wait
      for (std::size_t i = 0; i < used_.size(); ++i) {
        if (!used_[i].exchange(true, std::memory_order_acquire)) return static_cast<std::int64_t>(i);
      }
      std::this_thread::yield();
    }
  }

  std::vector<std::atomic<bool>> used_;
};

}  // namespace stylogram
