#include "metrics/track.hpp"

#include <cmath>
#include <span>

#include "core/error.hpp"
#include "metrics/fit.hpp"

namespace reel::metrics {

double position_sigma_px(const Track& track) {
  constexpr std::size_t length = 7;
  const std::size_t n = track.time_s.size();
  REEL_CHECK(track.x_px.size() == n && track.y_px.size() == n, "track {}: {} times, {} and {} positions", track.name, n,
             track.x_px.size(), track.y_px.size());
  double sum = 0;
  int count = 0;
  for (std::size_t i = 0; i + length <= n; ++i) {
    bool seen = true;
    for (std::size_t j = i; j < i + length; ++j)
      seen = seen && std::isfinite(track.x_px[j]) && std::isfinite(track.y_px[j]);
    if (!seen) continue;
    const std::span t(track.time_s.data() + i, length);
    for (const std::vector<double>* axis : {&track.x_px, &track.y_px}) {
      const double rms = fit_polynomial(t, std::span(axis->data() + i, length), 2).rms;
      sum += rms * rms;
      ++count;
    }
  }
  return count > 0 ? std::sqrt(sum / count) : nan;
}

}  // namespace reel::metrics
