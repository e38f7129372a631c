// A symmetric positive operator S on pictures, the sum of their smoothed copies: a preconditioner that lets an
// optimiser move the coarse parts of a picture further than its pixels.
//
//   d_0 = v,  d_{l+1} = D d_l;   u_L = c_L d_L,  u_l = c_l d_l + U u_{l+1};   S v = u_0
//   c_0 = 1,  c_l = growth^l (1 - 1 / growth)
//
// U doubles a side, by linear interpolation with half-pixel centres: of n samples, m = ceil(n / 2) are coarse ones, and
// sample i is read at (i + 1/2) / 2 - 1/2, indices clamped to [0, m - 1]. Rows and columns are doubled one after the
// other. D = U^T / 4, so S is symmetric, and S - 1 positive semidefinite. This is the V-shaped sum over levels of
// Bramble, Pasciak and Xu, "Parallel multilevel preconditioners" (1990).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "dispatch.h"
#include "reserve.h"

namespace stylogram::ops {

class Pyramid {
 public:
  /// For pictures of `planes` (N C) planes. Uses fewer levels than asked for where a side of the next one would be
  /// below
  /// 2. Its memory, a third of a picture's, is reserved here. Throws unless sizes >= 1, levels >= 0, growth > 1 and c_L
  /// is a float.
  Pyramid(std::int64_t planes, std::int64_t height, std::int64_t width, std::int64_t levels, double growth);

  /// out = S in; both (planes, H, W). `out` may be `in`; it throws if they overlap otherwise. Not from two threads at
  /// once.
  void apply(const float* in, float* out, Stream stream);
  /// out = base + S in; all (planes, H, W). `out` may be `in` or `base`; it throws if it overlaps them otherwise.
  void apply_add(const float* in, const float* base, float* out, Stream stream);

  std::int64_t planes() const { return planes_; }
  std::int64_t height() const { return levels_.front().height; }
  std::int64_t width() const { return levels_.front().width; }
  /// How many levels are used, L.
  std::int64_t levels() const { return static_cast<std::int64_t>(levels_.size()) - 1; }

 private:
  struct Level {
    std::int64_t height, width, stride;
    float scale;            // c_l
    float* data = nullptr;  // (planes, height, stride): d_l, then u_l. None at level 0, which is the caller's.
  };
  struct Call {
    const float *in, *base;  // base is null if there is none
    float* out;
  };

  const Level& level(std::int64_t l) const { return levels_[static_cast<std::size_t>(l)]; }
  static std::vector<Level> cut(std::int64_t planes, std::int64_t height, std::int64_t width, std::int64_t levels,
                                double growth);
  static std::size_t bytes(std::int64_t planes, const std::vector<Level>& levels);
  void check_overlap(const float* other, const char* name, const float* out) const;
  void run(const Call& call);
  void down(std::int64_t l, std::int64_t plane, std::int64_t begin, std::int64_t end, const Call& call) const;
  void up(std::int64_t l, std::int64_t plane, std::int64_t begin, std::int64_t end, const Call& call) const;

  std::int64_t planes_;
  std::int64_t banded_ = 0;  // levels below this one are cut into bands of rows; the others are left whole
  std::vector<Level> levels_;
  Reserved memory_;
  const float* zeros_;  // a row of the widest level
};

}  // namespace stylogram::ops
