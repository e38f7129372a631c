// Two accesses to the same byte, one of them a write, are a race unless they are of one thread, or a barrier of their
// block is between them, or, of two blocks, one has passed a fence before an atomic access at which the other, which
// passes a fence after it, finds it. Whatever order the emulator runs threads in, it does not count. Shared memory is a
// block's own, and to be written before it is read.
#include "races.h"

#include <link.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <map>
#include <memory>
#include <unordered_map>
#include <vector>

#include "cuda_runtime.h"

namespace {

constexpr std::uintptr_t kPage = 4096;
constexpr std::size_t kKept = 2000;  // pages: 400 MB

struct Access {
  unsigned launch = 0;  // 0: none
  unsigned block = 0, thread : 10, phase : 14, fences : 8;
  unsigned place = 0;  // in this library, for addr2line

  Access() : thread(0), phase(0), fences(0) {}
};
// The last write, the last read, and the last one of another thread than that.
struct Byte {
  Access write, read, other;
};
using Page = std::array<Byte, kPage>;

// A block that has come to an atomic access: its phase there, and the fences of its threads.
struct Meeting {
  unsigned phase, thread;
  std::vector<unsigned> fences;
};
using Met = std::map<unsigned, Meeting>;  // by block

struct State {
  bool running = false;
  unsigned launch = 0, block = 0, thread = 0, phase = 0;
  std::vector<unsigned> fences;
  Met met;  // those before this block, where it has come to an atomic access
  unsigned met_phase = 0, met_thread = 0;
  std::vector<bool> sees;  // the threads that have passed a fence since
  std::map<const void*, Met> meetings;
  std::uintptr_t stack = 0, stack_end = 0;
  std::uintptr_t base = 0;                // of this library
  std::uintptr_t data = 0, data_end = 0;  // what it may change: shared memory, which is the emulator's or static
  std::unordered_map<std::uintptr_t, std::unique_ptr<Page>> pages;
  std::uintptr_t last_number = 0;
  Page* last = nullptr;
} state;

int find_data(dl_phdr_info* info, std::size_t, void*) {
  const auto here = reinterpret_cast<std::uintptr_t>(&state);
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const auto& part = info->dlpi_phdr[i];
    const std::uintptr_t begin = info->dlpi_addr + part.p_vaddr;
    if (part.p_type == PT_LOAD && here >= begin && here < begin + part.p_memsz) {
      state.base = info->dlpi_addr;
      state.data = begin;
      state.data_end = begin + part.p_memsz;
    }
  }
  return 0;
}

bool is_index(std::uintptr_t address) {
  const auto within = [=](const void* object, std::size_t bytes) {
    return address - reinterpret_cast<std::uintptr_t>(object) < bytes;
  };
  return within(&threadIdx, sizeof(threadIdx)) || within(&blockIdx, sizeof(blockIdx)) ||
         within(&gridDim, sizeof(gridDim));
}

Byte& byte_at(std::uintptr_t address) {
  const std::uintptr_t number = address / kPage;
  if (state.last == nullptr || number != state.last_number) {
    auto& page = state.pages[number];
    if (page == nullptr) page = std::make_unique<Page>();
    state.last = page.get();
    state.last_number = number;
  }
  return (*state.last)[address % kPage];
}

bool in_order(const Access& before, bool shared) {
  if (before.launch != state.launch) return true;
  if (before.block == state.block) return before.thread == state.thread || before.phase < state.phase;
  if (shared) return true;
  if (!state.sees[state.thread]) return false;
  const auto found = state.met.find(before.block);
  if (found == state.met.end() || before.fences >= found->second.fences[before.thread]) return false;
  return before.phase < found->second.phase || before.thread == found->second.thread;
}

[[noreturn]] void report(const char* what, const Access& before, const Access& now) {
  char line[400];
  std::snprintf(line, sizeof(line),
                "%s: thread %u of block %u in phase %u at %#x; before it thread %u of block %u in phase %u at %#x",
                what, now.thread, now.block, now.phase, now.place, before.thread, before.block, before.phase,
                before.place);
  emulator::stop(line);
}

}  // namespace

namespace emulator::races {

void begin_launch() {
  if (state.data == 0) dl_iterate_phdr(find_data, nullptr);
  ++state.launch;
  state.meetings.clear();
  if (state.pages.size() > kKept) {  // what was before does not count any more
    state.pages.clear();
    state.last = nullptr;
  }
}

void begin_block(unsigned number, unsigned threads) {
  state.block = number;
  state.phase = 0;
  state.fences.assign(threads, 0);
  state.met.clear();
  state.sees.assign(threads, false);
}

void end_block() { state.running = false; }

void resume(unsigned thread, const void* stack, std::size_t bytes) {
  state.running = true;
  state.thread = thread;
  state.stack = reinterpret_cast<std::uintptr_t>(stack);
  state.stack_end = state.stack + bytes;
}

void barrier() {
  if (++state.phase == 1U << 14) emulator::stop("too many barriers to be counted");
  bool any = false;
  for (const bool sees : state.sees) any = any || sees;
  state.sees.assign(state.sees.size(), any);
}

void fence() {
  if (++state.fences[state.thread] == 1U << 8) emulator::stop("too many fences to be counted");
  if (!state.met.empty() && (state.phase > state.met_phase || state.thread == state.met_thread))
    state.sees[state.thread] = true;
}

void meet(const void* address) {
  Met& all = state.meetings[address];
  for (const auto& [block, meeting] : all) state.met[block] = meeting;
  state.met_phase = state.phase;
  state.met_thread = state.thread;
  state.sees.assign(state.sees.size(), false);
  all[state.block] = {state.phase, state.thread, state.fences};
}

void access(const void* pointer, std::size_t bytes, bool writes, const void* place) {
  const auto begin = reinterpret_cast<std::uintptr_t>(pointer);
  if (!state.running || begin - state.stack < state.stack_end - state.stack || is_index(begin)) return;
  const bool shared = begin - state.data < state.data_end - state.data;
  Access now;
  now.launch = state.launch;
  now.block = state.block;
  now.thread = state.thread & 0x3ff;
  now.phase = state.phase & 0x3fff;
  now.fences = state.fences[state.thread] & 0xff;
  now.place = static_cast<unsigned>(reinterpret_cast<std::uintptr_t>(place) - state.base) - 1;
  for (std::uintptr_t address = begin; address < begin + bytes; ++address) {
    Byte& byte = byte_at(address);
    if (!in_order(byte.write, shared))
      report(writes ? "a write races with a write" : "a read races with a write", byte.write, now);
    if (writes) {
      if (!in_order(byte.read, shared)) report("a write races with a read", byte.read, now);
      if (!in_order(byte.other, shared)) report("a write races with a read", byte.other, now);
      byte.write = now;
      continue;
    }
    if (shared && (byte.write.launch != state.launch || byte.write.block != state.block))
      report("a read of shared memory that was not written", byte.write, now);
    if (byte.read.launch != now.launch || byte.read.block != now.block || byte.read.thread != now.thread)
      byte.other = byte.read;
    byte.read = now;
  }
}

}  // namespace emulator::races

// What -fsanitize=thread and -fsanitize=alignment call.
#define STYLOGRAM_ACCESS(bytes)                                                                               \
  void __tsan_read##bytes(void* p) { emulator::races::access(p, bytes, false, __builtin_return_address(0)); } \
  void __tsan_write##bytes(void* p) { emulator::races::access(p, bytes, true, __builtin_return_address(0)); }

extern "C" {
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
unsigned char __tsan_atomic8_load(const volatile unsigned char* address, int) {  // of a static's guard
  return __atomic_load_n(address, __ATOMIC_ACQUIRE);
}
void __tsan_read_range(void* p, std::size_t bytes) {
  emulator::races::access(p, bytes, false, __builtin_return_address(0));
}
void __tsan_write_range(void* p, std::size_t bytes) {
  emulator::races::access(p, bytes, true, __builtin_return_address(0));
}
STYLOGRAM_ACCESS(1)
STYLOGRAM_ACCESS(2)
STYLOGRAM_ACCESS(4)
STYLOGRAM_ACCESS(8)
STYLOGRAM_ACCESS(16)
void __ubsan_handle_type_mismatch_v1_abort(void*, std::size_t) {
  emulator::stop("an access begins at no multiple of what is accessed at once");
}
}
