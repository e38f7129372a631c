// Devices, memory, streams and captured graphs of the CUDA library, as the CPU's part sees them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "dispatch.h"

namespace stylogram::cuda {

struct DeviceOf {
  char name[256];
  int major, minor;  // compute capability
  std::size_t free, total;
};

using CountDevices = int();  // throws where there is no driver, or one that is too old
using Describe = void(int device, DeviceOf* out);
using UseDevice = void(int device);  // for this thread
using Allocate = void*(std::size_t bytes);
using Release = void(void* block);
using Copy = void(void* to, const void* from, std::size_t bytes, Stream stream);  // host or GPU, either way
using Clear = void(void* block, std::size_t bytes, Stream stream);
using MakeStream = void*();
using FreeStream = void(void* stream);
using Wait = void(Stream stream);
using BeginCapture = void(Stream stream);
using EndCapture = void*(Stream stream);  // a graph that can be run
using RunGraph = void(void* graph, Stream stream);
using FreeGraph = void(void* graph);

}  // namespace stylogram::cuda
