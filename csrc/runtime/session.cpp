#include "runtime/session.h"

#include "runtime/denormals.h"
#include "runtime/errors.h"
#include "runtime/library.h"

extern "C" OrtStatus* RegisterCustomOps(OrtSessionOptions* options, const OrtApiBase* base);  // csrc/ort

namespace stylogram::runtime {
namespace {

const OrtApi& api() { return *library().api; }

// For calls that set a flag and cannot fail.
void ignore(OrtStatus* status) noexcept {
  if (status != nullptr) api().ReleaseStatus(status);
}

OrtAllocator* allocator() {
  OrtAllocator* found = nullptr;
  check(api().GetAllocatorWithDefaultOptions(&found));
  return found;
}

// A text that ONNX Runtime has allocated.
std::string taken(char* text) {
  const std::string copy = text;
  check(api().AllocatorFree(allocator(), text));
  return copy;
}

Owned<OrtSessionOptions> session_options(int threads) {
  OrtSessionOptions* made = nullptr;
  check(api().CreateSessionOptions(&made));
  Owned<OrtSessionOptions> options(made, api().ReleaseSessionOptions);
  check(api().SetIntraOpNumThreads(made, threads));
  check(api().DisableMemPattern(made));  // a second block of memory beside the arena's, and no faster
  if (library().shared_arena) check(api().AddSessionConfigEntry(made, "session.use_env_allocators", "1"));
  // A denormal slows a convolution down 200 times; ONNX Runtime heeds this only in the first session of a process.
  check(api().AddSessionConfigEntry(made, "session.set_denormal_as_zero", "1"));
  // Between two runs the processors belong to our kernels, not to a pool that spins.
  check(api().AddSessionConfigEntry(made, "session.force_spinning_stop", "1"));
  check(RegisterCustomOps(made, library().base));
  return options;
}

Owned<OrtSession> open_session(const std::string& path, int threads) {
  const Owned<OrtSessionOptions> options = session_options(threads);
  const Flushing flushing;
  OrtSession* session = nullptr;
  OrtStatus* const status = api().CreateSession(library().environment, path.c_str(), options.get(), &session);
  if (status != nullptr) {
    const std::string message = api().GetErrorMessage(status);
    api().ReleaseStatus(status);
    fail(code_of(message, Code::network), "ONNX Runtime ", library().base->GetVersionString(), " does not load ", path,
         ": ", message);
  }
  return {session, api().ReleaseSession};
}

Kind kind_of_slot(OrtTypeInfo* type) {
  const Owned<OrtTypeInfo> owned(type, api().ReleaseTypeInfo);
  const OrtTensorTypeAndShapeInfo* info = nullptr;
  check(api().CastTypeInfoToTensorInfo(type, &info));
  require(info != nullptr, Code::network, "the pair has inputs or outputs that are no tensors");
  Kind kind;
  std::size_t rank = 0;
  check(api().GetDimensionsCount(info, &rank));
  kind.dims.resize(rank);
  check(api().GetDimensions(info, kind.dims.data(), rank));
  check(api().GetTensorElementType(info, &kind.type));
  return kind;
}

template <class Count, class Name, class Type>
std::vector<Slot> slots(const OrtSession* session, Count count, Name name, Type type) {
  std::size_t size = 0;
  check(count(session, &size));
  std::vector<Slot> found;
  for (std::size_t index = 0; index < size; ++index) {
    char* called = nullptr;
    OrtTypeInfo* info = nullptr;
    check(name(session, index, allocator(), &called));
    std::string copy = taken(called);
    check(type(session, index, &info));
    found.push_back({std::move(copy), kind_of_slot(info)});
  }
  return found;
}

}  // namespace

Stop::Stop() : options_(nullptr, api().ReleaseRunOptions) {
  OrtRunOptions* made = nullptr;
  runtime::check(api().CreateRunOptions(&made));
  options_.reset(made);
}

void Stop::request() noexcept {
  const std::lock_guard<std::mutex> lock(mutex_);
  requested_ = true;
  ignore(api().RunOptionsSetTerminate(options_.get()));
}

void Stop::clear() {
  const std::lock_guard<std::mutex> lock(mutex_);
  requested_ = false;
  ignore(api().RunOptionsUnsetTerminate(options_.get()));
}

void Stop::check() const {
  if (requested_) throw Cancelled();
}

Session::Session(const std::string& path, int threads) : session_(open_session(path, threads)) {
  inputs_ = slots(get(), api().SessionGetInputCount, api().SessionGetInputName, api().SessionGetInputTypeInfo);
  outputs_ = slots(get(), api().SessionGetOutputCount, api().SessionGetOutputName, api().SessionGetOutputTypeInfo);
}

std::optional<std::string> Session::metadata(const std::string& key) const {
  OrtModelMetadata* made = nullptr;
  check(api().SessionGetModelMetadata(get(), &made));
  const Owned<OrtModelMetadata> metadata(made, api().ReleaseModelMetadata);
  char* value = nullptr;
  check(api().ModelMetadataLookupCustomMetadataMap(made, allocator(), ("stylogram." + key).c_str(), &value));
  if (value == nullptr) return std::nullopt;
  return taken(value);
}

std::vector<Owned<OrtValue>> Session::run(const Tensor& input, const std::vector<std::string>& outputs) const {
  const char* const input_name = inputs_.front().name.c_str();
  const OrtValue* const input_value = input.value();
  std::vector<const char*> names;
  names.reserve(outputs.size());
  for (const std::string& name : outputs) names.push_back(name.c_str());
  std::vector<OrtValue*> made(names.size(), nullptr);
  const Flushing flushing;
  check(api().Run(get(), nullptr, &input_name, &input_value, 1, names.data(), names.size(), made.data()));
  std::vector<Owned<OrtValue>> owned;
  owned.reserve(made.size());
  for (OrtValue* value : made) owned.emplace_back(value, api().ReleaseValue);
  return owned;
}

Bound::Bound(const Session& session, const Lookup& tensors)
    : session_(session.get()), binding_(nullptr, api().ReleaseIoBinding) {
  OrtIoBinding* binding = nullptr;
  check(api().CreateIoBinding(session_, &binding));
  binding_.reset(binding);
  for (const Slot& slot : session.inputs()) {
    check(api().BindInput(binding, slot.name.c_str(), tensors(slot.name).value()));
  }
  for (const Slot& slot : session.outputs()) {
    check(api().BindOutput(binding, slot.name.c_str(), tensors(slot.name).value()));
  }
}

void Bound::run(const Stop* stop) const {
  if (stop != nullptr) stop->check();
  const Flushing flushing;
  OrtStatus* const status = api().RunWithBinding(session_, stop == nullptr ? nullptr : stop->options(), binding_.get());
  if (status != nullptr && stop != nullptr && stop->requested()) {
    api().ReleaseStatus(status);
    throw Cancelled();
  }
  check(status);
  if (stop != nullptr) stop->check();
}

}  // namespace stylogram::runtime
