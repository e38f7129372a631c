// Forward and backward for pictures of one shape, every buffer bound once.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "runtime/pair.h"
#include "runtime/session.h"
#include "stylogram/stylogram.hpp"

namespace stylogram::runtime {

class FeaturePass {
 public:
  /// Runs `pictures` through once, from which the shapes of the features follow: they are there afterwards. The pair
  /// has to outlive it.
  FeaturePass(const Pair& pair, const Pictures& pictures);

  const Shape& shape() const { return shape_; }
  std::int64_t size() const { return picture_.size(); }
  /// (N,3,H,W): what forward() reads.
  float* picture() const { return picture_.floats(); }
  /// (N,3,H,W): what backward() writes.
  float* gradient() const { return gradient_.floats(); }
  /// (N,C,h,w): what forward() writes at a tap, and of the same shape what backward() reads there.
  const Tensor& features(const std::string& tap) const { return *made_.at(tap); }
  const Tensor& gradients(const std::string& tap) const { return *given_.at(tap); }
  void forward(const Stop* stop) const { forward_->run(stop); }
  void backward(const Stop* stop) const { backward_->run(stop); }

 private:
  void make_buffers(const Pair& pair);
  const Tensor& read_by_backward(const std::string& name) const;

  Shape shape_;
  Tensor picture_, gradient_;
  std::map<std::string, std::unique_ptr<Tensor>> made_;   // by forward
  std::map<std::string, std::unique_ptr<Tensor>> given_;  // to backward, by tap
  std::unique_ptr<Bound> forward_, backward_;
};

/// The features of one picture (1,3,h,w) at `taps`, in that order, one after the other handed to `look`, each
/// (1,C,h,w).
using Look = std::function<void(std::size_t tap, const Dims& dims, const float* features)>;
void features_of(const Pair& pair, const float* picture, std::int64_t height, std::int64_t width,
                 const std::vector<std::string>& taps, const Look& look);

}  // namespace stylogram::runtime
