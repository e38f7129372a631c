// Memory that a kernel needs while it runs: one buffer a thread and purpose, grown once and kept, so that nothing is
// allocated in the loop.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <new>

namespace stylogram {

/// An aligned block of floats or doubles that only grows. Not copyable; its contents are lost when it grows.
template <class T>
class Scratch {
 public:
  Scratch() = default;
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() { std::free(data_); }

  /// At least `count` elements, aligned to a cache line, with undefined contents.
  T* get(std::size_t count) {
    if (count > size_) grow(count);
    return data_;
  }

 private:
  void grow(std::size_t count) {
    constexpr std::size_t line = 64;
    std::free(data_);
    size_ = 0;
    const std::size_t bytes = (count * sizeof(T) + line - 1) / line * line;
    data_ = static_cast<T*>(std::aligned_alloc(line, bytes));
    if (data_ == nullptr) throw std::bad_alloc();
    size_ = count;
  }

  T* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace stylogram
