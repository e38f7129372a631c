// The C API: a status for everything, messages by thread, handles that never crash.
#include <cmath>
#include <string>
#include <thread>

#include "stylogram/stylogram.h"
#include "support.h"

/// c_caller.c: a whole run, compiled as C.
extern "C" stylogram_status run_from_c(const char* folder, const stylogram_options* options, const float* picture,
                                       int64_t height, int64_t width, float* out, double* loss);

namespace testing_stylogram {
namespace {

stylogram_options options_of(const std::string& library) {
  stylogram_options options;
  stylogram_options_init(&options);
  options.onnxruntime = library.c_str();
  options.threads = 2;
  return options;
}

class CApi : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(stylogram_create(folder.c_str(), &options, &engine), STYLOGRAM_OK) << stylogram_last_error();
    ASSERT_EQ(stylogram_set_style(engine, style.values.data(), 1, 40, 36), STYLOGRAM_OK);
    ASSERT_EQ(stylogram_set_content(engine, content.values.data(), 1, 32, 48), STYLOGRAM_OK);
  }
  void TearDown() override { stylogram_destroy(engine); }

  std::string folder = pair("narrow"), library = onnxruntime_library();
  stylogram_options options = options_of(library);
  Blocks style{1, 40, 36, 1}, content{1, 32, 48, 2};
  stylogram_engine* engine = nullptr;
};

TEST_F(CApi, DoesWhatTheClassDoes) {
  stylogram::Engine own(folder, testing_stylogram::options());
  own.set_style(style.view());
  own.set_content(content.view());
  own.run(5);
  int64_t calls = 0;
  const auto count = [](void* user, int64_t iteration, int64_t last, const double* losses, int64_t pictures) {
    EXPECT_EQ(iteration, (*static_cast<int64_t*>(user))++);
    EXPECT_EQ(last, 4);
    EXPECT_EQ(pictures, 1);
    EXPECT_GT(losses[0], 0);
    return 1;
  };
  ASSERT_EQ(stylogram_run(engine, 4, count, &calls), STYLOGRAM_OK);
  EXPECT_EQ(calls, 5);
  ASSERT_EQ(stylogram_step(engine), STYLOGRAM_OK);
  int64_t iteration = 0, shape[3] = {};
  ASSERT_EQ(stylogram_iteration(engine, &iteration), STYLOGRAM_OK);
  ASSERT_EQ(stylogram_shape(engine, shape), STYLOGRAM_OK);
  EXPECT_EQ(iteration, 5);
  EXPECT_EQ((std::vector<int64_t>{shape[0], shape[1], shape[2]}), (std::vector<int64_t>{1, 32, 48}));
  double loss = 0, of_style = 0;
  ASSERT_EQ(stylogram_losses(engine, nullptr, &loss, 1), STYLOGRAM_OK);
  ASSERT_EQ(stylogram_losses(engine, "style", &of_style, 1), STYLOGRAM_OK);
  EXPECT_EQ(loss, own.losses().at(0));
  EXPECT_EQ(of_style, own.losses("style").at(0));
  std::vector<float> best(content.values.size()), present(content.values.size());
  ASSERT_EQ(stylogram_picture(engine, best.data(), best.size()), STYLOGRAM_OK);
  ASSERT_EQ(stylogram_present(engine, present.data(), present.size()), STYLOGRAM_OK);
  EXPECT_EQ(best, own.picture());
  EXPECT_EQ(present, own.present());
}

TEST_F(CApi, IsC) {
  std::vector<float> out(content.values.size());
  double loss = 0;
  ASSERT_EQ(run_from_c(folder.c_str(), &options, content.values.data(), 32, 48, out.data(), &loss), STYLOGRAM_OK);
  EXPECT_GT(loss, 0);
  EXPECT_NE(out, content.values);
}

TEST_F(CApi, Cancels) {
  ASSERT_EQ(stylogram_cancel(engine), STYLOGRAM_OK);
  EXPECT_EQ(stylogram_run(engine, 5, nullptr, nullptr), STYLOGRAM_CANCELLED);
  const auto at_once = [](void*, int64_t, int64_t, const double*, int64_t) { return 0; };
  EXPECT_EQ(stylogram_run(engine, 5, at_once, nullptr), STYLOGRAM_CANCELLED);
}

TEST_F(CApi, NullPointersAreStatuses) {
  stylogram_engine* other = nullptr;
  EXPECT_EQ(stylogram_create(nullptr, &options, &other), STYLOGRAM_INVALID_ARGUMENT);
  EXPECT_EQ(stylogram_create(folder.c_str(), &options, nullptr), STYLOGRAM_INVALID_ARGUMENT);
  EXPECT_EQ(other, nullptr);
  EXPECT_EQ(stylogram_set_style(engine, nullptr, 1, 32, 32), STYLOGRAM_INVALID_ARGUMENT);
  EXPECT_EQ(stylogram_set_styles(engine, nullptr, 1), STYLOGRAM_INVALID_ARGUMENT);
  EXPECT_EQ(stylogram_set_styles(engine, nullptr, 0), STYLOGRAM_INVALID_ARGUMENT);
  EXPECT_EQ(stylogram_set_content(engine, nullptr, 1, 32, 32), STYLOGRAM_INVALID_ARGUMENT);
  EXPECT_EQ(stylogram_set_picture(engine, nullptr, 1, 32, 48), STYLOGRAM_INVALID_ARGUMENT);
  EXPECT_EQ(stylogram_shape(engine, nullptr), STYLOGRAM_INVALID_ARGUMENT);
  EXPECT_EQ(stylogram_iteration(engine, nullptr), STYLOGRAM_INVALID_ARGUMENT);
  EXPECT_EQ(stylogram_losses(engine, nullptr, nullptr, 1), STYLOGRAM_INVALID_ARGUMENT);
  EXPECT_EQ(stylogram_picture(engine, nullptr, 4608), STYLOGRAM_INVALID_ARGUMENT);
  stylogram_options_init(nullptr);
  stylogram_options empty = {};
  EXPECT_EQ(stylogram_create(folder.c_str(), &empty, &other), STYLOGRAM_INVALID_ARGUMENT);
  EXPECT_NE(std::string(stylogram_last_error()).find("stylogram_options_init"), std::string::npos);
}

TEST_F(CApi, DeadHandlesAreStatuses) {
  stylogram_engine* const dead = engine;
  ASSERT_EQ(stylogram_destroy(dead), STYLOGRAM_OK);
  ASSERT_EQ(stylogram_create(folder.c_str(), &options, &engine), STYLOGRAM_OK);
  EXPECT_NE(engine, dead);
  for (stylogram_engine* const none : {dead, static_cast<stylogram_engine*>(nullptr)}) {
    EXPECT_EQ(stylogram_step(none), STYLOGRAM_INVALID_ENGINE);
    EXPECT_EQ(stylogram_run(none, 1, nullptr, nullptr), STYLOGRAM_INVALID_ENGINE);
    EXPECT_EQ(stylogram_cancel(none), STYLOGRAM_INVALID_ENGINE);
    EXPECT_EQ(stylogram_set_content(none, content.values.data(), 1, 32, 48), STYLOGRAM_INVALID_ENGINE);
    EXPECT_EQ(stylogram_destroy(none), STYLOGRAM_INVALID_ENGINE);
  }
}

TEST_F(CApi, MessagesBelongToTheirThread) {
  EXPECT_EQ(stylogram_create("/nowhere", &options, nullptr), STYLOGRAM_INVALID_ARGUMENT);
  const std::string mine = stylogram_last_error();
  std::string others = "not read";
  std::thread([&] {
    others = stylogram_last_error();
    stylogram_engine* other = nullptr;
    EXPECT_EQ(stylogram_create("/nowhere", &options, &other), STYLOGRAM_NETWORK);
    EXPECT_NE(std::string(stylogram_last_error()).find("/nowhere/forward.onnx"), std::string::npos);
  }).join();
  EXPECT_EQ(others, "");
  EXPECT_EQ(stylogram_last_error(), mine);
}

TEST_F(CApi, DestroyedDuringAStepOfAnotherThread) {
  stylogram_status last = STYLOGRAM_OK;
  std::thread stepping([&] {
    while (last == STYLOGRAM_OK) last = stylogram_step(engine);
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_EQ(stylogram_destroy(engine), STYLOGRAM_OK);
  stepping.join();  // its step ended early, or found the engine closed or gone
  EXPECT_TRUE(last == STYLOGRAM_CANCELLED || last == STYLOGRAM_STATE || last == STYLOGRAM_INVALID_ENGINE) << last;
}

TEST_F(CApi, DestroyedByItsOwnCallback) {
  const auto destroy = [](void* user, int64_t, int64_t, const double*, int64_t) {
    EXPECT_EQ(stylogram_destroy(static_cast<stylogram_engine*>(user)), STYLOGRAM_OK);
    return 1;
  };
  EXPECT_EQ(stylogram_run(engine, 100, destroy, engine), STYLOGRAM_CANCELLED);
  EXPECT_EQ(stylogram_step(engine), STYLOGRAM_INVALID_ENGINE);
}

TEST_F(CApi, SaysItsVersion) { EXPECT_STREQ(stylogram_version(), stylogram::version()); }

}  // namespace
}  // namespace testing_stylogram
