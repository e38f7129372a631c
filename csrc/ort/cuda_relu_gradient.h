// CudaReluGradient: the gradient of a ReLU in ONNX Runtime's CUDA provider (relu/gradient.h).
#pragma once

#include "ort/cuda_op.h"

namespace stylogram::ort {

/// y, gy and, if there is one, more, all of one shape  ->  gx.
class CudaReluGradient : public CudaNode<Node> {
 public:
  enum Input : std::size_t { kY, kGy, kMore, kInputs };
  enum Output : std::size_t { kGx, kOutputs };
  static constexpr const char* kName = "CudaReluGradient";
  static constexpr std::size_t kRequired = kMore;
  static constexpr int kReused = kGy;

  CudaReluGradient(const OrtApi& api, const OrtKernelInfo* info) : CudaNode(kName, api, info) {}
  void run(OrtKernelContext* context) const;
};

}  // namespace stylogram::ort
