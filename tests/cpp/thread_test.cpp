// Several threads at one engine, several engines, cancellation, and engines that go while they work.
#include <atomic>
#include <chrono>
#include <memory>
#include <stdexcept>
#include <thread>

#include "support.h"

namespace testing_stylogram {
namespace {

using stylogram::Code;
using stylogram::Ending;
using stylogram::Engine;
using stylogram::Progress;

constexpr std::int64_t kForever = 1'000'000;

using Threads = Ready;

TEST_F(Threads, ACallbackEndsTheRun) {
  int calls = 0;
  EXPECT_EQ(engine.run(kForever, [&](const Progress&) { return ++calls < 4; }), Ending::cancelled);
  EXPECT_EQ(calls, 4);
  EXPECT_EQ(engine.iteration(), 3);
  EXPECT_EQ(engine.run(2), Ending::done);  // the request is used up
  EXPECT_EQ(engine.iteration(), 5);
}

TEST_F(Threads, ACallbackMayThrow) {
  EXPECT_THROW(engine.run(5, [](const Progress&) -> bool { throw std::out_of_range("mine"); }), std::out_of_range);
  EXPECT_EQ(engine.run(5), Ending::done);
  EXPECT_EQ(engine.iteration(), 5);
}

TEST_F(Threads, ACallbackMayLookButNotChange) {
  engine.run(1, [&](const Progress& progress) {
    EXPECT_EQ(engine.iteration(), progress.iteration);
    EXPECT_EQ(engine.picture().size(), content.values.size());
    expect_error(Code::state, "from its own callback", [&] { engine.step(); });
    expect_error(Code::state, "from its own callback", [&] { engine.set_content(content.view()); });
    return true;
  });
}

TEST_F(Threads, ACancelledRunGoesOnWhereItWas) {
  engine.run(12);
  const std::vector<float> undisturbed = engine.present();
  engine.set_content(content.view());
  for (int times = 0; engine.iteration() < 12;) {
    std::thread other([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(2 * (++times % 8)));
      engine.cancel();
    });
    engine.run(12 - engine.iteration());
    other.join();
  }
  engine.run(0);  // the last request may have come too late
  EXPECT_EQ(engine.present(), undisturbed);
}

TEST_F(Threads, ARequestBeforeTheRunEndsItAndContentForgetsIt) {
  engine.cancel();
  EXPECT_EQ(engine.run(3), Ending::cancelled);
  EXPECT_EQ(engine.iteration(), 0);
  EXPECT_EQ(engine.step(), Ending::done);
  engine.cancel();
  engine.set_content(content.view());
  EXPECT_EQ(engine.run(3), Ending::done);
}

TEST_F(Threads, ManyAtOneEngine) {
  std::atomic<bool> done{false};
  std::vector<std::thread> readers;
  for (int i = 0; i < 2; ++i) {
    readers.emplace_back([&] {
      while (!done) {
        const std::vector<float> picture = engine.picture();
        EXPECT_EQ(picture.size(), content.values.size());
        EXPECT_GE(engine.iteration(), 0);
        std::this_thread::yield();
      }
    });
  }
  std::vector<std::thread> workers;
  for (int i = 0; i < 2; ++i) workers.emplace_back([&] { EXPECT_EQ(engine.run(6), Ending::done); });
  for (std::thread& worker : workers) worker.join();
  done = true;
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(engine.iteration(), 12);
}

TEST_F(Threads, EnginesDoNotDisturbEachOther) {
  engine.run(6);
  const std::vector<float> alone = engine.present();
  std::vector<std::thread> workers;
  for (int i = 0; i < 3; ++i) {
    workers.emplace_back([&] {
      Engine own(pair("narrow"), options());
      own.set_content(content.view());
      own.set_style(style.view());
      own.run(6);
      EXPECT_EQ(own.present(), alone);
    });
  }
  for (std::thread& worker : workers) worker.join();
}

TEST_F(Threads, DestroyedDuringARunOfAnotherThread) {
  for (int delay = 0; delay < 8; ++delay) {
    auto own = std::make_unique<Engine>(pair("narrow"), options());
    own->set_content(content.view());
    own->set_style(style.view());
    std::atomic<bool> started{false};
    std::thread runner([&engine = *own, &started] {
      EXPECT_EQ(engine.run(kForever,
                           [&](const Progress&) {
                             started = true;
                             return true;
                           }),
                Ending::cancelled);
    });
    while (!started) std::this_thread::yield();
    std::this_thread::sleep_for(std::chrono::milliseconds(delay));
    own.reset();
    runner.join();
  }
}

TEST_F(Threads, DestroyedByItsOwnCallback) {
  auto own = std::make_unique<Engine>(pair("narrow"), options());
  own->set_content(content.view());
  own->set_style(style.view());
  const Ending ending = own->run(kForever, [&](const Progress& progress) {
    if (progress.iteration == 2) own.reset();
    return true;
  });
  EXPECT_EQ(ending, Ending::cancelled);
  EXPECT_EQ(own, nullptr);
}

TEST_F(Threads, ClosedWhileOthersWaitTheirTurn) {
  std::atomic<bool> started{false};
  std::thread runner([&] {
    engine.run(kForever, [&](const Progress&) {
      started = true;
      return true;
    });
  });
  while (!started) std::this_thread::yield();
  std::thread waiting(
      [&] { expect_error(Code::state, "the engine is closed", [&] { engine.set_content(content.view()); }); });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  engine.close();
  runner.join();
  waiting.join();
}

}  // namespace
}  // namespace testing_stylogram
