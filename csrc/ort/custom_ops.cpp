// What ONNX Runtime calls: RegisterCustomOps, which adds the domain `stylogram` with one op, WinogradConv, to a
// session.
//
// Everything goes through ONNX Runtime's C API, which is handed in: nothing is linked. Threads are the session's.
#include <onnxruntime/onnxruntime_c_api.h>

#include <array>
#include <cstdint>
#include <exception>
#include <mutex>
#include <string>
#include <vector>

#include "check.h"
#include "winograd/conv.h"

namespace stylogram::ort {
namespace {

constexpr std::uint32_t kApiVersion = 20;  // of the oldest ONNX Runtime that this package takes: 1.20
constexpr const char* kName = "WinogradConv";

enum Input : std::size_t { kX, kWeights, kBias, kWhere, kAdd, kMask, kInputs };
enum Output : std::size_t { kY, kPooled, kPooledWhere, kOutputs };

void require(const OrtApi& api, OrtStatus* status) {
  if (status == nullptr) return;
  const std::string message = api.GetErrorMessage(status);
  api.ReleaseStatus(status);
  fail(kName, message);
}

// Calls body, and makes a status of what it throws: nothing may be thrown through ONNX Runtime.
template <class Body>
OrtStatus* guarded(const OrtApi& api, const Body& body) {
  try {
    body();
    return nullptr;
  } catch (const std::exception& error) {
    return api.CreateStatus(ORT_FAIL, error.what());
  }
}

std::string text(const OrtApi& api, const OrtKernelInfo* info, const char* name) {
  std::size_t size = 0;
  require(api, api.KernelInfoGetAttribute_string(info, name, nullptr, &size));
  std::string value(size, '\0');
  require(api, api.KernelInfoGetAttribute_string(info, name, value.data(), &size));
  value.resize(size - 1);
  return value;
}

template <std::size_t Count>
std::array<std::int64_t, Count> integers(const OrtApi& api, const OrtKernelInfo* info, const char* name) {
  std::array<std::int64_t, Count> values = {};
  std::size_t size = Count;
  require(api, api.KernelInfoGetAttributeArray_int64(info, name, values.data(), &size));
  check(size == Count, kName, name, " must be ", Count, " numbers, got ", size);
  return values;
}

std::int64_t integer(const OrtApi& api, const OrtKernelInfo* info, const char* name) {
  std::int64_t value = 0;
  require(api, api.KernelInfoGetAttribute_int64(info, name, &value));
  return value;
}

winograd::Spread spread_named(const std::string& name) {
  if (name == "none") return winograd::Spread::none;
  if (name == "average") return winograd::Spread::average;
  if (name == "first") return winograd::Spread::first;
  if (name == "positive") return winograd::Spread::positive;
  fail(kName, "spread must be none, average, first or positive, got '", name, "'");
}

winograd::Pool pool_named(const std::string& name) {
  if (name == "none") return winograd::Pool::none;
  if (name == "max") return winograd::Pool::max;
  if (name == "average") return winograd::Pool::average;
  fail(kName, "pool must be none, max or average, got '", name, "'");
}

using Shape = std::vector<std::int64_t>;

/// One node's state: its attributes.
class Kernel {
 public:
  Kernel(const OrtApi& api, const OrtKernelInfo* info)
      : api_(api),
        pads_(integers<4>(api, info, "pads")),
        size_(integers<2>(api, info, "size")),
        filters_(integer(api, info, "filters")),
        rectify_input_(0 != integer(api, info, "rectify_input")),
        rectify_(0 != integer(api, info, "rectify")),
        spread_(spread_named(text(api, info, "spread"))),
        pool_(pool_named(text(api, info, "pool"))) {
    check(filters_ > 0, kName, "filters must be at least 1, got ", filters_);
    for (const std::int64_t pad : pads_) check(pad >= 0, kName, "pads must not be negative, got ", pad);
  }

  OrtStatus* compute(OrtKernelContext* context) const {
    return guarded(api_, [&] { run(context); });
  }

 private:
  const OrtValue* input(OrtKernelContext* context, Input index) const {
    const OrtValue* value = nullptr;
    require(api_, api_.KernelContext_GetInput(context, index, &value));
    return value;
  }

  Shape shape(const OrtValue* value) const {
    OrtTensorTypeAndShapeInfo* info = nullptr;
    require(api_, api_.GetTensorTypeAndShape(value, &info));
    std::size_t rank = 0;
    OrtStatus* status = api_.GetDimensionsCount(info, &rank);
    Shape dims(rank);
    if (status == nullptr) status = api_.GetDimensions(info, dims.data(), rank);
    api_.ReleaseTensorTypeAndShapeInfo(info);
    require(api_, status);
    return dims;
  }

  // The data of an input of a known shape; null where it is absent.
  template <class T>
  const T* data(OrtKernelContext* context, Input index, const char* name, const Shape& expected) const {
    const OrtValue* value = input(context, index);
    if (value == nullptr) return nullptr;
    check(shape(value) == expected, kName, name, " does not have the shape that x, weights and size ask for");
    void* found = nullptr;
    require(api_, api_.GetTensorMutableData(const_cast<OrtValue*>(value), &found));
    return static_cast<const T*>(found);
  }

  // Null where the node has no such output.
  template <class T>
  T* made(OrtKernelContext* context, Output index, const Shape& dims) const {
    OrtValue* value = nullptr;
    require(api_, api_.KernelContext_GetOutput(context, index, dims.data(), dims.size(), &value));
    if (value == nullptr) return nullptr;
    void* found = nullptr;
    require(api_, api_.GetTensorMutableData(value, &found));
    return static_cast<T*>(found);
  }

  void run(OrtKernelContext* context) const {
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
    conv.weights = data<float>(context, kWeights, "weights", w);
    conv.bias = data<float>(context, kBias, "bias", {filters_});
    conv.input = {data<float>(context, kX, "x", x),
                  data<std::uint8_t>(context, kWhere, "where", x),
                  data<float>(context, kAdd, "add", full),
                  data<float>(context, kMask, "mask", full),
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
    winograd::convolve(conv, [&](std::int64_t parts, const std::function<void(std::int64_t)>& part) {
      for_each(context, parts, part);
    });
  }

  void for_each(OrtKernelContext* context, std::int64_t parts, const std::function<void(std::int64_t)>& part) const {
    const auto call = [](void* body, std::size_t index) {
      (*static_cast<const std::function<void(std::int64_t)>*>(body))(static_cast<std::int64_t>(index));
    };
    auto* body = const_cast<std::function<void(std::int64_t)>*>(&part);
    require(api_, api_.KernelContext_ParallelFor(context, call, static_cast<std::size_t>(parts), 0, body));
  }

  const OrtApi& api_;
  std::array<std::int64_t, 4> pads_;  // top, left, bottom, right
  std::array<std::int64_t, 2> size_;  // of the input once it is spread; not read if it is not
  std::int64_t filters_;
  bool rectify_input_, rectify_;
  winograd::Spread spread_;
  winograd::Pool pool_;
};

OrtCustomOp described() {
  OrtCustomOp op = {};
  op.version = kApiVersion;
  op.GetName = [](const OrtCustomOp*) { return kName; };
  op.GetExecutionProviderType = [](const OrtCustomOp*) -> const char* { return "CPUExecutionProvider"; };
  op.GetInputTypeCount = [](const OrtCustomOp*) -> std::size_t { return kInputs; };
  op.GetOutputTypeCount = [](const OrtCustomOp*) -> std::size_t { return kOutputs; };
  op.GetInputType = [](const OrtCustomOp*, std::size_t index) {
    return index == kWhere ? ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8 : ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
  };
  op.GetOutputType = [](const OrtCustomOp*, std::size_t index) {
    return index == kPooledWhere ? ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8 : ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
  };
  op.GetInputCharacteristic = [](const OrtCustomOp*, std::size_t index) {
    return index <= kWeights ? INPUT_OUTPUT_REQUIRED : INPUT_OUTPUT_OPTIONAL;
  };
  op.GetOutputCharacteristic = [](const OrtCustomOp*, std::size_t) { return INPUT_OUTPUT_OPTIONAL; };
  op.GetInputMemoryType = [](const OrtCustomOp*, std::size_t) { return OrtMemTypeDefault; };
  op.GetVariadicInputMinArity = [](const OrtCustomOp*) { return 0; };
  op.GetVariadicInputHomogeneity = [](const OrtCustomOp*) { return 0; };
  op.GetVariadicOutputMinArity = [](const OrtCustomOp*) { return 0; };
  op.GetVariadicOutputHomogeneity = [](const OrtCustomOp*) { return 0; };
  op.CreateKernelV2 = [](const OrtCustomOp*, const OrtApi* api, const OrtKernelInfo* info, void** kernel) {
    return guarded(*api, [&] { *kernel = new Kernel(*api, info); });
  };
  op.KernelComputeV2 = [](void* kernel, OrtKernelContext* context) {
    return static_cast<const Kernel*>(kernel)->compute(context);
  };
  op.KernelDestroy = [](void* kernel) { delete static_cast<Kernel*>(kernel); };
  op.GetStartVersion = [](const OrtCustomOp*) { return 1; };
  op.GetEndVersion = [](const OrtCustomOp*) { return 1; };
  return op;
}

OrtStatus* add_domain(OrtSessionOptions* options, const OrtApi& api) {
  static const OrtCustomOp op = described();
  static std::mutex mutex;
  static OrtCustomOpDomain* domain = nullptr;  // for the process: sessions that use it may outlive any scope
  const std::lock_guard<std::mutex> lock(mutex);
  if (domain == nullptr) {
    OrtCustomOpDomain* made = nullptr;
    if (OrtStatus* status = api.CreateCustomOpDomain("stylogram", &made)) return status;
    if (OrtStatus* status = api.CustomOpDomain_Add(made, &op)) return status;
    domain = made;
  }
  return api.AddCustomOpDomain(options, domain);
}

}  // namespace
}  // namespace stylogram::ort

extern "C" __attribute__((visibility("default"))) OrtStatus* RegisterCustomOps(OrtSessionOptions* options,
                                                                               const OrtApiBase* base) {
  const OrtApi* api = base->GetApi(stylogram::ort::kApiVersion);
  if (api == nullptr) return base->GetApi(1)->CreateStatus(ORT_FAIL, "[WinogradConv] ONNX Runtime is older than 1.20");
  return stylogram::ort::add_domain(options, *api);
}
