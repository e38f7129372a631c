// Which device a kernel runs on. Every op takes device pointers, sizes and a Stream; a .cu file with the same stem as
// the .cpp is where its CUDA twin goes.
#pragma once

#include "check.h"

namespace stylogram {

enum class Device { cpu, cuda };

/// Where and in which order work is done. `handle` is a cudaStream_t for Device::cuda and unused for the CPU, whose
/// kernels have finished when they return.
struct Stream {
  Device device = Device::cpu;
  void* handle = nullptr;
};

/// For an op without a CUDA twin in this build: throws unless the stream is the CPU's.
inline void require_cpu(const char* op, Stream stream) {
  check(stream.device == Device::cpu, op, "no CUDA kernel in this build");
}

}  // namespace stylogram
