#pragma once
// A small piece of texture that is found again in every frame, to a few thousandths of a pixel on clean pictures. Not
// for use outside of camera.
#include <array>
#include <vector>

#include "metrics/luma.hpp"

namespace reel::metrics {

/// 9 x 9 samples of a plane around a point, `spacing` px apart (0.5 or 0.75), and a border of one sample for
/// derivatives. The memory is the mean over the last 16 frames or so, of pieces brought to the same brightness and
/// contrast: it does not drift as a chain of pairs would.
class Patch {
 public:
  static constexpr int side = 9, full = side + 2, memory = 16;
  using Linear = std::array<double, 4>;  ///< row-major 2 x 2: patch at birth -> picture now

  /// Takes the memory at (x, y) of `plane`. False (and useless) when it reaches over the edge.
  bool start(const Plane& plane, double x, double y, double spacing);

  /// Finds the memory near (x, y) and moves (x, y) there: least squares in shift, brightness and contrast with a
  /// Gaussian window of sigma 2.5 samples (Lucas and Kanade, inverse compositional); cubic interpolation. False when it
  /// does not settle within `reach` px, reaches over the edge, or correlates below 0.7.
  bool find(const Plane& plane, const Linear& linear, double& x, double& y, double reach);

  /// Compares the piece at (x, y) with the memory, there. Flat pieces are matched in brightness; textured ones also in
  /// contrast, and to first order in shift, turn, stretch and shear. False over the edge.
  bool compare(const Plane& plane, const Linear& linear, double x, double y, bool textured);

  /// Lets the piece of the last `find` or `compare` into the memory.
  void remember();

  /// Variance of one pixel of the last piece compared against the memory, in levels^2: mean squared difference after
  /// matching, corrected for what was fitted, for the memory's own noise and for the smoothing by interpolation, all as
  /// for noise that is independent between pixels and frames. NaN for a memory of fewer than 4 frames.
  double variance() const noexcept { return variance_; }
  /// Standard deviation of the memory's levels.
  double contrast() const;
  int age() const noexcept { return age_; }

 private:
  bool sample(const Plane& plane, const Linear& linear, double x, double y);
  void match(bool contrast);
  double correlation() const;
  void judge(bool textured);
  float spacing_ = 1, gain_ = 1, bias_ = 0;
  double noise_gain_ = 1, variance_ = 0;
  int age_ = 0;
  std::array<float, full * full> memory_{}, now_{};
};

}  // namespace reel::metrics
