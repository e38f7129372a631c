#include "runtime/feature_pass.h"

#include <algorithm>

#include "runtime/errors.h"

namespace stylogram::runtime {
namespace {

Kind kind_of(const Shape& shape) {
  return {{shape.count, 3, shape.height, shape.width}, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT};
}

}  // namespace

FeaturePass::FeaturePass(const Pair& pair, const Pictures& pictures)
    : shape_{pictures.count, pictures.height, pictures.width}, picture_(kind_of(shape_)), gradient_(kind_of(shape_)) {
  std::copy_n(pictures.data, size(), picture());
  make_buffers(pair);
  for (const std::string& tap : pair.taps()) given_[tap] = std::make_unique<Tensor>(Kind{features(tap).dims()});
  const std::string& input = pair.forward().inputs().front().name;
  forward_ = std::make_unique<Bound>(pair.forward(), [&](const std::string& name) -> const Tensor& {
    return name == input ? picture_ : *made_.at(name);
  });
  const std::string& output = pair.backward().outputs().front().name;
  backward_ = std::make_unique<Bound>(pair.backward(), [&](const std::string& name) -> const Tensor& {
    return name == output ? gradient_ : read_by_backward(name);
  });
  forward(nullptr);
}

// ONNX Runtime's own outputs say the shapes; they are gone before forward runs into the buffers.
void FeaturePass::make_buffers(const Pair& pair) {
  std::vector<std::string> names;
  for (const Slot& slot : pair.forward().outputs()) names.push_back(slot.name);
  const std::vector<Owned<OrtValue>> values = pair.forward().run(picture_, names);
  for (std::size_t index = 0; index < names.size(); ++index) {
    made_[names[index]] = std::make_unique<Tensor>(runtime::kind_of(values[index].get()));
  }
  for (const std::string& tap : pair.taps()) {
    const Dims& dims = features(tap).dims();
    require(dims.size() >= 2 && dims[0] == shape_.count, Code::network, "the layer's tensor ", tap, " is ", text(dims),
            "; features (N,C,...) of each picture are needed");
  }
}

const Tensor& FeaturePass::read_by_backward(const std::string& name) const {
  if (name.rfind("gy:", 0) == 0) return *given_.at(name.substr(3));
  return *made_.at(name);
}

// Where the pair is closed to another number of pictures, the picture goes through as often, and the first counts.
void features_of(const Pair& pair, const float* picture, std::int64_t height, std::int64_t width,
                 const std::vector<std::string>& taps, const Look& look) {
  const std::int64_t rows = std::max<std::int64_t>(pair.batch(), 1);
  const Tensor input(kind_of(Shape{rows, height, width}));
  const std::int64_t size = 3 * height * width;
  for (std::int64_t row = 0; row < rows; ++row) std::copy_n(picture, size, input.floats() + row * size);
  const std::vector<Owned<OrtValue>> values = pair.forward().run(input, taps);
  for (std::size_t tap = 0; tap < taps.size(); ++tap) {
    look(tap, runtime::kind_of(values[tap].get()).dims, floats_of(values[tap].get()));
  }
}

}  // namespace stylogram::runtime
