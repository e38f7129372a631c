// CudaNarrow, CudaWiden and CudaPeak: float32 to 16 bits and back in ONNX Runtime's CUDA provider (narrow/cast.h). An
// op has one type for what it makes: the first two have a name more for bfloat16.
#pragma once

#include "ort/cuda_op.h"

namespace stylogram::ort {

/// `scale` and `channels_last`.
template <cuda::Number Narrow>
class CudaCast : public CudaNode<Node> {
 public:
  enum Input : std::size_t { kX, kPeak, kInputs };
  enum Output : std::size_t { kY, kOutputs };
  static constexpr std::size_t kRequired = kPeak;
  static constexpr auto kType =
      Narrow == cuda::Number::float16 ? ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16 : ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16;

 protected:
  CudaCast(const char* name, const OrtApi& api, const OrtKernelInfo* info)
      : CudaNode(name, api, info), channels_last_(0 != integer("channels_last")), scale_(real("scale")) {}

  // Runs `function` on x, whose channels are at axis `at` of its shape, for a y of shape `y`.
  void cast(OrtKernelContext* context, const char* function, std::size_t at, const Shape& y) const;

  bool channels_last_;
  float scale_;
};

/// x (N,C,H,W) in float32 and, if there is one, peak (N,1,1,1)  ->  y, narrow; with `channels_last`, y is (N,H,W,C).
template <cuda::Number Narrow>
class CudaNarrow : public CudaCast<Narrow> {
 public:
  static constexpr const char* kName = Narrow == cuda::Number::float16 ? "CudaNarrow" : "CudaNarrowBFloat16";

  CudaNarrow(const OrtApi& api, const OrtKernelInfo* info) : CudaCast<Narrow>(kName, api, info) {}
  static ONNXTensorElementDataType input_type(std::size_t) { return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT; }
  static ONNXTensorElementDataType output_type(std::size_t) { return CudaCast<Narrow>::kType; }
  void run(OrtKernelContext* context) const;
};

/// x (N,C,H,W), or with `channels_last` (N,H,W,C), narrow, and, if there is one, peak (N,1,1,1)  ->  y (N,C,H,W) in
/// float32.
template <cuda::Number Narrow>
class CudaWiden : public CudaCast<Narrow> {
 public:
  static constexpr const char* kName = Narrow == cuda::Number::float16 ? "CudaWiden" : "CudaWidenBFloat16";

  CudaWiden(const OrtApi& api, const OrtKernelInfo* info) : CudaCast<Narrow>(kName, api, info) {}
  static ONNXTensorElementDataType input_type(std::size_t index) {
    return index == CudaCast<Narrow>::kX ? CudaCast<Narrow>::kType : ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
  }
  static ONNXTensorElementDataType output_type(std::size_t) { return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT; }
  void run(OrtKernelContext* context) const;
};

/// x (N,C,H,W) in float32 and, if there is one, before (N,1,1,1)  ->  the largest |x| of each picture, or before.
class CudaPeak : public CudaNode<Node> {
 public:
  enum Input : std::size_t { kX, kBefore, kInputs };
  enum Output : std::size_t { kPeak, kOutputs };
  static constexpr const char* kName = "CudaPeak";
  static constexpr std::size_t kRequired = kBefore;

  CudaPeak(const OrtApi& api, const OrtKernelInfo* info) : CudaNode(kName, api, info) {}
  static ONNXTensorElementDataType input_type(std::size_t) { return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT; }
  static ONNXTensorElementDataType output_type(std::size_t) { return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT; }
  void run(OrtKernelContext* context) const;
};

}  // namespace stylogram::ort
