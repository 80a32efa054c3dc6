#pragma once
// Small fits in double, shared by laws and wobble. Sums run in index order.
#include <array>
#include <span>
#include <vector>

namespace reel::metrics {

/// Polynomial y = c0 + c1 t + ... by weighted least squares (Householder QR on times centred and scaled).
struct Polynomial {
  std::vector<double> c;           ///< coefficients in the caller's t
  std::vector<double> covariance;  ///< [k, k] row-major, from the residuals
  double rms = 0;                  ///< sqrt(sum w r^2 / (n - k)), 0 when n == k
  int n = 0;                       ///< points with weight above 0
  double at(double t) const;
};

/// Plain least squares. NaN points count as absent. Throws Error (bug) with fewer points than coefficients.
Polynomial fit_polynomial(std::span<const double> t, std::span<const double> y, int degree,
                          std::span<const double> weights = {});

/// Least squares with Tukey's biweight (c = 4.685 robust sigmas from the median absolute residual), from a start by
/// least squares on all points, at most 30 rounds. An outlier among ten points does not move it.
Polynomial fit_robust(std::span<const double> t, std::span<const double> y, int degree);

/// Slope of y over t and its standard deviation; NaN for fewer than three finite points.
std::array<double, 2> slope(std::span<const double> t, std::span<const double> y);

double median(std::vector<double> values);                   ///< of the finite values; NaN without any
double quantile(std::vector<double> values, double q);       ///< linear between order statistics (type 7)

/// Zero-phase low-pass of evenly or unevenly spaced samples: at each time a weighted local line (tricube window of half
/// width 1 / (2 cutoff) s) takes the place of the sample. NaN stays NaN. What is left over (y - low) is the high pass.
std::vector<double> low_pass(std::span<const double> t, std::span<const double> y, double cutoff_hz);

/// Seeded percentile bootstrap of the mean: {low, high} at `confidence`, `draws` resamples with Philox numbers.
std::array<double, 2> bootstrap_mean(std::span<const double> values, double confidence = 0.95, int draws = 2000,
                                     std::uint64_t seed = 0);

}  // namespace reel::metrics
