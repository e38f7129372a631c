// cuDNN without a GPU: it has one engine for everything, or two, and writes down that it was run. Asked to, it computes
// what a graph says (graph.h), so that what a user of cuDNN describes can be held against what it means.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <vector>

#include "graph.h"

#define SHOWN extern "C" __attribute__((visibility("default")))

extern "C" void standin_say(const char* what, const void* stream, const char* more);

namespace {

using standin::Descriptor;

constexpr int kBadParameter = 2000;
constexpr int kNondeterministic = 4;
constexpr std::int64_t kWorkspace = 65536;  // bytes that every plan asks for

void* current = nullptr;  // the stream
int refusals = 0;         // of the next questions for an engine
int unsteady = 0;
bool compiling = false;
bool computing = false;

// Of the graph that an engine, or its configuration, is for.
const std::vector<Descriptor::Part>& operations(const Descriptor& engine) {
  return engine.graph->parts.at(standin::kOperations);
}

int compute(const Descriptor& plan, const Descriptor& pack) try {
  standin::Run run(pack);
  for (const Descriptor::Part& operation : operations(*plan.part(standin::kPlanConfig))) run.operation(*operation);
  return 0;
} catch (const std::invalid_argument&) {
  return kBadParameter;
}

}  // namespace

/// It has no engine for so many of the next questions.
SHOWN void standin_refuse(int count) { refusals = count; }
/// Whether it has to compile an engine for what is more than one operation.
SHOWN void standin_compile(int whether) { compiling = whether != 0; }
/// How many engines it has that add up in another order every time: they come first, and there are two in all.
SHOWN void standin_unsteady(int count) { unsteady = count; }
/// Whether it computes.
SHOWN void standin_compute(int whether) { computing = whether != 0; }

SHOWN std::size_t cudnnGetVersion() { return 91400; }
SHOWN const char* cudnnGetErrorString(int) { return "stand-in"; }
SHOWN void cudnnGetLastErrorString(char* text, std::size_t size) {
  if (size > 0) *text = '\0';
}
SHOWN int cudnnSetStream(void*, void* stream) {
  current = stream;
  return 0;
}
SHOWN int cudnnGetStream(void*, void** stream) {
  *stream = current;
  return 0;
}
SHOWN int cudnnBackendCreateDescriptor(int kind, void** made) {
  *made = new Descriptor{kind, {}, {}, nullptr, true};
  return 0;
}
SHOWN int cudnnBackendDestroyDescriptor(void* made) {
  delete static_cast<Descriptor*>(made);
  return 0;
}
SHOWN int cudnnBackendSetAttribute(void* made, int name, int type, std::int64_t count, const void* values) {
  static_cast<Descriptor*>(made)->set(name, type, static_cast<std::size_t>(count), values);
  return 0;
}
SHOWN int cudnnBackendGetAttribute(void* made, int name, int type, std::int64_t wanted, std::int64_t* count,
                                   void* values) {
  auto& asked = *static_cast<Descriptor*>(made);
  std::int64_t found = name == standin::kEngines && unsteady > 0 ? 2 : 1;
  if (name == standin::kNumericalNote) found = asked.steady ? 0 : 1;
  if (name == standin::kBehaviourNote) found = compiling && operations(asked).size() > 1 ? 1 : 0;
  if (name == standin::kEngines && refusals > 0) {
    found = 0;
    --refusals;
  }
  if (count != nullptr) *count = found;
  if (values == nullptr || wanted == 0 || found == 0) return 0;
  if (type == standin::kDescriptor) {
    const bool engines = name == standin::kEngines;
    for (int i = 0; i < std::min(found, wanted); ++i) {
      Descriptor& made = *static_cast<Descriptor**>(values)[i];
      made.graph = engines ? asked.part(standin::kHeuristicsGraph) : asked.graph;
      made.steady = engines ? i >= unsteady : asked.steady;
    }
  } else if (name == standin::kNumericalNote) {
    *static_cast<int*>(values) = kNondeterministic;
  } else {
    std::memset(values, 0, standin::size_of(type));
    if (name == standin::kWorkspace) *static_cast<std::int64_t*>(values) = kWorkspace;
  }
  return 0;
}
SHOWN int cudnnBackendExecute(void*, void* plan, void* pack) {
  const auto& given = *static_cast<const Descriptor*>(pack);
  auto* workspace = given.one<void*>(standin::kPackWorkspace);
  if (workspace == nullptr) return kBadParameter;
  std::memset(workspace, 1, kWorkspace);  // it has to be as large as was asked for
  const bool steady = static_cast<const Descriptor*>(plan)->part(standin::kPlanConfig)->steady;
  standin_say("cudnn", current, steady ? "convolution" : "convolution in any order");
  return computing ? compute(*static_cast<const Descriptor*>(plan), given) : 0;
}
SHOWN int cudnnAddTensor(void*, void*, void*, void*, void*, void*, void*) {
  standin_say("cudnn", current, "bias");
  return 0;
}
SHOWN int cudnnPoolingForward(void*, void*, void*, void*, void*, void*, void*, void*) {
  standin_say("cudnn", current, "pool");
  return 0;
}
