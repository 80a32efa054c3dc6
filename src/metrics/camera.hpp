#pragma once
// How the camera moved: from tracked corners to one matrix per frame. The background is the largest set of corners that
// move together; objects are left out, by that and on request.
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/frames.hpp"
#include "metrics/background.hpp"
#include "metrics/camera_fit.hpp"
#include "metrics/luma.hpp"
#include "metrics/measure.hpp"
#include "metrics/metric.hpp"

namespace reel::metrics {

/// Motion of the picture from one frame to the next. Pixels of the original picture, x to the right, y down, centre of
/// the first pixel (0.5, 0.5); angles turn x towards y.
struct CameraStep {
  double time_s = 0;                                          ///< of the later frame
  Matrix3 from_previous = identity3;                          ///< previous frame -> this one, background
  CameraModel model = CameraModel::none;                      ///< that from_previous is; none: nothing was fitted
  double dx_px = 0, dy_px = 0, theta_rad = 0, log_scale = 0;  ///< best similarity, about the picture's centre
  int num_tracks = 0, num_inliers = 0;
  double residual_px = nan;    ///< root mean square distance of the inliers
  bool calibrated = false;     ///< the numbers rest on tracked corners
  bool assumed_still = false;  ///< not calibrated, but taken as locked off: the border does not change
  std::string reason;          ///< why not calibrated; "" otherwise
};

/// Path of the camera over a shot, one entry per frame.
struct CameraPath {
  std::int64_t height_px = 0, width_px = 0;
  std::vector<double> time_s;
  /// Sums of the steps' shifts, turns and log scales about the picture's centre (so that far from the start a tremble
  /// of the angle is not taken for one of the shift); 0 for the first frame.
  std::vector<double> x_px, y_px, theta_rad, log_scale;
  std::vector<Matrix3> to_first;  ///< this frame -> the shot's first, products of the steps
  std::vector<double> noise_px;   ///< sigma of the step's shift: residual / sqrt(inliers); NaN where not calibrated
  std::int64_t num_uncalibrated = 0, num_assumed_still = 0;  ///< of the steps; the latter are not among the former
  std::string reason;                                        ///< the first reason for a step that is not calibrated

  std::int64_t num_frames() const noexcept { return static_cast<std::int64_t>(time_s.size()); }
  std::int64_t num_steps() const noexcept { return std::max<std::int64_t>(0, num_frames() - 1); }
  /// At most a fifth of the steps is unknown: what hangs on the path may be measured.
  bool usable() const noexcept { return num_steps() > 0 && 5 * num_uncalibrated <= num_steps(); }
};

/// One tracked corner in the newest frame.
struct Feature {
  std::int64_t id = 0;  ///< rises with birth
  double x_px = 0, y_px = 0;
  bool background = false;  ///< it moved with the camera in the last step
  double variance = nan;    ///< of a pixel of its texture against its mean of some 16 frames, levels^2 (see Patch)
};

/// Tracks the camera through one shot. Memory does not grow but for the path; cost is linear in frames.
///
/// Corners are Shi and Tomasi's on the picture reduced to a short side of about 360 px, at most 320 and at most 5 per
/// cell of an 8 x 8 grid, at least max(3 px, 1.5 % of the short side) apart. They are followed by pyramidal
/// Lucas-Kanade there and back (kept when they return within 0.5 px of the reduced picture; pictures below 128 px are
/// enlarged by cubic interpolation for it) and then located against their own memory (Patch), which is what makes the
/// numbers precise. A seeded RANSAC finds the background; similarity, affine map and homography are fitted to it by
/// robust least squares and chosen by the Bayesian information criterion, where the occupied cells of the grid count as
/// the independent observations, since neighbours move alike in whatever is not camera.
///
/// A step is calibrated when at least `min_inliers` corners and 0.4 of all move together, and when they spread: their
/// standard deviations across and down are at least 0.12 of the picture (a filled picture has 0.29), so that no single
/// ball is taken for the world. min_inliers is 30 down to a short side of 240 px and an eighth of the short side below
/// (12 at least), since corners have to stand 3 px apart: a similarity then still has 20 observations to spare.
/// Steps that are not calibrated go on as the one before did, in the path; they are counted.
///
/// Without texture: when 3 of 4 blocks of the picture's border (a frame of 16 x 16 blocks) are flat and do not change,
/// or when the step is not calibrated and 3 of 4 do not change (by more than 3 levels), the camera is taken as locked
/// off, and the step is marked as assumed. Balls on white are such pictures.
class CameraTracker {
 public:
  explicit CameraTracker(bool still = false, std::uint64_t seed = 0);  ///< still: known to stand, nothing is tracked
  ~CameraTracker();
  CameraTracker(CameraTracker&&) noexcept;
  CameraTracker& operator=(CameraTracker&&) noexcept;

  /// The next frame; `moving`: boxes (px, this frame) whose corners are left out. Returns the step that led here; for
  /// the first frame an uncalibrated one with reason "first frame". Throws Error (Exit::input) for a frame of another
  /// size than the first, without pixels, or whose time does not rise.
  const CameraStep& add(const Frame& frame, std::span<const Box> moving = {});

  const CameraStep& step() const;
  const CameraPath& path() const;
  std::span<const Feature> features() const;       ///< in the newest frame, rising ids
  std::span<const double> flat_variances() const;  ///< as Feature::variance, of the flattest patch of every cell
  const Plane& luma() const;                       ///< of the newest frame
  const Plane& luma_before() const;                ///< of the frame before; empty at first
  const Plane& grey() const;                       ///< the same, reduced
  const Plane& grey_before() const;                ///< the same
  int factor() const;                              ///< px of the original per px of grey
  std::int64_t num_frames() const { return path().num_frames(); }

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// How many corners must move together in a picture whose reduced short side is `short_side_px`.
int min_inliers(int short_side_px);

}  // namespace reel::metrics
