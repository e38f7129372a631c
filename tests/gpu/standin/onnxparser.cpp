// TensorRT's ONNX parser without TensorRT: which nodes it takes, as its list of operators says, and the names, types
// and shapes of a graph's inputs and outputs. It reads ONNX's protobuf by the numbers of the fields.
#include <map>
#include <string_view>

#include "tensorrt.h"

using namespace standin;

namespace {

/// What TensorRT 10's parser takes, of the operators that networks for pictures and their gradients have
/// (onnx-tensorrt, docs/operators.md): F for float32, float16 and bfloat16, I for int32 and int64, B for bool.
constexpr std::string_view kTaken =
    " Abs:FI Add:FI And:B AveragePool:F BatchNormalization:F Cast:FIB Clip:F Concat:FIB ConstantOfShape:FIB Conv:F"
    " ConvTranspose:F DepthToSpace:FI Div:FI Dropout:F Elu:F Equal:FI Exp:F Expand:FIB Flatten:FIB Gather:FIB"
    " Gemm:F GlobalAveragePool:F GlobalMaxPool:F Greater:FI HardSigmoid:F Identity:FIB InstanceNormalization:F"
    " LRN:F LeakyRelu:F Less:FI Log:F MatMul:F Max:FI MaxPool:F Min:FI Mul:FI Neg:FI Not:B Or:B Pad:FI Pow:FI"
    " ReduceMax:FI ReduceMean:FI ReduceSum:FI Relu:FI Reshape:FIB ScatterElements:FI Shape:FIB Sigmoid:F Slice:FIB"
    " Softmax:F Softplus:F SpaceToDepth:FI Split:FIB Sqrt:F Squeeze:FIB Sub:FI Sum:FI Tanh:F Transpose:FIB"
    " Unsqueeze:FIB Where:FIB"
    " ";
/// Of ONNX's types, by their numbers: TensorRT's number, and the letter above.
const std::map<std::uint64_t, std::pair<int, char>> kTypes = {
    {1, {0, 'F'}}, {10, {1, 'F'}}, {16, {7, 'F'}}, {6, {3, 'I'}}, {7, {8, 'I'}}, {9, {4, 'B'}},
};

/// The fields of a message: number, value, bytes.
class Fields {
 public:
  std::uint64_t number = 0, value = 0;
  std::string_view bytes;

  explicit Fields(std::string_view message) : left_(message) {}
  bool next() {
    if (left_.empty()) return false;
    const std::uint64_t key = varint();
    number = key >> 3, value = 0, bytes = {};
    if ((key & 7) == 0) value = varint();
    if ((key & 7) == 1) skip(8);
    if ((key & 7) == 2) bytes = skip(varint());
    if ((key & 7) == 5) skip(4);
    return true;
  }

 private:
  std::string_view left_;

  std::string_view skip(std::size_t size) {
    const std::string_view got = left_.substr(0, size);
    left_.remove_prefix(got.size());
    return got;
  }
  std::uint64_t varint() {
    std::uint64_t made = 0;
    for (int shift = 0; !left_.empty(); shift += 7) {
      const auto byte = static_cast<unsigned char>(skip(1)[0]);
      made |= std::uint64_t{byte & 127u} << shift;
      if (byte < 128) break;
    }
    return made;
  }
};

std::string_view field(std::string_view message, std::uint64_t number) {
  std::string_view found;
  for (Fields at(message); at.next();) {
    if (at.number == number) found = at.bytes;
  }
  return found;
}

struct Node {
  std::vector<std::string_view> inputs, outputs;
  std::string_view op, domain;
  bool dilated = false;

  explicit Node(std::string_view message) {
    for (Fields at(message); at.next();) {
      if (at.number == 1) inputs.push_back(at.bytes);
      if (at.number == 2) outputs.push_back(at.bytes);
      if (at.number == 4) op = at.bytes;
      if (at.number == 5) attribute(at.bytes);
      if (at.number == 7) domain = at.bytes;
    }
  }

 private:
  void attribute(std::string_view message) {
    if (field(message, 1) != "dilations") return;
    for (Fields at(message); at.next();) {
      if (at.number != 8) continue;
      for (const char size : at.bytes.empty() ? std::string(1, static_cast<char>(at.value)) : std::string(at.bytes)) {
        dilated = dilated || size != 1;
      }
    }
  }
};

struct Graph {
  std::vector<Node> nodes;
  std::vector<std::string_view> inputs, outputs;
  std::map<std::string_view, std::string_view> said;  // the type of each tensor
  std::map<std::string_view, std::uint64_t> constants;

  explicit Graph(std::string_view model) {
    for (Fields at(field(model, 7)); at.next();) {
      if (at.number == 1) nodes.emplace_back(at.bytes);
      if (at.number == 5) constant(at.bytes);
      if (at.number < 11 || at.number > 13) continue;
      const std::string_view name = field(at.bytes, 1);
      said[name] = field(field(at.bytes, 2), 1);
      if (at.number == 11) inputs.push_back(name);
      if (at.number == 12) outputs.push_back(name);
    }
  }
  std::uint64_t kind(std::string_view name) const {
    if (const auto found = constants.find(name); found != constants.end()) return found->second;
    const auto found = said.find(name);
    for (Fields at(found == said.end() ? std::string_view() : found->second); at.next();) {
      if (at.number == 1) return at.value;
    }
    return 0;
  }
  Tensor tensor(std::string_view name) const {
    Tensor made;
    made.name = name;
    made.type = kTypes.at(kind(name)).first;
    for (Fields at(field(said.at(name), 2)); at.next();) {
      std::int64_t size = -1;
      for (Fields part(at.bytes); part.next();) size = part.number == 1 ? static_cast<std::int64_t>(part.value) : size;
      made.shape.sizes[made.shape.count++] = size;
    }
    return made;
  }
  bool takes(const Node& node) const {
    const std::size_t found = kTaken.find(" " + std::string(node.op) + ":");
    if (!node.domain.empty() || found == kTaken.npos) return false;
    const std::string_view kinds = kTaken.substr(found + node.op.size() + 2, 3);
    if (node.op == "MaxPool" && (node.outputs.size() > 1 || node.dilated)) return false;  // no places of maxima
    if (node.op.substr(0, 6) == "Reduce" && node.inputs.size() > 1 && !constants.count(node.inputs[1])) return false;
    const std::size_t first = node.op == "Where" ? 1 : 0;
    const auto type = kTypes.find(kind(node.inputs[first]));
    return type != kTypes.end() && kinds.substr(0, kinds.find(' ')).find(type->second.second) != kinds.npos;
  }

 private:
  void constant(std::string_view message) {
    for (Fields at(message); at.next();) {
      if (at.number == 2) constants[field(message, 8)] = at.value;
    }
  }
};

struct Parser : Object<Parser> {
  static constexpr char kName[] = "IParser";
  static constexpr int kDestructors = 8;
  Network* network;
  std::vector<std::vector<std::int64_t>> parts;

  explicit Parser(Network* to) : network(to) {}

  static bool parse(Parser* self, const char* bytes, std::size_t size, const char*) {
    const Graph graph({bytes, size});
    self->network->layers = static_cast<int>(graph.nodes.size());
    for (const std::string_view name : graph.inputs) {
      if (!graph.constants.count(name)) self->network->inputs.push_back(graph.tensor(name));
    }
    for (const std::string_view name : graph.outputs) self->network->outputs.push_back(graph.tensor(name));
    return true;
  }
  /// Nodes that follow each other, and are taken, are a part.
  static bool supports(Parser* self, const char* bytes, std::size_t size, const char*) {
    const Graph graph({bytes, size});
    bool all = true, fresh = true;
    for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
      if (!graph.takes(graph.nodes[i])) {
        all = false, fresh = true;
        continue;
      }
      if (fresh) self->parts.emplace_back();
      fresh = false;
      self->parts.back().push_back(static_cast<std::int64_t>(i));
    }
    return all;
  }
  static std::int64_t* part(Parser* self, std::int64_t index, std::int64_t* length) {
    *length = static_cast<std::int64_t>(self->parts[index].size());
    return self->parts[index].data();
  }
  static void fill(Table& table) {
    table.with(0 /*parse*/, &parse)
        .with(17 /*supportsModelV2*/, &supports)
        .with(
            18, +[](Parser* self) { return static_cast<std::int64_t>(self->parts.size()); })
        .with(20 /*getSubgraphNodes*/, &part);
  }
};

}  // namespace

SHOWN void* createNvOnnxParser_INTERNAL(void* network, void*, int) {
  return new Parser(static_cast<Network*>(network));
}
