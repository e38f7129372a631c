// Brings the next block of a matrix into the second cache, a few lines at a time, while this one is worked on. Packing
// a block is little work for much memory; without this the processor waits there, and the memory waits everywhere else.
#pragma once

#include <algorithm>
#include <cstdint>

namespace stylogram::gemm {

class Ahead {
 public:
  Ahead() = default;
  /// (rows, width) floats from `from`, `stride` floats apart, spread over `calls` calls of next.
  Ahead(const float* from, std::int64_t rows, std::int64_t width, std::int64_t stride, std::int64_t calls)
      : from_(from), stride_(stride), lines_((width + kLine - 1) / kLine), left_(rows * lines_) {
    each_ = (left_ + calls - 1) / calls;
  }

  void next() {
    const std::int64_t end = std::max<std::int64_t>(0, left_ - each_);
    for (; left_ > end; --left_) {
      __builtin_prefetch(from_ + line_ * kLine, 0, 2);
      if (++line_ == lines_) {
        line_ = 0;
        from_ += stride_;
      }
    }
  }

 private:
  static constexpr std::int64_t kLine = 16;
  const float* from_ = nullptr;
  std::int64_t stride_ = 0, lines_ = 0, line_ = 0, left_ = 0, each_ = 0;
};

}  // namespace stylogram::gemm
