#include "buffer.h"

#include <pybind11/numpy.h>

#include <algorithm>

#include "cuda/twin.h"

namespace py = pybind11;

namespace stylogram::bindings {
namespace {

struct Described {
  const char* name;
  const char* typestr;
  std::int64_t bytes;
};

// In the order of Type.
constexpr Described kTypes[] = {
    {"float32", "<f4", 4}, {"float64", "<f8", 8}, {"float16", "<f2", 2}, {"bfloat16 (as uint16)", "<u2", 2}};

const Described& described(Type type) { return kTypes[static_cast<std::size_t>(type)]; }

std::string typestr_of(py::handle object) {
  return py::dict(object.attr("__cuda_array_interface__"))["typestr"].cast<std::string>();
}

bool is_contiguous(const std::vector<std::int64_t>& shape, const py::tuple& strides, Type type) {
  std::int64_t expected = described(type).bytes;
  for (std::size_t axis = shape.size(); axis-- > 0;) {
    if (shape[axis] != 1 && strides[axis].cast<std::int64_t>() != expected) return false;
    expected *= shape[axis];
  }
  return true;
}

}  // namespace

std::string text(const std::vector<std::int64_t>& shape) {
  std::string out = "(";
  for (std::size_t axis = 0; axis < shape.size(); ++axis) {
    out += (axis > 0 ? ", " : "") + std::to_string(shape[axis]);
  }
  return out + (shape.size() == 1 ? ",)" : ")");
}

void Arguments::use(const char* name, Device device) {
  check(!seen_ || device == stream_.device, op_, name, " is on another device than the arrays before it");
  seen_ = true;
  stream_.device = device;
  stream_.math = cuda::math();
}

View Arguments::numpy_view(const char* name, py::handle object, Access access, Type type) const {
  const auto array = py::reinterpret_borrow<py::array>(object);
  const bool same_type =
      type == Type::float32 ? py::isinstance<py::array_t<float>>(array) : py::isinstance<py::array_t<double>>(array);
  check(same_type, op_, name, " must be ", described(type).name, ", got ", py::str(array.dtype()).cast<std::string>());
  check((array.flags() & py::array::c_style) != 0, op_, name, " must be C-contiguous");
  check(access == Access::read || array.writeable(), op_, name, " must be writable");
  const auto address = reinterpret_cast<std::uintptr_t>(array.data());
  check(address % static_cast<std::uintptr_t>(described(type).bytes) == 0, op_, name, " must be aligned to its type");
  return {const_cast<void*>(array.data()), {array.shape(), array.shape() + array.ndim()}, type};
}

View Arguments::cuda_view(const char* name, py::handle object, Access access, Type type) {
  const py::dict interface = object.attr("__cuda_array_interface__");
  const std::string typestr = typestr_of(object);
  check(typestr == described(type).typestr, op_, name, " must be ", described(type).name, ", got ", typestr);
  const auto shape = interface["shape"].cast<py::tuple>();
  View view{nullptr, {}, type};
  for (const py::handle size : shape) view.shape.push_back(size.cast<std::int64_t>());
  const bool strided = interface.contains("strides") && !interface["strides"].is_none();
  check(!strided || is_contiguous(view.shape, interface["strides"].cast<py::tuple>(), type), op_, name,
        " must be C-contiguous");
  const auto data = interface["data"].cast<py::tuple>();
  check(access == Access::read || !data[1].cast<bool>(), op_, name, " must be writable");
  view.data = reinterpret_cast<void*>(data[0].cast<std::uintptr_t>());
  if (interface.contains("stream") && !interface["stream"].is_none()) {
    stream_.handle = reinterpret_cast<void*>(interface["stream"].cast<std::uintptr_t>());
  }
  return view;
}

View Arguments::view(const char* name, py::handle object, Access access, Type type) {
  if (py::isinstance<py::array>(object)) {
    use(name, Device::cpu);
    return numpy_view(name, object, access, type);
  }
  if (py::hasattr(object, "__cuda_array_interface__")) {
    use(name, Device::cuda);
    return cuda_view(name, object, access, type);
  }
  fail(op_, name, " must be a NumPy array or have __cuda_array_interface__, got ",
       py::str(py::type::handle_of(object).attr("__name__")).cast<std::string>());
}

View Arguments::array(const char* name, py::handle object, const std::string& axes, Access access, Type type) {
  View view = this->view(name, object, access, type);
  const auto wanted = static_cast<std::size_t>(std::count(axes.begin(), axes.end(), ' ') + 1);
  check(view.shape.size() == wanted, op_, name, " must be ", axes, ", got ndim=", view.shape.size());
  for (const std::int64_t size : view.shape) check(size > 0, op_, name, " must not be empty, got ", text(view.shape));
  return view;
}

View Arguments::numbers(const char* name, py::handle object, const std::string& axes) {
  Type found = Type::float32;
  if (py::hasattr(object, "__cuda_array_interface__")) {
    const std::string typestr = typestr_of(object);
    for (const Type type : {Type::float16, Type::bfloat16}) found = typestr == described(type).typestr ? type : found;
  }
  return array(name, object, axes, Access::read, found);
}

cuda::Number number_of(const View& view) {
  if (view.type == Type::float16) return cuda::Number::float16;
  return view.type == Type::bfloat16 ? cuda::Number::bfloat16 : cuda::Number::float32;
}

Type slope_of(const View& features) { return features.type == Type::bfloat16 ? Type::bfloat16 : Type::float32; }

View Arguments::array_like(const char* name, py::handle object, const std::vector<std::int64_t>& shape, Access access,
                           Type type) {
  View view = this->view(name, object, access, type);
  check(view.shape == shape, op_, name, " must have shape ", text(shape), ", got ", text(view.shape));
  return view;
}

}  // namespace stylogram::bindings
