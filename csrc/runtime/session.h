// A CPU session of ONNX Runtime, and a session whose inputs and outputs are bound to tensors of ours.
#pragma once

#include <onnxruntime/onnxruntime_c_api.h>

#include <atomic>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "runtime/tensor.h"

namespace stylogram::runtime {

/// What a run throws that a Stop has ended.
struct Cancelled {};

/// A request to end what runs, from any thread.
class Stop {
 public:
  Stop();
  void request() noexcept;
  /// Withdraws it.
  void clear();
  bool requested() const { return requested_; }
  /// Throws Cancelled if it was requested.
  void check() const;
  OrtRunOptions* options() const { return options_.get(); }

 private:
  std::mutex mutex_;
  std::atomic<bool> requested_{false};
  Owned<OrtRunOptions> options_;
};

/// An input or an output.
struct Slot {
  std::string name;
  Kind kind;
};

class Session {
 public:
  /// Throws Error: ONNX Runtime does not load the file.
  Session(const std::string& path, int threads);

  const std::vector<Slot>& inputs() const { return inputs_; }
  const std::vector<Slot>& outputs() const { return outputs_; }
  /// The entry `stylogram.<key>` of the file's metadata.
  std::optional<std::string> metadata(const std::string& key) const;
  /// The outputs of these names for one input. They belong to ONNX Runtime.
  std::vector<Owned<OrtValue>> run(const Tensor& input, const std::vector<std::string>& outputs) const;
  OrtSession* get() const { return session_.get(); }

 private:
  Owned<OrtSession> session_;
  std::vector<Slot> inputs_, outputs_;
};

/// Which tensor an input or output of this name is.
using Lookup = std::function<const Tensor&(const std::string& name)>;

class Bound {
 public:
  /// The session and the tensors have to outlive it.
  Bound(const Session& session, const Lookup& tensors);
  /// Throws Cancelled if `stop`, which may be null, ends it, and Error.
  void run(const Stop* stop) const;

 private:
  OrtSession* session_;
  Owned<OrtIoBinding> binding_;
};

}  // namespace stylogram::runtime
