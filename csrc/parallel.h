// The threads of the CPU kernels: one pool for the process, of which every calling thread says how much it uses.
//
// A kernel cuts its work into parts whose number and bounds follow from the sizes of the problem alone, never from the
// number of threads; each part writes its own place, and what parts have summed is added up in the order of the parts.
// So results are the same to the bit from run to run, for any number of threads, and whether or not the pool was free.
#pragma once

#include <cstdint>

namespace stylogram {

/// How many threads a kernel uses that this thread calls, itself included. At first: as many as there are processors.
int threads();

/// Sets it for the kernels that this thread calls, and for no other; throws std::invalid_argument unless
/// 1 <= count <= 1024.
void set_threads(int count);

namespace detail {
using Part = void (*)(const void* body, std::int64_t part);
void run_parts(std::int64_t parts, Part call, const void* body);
}  // namespace detail

/// Calls body(0) ... body(parts - 1), in any order and on several threads, and returns when all are done.
///
/// When the pool works for another caller, or the caller is itself a part, all parts run here, one after another.
/// The first exception that a part throws is thrown again here after the other threads have stopped.
/// A child that was forked gets a new pool; forking while a kernel runs in another thread is safe for the child.
template <class Body>
void parallel_for(std::int64_t parts, const Body& body) {
  detail::run_parts(
      parts, [](const void* context, std::int64_t part) { (*static_cast<const Body*>(context))(part); }, &body);
}

}  // namespace stylogram
