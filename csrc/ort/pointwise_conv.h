// PointwiseConv: a convolution with 1x1 filters, with what stands around it (pointwise/conv.h).
#pragma once

#include "ort/op.h"

namespace stylogram::ort {

/// x (N,C,H,W), weights (filters,C), then, where they are there, bias (filters) and mask (of x's shape)
///   ->  y (N,filters,H,W).
class PointwiseConv : public Node {
 public:
  enum Input : std::size_t { kX, kWeights, kBias, kMask, kInputs };
  enum Output : std::size_t { kY, kOutputs };
  static constexpr const char* kName = "PointwiseConv";
  static constexpr std::size_t kRequired = kWeights + 1;

  PointwiseConv(const OrtApi& api, const OrtKernelInfo* info);

  static ONNXTensorElementDataType input_type(std::size_t) { return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT; }
  static ONNXTensorElementDataType output_type(std::size_t) { return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT; }
  void run(OrtKernelContext* context) const;

 private:
  bool rectify_input_;
};

}  // namespace stylogram::ort
