// cuDNN without a GPU: it has two engines for everything, and writes down that one was run. Asked to, it computes what
// a graph says (graph.h), so that what a user of cuDNN describes can be held against what it means; or it refuses and
// fails where a real one may.
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
constexpr int kNotSupported = 3000;
constexpr int kExecutionFailed = 5000;
constexpr int kNondeterministic = 4;
constexpr std::int64_t kEngineCount = 2;

// Where a graph of several operations may be refused, in the order in which a user comes by.
enum Stage : int { kNever, kAttribute, kOperation, kGraph, kHeuristics, kEngines, kPlan, kWorkspace, kRunning };

void* current = nullptr;  // the stream
int refusals = 0;         // of the next questions for an engine
int unsteady = 0;
int failing = 0;
int greedy = 0;
int unreadable = 0;
Stage stage = kNever;
bool compiling = false;
bool computing = false;

bool is_fused(const Descriptor& graph) { return graph.parts.at(standin::kOperations).size() > 1; }

const Descriptor& config(const Descriptor& plan) { return *plan.part(standin::kPlanConfig); }

// Bytes that a plan asks for: the second engine's more; a greedy one's more than any machine has.
std::int64_t workspace_of(const Descriptor& plan) {
  const int place = config(plan).place;
  return place < greedy ? std::int64_t{1} << 60 : 65536 * (1 + place);
}

// What is wrong with a descriptor that is to be finished.
int refused(const Descriptor& made) {
  const bool added = made.kind == standin::kPointwise && made.one<int>(standin::kMode) == standin::kAdded;
  if (added && made.given.count(standin::kNan) != 0) return kBadParameter;  // a ReLU has it
  switch (stage) {
    case kOperation:
      return made.kind == standin::kPointwiseOperation ? kNotSupported : 0;
    case kGraph:
      return made.kind == standin::kGraphOf && is_fused(made) ? kNotSupported : 0;
    case kHeuristics:
      return made.kind == standin::kHeuristicsOf && is_fused(*made.part(standin::kHeuristicsGraph)) ? kNotSupported : 0;
    case kPlan:
      return made.kind == standin::kPlanOf && is_fused(*config(made).graph) ? kNotSupported : 0;
    default:
      return 0;
  }
}

// Whether an attribute cannot be read.
bool is_unreadable(const Descriptor& asked, int name) {
  const bool engines = name == standin::kEngines && stage == kEngines;
  if (engines && is_fused(*asked.part(standin::kHeuristicsGraph))) return true;
  if (name == standin::kWorkspace && stage == kWorkspace && is_fused(*config(asked).graph)) return true;
  return (name == standin::kNumericalNote && (unreadable & 1) != 0) ||
         (name == standin::kBehaviourNote && (unreadable & 2) != 0);
}

int compute(const Descriptor& plan, const Descriptor& pack) try {
  standin::Run run(pack);
  for (const Descriptor::Part& operation : config(plan).graph->parts.at(standin::kOperations))
    run.operation(*operation);
  return 0;
} catch (const std::invalid_argument&) {
  return kBadParameter;
}

}  // namespace

/// It has no engine for so many of the next questions.
SHOWN void standin_refuse(int count) { refusals = count; }
/// Whether it has to compile an engine for what is more than one operation.
SHOWN void standin_compile(int whether) { compiling = whether != 0; }
/// How many of its engines add up in another order every time: the first that it names.
SHOWN void standin_unsteady(int count) { unsteady = count; }
/// How many of its engines fail when they are run: the first that it names.
SHOWN void standin_fail(int count) { failing = count; }
/// How many of its engines ask for more memory to work in than there is: the first that it names.
SHOWN void standin_greedy(int count) { greedy = count; }
/// Where it refuses what is more than one operation: a Stage.
SHOWN void standin_refuse_fused(int where) { stage = static_cast<Stage>(where); }
/// Which notes of engines it does not give: 1 of their numbers, 2 of their behaviour, 3 both.
SHOWN void standin_refuse_notes(int which) { unreadable = which; }
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
  *made = new Descriptor{kind, {}, {}, nullptr, 0};
  return 0;
}
SHOWN int cudnnBackendDestroyDescriptor(void* made) {
  delete static_cast<Descriptor*>(made);
  return 0;
}
SHOWN int cudnnBackendSetAttribute(void* made, int name, int type, std::int64_t count, const void* values) {
  auto& given = *static_cast<Descriptor*>(made);
  if (stage == kAttribute && given.kind == standin::kPointwise) return kNotSupported;
  given.set(name, type, static_cast<std::size_t>(count), values);
  return 0;
}
SHOWN int cudnnBackendFinalize(void* made) { return refused(*static_cast<const Descriptor*>(made)); }
SHOWN int cudnnBackendGetAttribute(void* made, int name, int type, std::int64_t wanted, std::int64_t* count,
                                   void* values) {
  auto& asked = *static_cast<Descriptor*>(made);
  if (is_unreadable(asked, name)) return kNotSupported;
  std::int64_t found = name == standin::kEngines ? kEngineCount : 1;
  if (name == standin::kNumericalNote) found = asked.place < unsteady ? 1 : 0;
  if (name == standin::kBehaviourNote) found = compiling && is_fused(*asked.graph) ? 1 : 0;
  if (name == standin::kEngines && refusals > 0) {
    found = 0;
    --refusals;
  }
  if (count != nullptr) *count = found;
  if (values == nullptr || wanted == 0 || found == 0) return 0;
  if (type == standin::kDescriptor) {
    const bool engines = name == standin::kEngines;
    for (int i = 0; i < std::min(found, wanted); ++i) {
      Descriptor& named = *static_cast<Descriptor**>(values)[i];
      named.graph = engines ? asked.part(standin::kHeuristicsGraph) : asked.graph;
      named.place = engines ? i : asked.place;
    }
  } else if (name == standin::kNumericalNote) {
    *static_cast<int*>(values) = kNondeterministic;
  } else {
    std::memset(values, 0, standin::size_of(type));
    if (name == standin::kWorkspace) *static_cast<std::int64_t*>(values) = workspace_of(asked);
  }
  return 0;
}
SHOWN int cudnnBackendExecute(void*, void* made, void* pack) {
  const auto& plan = *static_cast<const Descriptor*>(made);
  const auto& given = *static_cast<const Descriptor*>(pack);
  const int place = config(plan).place;
  if (place < failing || (stage == kRunning && is_fused(*config(plan).graph))) {
    standin_say("cudnn", current, "failure");
    return kExecutionFailed;
  }
  auto* workspace = given.one<void*>(standin::kPackWorkspace);
  if (workspace == nullptr) return kBadParameter;
  std::memset(workspace, 1, static_cast<std::size_t>(workspace_of(plan)));  // it has to be as large as was asked for
  standin_say("cudnn", current, place < unsteady ? "convolution in any order" : "convolution");
  return computing ? compute(plan, given) : 0;
}
SHOWN int cudnnAddTensor(void*, void*, void*, void*, void*, void*, void*) {
  standin_say("cudnn", current, "bias");
  return 0;
}
SHOWN int cudnnPoolingForward(void*, void*, void*, void*, void*, void*, void*, void*) {
  standin_say("cudnn", current, "pool");
  return 0;
}
