#include "ops/gram.h"

#include "buffer.h"
#include "registry.h"

namespace py = pybind11;

namespace stylogram::bindings {
namespace {

// Features (N, C, P), or (N, P, C) with the channels last, and the mask: None, (P,) for all pictures, or (N, P).
struct Given {
  View features;
  ops::GramShape shape;
};
Given given(Arguments& arguments, const py::object& features, const py::object& mask, bool channels_last, float unit) {
  const View f = arguments.numbers("features", features, channels_last ? "(N, P, C)" : "(N, C, P)");
  ops::GramShape shape{f[0], f[channels_last ? 2 : 1], f[channels_last ? 1 : 2]};
  shape.form = {number_of(f), channels_last, unit};
  if (mask.is_none()) return {f, shape};
  const bool shared = py::hasattr(mask, "shape") && py::len(mask.attr("shape")) == 1;
  const std::vector<std::int64_t> wanted =
      shared ? std::vector<std::int64_t>{shape.p} : std::vector<std::int64_t>{shape.n, shape.p};
  shape.mask = arguments.array_like("mask", mask, wanted).floats();
  shape.mask_stride = shared ? 0 : shape.p;
  return {f, shape};
}

void gram(const py::object& features, const py::object& out, const py::object& mask, bool channels_last, float unit) {
  Arguments arguments("gram");
  const auto [f, shape] = given(arguments, features, mask, channels_last, unit);
  const View g = arguments.array_like("out", out, {shape.n, shape.c, shape.c}, Access::write);
  const py::gil_scoped_release release;
  ops::gram(shape, f.data, g.floats(), arguments.stream());
}

void gram_loss(const py::object& features, const py::object& target, const py::object& scale, const py::object& offset,
               const py::object& gram, const py::object& gradient, const py::object& value, bool accumulate,
               const py::object& mask, bool channels_last, float unit) {
  Arguments arguments("gram_loss");
  const auto [f, shape] = given(arguments, features, mask, channels_last, unit);
  const std::vector<std::int64_t> square = {shape.n, shape.c, shape.c};
  ops::GramLoss loss{};
  loss.features = f.data;
  loss.target = arguments.array_like("target", target, square).floats();
  loss.scale = arguments.array_like("scale", scale, {f[0]}, Access::read, Type::float64).doubles();
  loss.offset = arguments.array_like("offset", offset, {f[0]}, Access::read, Type::float64).doubles();
  loss.gram = arguments.array_like("gram", gram, square, Access::write).floats();
  loss.gradient = arguments.array_like("gradient", gradient, f.shape, Access::write, slope_of(f)).data;
  loss.value = arguments.array_like("value", value, {f[0]}, Access::write, Type::float64).doubles();
  loss.accumulate = accumulate;
  const py::gil_scoped_release release;
  ops::gram_loss(shape, loss, arguments.stream());
}

const Registration here([](py::module_& m) {
  m.def(unique(m, "gram"), gram, py::arg("features"), py::arg("out"), py::arg("mask") = py::none(),
        py::arg("channels_last") = false, py::arg("unit") = 1.0F);
  m.def(unique(m, "gram_loss"), gram_loss, py::arg("features"), py::arg("target"), py::arg("scale"), py::arg("offset"),
        py::arg("gram"), py::arg("gradient"), py::arg("value"), py::arg("accumulate"), py::arg("mask") = py::none(),
        py::arg("channels_last") = false, py::arg("unit") = 1.0F);
});

}  // namespace
}  // namespace stylogram::bindings
