#pragma once
// Brightness that does not hold still (B5), how much there is to see and how much changes (B7).
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "metrics/camera.hpp"
#include "metrics/metric.hpp"

namespace reel::metrics {

/// B5 and B7 over one shot. Memory is bounded by two frames and, for the blocks, 256 numbers each.
///
/// B5, all in levels: a block of 16 x 16 px of the reduced picture changes its brightness by mean(I_t - W(I_t-1)), W by the
/// camera's step, so that a moving camera does not count; a block of which W fills less than 3/4 is left out of that step.
/// The sum over frames is the block's brightness, and its part above 1 Hz flickers (a sine of amplitude a gives a / sqrt(2)).
/// "B5.flicker": of the median over blocks in every frame, which is what all have in common and what an object that moves,
/// comes or goes does not touch. "B5.block_median", "B5.block_p95": of each block alone, median and 95th percentile over
/// blocks. "B5.mean_luma": part above 1 Hz of the mean luma, whatever changes it. Compat:
/// "B5.vbench_raw" = (255 - mean |I_t - I_t+1|) / 255 over all pixels and channels, mean over pairs, as VBench's
/// temporal flickering; "B5.vbench_aligned": on the reduced picture after W, so that the camera does not count. A
/// frozen film has the perfect score of 1. B7: "B7.si", "B7.ti" of ITU-T P.910: largest over time of the standard
/// deviation over the picture of the Sobel magnitude of luma (without the outermost pixels) and of the change of luma,
/// full picture.
class Flicker {
 public:
  Flicker();
  ~Flicker();
  Flicker(Flicker&&) noexcept;
  Flicker& operator=(Flicker&&) noexcept;

  /// The frame that `camera` has just taken; `small`: the same reduced by the camera's factor, from `reduced_rgb`.
  void add(const Frame& frame, const CameraTracker& camera, std::span<const std::uint8_t> small);
  Findings finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace reel::metrics
