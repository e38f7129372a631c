#include "ort/cuda_max_pool.h"

#include <algorithm>

namespace stylogram::ort {

CudaPool::CudaPool(const char* name, const OrtApi& api, const OrtKernelInfo* info)
    : CudaNode(name, api, info), channels_last_(0 != integer("channels_last")) {}

pool::MaxPool CudaPool::over(OrtKernelContext* context, const Shape& x, const Shape& y) const {
  check(x.size() == 4 && y.size() == 4, name_, "x must have 4 axes, got ", x.size());
  pool::MaxPool made = {};
  made.windows = windows(x, y, channels_last_ ? 1 : 2);
  made.planes = channels_last_ ? x[0] : x[0] * x[1];
  made.channels = channels_last_ ? x[3] : 1;
  made.number = number(context);
  made.x = data<void>(context, 0);
  return made;
}

CudaMaxPool::CudaMaxPool(const OrtApi& api, const OrtKernelInfo* info)
    : CudaPool(kName, api, info), sizes_(integers<2>("sizes")) {}

void CudaMaxPool::run(OrtKernelContext* context) const {
  const Shape x = shape(input(context, kX));
  Shape y = x;
  const std::size_t at = channels_last_ ? 1 : 2;
  if (y.size() == 4) std::copy(sizes_.begin(), sizes_.end(), y.begin() + static_cast<std::ptrdiff_t>(at));
  pool::MaxPool pool = over(context, x, y);
  pool.made = made<void>(context, kY, y);
  if (pool.made != nullptr) call<pool::RunMaxPool>(context, "max_pool", pool);
}

CudaMaxPoolGradient::CudaMaxPoolGradient(const OrtApi& api, const OrtKernelInfo* info)
    : CudaPool(kName, api, info), positive_(0 != integer("positive")) {}

void CudaMaxPoolGradient::run(OrtKernelContext* context) const {
  const Shape x = shape(input(context, kX));
  pool::MaxPool pool = over(context, x, shape(input(context, kGy)));
  pool.positive = positive_;
  pool.gy = data<void>(context, kGy);
  pool.made = made<void>(context, kGx, x);
  if (pool.made != nullptr) call<pool::RunMaxPool>(context, "max_pool_gradient", pool);
}

}  // namespace stylogram::ort
