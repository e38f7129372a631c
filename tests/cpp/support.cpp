#include "support.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>

namespace testing_stylogram {
namespace {

std::string root() {
  const char* const folder = std::getenv("STYLOGRAM_TEST_PAIRS");
  if (folder == nullptr) throw std::runtime_error("STYLOGRAM_TEST_PAIRS is not set: run the tests with ctest");
  return folder;
}

}  // namespace

std::string pair(const std::string& name) { return root() + "/" + name; }

std::string onnxruntime_library() {
  std::ifstream file(root() + "/onnxruntime");
  std::string folder;
  std::getline(file, folder);
  for (const auto& entry : std::filesystem::directory_iterator(folder + "/capi")) {
    if (entry.path().filename().string().rfind("libonnxruntime.so", 0) == 0) return entry.path().string();
  }
  throw std::runtime_error("no libonnxruntime.so in " + folder + "/capi");
}

stylogram::Options options() {
  stylogram::Options options;
  options.onnxruntime = onnxruntime_library();
  options.threads = 2;
  return options;
}

Blocks::Blocks(std::int64_t count, std::int64_t height, std::int64_t width, unsigned seed)
    : count(count), height(height), width(width) {
  constexpr std::int64_t kSide = 4;
  std::mt19937 random(seed);
  const auto next = [&] { return static_cast<float>(random() >> 8) / static_cast<float>(1 << 24); };
  for (std::int64_t plane = 0; plane < 3 * count; ++plane) {
    std::vector<float> cells(static_cast<std::size_t>((height / kSide + 1) * (width / kSide + 1)));
    std::generate(cells.begin(), cells.end(), next);
    for (std::int64_t y = 0; y < height; ++y) {
      for (std::int64_t x = 0; x < width; ++x) {
        values.push_back(cells[static_cast<std::size_t>(y / kSide * (width / kSide + 1) + x / kSide)]);
      }
    }
  }
}

stylogram::Pictures Blocks::one(std::int64_t n) const {
  return {values.data() + n * 3 * height * width, 1, height, width};
}

}  // namespace testing_stylogram
