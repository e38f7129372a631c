// What our ops in ONNX Runtime's CUDA provider share: numbers of 32 or 16 bits, and the kernels of the CUDA library.
#pragma once

#include "cuda/number.h"
#include "cuda/twin.h"
#include "ort/op.h"

namespace stylogram::ort {

/// `Base`: Node, or what has the op's attributes.
template <class Base>
class CudaNode : public Base {
 public:
  static ONNXTensorElementDataType input_type(std::size_t) { return ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED; }
  static ONNXTensorElementDataType output_type(std::size_t) { return ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED; }

 protected:
  using Base::Base;

  /// The type of the first input, and so of all.
  cuda::Number number(OrtKernelContext* context) const {
    switch (const auto found = this->type(this->input(context, 0)); found) {
      case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT:
        return cuda::Number::float32;
      case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16:
        return cuda::Number::float16;
      case ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16:
        return cuda::Number::bfloat16;
      default:
        fail(this->name_, "float32, float16 and bfloat16 are accepted, got ONNX Runtime's type ", int{found});
    }
  }

  /// Runs a function of the CUDA library in the session's stream.
  template <class Function, class Given>
  void call(OrtKernelContext* context, const char* function, const Given& given) const {
    void* stream = nullptr;
    this->require(this->api_.KernelContext_GetGPUComputeStream(context, &stream));
    cuda::twin<Function>(function)(given, {Device::cuda, stream, Math::fp32});
  }
};

}  // namespace stylogram::ort
