#include "ort/cuda_conv.h"

#include "relu/bias.h"

namespace stylogram::ort {
namespace {

// Of ONNX Runtime's CUDA provider: the version of its list, and its cuDNN's place in it.
constexpr int kResources = 3;
constexpr int kCudnnHandle = 10001;

std::int64_t places(std::int64_t size, std::int64_t kernel, std::int64_t pad, std::int64_t stride,
                    std::int64_t dilation) {
  return (size + 2 * pad - dilation * (kernel - 1) - 1) / stride + 1;
}

}  // namespace

CudaConv::CudaConv(const OrtApi& api, const OrtKernelInfo* info)
    : CudaNode(kName, api, info),
      pads_(integers<2>("pads")),
      strides_(integers<2>("strides")),
      dilations_(integers<2>("dilations")),
      rectify_(0 != integer("relu")) {
  require(api.KernelInfoGetAllocator(info, OrtMemTypeDefault, &allocator_));
}

cudnn::Problem CudaConv::problem(OrtKernelContext* context) const {
  const Shape x = shape(input(context, kX));
  const Shape w = shape(input(context, kWeights));
  check(x.size() == 4 && w.size() == 4, kName, "x must be (N,H,W,C) and weights (K,R,S,C/groups)");
  check(w[3] > 0 && x[3] % w[3] == 0, kName, "weights of ", w[3], " channels do not fit x of ", x[3]);
  const std::int64_t height = places(x[1], w[1], pads_[0], strides_[0], dilations_[0]);
  const std::int64_t width = places(x[2], w[2], pads_[1], strides_[1], dilations_[1]);
  check(height > 0 && width > 0, kName, "the input is smaller than the filter");
  const bool bias = inputs(context) > kBias && input(context, kBias) != nullptr;
  check(bias || !rectify_, kName, "relu asks for a bias");
  return {{x[0], x[3], x[1], x[2]},
          {w[0], w[3], w[1], w[2]},
          {x[0], w[0], height, width},
          pads_,
          strides_,
          dilations_,
          number(context),
          bias,
          rectify_};
}

// Made when the first picture comes, as ONNX Runtime does with its own, and anew for other sizes.
std::shared_ptr<const cudnn::Convolution> CudaConv::planned(cudnn::Handle handle, const cudnn::Problem& problem) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (plan_ == nullptr || of_ != problem.x) {
    plan_ = std::make_shared<const cudnn::Convolution>(handle, problem);
    of_ = problem.x;
  }
  return plan_;
}

void CudaConv::run(OrtKernelContext* context) const {
  const cudnn::Problem given = problem(context);
  const auto [n, filters, height, width] = given.y;
  const void* bias = given.bias ? shaped<void>(context, kBias, "bias", {filters}) : nullptr;
  void* y = made<void>(context, kY, {n, height, width, filters});
  if (y == nullptr || n == 0) return;
  cudnn::Handle handle = nullptr;
  require(api_.KernelContext_GetResource(context, kResources, kCudnnHandle, &handle));
  const std::shared_ptr<const cudnn::Convolution> plan = planned(handle, given);
  // Given back at the end: what takes it next runs behind, in the same queue.
  const auto release = [this](void* memory) {
    if (OrtStatus* status = api_.AllocatorFree(allocator_, memory)) api_.ReleaseStatus(status);
  };
  std::unique_ptr<void, decltype(release)> workspace(nullptr, release);
  if (plan->workspace() > 0) {
    void* memory = nullptr;
    require(api_.AllocatorAlloc(allocator_, static_cast<std::size_t>(plan->workspace()), &memory));
    workspace.reset(memory);
  }
  plan->run(handle, data<void>(context, kX), data<void>(context, kWeights), bias, y, workspace.get());
  if (plan->whole() || bias == nullptr) return;
  relu::Bias rest = {};
  rest.last = true;
  rest.rectify = rectify_;
  rest.n = n;
  rest.channels = filters;
  rest.places = height * width;
  rest.number = given.number;
  rest.x = rest.y = y;
  rest.bias = bias;
  call<relu::RunBias>(context, "bias_relu", rest);
}

}  // namespace stylogram::ort
