// The loop: what it makes, alone and together, again and after a cancellation.
#include <cmath>
#include <numeric>

#include "support.h"

namespace testing_stylogram {
namespace {

using stylogram::Code;
using stylogram::Ending;
using stylogram::Engine;

using Loop = Ready;

TEST_F(Loop, LowersTheLossAndKeepsTheBestPicture) {
  ASSERT_EQ(engine.run(0), Ending::done);
  const double first = engine.losses().at(0);
  EXPECT_EQ(engine.iteration(), 0);
  EXPECT_EQ(engine.picture(), content.values);
  double lowest = first;
  ASSERT_EQ(engine.run(20,
                       [&](const stylogram::Progress& progress) {
                         EXPECT_EQ(progress.iteration, engine.iteration());
                         EXPECT_EQ(progress.last, 20);
                         EXPECT_EQ(progress.losses, engine.losses());
                         lowest = std::min(lowest, progress.losses.at(0));
                         return true;
                       }),
            Ending::done);
  EXPECT_EQ(engine.iteration(), 20);
  EXPECT_LT(lowest, 0.4 * first);
  const std::vector<float> best = engine.picture();
  EXPECT_NE(best, content.values);
  for (const float value : best) ASSERT_TRUE(value >= 0 && value <= 1) << value;
  Engine other(pair("narrow"), options());  // the loss of what was called the best, before it was clipped
  other.set_style(style.view());
  other.set_content(content.view());
  other.set_picture({engine.present().data(), 1, 32, 48});
  other.run(0);
  EXPECT_EQ(other.losses(), engine.losses());
}

TEST_F(Loop, TermsAddUpToTheLoss) {
  engine.run(3);
  const std::vector<std::string> terms = engine.terms();
  EXPECT_EQ(terms, (std::vector<std::string>{"content conv4_2", "style conv1_1", "style conv2_1", "style conv3_1",
                                             "style conv4_1", "style conv5_1", "tv"}));
  double sum = 0;
  for (const std::string& term : terms) sum += engine.losses(term).at(0);
  EXPECT_NEAR(sum / engine.losses().at(0), 1, 1e-12);
  EXPECT_GT(engine.losses("style").at(0), engine.losses("style conv1_1").at(0));
  EXPECT_EQ(engine.losses("content"), engine.losses("content conv4_2"));
  expect_error(Code::invalid_argument, "there is no term 'styles'", [&] { engine.losses("styles"); });
}

TEST_F(Loop, GivesTheSameBitsAgainAndInSteps) {
  engine.run(8);
  const std::vector<float> once = engine.present();
  engine.set_content(content.view());
  EXPECT_EQ(engine.iteration(), 0);
  for (int i = 0; i < 8; ++i) ASSERT_EQ(engine.step(), Ending::done);
  EXPECT_EQ(engine.iteration(), 8);
  EXPECT_EQ(engine.present(), once);
}

TEST_F(Loop, GivesEachPictureWhatItGetsAlone) {
  const Blocks contents(3, 32, 48, 5), styles(3, 40, 36, 6);
  engine.set_content(contents.view());
  engine.set_style(styles.view());
  engine.run(8);
  const std::vector<float> together = engine.present();
  const std::vector<double> losses = engine.losses();
  ASSERT_EQ(losses.size(), 3U);
  for (std::int64_t n = 0; n < 3; ++n) {
    engine.set_style(styles.one(n));
    engine.set_content(contents.one(n));
    engine.run(8);
    EXPECT_EQ(engine.losses().at(0), losses.at(static_cast<std::size_t>(n)));
    const auto size = static_cast<std::ptrdiff_t>(engine.present().size());
    EXPECT_EQ(engine.present(), std::vector<float>(together.begin() + n * size, together.begin() + (n + 1) * size));
  }
}

TEST_F(Loop, OnePairServesEverySize) {
  for (const auto& [height, width] : {std::pair<std::int64_t, std::int64_t>{16, 16}, {33, 47}, {64, 32}}) {
    const Blocks other(1, height, width, 3);
    engine.set_content(other.view());
    engine.run(0);
    const double first = engine.losses().at(0);
    engine.run(10);
    EXPECT_LT(engine.losses().at(0), 0.8 * first) << height << "x" << width;
    EXPECT_EQ(engine.picture().size(), other.values.size());
  }
}

TEST_F(Loop, BlendsStylesByTheirShares) {
  const Blocks second(1, 32, 32, 9);
  const auto style_loss = [&] {
    engine.run(0);
    return engine.losses("style").at(0);
  };
  const double one = style_loss();
  engine.set_style(second.view());
  const double two = style_loss();
  engine.set_styles({{style.view(), 3}, {second.view(), 1}});
  EXPECT_NEAR(style_loss() / (0.75 * one + 0.25 * two), 1, 1e-5);
  EXPECT_GT(std::abs(one / two - 1), 1e-3);  // or the line above says nothing
}

TEST_F(Loop, WeightsScaleTheTerms) {
  engine.run(0);
  stylogram::Options doubled = options();
  doubled.style_weight = 48;
  doubled.content_weight = 0;
  doubled.tv_weight = 0;
  Engine other(pair("narrow"), doubled);
  other.set_content(content.view());
  other.set_style(style.view());
  other.run(0);
  EXPECT_NEAR(other.losses().at(0) / engine.losses("style").at(0), 2, 1e-12);
  EXPECT_EQ(other.terms().size(), 5U);
}

TEST_F(Loop, PreconditioningFollowsThePairAndTheOptions) {
  const auto after = [&](const char* name, std::optional<double> growth) {
    stylogram::Options chosen = options();
    chosen.precondition = growth;
    Engine other(pair(name), chosen);
    other.set_style(style.view());
    other.set_content(content.view());
    other.run(6);
    return other.present();
  };
  EXPECT_EQ(after("coarse", 1.4), after("narrow", {}));
  EXPECT_EQ(after("coarse", {}), after("narrow", 1.7));
  EXPECT_NE(after("coarse", {}), after("narrow", {}));
}

TEST_F(Loop, AClosedPairTakesItsShapeAlone) {
  Engine closed(pair("closed"), options());
  const Blocks styles(1, 32, 48, 1), contents(2, 32, 48, 5);
  closed.set_style(styles.view());
  closed.set_content(contents.view());
  closed.run(6);
  engine.set_style(styles.view());
  engine.set_content(contents.view());
  engine.run(6);
  EXPECT_NEAR(closed.losses().at(1) / engine.losses().at(1), 1, 1e-4);
  expect_error(Code::invalid_argument, "takes 2 pictures together, got 1",
               [&] { closed.set_content(contents.one(0)); });
  expect_error(Code::invalid_argument, "takes pictures of 2x3x32x48", [&] { closed.set_style(style.view()); });
}

TEST_F(Loop, WinogradsConvolutionsGiveTheSameLossAtFirst) {
  Engine other(pair("winograd"), options());
  const Blocks own(1, 32, 48, 1);
  engine.set_style(own.view());
  for (Engine* each : {&engine, &other}) {
    each->set_style(own.view());
    each->set_content(content.view());
    each->run(0);
  }
  EXPECT_NEAR(other.losses().at(0) / engine.losses().at(0), 1, 1e-4);
  const double first = other.losses().at(0);
  other.run(20);
  EXPECT_LT(other.losses().at(0), 0.4 * first);
}

TEST_F(Loop, StartsFromAnotherPicture) {
  const Blocks start(1, 32, 48, 11);
  engine.set_picture(start.view());
  engine.run(0);
  EXPECT_EQ(engine.picture(), start.values);
  const double first = engine.losses("content").at(0);
  engine.run(15);
  EXPECT_LT(engine.losses("content").at(0), first);
}

TEST_F(Loop, ALossThatIsNoNumberIsAnError) {
  Engine huge(pair("huge"), options());
  huge.set_content(content.view());
  expect_error(Code::network, "overflow", [&] { huge.set_style(style.view()); });
  std::vector<float> far(content.values.size(), 1e30F);
  engine.set_picture({far.data(), 1, 32, 48});
  expect_error(Code::diverged, "at iteration 0", [&] { engine.run(3); });
  engine.set_content(content.view());
  EXPECT_EQ(engine.run(1), Ending::done);
}

}  // namespace
}  // namespace testing_stylogram
