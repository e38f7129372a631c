#include "ort/max_pool_gradient.h"

#include <limits>
#include <vector>

#include "pool/max_gradient.h"

namespace stylogram::ort {
namespace {

constexpr std::int64_t kParts = 64;  // at most: each has a row of its own to write to

}  // namespace

MaxPoolGradient::MaxPoolGradient(const OrtApi& api, const OrtKernelInfo* info)
    : Pool(kName, api, info), positive_(0 != integer("positive")) {}

void MaxPoolGradient::run(OrtKernelContext* context) const {
  const Shape x = shape(input(context, kX));
  const Shape gy = shape(input(context, kGy));
  check(x.size() == 4 && gy.size() == 4 && x[0] == gy[0] && x[1] == gy[1], kName,
        "x and gy must be (N,C,H,W) with the same N and C");
  const std::int64_t size = x[2] * x[3];
  const std::int64_t out_size = gy[2] * gy[3];
  check(size <= std::numeric_limits<std::int32_t>::max(), kName, "x has ", size, " places in a channel, too many");
  const auto* values = data<float>(context, kX);
  const auto* gradients = data<float>(context, kGy);
  auto* out = made<float>(context, kGx, x);
  const std::int64_t channels = x[0] * x[1];
  if (out == nullptr || channels == 0) return;
  const pool::Windows windows = this->windows(x, gy, 2);
  const std::int64_t parts = channels < kParts ? channels : kParts;
  std::vector<pool::Row> rows(static_cast<std::size_t>(parts), pool::Row(windows));  // here: no part may throw
  for_each(context, parts, [&](std::int64_t part) {
    pool::Row& row = rows[static_cast<std::size_t>(part)];
    for (std::int64_t c = channels * part / parts; c < channels * (part + 1) / parts; ++c) {
      pool::max_gradient(windows, positive_, values + c * size, gradients + c * out_size, out + c * size, row);
    }
  });
}

}  // namespace stylogram::ort
