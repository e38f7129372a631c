#include "ops/tv.h"

#include <string>
#include <utility>

#include "buffer.h"
#include "registry.h"

namespace py = pybind11;

namespace stylogram::bindings {
namespace {

constexpr std::pair<const char*, ops::TvKind> kKinds[] = {{"anisotropic", ops::TvKind::anisotropic},
                                                          {"isotropic", ops::TvKind::isotropic}};

ops::TvKind kind_of(const std::string& name) {
  std::string accepted;
  for (const auto& [known, kind] : kKinds) {
    if (name == known) return kind;
    accepted += (accepted.empty() ? "" : ", ") + std::string(known);
  }
  fail("tv", "kind must be one of ", accepted, "; got '", name, "'");
}

void tv(const py::object& picture, const std::string& kind, double power, double scale, const py::object& gradient,
        const py::object& value) {
  Arguments arguments("tv");
  const View x = arguments.array("picture", picture, "(N, C, H, W)");
  ops::Tv tv{x[0], x[1], x[2], x[3], x.floats(), kind_of(kind), power, scale, nullptr, nullptr};
  tv.gradient = arguments.array_like("gradient", gradient, x.shape, Access::write).floats();
  tv.value = arguments.array_like("value", value, {x[0]}, Access::write, Type::float64).doubles();
  const py::gil_scoped_release release;
  ops::tv(tv, arguments.stream());
}

const Registration here([](py::module_& m) {
  m.def(unique(m, "tv"), tv, py::arg("picture"), py::arg("kind"), py::arg("power"), py::arg("scale"),
        py::arg("gradient"), py::arg("value"));
});

}  // namespace
}  // namespace stylogram::bindings
