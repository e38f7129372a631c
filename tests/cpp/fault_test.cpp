// Bad input: one line that says what was got and what is accepted, and an engine that goes on.
#include <cmath>
#include <limits>

#include "support.h"

namespace testing_stylogram {
namespace {

using stylogram::Code;
using stylogram::Engine;

void expect_no_engine(const std::string& name, Code code, const std::string& part) {
  expect_error(code, part, [&] { const Engine engine(pair(name), options()); });
}

TEST(Pairs, ThatAreNone) {
  expect_no_engine("nowhere", Code::network, "there is no file");
  expect_no_engine("text", Code::network, "does not load");
  expect_no_engine("mixed", Code::network, "are not of one export");
  expect_no_engine("bare", Code::network, "without --layers");
  expect_no_engine("deconvnet", Code::network, "rule must be gradient, got deconvnet");
  expect_no_engine("future", Code::network, "a pair of version 1 is accepted, got 2");
  expect_no_engine("wordy", Code::network, "no number >= 0 where one is needed: 'heavy'");
}

TEST(OnnxRuntime, IsOneForTheProcess) {
  const Engine first(pair("narrow"), options());
  stylogram::Options other = options();
  other.onnxruntime = "/nowhere/libonnxruntime.so";
  expect_error(Code::onnxruntime, "another one is not accepted", [&] { const Engine engine(pair("narrow"), other); });
  other.onnxruntime.clear();
  const Engine again(pair("narrow"), other);
}

TEST(Options, AreChecked) {
  const auto refused = [](const std::string& part, void (*change)(stylogram::Options&)) {
    stylogram::Options changed = options();
    change(changed);
    expect_error(Code::invalid_argument, part, [&] { const Engine engine(pair("narrow"), changed); });
  };
  refused("threads: 0 (all) to 1024", [](auto& o) { o.threads = -1; });
  refused("history: 1 to 1000", [](auto& o) { o.history = 0; });
  refused("style_weight: a number", [](auto& o) { o.style_weight = -1; });
  refused("tv_weight: a number", [](auto& o) { o.tv_weight = std::nan(""); });
  refused("precondition: a number from 1 to 4", [](auto& o) { o.precondition = 5; });
  refused("both 0", [](auto& o) { o.content_weight = o.style_weight = 0; });
}

using Faults = Ready;

TEST_F(Faults, WrongShapes) {
  const auto refused = [&](const std::string& part, const stylogram::Pictures& pictures) {
    expect_error(Code::invalid_argument, part, [&] { engine.set_content(pictures); });
    expect_error(Code::invalid_argument, part, [&] { engine.set_style(pictures); });
    expect_error(Code::invalid_argument, part, [&] { engine.set_picture(pictures); });
  };
  const float* const data = content.values.data();
  refused("null pointer", {nullptr, 1, 32, 48});
  refused("got 0x3x32x48", {data, 0, 32, 48});
  refused("got -1x3x32x48", {data, -1, 32, 48});
  refused("got 1x3x15x48", {data, 1, 15, 48});
  refused("got 1x3x32x", {data, 1, 32, std::numeric_limits<std::int64_t>::max()});
  expect_error(Code::invalid_argument, "contents' shape 1x3x32x48 is accepted, got 1x3x48x32",
               [&] { engine.set_picture({data, 1, 48, 32}); });
  std::vector<float> small(5);
  expect_error(Code::invalid_argument, "a place for 4608 numbers is needed, got 5",
               [&] { engine.picture(small.data(), small.size()); });
  expect_error(Code::invalid_argument, "null pointer", [&] { engine.picture(nullptr, 4608); });
  EXPECT_EQ(engine.run(1), stylogram::Ending::done);
}

TEST_F(Faults, WrongValues) {
  for (const float bad : {255.0F, -0.01F, std::nanf(""), std::numeric_limits<float>::infinity()}) {
    std::vector<float> values = content.values;
    values.at(100) = bad;
    expect_error(Code::invalid_argument, "values in [0,1] are accepted",
                 [&] { engine.set_content({values.data(), 1, 32, 48}); });
  }
  expect_error(Code::invalid_argument, "at least 0 is accepted, got -1", [&] { engine.run(-1); });
  expect_error(Code::invalid_argument, "a share must be above 0", [&] { engine.set_styles({{style.view(), 0}}); });
  expect_error(Code::invalid_argument, "at least one is needed", [&] { engine.set_styles({}); });
}

TEST_F(Faults, StylesThatAreNotAsManyAsContents) {
  const Blocks two(2, 40, 36, 3), three(3, 32, 48, 4);
  expect_error(Code::invalid_argument, "for each of the 1 contents, is accepted, got 2",
               [&] { engine.set_style(two.view()); });
  EXPECT_EQ(engine.run(1), stylogram::Ending::done);  // with the style of before
  Engine fresh(pair("narrow"), options());
  fresh.set_style(two.view());
  expect_error(Code::invalid_argument, "for each of the 3 contents, is accepted, got 2",
               [&] { fresh.set_content(three.view()); });
  expect_error(Code::state, "no content yet", [&] { fresh.run(1); });
}

TEST(Order, IsSaid) {
  Engine engine(pair("narrow"), options());
  const Blocks content(1, 32, 48, 2);
  for (const auto& call : std::vector<std::function<void()>>{
           [&] { engine.step(); }, [&] { engine.run(1); }, [&] { engine.picture(); }, [&] { engine.losses(); },
           [&] { engine.shape(); }, [&] { engine.set_picture(content.view()); }}) {
    expect_error(Code::state, "there is no content yet", call);
  }
  engine.set_content(content.view());
  expect_error(Code::state, "there is no style yet", [&] { engine.step(); });
  expect_error(Code::state, "there are no losses yet", [&] { engine.losses(); });
  engine.close();
  expect_error(Code::state, "the engine is closed", [&] { engine.step(); });
  expect_error(Code::state, "the engine is closed", [&] { engine.picture(); });
  engine.cancel();
  engine.close();
}

}  // namespace
}  // namespace testing_stylogram
