// What our ops on pools share: the attributes of their windows.
#pragma once

#include "ort/op.h"
#include "pool/windows.h"

namespace stylogram::ort {

/// Attributes: kernel_shape, strides; before: pads above and on the left.
class Pool : public Node {
 protected:
  Pool(const char* name, const OrtApi& api, const OrtKernelInfo* info)
      : Node(name, api, info),
        kernel_(along("kernel_shape", 1)),
        strides_(along("strides", 1)),
        before_(along("before", 0)) {}

  /// Over (height, width) for (out_height, out_width), which begin at axis `at` of both shapes.
  pool::Windows windows(const Shape& x, const Shape& y, std::size_t at) const {
    return {x[at], x[at + 1], y[at], y[at + 1], kernel_, strides_, before_};
  }

 private:
  pool::Along along(const char* attribute, std::int64_t least) const {
    const auto [y, x] = integers<2>(attribute);
    check(y >= least && x >= least, name_, attribute, " must be at least ", least, ", got ", y, " and ", x);
    return {y, x};
  }

  pool::Along kernel_, strides_, before_;
};

}  // namespace stylogram::ort
