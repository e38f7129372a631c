#include "ort/cuda_bias_relu.h"

#include "relu/bias.h"

namespace stylogram::ort {

CudaBiasRelu::CudaBiasRelu(const OrtApi& api, const OrtKernelInfo* info)
    : CudaNode(kName, api, info), channels_last_(0 != integer("channels_last")) {}

void CudaBiasRelu::run(OrtKernelContext* context) const {
  const Shape x = shape(input(context, kX));
  check(x.size() == 4, kName, "x must have 4 axes, got ", x.size());
  relu::Bias bias = {};
  bias.last = channels_last_;
  bias.rectify = true;
  bias.n = x[0];
  bias.channels = x[bias.last ? 3 : 1];
  bias.places = bias.last ? x[1] * x[2] : x[2] * x[3];
  bias.number = number(context);
  bias.x = data<void>(context, kX);
  bias.bias = shaped<void>(context, kBias, "bias", {bias.channels});
  bias.y = made<void>(context, kY, x);
  if (bias.y != nullptr) call<relu::RunBias>(context, "bias_relu", bias);
}

}  // namespace stylogram::ort
