// F1 free fall, F3 inertia sideways, F4 equal fall.
#include <algorithm>
#include <cmath>

#include "metrics/laws_parts.hpp"

namespace reel::metrics {
namespace {

using parts::acceleration;
using parts::acceleration_sigma;

const Metric f1_a{"F1.a", "acceleration", "px s-2", Aspect::parameter, Better::none};
const Metric f1_g{"F1.g_eff", "acceleration of gravity", "m s-2", Aspect::parameter, Better::none};
const Metric f1_epsilon{"F1.epsilon", "gravity over the expected one, less 1", "1", Aspect::parameter, Better::zero};
const Metric f1_tau{"F1.tau", "implied playback speed", "1", Aspect::parameter, Better::one};
const Metric f1_size{"F1.size", "implied length of the object", "m", Aspect::parameter, Better::none};
const Metric f1_r2{"F1.r2", "share of the motion that a parabola explains", "1", Aspect::form, Better::one};
const Metric f1_residual{"F1.residual", "root mean square off the parabola", "px", Aspect::form, Better::lower};
const Metric f1_misfit{"F1.misfit", "the same in units of the noise", "1", Aspect::form, Better::lower};
const Metric f1_drift{"F1.drift", "relative change of the acceleration", "1", Aspect::stability, Better::zero};
const Metric f3_ratio{"F3.ratio", "sideways over downward acceleration", "1", Aspect::parameter, Better::zero};
const Metric f4_ratio{"F4.ratio", "acceleration of the second over that of the first", "1", Aspect::parameter,
                      Better::one};
const Metric f4_deviation{"F4.deviation", "difference of two accelerations, relative", "1", Aspect::parameter,
                          Better::zero};

constexpr const char* no_flight = "no flight of at least 6 frames";

std::vector<const Run*> flights_of(const Motion& motion) {
  std::vector<const Run*> flights;
  for (const Run& run : motion.runs)
    if (run.kind == Kind::flight) flights.push_back(&run);
  return flights;
}

/// Whether a quotient by this number means anything.
bool is_clear(double value, double sigma) { return std::abs(value) > 4 * sigma; }

void one_fall(const Scene& scene, std::size_t i, const Run& run, Findings& out) {
  const Track& track = scene.input.tracks[i];
  const Scale& scale = scene.input.scale;
  const double expected = scene.input.expected_gravity_m_per_s2;
  const std::string which = parts::frames_of(run);
  const auto n = static_cast<std::int64_t>(run.frames.size());
  const auto give = [&](const Metric& m, double value, double sigma = nan) {
    out.metrics.push_back(parts::with(m, track.name, value, sigma, n, which));
  };
  const double a = acceleration(run.y), sigma = acceleration_sigma(run.y);
  give(f1_a, a, sigma);
  if (scale.known()) {
    const double g = a * scale.m_per_px, sigma_g = std::hypot(sigma * scale.m_per_px, g * scale.sigma);
    give(f1_g, g, sigma_g);
    give(f1_epsilon, g / expected - 1, sigma_g / expected);
    if (is_clear(a, sigma) && g > 0) {
      const double tau = std::sqrt(g / expected);
      give(f1_tau, tau, 0.5 * tau * sigma_g / g);
    } else {
      parts::refuse(out, {f1_tau}, track.name, "does not accelerate downwards", which);
    }
  } else {
    parts::refuse(out, {f1_g, f1_epsilon, f1_tau}, track.name, "no scale: metres per pixel are not known", which);
  }
  // From end to end an even ellipse is 4 standard deviations long.
  std::vector<double> lengths;
  for (std::size_t f : run.frames) lengths.push_back(4 * track.major_px[f]);
  const double length = median(lengths);
  if (is_clear(a, sigma) && a > 0 && length > 0) {
    const double spread =
        0.5 * (quantile(lengths, 0.8413) - quantile(lengths, 0.1587)) / std::sqrt(static_cast<double>(n));
    const double size = length * expected / a;
    give(f1_size, size, size * std::hypot(sigma / a, spread / length));
  } else {
    parts::refuse(out, {f1_size}, track.name,
                  length > 0 ? "does not accelerate downwards" : "its size in pixels is not known", which);
  }
  std::vector<double> t, y;
  double mean = 0, rest = 0, total = 0;
  for (std::size_t f : run.frames)
    t.push_back(track.time_s[f] - run.begin_s), y.push_back(track.y_px[f]), mean += y.back() / static_cast<double>(n);
  for (std::size_t f : run.frames) {
    rest += std::pow(track.y_px[f] - run.y.at(track.time_s[f]), 2);
    total += std::pow(track.y_px[f] - mean, 2);
  }
  const double residual = std::sqrt(rest / static_cast<double>(n - 3));
  give(f1_r2, 1 - rest / total);
  give(f1_residual, residual);
  give(f1_misfit, residual / scene.motions[i].sigma_px);
  if (n < 8) {
    parts::refuse(out, {f1_drift}, track.name, "fewer than 8 frames", which);
  } else if (!is_clear(a, sigma)) {
    parts::refuse(out, {f1_drift}, track.name, "does not accelerate downwards", which);
  } else {
    const Polynomial cubic = fit_polynomial(t, y, 3);
    const double noise = std::max(cubic.rms, scene.motions[i].sigma_px), per_s = 6 * run.length_s() / a;
    give(f1_drift, per_s * cubic.c[3], std::abs(per_s) * noise * std::sqrt(cubic.unit_covariance[15]));
  }
}

/// Mean acceleration of a track's flights, weighted by their doubt.
struct Fall {
  double a = 0, sigma = nan;
  std::int64_t n = 0;
};
Fall mean_fall(const std::vector<const Run*>& flights) {
  Fall f;
  double weights = 0;
  for (const Run* run : flights) {
    const double w = 1 / std::pow(acceleration_sigma(run->y), 2);
    weights += w;
    f.a += w * acceleration(run->y);
    f.n += static_cast<std::int64_t>(run->frames.size());
  }
  f.a /= weights;
  f.sigma = 1 / std::sqrt(weights);
  return f;
}

void compare(const Fall& first, const Fall& second, const std::string& object, Findings& out) {
  if (!is_clear(first.a, first.sigma)) {
    parts::refuse(out, {f4_ratio, f4_deviation}, object, "the first does not accelerate downwards");
    return;
  }
  const double ratio = second.a / first.a, sigma = std::hypot(second.sigma, ratio * first.sigma) / std::abs(first.a);
  out.metrics.push_back(parts::with(f4_ratio, object, ratio, sigma, first.n + second.n));
  out.metrics.push_back(parts::with(f4_deviation, object, std::abs(ratio - 1), sigma, first.n + second.n));
}

}  // namespace

Findings free_fall(const Scene& scene) {
  Findings out;
  const auto refuse = [&](const std::string& object, const std::string& reason) {
    parts::refuse(out, {f1_a, f1_g, f1_epsilon, f1_tau, f1_size, f1_r2, f1_residual, f1_misfit, f1_drift}, object,
                  reason);
  };
  if (scene.input.tracks.empty()) refuse("", parts::no_tracks(scene));
  for (std::size_t i = 0; i < scene.input.tracks.size(); ++i) {
    const std::string reason = parts::excuse_of_swings(scene, i);
    const std::vector<const Run*> flights = flights_of(scene.motions[i]);
    if (!reason.empty() || flights.empty()) {
      refuse(scene.input.tracks[i].name, reason.empty() ? no_flight : reason);
      continue;
    }
    for (const Run* run : flights) one_fall(scene, i, *run, out);
  }
  return out;
}

Findings sideways_inertia(const Scene& scene) {
  Findings out;
  if (scene.input.tracks.empty()) parts::refuse(out, {f3_ratio}, "", parts::no_tracks(scene));
  for (std::size_t i = 0; i < scene.input.tracks.size(); ++i) {
    const std::string reason = parts::excuse_of_swings(scene, i), &name = scene.input.tracks[i].name;
    const std::vector<const Run*> flights = flights_of(scene.motions[i]);
    if (!reason.empty() || flights.empty()) parts::refuse(out, {f3_ratio}, name, reason.empty() ? no_flight : reason);
    if (!reason.empty()) continue;
    for (const Run* run : flights) {
      const double ax = acceleration(run->x), ay = acceleration(run->y), sy = acceleration_sigma(run->y);
      if (!is_clear(ay, sy)) {
        parts::refuse(out, {f3_ratio}, name, "does not accelerate downwards", parts::frames_of(*run));
        continue;
      }
      const double sigma = std::hypot(acceleration_sigma(run->x), ax / ay * sy) / std::abs(ay);
      out.metrics.push_back(parts::with(f3_ratio, name, ax / ay, sigma, static_cast<std::int64_t>(run->frames.size()),
                                        parts::frames_of(*run)));
    }
  }
  return out;
}

Findings equal_fall(const Scene& scene) {
  Findings out;
  struct Faller {
    std::string name;
    Fall fall;
  };
  std::vector<Faller> fallers;
  for (std::size_t i = 0; i < scene.input.tracks.size(); ++i) {
    const std::string& name = scene.input.tracks[i].name;
    const std::vector<const Run*> flights = flights_of(scene.motions[i]);
    if (flights.empty() || !parts::excuse_of_swings(scene, i).empty()) continue;
    fallers.push_back({name, mean_fall(flights)});
    for (std::size_t k = 1; k < flights.size(); ++k)
      compare(mean_fall({flights[k - 1]}), mean_fall({flights[k]}),
              fmt::format("{}, flights {} and {}", name, k, k + 1), out);
  }
  for (std::size_t i = 0; i < fallers.size(); ++i)
    for (std::size_t j = i + 1; j < fallers.size(); ++j)
      compare(fallers[i].fall, fallers[j].fall, fmt::format("{}, {}", fallers[i].name, fallers[j].name), out);
  if (out.metrics.empty())
    parts::refuse(out, {f4_ratio, f4_deviation}, "",
                  scene.input.tracks.empty() ? parts::no_tracks(scene) : "fewer than two flights in the shot");
  return out;
}

Metric galileo_slope(std::span<const DropPair> pairs) {
  Metric m{"F4.slope", "slope of h1/h2 over t1^2/t2^2", "1", Aspect::parameter, Better::one};
  std::vector<double> x, y;
  for (const DropPair& p : pairs) {
    const double ratio = p.h1 / p.h2, squares = std::pow(p.t1 / p.t2, 2);
    if (!(p.h1 > 0 && p.h2 > 0 && p.t1 > 0 && p.t2 > 0) || !std::isfinite(ratio) || !std::isfinite(squares)) continue;
    x.push_back(squares), y.push_back(ratio);
  }
  if (x.size() < 3) return parts::without(m, "", fmt::format("{} pairs of drops, 3 are needed", x.size()));
  const auto [value, sigma] = slope(x, y);
  return parts::with(m, "", value, sigma, static_cast<std::int64_t>(x.size()));
}

}  // namespace reel::metrics
