#include "ops/feature.h"

#include "buffer.h"
#include "registry.h"

namespace py = pybind11;

namespace stylogram::bindings {
namespace {

void feature_loss(const py::object& features, const py::object& target, const py::object& scale,
                  const py::object& gradient, const py::object& value, bool accumulate, const py::object& weight,
                  bool channels_last, float unit) {
  Arguments arguments("feature_loss");
  const View f = arguments.numbers("features", features, "(N, M)");
  ops::FeatureLoss loss{};
  loss.n = f[0];
  loss.m = f[1];
  loss.features = f.data;
  loss.form = {number_of(f), channels_last, unit};
  loss.target = arguments.array_like("target", target, f.shape).floats();
  loss.scale = arguments.array_like("scale", scale, {f[0]}, Access::read, Type::float64).doubles();
  loss.gradient = arguments.array_like("gradient", gradient, f.shape, Access::write, slope_of(f)).data;
  loss.value = arguments.array_like("value", value, {f[0]}, Access::write, Type::float64).doubles();
  loss.accumulate = accumulate;
  if (!weight.is_none()) {
    const View w = arguments.array("weight", weight, "(P,)");
    check(f[1] % w[0] == 0, "feature_loss", "features' M must be a multiple of weight's P, got M=", f[1], ", P=", w[0]);
    loss.weight = w.floats();
    loss.positions = w[0];
  }
  const py::gil_scoped_release release;
  ops::feature_loss(loss, arguments.stream());
}

const Registration here([](py::module_& m) {
  m.def(unique(m, "feature_loss"), feature_loss, py::arg("features"), py::arg("target"), py::arg("scale"),
        py::arg("gradient"), py::arg("value"), py::arg("accumulate"), py::arg("weight") = py::none(),
        py::arg("channels_last") = false, py::arg("unit") = 1.0F);
});

}  // namespace
}  // namespace stylogram::bindings
