#include "ops/pyramid.h"

#include <memory>

#include "buffer.h"
#include "registry.h"

namespace py = pybind11;

namespace stylogram::bindings {
namespace {

// An array of the pyramid's pictures, with planes as one axis or as two.
float* pictures(Arguments& arguments, const char* name, const py::object& object, const ops::Pyramid& pyramid,
                Access access) {
  const bool batch = py::hasattr(object, "shape") && py::len(object.attr("shape")) == 4;
  if (!batch) {
    return arguments.array_like(name, object, {pyramid.planes(), pyramid.height(), pyramid.width()}, access).floats();
  }
  const View view = arguments.array(name, object, "(N, C, H, W)", access);
  check(view[0] * view[1] == pyramid.planes() && view[2] == pyramid.height() && view[3] == pyramid.width(),
        arguments.op(), name, " must be (N, C, ", pyramid.height(), ", ", pyramid.width(),
        ") with N C = ", pyramid.planes(), ", got ", text(view.shape));
  return view.floats();
}

void apply(ops::Pyramid& pyramid, const py::object& v, const py::object& out) {
  Arguments arguments("pyramid");
  const float* in = pictures(arguments, "v", v, pyramid, Access::read);
  float* to = pictures(arguments, "out", out, pyramid, Access::write);
  const py::gil_scoped_release release;
  pyramid.apply(in, to, arguments.stream());
}

void apply_add(ops::Pyramid& pyramid, const py::object& v, const py::object& base, const py::object& out) {
  Arguments arguments("pyramid");
  const float* in = pictures(arguments, "v", v, pyramid, Access::read);
  const float* offset = pictures(arguments, "base", base, pyramid, Access::read);
  float* to = pictures(arguments, "out", out, pyramid, Access::write);
  const py::gil_scoped_release release;
  pyramid.apply_add(in, offset, to, arguments.stream());
}

const Registration here([](py::module_& m) {
  using ops::Pyramid;
  py::class_<Pyramid>(m, unique(m, "Pyramid"))
      .def(py::init<std::int64_t, std::int64_t, std::int64_t, std::int64_t, double>(), py::arg("planes"),
           py::arg("height"), py::arg("width"), py::arg("levels"), py::arg("growth") = 2.0)
      .def("apply", apply, py::arg("v"), py::arg("out"))
      .def("apply_add", apply_add, py::arg("v"), py::arg("base"), py::arg("out"))
      .def_property_readonly("levels", &Pyramid::levels);
});

}  // namespace
}  // namespace stylogram::bindings
