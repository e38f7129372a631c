#include "ort/cuda_relu_gradient.h"

#include <functional>
#include <numeric>

#include "relu/gradient.h"

namespace stylogram::ort {

void CudaReluGradient::run(OrtKernelContext* context) const {
  const Shape y = shape(input(context, kY));
  relu::Gradient gradient = {};
  gradient.size = std::accumulate(y.begin(), y.end(), std::int64_t{1}, std::multiplies<>());
  gradient.number = number(context);
  gradient.y = data<void>(context, kY);
  gradient.gy = shaped<void>(context, kGy, "gy", y);
  gradient.more = inputs(context) > kMore ? shaped<void>(context, kMore, "more", y) : nullptr;
  gradient.gx = made<void>(context, kGx, y);
  if (gradient.gx != nullptr) call<relu::RunGradient>(context, "relu_gradient", gradient);
}

}  // namespace stylogram::ort
