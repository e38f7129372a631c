// What a graph of cuDNN's says, computed: convolutions, forward and backward to what they read, additions and ReLUs of
// (N,C,H,W) in any order in memory.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

namespace standin {

// Of cudnn_graph_v9.h.
enum Type : int { kHandle = 0, kBool = 2, kInt64 = 3, kDouble = 5, kPointer = 6, kDescriptor = 15 };
enum Data : int { kFloat32 = 0, kFloat16 = 2 };
enum Kind : int {
  kPointwise = 0,
  kHeuristicsOf = 4,
  kPlanOf = 5,
  kForward = 10,
  kBackwardData = 12,
  kPointwiseOperation = 13,
  kGraphOf = 15,
};
enum Mode : int { kAdded = 0 };  // of a pointwise operation; else it is a ReLU
enum Name : int {
  kMode = 0,
  kNan = 2,
  kDilations = 102,
  kStrides = 103,
  kPadsAfter = 104,
  kPadsBefore = 105,
  kHeuristicsGraph = 201,
  kEngines = 202,
  kConfigEngine = 300,
  kPlanConfig = 401,
  kWorkspace = 402,
  kForwardHow = 702,
  kForwardW = 703,
  kForwardX = 704,
  kForwardY = 705,
  kBackwardHow = 708,
  kBackwardW = 709,
  kBackwardX = 710,
  kBackwardY = 711,
  kPointwiseHow = 750,
  kPointwiseX = 751,
  kPointwiseB = 752,
  kPointwiseY = 753,
  kOperations = 801,
  kTensorType = 901,
  kSizes = 902,
  kTensorStrides = 903,
  kId = 906,
  kVirtual = 907,
  kIds = 1000,
  kPointers = 1001,
  kPackWorkspace = 1003,
  kNumericalNote = 1303,
  kBehaviourNote = 1305,
};

// Bytes of one value of an attribute: pointers, int64 and double have 8, and what is left are enums.
inline std::size_t size_of(int type) {
  if (type == kBool) return 1;
  const bool wide = type == kHandle || type == kInt64 || type == kDouble || type == kPointer || type == kDescriptor;
  return wide ? 8 : 4;
}

// What is set of another descriptor is a copy, as with cuDNN, whose users throw theirs away.
struct Descriptor {
  using Part = std::shared_ptr<const Descriptor>;

  int kind;
  std::map<int, std::vector<char>> given;
  std::map<int, std::vector<Part>> parts;
  Part graph;     // that an engine, or its configuration, is for
  int place = 0;  // of such an engine among those that were named

  void set(int name, int type, std::size_t count, const void* values) {
    if (type == kDescriptor) {
      std::vector<Part>& made = parts[name];
      made.clear();
      for (std::size_t i = 0; i < count; ++i) {
        made.push_back(std::make_shared<Descriptor>(*static_cast<Descriptor* const*>(values)[i]));
      }
      return;
    }
    const auto* from = static_cast<const char*>(values);
    given[name] = {from, from + count * size_of(type)};
  }
  template <class T>
  std::vector<T> all(int name) const {
    const auto found = given.find(name);
    if (found == given.end()) return {};
    std::vector<T> values(found->second.size() / sizeof(T));
    std::memcpy(values.data(), found->second.data(), values.size() * sizeof(T));
    return values;
  }
  template <class T>
  T one(int name) const {
    const std::vector<T> values = all<T>(name);
    return values.empty() ? T{} : values[0];
  }
  Part part(int name) const {
    const auto found = parts.find(name);
    return found == parts.end() ? nullptr : found->second.at(0);
  }
};

// Numbers in memory by cuDNN's number of their type.
inline float widened(const void* from, std::int64_t at, int type) {
  if (type == kFloat32) return static_cast<const float*>(from)[at];
  if (type == kFloat16) return static_cast<float>(static_cast<const _Float16*>(from)[at]);
  const std::uint32_t bits = std::uint32_t{static_cast<const std::uint16_t*>(from)[at]} << 16;
  float number = 0;
  std::memcpy(&number, &bits, 4);
  return number;
}
inline void narrowed(void* to, std::int64_t at, int type, float number) {
  if (type == kFloat32) {
    static_cast<float*>(to)[at] = number;
  } else if (type == kFloat16) {
    static_cast<_Float16*>(to)[at] = static_cast<_Float16>(number);
  } else {
    std::uint32_t bits = 0;
    std::memcpy(&bits, &number, 4);
    static_cast<std::uint16_t*>(to)[at] = static_cast<std::uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
  }
}

struct Values {
  std::vector<std::int64_t> sizes;
  std::vector<float> numbers;

  // 0 outside; an axis of size 1 goes for all.
  float at(std::int64_t n, std::int64_t c, std::int64_t h, std::int64_t w) const {
    const std::int64_t place[] = {n, c, h, w};
    std::int64_t found = 0;
    for (int i = 0; i < 4; ++i) {
      const std::int64_t here = sizes[i] == 1 ? 0 : place[i];
      if (here < 0 || here >= sizes[i]) return 0;
      found = found * sizes[i] + here;
    }
    return numbers[static_cast<std::size_t>(found)];
  }
};

template <class Visit>
void each(const std::vector<std::int64_t>& sizes, const Visit& visit) {
  for (std::int64_t n = 0; n < sizes[0]; ++n)
    for (std::int64_t c = 0; c < sizes[1]; ++c)
      for (std::int64_t h = 0; h < sizes[2]; ++h)
        for (std::int64_t w = 0; w < sizes[3]; ++w) visit(n, c, h, w);
}

struct Sum {
  explicit Sum(std::vector<std::int64_t> of)
      : sizes(std::move(of)), totals(sizes[0] * sizes[1] * sizes[2] * sizes[3]) {}

  void add(std::int64_t n, std::int64_t c, std::int64_t h, std::int64_t w, double part) {
    totals[static_cast<std::size_t>(((n * sizes[1] + c) * sizes[2] + h) * sizes[3] + w)] += part;
  }
  Values values() const { return {sizes, {totals.begin(), totals.end()}}; }

  std::vector<std::int64_t> sizes;
  std::vector<double> totals;
};

class Run {
 public:
  explicit Run(const Descriptor& pack) {
    const auto ids = pack.all<std::int64_t>(kIds);
    const auto pointers = pack.all<void*>(kPointers);
    for (std::size_t i = 0; i < ids.size(); ++i) memory_[ids[i]] = pointers[i];
  }

  void operation(const Descriptor& op) {
    if (op.kind == kForward) return forward(op);
    if (op.kind == kBackwardData) return backward(op);
    const Descriptor::Part how = op.part(kPointwiseHow);
    const bool adds = how->one<int>(kMode) == kAdded;
    const float nan = how->one<int>(kNan) != 0 ? NAN : 0.0F;  // of a NaN
    const Values x = read(*op.part(kPointwiseX));
    const Descriptor::Part other = op.part(kPointwiseB);
    const Values b = other != nullptr ? read(*other) : x;
    Values y = {x.sizes, {}};
    each(y.sizes, [&](auto n, auto c, auto h, auto w) {
      const float one = x.at(n, c, h, w);
      y.numbers.push_back(adds ? one + b.at(n, c, h, w) : one != one ? nan : std::max(one, 0.0F));
    });
    write(*op.part(kPointwiseY), y);
  }

 private:
  // Calls visit(n, k, h, v, c, top, left, weight) for each product x[n,c,top,left] · weight in the sum y[n,k,h,v].
  template <class Visit>
  static void each_product(const Descriptor& how, const Values& w, const std::vector<std::int64_t>& x,
                           const std::vector<std::int64_t>& y, const Visit& visit) {
    const auto pads = how.all<std::int64_t>(kPadsBefore), strides = how.all<std::int64_t>(kStrides);
    const auto after = how.all<std::int64_t>(kPadsAfter), dilations = how.all<std::int64_t>(kDilations);
    for (std::size_t i = 0; i < 2; ++i) {
      const std::int64_t rest = x[i + 2] + pads[i] + after[i] - dilations[i] * (w.sizes[i + 2] - 1) - 1;
      if (rest < 0 || rest / strides[i] + 1 != y[i + 2]) throw std::invalid_argument("sizes do not fit");
    }
    const std::int64_t channels = w.sizes[1], filters = w.sizes[0] / (x[1] / channels);  // of a group
    each(y, [&](auto n, auto k, auto h, auto v) {
      for (std::int64_t c = 0; c < channels; ++c)
        for (std::int64_t r = 0; r < w.sizes[2]; ++r)
          for (std::int64_t s = 0; s < w.sizes[3]; ++s) {
            const std::int64_t top = h * strides[0] - pads[0] + r * dilations[0];
            const std::int64_t left = v * strides[1] - pads[1] + s * dilations[1];
            if (top < 0 || left < 0 || top >= x[2] || left >= x[3]) continue;
            visit(n, k, h, v, k / filters * channels + c, top, left, w.at(k, c, r, s));
          }
    });
  }

  void forward(const Descriptor& op) {
    const Values x = read(*op.part(kForwardX)), w = read(*op.part(kForwardW));
    const Descriptor& to = *op.part(kForwardY);
    Sum y(to.all<std::int64_t>(kSizes));
    each_product(*op.part(kForwardHow), w, x.sizes, y.sizes,
                 [&](auto n, auto k, auto h, auto v, auto c, auto top, auto left, float weight) {
                   y.add(n, k, h, v, double{x.at(n, c, top, left)} * weight);
                 });
    write(to, y.values());
  }

  // The gradient on what was convolved, from that on what came out.
  void backward(const Descriptor& op) {
    const Values gy = read(*op.part(kBackwardY)), w = read(*op.part(kBackwardW));
    const Descriptor& to = *op.part(kBackwardX);
    Sum gx(to.all<std::int64_t>(kSizes));
    each_product(*op.part(kBackwardHow), w, gx.sizes, gy.sizes,
                 [&](auto n, auto k, auto h, auto v, auto c, auto top, auto left, float weight) {
                   gx.add(n, c, top, left, double{gy.at(n, k, h, v)} * weight);
                 });
    write(to, gx.values());
  }

  Values read(const Descriptor& tensor) {
    const auto id = tensor.one<std::int64_t>(kId);
    if (tensor.one<char>(kVirtual)) return between_[id];
    Values values = {tensor.all<std::int64_t>(kSizes), {}};
    const auto strides = tensor.all<std::int64_t>(kTensorStrides);
    const void* from = memory_.at(id);
    each(values.sizes, [&](auto n, auto c, auto h, auto w) {
      const std::int64_t at = n * strides[0] + c * strides[1] + h * strides[2] + w * strides[3];
      const float number = widened(from, at, tensor.one<int>(kTensorType));
      values.numbers.push_back(number);
    });
    return values;
  }

  void write(const Descriptor& tensor, const Values& values) {
    const auto id = tensor.one<std::int64_t>(kId);
    if (tensor.one<char>(kVirtual)) {
      between_[id] = values;
      return;
    }
    const auto strides = tensor.all<std::int64_t>(kTensorStrides);
    void* to = memory_.at(id);
    each(values.sizes, [&](auto n, auto c, auto h, auto w) {
      const std::int64_t at = n * strides[0] + c * strides[1] + h * strides[2] + w * strides[3];
      narrowed(to, at, tensor.one<int>(kTensorType), values.at(n, c, h, w));
    });
  }

  std::map<std::int64_t, void*> memory_;
  std::map<std::int64_t, Values> between_;
};

}  // namespace standin
