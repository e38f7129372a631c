// CudaConv: a convolution with its channels last in ONNX Runtime's CUDA provider, whose own has no bfloat16 that way
// (cudnn/convolution.h).
#pragma once

#include <memory>
#include <mutex>

#include "cudnn/convolution.h"
#include "ort/cuda_op.h"

namespace stylogram::ort {

/// x (N,H,W,C), weights (K,R,S,C/groups) and, where it is there, bias (K)  ->  y (N,P,Q,K), with `relu` rectified.
/// Attributes: pads (above and below, left and right), strides, dilations, relu.
class CudaConv : public CudaNode<Node> {
 public:
  enum Input : std::size_t { kX, kWeights, kBias, kInputs };
  enum Output : std::size_t { kY, kOutputs };
  static constexpr const char* kName = "CudaConv";
  static constexpr std::size_t kRequired = kWeights + 1;

  CudaConv(const OrtApi& api, const OrtKernelInfo* info);
  ~CudaConv() { api_.ReleaseAllocator(allocator_); }
  CudaConv(const CudaConv&) = delete;
  CudaConv& operator=(const CudaConv&) = delete;

  void run(OrtKernelContext* context) const;

 private:
  cudnn::Problem problem(OrtKernelContext* context) const;
  std::shared_ptr<const cudnn::Convolution> planned(cudnn::Handle handle, const cudnn::Problem& problem) const;

  std::array<std::int64_t, 2> pads_, strides_, dilations_;
  bool rectify_;
  OrtAllocator* allocator_ = nullptr;
  mutable std::mutex mutex_;
  mutable std::shared_ptr<const cudnn::Convolution> plan_;  // of the last sizes
  mutable std::array<std::int64_t, 4> of_ = {};
};

}  // namespace stylogram::ort
