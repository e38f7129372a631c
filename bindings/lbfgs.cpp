#include "ops/lbfgs.h"

#include <pybind11/numpy.h>

#include "buffer.h"
#include "registry.h"

namespace py = pybind11;

namespace stylogram::bindings {
namespace {

void step(ops::Lbfgs& lbfgs, const py::object& x, const py::object& gradient, const py::object& value) {
  Arguments arguments("lbfgs");
  const std::vector<std::int64_t> shape = {lbfgs.n(), lbfgs.d()};
  const View place = arguments.array_like("x", x, shape, Access::write);
  const View slope = arguments.array_like("gradient", gradient, shape);
  const double* values = nullptr;
  if (!value.is_none()) {
    values = arguments.array_like("value", value, {lbfgs.n()}, Access::read, Type::float64).doubles();
  }
  const py::gil_scoped_release release;
  lbfgs.step(place.floats(), slope.floats(), values, arguments.stream());
}

py::array_t<std::int64_t> count(const ops::Lbfgs& lbfgs) {
  py::array_t<std::int64_t> counts(lbfgs.n());
  for (std::int64_t n = 0; n < lbfgs.n(); ++n) counts.mutable_at(n) = lbfgs.count(n);
  return counts;
}

const char* name_of(ops::Lbfgs::Outcome outcome) {
  constexpr const char* names[] = {"first", "kept", "rejected", "halved", "restarted", "not finite"};
  return names[static_cast<int>(outcome)];
}

py::list outcome(const ops::Lbfgs& lbfgs) {
  py::list names;
  for (std::int64_t n = 0; n < lbfgs.n(); ++n) names.append(name_of(lbfgs.outcome(n)));
  return names;
}

const Registration here([](py::module_& m) {
  using ops::Lbfgs;
  const Lbfgs::Options defaults{};
  py::class_<Lbfgs>(m, unique(m, "Lbfgs"))
      .def(py::init([](std::int64_t n, std::int64_t d, std::int64_t history, double rate, double curvature,
                       bool backtrack, double tolerance, const std::string& precision, const std::string& directory) {
             const Lbfgs::Options options{rate, curvature, backtrack, tolerance};
             const lbfgs::Storage storage{lbfgs::precision_named(precision), directory};
             return std::make_unique<Lbfgs>(n, d, history, options, storage);
           }),
           py::arg("n"), py::arg("d"), py::arg("history"), py::kw_only(),
           py::arg("learning_rate") = defaults.learning_rate, py::arg("curvature") = defaults.curvature,
           py::arg("backtrack") = defaults.backtrack, py::arg("tolerance") = defaults.tolerance,
           py::arg("precision") = "float32", py::arg("directory") = "")
      .def("step", step, py::arg("x"), py::arg("gradient"), py::arg("value") = py::none())
      .def("reset", &Lbfgs::reset)
      .def_property_readonly("count", count)
      .def_property_readonly("outcome", outcome)
      .def_property_readonly("nbytes", &Lbfgs::bytes)
      .def_property("learning_rate", &Lbfgs::learning_rate, &Lbfgs::set_learning_rate);
});

}  // namespace
}  // namespace stylogram::bindings
