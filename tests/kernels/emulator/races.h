// Accesses in no order, found as they are made. Kernels are compiled with -fsanitize=thread, and what the compiler then
// calls at every access is in races.cpp, in the place of its own library.
#pragma once

#include <cstddef>

namespace emulator::races {

void begin_launch();
void begin_block(unsigned number, unsigned threads);
void end_block();
/// From now on thread `thread` runs, on this stack.
void resume(unsigned thread, const void* stack, std::size_t bytes);
void barrier();
void fence();
/// An atomic access: of blocks that meet there, each sees what those before it had written before a fence.
void meet(const void* address);
/// An access at `place` in the program.
void access(const void* address, std::size_t bytes, bool writes, const void* place);

}  // namespace emulator::races
