#pragma once
// What trembles that should hold still: the camera's path (B1), the rigid scene (B2), its scale (B3), its texture (B4)
// and the film against its own motion (B6). All lengths are px of the original picture. High pass, bands and slopes:
// jitter.hpp.
#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <span>
#include <vector>

#include "metrics/camera.hpp"
#include "metrics/flicker.hpp"
#include "metrics/metric.hpp"

namespace reel::metrics {

/// B1 and B3 from the finished path of one shot.
///
/// B1: the part of x, y, turn and log scale above 1 Hz. "B1.shift" is the root of the sum of the squares of the x and y
/// parts, in px; also as a share of the picture's height, by axis, by band ("B1.shift_1_3hz" ...), the turn in mrad and
/// the scale in %. A sine of amplitude a comes back as a / sqrt(2), independent shifts of sd a per axis as a per axis.
/// B3: "B3.background", the scale's part as breathing, in %.
/// Compat: "B1.compat_stability_shift", "..._turn": the stability score of the literature on video stabilisation, the
/// share of the 2nd to 6th bin of a Fourier transform of the path in all bins but the first. Four flaws: its turn is
/// atan2(m00, m11), 45 degrees for every pure rotation, so it cannot see turns; its shift is sqrt(m02^2 + m12^2), a
/// rectified signal; a static film is 0 / 0 (refused here); and bins are no frequencies, so it depends on the length.
/// Refused when more than a fifth of the steps is uncalibrated, when the camera was only assumed to stand, or for fewer
/// than 12 frames or less than half a second.
Findings path_jitter(const CameraPath& path);

/// B2: what the background's corners do that no camera does.
///
/// "B2.rms": every corner's path, brought to the shot's first picture by the camera's steps, above 1 Hz; root of the
/// mean over frames and corners of the squared length, each cell of an 8 x 8 grid with the same weight. For a warp
/// field over the picture that estimates the RMS length of its displacements, less what a camera takes up; waves of L
/// px come back by about exp(-2 pi^2 (1.9 px)^2 / L^2), since a corner's piece of texture averages over 1.9 px (1.25 px
/// on pictures below 96 px; of the reduced picture). "B2.drift": the same paths below 1 Hz, RMS around their mean,
/// median over corners. Corners count that moved with the camera in 7 of 10 steps and lived for 12 frames and half a
/// second; a corner that lives long is cut into pieces of 256 frames. "B2.gap<g>_median", "_p95", g = 1, 2, 4, 8, 16
/// frames: distance to the best homography (robust least squares) between two frames, median and 95th percentile over
/// corners, mean over time. "B2.parallax": share of the tested pairs (every fourth frame, 16 frames apart or what the
/// shot allows) where a fundamental matrix is preferred: smaller GRIC (Torr 1998, sigma 0.15 px) and a median Sampson
/// distance below 0.35 of that to the homography; the second keeps a wobble, which any matrix fits along one direction,
/// from passing as depth. Where more than half of them prefer it, "B2.sampson_median", "_p95" give the residual
/// instead.
class RigidResidual {
 public:
  void add(const CameraTracker& camera);
  Findings finish();

 private:
  struct Life {
    std::vector<std::int64_t> frame;
    std::vector<double> x, y, weight;
    int num_background = 0;
    bool seen = false;
  };
  struct Still {
    std::vector<Feature> features;
    Matrix3 to_first;
  };
  void close(Life& life);
  void gaps(const CameraTracker& camera);
  void depth(std::span<Pair> pairs, const Matrix3& homography, double width, double height, std::uint64_t seed);

  static constexpr std::array<std::size_t, 5> gap_{1, 2, 4, 8, 16};
  std::map<std::int64_t, Life> lives_;
  std::deque<Still> recent_;                      ///< the last 17 frames
  std::vector<double> time_s_, square_, weight_;  ///< per frame: weighted sums of the high-passed squares
  std::array<std::vector<double>, 5> median_, p95_;
  std::vector<double> drift_, sampson_median_, sampson_p95_;
  int num_depth_ = 0, num_tested_ = 0, num_lives_ = 0;
  std::map<std::int64_t, double> kept_;  ///< kept_power by number of samples
};

/// B4: boiling texture. "B4.boil": standard deviation over time of a pixel of the background's texture, in levels of
/// luma on the picture reduced by `CameraTracker::factor()`: pieces of 4.5 x 4.5 px around the tracked corners, each
/// moved with its corner, against the piece's mean of some 16 frames, brightness and contrast matched. Camera motion,
/// wobble and flicker are thus gone. Per frame the median over corners of the variance, minus the median over flat
/// pieces ("B4.noise", codec and sensor); then the mean over frames. Noise that is independent from pixel to pixel
/// comes back as its standard deviation; coarser or slower boiling is also seen, but that of seconds is not. Floor: 0
/// while the camera stands, below 0.5 levels for smooth texture in motion, but 2 to 4 levels for edges as hard as a
/// pixel (drawn worlds), whose bytes truly change as they pass over the grid.
class TextureBoil {
 public:
  void add(const CameraTracker& camera);
  Findings finish() const;

 private:
  std::vector<double> time_s_, texture_, flat_;
};

/// B6: warping error (Lai et al. 2018): mean over pixels of M ||I_t - W(I_t+1, f)||^2 over RGB in [0, 1], mean over
/// pairs; M leaves out occlusions |f + W(b)|^2 > 0.01 (|f|^2 + |W(b)|^2) + 0.5 and motion edges |grad f|^2 > 0.01 |f|^2
/// + 0.002. Flow: OpenCV's DIS, preset "ultrafast", both ways, on the picture reduced as above, and by two more if that
/// leaves more than 120000 pixels (720p: 320 x 180); lengths in the masks are pixels of it. "B6.warp", and
/// "B6.warp_reversed" for the pair taken backwards. Not comparable with published values, which rest on other flows and
/// sizes. Pairs with fewer than 1 % of the pixels left give no value.
class WarpingError {
 public:
  WarpingError();
  ~WarpingError();
  WarpingError(WarpingError&&) noexcept;
  WarpingError& operator=(WarpingError&&) noexcept;
  /// `rgb`: the reduced frame as 8-bit [h, w, 3], from `reduced_rgb`.
  void add(std::span<const std::uint8_t> rgb, int height_px, int width_px, double time_s);
  Findings finish() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// All of the above and B5, B7 (flicker.hpp) over one shot. Call `add` after the camera has taken the frame.
class Wobble {
 public:
  /// Throws Error (bug) when `camera` is not at this frame.
  void add(const Frame& frame, const CameraTracker& camera);
  /// Metrics and traces of the shot; whatever cannot be measured is there with its refusal.
  Findings finish(const CameraTracker& camera);

 private:
  RigidResidual rigid_;
  TextureBoil boil_;
  WarpingError warping_;
  Flicker flicker_;
};

}  // namespace reel::metrics
