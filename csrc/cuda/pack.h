// Sixteen bytes of numbers, which a thread reads or writes at once.
#pragma once

namespace stylogram::cuda {

template <class T>
struct alignas(16) Pack {
  static constexpr int kCount = 16 / sizeof(T);
  T values[kCount];
};

}  // namespace stylogram::cuda
