#pragma once
// From an attempt to a usable shot: takes are geometric, capped, with a fallback.
//
// Terms: an attempt (take) costs `attempt`; it is usable with probability p (acceptance); after at most `cap` failures
// the shot is made in another way at the price `fallback`. `setup` is paid once, `post` once for a usable take.
// Attempts of one shot are independent given p; shots differ in p, which therefore has a distribution.
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cost/draws.hpp"

namespace reel::cost {

/// Money of one draw, all in the same currency.
struct TakeCosts {
  double setup = 0, attempt = 0, post = 0, fallback = 0;
  std::int64_t cap = 0;  ///< takes before the fallback; 0: no cap
};

/// Mean number of takes: (1 - (1 - p)^cap) / p; 1 / p without cap. p = 0 gives `cap`, infinity without one.
double mean_takes(double p, std::int64_t cap = 0);
/// (1 - p) / p^2, the variance of the takes without a cap.
double variance_takes(double p);
/// Smallest n with P(takes <= n) >= q: ceil(ln(1 - q) / ln(1 - p)), at least 1, at most `cap` if there is one.
double quantile_takes(double p, double q, std::int64_t cap = 0);
/// Probability that one of `cap` takes is usable; 1 without a cap (p > 0).
double success(double p, std::int64_t cap);
/// Takes when `luck` is uniform in (0, 1): the inverse of the geometric distribution; above the cap: no usable take.
double drawn_takes(double p, double luck);

/// E[C] = setup + attempt (1 - (1-p)^M) / p + post (1 - (1-p)^M) + (1-p)^M fallback.
double expected_cost(const TakeCosts& costs, double p);
/// What the shot cost when its first usable take was number `takes`.
double realised_cost(const TakeCosts& costs, double takes);

/// Mean of 1 / p for p ~ Beta(a, b): (a + b - 1) / (a - 1); infinity for a <= 1: the mean is made by the hardest shots.
double mean_inverse(const BetaShape& p);

/// Takes that could be paid before another way of `other` is cheaper: (other - setup - post) / attempt; negative: there
/// is no case for generating at all.
double break_even_takes(const TakeCosts& costs, double other);
/// Acceptance at which generating without a cap costs `other`: attempt / (other - setup - post). Nothing when the
/// bracket is not positive or the acceptance would be above 1.
std::optional<double> break_even_acceptance(const TakeCosts& costs, double other);

/// Myopic rule: after n failures in a row the acceptance is a / (a + b + n); the first n at which one more attempt costs
/// more than it is expected to save, acceptance (other - post) < attempt. 0: never begin. Nothing: never stop within
/// 10^9 takes.
std::optional<std::int64_t> stop_after(const BetaShape& p, double attempt, double post, double other);

/// Screening by gates: a take of true quality q (probability that it is usable) is wrongly rejected with probability
/// `false_reject` and a bad one passes with probability `miss`.
struct Screening {
  double miss = 0, false_reject = 0;
  double passing(double q) const noexcept { return q * (1 - false_reject) + (1 - q) * miss; }
  double usable(double q) const noexcept { return q * (1 - false_reject); }          ///< passes and is usable
  /// Quality behind a pass rate, inside [0, 1]. Throws Error (Exit::input) when miss + false_reject >= 1.
  double quality(double pass_rate) const;
};

/// What is known of the acceptance after `usable` of `labelled` takes, beginning from `prior` (Jeffreys: 0.5, 0.5).
BetaShape labelled(std::int64_t usable, std::int64_t labelled, BetaShape prior = {0.5, 0.5});

/// What gates that let through a Beta-distributed share say of P(a take passes and is usable), as the Beta with the same
/// mean and variance (64-point quadrature over the quantiles of `passing`).
BetaShape usable_after_gates(const BetaShape& passing, const Screening& screening);

/// A sequence of `shots` shots that must match each other: the first needs a usable take, each other one a take that is
/// usable and matches (probability `continuity` given usable, measured, since marginals do not multiply).
double expected_sequence_cost(const TakeCosts& costs, double p, std::int64_t shots, double continuity);

/// Whole shooting days that vanish when `replaced` of `setups` setups are not shot: ceil(setups / per_day) -
/// ceil((setups - replaced) / per_day). All > 0, replaced <= setups.
double days_saved(double setups, double replaced, double per_day);

}  // namespace reel::cost
