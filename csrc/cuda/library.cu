// The library's table, its errors and its streams' memory.
#include <map>
#include <memory>
#include <mutex>
#include <sstream>
#include <utility>

#include "cuda/registry.h"
#include "cuda/runtime.h"

namespace stylogram::cuda {

std::vector<Entry>& entries() {
  static std::vector<Entry> all;
  return all;
}

void require(cudaError_t status, const char* op, const char* doing) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // the next call begins without it
  throw std::runtime_error(std::string("[") + op + "] CUDA failed when " + doing + ": " + cudaGetErrorString(status) +
                           " (" + cudaGetErrorName(status) + ")");
}

Memory::Memory(const char* op, std::size_t bytes) : bytes_(bytes) {
  const cudaError_t status = cudaMalloc(&block_, bytes == 0 ? 1 : bytes);
  if (status != cudaErrorMemoryAllocation) require(status, op, "allocating memory");
  if (status == cudaSuccess) return;
  cudaGetLastError();  // the next call begins without it
  std::size_t free = 0;
  std::size_t total = 0;
  require(cudaMemGetInfo(&free, &total), op, "looking for free memory");
  std::ostringstream text;
  text << '[' << op << "] out of memory on the GPU: " << (bytes >> 20) << " MiB were needed, " << (free >> 20) << " of "
       << (total >> 20) << " MiB are free";
  throw std::runtime_error(text.str());
}

Memory::~Memory() {
  if (block_ != nullptr) cudaFree(block_);  // a destructor throws nothing; a broken context is reported elsewhere
}

namespace {

// The blocks that were too small stay: a graph may have their addresses.
struct Kept {
  std::vector<Memory> doubles, counters;
};

std::mutex guard;
std::map<std::pair<int, void*>, Kept>& all() {
  static auto* const streams = new std::map<std::pair<int, void*>, Kept>();  // outlives CUDA's own clean-up
  return *streams;
}

std::pair<int, void*> key(const char* op, Stream stream) {
  int device = 0;
  require(cudaGetDevice(&device), op, "asking for the device");
  return {device, stream.handle};
}

void* grown(const char* op, Stream stream, std::vector<Memory>& blocks, std::size_t bytes) {
  if (blocks.empty() || blocks.back().bytes() < bytes) {
    blocks.emplace_back(op, bytes + bytes / 2);
    require(cudaMemsetAsync(blocks.back().as<void>(), 0, blocks.back().bytes(), handle(stream)), op, "clearing memory");
  }
  return blocks.back().as<void>();
}

}  // namespace

Workspace workspace(const char* op, Stream stream, std::size_t doubles, std::size_t counters) {
  const std::lock_guard<std::mutex> lock(guard);
  Kept& kept = all()[key(op, stream)];
  return {static_cast<double*>(grown(op, stream, kept.doubles, doubles * sizeof(double))),
          static_cast<unsigned*>(grown(op, stream, kept.counters, counters * sizeof(unsigned)))};
}

void forget(Stream stream) {
  const std::lock_guard<std::mutex> lock(guard);
  all().erase(key("stream", stream));
}

}  // namespace stylogram::cuda

extern "C" __attribute__((visibility("default"))) const stylogram::cuda::Table* stylogram_cuda() {
  using namespace stylogram::cuda;
  static const Table table{kVersion, entries().data(), entries().size()};
  return &table;
}
