// What a film of PhyWorld's balls is to be compared with: a still picture, and the exact law.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <utility>

#include "core/error.hpp"
#include "metrics/phyworld.hpp"

namespace reel::metrics {
namespace {

struct Vector {
  double x = 0, y = 0;
};
Vector operator+(Vector a, Vector b) { return {a.x + b.x, a.y + b.y}; }
Vector operator-(Vector a, Vector b) { return {a.x - b.x, a.y - b.y}; }
Vector operator*(double s, Vector a) { return {s * a.x, s * a.y}; }
double dot(Vector a, Vector b) { return a.x * b.x + a.y * b.y; }

/// The given frames, and after them the size of the last one.
Track continued(const Track& track, std::int64_t num_given) {
  const std::size_t n = track.time_s.size();
  if (track.x_px.size() != n || track.y_px.size() != n)
    throw Error(Exit::input, fmt::format("track {} has {} times and {} positions", track.name, n, track.x_px.size()));
  if (num_given < 1 || num_given > static_cast<std::int64_t>(n))
    throw Error(Exit::input, fmt::format("{} of {} frames of track {} are given", num_given, n, track.name), {},
                "give at least one frame");
  Track out = track;
  const auto last = static_cast<std::size_t>(num_given - 1);
  for (std::vector<double>* size : {&out.area_px, &out.major_px, &out.minor_px})
    for (std::size_t t = last + 1; t < size->size(); ++t) (*size)[t] = (*size)[last];
  return out;
}

/// Where a body is at t = 0 and how fast, from the given frames.
struct Motion {
  Vector at, velocity;
};

Motion fit(const Track& track, std::int64_t num_given, double dt_s, Vector acceleration) {
  if (!(dt_s > 0)) throw Error(Exit::input, fmt::format("a step of {} s", dt_s), {}, "the step is above 0");
  double n = 0, mean_t = 0;
  Vector mean;
  const auto at = [&](std::size_t i) {  // the position without what the acceleration adds
    const double t = static_cast<double>(i) * dt_s;
    return Vector{track.x_px[i], track.y_px[i]} - (t * t / 2) * acceleration;
  };
  const auto seen = [&](std::size_t i) { return std::isfinite(track.x_px[i]) && std::isfinite(track.y_px[i]); };
  const auto end = static_cast<std::size_t>(num_given);
  for (std::size_t i = 0; i < end; ++i)
    if (seen(i)) ++n, mean_t += static_cast<double>(i) * dt_s, mean = mean + at(i);
  if (n < 2)
    throw Error(Exit::input, fmt::format("{} given frames of track {} show it: no velocity", n, track.name), {},
                "give at least two frames");
  mean_t /= n;
  mean = (1 / n) * mean;
  double spread = 0;
  Vector sum;
  for (std::size_t i = 0; i < end; ++i) {
    const double t = static_cast<double>(i) * dt_s - mean_t;
    if (seen(i)) spread += t * t, sum = sum + t * (at(i) - mean);
  }
  const Vector velocity = (1 / spread) * sum;
  return {mean - mean_t * velocity, velocity};
}

void place(Track& track, std::size_t frame, Vector at) {
  track.x_px[frame] = at.x;
  track.y_px[frame] = at.y;
}

/// Time at which two balls that move uniformly touch, not before `from_s`; infinity when they never do.
double time_of_impact(Vector apart, Vector relative_velocity, double distance, double from_s) {
  const Vector now = apart + from_s * relative_velocity;
  const double approach = dot(now, relative_velocity), speed2 = dot(relative_velocity, relative_velocity);
  const double gap2 = dot(now, now) - distance * distance;
  if (approach >= 0) return INFINITY;  // they part
  if (gap2 <= 0) return from_s;        // they touch already
  const double discriminant = approach * approach - speed2 * gap2;
  return discriminant < 0 ? INFINITY : from_s + gap2 / (-approach + std::sqrt(discriminant));
}

}  // namespace

Track phyworld_copy_last(const Track& track, std::int64_t num_given) {
  Track out = continued(track, num_given);
  const auto last = static_cast<std::size_t>(num_given - 1);
  for (std::size_t t = last + 1; t < out.time_s.size(); ++t) place(out, t, {track.x_px[last], track.y_px[last]});
  return out;
}

Track phyworld_extrapolate(const Track& track, std::int64_t num_given, double dt_s,
                           std::array<double, 2> acceleration_px_per_s2) {
  Track out = continued(track, num_given);
  const Vector acceleration{acceleration_px_per_s2[0], acceleration_px_per_s2[1]};
  const Motion motion = fit(track, num_given, dt_s, acceleration);
  for (auto i = static_cast<std::size_t>(num_given); i < out.time_s.size(); ++i) {
    const double t = static_cast<double>(i) * dt_s;
    place(out, i, motion.at + t * motion.velocity + (t * t / 2) * acceleration);
  }
  return out;
}

std::array<Track, 2> phyworld_extrapolate_impact(const std::array<Track, 2>& tracks, std::int64_t num_given,
                                                 double dt_s, std::array<double, 2> radius_px,
                                                 std::array<double, 2> mass) {
  if (!(radius_px[0] > 0 && radius_px[1] > 0 && mass[0] > 0 && mass[1] > 0))
    throw Error(Exit::input,
                fmt::format("radii {} and {} px, masses {} and {}", radius_px[0], radius_px[1], mass[0], mass[1]), {},
                "radii and masses are above 0");
  std::array<Track, 2> out{continued(tracks[0], num_given), continued(tracks[1], num_given)};
  const Motion a = fit(tracks[0], num_given, dt_s, {}), b = fit(tracks[1], num_given, dt_s, {});
  const double impact_s = time_of_impact(b.at - a.at, b.velocity - a.velocity, radius_px[0] + radius_px[1],
                                         static_cast<double>(num_given - 1) * dt_s);
  const Motion* before[2] = {&a, &b};
  Vector touch[2], after[2];
  if (std::isfinite(impact_s)) {
    for (int k = 0; k < 2; ++k) touch[k] = before[k]->at + impact_s * before[k]->velocity;
    // Only the parts of the velocities along the line of the centres change.
    const Vector line = touch[1] - touch[0];
    const double closing = dot(a.velocity - b.velocity, line) / dot(line, line), total = mass[0] + mass[1];
    after[0] = a.velocity - (2 * mass[1] / total * closing) * line;
    after[1] = b.velocity + (2 * mass[0] / total * closing) * line;
  }
  for (std::size_t k = 0; k < 2; ++k)
    for (auto i = static_cast<std::size_t>(num_given); i < out[k].time_s.size(); ++i) {
      const double t = static_cast<double>(i) * dt_s;
      place(out[k], i, t <= impact_s ? before[k]->at + t * before[k]->velocity : touch[k] + (t - impact_s) * after[k]);
    }
  return out;
}

}  // namespace reel::metrics
