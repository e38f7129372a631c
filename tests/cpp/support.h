// What the tests share: pairs, pictures, and what an error says.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "stylogram/stylogram.hpp"

namespace testing_stylogram {

/// The folder of a pair that pairs.py made.
std::string pair(const std::string& name);

/// The name of ONNX Runtime's library: that of the Python that made the pairs.
std::string onnxruntime_library();

/// Options with that library and two threads.
stylogram::Options options();

/// Pictures of coloured squares, (count,3,height,width) in [0,1].
class Blocks {
 public:
  Blocks(std::int64_t count, std::int64_t height, std::int64_t width, unsigned seed);
  stylogram::Pictures view() const { return {values.data(), count, height, width}; }
  /// Picture n alone.
  stylogram::Pictures one(std::int64_t n) const;

  std::int64_t count, height, width;
  std::vector<float> values;
};

/// Passes if body throws an Error of this code whose message has this part.
template <class Body>
void expect_error(stylogram::Code code, const std::string& part, const Body& body) {
  try {
    body();
    ADD_FAILURE() << "no error; expected: " << part;
  } catch (const stylogram::Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what() << "\nexpected: " << part;
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what();
  }
}

/// An engine of the narrow pair with a style and one content of 32x48.
class Ready : public ::testing::Test {
 protected:
  Ready() : engine(pair("narrow"), options()), style(1, 40, 36, 1), content(1, 32, 48, 2) {
    engine.set_style(style.view());
    engine.set_content(content.view());
  }
  stylogram::Engine engine;
  Blocks style, content;
};

}  // namespace testing_stylogram
