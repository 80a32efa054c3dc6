#pragma once
// How uncertain numbers are drawn. Counter-based: draw i of input j is a function of (seed, name of j, i) and of
// nothing else, so alternatives are compared on the same draws (common random numbers), and threads and ranks change
// nothing.
#include <cstdint>
#include <functional>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cost/rates.hpp"

namespace reel::cost {

inline constexpr double z_p90 = 1.2815515655446004;  ///< the standard normal's P90; its P10 is -z_p90

/// The inverse distribution of one input over the standard normal score z, tabulated at steps of 1/64 in [-6, 6] with
/// monotone cubics between (Fritsch and Carlson, SIAM J. Numer. Anal. 17, 1980). Interpolation errs by less than 1e-8
/// of the span P10 ... P90 (triangular: 1e-5, at its mode; Beta with a or b below 0.2: more, it is nearly a step) and
/// for a lognormal by less than 1e-6 of the value up to high / low = 1e6. Scores beyond +-6 (2 in 1e9) give the value
/// at +-6.
class Quantile {
 public:
  Quantile() = default;  ///< the constant 0
  static Quantile constant(double value);
  /// By `spread.shape`:
  ///  pert        PERT of shape 4 with mode `typical`, its ends placed so that `low` and `high` are P10 and P90
  ///  triangular  the same with a triangle
  ///  lognormal   median sqrt(low high), P10 `low`, P90 `high` (`typical` is not used); needs low > 0
  ///  beta        Beta with P10 `low` and P90 `high`, both inside (0, 1) (`typical` is not used)
  ///  discrete    pert, rounded to the nearest whole number (half to even)
  /// With low == high it is that constant, whatever the shape (discrete: rounded).
  /// Values below `floor` become `floor`: money, hours and shares are not negative.
  /// Throws Error (Exit::input) unless low <= typical <= high, all finite, and what the shape needs.
  static Quantile of(const Spread& spread, double floor = 0);
  static Quantile beta(double a, double b);          ///< throws Error (Exit::input) unless a, b > 0 and finite
  static Quantile uniform(double low, double high);  ///< throws Error (Exit::input) unless low <= high, finite

  /// Value at the normal score `z`.
  double operator()(double z) const noexcept { return nodes_.empty() ? constant_ : value_at(z); }
  /// Each score becomes its value: the same bits as one by one.
  void replace(std::span<double> z) const noexcept;
  /// Mean over the distribution: midpoint rule over z with 2^16 points, in order (discrete: within 1e-4).
  double mean() const;

 private:
  struct Node {
    double value, slope;  // slope per step
  };
  static Quantile tabulate(const std::function<double(double)>& at, double floor, bool whole);
  double value_at(double z) const noexcept;

  std::vector<Node> nodes_;  // none: the constant
  double constant_ = 0, floor_ = -std::numeric_limits<double>::infinity();
  bool whole_ = false;
};

/// Ends and mode of a PERT of shape 4: a + (b - a) Beta(1 + 4 (m - a) / (b - a), 1 + 4 (b - m) / (b - a)).
struct PertShape {
  double a = 0, m = 0, b = 0;
  double mean() const noexcept { return (a + 4 * m + b) / 6; }
  double variance() const noexcept { return (mean() - a) * (b - mean()) / 7; }
};
/// The PERT with mode `typical`, P10 `low` and P90 `high`. REEL_CHECK: low <= typical <= high, low < high.
PertShape pert_from_quantiles(double low, double typical, double high);

/// Parameters of the Beta whose P10 and P90 are given. Throws Error (Exit::input) unless 0 < p10 < p90 < 1, and when
/// they lie so close or so far apart that a + b would leave 1e-3 ... 1e9.
struct BetaShape {
  double a = 1, b = 1;
  double mean() const noexcept { return a / (a + b); }
};
BetaShape beta_from_quantiles(double p10, double p90);

/// Elements first ... first + out.size() - 1 of the stream of that name: Philox4x32-10, key = seed, counter =
/// (element / 4, 64-bit FNV-1a of the name), word element % 4.
void random_bits(std::uint64_t seed, std::string_view stream, std::int64_t first, std::span<std::uint32_t> out);
/// The same as standard normal scores: probability (bits + 1/2) / 2^32 through Wichura's AS 241 (Appl. Stat. 37, 1988),
/// relative error < 2e-15; |z| < 6.34.
void normals(std::uint64_t seed, std::string_view stream, std::int64_t first, std::span<double> out);

/// The score of one probability in (1e-10, 1 - 1e-10), by the same formula.
double normal_score(double probability);

/// One uncertain input.
struct Input {
  std::string name;  ///< unique among the inputs
  Quantile quantile;
  double tier = 0;     ///< correlation of its normal score with the latent tier, -1 ... 1
  bool ranked = true;  ///< false: luck (takes), not an input whose knowledge could be improved

  /// Turns the input's own scores into its values: quantile(tier * tier_scores + sqrt(1 - tier^2) * z).
  /// Both have the same length; `tier_scores` is not read when `tier` is 0.
  void to_values(std::span<double> z, std::span<const double> tier_scores) const;
};

/// Evaluates `n` draws at once: x[j * n + i] is input j of draw i, y[k * n + i] becomes output k of it. Each draw on
/// its own: nothing may depend on n or on the other draws. Called from several threads at a time.
using Evaluate = std::function<void(std::size_t n, std::span<const double> x, std::span<double> y)>;

/// Outputs of all draws: values[k] has `num_draws` entries in order.
struct Draws {
  std::vector<std::vector<double>> values;
};
/// Draws first ... first + num_draws - 1, in blocks of 1,024 over threads. Scores come from the streams "draw/" + name
/// and, for the tier, "draw". REEL_CHECK: names unique, |tier| <= 1, counts not negative. Throws Error
/// (Exit::nonfinite) naming output and draw when one is NaN or Inf.
Draws draw(const std::vector<Input>& inputs, const Evaluate& evaluate, std::size_t num_outputs, std::int64_t num_draws,
           std::uint64_t seed, std::int64_t first = 0);
/// What `draw`, `sobol` and `tornado` demand of their inputs: unique names and |tier| <= 1. REEL_CHECK.
void check_inputs(const std::vector<Input>& inputs);
/// Calls `evaluate`; throws Error (Exit::nonfinite) naming output and draw, counted from `first`, for NaN or Inf.
void evaluate_finite(const Evaluate& evaluate, std::size_t n, std::span<const double> x, std::span<double> y,
                     std::int64_t first);

/// Sum of runs of 1,024 in order; the sums of runs are added pairwise.
double pairwise_sum(std::span<const double> x) noexcept;
/// pairwise_sum over the number of values. REEL_CHECK: not empty.
double mean(std::span<const double> x);
/// Percentile at q in [0, 1], linear between order statistics (type 7 of Hyndman and Fan). REEL_CHECK: not empty.
double percentile(std::vector<double> values, double q);

/// What a set of draws says. Sums are pairwise, percentiles of type 7.
struct Summary {
  double mean = 0, sd = 0, p10 = 0, p50 = 0, p90 = 0;  ///< sd with n - 1
  double se_mean = 0, se_p50 = 0;  ///< standard errors: spread of 32 consecutive batches; NaN below 64 values
  std::int64_t num = 0;
};
/// REEL_CHECK: not empty, all finite.
Summary summarise(const std::vector<double>& values);

}  // namespace reel::cost
