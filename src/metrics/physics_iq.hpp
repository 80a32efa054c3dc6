#pragma once
// Physics-IQ (Motamed et al., arXiv 2501.09038) for one film and the real event it should show: where, when and how
// much something moves, the pixels, and the two scores built on them. The recipe of the masks and the arithmetic are
// those of google-deepmind/physics-IQ-benchmark. Not reproduced: there, films and masks pass through lossy video files
// between the steps, and odd sizes lose a row or a column; published numbers cannot be promised digit for digit.
#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/frames.hpp"
#include "metrics/metric.hpp"

namespace reel::metrics {

/// Motion masks of a film, one frame after the other. Grey (BT.601, 15-bit fixed point) -> 5 x 5 binomial blur,
/// rounded half up -> running mean B <- 0.7 B + 0.3 I in double, from the first frame, updated before it is compared ->
/// |I - B| > 10 with B rounded to a level, half to even -> opened, then closed with a box of 5 x 5. Borders: mirrored
/// without the edge for the blur, ignored for the box. The masks are those of OpenCV's 8-bit functions.
class MotionMasks {
 public:
  /// Mask [H, W] of the next frame: 1 where something moves; all 0 for the first. Valid until the next call. Throws
  /// Error (Exit::input) when the frame's size is not that of the first.
  const std::vector<std::uint8_t>& next(const Frame& frame);

 private:
  std::int64_t height_ = 0, width_ = 0;
  std::vector<std::uint8_t> grey_, mask_, box_;
  std::vector<int> rows_;
  std::vector<double> background_;
};

/// Overlap of two films of masks, added frame by frame. Two empty masks agree: 1.
class MaskOverlap {
 public:
  /// Masks of one size in every call, 0 or not. Throws Error (bug) otherwise.
  void add(std::span<const std::uint8_t> a, std::span<const std::uint8_t> b);

  std::int64_t num_frames() const noexcept { return static_cast<std::int64_t>(per_frame_.size()); }
  /// Frames in which neither moves: they count as full agreement.
  std::int64_t num_still() const noexcept { return num_still_; }
  /// Overlap of each frame.
  const std::vector<double>& per_frame() const noexcept { return per_frame_; }
  /// Of the pixels that move at any time.
  double spatial() const;
  /// Mean over frames of each frame's overlap.
  double spatiotemporal() const;
  /// Of the shares of time that pixels move: sum of the smaller over sum of the larger.
  double weighted_spatial() const;

 private:
  std::vector<std::uint32_t> count_a_, count_b_;  // frames in which each pixel moves
  std::vector<double> per_frame_;
  std::int64_t num_still_ = 0;
};

/// An 8-bit picture [H, W, C] at another size, bilinear between the centres of pixels, edges repeated, no prefilter; in
/// fixed point with the roundings of OpenCV's INTER_LINEAR (weights of 11 bits), within one level of the exact value.
std::vector<std::uint8_t> resample_linear(std::span<const std::uint8_t> picture, std::int64_t height_px,
                                          std::int64_t width_px, std::int64_t channels, std::int64_t to_height_px,
                                          std::int64_t to_width_px);

/// A film at another frame rate as Physics-IQ makes it: the first `seconds`; frame j of the n new ones is the mixture
/// of its neighbours at j (m - 1) / (n - 1) among the m old ones, in float, cut to whole levels. First and last frames
/// are kept, so that time is stretched by up to one frame. m = floor(s * from_fps), n = floor(s * to_fps), s the
/// smaller of `seconds` and the film's length. Reads `source` once to count its frames; it must outlive this.
class BlendedFrames final : public FrameSource {
 public:
  /// Throws Error (Exit::input) for rates that are not above 0 or a film that leaves no frame.
  BlendedFrames(FrameSource& source, double from_fps, double to_fps, double seconds = 5);
  bool next(Frame& frame) override;
  void rewind() override;
  std::string name() const override { return source_.name(); }

 private:
  FrameSource& source_;
  double to_fps_;
  std::int64_t num_old_ = 0, num_new_ = 0, at_ = 0, read_ = 0;
  Frame before_, after_;  // old frames read_ - 2 and read_ - 1
};

/// The four numbers of one pair of films.
struct PhysicsIqNumbers {
  double spatial = nan, spatiotemporal = nan, weighted_spatial = nan;  ///< overlaps, 0 to 1
  double mse = nan;                                                    ///< RGB in [0, 1], mean over frames
};

struct PhysicsIq {
  PhysicsIqNumbers numbers;
  std::int64_t num_still = 0;        ///< frames in which neither film moves
  std::vector<double> time_s;        ///< of the reference
  std::vector<double> overlap, mse;  ///< per frame
};

struct PhysicsIqOptions {
  bool quarter = false;            ///< masks and pictures at a quarter of the reference's size, as published
  bool up_to_the_shorter = false;  ///< films of different length: compare the frames that both have
};

/// Compares a film with a take of the real event. Memory does not grow with the films. With `quarter` the film may
/// have any size; a mask is then set where at least half of it is. Throws Error (Exit::input) with both sizes when
/// they differ otherwise, for films of different length, without frames, or (quarter) below 4 pixels.
PhysicsIq physics_iq(FrameSource& film, FrameSource& reference, const PhysicsIqOptions& options = {});

/// One view of one scenario: the film against take 1, and take 2 against take 1, the normaliser.
struct PhysicsIqTakes {
  PhysicsIqNumbers film, takes;
};

/// Score of the original board before it is cut to 0 ... 1: with means over all views,
/// (ST / ST* + SP / SP* + WS / WS*) / 3 - (MSE - MSE*). NaN when there are no views, a number is missing or a
/// normaliser is 0. The published script rounds to four digits on the way; this does not.
double physics_iq_raw(std::span<const PhysicsIqTakes> views);

/// 100 times `physics_iq_raw` cut to 0 ... 1.
double physics_iq_score(std::span<const PhysicsIqTakes> views);

/// Score of the Verified set, 0 ... 100: mean over views of the mean of SP / SP*, ST / ST*, WS / WS* and MSE* / MSE,
/// each cut to 0 ... 1, with 1e-8 added to every normaliser. NaN when there are no views or a number is missing.
double physics_iq_verified(std::span<const PhysicsIqTakes> views);

/// Metrics "IQ.spatial", "IQ.spatiotemporal", "IQ.weighted_spatial", "IQ.mse" and "IQ.still", the share of frames in
/// which neither film moves: each of them counts as full agreement, so a frozen film of a still event looks perfect.
Findings physics_iq_findings(const PhysicsIq& result);

/// Metrics "IQ.score" (original) and "IQ.score_verified".
Findings physics_iq_score_findings(std::span<const PhysicsIqTakes> views);

}  // namespace reel::metrics
