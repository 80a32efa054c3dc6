// The high pass against its definition, and jitter against waves and noise of known size.
#include "metrics/jitter.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>
#include <vector>

#include "synthetic.hpp"

namespace reel::metrics {
namespace {

using synthetic::tau;

std::vector<double> times(std::size_t n, double fps) {
  std::vector<double> t(n);
  for (std::size_t i = 0; i < n; ++i) t[i] = static_cast<double>(i) / fps;
  return t;
}

TEST(HighPass, AgreesWithADenseSolutionAtUnevenTimes) {
  // Oracle: the normal equations (1 + w D'D) z = y with D from Newton's divided differences, solved by elimination.
  constexpr std::size_t n = 14;
  const worlds::Draws draws(1, "high pass");
  std::vector<double> t(n), y(n);
  for (std::size_t i = 0; i < n; ++i) {
    const auto k = static_cast<std::int64_t>(i);
    t[i] = 0.1 * (static_cast<double>(i) + 0.6 * draws.unit("t", k)), y[i] = draws.between(-3, 5, "y", k);
  }
  const double dt = (t[n - 1] - t[0]) / (n - 1), w = std::pow(2 * std::sin(std::numbers::pi * 0.863 * dt), -6);
  std::vector<std::vector<double>> a(n, std::vector<double>(n + 1, 0));
  for (std::size_t i = 0; i < n; ++i) a[i][i] = 1, a[i][n] = y[i];
  for (std::size_t i = 0; i + 3 < n; ++i) {
    double d[4];
    for (std::size_t k = 0; k < 4; ++k) {  // third divided difference of the unit vector k, by the recursion
      double v[4] = {};
      v[k] = 1;
      for (std::size_t order = 1; order <= 3; ++order)
        for (std::size_t j = 0; j + order <= 3; ++j) v[j] = (v[j + 1] - v[j]) / (t[i + j + order] - t[i + j]);
      d[k] = v[0] * 6 * dt * dt * dt;
    }
    for (std::size_t p = 0; p < 4; ++p)
      for (std::size_t q = 0; q < 4; ++q) a[i + p][i + q] += w * d[p] * d[q];
  }
  for (std::size_t c = 0; c < n; ++c)
    for (std::size_t r = 0; r < n; ++r)
      if (r != c)
        for (std::size_t k = n + 1; k-- > c;) a[r][k] -= a[r][c] / a[c][c] * a[c][k];
  const std::vector<double> high = high_pass(t, y);
  for (std::size_t i = 0; i < n; ++i) EXPECT_NEAR(high[i], y[i] - a[i][n] / a[i][i], 1e-9);
}

TEST(HighPass, LeavesNothingOfAParabolaAndItsOwnGainOfAWave) {
  const std::vector<double> t = times(480, 24);
  std::vector<double> parabola, with_gap;
  for (const double s : t) parabola.push_back(3 - 40 * s + 25 * s * s);
  with_gap = parabola;
  with_gap[100] = with_gap[101] = nan;
  const auto quiet = high_pass(t, parabola), gap = high_pass(t, with_gap);
  for (std::size_t i = 0; i < t.size(); ++i) {
    EXPECT_NEAR(quiet[i], 0, 1e-6);
    if (i == 100 || i == 101)
      EXPECT_TRUE(std::isnan(gap[i]));
    else
      EXPECT_NEAR(gap[i], 0, 1e-6);
  }
  for (const double hz : {0.25, 0.5, 1.0, 2.0, 4.0}) {
    std::vector<double> y;
    for (const double s : t) y.push_back(std::cos(tau * hz * (s - 10)));
    // Exact for samples: u = (sin(pi f dt) / sin(pi 0.863 dt))^6.
    const double u = std::pow(std::sin(std::numbers::pi * hz / 24) / std::sin(std::numbers::pi * 0.863 / 24), 6);
    EXPECT_NEAR(high_pass(t, y)[240], u / (1 + u), 1e-4) << hz;
  }
}

TEST(Jitter, GivesBackWavesAndWhiteNoise) {
  for (const auto& [n, fps] : {std::pair<std::size_t, double>{33, 24}, {48, 16}, {240, 24}, {360, 60}}) {
    const std::vector<double> t = times(n, fps);
    double worst = 0;
    for (const double hz : {2.0, 3.0, 4.0, 6.0})
      for (const double phase : {0.0, 0.8, 1.6, 2.4}) {
        std::vector<double> y;
        double square = 0;
        for (const double s : t) {
          y.push_back(3 * std::sin(tau * hz * s + phase) + 7 * s);
          square += 9 * std::pow(std::sin(tau * hz * s + phase), 2) / static_cast<double>(n);
        }
        const double ratio = jitter(t, y).rms / std::sqrt(square);
        worst = std::max(worst, std::abs(ratio - 1));
        EXPECT_NEAR(ratio, 1, n < 48 && hz < 3 ? 0.10 : 0.03) << n << " samples, " << hz << " Hz";
      }
    const worlds::Draws draws(3, "jitter");
    double white = 0;
    for (int trial = 0; trial < 8; ++trial) {
      std::vector<double> y;
      double square = 0;
      for (std::size_t i = 0; i < n; ++i) {
        y.push_back(synthetic::normal(draws, "y", static_cast<std::int64_t>(i) + 1000 * trial));
        square += y.back() * y.back() / static_cast<double>(n);
      }
      white += jitter(t, y).rms / std::sqrt(square) / 8;
    }
    std::printf("  %d samples at %.0f per s: waves within %.3f, white noise %.3f\n", static_cast<int>(n), fps, worst,
                white);
    EXPECT_NEAR(white, 1, 0.03) << n;
  }
}

TEST(PowerAbove, HoldsForALineAsForNoise) {
  for (const std::size_t n : {33u, 34u, 81u}) {
    const std::vector<double> t = times(n, 24);
    const auto power = [&](const std::vector<double>& y) { return power_above(t, high_pass(t, y)); };
    std::vector<double> y(n);
    double lines = 0, lines_by_one_factor = 0;
    for (int phase = 0; phase < 16; ++phase) {
      for (std::size_t i = 0; i < n; ++i) y[i] = 100 + 3 * std::sin(tau * (4 * t[i] + phase / 16.0));
      EXPECT_NEAR(std::sqrt(power(y)), 3 / std::sqrt(2.0), 0.05) << n;  // half periods at the ends: the phase counts
      lines += power(y) / 16;
      for (const double r : high_pass(t, y)) lines_by_one_factor += r * r / kept_power(n, 1 / 24.0) / static_cast<double>(16 * n);
    }
    EXPECT_NEAR(lines, 4.5, 0.01 * 4.5) << n;
    EXPECT_GT(lines_by_one_factor, 1.01 * 4.5) << n << ": why there is power_above";
    const worlds::Draws draws(n, "noise");
    double noise = 0;
    for (int k = 0; k < 400; ++k) {
      for (std::size_t i = 0; i < n; ++i) y[i] = draws.between(-std::sqrt(3.0), std::sqrt(3.0), "y", k * 1000 + static_cast<std::int64_t>(i));
      noise += power(y) / 400;
    }
    // Frequencies from 1 Hz on, of n / 2 in all; a constant and what is below do not count.
    double share = 0;
    for (std::size_t k = 1; 2 * k <= n; ++k)
      if (static_cast<double>(k) * 24 >= static_cast<double>(n)) share += (2 * k == n ? 1.0 : 2.0) / static_cast<double>(n);
    EXPECT_NEAR(noise, share, 0.03) << n;
  }
}

TEST(Jitter, BandsHoldTheirShareAndAddUp) {
  const std::vector<double> t = times(240, 24);
  std::vector<double> y;
  for (const double s : t)
    y.push_back(2 * std::sin(tau * 2 * s) + 1 * std::sin(tau * 5 * s) + 0.5 * std::sin(tau * 10 * s));
  const Jitter j = jitter(t, y);
  EXPECT_NEAR(j.band[0], 2 / std::sqrt(2), 0.03);
  EXPECT_NEAR(j.band[1], 1 / std::sqrt(2), 0.02);
  EXPECT_NEAR(j.band[2], 0.5 / std::sqrt(2), 0.01);
  EXPECT_NEAR(std::hypot(j.band[0], j.band[1], j.band[2]), j.rms, 0.03 * j.rms);
  EXPECT_TRUE(std::isnan(jitter(times(60, 12), std::vector<double>(60, 1)).band[2]));  // no 8 Hz in 12 per second
  EXPECT_TRUE(std::isnan(jitter(times(11, 24), std::vector<double>(11, 1)).rms));
  EXPECT_TRUE(std::isnan(jitter(times(60, 3), std::vector<double>(60, 1)).rms));
  EXPECT_EQ(jitter(times(60, 24), std::vector<double>(60, 1)).rms, 0);
}

}  // namespace
}  // namespace reel::metrics
