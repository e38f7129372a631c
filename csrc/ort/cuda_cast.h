// CudaNarrow, CudaWiden and CudaPeak: float32 to float16 and back in ONNX Runtime's CUDA provider (narrow/cast.h).
#pragma once

#include "ort/cuda_op.h"

namespace stylogram::ort {

/// x (N,C,H,W) in float32 and factor (N,1,1,1)  ->  y in float16; with `channels_last`, y is (N,H,W,C).
class CudaNarrow : public CudaNode<Node> {
 public:
  enum Input : std::size_t { kX, kFactor, kInputs };
  enum Output : std::size_t { kY, kOutputs };
  static constexpr const char* kName = "CudaNarrow";
  static constexpr std::size_t kRequired = kInputs;

  CudaNarrow(const OrtApi& api, const OrtKernelInfo* info);
  static ONNXTensorElementDataType input_type(std::size_t) { return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT; }
  static ONNXTensorElementDataType output_type(std::size_t) { return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16; }
  void run(OrtKernelContext* context) const;

 private:
  bool channels_last_;
};

/// x (N,C,H,W), or with `channels_last` (N,H,W,C), in float16  ->  y (N,C,H,W) = scale x in float32.
class CudaWiden : public CudaNode<Node> {
 public:
  enum Input : std::size_t { kX, kInputs };
  enum Output : std::size_t { kY, kOutputs };
  static constexpr const char* kName = "CudaWiden";
  static constexpr std::size_t kRequired = kInputs;

  CudaWiden(const OrtApi& api, const OrtKernelInfo* info);
  static ONNXTensorElementDataType input_type(std::size_t) { return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16; }
  static ONNXTensorElementDataType output_type(std::size_t) { return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT; }
  void run(OrtKernelContext* context) const;

 private:
  bool channels_last_;
  float scale_;
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
