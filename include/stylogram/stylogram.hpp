// libstylogram: pictures optimised against a network's features, from C++.
//
//   stylogram::Engine engine("pair");             // the folder that `stylogram network export seednet -o pair` wrote
//   engine.set_style({style, 1, 384, 512});       // (1,3,384,512) float32 RGB in [0,1]
//   engine.set_content({content, 1, 512, 512});
//   engine.run(250);
//   std::vector<float> picture = engine.picture();  // (1,3,512,512) in [0,1]
//
// Pictures are float32 (N,3,H,W), RGB, plane after plane, contiguous. What the caller hands in is read during the call
// and never kept; what comes out is copied into the caller's memory. Errors are exceptions of one type, Error.
//
// Threads: every member of one Engine may be called from any thread. set_style, set_styles, set_content, set_picture,
// step and run wait for each other; the others answer at once, from the last iteration that was completed. Engines do
// not disturb each other. After a fork, a child makes its own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#if defined(__GNUC__)
#define STYLOGRAM_PUBLIC __attribute__((visibility("default")))
#else
#define STYLOGRAM_PUBLIC
#endif

namespace stylogram {

enum class Code {
  invalid_argument,  // a wrong shape, a null pointer, a value out of its range
  network,           // files that are no pair, or a pair that this library cannot use
  onnxruntime,       // ONNX Runtime is not found, or reports an error
  out_of_memory,
  diverged,  // the losses became NaN or infinite; the best picture so far can still be taken
  state,     // a call at the wrong time: no style yet, a closed engine, a call from the engine's own callback
};

/// What everything here throws: one line that says what was got and what is accepted.
class STYLOGRAM_PUBLIC Error : public std::runtime_error {
 public:
  Error(Code code, const std::string& message) : std::runtime_error(message), code_(code) {}
  Code code() const noexcept { return code_; }

 private:
  Code code_;
};

struct Options {
  /// The file of ONNX Runtime's library, 1.20 or newer. Empty: the one that the process has loaded already, else that
  /// of the folder ONNXRUNTIME_ROOT (environment), else the one that libstylogram was built with, else
  /// libonnxruntime.so where the system's loader finds it. A process uses one: the first that was opened.
  std::string onnxruntime;
  /// Processors for one engine; 0: all that the process may use.
  int threads = 0;
  /// Weights of the losses, >= 0, and how much further coarse structures move than those of half the size, 1 (no
  /// further) to 4. Without a value: what the pair says, which is what `stylogram stylize` takes for its network.
  std::optional<double> content_weight, style_weight, tv_weight, precondition;
  /// Pairs that L-BFGS keeps, 1 to 1000; each takes the room of two pictures (N,3,H,W).
  int history = 40;
};

/// Pictures (count,3,height,width) in the caller's memory.
struct Pictures {
  const float* data = nullptr;
  std::int64_t count = 0, height = 0, width = 0;
};

/// One of several styles, and its share, > 0, of their sum. One picture for all contents, or one for each.
struct Style {
  Pictures pictures;
  double share = 1;
};

/// (count,3,height,width).
struct Shape {
  std::int64_t count = 0, height = 0, width = 0;
};

struct Progress {
  std::int64_t iteration;      // since set_content; 0 is the initial picture
  std::int64_t last;           // the iteration that run ends with
  std::vector<double> losses;  // (N), of the present pictures
};

/// Called after every iteration, in the thread of run; false ends it. It may call what answers at once, and cancel and
/// close. An exception that it throws leaves run as it is, and the engine can go on.
using Callback = std::function<bool(const Progress&)>;

enum class Ending { done, cancelled };

class STYLOGRAM_PUBLIC Engine {
 public:
  /// Loads forward.onnx and backward.onnx of `folder`. Throws network, onnxruntime, invalid_argument.
  explicit Engine(const std::string& folder, const Options& options = {});
  /// Closes.
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  /// The style of all contents (count 1) or of each (count N), of any size that the network takes. It stays for later
  /// contents. Values in [0,1]. The optimiser starts anew from the present pictures: iteration 0.
  void set_style(const Pictures& style);
  /// Several styles, blended by their shares: those together are one target.
  void set_styles(const std::vector<Style>& styles);
  /// N contents of one size, sides >= 16, values in [0,1]; they are the initial pictures too. Iteration 0.
  void set_content(const Pictures& contents);
  /// Other initial pictures, of the contents' shape; finite values, of any size. Iteration 0.
  void set_picture(const Pictures& pictures);

  /// One iteration. Each picture gets, to the bit, what it gets alone. Cancelled: the next call takes it up again.
  Ending step();
  /// So many iterations, after looking at the initial pictures if nobody has: run(0) gives their losses.
  Ending run(std::int64_t iterations, const Callback& callback = {});
  /// Ends the step or run that goes on, within the iteration, or the next one if none does. set_content forgets it.
  void cancel() noexcept;
  /// Cancels, waits for calls in other threads, and frees what is large; later calls throw state. From the engine's own
  /// callback it does not wait.
  void close() noexcept;

  Shape shape() const;
  std::int64_t iteration() const;
  /// (N): the sum of the weighted losses at the present pictures, or of one of terms(), or of "content" or "style".
  std::vector<double> losses(const std::string& term = "") const;
  /// "content conv4_2", "style conv1_1", ..., "tv".
  std::vector<std::string> terms() const;
  /// (N,3,H,W): of each picture the one of the lowest loss since set_content or set_picture, clipped to [0,1].
  std::vector<float> picture() const;
  void picture(float* out, std::size_t count) const;  // count = N·3·H·W numbers
  /// The present pictures, as they are optimised: not clipped.
  std::vector<float> present() const;
  void present(float* out, std::size_t count) const;

 private:
  class Impl;
  std::shared_ptr<Impl> impl_;
};

/// "0.1.0".
STYLOGRAM_PUBLIC const char* version() noexcept;

}  // namespace stylogram
