#include "registry.h"

PYBIND11_MODULE(_core, m) {
  m.doc() = "The kernels of Stylogram on arrays that are changed in place.";
  for (const auto function : stylogram::bindings::registrations()) function(m);
}
