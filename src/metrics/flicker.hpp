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
/// B5: "B5.flicker", part above 1 Hz of the mean luma, in levels (a sine of amplitude a gives a / sqrt(2)).
/// "B5.block_median", "B5.block_p95": the same for blocks of 16 x 16 px of the reduced picture, median and 95th
/// percentile over blocks: a block's brightness is the sum over frames of mean(I_t - W(I_t-1)), W by the camera's step,
/// so that a moving camera does not count; blocks that W does not fill are left out of that step. Compat:
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
