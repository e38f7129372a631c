#include <setjmp.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <random>
#include <set>
#include <utility>
#include <vector>

#include "cuda_runtime.h"
#include "races.h"

emulator::Index threadIdx, blockIdx;
dim3 gridDim;

struct EmulatedGraph {
  std::vector<std::function<void()>> work;
};
struct EmulatedStream {
  std::unique_ptr<EmulatedGraph> captured;
  bool late = false;  // what is put in is done when somebody waits for it, and not before
  std::vector<std::function<void()>> waiting;
};

namespace races = emulator::races;

namespace {

constexpr std::size_t kStack = 64 << 10;
constexpr std::size_t kMostExchanged = 64;
constexpr std::size_t kMostShared = STYLOGRAM_EMULATED < 800 ? 64 << 10 : 99 << 10;  // what every such GPU has

enum class Waits { no, lanes, block, over };

struct Copy {
  void* to;
  const void* from;  // nothing for zeros
  std::size_t bytes;
};

struct Fiber {
  ucontext_t context;  // where it begins; after that jumps are enough, which ask nothing of the system
  jmp_buf place;
  bool started = false;
  std::vector<char> stack = std::vector<char>(kStack);
  Waits waits = Waits::no;
  alignas(16) char given[kMostExchanged];
  std::vector<std::vector<Copy>> copies;  // under way, in groups; the last one is still open
};

using emulator::stop;

// One block at a time: its fibers, kept from launch to launch.
struct Machine {
  ucontext_t scheduler;
  jmp_buf place;
  std::vector<std::unique_ptr<Fiber>> fibers;
  std::size_t threads = 0;
  unsigned current = 0;
  const std::function<void()>* body = nullptr;
  std::mt19937 random{1};
  alignas(16) char shared[kMostShared];
  std::vector<char> exchanged = std::vector<char>(32 * kMostExchanged);  // not in shared memory
  std::size_t exchanged_bytes = 0;
  std::mutex guard;
} machine;

void run_fiber() {
  (*machine.body)();
  machine.fibers[machine.current]->waits = Waits::over;
  _longjmp(machine.place, 1);
}

void wait(Waits reason) {
  const unsigned self = machine.current;
  machine.fibers[self]->waits = reason;
  if (_setjmp(machine.fibers[self]->place) == 0) _longjmp(machine.place, 1);
  threadIdx.x = machine.current;
}

void resume(unsigned thread) {
  machine.current = thread;
  threadIdx.x = thread;
  Fiber& fiber = *machine.fibers[thread];
  fiber.waits = Waits::no;
  races::resume(thread, fiber.stack.data(), fiber.stack.size());
  if (_setjmp(machine.place) != 0) return;
  if (fiber.started) _longjmp(fiber.place, 1);
  fiber.started = true;
  swapcontext(&machine.scheduler, &fiber.context);
}

// Runs a warp until all its lanes are at a barrier of the block or over.
void run_warp(unsigned first, unsigned last) {
  for (;;) {
    unsigned meeting = 0;
    for (unsigned t = first; t < last; ++t) {
      if (machine.fibers[t]->waits == Waits::no || machine.fibers[t]->waits == Waits::lanes) resume(t);
      meeting += machine.fibers[t]->waits == Waits::lanes ? 1 : 0;
    }
    if (meeting == 0) return;
    if (meeting != last - first || last - first != 32) stop("not all lanes of a warp take part in an exchange");
    for (unsigned t = first; t < last; ++t) {
      std::memcpy(machine.exchanged.data() + (t - first) * machine.exchanged_bytes, machine.fibers[t]->given,
                  machine.exchanged_bytes);
    }
  }
}

void prepare(Fiber& fiber) {
  fiber.waits = Waits::no;
  fiber.started = false;
  fiber.copies.assign(1, {});
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.stack.data();
  fiber.context.uc_stack.ss_size = fiber.stack.size();
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, run_fiber, 0);
}

void run_block() {
  for (std::size_t t = 0; t < machine.threads; ++t) prepare(*machine.fibers[t]);
  const auto threads = static_cast<unsigned>(machine.threads);
  std::vector<unsigned> order((threads + 31) / 32);
  std::iota(order.begin(), order.end(), 0U);
  races::begin_block(blockIdx.y * gridDim.x + blockIdx.x, threads);
  for (;;) {
    std::shuffle(order.begin(), order.end(), machine.random);
    for (const unsigned warp : order) run_warp(warp * 32, std::min(threads, warp * 32 + 32));
    std::size_t over = 0;
    for (std::size_t t = 0; t < threads; ++t) over += machine.fibers[t]->waits == Waits::over ? 1 : 0;
    if (over == threads) return races::end_block();
    races::barrier();
    // A GPU lets threads that are over miss a barrier; those that are not must all be at it.
    for (std::size_t t = 0; t < threads; ++t) {
      if (machine.fibers[t]->waits == Waits::block) machine.fibers[t]->waits = Waits::no;
    }
  }
}

void run_grid(dim3 blocks, unsigned threads, const std::function<void()>& body) {
  const std::lock_guard<std::mutex> lock(machine.guard);
  while (machine.fibers.size() < threads) machine.fibers.push_back(std::make_unique<Fiber>());
  machine.threads = threads;
  machine.body = &body;
  gridDim = blocks;
  races::begin_launch();
  std::vector<unsigned> order(blocks.x * blocks.y);
  std::iota(order.begin(), order.end(), 0U);
  std::shuffle(order.begin(), order.end(), machine.random);
  for (const unsigned number : order) {
    blockIdx = {number % blocks.x, number / blocks.x, 0};
    std::memset(machine.shared, 0xff, sizeof(machine.shared));  // NaN: shared memory has undefined contents
    run_block();
  }
}

cudaError_t last = cudaSuccess;
std::map<void*, std::pair<void*, std::size_t>> blocks_of;  // a block -> its pages
std::size_t used = 0;
int capturing = 0;
EmulatedStream standard;
std::set<EmulatedStream*> streams;

EmulatedStream& of(cudaStream_t stream) { return stream == nullptr ? standard : *stream; }

cudaError_t failed(cudaError_t error) {
  last = error;
  return error;
}

std::size_t memory() {
  const char* given = std::getenv("STYLOGRAM_EMULATED_MEMORY");
  return given == nullptr ? std::size_t{8} << 30 : std::strtoull(given, nullptr, 10);
}

void enqueue(cudaStream_t stream, std::function<void()> work) {
  if (of(stream).captured != nullptr) {
    of(stream).captured->work.push_back(std::move(work));
  } else if (of(stream).late) {
    of(stream).waiting.push_back(std::move(work));
  } else {
    work();
  }
}

void finish(EmulatedStream& stream) {
  for (const auto& work : std::exchange(stream.waiting, {})) work();
}

}  // namespace

namespace emulator {

void stop(const char* reason) {
  std::fprintf(stderr, "emulator: %s\n", reason);
  std::abort();
}

void launch(cudaStream_t stream, dim3 blocks, unsigned threads, std::size_t shared, std::function<void()> body) {
  if (threads == 0 || threads > 1024 || blocks.x == 0 || blocks.y == 0 || blocks.y > 65535 || shared > kMostShared) {
    failed(cudaErrorInvalidConfiguration);
    return;
  }
  enqueue(stream, [=, body = std::move(body)] { run_grid(blocks, threads, body); });
}

void* shared() { return machine.shared; }

const void* exchange(const void* mine, std::size_t bytes) {
  if (bytes > kMostExchanged) stop("an exchange is too large");
  std::memcpy(machine.fibers[machine.current]->given, mine, bytes);
  machine.exchanged_bytes = bytes;
  wait(Waits::lanes);
  return machine.exchanged.data();
}

void block_barrier() { wait(Waits::block); }

void fence() { races::fence(); }

// The place is written from now on, and what is there is whole when the copy has been waited for: not before.
void copy_async(void* to, const void* from, std::size_t bytes, bool inside) {
  for (const void* address : {static_cast<const void*>(to), from}) {
    if (address != nullptr && (address == to || inside) && reinterpret_cast<std::uintptr_t>(address) % bytes != 0)
      stop("a copy of several bytes begins at a multiple of them");
  }
  races::access(to, bytes, true, __builtin_return_address(0));
  if (inside) races::access(from, bytes, false, __builtin_return_address(0));
  std::memset(to, 0xff, bytes);
  machine.fibers[machine.current]->copies.back().push_back({to, inside ? from : nullptr, bytes});
}

void commit_copies() { machine.fibers[machine.current]->copies.emplace_back(); }

void copies_left(std::size_t left) {
  auto& copies = machine.fibers[machine.current]->copies;
  for (; copies.size() - 1 > left; copies.erase(copies.begin())) {
    for (const Copy& copy : copies.front()) {
      races::access(copy.to, copy.bytes, true, __builtin_return_address(0));
      if (copy.from == nullptr) {
        std::memset(copy.to, 0, copy.bytes);
      } else {
        std::memcpy(copy.to, copy.from, copy.bytes);
      }
    }
  }
}

}  // namespace emulator

unsigned atomicInc(unsigned* address, unsigned most) {
  races::meet(address);
  const unsigned before = *address;
  *address = before >= most ? 0 : before + 1;
  return before;
}

const char* cudaGetErrorName(cudaError_t error) {
  static const char* const names[] = {"cudaSuccess",
                                      "cudaErrorMemoryAllocation",
                                      "cudaErrorNoDevice",
                                      "cudaErrorInsufficientDriver",
                                      "cudaErrorInvalidDevice",
                                      "cudaErrorInvalidConfiguration",
                                      "cudaErrorInvalidValue",
                                      "cudaErrorStreamCaptureUnsupported"};
  return names[error];
}
const char* cudaGetErrorString(cudaError_t error) { return cudaGetErrorName(error); }
cudaError_t cudaGetLastError() { return std::exchange(last, cudaSuccess); }

cudaError_t cudaMalloc(void** block, std::size_t bytes) {
  if (capturing != 0) return failed(cudaErrorStreamCaptureUnsupported);
  if (used + bytes > memory()) return failed(cudaErrorMemoryAllocation);
  constexpr std::size_t page = 4096;
  const std::size_t rounded = (bytes + 255) / 256 * 256;  // what cudaMalloc aligns to; the rest is found by values
  const std::size_t pages = (rounded + page - 1) / page * page;
  void* begin = mmap(nullptr, pages + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (begin == MAP_FAILED) return failed(cudaErrorMemoryAllocation);
  mprotect(static_cast<char*>(begin) + pages, page, PROT_NONE);
  *block = static_cast<char*>(begin) + pages - rounded;
  std::memset(*block, 0xff, rounded);
  blocks_of[*block] = {begin, pages + page};
  used += bytes;
  return cudaSuccess;
}

cudaError_t cudaFree(void* block) {
  for (EmulatedStream* stream : streams) finish(*stream);
  const auto found = blocks_of.find(block);
  if (found == blocks_of.end()) return failed(cudaErrorInvalidValue);
  munmap(found->second.first, found->second.second);
  used -= std::min(used, found->second.second);
  blocks_of.erase(found);
  return cudaSuccess;
}

cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  *total = memory();
  *free = *total - std::min(used, *total);
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind, cudaStream_t stream) {
  enqueue(stream, [=] { std::memmove(to, from, bytes); });
  return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void* block, int value, std::size_t bytes, cudaStream_t stream) {
  enqueue(stream, [=] { std::memset(block, value, bytes); });
  return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int* count) {
  const char* given = std::getenv("STYLOGRAM_EMULATED_DRIVER");
  if (given != nullptr && std::strcmp(given, "old") == 0) return failed(cudaErrorInsufficientDriver);
  if (given != nullptr && std::strcmp(given, "none") == 0) return failed(cudaErrorNoDevice);
  *count = 1;
  return cudaSuccess;
}
cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) { return device == 0 ? cudaSuccess : failed(cudaErrorInvalidDevice); }
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  if (device != 0) return failed(cudaErrorInvalidDevice);
  std::snprintf(properties->name, sizeof(properties->name), "emulator");
  properties->major = STYLOGRAM_EMULATED / 100;
  properties->minor = STYLOGRAM_EMULATED / 10 % 10;
  return cudaSuccess;
}
cudaError_t cudaFuncSetAttribute(const void*, cudaFuncAttribute, int value) {
  return static_cast<std::size_t>(value) <= kMostShared ? cudaSuccess : failed(cudaErrorInvalidValue);
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  *stream = new EmulatedStream;
  (*stream)->late = std::getenv("STYLOGRAM_EMULATED_LATE") != nullptr;
  streams.insert(*stream);
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  finish(*stream);
  streams.erase(stream);
  delete stream;
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (of(stream).captured != nullptr) return failed(cudaErrorStreamCaptureUnsupported);
  finish(of(stream));
  return cudaSuccess;
}
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  if (stream == nullptr || stream->captured != nullptr) return failed(cudaErrorStreamCaptureUnsupported);
  stream->captured = std::make_unique<EmulatedGraph>();
  ++capturing;
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  if (stream == nullptr || stream->captured == nullptr) return failed(cudaErrorInvalidValue);
  *graph = stream->captured.release();
  --capturing;
  return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* made, cudaGraph_t graph, unsigned long long) {
  *made = new EmulatedGraph(*graph);
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t graph, cudaStream_t stream) {
  for (const auto& work : graph->work) enqueue(stream, work);
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t graph) {
  delete graph;
  return cudaSuccess;
}
