#include "metrics/fit.hpp"

#include <Random123/philox.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.hpp"

namespace reel::metrics {
namespace {

constexpr double none = std::numeric_limits<double>::quiet_NaN();

/// Finite values, sorted.
std::vector<double> sorted(std::vector<double> values) {
  std::erase_if(values, [](double v) { return !std::isfinite(v); });
  std::sort(values.begin(), values.end());
  return values;
}

double quadratic_form(const std::vector<double>& covariance, std::span<const double> g) {
  const std::size_t k = g.size();
  double sum = 0;
  for (std::size_t i = 0; i < k; ++i)
    for (std::size_t j = 0; j < k; ++j)
      if (g[i] != 0 && g[j] != 0) sum += g[i] * covariance[i * k + j] * g[j];
  return sum;
}

/// Rows 1, u, u^2, ... with u = (t - middle) / half.
std::vector<double> powers(std::span<const double> t, std::size_t k, double middle, double half) {
  std::vector<double> design(t.size() * k);
  for (std::size_t i = 0; i < t.size(); ++i) {
    double power = 1;
    for (std::size_t j = 0; j < k; ++j, power *= (t[i] - middle) / half) design[i * k + j] = power;
  }
  return design;
}

struct Points {
  std::vector<double> t, y, w;
  double middle = 0, half = 1;
};

Points finite_points(std::span<const double> t, std::span<const double> y, std::span<const double> weights) {
  REEL_CHECK(t.size() == y.size() && (weights.empty() || weights.size() == y.size()), "{} times, {} values", t.size(),
             y.size());
  Points p;
  for (std::size_t i = 0; i < t.size(); ++i) {
    const double w = weights.empty() ? 1 : weights[i];
    if (!std::isfinite(t[i]) || !std::isfinite(y[i]) || !(w > 0)) continue;
    p.t.push_back(t[i]), p.y.push_back(y[i]), p.w.push_back(w);
  }
  if (p.t.empty()) return p;
  const auto [low, high] = std::minmax_element(p.t.begin(), p.t.end());
  p.middle = 0.5 * (*low + *high);
  p.half = *high > *low ? 0.5 * (*high - *low) : 1;
  return p;
}

/// Coefficients and covariances of u = (t - middle) / half as those of t.
Polynomial in_caller_time(const Linear& fit, double middle, double half) {
  const std::size_t k = fit.c.size();
  // u^j = sum_i binomial(j, i) t^i (-middle)^(j-i) / half^j
  std::vector<double> to(k * k, 0.0);
  for (std::size_t j = 0; j < k; ++j) {
    double binomial = 1;
    for (std::size_t i = 0; i <= j; ++i) {
      to[i * k + j] = binomial * std::pow(-middle, static_cast<double>(j - i)) / std::pow(half, static_cast<double>(j));
      binomial = binomial * static_cast<double>(j - i) / static_cast<double>(i + 1);
    }
  }
  Polynomial p;
  p.rms = fit.rms;
  p.n = fit.n;
  p.c.assign(k, 0.0);
  p.covariance.assign(k * k, 0.0);
  p.unit_covariance.assign(k * k, 0.0);
  for (std::size_t i = 0; i < k; ++i)
    for (std::size_t j = 0; j < k; ++j) {
      p.c[i] += to[i * k + j] * fit.c[j];
      for (std::size_t a = 0; a < k; ++a)
        for (std::size_t b = 0; b < k; ++b) {
          const double factor = to[i * k + a] * to[j * k + b];
          if (factor == 0) continue;
          p.covariance[i * k + j] += factor * fit.covariance[a * k + b];
          p.unit_covariance[i * k + j] += factor * fit.unit_covariance[a * k + b];
        }
    }
  return p;
}

}  // namespace

Linear fit_linear(std::span<const double> design, std::size_t k, std::span<const double> y,
                  std::span<const double> weights) {
  REEL_CHECK(k > 0 && design.size() == k * y.size() && (weights.empty() || weights.size() == y.size()),
             "{} numbers for {} points and {} coefficients", design.size(), y.size(), k);
  std::vector<double> a, b;  // rows with weight, times its root
  for (std::size_t i = 0; i < y.size(); ++i) {
    const double w = weights.empty() ? 1 : weights[i];
    if (!std::isfinite(y[i]) || !(w > 0)) continue;
    for (std::size_t j = 0; j < k; ++j) a.push_back(std::sqrt(w) * design[i * k + j]);
    b.push_back(std::sqrt(w) * y[i]);
  }
  const std::size_t n = b.size();
  REEL_CHECK(n >= k, "{} points, {} coefficients", n, k);
  Linear fit;
  fit.n = static_cast<int>(n);
  std::vector<double> norm(k, 0.0);
  for (std::size_t j = 0; j < k; ++j) {
    for (std::size_t i = 0; i < n; ++i) norm[j] += a[i * k + j] * a[i * k + j];
    norm[j] = std::sqrt(norm[j]);
    for (std::size_t i = 0; i < n; ++i) a[i * k + j] = norm[j] > 0 ? a[i * k + j] / norm[j] : 0;
  }
  std::vector<bool> free(k, true);
  for (std::size_t j = 0; j < k; ++j) {  // reflect column j onto its axis
    double length = 0;
    for (std::size_t i = j; i < n; ++i) length += a[i * k + j] * a[i * k + j];
    length = std::sqrt(length);
    free[j] = length > 1e-12;
    if (!free[j]) continue;
    const double beta = a[j * k + j] > 0 ? -length : length, head = a[j * k + j] - beta;
    const auto reflect = [&](auto&& at) {
      double dot = head * at(j);
      for (std::size_t i = j + 1; i < n; ++i) dot += a[i * k + j] * at(i);
      const double factor = dot / (beta * head);
      at(j) += factor * head;
      for (std::size_t i = j + 1; i < n; ++i) at(i) += factor * a[i * k + j];
    };
    for (std::size_t c = j + 1; c < k; ++c) reflect([&](std::size_t i) -> double& { return a[i * k + c]; });
    reflect([&](std::size_t i) -> double& { return b[i]; });
    a[j * k + j] = beta;
  }
  for (std::size_t i = k; i < n; ++i) fit.sse += b[i] * b[i];
  fit.c.assign(k, 0.0);
  std::vector<double> inverse(k * k, 0.0);  // of R
  for (std::size_t j = k; j-- > 0;) {
    if (!free[j]) {
      fit.sse += b[j] * b[j];
      continue;
    }
    double sum = b[j];
    for (std::size_t c = j + 1; c < k; ++c) sum -= a[j * k + c] * fit.c[c];
    fit.c[j] = sum / a[j * k + j];
    for (std::size_t c = j; c < k; ++c) {
      double entry = c == j ? 1 : 0;
      for (std::size_t m = j + 1; m <= c; ++m) entry -= a[j * k + m] * inverse[m * k + c];
      inverse[j * k + c] = free[c] ? entry / a[j * k + j] : 0;
    }
  }
  fit.rms = n > k ? std::sqrt(fit.sse / static_cast<double>(n - k)) : 0;
  fit.covariance.assign(k * k, none);
  fit.unit_covariance.assign(k * k, none);
  for (std::size_t i = 0; i < k; ++i)
    for (std::size_t j = 0; j < k; ++j) {
      if (!free[i] || !free[j]) continue;
      double sum = 0;
      for (std::size_t m = std::max(i, j); m < k; ++m) sum += inverse[i * k + m] * inverse[j * k + m];
      fit.unit_covariance[i * k + j] = sum / (norm[i] * norm[j]);
      fit.covariance[i * k + j] = fit.rms * fit.rms * fit.unit_covariance[i * k + j];
    }
  for (std::size_t j = 0; j < k; ++j)
    if (free[j]) fit.c[j] /= norm[j];
  return fit;
}

double Polynomial::at(double t) const {
  double sum = 0;
  for (std::size_t i = c.size(); i-- > 0;) sum = sum * t + c[i];
  return sum;
}

double Polynomial::slope_at(double t) const {
  double sum = 0;
  for (std::size_t i = c.size(); i-- > 1;) sum = sum * t + static_cast<double>(i) * c[i];
  return sum;
}

double Polynomial::sigma_at(double t) const {
  std::vector<double> g(c.size());
  double power = 1;
  for (std::size_t i = 0; i < c.size(); ++i, power *= t) g[i] = power;
  return std::sqrt(std::max(0.0, quadratic_form(covariance, g)));
}

double Polynomial::slope_sigma_at(double t) const {
  std::vector<double> g(c.size());
  double power = 1;
  for (std::size_t i = 1; i < c.size(); ++i, power *= t) g[i] = static_cast<double>(i) * power;
  return std::sqrt(std::max(0.0, quadratic_form(covariance, g)));
}

Polynomial fit_polynomial(std::span<const double> t, std::span<const double> y, int degree,
                          std::span<const double> weights) {
  REEL_CHECK(degree >= 0, "degree {}", degree);
  const Points p = finite_points(t, y, weights);
  const auto k = static_cast<std::size_t>(degree) + 1;
  return in_caller_time(fit_linear(powers(p.t, k, p.middle, p.half), k, p.y, p.w), p.middle, p.half);
}

Polynomial fit_robust(std::span<const double> t, std::span<const double> y, int degree, double least_sigma) {
  REEL_CHECK(degree >= 0, "degree {}", degree);
  const Points p = finite_points(t, y, {});
  const auto k = static_cast<std::size_t>(degree) + 1;
  const std::size_t n = p.t.size();
  const std::vector<double> design = powers(p.t, k, p.middle, p.half);
  Linear fit = fit_linear(design, k, p.y);
  const Linear plain = fit;
  if (n <= k) return in_caller_time(plain, p.middle, p.half);
  std::vector<double> residual(n), size(n), weight(n, 1.0);
  const auto look = [&](const Linear& f) {
    for (std::size_t i = 0; i < n; ++i) {
      residual[i] = p.y[i];
      for (std::size_t j = 0; j < k; ++j) residual[i] -= design[i * k + j] * f.c[j];
      size[i] = std::abs(residual[i]);
    }
    return median(size);
  };
  double least = look(fit);
  std::vector<double> few(k * k), at(k);
  for (std::uint32_t draw = 0; draw < 120; ++draw) {
    for (std::size_t j = 0; j < k; ++j) {
      const auto bits = r123::Philox4x32()({{draw, static_cast<std::uint32_t>(j), 0, 0}}, {{0x666974, 0}});
      const std::size_t low = j * n / k, room = (j + 1) * n / k - low;
      const std::size_t i = low + static_cast<std::size_t>((static_cast<std::uint64_t>(bits[0]) * room) >> 32);
      std::copy_n(design.begin() + static_cast<std::ptrdiff_t>(i * k), k,
                  few.begin() + static_cast<std::ptrdiff_t>(j * k));
      at[j] = p.y[i];
    }
    const Linear candidate = fit_linear(few, k, at);
    const double m = look(candidate);
    if (m < least) least = m, fit = candidate;
  }
  double sigma = 0;
  for (int round = 0; round < 30; ++round) {
    // The median of few residuals is too small: the factor is that of Rousseeuw and Leroy (1987).
    const double few_points = 1 + 5 / static_cast<double>(n - k);
    sigma = std::max({1.4826 * few_points * look(fit), least_sigma, 1e-300});
    for (std::size_t i = 0; i < n; ++i) {
      const double u = residual[i] / (4.685 * sigma);
      weight[i] = std::abs(u) < 1 ? (1 - u * u) * (1 - u * u) : 0;
    }
    if (static_cast<std::size_t>(std::count_if(weight.begin(), weight.end(), [](double w) { return w > 0; })) < k)
      break;
    const Linear next = fit_linear(design, k, p.y, weight);
    double moved = 0, range = 0;
    for (std::size_t j = 0; j < k; ++j)
      moved = std::max(moved, std::abs(next.c[j] - fit.c[j])), range = std::max(range, std::abs(next.c[j]));
    fit = next;
    if (moved <= 1e-12 * range) break;
  }
  // Huber's covariance, over the points that count at all.
  look(fit);
  std::vector<double> counts(n);
  double psi2 = 0, slope_sum = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const double u = residual[i] / (4.685 * sigma), v = 1 - u * u;
    counts[i] = std::abs(u) < 1;
    if (counts[i] == 0) continue;
    psi2 += std::pow(residual[i] * v * v, 2);
    slope_sum += v * (1 - 5 * u * u);
  }
  if (fit.n > static_cast<int>(k) && slope_sum > 0.1 * fit.n) {
    fit.unit_covariance = fit_linear(design, k, p.y, counts).unit_covariance;
    const double mean_slope = slope_sum / fit.n,
                 variance = psi2 / (fit.n - static_cast<double>(k)) / (mean_slope * mean_slope);
    for (std::size_t i = 0; i < k * k; ++i) fit.covariance[i] = variance * fit.unit_covariance[i];
  }
  return in_caller_time(fit, p.middle, p.half);
}

Curve fit_curve(const Model& model, std::span<const double> y, std::vector<double> start, std::span<const double> low,
                std::span<const double> high) {
  const std::size_t n = y.size(), k = start.size();
  REEL_CHECK(n >= k && low.size() == k && high.size() == k, "{} points, {} parameters", n, k);
  std::vector<double> jacobian((n + k) * k), residual(n + k), ignored(k);
  const auto look = [&](std::span<const double> p, bool derive) {
    double sse = 0;
    for (std::size_t i = 0; i < n; ++i) {
      const double r = y[i] - model(i, p, derive ? std::span(jacobian).subspan(i * k, k) : std::span(ignored));
      if (derive) residual[i] = r;
      sse += r * r;
    }
    return sse;
  };
  Curve curve{std::move(start), {}, 0, 0};
  curve.sse = look(curve.p, true);
  double damping = 1e-3;
  std::vector<double> next(k);
  for (int step = 0; step < 60 && curve.sse > 0; ++step) {
    for (std::size_t j = 0; j < k; ++j) {
      double norm = 0;
      for (std::size_t i = 0; i < n; ++i) norm += jacobian[i * k + j] * jacobian[i * k + j];
      for (std::size_t c = 0; c < k; ++c) jacobian[(n + j) * k + c] = 0;
      jacobian[(n + j) * k + j] = std::sqrt(damping * std::max(norm, 1e-300));
      residual[n + j] = 0;
    }
    const Linear move = fit_linear(jacobian, k, residual);
    for (std::size_t j = 0; j < k; ++j) next[j] = std::clamp(curve.p[j] + move.c[j], low[j], high[j]);
    const double sse = look(next, false);
    if (!(sse < curve.sse)) {
      if (damping > 1e12) break;
      damping *= 8;
      continue;
    }
    const bool done = curve.sse - sse < 1e-14 * curve.sse;
    curve.p = next;
    curve.sse = look(curve.p, true);
    damping = std::max(1e-15, damping / 10);
    if (done) break;
  }
  curve.rms = n > k ? std::sqrt(curve.sse / static_cast<double>(n - k)) : 0;
  for (std::size_t j = 0; j < k; ++j)
    if (curve.p[j] <= low[j] || curve.p[j] >= high[j])
      for (std::size_t i = 0; i < n; ++i) jacobian[i * k + j] = 0;
  curve.unit_covariance = fit_linear(std::span(jacobian).first(n * k), k, std::span(residual).first(n)).unit_covariance;
  return curve;
}

double propagate(const std::function<double(std::span<const double>)>& f, std::span<const double> p,
                 std::span<const double> covariance) {
  const std::size_t k = p.size();
  REEL_CHECK(covariance.size() == k * k, "{} parameters, {} covariances", k, covariance.size());
  std::vector<double> g(k), moved(p.begin(), p.end());
  for (std::size_t i = 0; i < k; ++i) {
    const double step = 0.01 * std::sqrt(covariance[i * k + i]);
    if (step == 0) continue;
    moved[i] = p[i] + step;
    const double up = f(moved);
    moved[i] = p[i] - step;
    g[i] = (up - f(moved)) / (2 * step);
    moved[i] = p[i];
  }
  const double variance = quadratic_form({covariance.begin(), covariance.end()}, g);
  return std::isfinite(variance) ? std::sqrt(std::max(0.0, variance)) : none;
}

std::array<double, 2> slope(std::span<const double> t, std::span<const double> y) {
  const Points p = finite_points(t, y, {});
  if (p.t.size() < 3) return {none, none};
  const Polynomial line = fit_polynomial(p.t, p.y, 1);
  const double variance = line.covariance[3];
  return std::isfinite(variance) ? std::array{line.c[1], std::sqrt(variance)} : std::array{none, none};
}

double median(std::vector<double> values) { return quantile(std::move(values), 0.5); }

double quantile(std::vector<double> values, double q) {
  REEL_CHECK(q >= 0 && q <= 1, "q = {}", q);
  values = sorted(std::move(values));
  if (values.empty()) return none;
  const double at = q * static_cast<double>(values.size() - 1);
  const auto i = static_cast<std::size_t>(at);
  const double share = at - static_cast<double>(i);
  return share > 0 ? values[i] + share * (values[i + 1] - values[i]) : values[i];
}

std::vector<double> low_pass(std::span<const double> t, std::span<const double> y, double cutoff_hz) {
  REEL_CHECK(t.size() == y.size() && cutoff_hz > 0, "{} times, {} values, {} Hz", t.size(), y.size(), cutoff_hz);
  const double half = 1 / (2 * cutoff_hz);
  std::vector<double> low(y.size(), none);
  for (std::size_t i = 0; i < y.size(); ++i) {
    if (!std::isfinite(y[i]) || !std::isfinite(t[i])) continue;
    double s0 = 0, s1 = 0, s2 = 0, b0 = 0, b1 = 0;
    for (std::size_t j = 0; j < y.size(); ++j) {
      const double u = (t[j] - t[i]) / half;
      if (!(std::abs(u) < 1) || !std::isfinite(y[j])) continue;
      const double v = 1 - std::abs(u * u * u), w = v * v * v, d = y[j] - y[i];  // about the sample: no cancellation
      s0 += w, s1 += w * u, s2 += w * u * u, b0 += w * d, b1 += w * u * d;
    }
    const double det = s0 * s2 - s1 * s1;
    low[i] = y[i] + (det > 1e-12 * s0 * s0 ? (s2 * b0 - s1 * b1) / det : b0 / s0);
  }
  return low;
}

std::array<double, 2> bootstrap_mean(std::span<const double> values, double confidence, int draws, std::uint64_t seed) {
  REEL_CHECK(confidence > 0 && confidence < 1 && draws > 0, "confidence {}, {} draws", confidence, draws);
  std::vector<double> x;
  for (double v : values)
    if (std::isfinite(v)) x.push_back(v);
  if (x.empty()) return {none, none};
  const r123::Philox4x32::key_type key{{static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)}};
  std::vector<double> means;
  for (int draw = 0; draw < draws; ++draw) {
    double sum = 0;
    for (std::size_t i = 0; i < x.size(); i += 4) {
      const auto bits = r123::Philox4x32()(
          {{static_cast<std::uint32_t>(draw), static_cast<std::uint32_t>(i / 4), 0x626f6f74, 0}}, key);
      for (std::size_t j = i; j < std::min(i + 4, x.size()); ++j)
        sum += x[static_cast<std::size_t>((static_cast<std::uint64_t>(bits[j - i]) * x.size()) >> 32)];
    }
    means.push_back(sum / static_cast<double>(x.size()));
  }
  const double tail = 0.5 * (1 - confidence);
  return {quantile(means, tail), quantile(means, 1 - tail)};
}

Trace traced(std::string id, std::string name, std::string unit, std::vector<double> time_s,
             std::vector<double> value) {
  Trace trace{std::move(id), std::move(name), std::move(unit), std::move(time_s), std::move(value)};
  const auto line = slope(trace.time_s, trace.value);
  trace.slope_per_s = line[0];
  trace.slope_sigma = line[1];
  return trace;
}

}  // namespace reel::metrics
