// A CUDA runtime without a GPU, for ONNX Runtime's CUDA provider: memory is the host's, kernels are not run, and what
// would have been done is written down. What the provider does with a graph (what it takes, what it launches in which
// stream, what it captures) is real; what comes out of it is not.
#include <cuda_runtime_api.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>

#define SHOWN extern "C" __attribute__((visibility("default")))

namespace {

std::string& said() {
  static auto* const all = new std::string;  // outlives the libraries that are unloaded last
  return *all;
}
bool capturing = false;

void say(const char* what, const void* stream, const char* more) {
  char line[2048];
  std::snprintf(line, sizeof(line), "%s %s %p %s\n", capturing ? "captured" : "now", what, stream, more);
  said() += line;
}

std::map<const void*, std::string>& kernels() {
  static auto* const all = new std::map<const void*, std::string>;
  return *all;
}

cudaError_t launched(const void* kernel, cudaStream_t stream) {
  const auto found = kernels().find(kernel);
  say("kernel", stream, found == kernels().end() ? "?" : found->second.c_str());
  return cudaSuccess;
}

struct Call {
  dim3 grid, block;
  std::size_t shared;
  cudaStream_t stream;
};
thread_local Call call;

cudaError_t block_of(void** block, std::size_t bytes) {
  *block = std::calloc(1, bytes + 256);
  return *block == nullptr ? cudaErrorMemoryAllocation : cudaSuccess;
}

template <class Handle>
cudaError_t handle(Handle* made) {
  return block_of(reinterpret_cast<void**>(made), 64);
}

}  // namespace

/// What was written down since the last time; the caller's until the next call.
SHOWN const char* standin_take() {
  static std::string taken;
  taken.swap(said());
  said().clear();
  return taken.c_str();
}
SHOWN void standin_say(const char* what, const void* stream, const char* more) { say(what, stream, more); }

// What nvcc's code calls.
SHOWN void** __cudaRegisterFatBinary(void*) {
  static void* none = nullptr;
  return &none;
}
SHOWN void __cudaRegisterFunction(void**, const char* kernel, char*, const char* name, int, void*, void*, void*, void*,
                                  int*) {
  kernels()[kernel] = name;
}
SHOWN unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, std::size_t shared, cudaStream_t stream) {
  call = {grid, block, shared, stream};
  return 0;
}
SHOWN cudaError_t __cudaPopCallConfiguration(dim3* grid, dim3* block, std::size_t* shared, void* stream) {
  *grid = call.grid, *block = call.block, *shared = call.shared;
  *static_cast<cudaStream_t*>(stream) = call.stream;
  return cudaSuccess;
}
SHOWN cudaError_t __cudaGetKernel(cudaKernel_t* found, const void* kernel) {
  *found = static_cast<cudaKernel_t>(const_cast<void*>(kernel));
  return cudaSuccess;
}
SHOWN cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3, dim3, void**, std::size_t, cudaStream_t stream) {
  return launched(kernel, stream);
}
SHOWN cudaError_t cudaLaunchKernel(const void* kernel, dim3, dim3, void**, std::size_t, cudaStream_t stream) {
  return launched(kernel, stream);
}
SHOWN cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t* config, const void* kernel, void**) {
  return launched(kernel, config->stream);
}

// A GPU like an H200.
SHOWN cudaError_t cudaGetDeviceCount(int* count) {
  *count = 1;
  return cudaSuccess;
}
SHOWN cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}
SHOWN cudaError_t cudaGetDeviceProperties(cudaDeviceProp* of, int) {
  *of = {};
  std::strcpy(of->name, "stand-in");
  of->major = 9;
  of->multiProcessorCount = 132;
  of->warpSize = 32;
  of->totalGlobalMem = std::size_t{140} << 30;
  of->sharedMemPerBlock = 49152;
  of->sharedMemPerBlockOptin = 232448;
  of->maxThreadsPerBlock = of->maxThreadsDim[0] = of->maxThreadsDim[1] = 1024;
  of->maxThreadsPerMultiProcessor = 2048;
  of->maxThreadsDim[2] = 64;
  of->maxGridSize[0] = 2147483647;
  of->maxGridSize[1] = of->maxGridSize[2] = 65535;
  return cudaSuccess;
}
SHOWN cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  *value = attribute == cudaDevAttrComputeCapabilityMajor         ? 9
           : attribute == cudaDevAttrComputeCapabilityMinor       ? 0
           : attribute == cudaDevAttrMultiProcessorCount          ? 132
           : attribute == cudaDevAttrMaxSharedMemoryPerBlockOptin ? 232448
           : attribute == cudaDevAttrMaxThreadsPerBlock           ? 1024
                                                                  : 1;
  return cudaSuccess;
}
SHOWN cudaError_t cudaDriverGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}
SHOWN cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}
SHOWN const char* cudaGetErrorName(cudaError_t) { return "stand-in"; }
SHOWN const char* cudaGetErrorString(cudaError_t) { return "stand-in"; }

// Memory.
SHOWN cudaError_t cudaMalloc(void** block, std::size_t bytes) {
  say("malloc", nullptr, "");
  return block_of(block, bytes);
}
SHOWN cudaError_t cudaMallocHost(void** block, std::size_t bytes) { return block_of(block, bytes); }
SHOWN cudaError_t cudaHostAlloc(void** block, std::size_t bytes, unsigned) { return block_of(block, bytes); }
SHOWN cudaError_t cudaFree(void* block) {
  std::free(block);
  return cudaSuccess;
}
SHOWN cudaError_t cudaFreeHost(void* block) { return cudaFree(block); }
SHOWN cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  *free = *total = std::size_t{140} << 30;
  return cudaSuccess;
}
SHOWN cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind) {
  say("copy and wait", nullptr, "");
  std::memcpy(to, from, bytes);
  return cudaSuccess;
}
SHOWN cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind,
                                  cudaStream_t stream) {
  const bool within = kind == cudaMemcpyDeviceToDevice;
  say(within ? "copy" : "copy from or to the host", stream, "");
  std::memcpy(to, from, bytes);
  return cudaSuccess;
}
SHOWN cudaError_t cudaMemset(void* block, int value, std::size_t bytes) {
  std::memset(block, value, bytes);
  return cudaSuccess;
}
SHOWN cudaError_t cudaMemsetAsync(void* block, int value, std::size_t bytes, cudaStream_t stream) {
  say("clear", stream, "");
  return cudaMemset(block, value, bytes);
}
SHOWN cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* of, const void* block) {
  *of = {};
  of->type = cudaMemoryTypeDevice;
  of->devicePointer = const_cast<void*>(block);
  return cudaSuccess;
}

// Streams, events, graphs.
SHOWN cudaError_t cudaStreamCreate(cudaStream_t* stream) { return handle(stream); }
SHOWN cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) { return handle(stream); }
SHOWN cudaError_t cudaEventCreate(cudaEvent_t* event) { return handle(event); }
SHOWN cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) { return handle(event); }
SHOWN cudaError_t cudaStreamBeginCapture(cudaStream_t, cudaStreamCaptureMode) {
  capturing = true;
  return cudaSuccess;
}
SHOWN cudaError_t cudaStreamEndCapture(cudaStream_t, cudaGraph_t* graph) {
  capturing = false;
  return handle(graph);
}
SHOWN cudaError_t cudaStreamIsCapturing(cudaStream_t, cudaStreamCaptureStatus* status) {
  *status = capturing ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
  return cudaSuccess;
}
SHOWN cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  say("wait", stream, "");
  return cudaSuccess;
}
SHOWN cudaError_t cudaDeviceSynchronize() {
  say("wait", nullptr, "");
  return cudaSuccess;
}
SHOWN cudaError_t cudaGraphInstantiate(cudaGraphExec_t* made, cudaGraph_t, unsigned long long) { return handle(made); }
SHOWN cudaError_t cudaGraphLaunch(cudaGraphExec_t, cudaStream_t stream) {
  say("graph", stream, "");
  return cudaSuccess;
}
SHOWN cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* of, const void*) {
  *of = {};
  of->maxThreadsPerBlock = 1024;
  of->numRegs = 32;
  of->binaryVersion = of->ptxVersion = 90;
  return cudaSuccess;
}
SHOWN cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* blocks, const void*, int, std::size_t,
                                                                         unsigned) {
  *blocks = 2;
  return cudaSuccess;
}
