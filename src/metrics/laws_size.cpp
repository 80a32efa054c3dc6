// R1 size constancy, R2 solidity.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numbers>

#include "metrics/laws_parts.hpp"

namespace reel::metrics {
namespace {

const Metric r1_cv{"R1.cv", "spread of the radius about its trend, relative", "1", Aspect::stability, Better::lower};
const Metric r1_range{"R1.range", "range of the radius about its trend, relative", "1", Aspect::stability,
                      Better::lower};
const Metric r1_growth{"R1.growth", "trend of the radius over the shot, relative", "1", Aspect::description,
                       Better::none};
const Metric r1_aspect{"R1.aspect_drift", "trend of the aspect ratio over the shot, relative", "1", Aspect::stability,
                       Better::zero};
const Metric r1_pulse{"R1.pulse", "amplitude of the strongest pulse of the radius, relative", "1", Aspect::stability,
                      Better::zero};
const Metric r1_hz{"R1.pulse_hz", "its frequency", "Hz", Aspect::stability, Better::none};
const Metric r2_px{"R2.overlap_px", "deepest overlap", "px", Aspect::stability, Better::zero};
const Metric r2_radii{"R2.overlap", "deepest overlap, in radii of the smaller", "1", Aspect::stability, Better::zero};

constexpr std::size_t least_frames = 6, least_for_pulse = 12;

/// A sinusoid on top of a quadratic trend; amplitude relative to the trend's mean.
struct Pulse {
  double hz = nan, amplitude = nan, sigma = nan, sse = std::numeric_limits<double>::infinity();
};
Pulse pulse_at(const std::vector<double>& u, const std::vector<double>& r, double hz) {
  std::vector<double> design;
  for (double t : u)
    for (double v : {1.0, t, t * t, std::cos(2 * std::numbers::pi * hz * t), std::sin(2 * std::numbers::pi * hz * t)})
      design.push_back(v);
  const Linear fit = fit_linear(design, 5, r);
  Pulse p;
  p.hz = hz, p.sse = fit.sse;
  double level = 0;
  for (double t : u) level += (fit.c[0] + fit.c[1] * t + fit.c[2] * t * t) / static_cast<double>(u.size());
  p.amplitude = std::hypot(fit.c[3], fit.c[4]) / level;
  p.sigma = std::sqrt(0.5 * (fit.covariance[18] + fit.covariance[24])) / level;
  return p;
}

/// The strongest pulse between 1.5 periods within the samples and 0.9 of the Nyquist rate.
Pulse strongest_pulse(const std::vector<double>& u, const std::vector<double>& r, double frame_s) {
  const double length = u.back() - u.front(), low = 1.5 / length, high = 0.45 / frame_s, step = 0.125 / length;
  Pulse best;
  for (double hz = low; hz <= high; hz += step) {
    const Pulse p = pulse_at(u, r, hz);
    if (p.sse < best.sse) best = p;
  }
  if (!std::isfinite(best.hz)) return best;
  double a = std::max(low, best.hz - step), b = std::min(high, best.hz + step);
  for (int i = 0; i < 40; ++i) {
    const double c = a + (b - a) / 3, d = b - (b - a) / 3;
    const Pulse pc = pulse_at(u, r, c), pd = pulse_at(u, r, d);
    (pc.sse < pd.sse ? b : a) = pc.sse < pd.sse ? d : c;
    if (pc.sse < best.sse) best = pc;
    if (pd.sse < best.sse) best = pd;
  }
  return best;
}

}  // namespace

Findings size_constancy(const Scene& scene) {
  Findings out;
  if (scene.input.tracks.empty())
    parts::refuse(out, {r1_cv, r1_range, r1_growth, r1_aspect, r1_pulse, r1_hz}, "", parts::no_tracks(scene));
  for (const Track& track : scene.input.tracks) {
    std::vector<double> t, r, aspect_t, aspect, steps;
    for (std::size_t f = 0; f < track.time_s.size(); ++f) {
      if (f > 0) steps.push_back(track.time_s[f] - track.time_s[f - 1]);
      if (!track.whole[f] || !(track.area_px[f] > 0)) continue;
      t.push_back(track.time_s[f]);
      r.push_back(std::sqrt(track.area_px[f] / std::numbers::pi));
      const double ratio = track.major_px[f] / track.minor_px[f];
      if (std::isfinite(ratio)) aspect_t.push_back(track.time_s[f]), aspect.push_back(ratio);
    }
    if (r.size() < least_frames) {
      parts::refuse(out, {r1_cv, r1_range, r1_growth, r1_aspect, r1_pulse, r1_hz}, track.name,
                    fmt::format("its size is known in {} frames, {} are needed", r.size(), least_frames));
      continue;
    }
    const auto n = static_cast<std::int64_t>(r.size());
    const double mean = [&] {
      double sum = 0;
      for (double v : r) sum += v;
      return sum / static_cast<double>(n);
    }();
    const double middle = 0.5 * (t.front() + t.back());
    std::vector<double> u, rest;
    for (double s : t) u.push_back(s - middle);
    const Polynomial trend = fit_polynomial(u, r, 2);
    for (std::size_t i = 0; i < u.size(); ++i) rest.push_back(r[i] - trend.at(u[i]));
    const auto [low, high] = std::minmax_element(rest.begin(), rest.end());
    const auto give = [&](const Metric& m, double value, double sigma = nan) {
      out.metrics.push_back(parts::with(m, track.name, value, sigma, n));
    };
    give(r1_cv, trend.rms / mean, trend.rms / mean / std::sqrt(2 * static_cast<double>(n - 3)));
    give(r1_range, (*high - *low) / median(r));
    const double half = u.back();
    give(r1_growth, (trend.at(half) - trend.at(-half)) / mean, 2 * half * std::sqrt(trend.covariance[4]) / mean);
    if (aspect.size() < least_frames) {
      parts::refuse(out, {r1_aspect}, track.name, "its axes are not known");
    } else {
      const auto line = slope(aspect_t, aspect);
      const double factor = (aspect_t.back() - aspect_t.front()) / median(aspect);
      give(r1_aspect, factor * line[0], factor * line[1]);
    }
    if (r.size() < least_for_pulse) {
      parts::refuse(out, {r1_pulse, r1_hz}, track.name, fmt::format("fewer than {} frames", least_for_pulse));
      continue;
    }
    const Pulse p = strongest_pulse(u, r, median(steps));
    give(r1_pulse, p.amplitude, p.sigma);
    // Gain of three more parameters: F above 12 does not happen by chance, whichever frequency is picked.
    const double without = trend.rms * trend.rms * static_cast<double>(n - 3);
    const double floor = 1e-20 * mean * mean * static_cast<double>(n);
    const bool clear =
        without > floor && (without - p.sse) / 3 > 12 * std::max(p.sse, floor) / static_cast<double>(n - 6);
    if (clear)
      give(r1_hz, p.hz);
    else
      parts::refuse(out, {r1_hz}, track.name, "no pulse stands out");
  }
  return out;
}

Findings solidity(const Scene& scene) {
  Findings out;
  const auto& tracks = scene.input.tracks;
  for (std::size_t a = 0; a < tracks.size(); ++a)
    for (std::size_t b = a + 1; b < tracks.size(); ++b) {
      const double ra = scene.motions[a].radius_px, rb = scene.motions[b].radius_px;
      const std::string pair = fmt::format("{}, {}", tracks[a].name, tracks[b].name);
      if (!std::isfinite(ra) || !std::isfinite(rb)) {
        parts::refuse(out, {r2_px, r2_radii}, pair, "a size is not known");
        continue;
      }
      double deepest = -std::numeric_limits<double>::infinity();
      std::int64_t n = 0;
      std::size_t when = 0;
      for (std::size_t f = 0; f < tracks[a].time_s.size(); ++f) {
        const double apart = std::hypot(tracks[a].x_px[f] - tracks[b].x_px[f], tracks[a].y_px[f] - tracks[b].y_px[f]);
        if (!std::isfinite(apart)) continue;
        ++n;
        if (ra + rb - apart > deepest) deepest = ra + rb - apart, when = f;
      }
      if (n == 0) {
        parts::refuse(out, {r2_px, r2_radii}, pair, "never seen in the same frame");
        continue;
      }
      const auto round = [&](const Track& t) { return !(t.major_px[when] > 1.2 * t.minor_px[when]); };
      if (deepest > 0 && (!round(tracks[a]) || !round(tracks[b]))) {
        parts::refuse(out, {r2_px, r2_radii}, pair, "they may touch, and are not round");
        continue;
      }
      const double overlap = std::max(0.0, deepest), smaller = std::min(ra, rb);
      const double sigma = std::hypot(scene.motions[a].sigma_px, scene.motions[b].sigma_px);
      out.metrics.push_back(parts::with(r2_px, pair, overlap, sigma, n));
      out.metrics.push_back(parts::with(r2_radii, pair, overlap / smaller, sigma / smaller, n));
    }
  if (out.metrics.empty())
    parts::refuse(out, {r2_px, r2_radii}, "", tracks.empty() ? parts::no_tracks(scene) : "one object alone");
  return out;
}

}  // namespace reel::metrics
