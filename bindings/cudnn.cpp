// What cuDNN has been found to do: see cudnn/convolution.h.
#include "cudnn/convolution.h"
#include "registry.h"

namespace py = pybind11;

namespace stylogram::bindings {
namespace {

py::dict choices() {
  const cudnn::Choices made = cudnn::choices();
  py::dict said;
  said["fused"] = made.fused;
  said["split"] = made.split;
  said["bare"] = made.bare;
  said["unsteady"] = made.unsteady;
  said["failed"] = made.failed;
  return said;
}

const Registration here([](py::module_& m) { m.def(unique(m, "cudnn_choices"), choices); });

}  // namespace
}  // namespace stylogram::bindings
