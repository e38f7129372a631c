// A GPU that is none: the part of CUDA that csrc/ uses, on the host, so that the kernels' own code runs in tests.
//
// Every thread of a block is a fiber; a block's warps run one after the other, in an order that changes from phase to
// phase, up to the next barrier or exchange of their lanes. So sums, indices, barriers and launches are tested, and
// what tensor cores and shuffles do by what NVIDIA's documentation says of them; races.cpp finds accesses in no order.
// Memory ends at a page that may not be touched. A stream that is captured keeps its launches until its graph is run.
#pragma once

#include <math.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>

#ifndef STYLOGRAM_EMULATED
#define STYLOGRAM_EMULATED 900  // the compute capability, as __CUDA_ARCH__ has it
#endif

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __shared__ static
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __launch_bounds__(...)

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
struct alignas(16) float4 {
  float x, y, z, w;
};

enum cudaError_t {
  cudaSuccess,
  cudaErrorMemoryAllocation,
  cudaErrorNoDevice,
  cudaErrorInsufficientDriver,
  cudaErrorInvalidDevice,
  cudaErrorInvalidConfiguration,
  cudaErrorInvalidValue,
  cudaErrorStreamCaptureUnsupported,
};
enum cudaMemcpyKind { cudaMemcpyDeviceToHost, cudaMemcpyDefault };
enum cudaStreamCaptureMode { cudaStreamCaptureModeThreadLocal };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize };
struct cudaDeviceProp {
  char name[256];
  int major, minor;
};
struct EmulatedStream;
struct EmulatedGraph;
using cudaStream_t = EmulatedStream*;
using cudaGraph_t = EmulatedGraph*;
using cudaGraphExec_t = EmulatedGraph*;
constexpr unsigned cudaStreamNonBlocking = 1;

const char* cudaGetErrorString(cudaError_t error);
const char* cudaGetErrorName(cudaError_t error);
cudaError_t cudaGetLastError();
cudaError_t cudaMalloc(void** block, std::size_t bytes);
cudaError_t cudaFree(void* block);
cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total);
cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind, cudaStream_t stream);
cudaError_t cudaMemsetAsync(void* block, int value, std::size_t bytes, cudaStream_t stream);
cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaGetDevice(int* device);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device);
cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute attribute, int value);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* made, cudaGraph_t graph, unsigned long long flags);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
cudaError_t cudaGraphLaunch(cudaGraphExec_t graph, cudaStream_t stream);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t graph);

namespace emulator {

struct Index {
  unsigned x = 0, y = 0, z = 0;
};

[[noreturn]] void stop(const char* reason);
void launch(cudaStream_t stream, dim3 blocks, unsigned threads, std::size_t shared, std::function<void()> body);
void* shared();
/// The lanes of a warp exchange what `mine` points to (`bytes` long): the warp's 32, one after the other.
const void* exchange(const void* mine, std::size_t bytes);
void block_barrier();
void fence();

// Copies that are under way: what is copied is there once copies_left has waited for its group.
void copy_async(void* to, const void* from, std::size_t bytes, bool inside);
void commit_copies();
void copies_left(std::size_t left);

template <class T>
T from_lane(T mine, int lane) {
  T got;
  std::memcpy(&got, static_cast<const char*>(exchange(&mine, sizeof(T))) + lane * static_cast<int>(sizeof(T)),
              sizeof(T));
  return got;
}

std::uint32_t to_tf32(float x);
float from_tf32(std::uint32_t x);
std::uint32_t to_bf16x2(float low, float high);
void mma_tf32(float (&d)[4], const std::uint32_t* a, const std::uint32_t* b);
void mma_bf16(float (&d)[4], const std::uint32_t* a, const std::uint32_t* b);
void mma_f16(float (&d)[4], const std::uint32_t* a, const std::uint32_t* b);
void load_matrices(std::uint32_t (&d)[4], const void* row, bool turned);
template <bool Turned>
void load_matrices(std::uint32_t (&d)[4], const void* row) {
  load_matrices(d, row, Turned);
}

}  // namespace emulator

extern emulator::Index threadIdx, blockIdx;
extern dim3 gridDim;

inline void __syncthreads() { emulator::block_barrier(); }
inline void __threadfence() { emulator::fence(); }
template <class T>
T __shfl_xor_sync(unsigned, T value, int mask) {
  return emulator::from_lane(value, static_cast<int>(threadIdx.x % 32) ^ mask);
}
template <class T>
T __ldcg(const T* address) {
  return *address;
}
unsigned atomicInc(unsigned* address, unsigned most);
