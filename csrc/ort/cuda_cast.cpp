#include "ort/cuda_cast.h"

#include "narrow/cast.h"

namespace stylogram::ort {

template <cuda::Number Narrow>
void CudaCast<Narrow>::cast(OrtKernelContext* context, const char* function, std::size_t at, const Shape& y) const {
  const Shape x = shape(input(context, kX));
  narrow::Cast cast = {};
  cast.n = x[0];
  cast.channels = x[at];
  cast.places = at == 1 ? x[2] * x[3] : x[1] * x[2];
  cast.turned = channels_last_;
  cast.number = Narrow;
  cast.scale = scale_;
  cast.x = data<void>(context, kX);
  cast.peak = inputs(context) > kPeak ? shaped<float>(context, kPeak, "peak", {x[0], 1, 1, 1}) : nullptr;
  cast.y = made<void>(context, kY, y);
  if (cast.y != nullptr) call<narrow::RunCast>(context, function, cast);
}

template <cuda::Number Narrow>
void CudaNarrow<Narrow>::run(OrtKernelContext* context) const {
  const Shape x = this->shape(this->input(context, this->kX));
  check(x.size() == 4, kName, "x must have 4 axes, got ", x.size());
  this->cast(context, "narrow", 1, this->channels_last_ ? Shape{x[0], x[2], x[3], x[1]} : x);
}

template <cuda::Number Narrow>
void CudaWiden<Narrow>::run(OrtKernelContext* context) const {
  const Shape x = this->shape(this->input(context, this->kX));
  check(x.size() == 4, kName, "x must have 4 axes, got ", x.size());
  const bool last = this->channels_last_;
  this->cast(context, "widen", last ? 3 : 1, last ? Shape{x[0], x[3], x[1], x[2]} : x);
}

template class CudaNarrow<cuda::Number::float16>;
template class CudaNarrow<cuda::Number::bfloat16>;
template class CudaWiden<cuda::Number::float16>;
template class CudaWiden<cuda::Number::bfloat16>;

void CudaPeak::run(OrtKernelContext* context) const {
  const Shape x = shape(input(context, kX));
  check(x.size() == 4, kName, "x must have 4 axes, got ", x.size());
  const Shape each = {x[0], 1, 1, 1};
  narrow::Peak peak = {};
  peak.n = x[0];
  peak.size = x[1] * x[2] * x[3];
  peak.x = data<float>(context, kX);
  peak.before = inputs(context) > kBefore ? shaped<float>(context, kBefore, "before", each) : nullptr;
  peak.peak = made<float>(context, kPeak, each);
  if (peak.peak != nullptr) call<narrow::RunPeak>(context, "peak", peak);
}

}  // namespace stylogram::ort
