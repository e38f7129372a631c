#include "winograd/conv.h"

#include <algorithm>

#include "gemm/micro.h"

namespace stylogram::winograd {
namespace {

constexpr std::int64_t kBlock = 64;         // tiles that are multiplied at a time
constexpr std::int64_t kMost = 256;         // tiles whose inputs are transformed at a time for all threads
constexpr std::int64_t kSums = 64 * 1024;   // floats of a block's sums: the second cache keeps them
constexpr std::int64_t kLarge = 256 * 512;  // weights from which each thread transforms some of them for itself
constexpr std::int64_t kChannelsInPart = 8;

std::int64_t divided(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// Filters in groups as even as can be: 64 in tiles of at most 13 are 13+13+13+13+12.
struct Cut {
  std::int64_t size, count;
  Cut(std::int64_t size, std::int64_t most) : size(size), count(divided(size, most)) {}
  std::int64_t begin(std::int64_t i) const { return size * i / count; }
  std::int64_t most() const { return count == 0 ? 0 : divided(size, count); }
};

// The filters as tile rows of the products, none across two blocks of weights.
struct Rows {
  std::int64_t filters;
  Cut whole, rest;  // of a block, and of the last one if it is not full
  std::int64_t count;
  Rows(std::int64_t filters, std::int64_t most)
      : filters(filters),
        whole(kFilters, most),
        rest(filters % kFilters, most),
        count(filters / kFilters * whole.count + rest.count) {}
  std::int64_t begin(std::int64_t i) const {
    if (i == count) return filters;
    const std::int64_t block = i / whole.count;
    const Cut& cut = block < filters / kFilters ? whole : rest;
    return block * kFilters + cut.begin(i % whole.count);
  }
  std::int64_t most() const { return filters < kFilters ? rest.most() : whole.most(); }
};

struct Plan {
  const Convolution& conv;
  const ForEach& for_each;
  const Kernels& transforms = kernels();
  const gemm::MicroKernels& micro = gemm::micro_kernels();
  std::int64_t lanes = transforms.lanes, panel = 2 * lanes;
  std::int64_t across = divided(conv.output.width, kTile), down = divided(conv.output.height, kTile);
  std::int64_t tiles = conv.batch * across * down;
  Rows rows{conv.out_channels, micro.outer_rows};
  std::int64_t rows_in_group = std::max<std::int64_t>(1, kSums / (kPoints * kBlock * rows.most()));
  Cut groups{rows.count, rows_in_group};

  // Strides are no powers of two: the points of one tile would fall on the same lines of the cache.
  std::int64_t input_stride(std::int64_t count) const {
    return divided(count, panel) * panel * conv.in_channels + lanes;
  }
  std::int64_t row_stride() const { return conv.in_channels * rows.most() + lanes; }
  std::int64_t sum_stride() const { return groups.most() * rows.most() * kBlock + lanes; }
  std::int64_t weight_floats(std::int64_t count) const { return count * kPoints * row_stride(); }
};

// Calls body(segment, picture, first) for every segment of the tiles [begin, end); `first` is its place among these.
template <class Body>
void for_segments(const Plan& plan, std::int64_t begin, std::int64_t end, const Body& body) {
  for (std::int64_t tile = begin; tile < end;) {
    const std::int64_t column = tile % plan.across;
    const std::int64_t row = tile / plan.across % plan.down;
    const std::int64_t count = std::min({plan.lanes, plan.across - column, end - tile});
    body(Segment{row * kTile, column * kTile, count}, tile / (plan.across * plan.down), tile - begin);
    tile += count;
  }
}

// Channel c of picture n.
Channel channel(const Convolution& conv, std::int64_t n, std::int64_t c) {
  Channel in = conv.input;
  const std::int64_t full = in.height * in.width;
  const std::int64_t size = in.spread == Spread::none ? full : (in.height / 2) * (in.width / 2);
  const std::int64_t at = n * conv.in_channels + c;
  in.x += at * size;
  if (in.where != nullptr) in.where += at * size;
  if (in.add != nullptr) in.add += at * full;
  if (in.mask != nullptr) in.mask += at * full;
  in.ahead = c + 1 < conv.in_channels ? 1 : 0;
  return in;
}

Result result(const Convolution& conv, std::int64_t n, std::int64_t k) {
  Result out = conv.output;
  const std::int64_t at = n * conv.out_channels + k;
  const std::int64_t pooled = (out.height / 2) * (out.width / 2);
  out.bias = conv.bias == nullptr ? 0.0F : conv.bias[k];
  if (out.y != nullptr) out.y += at * out.height * out.width;
  if (out.pooled != nullptr) out.pooled += at * pooled;
  if (out.where != nullptr) out.where += at * pooled;
  return out;
}

// Tiles [begin, end) of channels [first, last): to (points, panels of tiles, channels, tiles of a panel).
void transform_inputs(const Plan& plan, std::int64_t begin, std::int64_t end, std::int64_t first, std::int64_t last,
                      float* to) {
  const std::int64_t stride = plan.input_stride(end - begin);
  const std::int64_t panel_floats = plan.panel * plan.conv.in_channels;
  for (std::int64_t c = first; c < last; ++c) {
    for_segments(plan, begin, end, [&](Segment segment, std::int64_t n, std::int64_t at) {
      segment.top -= plan.conv.top;
      segment.left -= plan.conv.left;
      float* panel = to + at / plan.panel * panel_floats + c * plan.panel;
      const std::int64_t place = at % plan.panel;
      plan.transforms.input(channel(plan.conv, n, c), segment,
                            {panel + place, panel + panel_floats, stride, plan.panel - place});
    });
  }
}

// Tile rows [first, last): to (tile rows, points, channels, filters of the tile row).
void transform_weights(const Plan& plan, std::int64_t first, std::int64_t last, float* to) {
  for (std::int64_t row = first; row < last; ++row, to += plan.weight_floats(1)) {
    const std::int64_t k = plan.rows.begin(row);
    const std::int64_t block = k / kFilters * kFilters * 9 * plan.conv.in_channels;
    plan.transforms.weights(plan.conv.weights + block + k % kFilters, plan.conv.in_channels,
                            static_cast<int>(plan.rows.begin(row + 1) - k), to, plan.row_stride());
  }
}

// The sums over the channels of a block of tiles, filters of the tile rows [first, last): (points, filters, tiles).
void multiply(const Plan& plan, std::int64_t first, std::int64_t last, const float* weights, const float* inputs,
              std::int64_t input_stride, std::int64_t panels, float* sums) {
  const std::int64_t depth = plan.conv.in_channels;
  for (std::int64_t point = 0; point < kPoints; ++point) {
    const float* of_point = inputs + point * input_stride;
    float* out = sums + point * plan.sum_stride();
    for (std::int64_t row = first; row < last; ++row) {
      const std::int64_t count = plan.rows.begin(row + 1) - plan.rows.begin(row);
      const float* filters = weights + (row - first) * plan.weight_floats(1) + point * plan.row_stride();
      for (std::int64_t p = 0; p < panels; ++p) {
        plan.micro.outer[count](filters, of_point + p * plan.panel * depth, depth, out + p * plan.panel, kBlock,
                                gemm::Store::set);
      }
      out += count * kBlock;
    }
  }
}

void transform_outputs(const Plan& plan, std::int64_t begin, std::int64_t end, std::int64_t first, std::int64_t last,
                       const float* sums) {
  const std::int64_t k0 = plan.rows.begin(first);
  for (std::int64_t k = k0; k < plan.rows.begin(last); ++k) {
    const float* of_filter = sums + (k - k0) * kBlock;
    for_segments(plan, begin, end, [&](const Segment& segment, std::int64_t n, std::int64_t at) {
      plan.transforms.output(of_filter + at, plan.sum_stride(), segment, result(plan.conv, n, k));
    });
  }
}

// Many tiles, few weights: each part does all there is to do for a block of tiles.
void by_tiles(const Plan& plan) {
  const std::int64_t blocks = divided(plan.tiles, kBlock);
  const std::int64_t shared = plan.weight_floats(plan.rows.count) + plan.lanes;
  const std::int64_t inputs = kPoints * plan.input_stride(kBlock);
  const std::int64_t own = inputs + kPoints * plan.sum_stride() + plan.lanes;
  Slots slots(blocks);
  const Workspace workspace(shared + slots.count() * own);
  float* weights = workspace.floats();
  plan.for_each(plan.rows.count,
                [&](std::int64_t row) { transform_weights(plan, row, row + 1, weights + plan.weight_floats(row)); });
  plan.for_each(blocks, [&](std::int64_t block) {
    const Slots::Slot slot(slots);
    float* mine = weights + shared + slot.index() * own;
    const std::int64_t begin = block * kBlock;
    const std::int64_t end = std::min(plan.tiles, begin + kBlock);
    const std::int64_t stride = plan.input_stride(end - begin);
    transform_inputs(plan, begin, end, 0, plan.conv.in_channels, mine);
    for (std::int64_t group = 0; group < plan.groups.count; ++group) {
      const std::int64_t first = plan.groups.begin(group);
      const std::int64_t last = plan.groups.begin(group + 1);
      multiply(plan, first, last, weights + plan.weight_floats(first), mine, stride, divided(end - begin, plan.panel),
               mine + inputs);
      transform_outputs(plan, begin, end, first, last, mine + inputs);
    }
  });
}

// Few tiles, many weights: each part does a group of filters for all the tiles whose inputs are there.
void by_filters(const Plan& plan) {
  const std::int64_t most = std::min(kMost, plan.tiles);
  const std::int64_t shared = kPoints * plan.input_stride(most);
  const std::int64_t weights = plan.weight_floats(plan.groups.most()) + plan.lanes;
  const std::int64_t own = weights + kPoints * plan.sum_stride() + plan.lanes;
  Slots slots(plan.groups.count);
  const Workspace workspace(shared + slots.count() * own);
  float* inputs = workspace.floats();
  for (std::int64_t begin = 0; begin < plan.tiles; begin += most) {
    const std::int64_t end = std::min(plan.tiles, begin + most);
    const std::int64_t stride = plan.input_stride(end - begin);
    const Cut channels(plan.conv.in_channels, kChannelsInPart);
    plan.for_each(channels.count, [&](std::int64_t part) {
      transform_inputs(plan, begin, end, channels.begin(part), channels.begin(part + 1), inputs);
    });
    plan.for_each(plan.groups.count, [&](std::int64_t group) {
      const Slots::Slot slot(slots);
      float* mine = inputs + shared + slot.index() * own;
      const std::int64_t first = plan.groups.begin(group);
      const std::int64_t last = plan.groups.begin(group + 1);
      transform_weights(plan, first, last, mine);
      for (std::int64_t block = begin; block < end; block += kBlock) {
        const std::int64_t stop = std::min(end, block + kBlock);
        const float* from = inputs + (block - begin) * plan.conv.in_channels;
        multiply(plan, first, last, mine, from, stride, divided(stop - block, plan.panel), mine + weights);
        transform_outputs(plan, block, stop, first, last, mine + weights);
      }
    });
  }
}

}  // namespace

void convolve(const Convolution& convolution, const ForEach& for_each) {
  const Plan plan{convolution, for_each};
  const bool large = convolution.in_channels * convolution.out_channels >= kLarge;
  if (large || plan.tiles <= kMost) return by_filters(plan);
  by_tiles(plan);
}

}  // namespace stylogram::winograd
