// MaxPoolGradient: the gradient of a max-pool over pictures (pool/max_gradient.h).
#pragma once

#include "ort/pool.h"

namespace stylogram::ort {

/// x (N,C,H,W) and gy, of the shape of its pool  ->  gx, of x's shape. Attributes as MaxPool has them, without
/// dilations; `positive`: only maxima above 0 count.
class MaxPoolGradient : public Pool {
 public:
  enum Input : std::size_t { kX, kGy, kInputs };
  enum Output : std::size_t { kGx, kOutputs };
  static constexpr const char* kName = "MaxPoolGradient";
  static constexpr std::size_t kRequired = kInputs;

  MaxPoolGradient(const OrtApi& api, const OrtKernelInfo* info);

  static ONNXTensorElementDataType input_type(std::size_t) { return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT; }
  static ONNXTensorElementDataType output_type(std::size_t) { return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT; }
  void run(OrtKernelContext* context) const;

 private:
  bool positive_;
};

}  // namespace stylogram::ort
