#include "ort/cuda_cast.h"

#include "narrow/cast.h"

namespace stylogram::ort {
namespace {

// (N,C,H,W) of a shape whose channels are at axis `at`.
narrow::Cast sizes(const char* op, const Shape& x, std::size_t at) {
  check(x.size() == 4, op, "x must have 4 axes, got ", x.size());
  narrow::Cast cast = {};
  cast.n = x[0];
  cast.channels = x[at];
  cast.places = at == 1 ? x[2] * x[3] : x[1] * x[2];
  return cast;
}

}  // namespace

CudaNarrow::CudaNarrow(const OrtApi& api, const OrtKernelInfo* info)
    : CudaNode(kName, api, info), channels_last_(0 != integer("channels_last")) {}

void CudaNarrow::run(OrtKernelContext* context) const {
  const Shape x = shape(input(context, kX));
  narrow::Cast cast = sizes(kName, x, 1);
  cast.turned = channels_last_;
  cast.x = data<void>(context, kX);
  cast.factor = shaped<float>(context, kFactor, "factor", {x[0], 1, 1, 1});
  cast.y = made<void>(context, kY, channels_last_ ? Shape{x[0], x[2], x[3], x[1]} : x);
  if (cast.y != nullptr) call<narrow::RunCast>(context, "narrow", cast);
}

CudaWiden::CudaWiden(const OrtApi& api, const OrtKernelInfo* info)
    : CudaNode(kName, api, info), channels_last_(0 != integer("channels_last")), scale_(real("scale")) {}

void CudaWiden::run(OrtKernelContext* context) const {
  const Shape x = shape(input(context, kX));
  narrow::Cast cast = sizes(kName, x, channels_last_ ? 3 : 1);
  cast.turned = channels_last_;
  cast.scale = scale_;
  cast.x = data<void>(context, kX);
  cast.y = made<void>(context, kY, channels_last_ ? Shape{x[0], x[3], x[1], x[2]} : x);
  if (cast.y != nullptr) call<narrow::RunCast>(context, "widen", cast);
}

void CudaPeak::run(OrtKernelContext* context) const {
  const Shape x = shape(input(context, kX));
  const narrow::Cast cast = sizes(kName, x, 1);
  const Shape each = {x[0], 1, 1, 1};
  narrow::Peak peak = {};
  peak.n = cast.n;
  peak.size = cast.channels * cast.places;
  peak.x = data<float>(context, kX);
  peak.before = inputs(context) > kBefore ? shaped<float>(context, kBefore, "before", each) : nullptr;
  peak.peak = made<float>(context, kPeak, each);
  if (peak.peak != nullptr) call<narrow::RunPeak>(context, "peak", peak);
}

}  // namespace stylogram::ort
