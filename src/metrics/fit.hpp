#pragma once
// Small fits in double, shared by laws and wobble. Sums run in index order.
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "metrics/metric.hpp"

namespace reel::metrics {

/// Least squares for any model that is linear in its k coefficients.
struct Linear {
  std::vector<double> c;                ///< k coefficients
  std::vector<double> covariance;       ///< [k, k] row-major, from the residuals; zeros when n == k
  std::vector<double> unit_covariance;  ///< [k, k]: times sigma^2 where the noise is known from elsewhere
  double rms = 0;                       ///< sqrt(sum w r^2 / (n - k)), 0 when n == k
  double sse = 0;                       ///< sum w r^2
  int n = 0;                            ///< points with weight above 0
};

/// Householder QR of columns scaled to norm 1. `design` [n, k] row-major. NaN in `y` counts as absent. A coefficient
/// that the points do not determine is 0 and its covariance NaN. Throws Error (bug) with fewer points than
/// coefficients.
Linear fit_linear(std::span<const double> design, std::size_t k, std::span<const double> y,
                  std::span<const double> weights = {});

/// Polynomial y = c0 + c1 t + ... by weighted least squares (`fit_linear` on times centred and scaled).
struct Polynomial {
  std::vector<double> c;                ///< coefficients in the caller's t
  std::vector<double> covariance;       ///< [k, k] row-major, from the residuals
  std::vector<double> unit_covariance;  ///< as in Linear
  double rms = 0;                       ///< sqrt(sum w r^2 / (n - k)), 0 when n == k
  int n = 0;                            ///< points with weight above 0
  double at(double t) const;
  double slope_at(double t) const;  ///< first derivative
  double sigma_at(double t) const;  ///< standard deviation of `at`, from `covariance`
  double slope_sigma_at(double t) const;
};

/// Plain least squares. NaN points count as absent. Throws Error (bug) with fewer points than coefficients.
Polynomial fit_polynomial(std::span<const double> t, std::span<const double> y, int degree,
                          std::span<const double> weights = {});

/// Least squares with Tukey's biweight (c = 4.685 robust sigmas from the median absolute residual, at least
/// `least_sigma`), at most 30 rounds. The start is the fit of least median residual among 120 draws of degree + 1
/// points, one from each part of the range (Philox), and the plain fit: an outlier among ten points does not move the
/// result, wherever it lies. Covariance after Huber (1981, 7.6): mean psi^2 over the square of mean psi'.
Polynomial fit_robust(std::span<const double> t, std::span<const double> y, int degree, double least_sigma = 0);

/// Least squares for a model that is not linear in its parameters.
struct Curve {
  std::vector<double> p;  ///< k parameters
  std::vector<double>
      unit_covariance;      ///< [k, k]: times sigma^2; NaN for a parameter that does not matter or is at a bound
  double rms = 0, sse = 0;  ///< as in Linear
};

/// f(i) of the parameters, and its derivatives by them.
using Model = std::function<double(std::size_t i, std::span<const double> p, std::span<double> gradient)>;

/// Levenberg-Marquardt (More 1978: damping in units of the columns' norms) from `start`, at most 60 steps, parameters
/// held within [low, high]. Finds the minimum that `start` leads to. Throws Error (bug) with fewer points than
/// parameters.
Curve fit_curve(const Model& model, std::span<const double> y, std::vector<double> start, std::span<const double> low,
                std::span<const double> high);

/// Standard deviation of f(p) for small errors of p: central differences, steps of a hundredth of each parameter's own
/// standard deviation. `covariance` [k, k]. NaN when f is.
double propagate(const std::function<double(std::span<const double>)>& f, std::span<const double> p,
                 std::span<const double> covariance);

/// Slope of y over t and its standard deviation; NaN for fewer than three finite points.
std::array<double, 2> slope(std::span<const double> t, std::span<const double> y);

double median(std::vector<double> values);              ///< of the finite values; NaN without any
double quantile(std::vector<double> values, double q);  ///< linear between order statistics (type 7)

/// Zero-phase low-pass of evenly or unevenly spaced samples: at each time a weighted local line (tricube window of half
/// width 1 / (2 cutoff) s) takes the place of the sample. NaN stays NaN. What is left over (y - low) is the high pass.
std::vector<double> low_pass(std::span<const double> t, std::span<const double> y, double cutoff_hz);

/// A trace with its slope.
Trace traced(std::string id, std::string name, std::string unit, std::vector<double> time_s, std::vector<double> value);

/// chi-square with 2 degrees of freedom, quantile 0.999: -2 ln 0.001.
inline constexpr double gate = 13.815510557964274;

/// Seeded percentile bootstrap of the mean: {low, high} at `confidence`, `draws` resamples with Philox numbers.
std::array<double, 2> bootstrap_mean(std::span<const double> values, double confidence = 0.95, int draws = 2000,
                                     std::uint64_t seed = 0);

}  // namespace reel::metrics
