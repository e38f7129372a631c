#include "cuda/twin.h"

#include <cstring>
#include <mutex>

#include "cuda/registry.h"

#if defined(__linux__) || defined(__APPLE__)
#include <dlfcn.h>
#endif

namespace stylogram::cuda {
namespace {

std::mutex guard;
const Table* table = nullptr;
thread_local Math chosen = Math::fp32;

const Table* load(const std::string& path) {
#if defined(__linux__) || defined(__APPLE__)
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) fail("cuda", "the library of kernels cannot be opened: ", dlerror());
  void* address = dlsym(library, kTableOf);
  check(address != nullptr, "cuda", path, " is no library of kernels");
  TableOf made = nullptr;
  std::memcpy(&made, &address, sizeof(made));
  const Table* found = made();
  check(found->version == kVersion, "cuda", path, " is of another build: version ", found->version, ", needed ",
        kVersion);
  return found;
#else
  fail("cuda", "a library of kernels can be opened on Linux and macOS, not here: ", path);
#endif
}

}  // namespace

void open(const std::string& path) {
  const std::lock_guard<std::mutex> lock(guard);
  table = load(path);
}

std::vector<std::string> names() {
  const std::lock_guard<std::mutex> lock(guard);
  std::vector<std::string> found;
  for (std::size_t i = 0; table != nullptr && i < table->count; ++i) found.emplace_back(table->entries[i].name);
  return found;
}

void* find(const char* name, const char* type) {
  const std::lock_guard<std::mutex> lock(guard);
  check(table != nullptr, name, "the array is on a GPU, and the CUDA library is not open");
  for (std::size_t i = 0; i < table->count; ++i) {
    const Entry& entry = table->entries[i];
    if (std::strcmp(entry.name, name) != 0) continue;
    check(std::strcmp(entry.type, type) == 0, name, "the CUDA library is of another build");
    return entry.function;
  }
  fail(name, "no CUDA kernel in this build");
}

Math math() { return chosen; }
void set_math(Math math) { chosen = math; }

}  // namespace stylogram::cuda
