// The functions and classes of stylogram._core. A file of this directory registers its own; adding one edits nothing.
#pragma once

#include <pybind11/pybind11.h>

#include <stdexcept>
#include <string>
#include <vector>

namespace stylogram::bindings {

using Register = void (*)(pybind11::module_&);

inline std::vector<Register>& registrations() {
  static std::vector<Register> all;
  return all;
}

/// At file scope: `const Registration here([](py::module_& m) { ... });`
struct Registration {
  explicit Registration(Register function) { registrations().push_back(function); }
};

/// Throws if the module has the name already: a second definition would hide the first, or become its overload.
inline const char* unique(const pybind11::module_& module, const char* name) {
  if (pybind11::hasattr(module, name)) throw std::logic_error(std::string("_core has two definitions of ") + name);
  return name;
}

}  // namespace stylogram::bindings
