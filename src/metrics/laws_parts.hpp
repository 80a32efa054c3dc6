#pragma once
// What the laws share. Not for use outside of them.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <utility>

#include "metrics/laws.hpp"

namespace reel::metrics::parts {

/// `pattern` with a number. A number that is not finite is refused.
inline Metric with(Metric pattern, const std::string& object, double value, double sigma, std::int64_t n,
                   const std::string& which = {}) {
  pattern.object = object;
  pattern.value = value;
  pattern.sigma = std::isfinite(sigma) ? sigma : nan;
  pattern.n = n;
  if (!which.empty()) pattern.name += ", " + which;
  return std::isfinite(value) ? pattern : refused(pattern, "the fit gives no finite number");
}

inline Metric without(Metric pattern, const std::string& object, const std::string& reason,
                      const std::string& which = {}) {
  pattern.object = object;
  if (!which.empty()) pattern.name += ", " + which;
  return refused(std::move(pattern), reason);
}

inline void refuse(Findings& f, std::initializer_list<Metric> patterns, const std::string& object,
                   const std::string& reason, const std::string& which = {}) {
  for (const Metric& p : patterns) f.metrics.push_back(without(p, object, reason, which));
}

/// Why no law of motion can be judged on track i; "" when they can.
inline std::string excuse(const Scene& scene, std::size_t i) {
  const Motion& m = scene.motions[i];
  return !m.refusal.empty() ? m.refusal : m.still ? "object stands still" : "";
}

/// The same for falls and straight motion.
inline std::string excuse_of_swings(const Scene& scene, std::size_t i) {
  const std::string reason = excuse(scene, i);
  return reason.empty() && scene.swings[i] ? "it swings: judged as a pendulum" : reason;
}

inline std::string no_tracks(const Scene& scene) { return scene.input.tracks.empty() ? "no object was followed" : ""; }

/// First frame that shows what happened at a moment.
inline std::int64_t frame_at(const Track& track, double time_s) {
  return std::lower_bound(track.time_s.begin(), track.time_s.end(), time_s) - track.time_s.begin();
}

inline double acceleration(const Polynomial& p) { return 2 * p.c[2]; }
inline double acceleration_sigma(const Polynomial& p) { return 2 * std::sqrt(p.covariance[8]); }

inline std::string frames_of(const Run& run) {
  return fmt::format("frames {} to {}", run.frames.front(), run.frames.back());
}

}  // namespace reel::metrics::parts
