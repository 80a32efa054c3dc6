#pragma once
// What trembles in a signal: the part above 1 Hz, its size and its bands.
#include <array>
#include <span>
#include <vector>

#include "metrics/metric.hpp"

namespace reel::metrics {

/// Half power of the high pass, where jitter begins.
inline constexpr double jitter_from_hz = 1;

/// Zero-phase high pass of samples at rising times: y minus the curve z that minimises sum (y - z)^2 + w sum (third
/// difference of z)^2 (Whittaker 1923; differences are divided ones where times are uneven). Amplitude at frequency f:
/// u / (1 + u) with u = (f / 0.863 Hz)^6, so half of the power passes at 1 Hz, 0.994 of the amplitude at 2 Hz, and any
/// parabola leaves nothing, up to the first and last sample. That is why a pan with a soft start is quiet here and not
/// after a local line. NaN stays NaN and does not count; fewer than four finite samples give zeros.
std::vector<double> high_pass(std::span<const double> t, std::span<const double> y);

/// Share of the power above 1 Hz that `high_pass` keeps of n even samples dt apart; below 1 because the curve can bend
/// to the noise at both ends. From the trace of the filter for white noise. NaN for n < 6 or a Nyquist rate below 2 Hz.
double kept_power(std::size_t n, double dt_s);

/// Mean square of the part of y above 1 Hz, from `residual` = high_pass(t, y) of finite samples: of each frequency
/// k / (n dt) from 1 Hz to Nyquist the residual's power there / what high_pass keeps of that frequency, ends included.
/// So it holds for a line as for noise; `kept_power` for white noise alone. NaN as `kept_power`. Sums in order of k.
double power_above(std::span<const double> t, std::span<const double> residual);

/// Root mean square of a jitter, and its parts.
struct Jitter {
  double rms = nan;                           ///< all of it, see `jitter`
  std::array<double, 3> band{nan, nan, nan};  ///< [1, 3], [3, 8], [8, Nyquist] Hz; NaN where the rate does not reach
  std::vector<double> residual;               ///< after the high pass, one per sample
};

/// Size of the part of y above 1 Hz. rms^2 = mean of the squared residual / kept_power + median spectral density above
/// 1 Hz x 1 Hz: the second term is what white noise also has below 1 Hz, where it cannot be told from camera work; it
/// is zero for a line. Bands: Welch's periodogram of the residual (Hann windows of at most 4 s, half overlapping,
/// one-sided; bins on a band's edge count half). Unevenly timed samples are interpolated linearly for the bands. NaN
/// for fewer than 12 finite samples, less than 0.5 s or fewer than 4 samples per second. Sums in order of time.
Jitter jitter(std::span<const double> t, std::span<const double> y);

/// Root of the mean square of the residuals within +-0.25 s of every sample; NaN where there is none.
std::vector<double> running_rms(std::span<const double> t, std::span<const double> residual);

}  // namespace reel::metrics
