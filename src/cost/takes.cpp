#include "cost/takes.hpp"

#include <algorithm>
#include <boost/math/special_functions/beta.hpp>
#include <cmath>
#include <limits>

#include "core/error.hpp"

namespace reel::cost {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

// (1 - p)^cap without cancellation for small p.
double all_fail(double p, std::int64_t cap) {
  if (p >= 1) return 0;
  return std::exp(static_cast<double>(cap) * std::log1p(-p));
}

}  // namespace

double success(double p, std::int64_t cap) {
  REEL_CHECK(p >= 0 && p <= 1 && cap >= 0);
  if (cap == 0) return p > 0 ? 1 : 0;
  return p >= 1 ? 1 : -std::expm1(static_cast<double>(cap) * std::log1p(-p));
}

double mean_takes(double p, std::int64_t cap) {
  REEL_CHECK(p >= 0 && p <= 1 && cap >= 0);
  if (p == 0) return cap == 0 ? infinity : static_cast<double>(cap);
  return success(p, cap) / p;
}

double variance_takes(double p) {
  REEL_CHECK(p >= 0 && p <= 1);
  return p == 0 ? infinity : (1 - p) / (p * p);
}

double quantile_takes(double p, double q, std::int64_t cap) {
  REEL_CHECK(p >= 0 && p <= 1 && q >= 0 && q < 1);
  const double most = cap == 0 ? infinity : static_cast<double>(cap);
  if (p == 0) return most;
  if (p >= 1) return 1;
  // A quantile that is a whole number must not be pushed up by the last bit of a logarithm.
  const double n = std::log1p(-q) / std::log1p(-p);
  const double nearest = std::round(n);
  const double whole = std::abs(n - nearest) < 1e-12 * std::max(1.0, n) ? nearest : std::ceil(n);
  return std::min(std::max(1.0, whole), most);
}

double drawn_takes(double p, double luck) {
  REEL_CHECK(p >= 0 && p <= 1 && luck >= 0 && luck <= 1);
  if (p >= 1) return 1;
  if (p == 0 || luck >= 1) return infinity;
  return std::max(1.0, std::ceil(std::log1p(-luck) / std::log1p(-p)));
}

double expected_cost(const TakeCosts& c, double p) {
  if (c.cap == 0) return p == 0 ? infinity : c.setup + c.attempt / p + c.post;
  const double usable = success(p, c.cap);
  return c.setup + c.attempt * mean_takes(p, c.cap) + c.post * usable + c.fallback * all_fail(p, c.cap);
}

double realised_cost(const TakeCosts& c, double takes) {
  const auto cap = static_cast<double>(c.cap);
  if (c.cap > 0 && takes > cap) return c.setup + cap * c.attempt + c.fallback;
  return c.setup + takes * c.attempt + c.post;
}

double mean_inverse(const BetaShape& p) {
  return p.a <= 1 ? infinity : (p.a + p.b - 1) / (p.a - 1);
}

double break_even_takes(const TakeCosts& c, double other) {
  const double left = other - c.setup - c.post;
  if (c.attempt == 0) return left > 0 ? infinity : left < 0 ? -infinity : 0;
  return left / c.attempt;
}

std::optional<double> break_even_acceptance(const TakeCosts& c, double other) {
  const double left = other - c.setup - c.post;
  if (left <= 0 || c.attempt > left) return std::nullopt;
  return c.attempt / left;
}

std::optional<std::int64_t> stop_after(const BetaShape& p, double attempt, double post, double other) {
  REEL_CHECK(p.a > 0 && p.b > 0 && attempt >= 0);
  if (other <= post) return 0;
  if (attempt == 0) return std::nullopt;
  // a / (a + b + n) < attempt / (other - post)
  const double n = p.a * (other - post) / attempt - p.a - p.b;
  if (n < 0) return 0;
  if (n >= 1e9) return std::nullopt;
  return static_cast<std::int64_t>(std::floor(n)) + 1;
}

double Screening::quality(double pass_rate) const {
  if (!(miss >= 0 && false_reject >= 0 && miss + false_reject < 1))
    throw Error(Exit::input, fmt::format("gates that miss {} and wrongly reject {} tell nothing about quality", miss, false_reject), "gates",
                "both rates together must be below 1");
  return std::clamp((pass_rate - miss) / (1 - miss - false_reject), 0.0, 1.0);
}

BetaShape labelled(std::int64_t usable, std::int64_t num, BetaShape prior) {
  if (usable < 0 || num < 0 || usable > num)
    throw Error(Exit::input, fmt::format("{} usable of {} labelled takes", usable, num), "labels", "give 0 <= usable <= labelled");
  return {prior.a + static_cast<double>(usable), prior.b + static_cast<double>(num - usable)};
}

BetaShape usable_after_gates(const BetaShape& passing, const Screening& screening) {
  if (screening.miss == 0 && screening.false_reject == 0) return passing;
  double sum = 0, squares = 0;
  constexpr int points = 64;
  for (int i = 0; i < points; ++i) {
    const double rate = boost::math::ibeta_inv(passing.a, passing.b, (i + 0.5) / points);
    const double usable = screening.usable(screening.quality(rate));
    sum += usable;
    squares += usable * usable;
  }
  // Moments, with the mean kept off the ends: nobody knows that p is 0.
  const double mean = std::clamp(sum / points, 1e-6, 1 - 1e-6);
  const double variance = std::clamp(squares / points - mean * mean, 1e-14, 0.999 * mean * (1 - mean));
  const double strength = mean * (1 - mean) / variance - 1;
  return {mean * strength, (1 - mean) * strength};
}

double expected_sequence_cost(const TakeCosts& costs, double p, std::int64_t shots, double continuity) {
  REEL_CHECK(shots >= 1 && continuity >= 0 && continuity <= 1);
  return expected_cost(costs, p) + static_cast<double>(shots - 1) * expected_cost(costs, p * continuity);
}

double days_saved(double setups, double replaced, double per_day) {
  REEL_CHECK(setups > 0 && replaced >= 0 && replaced <= setups && per_day > 0);
  return std::ceil(setups / per_day) - std::ceil((setups - replaced) / per_day);
}

}  // namespace reel::cost
