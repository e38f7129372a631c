// Errors that throw, in one line: `[gram] features must be (N, C, P), got ndim=2`.
#pragma once

#include <sstream>
#include <stdexcept>

namespace stylogram {

/// Throws std::invalid_argument with `[op]` before the parts, which are streamed one after another.
template <class... Parts>
[[noreturn]] void fail(const char* op, const Parts&... parts) {
  std::ostringstream text;
  text << '[' << op << "] ";
  (text << ... << parts);
  throw std::invalid_argument(text.str());
}

/// Throws like `fail` unless `ok`.
template <class... Parts>
void check(bool ok, const char* op, const Parts&... parts) {
  if (!ok) fail(op, parts...);
}

}  // namespace stylogram
