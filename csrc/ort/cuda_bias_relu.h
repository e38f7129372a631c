// CudaBiasRelu: a convolution's bias and the ReLU behind it in ONNX Runtime's CUDA provider (relu/bias.h).
#pragma once

#include "ort/cuda_op.h"

namespace stylogram::ort {

/// x (N,C,H,W), or with `channels_last` (N,H,W,C), and bias (C)  ->  y, of x's shape.
class CudaBiasRelu : public CudaNode<Node> {
 public:
  enum Input : std::size_t { kX, kBias, kInputs };
  enum Output : std::size_t { kY, kOutputs };
  static constexpr const char* kName = "CudaBiasRelu";
  static constexpr std::size_t kRequired = kInputs;
  static constexpr int kReused = kX;

  CudaBiasRelu(const OrtApi& api, const OrtKernelInfo* info);
  void run(OrtKernelContext* context) const;

 private:
  bool channels_last_;
};

}  // namespace stylogram::ort
