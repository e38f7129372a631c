// TensorRT 10 without a GPU, for ONNX Runtime's TensorRT provider: engines hold the names, types and shapes of inputs
// and outputs alone. That one is built, and what it is told, and that one is run, and in which stream, is written down.
#include <cstdlib>
#include <cstring>
#include <memory>
#include <set>
#include <sstream>

#include "tensorrt.h"

using namespace standin;

namespace {

constexpr int kVersion = 101401;  // what ONNX Runtime 1.31's provider is built with
constexpr char kMagic[] = "stand-in";
constexpr unsigned kFp16 = 1u << 0, kTf32 = 1u << 6, kBf16 = 1u << 17;  // flags of a build
constexpr unsigned kStrong = 1u << 1;                                   // of a network: types are as the graph says

struct Memory : Object<Memory> {
  static constexpr char kName[] = "IHostMemory";
  std::string bytes;

  explicit Memory(std::string given) : bytes(std::move(given)) {}
  static void fill(Table& table) {
    table.with(
             2, +[](Memory* self) { return self->bytes.data(); })
        .with(3 /*size*/, +[](Memory* self) { return self->bytes.size(); });
  }
};

struct Timings : Object<Timings> {
  static constexpr char kName[] = "ITimingCache";
  std::string bytes;

  static void fill(Table& table) {
    table.with(2 /*serialize*/, +[](Timings* self) { return new Memory(self->bytes); });
  }
};

struct Config : Object<Config> {
  static constexpr char kName[] = "IBuilderConfig";
  unsigned flags = kTf32;
  Timings* timings = nullptr;

  static Timings* cache(Config*, const char* bytes, std::size_t size) {
    auto* made = new Timings;
    made->bytes.assign(bytes, size);
    return made;
  }
  static bool keep(Config* self, Timings* given, bool) {
    self->timings = given;
    return true;
  }
  static void fill(Table& table) {
    table.with(
             10, +[](Config* self, int flag) { self->flags &= ~(1u << flag); })
        .with(
            11, +[](Config* self, int flag) { self->flags |= 1u << flag; })
        .with(40 /*createTimingCache*/, &cache)
        .with(41 /*setTimingCache*/, &keep)
        .with(42 /*getTimingCache*/, +[](Config* self) { return self->timings; });
  }
};

struct Engine : Object<Engine> {
  static constexpr char kName[] = "ICudaEngine";
  std::vector<Tensor> tensors;
  int inputs = 0;

  Tensor* find(const char* name) {
    for (Tensor& tensor : tensors) {
      if (tensor.name == name) return &tensor;
    }
    std::abort();
  }
  static void fill(Table& table);
};

struct Context : Object<Context> {
  static constexpr char kName[] = "IExecutionContext";
  Engine* engine;
  std::size_t bound = 0;

  explicit Context(Engine* of) : engine(of) {}

  static bool enqueue(Context* self, void* stream) {
    standin_say("tensorrt", stream, self->bound < self->engine->tensors.size() ? "unbound" : "engine");
    return true;
  }
  static bool shaped(Context* self, const char* name, const Dims* given) {
    const Dims& own = self->engine->find(name)->shape;
    return own.count == given->count && std::memcmp(own.sizes, given->sizes, 8 * own.count) == 0;
  }
  static bool bind(Context* self, const char* name, void* block) {
    self->bound += self->engine->find(name) != nullptr && block != nullptr;
    return true;
  }
  static void fill(Table& table) {
    table.with(21 /*setInputShape*/, &shaped)
        .with(
            22, +[](Context* self, const char* name) { return self->engine->find(name)->shape; })
        .with(24 /*setTensorAddress*/, &bind)
        .with(37 /*enqueueV3*/, &enqueue);
  }
};

void Engine::fill(Table& table) {
  table.with(
           5, +[](Engine* self, int) { return new Context(self); })
      .with(
          19, +[](Engine* self, const char* name) { return self->find(name)->shape; })
      .with(
          20, +[](Engine* self, const char* name) { return self->find(name)->type; })
      .with(
          22, +[](Engine*, const char*) { return false; })
      .with(
          23, +[](Engine* self,
                  const char* name) { return self->find(name) - self->tensors.data() < self->inputs ? 1 : 2; })
      .with(
          30, +[](Engine* self) { return static_cast<int>(self->tensors.size()); })
      .with(31 /*getIOTensorName*/, +[](Engine* self, int index) { return self->tensors[index].name.c_str(); });
}

void put(std::ostream& to, const std::vector<Tensor>& tensors) {
  to << tensors.size() << '\n';
  for (const Tensor& tensor : tensors) {
    to << tensor.name << '\n' << tensor.type << ' ' << tensor.shape.count;
    for (int i = 0; i < tensor.shape.count; ++i) to << ' ' << tensor.shape.sizes[i];
    to << '\n';
  }
}

void take(std::istream& from, std::vector<Tensor>& tensors) {
  std::size_t count = 0;
  from >> count;
  while (from && count-- > 0) {
    Tensor& made = tensors.emplace_back();
    std::getline(from >> std::ws, made.name);
    from >> made.type >> made.shape.count;
    for (int i = 0; i < made.shape.count; ++i) from >> made.shape.sizes[i];
  }
}

/// Each that there is, by TensorRT's names.
std::string types(const std::vector<Tensor>& tensors) {
  const char* const names[] = {" float", " half", "", " int32", " bool", "", "", " bf16", " int64"};
  std::set<std::string> found;
  for (const Tensor& tensor : tensors) found.insert(names[tensor.type]);
  std::string all;
  for (const std::string& name : found) all += name;
  return all;
}

struct Builder : Object<Builder> {
  static constexpr char kName[] = "IBuilder";

  static Network* network(Builder*, std::uint32_t flags) {
    auto* made = new Network;
    made->flags = flags;
    return made;
  }
  static Memory* build(Builder*, Network* network, Config* config) {
    std::string told = network->flags & kStrong ? "strongly typed" : "weakly typed";
    const char* without = std::getenv("NVIDIA_TF32_OVERRIDE");
    if (config->flags & kTf32 && (without == nullptr || std::strcmp(without, "0") != 0)) told += " tf32";
    if (config->flags & kFp16) told += " fp16";
    if (config->flags & kBf16) told += " bf16";
    told += ":" + types(network->inputs) + " ->" + types(network->outputs);
    standin_say("tensorrt builds", nullptr, told.c_str());
    if (config->timings != nullptr) config->timings->bytes += "a timing\n";
    std::ostringstream made;
    made << kMagic << '\n';
    put(made, network->inputs);
    put(made, network->outputs);
    made << kMagic << '\n';
    return new Memory(made.str());
  }
  static void fill(Table& table) {
    table.with(
             2, +[](Builder*) { return true; })
        .with(
            7, +[](Builder*) { return new Config; })
        .with(8 /*createNetworkV2*/, &network)
        .with(14 /*buildSerializedNetwork*/, &build);
  }
};

struct Runtime : Object<Runtime> {
  static constexpr char kName[] = "IRuntime";

  /// What is cut off is no engine.
  static Engine* read(Runtime*, const char* bytes, std::size_t size) {
    std::istringstream from(std::string(bytes, size));
    auto made = std::make_unique<Engine>();
    std::string first, last;
    from >> first;
    take(from, made->tensors);
    made->inputs = static_cast<int>(made->tensors.size());
    take(from, made->tensors);
    from >> last;
    return first == kMagic && last == kMagic ? made.release() : nullptr;
  }
  static void fill(Table& table) { table.with(3 /*deserializeCudaEngine*/, &read); }
};

struct Registry : Object<Registry> {
  static constexpr char kName[] = "IPluginRegistry";
  static void fill(Table& table) {
    table.with(13 /*getAllCreators*/, +[](Registry*, int* count) -> void* { return *count = 0, nullptr; });
  }
};

}  // namespace

SHOWN int getInferLibVersion() { return kVersion; }
SHOWN void* createInferBuilder_INTERNAL(void*, int) { return new Builder; }
SHOWN void* createInferRuntime_INTERNAL(void*, int) { return new Runtime; }
SHOWN void* getPluginRegistry() {
  static auto* const none = new Registry;
  return none;
}
