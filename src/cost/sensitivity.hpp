#pragma once
// Which inputs matter: Sobol indices, tornado, and what it is worth to know more.
#include <cstdint>
#include <functional>
#include <vector>

#include "cost/draws.hpp"

namespace reel::cost {

/// Total-order and first-order index of one input with 90 % intervals: percentiles of 1,000 bootstrap resamples of
/// rows.
struct SobolIndex {
  double total = 0, total_low = 0, total_high = 0;
  double first = 0, first_low = 0, first_high = 0;
};
/// Saltelli's design with Jansen's estimators (Saltelli et al., Comput. Phys. Commun. 181, 2010) for output `output`;
/// 2^log2_base rows, log2_base in 4 ... 20. One index per input, then one for the latent tier: inputs stand for their
/// own (independent) parts, what moves them together is the tier's. Inputs that are not `ranked` vary with the rest of
/// each matrix but are never exchanged: their index is 0, and the others' are shares of the variance that includes
/// them. What changes no row has exactly 0, also with its interval; so has everything when the output does not vary.
/// Estimates are not clipped: a small first-order index may come out below 0. Errors as for `draw`.
std::vector<SobolIndex> sobol(const std::vector<Input>& inputs, const Evaluate& evaluate, std::size_t num_outputs,
                              std::size_t output, int log2_base, std::uint64_t seed);

/// Output with one input at its P10 and P90, all others at their medians.
struct TornadoBar {
  double low = 0, high = 0;  ///< output at P10, at P90
};
/// One bar per input, in order. Errors as for `draw`.
std::vector<TornadoBar> tornado(const std::vector<Input>& inputs, const Evaluate& evaluate, std::size_t num_outputs,
                                std::size_t output);

/// Expected value of perfect partial information on an input: min_k E[y_k] - E[min_k E[y_k | x]], where `costs[k]` are
/// the costs of choice k in each draw and `x` the input's values in the same draws. Conditional means come from
/// `num_bins` bins of equal counts along x (Strong and Oakley, Med. Decis. Making 33, 2013); equal values of x share a
/// bin. Not negative; exactly 0 when one choice is best in every bin. Noise of the bins' means makes it too large where
/// choices are close: by up to 0.4 sd(y_1 - y_2) sqrt(num_bins / num_draws). REEL_CHECK: equal lengths, all finite.
double value_of_knowing(const std::vector<double>& x, const std::vector<const std::vector<double>*>& costs,
                        std::int64_t num_bins = 64);

/// Expected value of labelling n more takes before choosing between generating at an unknown acceptance p ~ Beta(a, b)
/// and the best other choice of mean cost `other`, which does not depend on p:
///   min(E[c(p)], other) - sum_k P(k) min(E[c(p) | k], other),  P(k) BetaBinomial(n, a, b),  p | k ~ Beta(a + k, b + n
///   - k)
/// `cost_at(p)` is the mean cost of generating at acceptance p in (0, 1), continuous in p and with a finite mean.
/// Quadrature: equal steps of p's normal score in [-6, 6], a quarter of the posterior's width or less; sums in order of
/// p and k. Not negative, 0 for n = 0. Throws Error (Exit::nonfinite) when a cost is NaN or Inf. REEL_CHECK: a, b > 0,
/// n >= 0.
double value_of_labels(double a, double b, const std::function<double(double)>& cost_at, double other, std::int64_t n);

}  // namespace reel::cost
