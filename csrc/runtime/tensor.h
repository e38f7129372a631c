// A tensor in memory of our own, which ONNX Runtime reads and writes in place.
#pragma once

#include <onnxruntime/onnxruntime_c_api.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "reserve.h"

namespace stylogram::runtime {

using Dims = std::vector<std::int64_t>;

template <class T>
using Owned = std::unique_ptr<T, void (*)(T*)>;

/// "1x3x?x?"; -1 is an open size.
std::string text(const Dims& dims);

/// The product of the dims.
std::int64_t numbers(const Dims& dims);

/// Shape and type of a tensor; -1 is an open size.
struct Kind {
  Dims dims;
  ONNXTensorElementDataType type = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
};

/// What `value` is.
Kind kind_of(const OrtValue* value);

/// What `value`, a tensor of float, holds. It belongs to the value.
const float* floats_of(OrtValue* value);

class Tensor {
 public:
  /// Zeroed. Throws std::bad_alloc, and Error for a type of no fixed size.
  explicit Tensor(Kind kind);

  const Dims& dims() const { return kind_.dims; }
  std::int64_t size() const { return numbers(kind_.dims); }
  float* floats() const { return memory_.floats(); }
  OrtValue* value() const { return value_.get(); }

 private:
  Kind kind_;
  Reserved memory_;
  Owned<OrtValue> value_;
};

}  // namespace stylogram::runtime
