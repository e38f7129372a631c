// The functions of the CUDA library by name. A .cu file registers its own; adding one edits nothing.
#pragma once

#include <cstddef>
#include <typeinfo>
#include <vector>

namespace stylogram::cuda {

/// A function, and the name of its type: who asks for another type is told, not crashed.
struct Entry {
  const char* name;
  const char* type;
  void* function;
};

/// What the library's only exported function, `stylogram_cuda`, returns.
struct Table {
  int version;
  const Entry* entries;
  std::size_t count;
};
constexpr int kVersion = 1;
using TableOf = const Table* (*)();
constexpr const char* kTableOf = "stylogram_cuda";

std::vector<Entry>& entries();

/// At file scope: `const Registration here("gram", &gram);`
struct Registration {
  template <class Result, class... Parameters>
  Registration(const char* name, Result (*function)(Parameters...)) {
    entries().push_back({name, typeid(Result(Parameters...)).name(), reinterpret_cast<void*>(function)});
  }
};

}  // namespace stylogram::cuda
