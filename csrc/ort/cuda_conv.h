// CudaConv and CudaConvTranspose: convolutions with their channels last in ONNX Runtime's CUDA provider, whose own have
// no bfloat16 that way (cudnn/convolution.h).
#pragma once

#include <memory>
#include <mutex>

#include "cudnn/convolution.h"
#include "ort/cuda_op.h"

namespace stylogram::ort {

/// What both share: x, weights and, where it is there, bias -> y. Attributes: pads (above and below, left and right),
/// strides, dilations, those of the convolution that the weights are of.
class CudnnNode : public CudaNode<Node> {
 public:
  enum Input : std::size_t { kX, kWeights, kBias, kInputs };
  enum Output : std::size_t { kY, kOutputs };
  static constexpr std::size_t kRequired = kWeights + 1;

  CudnnNode(const CudnnNode&) = delete;
  CudnnNode& operator=(const CudnnNode&) = delete;

 protected:
  CudnnNode(const char* name, const OrtApi& api, const OrtKernelInfo* info);
  ~CudnnNode() { api_.ReleaseAllocator(allocator_); }

  /// Of x and the weights, whose shapes are checked: all but y, and what follows from other attributes.
  cudnn::Problem given(OrtKernelContext* context) const;
  /// What the convolution by weights w makes of pictures x.
  cudnn::Sizes made_of(const cudnn::Sizes& x, const cudnn::Sizes& w) const;
  void compute(OrtKernelContext* context, const cudnn::Problem& problem) const;

 private:
  /// Whether the bias and the ReLU are done too.
  bool convolve(cudnn::Handle handle, const cudnn::Problem& problem, const cudnn::Arrays& arrays) const;

  std::array<std::int64_t, 2> pads_, strides_, dilations_;
  OrtAllocator* allocator_ = nullptr;
  mutable std::mutex mutex_;
  mutable std::shared_ptr<const cudnn::Plan> plan_;  // of the last sizes
  mutable cudnn::Sizes of_ = {};
};

/// x (N,H,W,C), weights (K,R,S,C/groups), bias (K)  ->  y (N,P,Q,K), with the attribute `relu` rectified.
class CudaConv : public CudnnNode {
 public:
  static constexpr const char* kName = "CudaConv";

  CudaConv(const OrtApi& api, const OrtKernelInfo* info)
      : CudnnNode(kName, api, info), rectify_(0 != integer("relu")) {}
  void run(OrtKernelContext* context) const;

 private:
  bool rectify_;
};

/// x (N,P,Q,K), weights (K,R,S,C/group), bias (C)  ->  y (N,H,W,C), with the attributes `group`, and `sizes`, H and W:
/// of the pictures for which the convolution makes (P,Q).
class CudaConvTranspose : public CudnnNode {
 public:
  static constexpr const char* kName = "CudaConvTranspose";

  CudaConvTranspose(const OrtApi& api, const OrtKernelInfo* info)
      : CudnnNode(kName, api, info), sizes_(integers<2>("sizes")), group_(integer("group")) {}
  void run(OrtKernelContext* context) const;

 private:
  std::array<std::int64_t, 2> sizes_;
  std::int64_t group_;
};

}  // namespace stylogram::ort
