// cuDNN without a GPU: it has one engine for everything, and writes down that it was run.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#define SHOWN extern "C" __attribute__((visibility("default")))

extern "C" void standin_say(const char* what, const void* stream, const char* more);

namespace {

void* current = nullptr;  // the stream
int refusals = 0;         // of the next questions for an engine

// Of cudnn_graph_v9.h.
constexpr int kInt64 = 3, kDouble = 5, kFloat = 4, kBool = 2, kType = 1, kInt32 = 23;
constexpr int kEngines = 202, kNumericalNote = 1303, kBehaviorNote = 1305;

}  // namespace

/// It has no engine for so many of the next questions.
SHOWN void standin_refuse(int count) { refusals = count; }

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
SHOWN int cudnnBackendCreateDescriptor(int, void** made) {
  *made = std::calloc(1, 4096);
  return 0;
}
SHOWN int cudnnBackendDestroyDescriptor(void* made) {
  std::free(made);
  return 0;
}
SHOWN int cudnnBackendGetAttribute(void*, int name, int type, std::int64_t wanted, std::int64_t* count, void* values) {
  if (count != nullptr) *count = name == kNumericalNote || name == kBehaviorNote ? 0 : 1;
  if (name == kEngines && refusals > 0) {
    *count = 0;
    --refusals;
  }
  if (values == nullptr || wanted == 0) return 0;
  if (type == kInt64 || type == kDouble) std::memset(values, 0, 8);
  if (type == kFloat || type == kBool || type == kType || type == kInt32) std::memset(values, 0, 4);
  return 0;
}
SHOWN int cudnnBackendExecute(void*, void*, void*) {
  standin_say("cudnn", current, "convolution");
  return 0;
}
SHOWN int cudnnAddTensor(void*, void*, void*, void*, void*, void*, void*) {
  standin_say("cudnn", current, "bias");
  return 0;
}
SHOWN int cudnnPoolingForward(void*, void*, void*, void*, void*, void*, void*, void*) {
  standin_say("cudnn", current, "pool");
  return 0;
}
