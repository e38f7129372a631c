// What every .cu file stands on: errors that throw, launches, and memory that a stream keeps for its kernels.
//
// The same files compile with a host compiler against tests/kernels/emulator, which runs kernels thread by thread: all
// that differs is here and in mma.h.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <tuple>

#include "dispatch.h"

/// Dynamic shared memory of a kernel, as `type name[]`.
#ifdef STYLOGRAM_EMULATED
#define STYLOGRAM_SHARED(type, name) type* const name = static_cast<type*>(emulator::shared())
#else
#define STYLOGRAM_SHARED(type, name) extern __shared__ __align__(16) type name[]
#endif

namespace stylogram::cuda {

/// Throws std::runtime_error with what CUDA says of `status`, unless it is success.
void require(cudaError_t status, const char* op, const char* doing);

inline cudaStream_t handle(Stream stream) { return static_cast<cudaStream_t>(stream.handle); }

/// Whether four floats can be read at once from each address.
template <class... Addresses>
bool aligned(const Addresses*... addresses) {
  return ((reinterpret_cast<std::uintptr_t>(addresses) % 16 == 0) && ...);
}

/// A kernel's grid: `blocks` of one picture, `pictures` of them. Throws where CUDA has no such grid.
inline dim3 grid(const char* op, std::int64_t blocks, std::int64_t pictures) {
  check(blocks >= 1 && blocks < (std::int64_t{1} << 31) && pictures >= 1 && pictures < 65536, op,
        "a launch has at most 2^31 - 1 blocks of at most 65535 pictures, got ", blocks, " and ", pictures);
  return dim3(static_cast<unsigned>(blocks), static_cast<unsigned>(pictures), 1);
}

/// Launches `kernel`, with `shared` bytes of dynamic shared memory, and throws if that is refused.
template <class... Parameters, class... Given>
void launch(const char* op, void (*kernel)(Parameters...), dim3 blocks, unsigned threads, std::size_t shared,
            Stream stream, Given... given) {
  constexpr std::size_t kAlways = 48 << 10;  // more has to be asked for
  if (shared > kAlways) {
    require(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
                                 static_cast<int>(shared)),
            op, "asking for shared memory");
  }
#ifdef STYLOGRAM_EMULATED
  emulator::launch(handle(stream), blocks, threads, shared, [=] { kernel(static_cast<Parameters>(given)...); });
#else
  std::tuple<Parameters...> values(static_cast<Parameters>(given)...);
  const cudaError_t status = std::apply(
      [&](auto&... value) {
        void* addresses[] = {const_cast<void*>(static_cast<const void*>(&value))...};
        return cudaLaunchKernel(reinterpret_cast<const void*>(kernel), blocks, dim3(threads), addresses, shared,
                                handle(stream));
      },
      values);
  require(status, op, "launching");
#endif
  require(cudaGetLastError(), op, "launching");
}

/// Device memory that is freed with the object. Throws std::runtime_error when there is not enough.
class Memory {
 public:
  Memory() = default;
  Memory(const char* op, std::size_t bytes);
  Memory(Memory&& other) noexcept : block_(other.block_), bytes_(other.bytes_) { other.block_ = nullptr; }
  Memory& operator=(Memory&&) = delete;
  ~Memory();

  std::size_t bytes() const { return bytes_; }
  /// Hands the block out: its owner frees it.
  void* release() {
    void* block = block_;
    block_ = nullptr;
    return block;
  }
  template <class T>
  T* as() const {
    return static_cast<T*>(block_);
  }

 private:
  void* block_ = nullptr;
  std::size_t bytes_ = 0;
};

/// Memory for the kernels of one stream, one after the other: it grows and never moves while the stream is kept, since
/// captured graphs hold its addresses. `counters` are zero before and after every kernel that uses them.
struct Workspace {
  double* doubles;
  unsigned* counters;
};
Workspace workspace(const char* op, Stream stream, std::size_t doubles, std::size_t counters);
/// Frees what `workspace` gave for a stream.
void forget(Stream stream);

}  // namespace stylogram::cuda
