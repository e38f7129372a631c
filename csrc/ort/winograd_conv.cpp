#include "ort/winograd_conv.h"

namespace stylogram::ort {
namespace {

winograd::Spread spread_named(const std::string& name) {
  if (name == "none") return winograd::Spread::none;
  if (name == "average") return winograd::Spread::average;
  if (name == "first") return winograd::Spread::first;
  if (name == "positive") return winograd::Spread::positive;
  fail(WinogradConv::kName, "spread must be none, average, first or positive, got '", name, "'");
}

winograd::Pool pool_named(const std::string& name) {
  if (name == "none") return winograd::Pool::none;
  if (name == "max") return winograd::Pool::max;
  if (name == "average") return winograd::Pool::average;
  fail(WinogradConv::kName, "pool must be none, max or average, got '", name, "'");
}

}  // namespace

WinogradConv::WinogradConv(const OrtApi& api, const OrtKernelInfo* info)
    : Node(kName, api, info),
      pads_(integers<4>("pads")),
      size_(integers<2>("size")),
      filters_(integer("filters")),
      rectify_input_(0 != integer("rectify_input")),
      rectify_(0 != integer("rectify")),
      spread_(spread_named(text("spread"))),
      pool_(pool_named(text("pool"))) {
  check(filters_ > 0, kName, "filters must be at least 1, got ", filters_);
  for (const std::int64_t pad : pads_) check(pad >= 0, kName, "pads must not be negative, got ", pad);
}

void WinogradConv::run(OrtKernelContext* context) const {
  using winograd::Pool;
  using winograd::Spread;
  const Shape x = shape(input(context, kX));
  const Shape w = shape(input(context, kWeights));
  const std::int64_t blocks = (filters_ + winograd::kFilters - 1) / winograd::kFilters;
  check(x.size() == 4 && w == Shape{blocks, 3, 3, x[1], winograd::kFilters}, kName,
        "x must be (N,C,H,W) and weights (blocks of filters,3,3,C,", winograd::kFilters, ")");
  const std::int64_t height = spread_ == Spread::none ? x[2] : size_[0];
  const std::int64_t width = spread_ == Spread::none ? x[3] : size_[1];
  check(spread_ == Spread::none || (x[2] == height / 2 && x[3] == width / 2), kName, "x must have half of size");
  const Shape full = {x[0], x[1], height, width};
  const Shape y = {x[0], filters_, height + pads_[0] + pads_[2] - 2, width + pads_[1] + pads_[3] - 2};
  check(y[2] > 0 && y[3] > 0, kName, "the input is smaller than the filter");
  const Shape pooled = {y[0], y[1], y[2] / 2, y[3] / 2};
  winograd::Convolution conv = {};
  conv.batch = x[0];
  conv.in_channels = x[1];
  conv.out_channels = filters_;
  conv.top = pads_[0];
  conv.left = pads_[1];
  conv.weights = shaped<float>(context, kWeights, "weights", w);
  conv.bias = shaped<float>(context, kBias, "bias", {filters_});
  conv.input = {shaped<float>(context, kX, "x", x),
                shaped<std::uint8_t>(context, kWhere, "where", x),
                shaped<float>(context, kAdd, "add", full),
                shaped<float>(context, kMask, "mask", full),
                height,
                width,
                spread_,
                rectify_input_,
                0};
  const bool by_place = spread_ == Spread::first || spread_ == Spread::positive;
  check(by_place == (conv.input.where != nullptr), kName,
        "where belongs to spread first and positive, and to these only");
  conv.output = {made<float>(context, kY, y), nullptr, nullptr, y[2], y[3], 0, rectify_, pool_};
  if (pool_ != Pool::none) conv.output.pooled = made<float>(context, kPooled, pooled);
  if (pool_ == Pool::max) conv.output.where = made<std::uint8_t>(context, kPooledWhere, pooled);
  if (x[0] == 0) return;
  winograd::convolve(
      conv, [&](std::int64_t parts, const std::function<void(std::int64_t)>& part) { for_each(context, parts, part); });
}

}  // namespace stylogram::ort
