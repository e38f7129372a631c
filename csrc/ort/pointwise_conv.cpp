#include "ort/pointwise_conv.h"

#include "pointwise/conv.h"

namespace stylogram::ort {

PointwiseConv::PointwiseConv(const OrtApi& api, const OrtKernelInfo* info)
    : Node(kName, api, info), rectify_input_(0 != integer("rectify_input")) {}

void PointwiseConv::run(OrtKernelContext* context) const {
  const Shape x = shape(input(context, kX));
  const Shape w = shape(input(context, kWeights));
  check(x.size() == 4 && w.size() == 2 && w[0] > 0 && w[1] > 0 && x[1] == w[1], kName,
        "x must be (N,C,H,W) and weights (filters,C)");
  pointwise::Convolution conv = {};
  conv.batch = x[0];
  conv.in_channels = w[1];
  conv.out_channels = w[0];
  conv.size = x[2] * x[3];
  conv.x = data<float>(context, kX);
  conv.weights = data<float>(context, kWeights);
  conv.bias = shaped<float>(context, kBias, "bias", {w[0]});
  conv.mask = shaped<float>(context, kMask, "mask", x);
  conv.rectify_input = rectify_input_;
  conv.y = made<float>(context, kY, {x[0], w[0], x[2], x[3]});
  if (conv.y == nullptr || conv.batch * conv.size == 0) return;
  pointwise::convolve(
      conv, [&](std::int64_t parts, const std::function<void(std::int64_t)>& part) { for_each(context, parts, part); });
}

}  // namespace stylogram::ort
