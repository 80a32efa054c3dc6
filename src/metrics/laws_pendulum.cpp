// P1: a damped sinusoid.
#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include "core/error.hpp"
#include "metrics/laws_parts.hpp"

namespace reel::metrics {
namespace {

const Metric p1_period{"P1.period", "period of the swing", "s", Aspect::parameter, Better::none};
const Metric p1_amplitude{"P1.amplitude", "amplitude in x", "px", Aspect::description, Better::none};
const Metric p1_r2{"P1.r2", "share of the motion that a damped sinusoid explains", "1", Aspect::form, Better::one};
const Metric p1_beta{"P1.beta", "damping; below 0 it gains energy", "s-1", Aspect::stability, Better::none};
const Metric p1_ratio{"P1.period_ratio", "period of the second over that of the first", "1", Aspect::parameter,
                      Better::none};

}  // namespace

Swing fit_swing(std::span<const double> times, std::span<const double> theta) {
  REEL_CHECK(times.size() == theta.size(), "{} times, {} values", times.size(), theta.size());
  Swing swing;
  std::vector<double> t, y, steps;
  for (std::size_t i = 0; i < times.size(); ++i)
    if (std::isfinite(times[i]) && std::isfinite(theta[i])) t.push_back(times[i]), y.push_back(theta[i]);
  const std::size_t n = t.size();
  if (n < 10) {
    swing.refusal = fmt::format("{} samples, 10 are needed", n);
    return swing;
  }
  double mean = 0, total = 0;
  for (double v : y) mean += v / static_cast<double>(n);
  for (double v : y) total += (v - mean) * (v - mean);
  for (std::size_t i = 1; i < n; ++i) steps.push_back(t[i] - t[i - 1]);
  const double length = t[n - 1] - t[0], middle = 0.5 * (t[0] + t[n - 1]), nyquist = std::numbers::pi / median(steps);
  const auto [lowest, highest] = std::minmax_element(y.begin(), y.end());
  if (!(*highest > *lowest) || !(length > 0) || !(median(steps) > 0)) {
    swing.refusal = "does not move";
    return swing;
  }
  // Times from the middle: there the envelope is 1, however strong the damping.
  std::vector<double> design(3 * n);
  const auto linear = [&](double w, double beta) {
    for (std::size_t i = 0; i < n; ++i) {
      const double u = t[i] - middle, e = std::exp(-beta * u);
      design[3 * i] = 1, design[3 * i + 1] = e * std::cos(w * u), design[3 * i + 2] = e * std::sin(w * u);
    }
    return fit_linear(design, 3, y);
  };
  const double low_w = std::numbers::pi / length, high_w = 0.9 * nyquist, step = 0.2 * std::numbers::pi / length;
  std::vector<std::array<double, 2>> valleys;  // sse and w of local minima
  double before = std::numeric_limits<double>::infinity(), last = before;
  for (double w = low_w; w <= high_w + step; w += step) {
    const double sse = w <= high_w ? linear(w, 0).sse : std::numeric_limits<double>::infinity();
    if (last <= before && last < sse) valleys.push_back({last, w - step});
    before = last, last = sse;
  }
  std::sort(valleys.begin(), valleys.end());
  if (valleys.size() > 4) valleys.resize(4);
  const Model model = [&](std::size_t i, std::span<const double> p, std::span<double> d) {
    const double u = t[i] - middle, e = std::exp(-p[4] * u), c = e * std::cos(p[3] * u), s = e * std::sin(p[3] * u);
    d[0] = 1, d[1] = c, d[2] = s;
    d[3] = u * (p[2] * c - p[1] * s);
    d[4] = -u * (p[1] * c + p[2] * s);
    return p[0] + p[1] * c + p[2] * s;
  };
  constexpr double far = 1e12;
  const std::array<double, 5> low{-far, -far, -far, 0.5 * low_w, -20 / length},
      high{far, far, far, nyquist, 20 / length};
  Curve best;
  best.sse = std::numeric_limits<double>::infinity();
  for (const auto& valley : valleys)
    for (const double beta : {-3.0, 0.0, 3.0, 8.0}) {
      const Linear start = linear(valley[1], beta / length);
      Curve curve = fit_curve(model, y, {start.c[0], start.c[1], start.c[2], valley[1], beta / length}, low, high);
      if (curve.sse < best.sse) best = std::move(curve);
    }
  if (best.p.empty()) {
    swing.refusal = "no frequency fits better than its neighbours";
    return swing;
  }
  const auto sigma = [&](std::size_t k) { return best.rms * std::sqrt(best.unit_covariance[6 * k]); };
  const double w = best.p[3], beta = best.p[4], size = std::hypot(best.p[1], best.p[2]);
  swing.center = best.p[0];
  swing.period_s = 2 * std::numbers::pi / w;
  swing.period_sigma_s = swing.period_s * sigma(3) / w;
  swing.beta_per_s = beta;
  swing.beta_sigma_per_s = sigma(4);
  const double z = beta * length;  // mean of exp(-2 beta u) over +-length / 2
  const double envelope = std::abs(z) > 1e-6 ? std::sqrt(std::sinh(z) / z) : 1;
  swing.amplitude = size * envelope;
  swing.amplitude_sigma = envelope * std::hypot(best.p[1] * sigma(1), best.p[2] * sigma(2)) / size;
  swing.r2 = 1 - best.sse / total;
  swing.rms = best.rms;
  swing.num_periods = length / swing.period_s;
  return swing;
}

Findings pendulum(const Scene& scene) {
  Findings out;
  if (scene.input.tracks.empty())
    parts::refuse(out, {p1_period, p1_amplitude, p1_r2, p1_beta}, "", parts::no_tracks(scene));
  std::vector<std::size_t> swinging;
  for (std::size_t i = 0; i < scene.input.tracks.size(); ++i) {
    const std::string reason = parts::excuse(scene, i), &name = scene.input.tracks[i].name;
    if (!reason.empty() || !scene.swings[i]) {
      parts::refuse(out, {p1_period, p1_amplitude, p1_r2, p1_beta}, name,
                    reason.empty() ? "does not swing to and fro for 1.25 periods" : reason);
      continue;
    }
    const Swing& s = *scene.swings[i];
    std::int64_t n = 0;
    for (const Run& run : scene.motions[i].runs) n += static_cast<std::int64_t>(run.frames.size());
    out.metrics.push_back(parts::with(p1_period, name, s.period_s, s.period_sigma_s, n));
    out.metrics.push_back(parts::with(p1_amplitude, name, s.amplitude, s.amplitude_sigma, n));
    out.metrics.push_back(parts::with(p1_r2, name, s.r2, nan, n));
    out.metrics.push_back(parts::with(p1_beta, name, s.beta_per_s, s.beta_sigma_per_s, n));
    for (std::size_t j : swinging) {
      const Swing& first = *scene.swings[j];
      const double ratio = s.period_s / first.period_s;
      out.metrics.push_back(
          parts::with(p1_ratio, fmt::format("{}, {}", scene.input.tracks[j].name, name), ratio,
                      ratio * std::hypot(s.period_sigma_s / s.period_s, first.period_sigma_s / first.period_s), n));
    }
    swinging.push_back(i);
  }
  if (swinging.size() < 2) parts::refuse(out, {p1_ratio}, "", "fewer than two objects swing");
  return out;
}

}  // namespace reel::metrics
