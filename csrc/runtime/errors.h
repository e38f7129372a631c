// Errors of the library: stylogram::Error, in one line.
#pragma once

#include <locale>
#include <new>
#include <sstream>
#include <system_error>

#include "stylogram/stylogram.hpp"

namespace stylogram::runtime {

/// Throws Error with the parts, which are streamed one after another.
template <class... Parts>
[[noreturn]] void fail(Code code, const Parts&... parts) {
  std::ostringstream text;
  text.imbue(std::locale::classic());  // the program's may put commas into numbers
  (text << ... << parts);
  throw Error(code, text.str());
}

/// Throws like `fail` unless `ok`.
template <class... Parts>
void require(bool ok, Code code, const Parts&... parts) {
  if (!ok) fail(code, parts...);
}

/// Calls body, and makes an Error of what kernels and the standard library throw.
template <class Body>
auto guarded(const Body& body) {
  try {
    return body();
  } catch (const Error&) {
    throw;
  } catch (const std::bad_alloc&) {
    fail(Code::out_of_memory, "out of memory");
  } catch (const std::invalid_argument& error) {
    fail(Code::invalid_argument, error.what());
  } catch (const std::system_error& error) {  // no more threads, a file system that fails
    fail(Code::state, "the system refuses: ", error.what());
  }
}

}  // namespace stylogram::runtime
