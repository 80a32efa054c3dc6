// Where to cut a track.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "metrics/motion.hpp"

namespace reel::metrics {
namespace {

constexpr std::size_t longest = 400;

/// Highest degree for n samples: up to three samples no parabola, which would fit them whatever they are.
int highest_degree(std::size_t n) { return n == 1 ? 0 : n < 4 ? 1 : 2; }

/// Sums over the samples of a piece, times in frames from its first sample, positions from there too.
struct Sums {
  std::array<double, 5> s{};       // of u^k
  std::array<double, 3> x{}, y{};  // of x u^k, y u^k
  double xx = 0, yy = 0;

  void add(double u, double dx, double dy) {
    double power = 1;
    for (std::size_t k = 0; k < 5; ++k, power *= u) {
      s[k] += power;
      if (k < 3) x[k] += power * dx, y[k] += power * dy;
    }
    xx += dx * dx, yy += dy * dy;
  }
};

/// Residual sums of squares of constant, line and parabola up to a degree, from the triangular factors of the moments.
struct Residuals {
  std::array<double, 3> x{}, y{};
};
Residuals residuals(const Sums& m, int highest) {
  const double l10 = m.s[1] / m.s[0], l20 = m.s[2] / m.s[0];
  const double d1 = m.s[2] - l10 * m.s[1], l21 = highest > 0 ? (m.s[3] - l20 * m.s[1]) / d1 : 0;
  const double d2 = m.s[4] - l20 * m.s[2] - l21 * l21 * d1;
  Residuals r;
  const auto chain = [&](double total, const std::array<double, 3>& b, std::array<double, 3>& out) {
    const double z0 = b[0], z1 = b[1] - l10 * z0, z2 = b[2] - l20 * z0 - l21 * z1;
    out[0] = std::max(0.0, total - z0 * z0 / m.s[0]);
    if (highest > 0) out[1] = std::max(0.0, out[0] - z1 * z1 / d1);
    if (highest > 1) out[2] = std::max(0.0, out[1] - z2 * z2 / d2);
  };
  chain(m.xx, m.x, r.x);
  chain(m.yy, m.y, r.y);
  return r;
}

}  // namespace

Samples whole_samples(const Track& track) {
  Samples s;
  for (std::size_t f = 0; f < track.time_s.size(); ++f) {
    if (!track.whole[f] || !std::isfinite(track.x_px[f]) || !std::isfinite(track.y_px[f])) continue;
    s.frame.push_back(f);
    s.t.push_back(track.time_s[f]);
    s.x.push_back(track.x_px[f]);
    s.y.push_back(track.y_px[f]);
  }
  return s;
}

double local_sigma_px(const Samples& samples) {
  constexpr std::size_t length = 5;
  constexpr double quartile =
      1.9226 / 4;  // of chi-square with 2 coordinates times 5 - 3 degrees of freedom, per degree
  std::vector<double> moving, all;
  for (std::size_t i = 0; i + length <= samples.size(); ++i) {
    const std::span t(samples.t.data() + i, length), x(samples.x.data() + i, length), y(samples.y.data() + i, length);
    const double rx = fit_polynomial(t, x, 2).rms, ry = fit_polynomial(t, y, 2).rms;
    const auto [x0, x1] = std::minmax_element(x.begin(), x.end());
    const auto [y0, y1] = std::minmax_element(y.begin(), y.end());
    all.push_back(0.5 * (rx * rx + ry * ry));
    if (std::hypot(*x1 - *x0, *y1 - *y0) > 0.5) moving.push_back(all.back());
  }
  return std::sqrt(quantile(moving.size() >= 3 ? moving : all, 0.25) / quartile);
}

std::vector<Piece> cut(const Samples& samples, double sigma_px) {
  const std::size_t n = samples.size();
  if (n < 2) return {};
  std::vector<double> steps;
  for (std::size_t i = 1; i < n; ++i) steps.push_back(samples.t[i] - samples.t[i - 1]);
  const double frame_s = median(steps), price = std::log(2.0 * static_cast<double>(n)), v = sigma_px * sigma_px;
  struct Best {
    double cost = std::numeric_limits<double>::infinity();
    std::size_t from = 0;
    int degree_x = 0, degree_y = 0;
  };
  std::vector<Best> best(n + 1);  // of the first i samples
  best[0].cost = 0;
  for (std::size_t i = 0; i < n; ++i) {
    Sums sums;
    for (std::size_t j = i; j < std::min(n, i + longest); ++j) {
      sums.add((samples.t[j] - samples.t[i]) / frame_s, samples.x[j] - samples.x[i], samples.y[j] - samples.y[i]);
      const std::size_t end = j + 1;
      const int highest = highest_degree(end - i);
      const Residuals r = residuals(sums, highest);
      Best b;
      b.from = i;
      b.cost = best[i].cost + (i == 0 ? 0 : 3 * price);
      const auto choose = [&](const std::array<double, 3>& sse, int& degree) {
        double least = std::numeric_limits<double>::infinity();
        for (int d = 0; d <= highest; ++d) {
          const double cost = sse[static_cast<std::size_t>(d)] / v + (d + 1) * price;
          if (cost < least) least = cost, degree = d;
        }
        b.cost += least;
      };
      choose(r.x, b.degree_x);
      choose(r.y, b.degree_y);
      if (b.cost < best[end].cost) best[end] = b;
    }
  }
  std::vector<Piece> pieces;
  for (std::size_t end = n; end > 0; end = best[end].from) {
    Piece p;
    p.begin = best[end].from, p.end = end;
    const std::size_t count = end - p.begin;
    const std::span t(samples.t.data() + p.begin, count);
    p.x = fit_polynomial(t, std::span(samples.x.data() + p.begin, count), best[end].degree_x);
    p.y = fit_polynomial(t, std::span(samples.y.data() + p.begin, count), best[end].degree_y);
    pieces.push_back(std::move(p));
  }
  std::reverse(pieces.begin(), pieces.end());
  return pieces;
}

}  // namespace reel::metrics
