#include "metrics/jitter.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/error.hpp"
#include "metrics/fit.hpp"

namespace reel::metrics {
namespace {

constexpr double half_amplitude_hz = 0.863;  // u / (1 + u) = sqrt(1/2) at 1 Hz: u = 2.414 = (1 / 0.863)^6
constexpr std::size_t bands = 4;             // of the matrix: the diagonal and three to its right

/// The smoother's matrix 1 + w D'D for n samples, factored: L L' with three lower diagonals.
class Smoother {
 public:
  explicit Smoother(std::span<const double> t) : n_(t.size()), a_(n_ * bands, 0) {
    const double dt = (t[n_ - 1] - t[0]) / static_cast<double>(n_ - 1);
    // Of a wave of the half amplitude, third differences have the square (2 sin(pi f dt))^6 times its own.
    const double s = 2 * std::sin(std::numbers::pi * std::min(half_amplitude_hz * dt, 0.5));
    const double w = std::pow(s, -6);
    for (std::size_t i = 0; i < n_; ++i) at(i, 0) = 1;
    for (std::size_t i = 0; i + 3 < n_; ++i) {
      double d[4];
      for (std::size_t j = 0; j < 4; ++j) {
        d[j] = 6 * dt * dt * dt;
        for (std::size_t k = 0; k < 4; ++k)
          if (k != j) d[j] /= t[i + j] - t[i + k];
      }
      for (std::size_t j = 0; j < 4; ++j)
        for (std::size_t k = j; k < 4; ++k) at(i + j, k - j) += w * d[j] * d[k];
    }
    for (std::size_t j = 0; j < n_; ++j) {
      at(j, 0) = std::sqrt(at(j, 0));
      for (std::size_t k = 1; k < bands && j + k < n_; ++k) at(j, k) /= at(j, 0);
      for (std::size_t k = 1; k < bands && j + k < n_; ++k)
        for (std::size_t l = k; l < bands && j + l < n_; ++l) at(j + k, l - k) -= at(j, k) * at(j, l);
    }
  }

  void smooth(std::vector<double>& y) const {
    for (std::size_t i = 0; i < n_; ++i) {
      y[i] /= at(i, 0);
      for (std::size_t k = 1; k < bands && i + k < n_; ++k) y[i + k] -= at(i, k) * y[i];
    }
    for (std::size_t i = n_; i-- > 0;) {
      for (std::size_t k = 1; k < bands && i + k < n_; ++k) y[i] -= at(i, k) * y[i + k];
      y[i] /= at(i, 0);
    }
  }

 private:
  double& at(std::size_t row, std::size_t k) { return a_[row * bands + k]; }
  const double& at(std::size_t row, std::size_t k) const { return a_[row * bands + k]; }
  std::size_t n_;
  std::vector<double> a_;
};

struct Spectrum {
  double df_hz = 0;
  int num_segments = 0;
  std::vector<double> density;  ///< one-sided, per Hz, from 0 Hz
};

Spectrum welch(std::span<const double> y, double dt_s) {
  const std::size_t n = y.size();
  const std::size_t length = std::min(n, static_cast<std::size_t>(std::max(8.0, std::round(4 / dt_s))));
  Spectrum s;
  s.df_hz = 1 / (static_cast<double>(length) * dt_s);
  s.density.assign(length / 2 + 1, 0);
  std::vector<double> window(length);
  double power = 0;
  for (std::size_t i = 0; i < length; ++i) {
    const double angle = 2 * std::numbers::pi * (static_cast<double>(i) + 0.5) / static_cast<double>(length);
    window[i] = 0.5 - 0.5 * std::cos(angle);
    power += window[i] * window[i];
  }
  for (std::size_t begin = 0; begin + length <= n; begin += std::max<std::size_t>(1, length / 2)) {
    ++s.num_segments;
    for (std::size_t k = 0; k < s.density.size(); ++k) {
      double re = 0, im = 0;
      for (std::size_t i = 0; i < length; ++i) {
        const double angle = 2 * std::numbers::pi * static_cast<double>(k * i % length) / static_cast<double>(length);
        re += window[i] * y[begin + i] * std::cos(angle);
        im += window[i] * y[begin + i] * std::sin(angle);
      }
      const double sides = k == 0 || 2 * k == length ? 1 : 2;
      s.density[k] += sides * (re * re + im * im) * dt_s / power;
    }
  }
  for (double& d : s.density) d /= s.num_segments;
  return s;
}

/// Samples at even times, by linear interpolation.
std::vector<double> even(std::span<const double> t, std::span<const double> y, double dt_s) {
  std::vector<double> out(t.size());
  std::size_t j = 0;
  for (std::size_t i = 0; i < t.size(); ++i) {
    const double at = t[0] + static_cast<double>(i) * dt_s;
    while (j + 2 < t.size() && t[j + 1] < at) ++j;
    const double f = (at - t[j]) / (t[j + 1] - t[j]);
    out[i] = (1 - f) * y[j] + f * y[j + 1];
  }
  return out;
}

}  // namespace

std::vector<double> high_pass(std::span<const double> t, std::span<const double> y) {
  REEL_CHECK(t.size() == y.size(), "{} times, {} values", t.size(), y.size());
  std::vector<double> out(y.size(), nan), times, values;
  for (std::size_t i = 0; i < y.size(); ++i) {
    if (!std::isfinite(y[i]) || !std::isfinite(t[i])) continue;
    REEL_CHECK(times.empty() || t[i] > times.back(), "times do not rise at {} s", t[i]);
    times.push_back(t[i]);
    values.push_back(y[i]);
  }
  if (times.size() < 4) {
    for (std::size_t i = 0; i < y.size(); ++i)
      if (std::isfinite(y[i]) && std::isfinite(t[i])) out[i] = 0;
    return out;
  }
  // Around the mean, so that large offsets cost no digits.
  double mean = 0;
  for (double v : values) mean += v;
  mean /= static_cast<double>(values.size());
  for (double& v : values) v -= mean;
  std::vector<double> smooth = values;
  Smoother(times).smooth(smooth);
  std::size_t j = 0;
  for (std::size_t i = 0; i < y.size(); ++i)
    if (std::isfinite(y[i]) && std::isfinite(t[i])) out[i] = values[j] - smooth[j], ++j;
  return out;
}

double kept_power(std::size_t n, double dt_s) {
  const double above = 1 - 2 * jitter_from_hz * dt_s;  // share of white noise above 1 Hz
  if (n < 6 || !(dt_s > 0) || above < 0.5) return nan;
  // What the ends lose does not depend on the length once that is a few seconds: computed for at most 256 samples.
  const std::size_t m = std::min<std::size_t>(n, 256);
  std::vector<double> t(m), unit(m);
  for (std::size_t i = 0; i < m; ++i) t[i] = static_cast<double>(i) * dt_s;
  const Smoother smoother(t);
  double trace = 0, middle = 0;
  for (std::size_t i = 0; i < m; ++i) {
    std::fill(unit.begin(), unit.end(), 0);
    unit[i] = 1;
    smoother.smooth(unit);
    double square = 0;
    for (std::size_t j = 0; j < m; ++j) square += (unit[j] - (i == j)) * (unit[j] - (i == j));
    trace += square;
    if (i == m / 2) middle = square;
  }
  trace += middle * static_cast<double>(n - m);
  return trace / (static_cast<double>(n) * above);
}

double power_above(std::span<const double> t, std::span<const double> residual) {
  const std::size_t n = t.size();
  REEL_CHECK(n == residual.size(), "{} times, {} residuals", n, residual.size());
  const double dt = n > 1 ? (t.back() - t.front()) / static_cast<double>(n - 1) : 0;
  if (n < 6 || !(dt > 0) || 2 * jitter_from_hz * dt > 0.5) return nan;
  const Smoother smoother({t.begin(), t.end()});
  double power = 0;
  std::vector<double> wave(n);
  for (std::size_t k = 1; 2 * k <= n; ++k) {
    if (static_cast<double>(k) < jitter_from_hz * dt * static_cast<double>(n)) continue;
    double at_k = 0, kept = 0, all = 0;
    for (const double phase : {0.0, 0.25}) {  // cosine and sine: at the Nyquist rate there is no sine
      if (2 * k == n && phase > 0) continue;
      double product = 0;
      for (std::size_t i = 0; i < n; ++i) {
        wave[i] = std::cos(2 * std::numbers::pi * (static_cast<double>(k * i % n) / static_cast<double>(n) - phase));
        product += wave[i] * residual[i];
        all += wave[i] * wave[i];
      }
      std::vector<double> smooth = wave;
      smoother.smooth(smooth);
      for (std::size_t i = 0; i < n; ++i) kept += (wave[i] - smooth[i]) * (wave[i] - smooth[i]);
      const double share = product / static_cast<double>(n);
      at_k += (2 * k == n ? 1 : 2) * share * share;
    }
    power += at_k * all / kept;
  }
  return power;
}

Jitter jitter(std::span<const double> t, std::span<const double> y) {
  Jitter out;
  out.residual = high_pass(t, y);
  std::vector<double> times, residual;
  for (std::size_t i = 0; i < t.size(); ++i)
    if (std::isfinite(out.residual[i])) times.push_back(t[i]), residual.push_back(out.residual[i]);
  const std::size_t n = times.size();
  if (n < 12 || times.back() - times.front() < 0.5) return out;
  const double dt = (times.back() - times.front()) / static_cast<double>(n - 1), nyquist = 0.5 / dt;
  const double kept = kept_power(n, dt);
  if (!std::isfinite(kept)) return out;
  double square = 0;
  for (double r : residual) square += r * r;
  square /= static_cast<double>(n);

  const Spectrum s = welch(even(times, residual, dt), dt);
  const std::array<double, 4> edges{jitter_from_hz, 3, 8, nyquist};
  for (std::size_t b = 0; b < 3; ++b) {
    const double low = edges[b], high = std::min(edges[b + 1], nyquist);
    if (b == 2 ? nyquist <= 8 : nyquist <= low) continue;
    double power = 0;
    for (std::size_t k = 0; k < s.density.size(); ++k) {
      // Bin k stands for half a bin to either side of its frequency; the share inside the band counts.
      const double f = static_cast<double>(k) * s.df_hz;
      const double from = std::max(f - 0.5 * s.df_hz, low);
      const double to = std::min(f + 0.5 * s.df_hz, high == nyquist ? nyquist + s.df_hz : high);
      power += s.density[k] * std::max(0.0, to - from);
    }
    out.band[b] = std::sqrt(power);
  }
  std::vector<double> above;
  for (std::size_t k = 0; k < s.density.size(); ++k)
    if (static_cast<double>(k) * s.df_hz > jitter_from_hz) above.push_back(s.density[k]);
  // The median of the mean of K squared magnitudes is about (1 - 1/(9K))^3 of their mean (Wilson and Hilferty).
  const double k = s.num_segments, floor = median(above) / std::pow(1 - 1 / (9 * k), 3);
  out.rms = std::sqrt(square / kept + (std::isfinite(floor) ? floor * jitter_from_hz : 0));
  return out;
}

std::vector<double> running_rms(std::span<const double> t, std::span<const double> residual) {
  std::vector<double> out(t.size(), nan);
  std::size_t begin = 0;
  for (std::size_t i = 0; i < t.size(); ++i) {
    while (t[begin] < t[i] - 0.25 - 1e-9) ++begin;
    double sum = 0;
    int n = 0;
    for (std::size_t j = begin; j < t.size() && t[j] <= t[i] + 0.25 + 1e-9; ++j)
      if (std::isfinite(residual[j])) sum += residual[j] * residual[j], ++n;
    if (n > 0 && std::isfinite(residual[i])) out[i] = std::sqrt(sum / n);
  }
  return out;
}

}  // namespace reel::metrics
