// Three launches: partial products of the lower half of F diag(w) F^T on tensor cores, split over the positions; their
// sum in double, with the loss and the matrix 4 scale / W (G - A); and the product of that matrix with F.
#include "cuda/product.h"
#include "cuda/reduce.h"
#include "cuda/registry.h"
#include "ops/gram.h"

namespace stylogram::cuda {
namespace {

constexpr int kTile = GramPlan::kTile;
constexpr std::int64_t kTileSize = kTile * kTile;
constexpr int kGroups = 8;               // of 32 threads that add up the splits of 32 numbers
constexpr std::int64_t kFewSplits = 16;  // which one thread adds up

// W of each picture. A weight that is negative or not finite, or a mask of zeros, makes it NaN, and the loss with it:
// nothing can be thrown from here.
__global__ void __launch_bounds__(1024)
    mask_sums(const float* mask, std::int64_t stride, std::int64_t p, double* sums) {
  const float* own = mask + static_cast<std::int64_t>(blockIdx.x) * stride;
  double sum = 0;
  bool good = true;
  for (std::int64_t i = threadIdx.x; i < p; i += 1024) {
    good = good && own[i] >= 0 && isfinite(own[i]);
    sum += static_cast<double>(own[i]);
  }
  const double total = block_sum<1024>(sum);
  const double bad = block_sum<1024>(good ? 0.0 : 1.0);
  if (threadIdx.x == 0) sums[blockIdx.x] = bad == 0 && total > 0 ? total : static_cast<double>(NAN);
}

template <class Form>
__global__ void __launch_bounds__(kSquareThreads, sizeof(typename Form::Number) == 2 ? 4 : 1)
    gram_tiles(const void* features, const float* mask, std::int64_t mask_stride, std::int64_t c, std::int64_t p,
               float* partials) {
  using Product = SquareProduct<Form>;
  STYLOGRAM_SHARED(float, memory);
  auto* stages = reinterpret_cast<typename Product::Stage*>(memory);
  const GramPlan plan(c, p);
  const std::int64_t n = blockIdx.y;
  const std::int64_t tile = blockIdx.x % plan.tiles;
  const std::int64_t split = blockIdx.x / plan.tiles;
  const auto* own = static_cast<const typename Form::Number*>(features) + n * c * p;
  const float* weights = mask == nullptr ? nullptr : mask + n * mask_stride;
  Product product(own, weights, c, p, Half::row(tile), Half::column(tile), stages);
  product.run(plan.positions.begin(split), plan.positions.end(split));
  float* out = partials + ((n * plan.positions.count + split) * plan.tiles + tile) * kTileSize;
  product.each([&](int row, int column, float value) { out[row * kTile + column] = value; });
}

struct Finish {
  std::int64_t c, p;
  double unit;
  const float* partials;
  const double* sums;  // (N) of the mask; null without one
  float* gram;
  const float* target;  // null: only G is wanted
  const double* scale;
  const double* offset;
  void* difference;  // of type U
  double* value;
};

// Some numbers of a tile for each block of 256 threads, as many as there are threads in a group; both halves are
// written.
template <class U, int Groups>
__global__ void __launch_bounds__(kThreads) gram_finish(Finish f, double* blocks, unsigned* counters) {
  constexpr unsigned numbers = kThreads / Groups;
  __shared__ double groups[Groups][numbers];
  const GramPlan plan(f.c, f.p);
  const std::int64_t n = blockIdx.y;
  const std::int64_t tile = blockIdx.x / (kTileSize / numbers);
  const std::int64_t inside = blockIdx.x % (kTileSize / numbers) * numbers + threadIdx.x % numbers;
  double sum = 0;
#pragma unroll 8
  for (std::int64_t split = threadIdx.x / numbers; split < plan.positions.count; split += Groups) {
    const std::int64_t from = ((n * plan.positions.count + split) * plan.tiles + tile) * kTileSize;
    sum += static_cast<double>(f.partials[from + inside]);
  }
  if constexpr (Groups > 1) {
    groups[threadIdx.x / numbers][threadIdx.x % numbers] = sum;
    __syncthreads();
  }
  const std::int64_t i = Half::row(tile) * kTile + inside / kTile;
  const std::int64_t j = Half::column(tile) * kTile + inside % kTile;
  double term = 0;
  if (threadIdx.x < numbers && i < f.c && j <= i) {
    if constexpr (Groups > 1) {
      sum = 0;
      for (int g = 0; g < Groups; ++g) sum += groups[g][threadIdx.x];
    }
    const double weight = f.sums == nullptr ? static_cast<double>(f.p) : f.sums[n];
    const auto g = static_cast<float>(f.unit * f.unit * sum / weight);
    const std::int64_t lower = (n * f.c + i) * f.c + j;
    const std::int64_t upper = (n * f.c + j) * f.c + i;
    f.gram[lower] = f.gram[upper] = g;
    if (f.target != nullptr) {
      const float delta = g - f.target[lower];
      auto* difference = static_cast<U*>(f.difference);
      const auto factor = static_cast<float>(4 * f.scale[n] * f.unit / weight);
      difference[lower] = difference[upper] = narrowed<U>(factor * delta);
      term = (i == j ? 1 : 2) * static_cast<double>(delta) * static_cast<double>(delta);
    }
  }
  if (f.target == nullptr) return;
  double total = 0;
  if (sum_over_blocks<kThreads>(term, blocks, counters, &total) && threadIdx.x == 0) {
    f.value[n] += f.scale[n] * total + f.offset[n];
  }
}

// Where in the workspace each part begins, in doubles.
struct Places {
  std::size_t sums, blocks, partials, difference, end;

  Places(const ops::GramShape& shape, bool loss) {
    const GramPlan plan(shape.c, shape.p);
    const auto n = static_cast<std::size_t>(shape.n);
    const auto even = [](std::size_t count) { return (count + 1) / 2 * 2; };  // 16 bytes
    sums = 0;
    blocks = sums + even(n);
    partials = blocks + even(n * static_cast<std::size_t>(plan.tiles * (kTileSize / 32)));
    difference = partials + n * static_cast<std::size_t>(plan.partials()) / 2;
    end = difference + (loss ? even(n * static_cast<std::size_t>(shape.c * shape.c)) : 0);
  }
};

template <class Form>
void multiply_tiles(const char* op, const ops::GramShape& shape, const void* features, float* partials, Stream stream) {
  using Stage = typename SquareProduct<Form>::Stage;
  const GramPlan plan(shape.c, shape.p);
  launch(op, gram_tiles<Form>, grid(op, plan.tiles * plan.positions.count, shape.n), kSquareThreads,
         SquareProduct<Form>::kStages * sizeof(Stage), stream, features, shape.mask, shape.mask_stride, shape.c,
         shape.p, partials);
}

// `Wide`: rows of memory, of channels or of positions, are whole 16 bytes.
template <bool Wide>
void multiply_form(const char* op, const ops::GramShape& shape, const void* features, float* partials, Stream stream) {
  const Number number = shape.form.number;
  if (number == Number::bfloat16) {
    return multiply_tiles<ChannelsLast<Tf32, BFloat16, Wide>>(op, shape, features, partials, stream);
  }
  if (number == Number::float16) {
    return multiply_tiles<ChannelsLast<Tf32, Float16, Wide>>(op, shape, features, partials, stream);
  }
  with_math(stream.math, [&](auto math) {
    using M = decltype(math);
    if (shape.form.channels_last) {
      return multiply_tiles<ChannelsLast<M, float, Wide>>(op, shape, features, partials, stream);
    }
    multiply_tiles<ChannelsFirst<M, Wide>>(op, shape, features, partials, stream);
  });
}

void gram_of(const char* op, const ops::GramShape& shape, Finish finish, const void* features, const Workspace& work,
             const Places& places, Stream stream) {
  const ops::Form form = shape.form;
  check(form.channels_last || form.number == Number::float32, op,
        "features of 16 bits are accepted with their channels last");
  auto* partials = reinterpret_cast<float*>(work.doubles + places.partials);
  if (shape.mask != nullptr) {
    double* sums = work.doubles + places.sums;
    launch(op, mask_sums, dim3(static_cast<unsigned>(shape.n)), 1024, 0, stream, shape.mask, shape.mask_stride, shape.p,
           sums);
    finish.sums = sums;
  }
  const std::int64_t row = form.channels_last ? shape.c : shape.p;
  const std::int64_t width = form.number == Number::float32 ? 4 : 8;
  const bool wide = row % width == 0 && aligned(features);
  (wide ? multiply_form<true> : multiply_form<false>)(op, shape, features, partials, stream);
  finish.c = shape.c;
  finish.p = shape.p;
  finish.unit = static_cast<double>(form.unit);
  finish.partials = partials;
  const auto launch_finish = [&](auto type, auto groups) {
    using U = decltype(type);
    constexpr int count = decltype(groups)::value;
    const GramPlan plan(shape.c, shape.p);
    launch(op, gram_finish<U, count>, grid(op, plan.tiles * (kTileSize * count / kThreads), shape.n), kThreads, 0,
           stream, finish, work.doubles + places.blocks, work.counters);
  };
  const auto with_type = [&](auto groups) {
    if (form.number == Number::bfloat16) return launch_finish(BFloat16{}, groups);
    launch_finish(float{}, groups);
  };
  if (GramPlan(shape.c, shape.p).positions.count > kFewSplits) {
    with_type(std::integral_constant<int, kGroups>{});
  } else {
    with_type(std::integral_constant<int, 1>{});
  }
}

void gram(const ops::GramShape& shape, const void* features, float* out, Stream stream) {
  const Places places(shape, false);
  const Workspace work = workspace("gram", stream, places.end, static_cast<std::size_t>(shape.n));
  Finish finish{};
  finish.gram = out;
  gram_of("gram", shape, finish, features, work, places, stream);
}

void gram_loss(const ops::GramShape& shape, const ops::GramLoss& loss, Stream stream) {
  const char* op = "gram_loss";
  const Places places(shape, true);
  const Workspace work = workspace(op, stream, places.end, static_cast<std::size_t>(shape.n));
  auto* difference = reinterpret_cast<float*>(work.doubles + places.difference);
  Finish finish{};
  finish.gram = loss.gram;
  finish.target = loss.target;
  finish.scale = loss.scale;
  finish.offset = loss.offset;
  finish.difference = difference;
  finish.value = loss.value;
  gram_of(op, shape, finish, loss.features, work, places, stream);
  if (shape.form.channels_last) {
    LastProduct product{shape.c, shape.p, shape.form.number, loss.features, difference, loss.gradient};
    product.row_scale = shape.mask;
    product.scale_stride = shape.mask_stride;
    product.accumulate = loss.accumulate;
    return multiply(op, product, shape.n, stream);
  }
  WideProduct product{shape.c,
                      shape.c,
                      shape.p,
                      difference,
                      static_cast<const float*>(loss.features),
                      static_cast<float*>(loss.gradient)};
  product.column_scale = shape.mask;
  product.scale_stride = shape.mask_stride;
  product.accumulate = loss.accumulate;
  multiply(op, product, shape.n, stream);
}

const Registration first("gram", &gram);
const Registration second("gram_loss", &gram_loss);

}  // namespace
}  // namespace stylogram::cuda
