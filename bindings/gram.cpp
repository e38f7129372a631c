#include "ops/gram.h"

#include "buffer.h"
#include "registry.h"

namespace py = pybind11;

namespace stylogram::bindings {
namespace {

// The mask: None, (P,) for all pictures, or (N, P).
ops::GramShape shape_of(Arguments& arguments, const View& features, const py::object& mask) {
  ops::GramShape shape{features[0], features[1], features[2]};
  if (mask.is_none()) return shape;
  const bool shared = py::hasattr(mask, "shape") && py::len(mask.attr("shape")) == 1;
  const std::vector<std::int64_t> wanted =
      shared ? std::vector<std::int64_t>{shape.p} : std::vector<std::int64_t>{shape.n, shape.p};
  shape.mask = arguments.array_like("mask", mask, wanted).floats();
  shape.mask_stride = shared ? 0 : shape.p;
  return shape;
}

void gram(const py::object& features, const py::object& out, const py::object& mask) {
  Arguments arguments("gram");
  const View f = arguments.array("features", features, "(N, C, P)");
  const View g = arguments.array_like("out", out, {f[0], f[1], f[1]}, Access::write);
  const ops::GramShape shape = shape_of(arguments, f, mask);
  const py::gil_scoped_release release;
  ops::gram(shape, f.floats(), g.floats(), arguments.stream());
}

void gram_loss(const py::object& features, const py::object& target, const py::object& scale, const py::object& offset,
               const py::object& gram, const py::object& gradient, const py::object& value, bool accumulate,
               const py::object& mask) {
  Arguments arguments("gram_loss");
  const View f = arguments.array("features", features, "(N, C, P)");
  const std::vector<std::int64_t> square = {f[0], f[1], f[1]};
  ops::GramLoss loss{};
  loss.features = f.floats();
  loss.target = arguments.array_like("target", target, square).floats();
  loss.scale = arguments.array_like("scale", scale, {f[0]}, Access::read, Type::float64).doubles();
  loss.offset = arguments.array_like("offset", offset, {f[0]}, Access::read, Type::float64).doubles();
  loss.gram = arguments.array_like("gram", gram, square, Access::write).floats();
  loss.gradient = arguments.array_like("gradient", gradient, f.shape, Access::write).floats();
  loss.value = arguments.array_like("value", value, {f[0]}, Access::write, Type::float64).doubles();
  loss.accumulate = accumulate;
  const ops::GramShape shape = shape_of(arguments, f, mask);
  const py::gil_scoped_release release;
  ops::gram_loss(shape, loss, arguments.stream());
}

const Registration here([](py::module_& m) {
  m.def(unique(m, "gram"), gram, py::arg("features"), py::arg("out"), py::arg("mask") = py::none());
  m.def(unique(m, "gram_loss"), gram_loss, py::arg("features"), py::arg("target"), py::arg("scale"), py::arg("offset"),
        py::arg("gram"), py::arg("gradient"), py::arg("value"), py::arg("accumulate"), py::arg("mask") = py::none());
});

}  // namespace
}  // namespace stylogram::bindings
