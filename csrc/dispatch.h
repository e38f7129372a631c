// Which device a kernel runs on. Every op takes device pointers, sizes and a Stream; its CUDA twin is the .cu file with
// the same stem as the .cpp, which finds it by name (cuda/twin.h).
#pragma once

#include "check.h"

namespace stylogram {

enum class Device { cpu, cuda };

/// How a GPU's tensor cores see the numbers that they multiply; sums are float32 always. The CPU knows fp32 alone.
enum class Math {
  fp32,  // each number in two parts of TF32: as exact as float32
  tf32,  // 10 bits behind the point
  bf16,  // 7 bits
};

/// Where and in which order work is done. `handle` is a cudaStream_t for Device::cuda and unused for the CPU, whose
/// kernels have finished when they return.
struct Stream {
  Device device = Device::cpu;
  void* handle = nullptr;
  Math math = Math::fp32;
};

/// For an object whose memory is the CPU's: throws unless the stream is.
inline void require_cpu(const char* op, Stream stream) {
  check(stream.device == Device::cpu, op, "this object is the CPU's, and the arrays are on a GPU");
}

}  // namespace stylogram
