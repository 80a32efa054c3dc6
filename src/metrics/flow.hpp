#pragma once
// Optical flow: points that are followed from one picture to the next, and the same for every pixel. Our own, in plain
// float arithmetic in a fixed order, so that tracks do not depend on the machine.
#include <array>
#include <span>
#include <vector>

#include "metrics/luma.hpp"

namespace reel::metrics {

/// A grey picture and its halves: every level is the one below under [1 4 6 4 1] / 16 both ways (edges repeated), every
/// second pixel. A point at (x, y) of the picture is at ((x - 1/2) / 2^l + 1/2, ...) of level l.
class Pyramid {
 public:
  Pyramid() = default;
  /// `levels` + 1 pictures, fewer when a side would fall below 8 px.
  Pyramid(const Plane& picture, int levels);
  int num_levels() const noexcept { return static_cast<int>(levels_.size()); }
  const Plane& level(int l) const { return levels_[static_cast<std::size_t>(l)]; }

 private:
  std::vector<Plane> levels_;
};

/// Moves (x, y) from where the point is in `from` to where it is in `to`, px, pixel centres at i + 0.5: least squares in
/// shift over a window of `window` x `window` px, coarse to fine (Lucas and Kanade 1981; pyramid after Bouguet 2000),
/// at most 10 rounds per level, until a step is below 0.03 px. Beyond the edge the edge's pixels are repeated. False when
/// the window has no texture in some direction (smaller eigenvalue of its structure tensor per pixel below
/// 0.01 levels^2 / px^2) or the point leaves the picture.
bool follow_point(const Pyramid& from, const Pyramid& to, int window, double& x, double& y);

/// Flow of every pixel, [H, W] of (u, v) px: what is at p in `from` is at p + flow in `to`.
struct FlowField {
  int width_px = 0, height_px = 0;
  std::vector<std::array<float, 2>> flow;
};

/// Patches of 8 x 8 px every 4 px are found by least squares in shift with their mean removed, coarse to fine, on
/// pictures down to half the size; a pixel takes the mean of the patches over it, weighted by how well they fit
/// there (after Kroeger et al. 2016, dense inverse search, without its last refinement); enlarged bilinearly. Patches
/// that stray by more than 8 px stay where the coarser level put them.
FlowField dense_flow(const Plane& from, const Plane& to);

}  // namespace reel::metrics
