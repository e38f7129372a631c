// What the stand-ins for TensorRT's two libraries share: objects as TensorRT 10's interface has them, and a network.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#define SHOWN extern "C" __attribute__((visibility("default")))

extern "C" void standin_say(const char* what, const void* stream, const char* more);

namespace standin {

/// A class of TensorRT's is a pointer to functions, which all callers know by their place, and one to what does the
/// work: here the object itself. Places 0 and 1 are the destructors. What is called and not given is written down.
using Function = void*;
constexpr int kPlaces = 96;

template <const char* kName, int place>
std::intptr_t unknown() {
  char line[64];
  std::snprintf(line, sizeof(line), "%s %d", kName, place);
  standin_say("tensorrt lacks", nullptr, line);
  return 0;
}

struct Table {
  Function places[kPlaces];
  template <class F>
  Table& with(int place, F* function) {
    places[place] = reinterpret_cast<Function>(function);
    return *this;
  }
};

template <const char* kName, int... place>
Table* table_of(std::integer_sequence<int, place...>) {
  return new Table{{reinterpret_cast<Function>(&unknown<kName, place>)...}};
}

template <class Made>
struct Object {
  const Table* functions = table();
  Object* work = this;

  Object() = default;
  Object(const Object&) {}  // a copy works for itself

  static const Table* table() {
    static const Table* const made = [] {
      Table* all = table_of<Made::kName>(std::make_integer_sequence<int, kPlaces>());
      all->with(Made::kDestructors, +[](Made*) {}).with(Made::kDestructors + 1, +[](Made* self) { delete self; });
      Made::fill(*all);
      return all;
    }();
    return made;
  }
  static constexpr int kDestructors = 0;
};

struct Dims {
  std::int32_t count = 0;
  std::int64_t sizes[8] = {};
};

/// An input or an output.
struct Tensor : Object<Tensor> {
  static constexpr char kName[] = "ITensor";
  std::string name;
  int type = 0;  // TensorRT's number
  Dims shape;

  static void fill(Table& table) {
    table.with(
             3, +[](Tensor* self) { return self->name.c_str(); })
        .with(
            5, +[](Tensor* self) { return self->shape; })
        .with(
            7, +[](Tensor* self) { return self->type; })
        .with(21 /*isShapeTensor*/, +[](Tensor*) { return false; });  // the shape of another
  }
};

struct Network : Object<Network> {
  static constexpr char kName[] = "INetworkDefinition";
  std::uint32_t flags = 0;
  int layers = 0;
  std::vector<Tensor> inputs, outputs;

  static void fill(Table& table) {
    table.with(
             12, +[](Network* self) { return self->layers; })
        .with(
            14, +[](Network* self) { return static_cast<int>(self->inputs.size()); })
        .with(
            15, +[](Network* self, int index) { return &self->inputs[index]; })
        .with(
            16, +[](Network* self) { return static_cast<int>(self->outputs.size()); })
        .with(17 /*getOutput*/, +[](Network* self, int index) { return &self->outputs[index]; });
  }
};

}  // namespace standin
