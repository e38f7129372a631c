#include "runtime/pair.h"

#include <algorithm>
#include <filesystem>
#include <locale>
#include <sstream>

#include "runtime/errors.h"

namespace stylogram::runtime {
namespace {

constexpr const char* kVersion = "1";  // of the metadata: engine/stylogram/embedding.py
constexpr std::int64_t kLeast = 16;    // pixels of a side, as in Python
constexpr std::int64_t kMost = 65536;

std::string file(const std::string& folder, const char* name) {
  const auto path = std::filesystem::path(folder) / name;
  std::error_code problem;
  require(std::filesystem::is_regular_file(path, problem), Code::network, "there is no file ", path.string(),
          "; accepted: a folder that `stylogram network export` wrote");
  return path.string();
}

double number(const std::string& text, const std::string& key) {
  std::istringstream in(text);
  in.imbue(std::locale::classic());
  double value = 0;
  in >> value;
  require(!in.fail() && in.eof() && value >= 0 && value < 1e30, Code::network, "the pair's stylogram.", key,
          " has no number >= 0 where one is needed: '", text, "'");
  return value;
}

std::string needed(const Session& session, const std::string& key) {
  const auto found = session.metadata(key);
  require(found.has_value(), Code::network, "the pair's metadata have no stylogram.", key);
  return *found;
}

// Lines of so many fields, separated by tabs.
std::vector<std::vector<std::string>> table(const Session& session, const std::string& key, std::size_t columns) {
  std::istringstream lines(needed(session, key));
  std::vector<std::vector<std::string>> rows;
  for (std::string line; std::getline(lines, line);) {
    std::istringstream fields(line);
    std::vector<std::string> row;
    for (std::string field; std::getline(fields, field, '\t');) row.push_back(field);
    require(row.size() == columns, Code::network, "the pair's stylogram.", key, " needs ", columns,
            " fields a line, got ", row.size());
    rows.push_back(std::move(row));
  }
  return rows;
}

std::vector<Layer> layers(const Session& session, const std::string& key) {
  std::vector<Layer> found;
  for (const auto& row : table(session, key, 3)) found.push_back({number(row[0], key), row[1], row[2]});
  return found;
}

double weight(const Session& session, const std::string& name) {
  for (const auto& row : table(session, "weights", 2)) {
    if (row[1] == name) return number(row[0], "weights");
  }
  fail(Code::network, "the pair's stylogram.weights has no ", name);
}

Plan plan_of(const Session& session) {
  return {layers(session, "content"), layers(session, "style"),
          weight(session, "content"), weight(session, "style"),
          weight(session, "tv"),      number(needed(session, "precondition"), "precondition")};
}

const Slot* slot(const std::vector<Slot>& slots, const std::string& name) {
  const auto found = std::find_if(slots.begin(), slots.end(), [&](const Slot& slot) { return slot.name == name; });
  return found == slots.end() ? nullptr : &*found;
}

void add_new(std::vector<std::string>& names, const std::vector<Layer>& layers) {
  for (const Layer& layer : layers) {
    if (std::find(names.begin(), names.end(), layer.tensor) == names.end()) names.push_back(layer.tensor);
  }
}

bool is_picture(const Slot& slot) {
  const Dims& dims = slot.kind.dims;
  return slot.kind.type == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT && dims.size() == 4 && dims[1] == 3;
}

}  // namespace

Pair::Pair(const std::string& folder, int threads)
    : folder_(folder),
      forward_(file(folder, "forward.onnx"), threads),
      backward_(file(folder, "backward.onnx"), threads) {
  check_versions();
  plan_ = plan_of(forward_);
  add_new(taps_, plan_.content);
  add_new(taps_, plan_.style);
  check_graphs();
}

void Pair::check_versions() const {
  const auto version = forward_.metadata("engine");
  require(version.has_value(), Code::network, folder_,
          ": no layers of content and style are in its metadata; accepted: what `stylogram network export` writes "
          "without --layers");
  require(*version == kVersion, Code::network, folder_, ": a pair of version ", kVersion, " is accepted, got ",
          *version, ": export it with the Stylogram of this library, ", STYLOGRAM_VERSION);
  const std::string first = forward_.metadata("pair").value_or("none");
  const std::string second = backward_.metadata("pair").value_or("none");
  require(first == second && first != "none", Code::network, folder_,
          ": forward.onnx and backward.onnx are not of one export: their pairs are ", first, " and ", second);
  const std::string rule = forward_.metadata("relu").value_or("none");
  require(rule == "gradient", Code::network, folder_, ": the ReLUs' rule must be gradient, got ", rule);
}

void Pair::check_graphs() const {
  require(!taps_.empty(), Code::network, folder_, ": it has neither content nor style layers");
  require(forward_.inputs().size() == 1 && is_picture(forward_.inputs().front()), Code::network, folder_,
          ": forward.onnx must take one picture (N,3,H,W) of float");
  for (const std::string& tap : taps_) {
    for (const Slot* const found : {slot(forward_.outputs(), tap), slot(backward_.inputs(), "gy:" + tap)}) {
      require(found != nullptr, Code::network, folder_, ": the layer's tensor ", tap, " is not in both graphs");
      require(found->kind.type == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, Code::network, folder_, ": the layer's tensor ",
              tap, " must be of float");
    }
  }
  for (const Slot& input : backward_.inputs()) {
    const bool tap =
        input.name.rfind("gy:", 0) == 0 && std::find(taps_.begin(), taps_.end(), input.name.substr(3)) != taps_.end();
    const bool known = tap || slot(forward_.outputs(), input.name) != nullptr;
    require(known, Code::network, folder_, ": backward.onnx asks for ", input.name,
            ", which forward.onnx does not make");
  }
  require(backward_.outputs().size() == 1 && is_picture(backward_.outputs().front()), Code::network, folder_,
          ": backward.onnx must make one gradient (N,3,H,W) of float");
}

void Pair::check_size(const char* what, const Pictures& pictures) const {
  const std::int64_t count = pictures.count, height = pictures.height, width = pictures.width;
  const std::string got = std::to_string(count) + "x3x" + std::to_string(height) + "x" + std::to_string(width);
  require(count >= 1 && count <= kMost && height >= kLeast && height <= kMost && width >= kLeast && width <= kMost,
          Code::invalid_argument, what, ": pictures (N,3,H,W) with N >= 1 and sides of ", kLeast, " to ", kMost,
          " are accepted, got ", got);
  const Dims& dims = forward_.inputs().front().kind.dims;
  require((dims[2] < 0 || dims[2] == height) && (dims[3] < 0 || dims[3] == width), Code::invalid_argument, what,
          ": this pair takes pictures of ", text(dims), " (N x 3 x H x W), got ", got);
}

void Pair::check_count(const char* what, std::int64_t count) const {
  require(batch() < 0 || batch() == count, Code::invalid_argument, what, ": this pair takes ", batch(),
          " pictures together, got ", count);
}

}  // namespace stylogram::runtime
