// What our ops share: the way to ONNX Runtime's C API, which is handed in, so that nothing is linked, and what it wants
// to know of an op.
#pragma once

#include <onnxruntime/onnxruntime_c_api.h>

#include <array>
#include <cstdint>
#include <exception>
#include <functional>
#include <string>
#include <vector>

#include "check.h"

namespace stylogram::ort {

constexpr std::uint32_t kApiVersion = 20;  // of the oldest ONNX Runtime that this package takes: 1.20

using Shape = std::vector<std::int64_t>;

/// One node's state, made from its attributes. `name`: the op's.
class Node {
 public:
  static constexpr int kReused = -1;  // the input whose memory the output may take, if nobody else reads it

  Node(const char* name, const OrtApi& api, const OrtKernelInfo* info) : name_(name), api_(api), info_(info) {}

  const OrtApi& api() const { return api_; }

 protected:
  void require(OrtStatus* status) const {
    if (status == nullptr) return;
    const std::string message = api_.GetErrorMessage(status);
    api_.ReleaseStatus(status);
    fail(name_, message);
  }

  // Attributes: while the node is made.

  std::string text(const char* attribute) const {
    std::size_t size = 0;
    require(api_.KernelInfoGetAttribute_string(info_, attribute, nullptr, &size));
    std::string value(size, '\0');
    require(api_.KernelInfoGetAttribute_string(info_, attribute, value.data(), &size));
    value.resize(size - 1);
    return value;
  }

  template <std::size_t Count>
  std::array<std::int64_t, Count> integers(const char* attribute) const {
    std::array<std::int64_t, Count> values = {};
    std::size_t size = Count;
    require(api_.KernelInfoGetAttributeArray_int64(info_, attribute, values.data(), &size));
    check(size == Count, name_, attribute, " must be ", Count, " numbers, got ", size);
    return values;
  }

  std::int64_t integer(const char* attribute) const {
    std::int64_t value = 0;
    require(api_.KernelInfoGetAttribute_int64(info_, attribute, &value));
    return value;
  }

  float real(const char* attribute) const {
    float value = 0;
    require(api_.KernelInfoGetAttribute_float(info_, attribute, &value));
    return value;
  }

  // Tensors: while it runs.

  std::size_t inputs(OrtKernelContext* context) const {
    std::size_t count = 0;
    require(api_.KernelContext_GetInputCount(context, &count));
    return count;
  }

  const OrtValue* input(OrtKernelContext* context, std::size_t index) const {
    const OrtValue* value = nullptr;
    require(api_.KernelContext_GetInput(context, index, &value));
    return value;
  }

  Shape shape(const OrtValue* value) const {
    OrtTensorTypeAndShapeInfo* info = nullptr;
    require(api_.GetTensorTypeAndShape(value, &info));
    std::size_t rank = 0;
    OrtStatus* status = api_.GetDimensionsCount(info, &rank);
    Shape dims(rank);
    if (status == nullptr) status = api_.GetDimensions(info, dims.data(), rank);
    api_.ReleaseTensorTypeAndShapeInfo(info);
    require(status);
    return dims;
  }

  ONNXTensorElementDataType type(const OrtValue* value) const {
    OrtTensorTypeAndShapeInfo* info = nullptr;
    require(api_.GetTensorTypeAndShape(value, &info));
    ONNXTensorElementDataType found = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
    OrtStatus* status = api_.GetTensorElementType(info, &found);
    api_.ReleaseTensorTypeAndShapeInfo(info);
    require(status);
    return found;
  }

  // The data of an input; null where it is absent.
  template <class T>
  const T* data(OrtKernelContext* context, std::size_t index) const {
    const OrtValue* value = input(context, index);
    if (value == nullptr) return nullptr;
    void* found = nullptr;
    require(api_.GetTensorMutableData(const_cast<OrtValue*>(value), &found));
    return static_cast<const T*>(found);
  }

  // The data of an input that has to be of this shape; null where it is absent.
  template <class T>
  const T* shaped(OrtKernelContext* context, std::size_t index, const char* name, const Shape& expected) const {
    const T* values = data<T>(context, index);
    check(values == nullptr || shape(input(context, index)) == expected, name_, name,
          " does not have the shape that the others ask for");
    return values;
  }

  // Null where the node has no such output.
  template <class T>
  T* made(OrtKernelContext* context, std::size_t index, const Shape& dims) const {
    OrtValue* value = nullptr;
    require(api_.KernelContext_GetOutput(context, index, dims.data(), dims.size(), &value));
    if (value == nullptr) return nullptr;
    void* found = nullptr;
    require(api_.GetTensorMutableData(value, &found));
    return static_cast<T*>(found);
  }

  /// Calls part(0) ... part(parts - 1) on the session's threads.
  void for_each(OrtKernelContext* context, std::int64_t parts, const std::function<void(std::int64_t)>& part) const {
    const auto call = [](void* body, std::size_t index) {
      (*static_cast<const std::function<void(std::int64_t)>*>(body))(static_cast<std::int64_t>(index));
    };
    auto* body = const_cast<std::function<void(std::int64_t)>*>(&part);
    require(api_.KernelContext_ParallelFor(context, call, static_cast<std::size_t>(parts), 0, body));
  }

  const char* name_;
  const OrtApi& api_;

 private:
  const OrtKernelInfo* info_;  // while the node is made
};

/// Calls body, and makes a status of what it throws: nothing may be thrown through ONNX Runtime.
template <class Body>
OrtStatus* guarded(const OrtApi& api, const Body& body) {
  try {
    body();
    return nullptr;
  } catch (const std::exception& error) {
    return api.CreateStatus(ORT_FAIL, error.what());
  }
}

/// What ONNX Runtime is told of an op. `Kernel`, a Node, has its name `kName`; `kInputs` and `kOutputs`, how many
/// there are; `kRequired`, how many of the inputs must be there (outputs may all be left out); `input_type` and
/// `output_type` of each; and `run`. `Where`: the provider that it is for.
enum class Provider { cpu, cuda };
template <class Kernel, Provider Where = Provider::cpu>
OrtCustomOp described() {
  OrtCustomOp op = {};
  op.version = kApiVersion;
  op.GetName = [](const OrtCustomOp*) { return Kernel::kName; };
  op.GetExecutionProviderType = [](const OrtCustomOp*) -> const char* {
    return Where == Provider::cuda ? "CUDAExecutionProvider" : "CPUExecutionProvider";
  };
  op.GetInputTypeCount = [](const OrtCustomOp*) -> std::size_t { return Kernel::kInputs; };
  op.GetOutputTypeCount = [](const OrtCustomOp*) -> std::size_t { return Kernel::kOutputs; };
  op.GetInputType = [](const OrtCustomOp*, std::size_t index) { return Kernel::input_type(index); };
  op.GetOutputType = [](const OrtCustomOp*, std::size_t index) { return Kernel::output_type(index); };
  op.GetInputCharacteristic = [](const OrtCustomOp*, std::size_t index) {
    return index < Kernel::kRequired ? INPUT_OUTPUT_REQUIRED : INPUT_OUTPUT_OPTIONAL;
  };
  op.GetOutputCharacteristic = [](const OrtCustomOp*, std::size_t) { return INPUT_OUTPUT_OPTIONAL; };
  op.GetInputMemoryType = [](const OrtCustomOp*, std::size_t) { return OrtMemTypeDefault; };
  op.GetVariadicInputMinArity = [](const OrtCustomOp*) { return 0; };
  op.GetVariadicInputHomogeneity = [](const OrtCustomOp*) { return 0; };
  op.GetVariadicOutputMinArity = [](const OrtCustomOp*) { return 0; };
  op.GetVariadicOutputHomogeneity = [](const OrtCustomOp*) { return 0; };
  op.CreateKernelV2 = [](const OrtCustomOp*, const OrtApi* api, const OrtKernelInfo* info, void** kernel) {
    return guarded(*api, [&] { *kernel = new Kernel(*api, info); });
  };
  op.KernelComputeV2 = [](void* kernel, OrtKernelContext* context) {
    const auto* node = static_cast<const Kernel*>(kernel);
    return guarded(node->api(), [&] { node->run(context); });
  };
  op.KernelDestroy = [](void* kernel) { delete static_cast<Kernel*>(kernel); };
  if (Kernel::kReused >= 0) {
    op.GetMayInplace = [](int** inputs, int** outputs) -> std::size_t {
      static int from = Kernel::kReused;
      static int to = 0;
      *inputs = &from;
      *outputs = &to;
      return 1;
    };
    op.ReleaseMayInplace = [](int*, int*) {};
  }
  op.GetStartVersion = [](const OrtCustomOp*) { return 1; };
  op.GetEndVersion = [](const OrtCustomOp*) { return 1; };
  return op;
}

}  // namespace stylogram::ort
