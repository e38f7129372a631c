#include <cstdio>

#include "cuda/memory.h"
#include "cuda/registry.h"
#include "cuda/runtime.h"

namespace stylogram::cuda {
namespace {

constexpr const char* kOp = "cuda";

int count_devices() {
  int count = 0;
  require(cudaGetDeviceCount(&count), kOp, "looking for GPUs");
  return count;
}

void describe(int device, DeviceOf* out) {
  cudaDeviceProp properties{};
  require(cudaGetDeviceProperties(&properties, device), kOp, "asking for a GPU's properties");
  std::snprintf(out->name, sizeof(out->name), "%s", properties.name);
  out->major = properties.major;
  out->minor = properties.minor;
  int before = 0;
  require(cudaGetDevice(&before), kOp, "asking for the device");
  require(cudaSetDevice(device), kOp, "choosing a GPU");
  require(cudaMemGetInfo(&out->free, &out->total), kOp, "looking for free memory");
  require(cudaSetDevice(before), kOp, "choosing a GPU");
}

void use_device(int device) { require(cudaSetDevice(device), kOp, "choosing a GPU"); }

void* allocate(std::size_t bytes) {
  Memory memory(kOp, bytes);
  return memory.release();
}

void release(void* block) { require(cudaFree(block), kOp, "freeing memory"); }

void copy(void* to, const void* from, std::size_t bytes, Stream stream) {
  require(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, handle(stream)), kOp, "copying");
}

void clear(void* block, std::size_t bytes, Stream stream) {
  require(cudaMemsetAsync(block, 0, bytes, handle(stream)), kOp, "clearing memory");
}

void* make_stream() {
  cudaStream_t stream = nullptr;
  require(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), kOp, "making a stream");
  return stream;
}

void free_stream(void* stream) {
  forget(Stream{Device::cuda, stream});
  require(cudaStreamDestroy(static_cast<cudaStream_t>(stream)), kOp, "freeing a stream");
}

void wait(Stream stream) { require(cudaStreamSynchronize(handle(stream)), kOp, "waiting"); }

void begin_capture(Stream stream) {
  require(cudaStreamBeginCapture(handle(stream), cudaStreamCaptureModeThreadLocal), kOp, "capturing");
}

void* end_capture(Stream stream) {
  cudaGraph_t graph = nullptr;
  require(cudaStreamEndCapture(handle(stream), &graph), kOp, "capturing");
  cudaGraphExec_t made = nullptr;
  const cudaError_t status = cudaGraphInstantiate(&made, graph, 0);
  require(cudaGraphDestroy(graph), kOp, "freeing a graph");
  require(status, kOp, "making a graph of what was captured");
  return made;
}

void run_graph(void* graph, Stream stream) {
  require(cudaGraphLaunch(static_cast<cudaGraphExec_t>(graph), handle(stream)), kOp, "running a graph");
}

void free_graph(void* graph) {
  require(cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(graph)), kOp, "freeing a graph");
}

const Registration all[] = {
    {"count_devices", &count_devices},
    {"describe", &describe},
    {"use_device", &use_device},
    {"allocate", &allocate},
    {"release", &release},
    {"copy", &copy},
    {"clear", &clear},
    {"make_stream", &make_stream},
    {"free_stream", &free_stream},
    {"wait", &wait},
    {"begin_capture", &begin_capture},
    {"end_capture", &end_capture},
    {"run_graph", &run_graph},
    {"free_graph", &free_graph},
};

}  // namespace
}  // namespace stylogram::cuda
