#include <algorithm>
#include <cmath>
#include <numbers>

#include "metrics/fit.hpp"
#include "metrics/jitter.hpp"
#include "metrics/wobble.hpp"

namespace reel::metrics {
namespace {

/// Share of bins 1 to 5 in all bins from 1 below the Nyquist rate; NaN when nothing changes.
double low_share(const std::vector<double>& y) {
  const std::size_t n = y.size();
  double mean = 0;
  for (double v : y) mean += v / static_cast<double>(n);
  const auto power = [&](std::size_t k) {
    double re = 0, im = 0;
    for (std::size_t i = 0; i < n; ++i) {
      const double angle = 2 * std::numbers::pi * static_cast<double>(k * i % n) / static_cast<double>(n);
      re += (y[i] - mean) * std::cos(angle), im += (y[i] - mean) * std::sin(angle);
    }
    return re * re + im * im;
  };
  double all = 0, low = 0;  // all: Parseval, less the Nyquist bin of an even length, by half for one side
  for (double v : y) all += (v - mean) * (v - mean);
  all = 0.5 * (static_cast<double>(n) * all - (n % 2 ? 0 : power(n / 2)));
  for (std::size_t k = 1; k <= 5 && 2 * k < n; ++k) low += power(k);
  return all > 1e-12 * static_cast<double>(n) ? low / all : nan;
}

std::string refusal(const CameraPath& path) {
  if (path.num_frames() < 12 || path.time_s.back() - path.time_s.front() < 0.5)
    return "fewer than 12 frames or less than half a second";
  if (!path.usable())
    return fmt::format("camera unknown in {} of {} steps: {}", path.num_uncalibrated, path.num_steps(), path.reason);
  if (10 * path.num_assumed_still > path.num_steps()) return path.reason;
  return {};
}

}  // namespace

Findings path_jitter(const CameraPath& path) {
  Findings out;
  const std::string why = refusal(path);
  const auto n = path.num_steps() - path.num_uncalibrated;
  double noise = 0;
  int num_noise = 0;
  for (const double s : path.noise_px)
    if (std::isfinite(s)) noise += s * s, ++num_noise;
  noise = num_noise > 0 ? std::sqrt(noise / num_noise) : nan;
  const auto add = [&](std::string id, std::string name, std::string unit, double value, double sigma = nan) {
    Metric m{std::move(id), std::move(name), std::move(unit), Aspect::stability, Better::lower, value, sigma, n};
    if (!why.empty())
      m = refused(m, why);
    else if (!std::isfinite(value))
      m = refused(m, "frame rate too low");
    out.metrics.push_back(std::move(m));
  };
  Jitter x, y, theta, scale;
  if (why.empty()) {
    x = jitter(path.time_s, path.x_px), y = jitter(path.time_s, path.y_px);
    theta = jitter(path.time_s, path.theta_rad), scale = jitter(path.time_s, path.log_scale);
  }
  const double height = static_cast<double>(path.height_px), shift = std::hypot(x.rms, y.rms);
  add("B1.shift", "camera jitter above 1 Hz, root mean square", "px", shift, noise);
  add("B1.shift_share", "camera jitter above 1 Hz, of the picture's height", "%", 100 * shift / height,
      100 * noise / height);
  add("B1.shift_x", "camera jitter across", "px", x.rms, noise);
  add("B1.shift_y", "camera jitter down", "px", y.rms, noise);
  const std::array<const char*, 3> bands{"1_3hz", "3_8hz", "8hz_up"}, words{"1 to 3 Hz", "3 to 8 Hz", "8 Hz and up"};
  for (std::size_t b = 0; b < 3; ++b)
    add(fmt::format("B1.shift_{}", bands[b]), fmt::format("camera jitter, {}", words[b]), "px",
        std::hypot(x.band[b], y.band[b]));
  add("B1.turn", "camera roll above 1 Hz", "mrad", 1e3 * theta.rms);
  add("B1.scale", "camera scale above 1 Hz", "%", 100 * scale.rms);
  add("B3.background", "breathing of the background above 1 Hz", "%", 100 * scale.rms);

  std::vector<double> shifts(path.to_first.size()), turns(path.to_first.size());
  for (std::size_t i = 0; i < shifts.size(); ++i) {
    Matrix3 m = inverse(path.to_first[i]);
    for (double& e : m) e /= m[8];
    shifts[i] = std::sqrt(m[2] * m[2] + m[5] * m[5]);
    turns[i] = std::atan2(m[0], m[4]);
  }
  for (const auto& [id, name, signal] :
       {std::tuple{"B1.compat_stability_shift", "stability score, shift", &shifts},
        std::tuple{"B1.compat_stability_turn", "stability score, \"rotation\"", &turns}}) {
    Metric m{id, name, "1", Aspect::stability, Better::higher, why.empty() ? low_share(*signal) : nan, nan, n};
    if (!std::isfinite(m.value))
      m = refused(m, why.empty() ? "the score of a path that does not change is 0 / 0" : why);
    out.metrics.push_back(std::move(m));
  }
  if (why.empty()) {
    std::vector<double> both(x.residual.size()), percent = scale.residual;
    for (std::size_t i = 0; i < both.size(); ++i) both[i] = std::hypot(x.residual[i], y.residual[i]);
    for (double& s : percent) s *= 100;
    out.traces.push_back(traced("B1.shift", "camera jitter within a quarter of a second", "px", path.time_s,
                                running_rms(path.time_s, both)));
    out.traces.push_back(traced("B3.background", "breathing within a quarter of a second", "%", path.time_s,
                                running_rms(path.time_s, percent)));
  }
  return out;
}

}  // namespace reel::metrics
