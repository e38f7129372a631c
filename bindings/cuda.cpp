// The CUDA library: devices, memory, streams, graphs, and the objects that live on a GPU. Addresses, streams and graphs
// are integers here; engine/stylogram/devices/ makes objects of them.
#include <pybind11/stl.h>

#include <memory>
#include <string>
#include <utility>

#include "buffer.h"
#include "cuda/memory.h"
#include "cuda/states.h"
#include "cuda/twin.h"
#include "registry.h"

namespace py = pybind11;

namespace stylogram::bindings {
namespace {

using cuda::twin;
using Address = std::uintptr_t;

template <class T = void>
T* pointer(Address address) {
  return reinterpret_cast<T*>(address);
}

Stream queue(Address stream) { return {Device::cuda, pointer(stream), cuda::math()}; }

constexpr std::pair<const char*, Math> kMaths[] = {{"fp32", Math::fp32}, {"tf32", Math::tf32}, {"bf16", Math::bf16}};

void set_math(const std::string& name) {
  std::string accepted;
  for (const auto& [known, math] : kMaths) {
    if (name == known) return cuda::set_math(math);
    accepted += (accepted.empty() ? "" : ", ") + std::string(known);
  }
  fail("cuda_set_math", "one of ", accepted, " is accepted, got '", name, "'");
}

py::dict describe(int device) {
  cuda::DeviceOf of{};
  twin<cuda::Describe>("describe")(device, &of);
  py::dict found;
  found["name"] = std::string(of.name);
  found["capability"] = py::make_tuple(of.major, of.minor);
  found["free"] = of.free;
  found["total"] = of.total;
  return found;
}

void copy(Address to, Address from, std::size_t bytes, Address stream) {
  const py::gil_scoped_release release;
  twin<cuda::Copy>("copy")(pointer(to), pointer<const void>(from), bytes, queue(stream));
}

void wait(Address stream) {
  const py::gil_scoped_release release;
  twin<cuda::Wait>("wait")(queue(stream));
}

void define_memory(py::module_& m) {
  m.def("cuda_open", &cuda::open, py::arg("path"));
  m.def("cuda_kernels", &cuda::names);
  m.def("cuda_set_math", set_math, py::arg("name"));
  m.def("cuda_devices", [] { return twin<cuda::CountDevices>("count_devices")(); });
  m.def("cuda_device", describe, py::arg("device"));
  m.def("cuda_use", [](int device) { twin<cuda::UseDevice>("use_device")(device); }, py::arg("device"));
  m.def(
      "cuda_allocate",
      [](std::size_t bytes) { return reinterpret_cast<Address>(twin<cuda::Allocate>("allocate")(bytes)); },
      py::arg("count"));
  m.def("cuda_free", [](Address block) { twin<cuda::Release>("release")(pointer(block)); }, py::arg("block"));
  m.def("cuda_copy", copy, py::arg("to"), py::arg("source"), py::arg("count"), py::arg("stream"));
  m.def(
      "cuda_clear",
      [](Address block, std::size_t bytes, Address stream) {
        twin<cuda::Clear>("clear")(pointer(block), bytes, queue(stream));
      },
      py::arg("block"), py::arg("count"), py::arg("stream"));
}

void define_streams(py::module_& m) {
  m.def("cuda_stream", [] { return reinterpret_cast<Address>(twin<cuda::MakeStream>("make_stream")()); });
  m.def(
      "cuda_free_stream", [](Address stream) { twin<cuda::FreeStream>("free_stream")(pointer(stream)); },
      py::arg("stream"));
  m.def("cuda_wait", wait, py::arg("stream"));
  m.def(
      "cuda_begin_capture", [](Address stream) { twin<cuda::BeginCapture>("begin_capture")(queue(stream)); },
      py::arg("stream"));
  m.def(
      "cuda_end_capture",
      [](Address stream) { return reinterpret_cast<Address>(twin<cuda::EndCapture>("end_capture")(queue(stream))); },
      py::arg("stream"));
  m.def(
      "cuda_run_graph",
      [](Address graph, Address stream) { twin<cuda::RunGraph>("run_graph")(pointer(graph), queue(stream)); },
      py::arg("graph"), py::arg("stream"));
  m.def(
      "cuda_free_graph", [](Address graph) { twin<cuda::FreeGraph>("free_graph")(pointer(graph)); }, py::arg("graph"));
}

// The state of n pictures of d numbers, and its sizes: what a step is checked against.
template <class State>
struct Sized {
  std::int64_t n, d;
  std::unique_ptr<State> state;
};
using Lbfgs = Sized<cuda::LbfgsState>;
using Adam = Sized<cuda::AdamState>;

Stream device_stream(const Arguments& arguments) {
  const Stream stream = arguments.stream();
  check(stream.device == Device::cuda, arguments.op(), "this object is a GPU's, and the arrays are not on one");
  return stream;
}

template <class State>
std::pair<float*, const float*> point(Arguments& arguments, const Sized<State>& sized, const py::object& x,
                                      const py::object& gradient) {
  const std::vector<std::int64_t> shape = {sized.n, sized.d};
  float* place = arguments.array_like("x", x, shape, Access::write).floats();
  return {place, arguments.array_like("gradient", gradient, shape).floats()};
}

std::unique_ptr<Lbfgs> make_lbfgs(std::int64_t n, std::int64_t d, std::int64_t history, double rate, double curvature,
                                  bool backtrack, double tolerance, const std::string& precision) {
  const ops::Lbfgs::Options options{rate, curvature, backtrack, tolerance};
  const ops::Lbfgs checked(1, 1, 1, options);  // throws for options that the CPU's would not take either
  auto* made = twin<cuda::MakeLbfgs>("make_lbfgs")(n, d, history, options, lbfgs::precision_named(precision));
  return std::make_unique<Lbfgs>(Lbfgs{n, d, std::unique_ptr<cuda::LbfgsState>(made)});
}

void step(Lbfgs& lbfgs, const py::object& x, const py::object& gradient, const py::object& value) {
  Arguments arguments("lbfgs");
  const auto [place, slope] = point(arguments, lbfgs, x, gradient);
  const double* values = nullptr;
  if (!value.is_none()) {
    values = arguments.array_like("value", value, {lbfgs.n}, Access::read, Type::float64).doubles();
  }
  lbfgs.state->step(place, slope, values, device_stream(arguments));
}

py::tuple look(const Lbfgs& lbfgs, Address stream) {
  constexpr const char* names[] = {"first", "kept", "rejected", "halved", "restarted", "not finite"};
  std::vector<std::int64_t> counts(static_cast<std::size_t>(lbfgs.n));
  std::vector<ops::Lbfgs::Outcome> outcomes(counts.size());
  lbfgs.state->look(counts.data(), outcomes.data(), queue(stream));
  py::list said;
  for (const ops::Lbfgs::Outcome outcome : outcomes) said.append(names[static_cast<int>(outcome)]);
  return py::make_tuple(counts, said);
}

void define_lbfgs(py::module_& m) {
  const ops::Lbfgs::Options defaults{};
  py::class_<Lbfgs>(m, "CudaLbfgs")
      .def(py::init(&make_lbfgs), py::arg("n"), py::arg("d"), py::arg("history"), py::kw_only(),
           py::arg("learning_rate") = defaults.learning_rate, py::arg("curvature") = defaults.curvature,
           py::arg("backtrack") = defaults.backtrack, py::arg("tolerance") = defaults.tolerance,
           py::arg("precision") = "float32")
      .def("step", step, py::arg("x"), py::arg("gradient"), py::arg("value") = py::none())
      .def("look", look, py::arg("stream"))
      .def_property_readonly("nbytes", [](const Lbfgs& lbfgs) { return lbfgs.state->bytes(); });
}

std::unique_ptr<Adam> make_adam(std::int64_t n, std::int64_t d, double rate, double beta1, double beta2, double epsilon,
                                double decay, double decay_every) {
  const ops::Adam::Options options{rate, beta1, beta2, epsilon};
  const ops::Adam checked(1, 1, options);
  check(n >= 1 && d >= 1 && decay > 0 && decay_every > 0, "adam", "n, d >= 1 and decays > 0 are accepted");
  auto* made = twin<cuda::MakeAdam>("make_adam")(n, d, options, {decay, decay_every});
  return std::make_unique<Adam>(Adam{n, d, std::unique_ptr<cuda::AdamState>(made)});
}

void define_adam(py::module_& m) {
  const ops::Adam::Options defaults{};
  py::class_<Adam>(m, "CudaAdam")
      .def(py::init(&make_adam), py::arg("n"), py::arg("d"), py::kw_only(), py::arg("learning_rate"),
           py::arg("beta1") = defaults.beta1, py::arg("beta2") = defaults.beta2, py::arg("epsilon") = defaults.epsilon,
           py::arg("decay") = 1.0, py::arg("decay_every") = 1.0)
      .def(
          "step",
          [](Adam& adam, const py::object& x, const py::object& gradient) {
            Arguments arguments("adam");
            const auto [place, slope] = point(arguments, adam, x, gradient);
            adam.state->step(place, slope, device_stream(arguments));
          },
          py::arg("x"), py::arg("gradient"));
}

struct Pyramid {
  std::int64_t planes, height, width;
  std::unique_ptr<cuda::PyramidState> state;
};

void define_pyramid(py::module_& m) {
  py::class_<Pyramid>(m, "CudaPyramid")
      .def(
          py::init([](std::int64_t planes, std::int64_t height, std::int64_t width, std::int64_t levels,
                      double growth) {
            auto* made = twin<cuda::MakePyramid>("make_pyramid")(planes, height, width, levels, growth);
            return std::make_unique<Pyramid>(Pyramid{planes, height, width, std::unique_ptr<cuda::PyramidState>(made)});
          }),
          py::arg("planes"), py::arg("height"), py::arg("width"), py::arg("levels"), py::arg("growth") = 2.0)
      .def(
          "apply",
          [](Pyramid& pyramid, const py::object& v, const py::object& base, const py::object& out) {
            Arguments arguments("pyramid");
            const std::vector<std::int64_t> shape = {pyramid.planes, pyramid.height, pyramid.width};
            const float* in = arguments.array_like("v", v, shape).floats();
            const float* offset = base.is_none() ? nullptr : arguments.array_like("base", base, shape).floats();
            float* to = arguments.array_like("out", out, shape, Access::write).floats();
            pyramid.state->apply(in, offset, to, device_stream(arguments));
          },
          py::arg("v"), py::arg("base"), py::arg("out"))
      .def_property_readonly("levels", [](const Pyramid& pyramid) { return pyramid.state->levels(); });
}

void follow(std::int64_t n, std::int64_t d, std::int64_t terms, std::int64_t rows, const py::dict& at, Address stream) {
  const auto address = [&](const char* name) { return at[name].cast<Address>(); };
  cuda::Course course{};
  course.n = n;
  course.d = d;
  course.terms = terms;
  course.rows = rows;
  course.picture = pointer<const float>(address("picture"));
  course.gradient = pointer<const float>(address("gradient"));
  course.values = pointer<const double>(address("values"));
  course.total = pointer<double>(address("total"));
  course.best = pointer<float>(address("best"));
  course.least = pointer<double>(address("least"));
  course.going = pointer<const std::int32_t>(address("going"));
  course.record = pointer<double>(address("record"));
  course.evaluations = pointer<std::int64_t>(address("evaluations"));
  course.better = pointer<std::int32_t>(address("better"));
  twin<cuda::Follow>("follow")(course, queue(stream));
}

void clip(const py::object& x, float low, float high) {
  Arguments arguments("clip");
  const View place = arguments.array("x", x, "(N, D)", Access::write);
  twin<cuda::Clip>("clip")(place[0] * place[1], place.floats(), low, high, device_stream(arguments));
}

// DLPack 0.8's structures (github.com/dmlc/dlpack, dlpack.h), as far as they are filled here.
struct DlTensor {
  void* data;
  std::int32_t device_type, device_id, ndim;
  std::uint8_t code, bits;
  std::uint16_t lanes;
  std::int64_t* shape;
  std::int64_t* strides;
  std::uint64_t byte_offset;
};
struct DlManaged {
  DlTensor tensor;
  void* context;
  void (*deleter)(DlManaged*);
};

// What a capsule keeps: the array that owns the memory, and the shape.
struct DlOwner {
  py::object array;
  std::vector<std::int64_t> shape;
  DlManaged managed;
};

void free_dlpack(DlManaged* managed) {
  const py::gil_scoped_acquire acquire;
  delete static_cast<DlOwner*>(managed->context);
}

// A capsule that nobody took is freed by its destructor; whoever takes it renames it and calls the deleter.
py::capsule dlpack(const py::object& array, Address address, std::vector<std::int64_t> shape, const std::string& kind,
                   int bytes, int device) {
  constexpr std::int32_t cuda = 2;
  auto* owner = new DlOwner{array, std::move(shape), {}};
  const std::uint8_t code = kind == "f" ? 2 : kind == "i" ? 0 : 1;
  owner->managed.tensor = {pointer(address),
                           cuda,
                           device,
                           static_cast<std::int32_t>(owner->shape.size()),
                           code,
                           static_cast<std::uint8_t>(8 * bytes),
                           1,
                           owner->shape.data(),
                           nullptr,
                           0};
  owner->managed.context = owner;
  owner->managed.deleter = free_dlpack;
  return py::reinterpret_steal<py::capsule>(PyCapsule_New(&owner->managed, "dltensor", [](PyObject* capsule) {
    if (PyCapsule_IsValid(capsule, "dltensor") == 0) return;
    auto* managed = static_cast<DlManaged*>(PyCapsule_GetPointer(capsule, "dltensor"));
    managed->deleter(managed);
  }));
}

const Registration here([](py::module_& m) {
  m.def("cuda_dlpack", dlpack, py::arg("array"), py::arg("address"), py::arg("shape"), py::arg("kind"),
        py::arg("count"), py::arg("device"));
  define_memory(m);
  define_streams(m);
  define_lbfgs(m);
  define_adam(m);
  define_pyramid(m);
  m.def("cuda_follow", follow, py::arg("n"), py::arg("d"), py::arg("terms"), py::arg("rows"), py::arg("at"),
        py::arg("stream"));
  m.def("cuda_clip", clip, py::arg("x"), py::arg("low"), py::arg("high"));
});

}  // namespace
}  // namespace stylogram::bindings
