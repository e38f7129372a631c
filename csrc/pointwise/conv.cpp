#include "pointwise/conv.h"

#include <algorithm>

#include "gemm/micro.h"
#include "simd.h"

namespace stylogram::pointwise {
namespace {

constexpr std::int64_t kBlockFloats = 32 * 1024;  // of the input that is worked on at a time: the second cache keeps it
constexpr std::int64_t kMostColumns = 1024;
constexpr std::int64_t kParts = 32;                              // of a picture, at least, if it has as many panels
constexpr std::int64_t kLine = 16;                               // floats in a cache line
constexpr std::int64_t kStreamedFloats = std::int64_t{4} << 20;  // a result larger than this goes past the caches

std::int64_t divided(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// Filters in tiles as even as can be, positions in panels of two vectors, some panels to a block.
struct Plan {
  const Convolution& conv;
  const gemm::MicroKernels& micro = gemm::micro_kernels();
  std::int64_t panel = micro.outer_columns;
  std::int64_t depth = conv.in_channels + (conv.bias == nullptr ? 0 : 1);  // the bias: one more channel, of ones
  std::int64_t tiles = divided(conv.out_channels, micro.outer_rows);
  std::int64_t width = wide();
  std::int64_t blocks = divided(conv.size, width);
  // A line more than a panel is long: panels would fall on the same lines of the cache.
  std::int64_t panel_stride = depth * panel + kLine;
  gemm::Store store = streams() ? gemm::Store::stream : gemm::Store::set;

  std::int64_t wide() const {
    const std::int64_t most = std::min({kMostColumns, kBlockFloats / depth, divided(conv.size, kParts)});
    return std::max<std::int64_t>(1, divided(most, panel)) * panel;
  }
  bool streams() const {
    const bool on_lines = conv.size % kLine == 0 && reinterpret_cast<std::uintptr_t>(conv.y) % 64 == 0;
    return on_lines && conv.batch * conv.out_channels * conv.size >= kStreamedFloats;
  }
  std::int64_t row(std::int64_t tile) const { return conv.out_channels * tile / tiles; }
  std::int64_t packed() const { return width / panel * panel_stride; }
  std::int64_t aside() const { return gemm::kMostOuterRows * panel; }
};

// The filters of a tile side by side: (depth, filters of the tile).
void pack_weights(const Plan& plan, std::int64_t tile, float* to) {
  const Convolution& conv = plan.conv;
  const std::int64_t first = plan.row(tile);
  const std::int64_t last = plan.row(tile + 1);
  for (std::int64_t c = 0; c < conv.in_channels; ++c) {
    for (std::int64_t k = first; k < last; ++k) *to++ = conv.weights[k * conv.in_channels + c];
  }
  if (conv.bias != nullptr) std::copy(conv.bias + first, conv.bias + last, to);
}

// What the product reads of a channel, some neighbouring positions, to where its panels begin, `stride` apart.
// Meanwhile those of the next channel, `next` floats on, come into the cache: they are too far away for the processor
// to foresee.
template <bool Rectify, bool Masked, std::int64_t Panel>
STYLOGRAM_INLINE inline void take_panel(const float* x, const float* mask, std::int64_t next, float* to) {
  for (std::int64_t i = 0; i < Panel; i += kLine) {
    __builtin_prefetch(x + next + i);
    if (Masked) __builtin_prefetch(mask + next + i);
  }
  for (std::int64_t i = 0; i < Panel; ++i) {
    float value = x[i];
    if (Rectify) value = value < 0 ? 0.0F : value;  // NaN stays
    to[i] = Masked && !(mask[i] > 0) ? 0.0F : value;
  }
}

template <bool Rectify, bool Masked, std::int64_t Panel>
void take(const float* x, const float* mask, std::int64_t count, std::int64_t next, float* to, std::int64_t stride) {
  simd::run([=]() STYLOGRAM_INLINE {
    std::int64_t j = 0;
    float* panel = to;
    for (; j + Panel <= count; j += Panel, panel += stride) {
      take_panel<Rectify, Masked, Panel>(x + j, Masked ? mask + j : nullptr, next, panel);
    }
    if (j == count) return;
    float values[Panel] = {};
    float kept[Panel] = {};
    for (std::int64_t i = 0; i < count - j; ++i) {
      values[i] = x[j + i];
      if (Masked) kept[i] = mask[j + i];
    }
    take_panel<Rectify, Masked, Panel>(values, kept, 0, panel);
  });
}

using Take = void (*)(const float* x, const float* mask, std::int64_t count, std::int64_t next, float* to,
                      std::int64_t stride);

template <std::int64_t Panel>
Take taking(bool rectify, bool masked) {
  if (rectify) return masked ? take<true, true, Panel> : take<true, false, Panel>;
  return masked ? take<false, true, Panel> : take<false, false, Panel>;
}

// Positions [begin, begin + count) of picture n as panels (depth, positions of the panel); the last is filled up.
void pack_inputs(const Plan& plan, std::int64_t n, std::int64_t begin, std::int64_t count, float* to) {
  const Convolution& conv = plan.conv;
  const bool masked = conv.mask != nullptr;
  const auto table = plan.panel == 32 ? taking<32> : plan.panel == 16 ? taking<16> : taking<8>;
  const Take taken = table(conv.rectify_input, masked);
  for (std::int64_t c = 0; c < conv.in_channels; ++c) {
    const std::int64_t at = (n * conv.in_channels + c) * conv.size + begin;
    const std::int64_t next = c + 1 < conv.in_channels ? conv.size : 0;
    taken(conv.x + at, masked ? conv.mask + at : nullptr, count, next, to + c * plan.panel, plan.panel_stride);
  }
  for (std::int64_t j = 0; conv.bias != nullptr && j < count; j += plan.panel) {
    std::fill_n(to + j / plan.panel * plan.panel_stride + conv.in_channels * plan.panel, plan.panel, 1.0F);
  }
}

void multiply_block(const Plan& plan, const float* weights, std::int64_t n, std::int64_t begin, float* packed) {
  const Convolution& conv = plan.conv;
  const std::int64_t count = std::min(plan.width, conv.size - begin);
  float* aside = packed + plan.packed();
  pack_inputs(plan, n, begin, count, packed);
  const std::int64_t whole = count / plan.panel * plan.panel;  // the rest is computed aside
  for (std::int64_t tile = 0; tile < plan.tiles; ++tile) {
    const std::int64_t first = plan.row(tile);
    const std::int64_t rows = plan.row(tile + 1) - first;
    const gemm::MicroKernels::Outer kernel = plan.micro.outer[rows];
    const float* filters = weights + first * plan.depth;
    float* y = conv.y + (n * conv.out_channels + first) * conv.size + begin;
    const float* panel = packed;
    for (std::int64_t j = 0; j < whole; j += plan.panel, panel += plan.panel_stride) {
      kernel(filters, panel, plan.depth, y + j, conv.size, plan.store);
    }
    if (whole == count) continue;
    kernel(filters, panel, plan.depth, aside, plan.panel, gemm::Store::set);
    for (std::int64_t i = 0; i < rows; ++i)
      std::copy_n(aside + i * plan.panel, count - whole, y + i * conv.size + whole);
  }
}

}  // namespace

void convolve(const Convolution& convolution, const ForEach& for_each) {
  const Plan plan{convolution};
  const std::int64_t blocks = convolution.batch * plan.blocks;
  const std::int64_t shared = divided(convolution.out_channels * plan.depth, kLine) * kLine;
  const std::int64_t own = plan.packed() + plan.aside();
  Slots slots(blocks);
  const Workspace workspace(shared + slots.count() * own);
  float* weights = workspace.floats();
  for_each(plan.tiles, [&](std::int64_t tile) { pack_weights(plan, tile, weights + plan.row(tile) * plan.depth); });
  for_each(blocks, [&](std::int64_t block) {
    const Slots::Slot slot(slots);
    multiply_block(plan, weights, block / plan.blocks, block % plan.blocks * plan.width,
                   weights + shared + slot.index() * own);
  });
}

}  // namespace stylogram::pointwise
