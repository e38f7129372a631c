// ONNX Runtime's library, opened when the program runs: one binary works with Debian's, a release's and PyPI's.
#pragma once

#include <onnxruntime/onnxruntime_c_api.h>

#include <string>

#include "runtime/errors.h"

namespace stylogram::runtime {

/// ONNX Runtime of this process: opened once, never closed.
struct Library {
  const OrtApiBase* base;
  const OrtApi* api;
  OrtEnv* environment;
  bool shared_arena;  // sessions take their memory from the environment's arena
};

/// Opens the library at `path`, or where Options::onnxruntime says if it is empty. Throws Error: it is not found, is no
/// ONNX Runtime or older than 1.20; another one is in use already.
const Library& open_library(const std::string& path);

/// The one that is open.
const Library& library();

/// Throws Error with the status' message unless it is null; releases it.
void check(OrtStatus* status);

/// out_of_memory where ONNX Runtime's `message` says that memory was refused, `otherwise` if not.
Code code_of(const std::string& message, Code otherwise);

}  // namespace stylogram::runtime
