// The backend interface of cuDNN 9, from the library that ONNX Runtime's CUDA provider has loaded: nothing is linked.
// Numbers are those of cuDNN's cudnn_graph.h.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <utility>
#include <vector>

namespace stylogram::cudnn {

using Handle = void*;  // cudnnHandle_t

enum class Kind : int {
  pointwise = 0,
  convolution = 1,
  engine = 2,
  engine_config = 3,
  heuristics = 4,
  plan = 5,
  convolution_forward = 10,
  convolution_backward_data = 12,
  pointwise_operation = 13,
  graph = 15,
  variant_pack = 16,
  tensor = 17,
};

enum class Name : int {
  pointwise_mode = 0,
  pointwise_precision = 1,
  pointwise_nan = 2,
  convolution_type = 100,
  convolution_mode = 101,
  dilations = 102,
  strides = 103,
  pads_after = 104,
  pads_before = 105,
  spatial_axes = 106,
  heuristics_mode = 200,
  heuristics_graph = 201,
  heuristics_results = 202,
  config_engine = 300,
  plan_handle = 400,
  plan_config = 401,
  plan_workspace = 402,
  forward_alpha = 700,
  forward_beta = 701,
  forward_convolution = 702,
  forward_w = 703,
  forward_x = 704,
  forward_y = 705,
  backward_data_alpha = 706,
  backward_data_beta = 707,
  backward_data_convolution = 708,
  backward_data_w = 709,
  backward_data_dx = 710,
  backward_data_dy = 711,
  operation_pointwise = 750,
  operation_x = 751,
  operation_b = 752,
  operation_y = 753,
  graph_handle = 800,
  graph_operations = 801,
  tensor_alignment = 900,
  tensor_type = 901,
  tensor_sizes = 902,
  tensor_strides = 903,
  tensor_id = 906,
  tensor_virtual = 907,
  pack_ids = 1000,
  pack_pointers = 1001,
  pack_workspace = 1003,
  engine_numerics = 1303,
  engine_behaviour = 1305,
};

enum class Type : int {
  handle = 0,
  data_type = 1,
  boolean = 2,
  int64 = 3,
  real = 4,
  pointer = 6,
  convolution_mode = 7,
  heuristics_mode = 8,
  nan_propagation = 10,
  numerical_note = 11,
  pointwise_mode = 14,
  descriptor = 15,
  behaviour = 19,
};

enum class Data : int { float32 = 0, float16 = 2, bfloat16 = 9 };
enum class Pointwise : int { add = 0, relu = 100 };
enum class Heuristics : int { fallback = 2, a = 3 };
constexpr int kCrossCorrelation = 1;
constexpr int kPropagated = 1;          // a NaN
constexpr int kRuntimeCompilation = 0;  // a note on an engine's behaviour
constexpr int kNondeterministic = 4;    // a note on an engine's numbers

/// What cuDNN does not do that it was asked for.
class Refusal : public std::invalid_argument {
 public:
  using std::invalid_argument::invalid_argument;
};

/// A descriptor: made empty, given its attributes, finished. What cuDNN refuses throws Refusal.
class Descriptor {
 public:
  explicit Descriptor(Kind kind);
  Descriptor(Descriptor&& from) noexcept : made_(std::exchange(from.made_, nullptr)) {}
  Descriptor& operator=(Descriptor&& from) noexcept {
    std::swap(made_, from.made_);
    return *this;
  }
  ~Descriptor();

  void set(Name name, Type type, std::int64_t count, const void* values);
  template <class T>
  void set(Name name, Type type, const T& value) {
    set(name, type, 1, &value);
  }
  void set(Name name, const std::vector<std::int64_t>& values) {
    set(name, Type::int64, static_cast<std::int64_t>(values.size()), values.data());
  }
  void set(Name name, const Descriptor& other) { set(name, Type::descriptor, other.made_); }

  void finish();

  /// How many values there are; at most `count` are written.
  std::int64_t get(Name name, Type type, std::int64_t count, void* values) const;

  void* made() const { return made_; }

 private:
  void* made_ = nullptr;
};

/// Throws Refusal where the plan fails.
void execute(Handle handle, const Descriptor& plan, const Descriptor& pack);

}  // namespace stylogram::cudnn
