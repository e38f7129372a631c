// What a kernel needs to know of an array that Python passes: address, shape, device. Nothing is copied or converted.
//
// Accepted: NumPy arrays, and objects with __cuda_array_interface__ (CuPy, PyTorch, Numba) for memory on a GPU; in row
// order, and of exactly the type that the kernel takes. bfloat16, for which NumPy has no name, is said as uint16.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cuda/number.h"
#include "dispatch.h"

namespace stylogram::bindings {

enum class Type { float32, float64, float16, bfloat16 };
enum class Access { read, write };

struct View {
  void* data;
  std::vector<std::int64_t> shape;
  Type type = Type::float32;

  std::int64_t operator[](std::size_t axis) const { return shape[axis]; }
  float* floats() const { return static_cast<float*>(data); }
  double* doubles() const { return static_cast<double*>(data); }
};

/// What a kernel calls the type of an array that numbers() took.
cuda::Number number_of(const View& view);
/// The type of gradients on features of this type (ops/form.h).
Type slope_of(const View& features);

/// The shape as Python writes it: (2, 3), (4,).
std::string text(const std::vector<std::int64_t>& shape);

/// The arrays of one call, which must all be on one device. Errors start with `[op]`.
class Arguments {
 public:
  explicit Arguments(const char* op) : op_(op) {}

  /// An array with as many axes as `axes` names, e.g. "(N, C, P)", none of them empty.
  View array(const char* name, pybind11::handle object, const std::string& axes, Access access = Access::read,
             Type type = Type::float32);
  /// The same of float32 or, on a GPU, of 16 bits.
  View numbers(const char* name, pybind11::handle object, const std::string& axes);
  /// An array of exactly this shape.
  View array_like(const char* name, pybind11::handle object, const std::vector<std::int64_t>& shape,
                  Access access = Access::read, Type type = Type::float32);
  /// The device of the arrays seen so far, and the stream that they name.
  Stream stream() const { return stream_; }
  const char* op() const { return op_; }

 private:
  View view(const char* name, pybind11::handle object, Access access, Type type);
  View numpy_view(const char* name, pybind11::handle object, Access access, Type type) const;
  View cuda_view(const char* name, pybind11::handle object, Access access, Type type);
  void use(const char* name, Device device);

  const char* op_;
  Stream stream_;
  bool seen_ = false;
};

}  // namespace stylogram::bindings
