// Distributions by their quantiles, as tables over the normal score.
#include <algorithm>
#include <array>
#include <boost/math/special_functions/beta.hpp>
#include <cmath>
#include <numbers>

#include "core/error.hpp"
#include "cost/draws.hpp"

namespace reel::cost {
namespace {

constexpr double reach = 6;
constexpr int steps_per_unit = 64, num_steps = 2 * 6 * steps_per_unit;

// Plain double: a tenth of the time of long double, and 1e-15 is enough for a table.
namespace bmp = boost::math::policies;
using Plain = bmp::policy<bmp::promote_double<false>, bmp::overflow_error<bmp::ignore_error>>;

// Probability below the normal score z.
double below(double z) { return 0.5 * std::erfc(-z / std::numbers::sqrt2); }

// Standard Beta at the normal score z; each half from its own tail, so that small distances from 1 are kept.
double beta_at(double a, double b, double z) {
  return z < 0 ? boost::math::ibeta_inv(a, b, below(z), Plain()) : boost::math::ibetac_inv(a, b, below(-z), Plain());
}

// Standard triangle with mode u at the normal score z.
double triangle_at(double u, double z) {
  return below(z) <= u ? std::sqrt(u * below(z)) : 1 - std::sqrt((1 - u) * below(-z));
}

// Where `above`, false and then true on [low, high], turns.
template <class Above>
double bisect(double low, double high, Above above) {
  for (int i = 0; i < 200; ++i) {
    const double middle = low + 0.5 * (high - low);
    if (middle <= low || middle >= high) break;
    (above(middle) ? high : low) = middle;
  }
  return low + 0.5 * (high - low);
}

// A shape on [0, 1] with mode u, moved and stretched to mode `typical`, P10 `low` and P90 `high`. The mode's place
// between them, (u - P10) / (P90 - P10), rises with u from below 0 to above 1: any low <= typical <= high has one u.
struct Placed {
  double u, a, width;
};
template <class At>
Placed place(const Spread& s, At at) {
  const double wanted = (s.typical - s.low) / (s.high - s.low);
  const double u = bisect(0, 1, [&](double v) {
    const double q10 = at(v, -z_p90), q90 = at(v, z_p90);
    return v - q10 > wanted * (q90 - q10);
  });
  const double q10 = at(u, -z_p90), width = (s.high - s.low) / (at(u, z_p90) - q10);
  return {u, s.low - q10 * width, width};
}

double pert_at(double u, double z) { return beta_at(1 + 4 * u, 5 - 4 * u, z); }

Error wrong(const std::string& what, const Spread& s, const std::string& hint) {
  return Error(Exit::input, what, fmt::format("low {}, typical {}, high {}", s.low, s.typical, s.high), hint);
}

}  // namespace

Quantile Quantile::constant(double value) {
  Quantile q;
  q.constant_ = value;
  return q;
}

Quantile Quantile::of(const Spread& s, double floor) {
  if (!std::isfinite(s.low) || !std::isfinite(s.typical) || !std::isfinite(s.high))
    throw wrong("a spread must be finite", s, "give three numbers");
  if (!(s.low <= s.typical && s.typical <= s.high))
    throw wrong("a spread must have low <= typical <= high", s, "put the three numbers in order");
  const bool whole = s.shape == Spread::Shape::discrete;
  if (s.constant()) return constant(std::max(whole ? std::nearbyint(s.low) : s.low, floor));
  switch (s.shape) {
    case Spread::Shape::pert:
    case Spread::Shape::discrete: {
      const Placed p = place(s, pert_at);
      return tabulate([&](double z) { return p.a + p.width * pert_at(p.u, z); }, floor, whole);
    }
    case Spread::Shape::triangular: {
      const Placed p = place(s, triangle_at);
      return tabulate([&](double z) { return p.a + p.width * triangle_at(p.u, z); }, floor, false);
    }
    case Spread::Shape::lognormal: {
      if (!(s.low > 0)) throw wrong("a lognormal spread must lie above 0", s, "raise low above 0, or use shape pert");
      const double middle = 0.5 * (std::log(s.low) + std::log(s.high));
      const double sigma = (std::log(s.high) - std::log(s.low)) / (2 * z_p90);
      return tabulate([&](double z) { return std::exp(middle + sigma * z); }, floor, false);
    }
    case Spread::Shape::beta: {
      const BetaShape p = beta_from_quantiles(s.low, s.high);
      return tabulate([&](double z) { return beta_at(p.a, p.b, z); }, floor, false);
    }
  }
  REEL_CHECK(false, "shape {}", static_cast<int>(s.shape));
  return {};
}

Quantile Quantile::beta(double a, double b) {
  if (!(a > 0 && b > 0 && std::isfinite(a) && std::isfinite(b)))
    throw Error(Exit::input, "a Beta needs two finite numbers above 0", fmt::format("a = {}, b = {}", a, b),
                "add what was known before the first take: 0.5 to each, for example");
  return tabulate([&](double z) { return beta_at(a, b, z); }, 0, false);
}

Quantile Quantile::uniform(double low, double high) {
  if (!(low <= high && std::isfinite(low) && std::isfinite(high)))
    throw Error(Exit::input, "a uniform range needs two finite numbers in order", fmt::format("{} ... {}", low, high),
                "put low before high");
  if (low == high) return constant(low);
  // From the nearer end, so that both tails keep their digits.
  return tabulate([&](double z) { return z < 0 ? low + (high - low) * below(z) : high - (high - low) * below(-z); },
                  -std::numeric_limits<double>::infinity(), false);
}

Quantile Quantile::tabulate(const std::function<double(double)>& at, double floor, bool whole) {
  Quantile q;
  q.floor_ = floor;
  q.whole_ = whole;
  q.nodes_.resize(num_steps + 1);
  auto& nodes = q.nodes_;
  // Two more on either side make the slopes at the ends as good as all others.
  std::array<double, num_steps + 5> v{};
  for (int i = 0; i < num_steps + 5; ++i) {
    const auto k = static_cast<std::size_t>(i);
    v[k] = at(static_cast<double>(i - 2) / steps_per_unit - reach);
    REEL_CHECK(std::isfinite(v[k]), "quantile {} at step {}", v[k], i);
    if (i > 0) v[k] = std::max(v[k], v[k - 1]);  // rounding in a flat tail
  }
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    const double* w = &v[i + 2];
    const double slope = (8 * (w[1] - w[-1]) - (w[2] - w[-2])) / 12;
    const double limit = 3 * std::min(w[1] - w[0], w[0] - w[-1]);  // keeps both neighbouring cubics monotone
    nodes[i] = {w[0], std::clamp(slope, 0.0, limit)};
  }
  return q;
}

double Quantile::value_at(double z) const noexcept {
  const double s = (std::clamp(z, -reach, reach) + reach) * steps_per_unit;
  const int i = std::min(static_cast<int>(s), num_steps - 1);
  const Node &p = nodes_[static_cast<std::size_t>(i)], &q = nodes_[static_cast<std::size_t>(i) + 1];
  const double t = s - i, rise = q.value - p.value;
  const double c2 = 3 * rise - 2 * p.slope - q.slope, c3 = p.slope + q.slope - 2 * rise;
  const double x = std::min(p.value + t * (p.slope + t * (c2 + t * c3)), q.value);
  return std::max(whole_ ? std::nearbyint(x) : x, floor_);
}

void Quantile::replace(std::span<double> z) const noexcept {
  if (nodes_.empty()) {
    std::ranges::fill(z, constant_);
    return;
  }
  for (double& x : z) x = value_at(x);
}

double Quantile::mean() const {
  if (nodes_.empty()) return constant_;
  constexpr int num = 1 << 16;
  constexpr double step = 2 * reach / num;
  double sum = 0, weights = 0;
  for (int i = 0; i < num; ++i) {
    const double z = (i + 0.5) * step - reach, weight = std::exp(-0.5 * z * z);
    sum += weight * value_at(z);
    weights += weight;
  }
  return sum / weights;
}

PertShape pert_from_quantiles(double low, double typical, double high) {
  REEL_CHECK(low <= typical && typical <= high && low < high, "{} / {} / {}", low, typical, high);
  const Placed p = place({low, typical, high, Spread::Shape::pert}, pert_at);
  return {p.a, typical, p.a + p.width};
}

BetaShape beta_from_quantiles(double p10, double p90) {
  const std::string where = fmt::format("P10 {}, P90 {}", p10, p90);
  if (!(0 < p10 && p10 < p90 && p90 < 1))
    throw Error(Exit::input, "a Beta spread must have 0 < P10 < P90 < 1", where, "give shares strictly inside (0, 1)");
  const auto share_below = [](const BetaShape& s, double p) { return boost::math::ibeta(s.a, s.b, p, Plain()); };
  // For each a + b one mean has the P10: by Markov's inequality it lies in [0.9 p10, 0.9 + 0.1 p10].
  const auto with_p10 = [&](double log_size) {
    const double size = std::exp(log_size);
    const auto shape = [&](double logit) {
      return BetaShape{size / (1 + std::exp(-logit)), size / (1 + std::exp(logit))};
    };
    const double least = std::log(0.9 * p10 / (1 - 0.9 * p10)), most = std::log((0.9 + 0.1 * p10) / (0.1 - 0.1 * p10));
    return shape(bisect(least, most, [&](double logit) { return share_below(shape(logit), p10) < 0.1; }));
  };
  // The larger a + b, the narrower: more than 90 % then lie below p90.
  const BetaShape found =
      with_p10(bisect(std::log(1e-3), std::log(1e9), [&](double s) { return share_below(with_p10(s), p90) > 0.9; }));
  if (!(std::abs(share_below(found, p10) - 0.1) < 1e-6 && std::abs(share_below(found, p90) - 0.9) < 1e-6))
    throw Error(Exit::input, "no Beta was found with these quantiles", where,
                "they lie too close together or too far apart: use a constant, or another shape");
  return found;
}

}  // namespace reel::cost
