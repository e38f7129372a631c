// The C API: handles are numbers, looked up for every call, so that a stale one is an error and no crash.
#include <cmath>
#include <cstring>
#include <mutex>
#include <unordered_map>

#include "runtime/errors.h"
#include "stylogram/stylogram.h"

namespace stylogram {
namespace {

constexpr std::size_t kMessage = 1024;
thread_local char last_error[kMessage] = "";

stylogram_status failed(stylogram_status status, const char* message) noexcept {
  std::strncpy(last_error, message, kMessage - 1);
  return status;
}

stylogram_status status_of(Code code) {
  switch (code) {
    case Code::invalid_argument:
      return STYLOGRAM_INVALID_ARGUMENT;
    case Code::network:
      return STYLOGRAM_NETWORK;
    case Code::onnxruntime:
      return STYLOGRAM_ONNXRUNTIME;
    case Code::out_of_memory:
      return STYLOGRAM_OUT_OF_MEMORY;
    case Code::diverged:
      return STYLOGRAM_DIVERGED;
    case Code::state:
      return STYLOGRAM_STATE;
  }
  return STYLOGRAM_INTERNAL;
}

/// Calls body, which returns a status, and makes a status of what it throws.
template <class Body>
stylogram_status guarded(const Body& body) noexcept {
  try {
    return body();
  } catch (const Error& error) {
    return failed(status_of(error.code()), error.what());
  } catch (const std::bad_alloc&) {
    return failed(STYLOGRAM_OUT_OF_MEMORY, "out of memory");
  } catch (const std::exception& error) {
    return failed(STYLOGRAM_INTERNAL, error.what());
  } catch (...) {
    return failed(STYLOGRAM_INTERNAL, "the callback threw");
  }
}

/// The engines that live, by handle. A handle is never used twice.
class Engines {
 public:
  stylogram_engine* add(std::shared_ptr<Engine> engine) {
    const std::lock_guard<std::mutex> lock(mutex_);
    engines_.emplace(++last_, std::move(engine));
    return reinterpret_cast<stylogram_engine*>(last_);  // NOLINT(performance-no-int-to-ptr): never followed
  }
  /// Null if there is none.
  std::shared_ptr<Engine> find(const stylogram_engine* handle) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = engines_.find(reinterpret_cast<std::uintptr_t>(handle));
    return found == engines_.end() ? nullptr : found->second;
  }
  std::shared_ptr<Engine> take(const stylogram_engine* handle) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = engines_.find(reinterpret_cast<std::uintptr_t>(handle));
    if (found == engines_.end()) return nullptr;
    std::shared_ptr<Engine> engine = std::move(found->second);
    engines_.erase(found);
    return engine;
  }

 private:
  std::mutex mutex_;
  std::unordered_map<std::uintptr_t, std::shared_ptr<Engine>> engines_;
  std::uintptr_t last_ = 0;
};

// Never destroyed: other threads may call while the process ends.
Engines& engines() {
  static auto* const made = new Engines;
  return *made;
}

stylogram_status no_engine() { return failed(STYLOGRAM_INVALID_ENGINE, "the engine is NULL, or it was destroyed"); }

/// Calls body with the handle's engine.
template <class Body>
stylogram_status with(stylogram_engine* handle, const Body& body) noexcept {
  return guarded([&] {
    const std::shared_ptr<Engine> engine = engines().find(handle);
    if (engine == nullptr) return no_engine();
    body(*engine);
    return STYLOGRAM_OK;
  });
}

template <class Body>
stylogram_status ending_of(stylogram_engine* handle, const Body& body) noexcept {
  Ending ending = Ending::done;
  const stylogram_status status = with(handle, [&](Engine& engine) { ending = body(engine); });
  return status == STYLOGRAM_OK && ending == Ending::cancelled ? STYLOGRAM_CANCELLED : status;
}

std::optional<double> chosen(double value) { return std::isnan(value) ? std::nullopt : std::optional<double>(value); }

Options options_of(const stylogram_options* given) {
  if (given == nullptr) return {};
  runtime::require(given->size == sizeof(stylogram_options), Code::invalid_argument,
                   "options: fill them with stylogram_options_init; their size is ", given->size, ", not ",
                   sizeof(stylogram_options));
  Options options;
  if (given->onnxruntime != nullptr) options.onnxruntime = given->onnxruntime;
  options.threads = given->threads;
  options.history = given->history;
  options.content_weight = chosen(given->content_weight);
  options.style_weight = chosen(given->style_weight);
  options.tv_weight = chosen(given->tv_weight);
  options.precondition = chosen(given->precondition);
  return options;
}

void require_pointer(const void* pointer, const char* name) {
  runtime::require(pointer != nullptr, Code::invalid_argument, name, " is a null pointer");
}

}  // namespace
}  // namespace stylogram

using stylogram::Engine;

const char* stylogram_version(void) { return stylogram::version(); }

const char* stylogram_last_error(void) { return stylogram::last_error; }

void stylogram_options_init(stylogram_options* options) {
  if (options == nullptr) return;
  const stylogram::Options defaults;
  *options = {sizeof(*options), nullptr, defaults.threads, defaults.history, NAN, NAN, NAN, NAN};
}

stylogram_status stylogram_create(const char* folder, const stylogram_options* options, stylogram_engine** engine) {
  return stylogram::guarded([&] {
    stylogram::require_pointer(static_cast<const void*>(engine), "engine");
    *engine = nullptr;
    stylogram::require_pointer(folder, "folder");
    *engine = stylogram::engines().add(std::make_shared<Engine>(folder, stylogram::options_of(options)));
    return STYLOGRAM_OK;
  });
}

stylogram_status stylogram_destroy(stylogram_engine* engine) {
  return stylogram::guarded([&] {
    const std::shared_ptr<Engine> taken = stylogram::engines().take(engine);
    if (taken == nullptr) return stylogram::no_engine();
    taken->close();
    return STYLOGRAM_OK;
  });
}

stylogram_status stylogram_set_style(stylogram_engine* engine, const float* data, int64_t count, int64_t height,
                                     int64_t width) {
  return stylogram::with(engine, [&](Engine& own) { own.set_style({data, count, height, width}); });
}

stylogram_status stylogram_set_styles(stylogram_engine* engine, const stylogram_style* styles, size_t count) {
  return stylogram::with(engine, [&](Engine& own) {
    if (count > 0) stylogram::require_pointer(styles, "styles");
    std::vector<stylogram::Style> all;
    for (size_t i = 0; i < count; ++i) {
      const stylogram_style& style = styles[i];
      all.push_back({{style.data, style.count, style.height, style.width}, style.share});
    }
    own.set_styles(all);
  });
}

stylogram_status stylogram_set_content(stylogram_engine* engine, const float* data, int64_t count, int64_t height,
                                       int64_t width) {
  return stylogram::with(engine, [&](Engine& own) { own.set_content({data, count, height, width}); });
}

stylogram_status stylogram_set_picture(stylogram_engine* engine, const float* data, int64_t count, int64_t height,
                                       int64_t width) {
  return stylogram::with(engine, [&](Engine& own) { own.set_picture({data, count, height, width}); });
}

stylogram_status stylogram_step(stylogram_engine* engine) {
  return stylogram::ending_of(engine, [](Engine& own) { return own.step(); });
}

stylogram_status stylogram_run(stylogram_engine* engine, int64_t iterations, stylogram_callback callback, void* user) {
  return stylogram::ending_of(engine, [&](Engine& own) {
    if (callback == nullptr) return own.run(iterations);
    return own.run(iterations, [&](const stylogram::Progress& progress) {
      return callback(user, progress.iteration, progress.last, progress.losses.data(),
                      static_cast<int64_t>(progress.losses.size())) != 0;
    });
  });
}

stylogram_status stylogram_cancel(stylogram_engine* engine) {
  return stylogram::with(engine, [](Engine& own) { own.cancel(); });
}

stylogram_status stylogram_shape(stylogram_engine* engine, int64_t shape[3]) {
  return stylogram::with(engine, [&](Engine& own) {
    stylogram::require_pointer(shape, "shape");
    const stylogram::Shape found = own.shape();
    shape[0] = found.count;
    shape[1] = found.height;
    shape[2] = found.width;
  });
}

stylogram_status stylogram_iteration(stylogram_engine* engine, int64_t* iteration) {
  return stylogram::with(engine, [&](Engine& own) {
    stylogram::require_pointer(iteration, "iteration");
    *iteration = own.iteration();
  });
}

stylogram_status stylogram_losses(stylogram_engine* engine, const char* term, double* losses, size_t count) {
  return stylogram::with(engine, [&](Engine& own) {
    stylogram::require_pointer(losses, "losses");
    const std::vector<double> found = own.losses(term == nullptr ? "" : term);
    stylogram::runtime::require(count == found.size(), stylogram::Code::invalid_argument, "losses: a place for ",
                                found.size(), " numbers is needed, got ", count);
    std::copy(found.begin(), found.end(), losses);
  });
}

stylogram_status stylogram_picture(stylogram_engine* engine, float* out, size_t count) {
  return stylogram::with(engine, [&](Engine& own) { own.picture(out, count); });
}

stylogram_status stylogram_present(stylogram_engine* engine, float* out, size_t count) {
  return stylogram::with(engine, [&](Engine& own) { own.present(out, count); });
}
