#pragma once
// Tracks whose truth is a formula, with noise of a known size.
#include <cmath>
#include <cstdint>
#include <functional>
#include <numbers>
#include <string>
#include <vector>

#include "metrics/laws.hpp"

namespace reel::metrics::made {

/// Knuth's linear congruential generator (MMIX), upper 53 bits; normal numbers after Box and Muller.
class Noise {
 public:
  explicit Noise(std::uint64_t seed) : state_(seed * 0x9E3779B97F4A7C15u + 1) {
    for (int i = 0; i < 8; ++i) unit();
  }
  double unit() {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return (static_cast<double>(state_ >> 11) + 0.5) / 9007199254740992.0;
  }
  double normal() {
    const double r = std::sqrt(-2 * std::log(unit())), angle = 2 * std::numbers::pi * unit();
    return r * std::cos(angle);
  }

 private:
  std::uint64_t state_;
};

using Path = std::function<double(double t)>;

struct Make {
  std::string name = "red";
  int num_frames = 24;
  double fps = 24, sigma_px = 0, radius_px = 10;
  std::uint64_t seed = 1;
  double area_sigma = 0;  ///< relative
};

/// A ball at x(t), y(t), whole in every frame.
inline Track track(const Path& x, const Path& y, const Make& how = {}) {
  Track t;
  t.name = how.name;
  Noise noise(how.seed);
  for (int f = 0; f < how.num_frames; ++f) {
    const double s = f / how.fps;
    t.time_s.push_back(s);
    t.x_px.push_back(x(s) + how.sigma_px * noise.normal());
    t.y_px.push_back(y(s) + how.sigma_px * noise.normal());
    t.area_px.push_back(std::numbers::pi * how.radius_px * how.radius_px * (1 + how.area_sigma * noise.normal()));
    t.major_px.push_back(0.5 * how.radius_px);
    t.minor_px.push_back(0.5 * how.radius_px);
    t.whole.push_back(1);
  }
  return t;
}

/// It is not seen in frames [from, to).
inline void hide(Track& t, std::size_t from, std::size_t to) {
  for (std::size_t f = from; f < to; ++f) {
    t.x_px[f] = t.y_px[f] = t.area_px[f] = t.major_px[f] = t.minor_px[f] = nan;
    t.whole[f] = 0;
  }
}

inline LawInput input(std::vector<Track> tracks, double m_per_px = nan) {
  LawInput in;
  in.tracks = std::move(tracks);
  in.width_px = in.height_px = 1000;
  in.scale.m_per_px = m_per_px;
  return in;
}

/// All metrics with this id, in order.
inline std::vector<Metric> all(const Findings& f, const std::string& id) {
  std::vector<Metric> found;
  for (const Metric& m : f.metrics)
    if (m.id == id) found.push_back(m);
  return found;
}
/// The first one; refused with "missing" when there is none.
inline Metric one(const Findings& f, const std::string& id) {
  const auto found = all(f, id);
  return found.empty() ? refused(Metric{id, "", ""}, "missing") : found.front();
}
inline std::vector<Event> events(const Findings& f, const std::string& id = {}) {
  std::vector<Event> found;
  for (const Event& e : f.events)
    if (id.empty() || e.id == id) found.push_back(e);
  return found;
}

/// Recovered over injected values: slope, R^2 and the largest error.
struct Recovery {
  double slope = nan, r2 = nan, worst = 0;
};
inline Recovery recovery(const std::vector<double>& injected, const std::vector<double>& found) {
  double mx = 0, my = 0, sxx = 0, sxy = 0, syy = 0;
  const auto n = static_cast<double>(injected.size());
  Recovery r;
  for (std::size_t i = 0; i < injected.size(); ++i) {
    mx += injected[i] / n, my += found[i] / n;
    r.worst = std::max(r.worst, std::abs(found[i] - injected[i]));
  }
  for (std::size_t i = 0; i < injected.size(); ++i) {
    sxx += std::pow(injected[i] - mx, 2), sxy += (injected[i] - mx) * (found[i] - my),
        syy += std::pow(found[i] - my, 2);
  }
  r.slope = sxy / sxx;
  r.r2 = sxy * sxy / (sxx * syy);
  return r;
}

/// Many estimates of one number, each with its own doubt.
struct Scatter {
  std::vector<double> value, sigma;
  void add(const Metric& m) {
    if (m.given()) value.push_back(m.value), sigma.push_back(m.sigma);
  }
  double n() const { return static_cast<double>(value.size()); }
  double mean() const {
    double sum = 0;
    for (double v : value) sum += v / n();
    return sum;
  }
  double spread() const {
    double sum = 0;
    for (double v : value) sum += std::pow(v - mean(), 2) / (n() - 1);
    return std::sqrt(sum);
  }
  /// Root of the mean quoted variance.
  double quoted() const {
    double sum = 0;
    for (double s : sigma) sum += s * s / n();
    return std::sqrt(sum);
  }
  /// Share of the estimates that lie within three of their own sigmas of the truth.
  double within_3(double truth) const {
    double count = 0;
    for (std::size_t i = 0; i < value.size(); ++i) count += std::abs(value[i] - truth) <= 3 * sigma[i];
    return count / n();
  }
};

}  // namespace reel::metrics::made
