#pragma once
// Where one thing was seen, frame by frame, with how sure we are. Made by detection and association, or by a world's
// truth; read by every law.
#include <cstdint>
#include <string>
#include <vector>

#include "metrics/metric.hpp"

namespace reel::metrics {

/// Positions in pixels, x to the right, y down, the centre of the first pixel is (0.5, 0.5). All vectors have one
/// entry for every frame of the shot; NaN where the thing is not seen.
struct Track {
  std::string name;                      ///< colour of a world's object, or "1", "2", ...
  std::vector<double> time_s;            ///< of every frame of the shot
  std::vector<double> x_px, y_px;        ///< weighted centroid in the picture
  std::vector<double> area_px;           ///< weighted area (sum of the shares)
  std::vector<double> major_px, minor_px;  ///< standard deviations along the main axes, from second moments
  std::vector<std::uint8_t> whole;       ///< 1 where it is wholly inside the frame and not hidden
  double sigma_px = nan;                 ///< of one coordinate: residual of local quadratics over 7 frames

  std::int64_t num_frames() const noexcept { return static_cast<std::int64_t>(time_s.size()); }
};

/// `sigma_px` of positions: every run of 7 seen frames gets a least-squares quadratic in time per coordinate; the root
/// of the mean squared residual, corrected for the 3 parameters of 7 points. NaN when no such run exists.
double position_sigma_px(const Track& track);

/// What is known about lengths, from a person or from a world's truth.
struct Scale {
  double m_per_px = nan;
  double sigma = 0;  ///< relative, one standard deviation: 0.06 for a person's height guessed from 1.70 +- 0.10 m
  bool known() const noexcept { return m_per_px > 0; }
};

}  // namespace reel::metrics
