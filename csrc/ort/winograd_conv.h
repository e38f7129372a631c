// WinogradConv: a convolution with 3x3 filters at stride 1, with what stands around it (winograd/conv.h).
#pragma once

#include "ort/op.h"
#include "winograd/conv.h"

namespace stylogram::ort {

/// x (N,C,H,W), weights (blocks of filters,3,3,C,64), then, where they are there, bias (filters), where (of x's shape,
/// uint8), add and mask (of x's shape once it is spread)  ->  y, pooled, where, as far as they are wanted.
class WinogradConv : public Node {
 public:
  enum Input : std::size_t { kX, kWeights, kBias, kWhere, kAdd, kMask, kInputs };
  enum Output : std::size_t { kY, kPooled, kPooledWhere, kOutputs };
  static constexpr const char* kName = "WinogradConv";
  static constexpr std::size_t kRequired = kWeights + 1;

  WinogradConv(const OrtApi& api, const OrtKernelInfo* info);

  static ONNXTensorElementDataType input_type(std::size_t index) {
    return index == kWhere ? ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8 : ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
  }
  static ONNXTensorElementDataType output_type(std::size_t index) {
    return index == kPooledWhere ? ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8 : ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
  }
  void run(OrtKernelContext* context) const;

 private:
  std::array<std::int64_t, 4> pads_;  // top, left, bottom, right
  std::array<std::int64_t, 2> size_;  // of the input once it is spread; not read if it is not
  std::int64_t filters_;
  bool rectify_input_, rectify_;
  winograd::Spread spread_;
  winograd::Pool pool_;
};

}  // namespace stylogram::ort
