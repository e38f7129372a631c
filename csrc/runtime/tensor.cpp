#include "runtime/tensor.h"

#include "runtime/errors.h"
#include "runtime/library.h"

namespace stylogram::runtime {
namespace {

std::size_t bytes_of(ONNXTensorElementDataType type) {
  switch (type) {
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT:
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32:
      return 4;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64:
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE:
      return 8;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL:
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8:
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8:
      return 1;
    default:
      fail(Code::network, "the pair hands over tensors of ONNX's element type ", static_cast<int>(type),
           ", which is not accepted");
  }
}

std::size_t bytes_of(const Kind& kind) { return static_cast<std::size_t>(numbers(kind.dims)) * bytes_of(kind.type); }

Owned<OrtValue> value_over(const Kind& kind, float* data) {
  const OrtApi& api = *library().api;
  OrtMemoryInfo* memory = nullptr;
  check(api.CreateCpuMemoryInfo(OrtDeviceAllocator, OrtMemTypeDefault, &memory));
  const Owned<OrtMemoryInfo> owned(memory, api.ReleaseMemoryInfo);
  OrtValue* value = nullptr;
  check(api.CreateTensorWithDataAsOrtValue(memory, data, bytes_of(kind), kind.dims.data(), kind.dims.size(), kind.type,
                                           &value));
  return {value, api.ReleaseValue};
}

}  // namespace

std::string text(const Dims& dims) {
  std::string joined;
  for (const std::int64_t size : dims) {
    joined += (joined.empty() ? "" : "x") + (size < 0 ? std::string("?") : std::to_string(size));
  }
  return joined;
}

std::int64_t numbers(const Dims& dims) {
  std::int64_t product = 1;
  for (const std::int64_t size : dims) product *= size;
  return product;
}

Kind kind_of(const OrtValue* value) {
  const OrtApi& api = *library().api;
  OrtTensorTypeAndShapeInfo* info = nullptr;
  check(api.GetTensorTypeAndShape(value, &info));
  const Owned<OrtTensorTypeAndShapeInfo> owned(info, api.ReleaseTensorTypeAndShapeInfo);
  Kind kind;
  std::size_t rank = 0;
  check(api.GetDimensionsCount(info, &rank));
  kind.dims.resize(rank);
  check(api.GetDimensions(info, kind.dims.data(), rank));
  check(api.GetTensorElementType(info, &kind.type));
  return kind;
}

const float* floats_of(OrtValue* value) {
  void* data = nullptr;
  check(library().api->GetTensorMutableData(value, &data));
  return static_cast<const float*>(data);
}

Tensor::Tensor(Kind kind)
    : kind_(std::move(kind)), memory_(bytes_of(kind_)), value_(value_over(kind_, memory_.floats())) {}

}  // namespace stylogram::runtime
