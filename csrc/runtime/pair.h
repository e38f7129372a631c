// The pair of graphs that `stylogram network export` wrote, and what it says of losses.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/session.h"
#include "stylogram/stylogram.hpp"

namespace stylogram::runtime {

struct Layer {
  double weight;  // those of a kind sum to one
  std::string name, tensor;
};

/// What is minimised, if the program does not say otherwise.
struct Plan {
  std::vector<Layer> content, style;
  double content_weight, style_weight, tv_weight;
  double precondition;  // 1: none
};

class Pair {
 public:
  /// Throws Error: a file is missing or no graph; the two are not of one pair, or of another version; they are not the
  /// gradient's, or hold no layers of losses.
  Pair(const std::string& folder, int threads);

  const Session& forward() const { return forward_; }
  const Session& backward() const { return backward_; }
  const Plan& plan() const { return plan_; }
  /// The tensors of content and style layers, each once, content first.
  const std::vector<std::string>& taps() const { return taps_; }
  /// Throws Error unless there are pictures, of a size that the network takes.
  void check_size(const char* what, const Pictures& pictures) const;
  /// Throws Error unless the network takes so many together.
  void check_count(const char* what, std::int64_t count) const;
  /// How many pictures go through together, or -1 if any number does.
  std::int64_t batch() const { return forward_.inputs().front().kind.dims[0]; }

 private:
  void check_versions() const;
  void check_graphs() const;

  std::string folder_;
  Session forward_, backward_;
  Plan plan_;
  std::vector<std::string> taps_;
};

}  // namespace stylogram::runtime
