#include "ops/adam.h"

#include "buffer.h"
#include "registry.h"

namespace py = pybind11;

namespace stylogram::bindings {
namespace {

void step(ops::Adam& adam, const py::object& x, const py::object& gradient) {
  Arguments arguments("adam");
  const std::vector<std::int64_t> shape = {adam.n(), adam.d()};
  const View place = arguments.array_like("x", x, shape, Access::write);
  const View slope = arguments.array_like("gradient", gradient, shape);
  const py::gil_scoped_release release;
  adam.step(place.floats(), slope.floats(), arguments.stream());
}

void gradient_descent(const py::object& x, const py::object& gradient, double learning_rate) {
  Arguments arguments("gradient_descent");
  const View place = arguments.array("x", x, "(N, D)", Access::write);
  const View slope = arguments.array_like("gradient", gradient, place.shape);
  const py::gil_scoped_release release;
  ops::gradient_descent(place[0] * place[1], place.floats(), slope.floats(), learning_rate, arguments.stream());
}

const Registration here([](py::module_& m) {
  const ops::Adam::Options defaults{};
  py::class_<ops::Adam>(m, unique(m, "Adam"))
      .def(py::init([](std::int64_t n, std::int64_t d, double rate, double beta1, double beta2, double epsilon) {
             return std::make_unique<ops::Adam>(n, d, ops::Adam::Options{rate, beta1, beta2, epsilon});
           }),
           py::arg("n"), py::arg("d"), py::kw_only(), py::arg("learning_rate"), py::arg("beta1") = defaults.beta1,
           py::arg("beta2") = defaults.beta2, py::arg("epsilon") = defaults.epsilon)
      .def("step", step, py::arg("x"), py::arg("gradient"))
      .def("reset", &ops::Adam::reset)
      .def_property("learning_rate", &ops::Adam::learning_rate, &ops::Adam::set_learning_rate);
  m.def(unique(m, "gradient_descent"), gradient_descent, py::arg("x"), py::arg("gradient"), py::arg("learning_rate"));
});

}  // namespace
}  // namespace stylogram::bindings
