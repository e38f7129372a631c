#include "runtime/library.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <mutex>
#include <vector>

#include "runtime/errors.h"

#ifndef STYLOGRAM_FOUND_ONNXRUNTIME
#define STYLOGRAM_FOUND_ONNXRUNTIME ""  // the file that CMake found
#endif

namespace stylogram::runtime {
namespace {

namespace fs = std::filesystem;

constexpr std::uint32_t kApiVersion = 20;  // ONNX Runtime 1.20, as csrc/ort asks for

struct Opened {
  std::string path;
  Library library;
};

// Never destroyed: ONNX Runtime's threads may outlive the destructors of the process.
std::unique_ptr<Opened>& opened() {
  static auto* const place = new std::unique_ptr<Opened>;
  return *place;
}

std::mutex& mutex() {
  static auto* const made = new std::mutex;
  return *made;
}

bool is_library(const fs::path& file) {
  const std::string name = file.filename().string();
  return name.rfind("libonnxruntime.so", 0) == 0 ||
         (name.rfind("libonnxruntime.", 0) == 0 && file.extension() == ".dylib");
}

// In a release and in Debian lib/ has it, in PyPI's package capi/.
std::string under(const std::string& root) {
  for (const char* part : {"lib", "lib64", "capi", "."}) {
    std::error_code problem;
    std::vector<std::string> found;
    for (const fs::directory_entry& entry : fs::directory_iterator(fs::path(root) / part, problem)) {
      if (is_library(entry.path())) found.push_back(entry.path().string());
    }
    if (!found.empty()) return *std::min_element(found.begin(), found.end());
  }
  fail(Code::onnxruntime, "ONNXRUNTIME_ROOT is '", root,
       "': no libonnxruntime.so in its lib, lib64 or capi, nor in itself");
}

using GetBase = const OrtApiBase* (*)();

struct Found {
  std::string path;
  GetBase get_base;
};

GetBase entry_of(void* handle) { return reinterpret_cast<GetBase>(dlsym(handle, "OrtGetApiBase")); }

Found open_file(const std::string& path) {
  void* const handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  require(handle != nullptr, Code::onnxruntime, "ONNX Runtime cannot be opened: ", handle == nullptr ? dlerror() : "");
  const GetBase get_base = entry_of(handle);
  require(get_base != nullptr, Code::onnxruntime, path, " is not ONNX Runtime: it has no OrtGetApiBase");
  return {path, get_base};
}

Found find(const std::string& given) {
  if (!given.empty()) return open_file(given);
  if (const GetBase get_base = entry_of(RTLD_DEFAULT)) return {"", get_base};
  const char* const root = std::getenv("ONNXRUNTIME_ROOT");
  if (root != nullptr && *root != '\0') return open_file(under(root));
  if (*STYLOGRAM_FOUND_ONNXRUNTIME != '\0' && fs::exists(STYLOGRAM_FOUND_ONNXRUNTIME))
    return open_file(STYLOGRAM_FOUND_ONNXRUNTIME);
  for (const char* name : {"libonnxruntime.so.1", "libonnxruntime.so", "libonnxruntime.dylib"}) {
    if (dlopen(name, RTLD_NOW | RTLD_LOCAL) != nullptr) return open_file(name);
  }
  fail(
      Code::onnxruntime,
      "ONNX Runtime is not found: give its library in Options::onnxruntime, or its folder in ONNXRUNTIME_ROOT (that of "
      "PyPI's package: .../site-packages/onnxruntime)");
}

void check_with(const OrtApi& api, OrtStatus* status) {
  if (status == nullptr) return;
  const std::string message = api.GetErrorMessage(status);
  api.ReleaseStatus(status);
  fail(code_of(message, Code::onnxruntime), "ONNX Runtime: ", message);
}

// One arena for all sessions: what forward needs between two layers, backward uses again. It grows by what is asked
// for, not by powers of two. A program that has registered an arena of its own keeps that.
bool share_arena(const OrtApi& api, OrtEnv* environment) {
  OrtMemoryInfo* memory = nullptr;
  check_with(api, api.CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &memory));
  const std::unique_ptr<OrtMemoryInfo, void (*)(OrtMemoryInfo*)> owned(memory, api.ReleaseMemoryInfo);
  OrtArenaCfg* arena = nullptr;
  check_with(api, api.CreateArenaCfg(0, 1, -1, -1, &arena));
  OrtStatus* const refused = api.CreateAndRegisterAllocator(environment, memory, arena);
  api.ReleaseArenaCfg(arena);
  if (refused != nullptr) api.ReleaseStatus(refused);
  return refused == nullptr;
}

Library start(const Found& found) {
  const OrtApiBase* const base = found.get_base();
  const OrtApi* const api = base->GetApi(kApiVersion);
  require(api != nullptr, Code::onnxruntime, "ONNX Runtime ", base->GetVersionString(),
          " is too old: 1.20 or newer is needed");
  OrtEnv* environment = nullptr;
  check_with(*api, api->CreateEnv(ORT_LOGGING_LEVEL_ERROR, "stylogram", &environment));
  return {base, api, environment, share_arena(*api, environment)};
}

bool same_file(const std::string& one, const std::string& other) {
  std::error_code problem;
  return one == other || fs::equivalent(one, other, problem);
}

}  // namespace

const Library& open_library(const std::string& path) {
  const std::lock_guard<std::mutex> lock(mutex());
  if (opened() != nullptr) {
    require(path.empty() || same_file(path, opened()->path), Code::onnxruntime, "this process uses the ONNX Runtime ",
            opened()->path.empty() ? "that it had loaded" : opened()->path, "; another one is not accepted, got ",
            path);
    return opened()->library;
  }
  const Found found = find(path);
  opened() = std::make_unique<Opened>(Opened{found.path, start(found)});
  return opened()->library;
}

const Library& library() { return opened()->library; }

Code code_of(const std::string& message, Code otherwise) {
  for (const char* const sign : {"Failed to allocate memory", "bad_alloc", "BFCArena"}) {
    if (message.find(sign) != std::string::npos) return Code::out_of_memory;
  }
  return otherwise;
}

void check(OrtStatus* status) { check_with(*library().api, status); }

}  // namespace stylogram::runtime
