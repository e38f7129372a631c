#include "ort/cuda_conv.h"

#include "relu/bias.h"

namespace stylogram::ort {
namespace {

// Of ONNX Runtime's CUDA provider: the version of its list, and its cuDNN's place in it.
constexpr int kResources = 3;
constexpr int kCudnnHandle = 10001;

std::int64_t places(std::int64_t size, std::int64_t kernel, std::int64_t pad, std::int64_t stride,
                    std::int64_t dilation) {
  const std::int64_t rest = size + 2 * pad - dilation * (kernel - 1) - 1;
  return rest < 0 ? 0 : rest / stride + 1;
}

}  // namespace

CudnnNode::CudnnNode(const char* name, const OrtApi& api, const OrtKernelInfo* info)
    : CudaNode(name, api, info),
      pads_(integers<2>("pads")),
      strides_(integers<2>("strides")),
      dilations_(integers<2>("dilations")) {
  require(api.KernelInfoGetAllocator(info, OrtMemTypeDefault, &allocator_));
}

cudnn::Problem CudnnNode::given(OrtKernelContext* context) const {
  const Shape x = shape(input(context, kX));
  const Shape w = shape(input(context, kWeights));
  check(x.size() == 4 && w.size() == 4, name_, "x must be (N,H,W,C) and weights (K,R,S,C/groups)");
  cudnn::Problem problem = {};
  problem.x = {x[0], x[3], x[1], x[2]};
  problem.w = {w[0], w[3], w[1], w[2]};
  problem.pads = pads_;
  problem.strides = strides_;
  problem.dilations = dilations_;
  problem.number = number(context);
  problem.bias = inputs(context) > kBias && input(context, kBias) != nullptr;
  return problem;
}

cudnn::Sizes CudnnNode::made_of(const cudnn::Sizes& x, const cudnn::Sizes& w) const {
  const std::int64_t height = places(x[2], w[2], pads_[0], strides_[0], dilations_[0]);
  const std::int64_t width = places(x[3], w[3], pads_[1], strides_[1], dilations_[1]);
  check(height > 0 && width > 0, name_, "the picture is smaller than the filter");
  return {x[0], w[0], height, width};
}

// The plan is chosen by its first run, when the first picture comes, and anew for other sizes.
bool CudnnNode::convolve(cudnn::Handle handle, const cudnn::Problem& problem, const cudnn::Arrays& arrays) const {
  // Given back at the end: what takes it next runs behind, in the same queue.
  const auto release = [this](void* memory) {
    if (OrtStatus* status = api_.AllocatorFree(allocator_, memory)) api_.ReleaseStatus(status);
  };
  const auto run = [&](const cudnn::Plan& plan) {
    std::unique_ptr<void, decltype(release)> workspace(nullptr, release);
    if (plan.workspace > 0) {
      void* memory = nullptr;
      require(api_.AllocatorAlloc(allocator_, static_cast<std::size_t>(plan.workspace), &memory));
      workspace.reset(memory);
    }
    cudnn::run(handle, plan, arrays, workspace.get());
  };
  std::unique_lock<std::mutex> lock(mutex_);
  if (plan_ == nullptr || of_ != problem.x) {
    plan_ = std::make_shared<const cudnn::Plan>(cudnn::chosen(handle, problem, run));
    of_ = problem.x;
    return plan_->whole;
  }
  const std::shared_ptr<const cudnn::Plan> plan = plan_;
  lock.unlock();
  run(*plan);
  return plan->whole;
}

void CudnnNode::compute(OrtKernelContext* context, const cudnn::Problem& problem) const {
  const auto [n, channels, height, width] = problem.y;
  const void* bias = problem.bias ? shaped<void>(context, kBias, "bias", {channels}) : nullptr;
  void* y = made<void>(context, kY, {n, height, width, channels});
  if (y == nullptr || n == 0) return;
  cudnn::Handle handle = nullptr;
  require(api_.KernelContext_GetResource(context, kResources, kCudnnHandle, &handle));
  const cudnn::Arrays arrays = {data<void>(context, kX), data<void>(context, kWeights), bias, y};
  if (convolve(handle, problem, arrays) || bias == nullptr) return;
  relu::Bias rest = {};
  rest.last = true;
  rest.rectify = problem.rectify;
  rest.n = n;
  rest.channels = channels;
  rest.places = height * width;
  rest.number = problem.number;
  rest.x = rest.y = y;
  rest.bias = bias;
  call<relu::RunBias>(context, "bias_relu", rest);
}

void CudaConv::run(OrtKernelContext* context) const {
  cudnn::Problem problem = given(context);
  const std::int64_t channels = problem.x[1];
  const std::int64_t read = problem.w[1];
  check(read > 0 && channels % read == 0, kName, "weights of ", read, " channels do not fit x of ", channels);
  check(problem.bias || !rectify_, kName, "relu asks for a bias");
  problem.y = made_of(problem.x, problem.w);
  problem.rectify = rectify_;
  compute(context, problem);
}

void CudaConvTranspose::run(OrtKernelContext* context) const {
  cudnn::Problem problem = given(context);
  const auto [n, channels, height, width] = problem.x;
  const bool fits = group_ > 0 && channels == problem.w[0] && channels % group_ == 0;
  check(fits, kName, problem.w[0], " filters in ", group_, " groups do not fit x of ", channels, " channels");
  problem.y = {n, problem.w[1] * group_, sizes_[0], sizes_[1]};
  check(made_of(problem.y, problem.w) == problem.x, kName, "x of ", height, "x", width,
        " is not what the convolution of ", sizes_[0], "x", sizes_[1], " makes");
  problem.transposed = true;
  compute(context, problem);
}

}  // namespace stylogram::ort
