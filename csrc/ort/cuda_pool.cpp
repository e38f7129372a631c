#include "ort/cuda_pool.h"

#include <algorithm>

#include "pool/average.h"
#include "pool/max.h"

namespace stylogram::ort {

CudaPool::CudaPool(const char* name, const OrtApi& api, const OrtKernelInfo* info)
    : CudaNode(name, api, info), channels_last_(0 != integer("channels_last")) {}

pool::Planes CudaPool::over(OrtKernelContext* context, const Shape& x, const Shape& y) const {
  check(x.size() == 4 && y.size() == 4, name_, "x must have 4 axes, got ", x.size());
  pool::Planes made = {};
  made.windows = windows(x, y, channels_last_ ? 1 : 2);
  made.planes = channels_last_ ? x[0] : x[0] * x[1];
  made.channels = channels_last_ ? x[3] : 1;
  made.number = number(context);
  return made;
}

Shape CudaPool::with_sizes(Shape x, const std::array<std::int64_t, 2>& sizes) const {
  const std::size_t at = channels_last_ ? 1 : 2;
  if (x.size() == 4) std::copy(sizes.begin(), sizes.end(), x.begin() + static_cast<std::ptrdiff_t>(at));
  return x;
}

CudaMaxPool::CudaMaxPool(const OrtApi& api, const OrtKernelInfo* info)
    : CudaPool(kName, api, info), sizes_(integers<2>("sizes")) {}

void CudaMaxPool::run(OrtKernelContext* context) const {
  const Shape x = shape(input(context, kX));
  const Shape y = with_sizes(x, sizes_);
  const pool::MaxPool pool = {over(context, x, y), false, data<void>(context, kX), nullptr, made<void>(context, kY, y)};
  if (pool.made != nullptr) call<pool::RunMaxPool>(context, "max_pool", pool);
}

CudaMaxPoolGradient::CudaMaxPoolGradient(const OrtApi& api, const OrtKernelInfo* info)
    : CudaPool(kName, api, info), positive_(0 != integer("positive")) {}

void CudaMaxPoolGradient::run(OrtKernelContext* context) const {
  const Shape x = shape(input(context, kX));
  const pool::MaxPool pool = {over(context, x, shape(input(context, kGy))), positive_, data<void>(context, kX),
                              data<void>(context, kGy), made<void>(context, kGx, x)};
  if (pool.made != nullptr) call<pool::RunMaxPool>(context, "max_pool_gradient", pool);
}

CudaAveragePool::CudaAveragePool(const char* name, const OrtApi& api, const OrtKernelInfo* info)
    : CudaPool(name, api, info), sizes_(integers<2>("sizes")), scale_(real("scale")) {}

void CudaAveragePool::run(OrtKernelContext* context) const {
  const Shape x = shape(input(context, kX));
  const Shape y = with_sizes(x, sizes_);
  const pool::AveragePool pool = {over(context, x, y), scale_, data<void>(context, kX), made<void>(context, kY, y)};
  if (pool.made != nullptr) call<pool::RunAveragePool>(context, "average_pool", pool);
}

void CudaAveragePoolGradient::run(OrtKernelContext* context) const {
  const Shape gy = shape(input(context, kX));
  const Shape gx = with_sizes(gy, sizes_);
  const pool::AveragePool pool = {over(context, gx, gy), scale_, data<void>(context, kX), made<void>(context, kY, gx)};
  if (pool.made != nullptr) call<pool::RunAveragePool>(context, "average_pool_gradient", pool);
}

}  // namespace stylogram::ort
