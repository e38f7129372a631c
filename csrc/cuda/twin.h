// The CUDA library of this build, a file of its own that is opened when it is asked for: so one build runs with and
// without a GPU, a driver or CUDA.
#pragma once

#include <string>
#include <typeinfo>
#include <vector>

#include "dispatch.h"

namespace stylogram::cuda {

/// Opens the library, in the place of one that was open. Throws std::invalid_argument where it is missing, broken or of
/// another build. It needs no GPU and no driver.
void open(const std::string& path);
/// The names of its functions; none before it is open.
std::vector<std::string> names();
/// A function by its name and its type's; throws if the library is not open or has none such.
void* find(const char* name, const char* type);

template <class Function>
Function* twin(const char* name) {
  return reinterpret_cast<Function*>(find(name, typeid(Function).name()));
}

/// How the kernels that this thread calls multiply on a GPU; at first as fp32.
Math math();
void set_math(Math math);

}  // namespace stylogram::cuda
