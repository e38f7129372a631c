// embed PAIR CONTENT.ppm STYLE.ppm OUT.ppm ITERATIONS [ONNXRUNTIME]: paints CONTENT in the style of STYLE.
#include <cstdint>
#include <exception>
#include <fstream>
#include <iostream>
#include <stdexcept>
#include <string>
#include <stylogram/stylogram.hpp>
#include <vector>

struct Picture {
  std::int64_t height = 0, width = 0;
  std::vector<float> values;  // (3,height,width) in [0,1]
  stylogram::Pictures view() const { return {values.data(), 1, height, width}; }
};

Picture read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string magic;
  std::int64_t width = 0, height = 0, most = 0;
  file >> magic >> width >> height >> most;
  if (!file || magic != "P6" || most != 255 || width < 1 || height < 1 || width > 32768 || height > 32768)
    throw std::runtime_error(path + ": a PPM file (P6, 8 bits, no comments) is accepted");
  file.get();
  std::vector<char> bytes(static_cast<std::size_t>(3 * width * height));
  if (!file.read(bytes.data(), static_cast<std::streamsize>(bytes.size())))
    throw std::runtime_error(path + " is cut off");
  Picture picture{height, width, std::vector<float>(bytes.size())};
  const std::size_t plane = bytes.size() / 3;
  for (std::size_t i = 0; i < bytes.size(); ++i)
    picture.values[i % 3 * plane + i / 3] = static_cast<float>(static_cast<unsigned char>(bytes[i])) / 255.0F;
  return picture;
}

void write(const std::string& path, const Picture& picture) {
  std::vector<char> bytes(picture.values.size());
  const std::size_t plane = bytes.size() / 3;
  for (std::size_t i = 0; i < bytes.size(); ++i)
    bytes[i] = static_cast<char>(static_cast<int>(picture.values[i % 3 * plane + i / 3] * 255.0F + 0.5F));
  std::ofstream file(path, std::ios::binary);
  file << "P6\n" << picture.width << ' ' << picture.height << "\n255\n";
  if (!file.write(bytes.data(), static_cast<std::streamsize>(bytes.size())))
    throw std::runtime_error("cannot write " + path);
}

int main(int count, char** words) try {
  if (count < 6) throw std::runtime_error("usage: embed PAIR CONTENT.ppm STYLE.ppm OUT.ppm ITERATIONS [ONNXRUNTIME]");
  stylogram::Options options;
  if (count > 6) options.onnxruntime = words[6];
  stylogram::Engine engine(words[1], options);
  const Picture content = read(words[2]);
  engine.set_style(read(words[3]).view());
  engine.set_content(content.view());
  engine.run(std::stol(words[5]));
  write(words[4], {content.height, content.width, engine.picture()});
  std::cout.precision(17);
  std::cout << engine.losses().at(0) << '\n';
} catch (const std::exception& error) {
  std::cerr << "error: " << error.what() << '\n';
  return 2;
}
