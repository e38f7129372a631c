#include "cudnn/backend.h"

#include <cstring>
#include <string>

#include "check.h"

#if defined(__linux__)
#include <dlfcn.h>
#endif

namespace stylogram::cudnn {
namespace {

constexpr const char* kLibrary = "libcudnn.so.9";

struct Functions {
  int (*create)(int kind, void** made);
  int (*destroy)(void* made);
  int (*set)(void* made, int name, int type, std::int64_t count, const void* values);
  int (*get)(void* made, int name, int type, std::int64_t wanted, std::int64_t* count, void* values);
  int (*finalize)(void* made);
  int (*execute)(void* handle, void* plan, void* pack);
  const char* (*error)(int status);
};

template <class Function>
void find(void* library, const char* name, Function& function) {
#if defined(__linux__)
  void* address = dlsym(library, name);
  check(address != nullptr, "cudnn", kLibrary, " has no ", name);
  std::memcpy(&function, &address, sizeof(function));
#endif
}

Functions load() {
#if defined(__linux__)
  void* library = dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) fail("cudnn", kLibrary, " cannot be opened: ", dlerror());
  Functions found = {};
  find(library, "cudnnBackendCreateDescriptor", found.create);
  find(library, "cudnnBackendDestroyDescriptor", found.destroy);
  find(library, "cudnnBackendSetAttribute", found.set);
  find(library, "cudnnBackendGetAttribute", found.get);
  find(library, "cudnnBackendFinalize", found.finalize);
  find(library, "cudnnBackendExecute", found.execute);
  find(library, "cudnnGetErrorString", found.error);
  return found;
#else
  fail("cudnn", kLibrary, " can be opened on Linux, not here");
#endif
}

const Functions& functions() {
  static const Functions found = load();
  return found;
}

void require(int status, const char* doing) {
  if (status == 0) return;
  throw Refusal(std::string("[cudnn] ") + doing + ": cuDNN says " + functions().error(status) + " (" +
                std::to_string(status) + ")");
}

}  // namespace

Descriptor::Descriptor(Kind kind) {
  require(functions().create(static_cast<int>(kind), &made_), "making a descriptor");
}

Descriptor::~Descriptor() {
  if (made_ != nullptr) functions().destroy(made_);
}

void Descriptor::set(Name name, Type type, std::int64_t count, const void* values) {
  require(functions().set(made_, static_cast<int>(name), static_cast<int>(type), count, values), "an attribute");
}

void Descriptor::finish() { require(functions().finalize(made_), "finishing a descriptor"); }

std::int64_t Descriptor::get(Name name, Type type, std::int64_t count, void* values) const {
  std::int64_t found = 0;
  require(functions().get(made_, static_cast<int>(name), static_cast<int>(type), count, &found, values),
          "reading an attribute");
  return found;
}

void execute(Handle handle, const Descriptor& plan, const Descriptor& pack) {
  require(functions().execute(handle, plan.made(), pack.made()), "running a convolution");
}

}  // namespace stylogram::cudnn
