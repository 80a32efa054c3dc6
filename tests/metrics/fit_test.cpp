// Fits against numbers worked by hand, closed forms of their doubt, and noise of a known size.
#include "metrics/fit.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "core/error.hpp"
#include "made_tracks.hpp"

namespace reel::metrics {
namespace {

using made::Noise;

TEST(Fit, APolynomialComesBackInTheCallersTime) {
  std::vector<double> t, y;
  for (int i = 0; i < 9; ++i) {
    t.push_back(1000 + 0.25 * i);
    y.push_back(3 - 2 * (t.back() - 1000) + 0.5 * std::pow(t.back() - 1000, 2));
  }
  const Polynomial p = fit_polynomial(t, y, 2);
  EXPECT_EQ(p.n, 9);
  EXPECT_NEAR(p.at(1000), 3, 1e-9);
  EXPECT_NEAR(p.at(1002), 1, 1e-9);
  EXPECT_NEAR(p.slope_at(1000), -2, 1e-8);
  EXPECT_NEAR(p.slope_at(1002), 0, 1e-8);
  EXPECT_NEAR(p.c[2], 0.5, 1e-9);
  EXPECT_NEAR(p.rms, 0, 1e-9);
}

TEST(Fit, LineByHand) {
  // Means 1 and 8/3, slope 3/2, residuals -1/6, 1/3, -1/6: variance of the slope (1/6) / 1 / 2.
  const std::vector<double> t{0, 1, 2}, y{1, 3, 4};
  const Polynomial p = fit_polynomial(t, y, 1);
  EXPECT_NEAR(p.c[0], 7.0 / 6, 1e-12);
  EXPECT_NEAR(p.c[1], 1.5, 1e-12);
  EXPECT_NEAR(p.rms, std::sqrt(1.0 / 6), 1e-12);
  EXPECT_NEAR(p.covariance[3], 1.0 / 12, 1e-12);
  EXPECT_NEAR(p.unit_covariance[3], 0.5, 1e-12);
  EXPECT_NEAR(p.covariance[0], (1.0 / 6) * (1.0 / 3 + 1.0 / 2), 1e-12);
  EXPECT_NEAR(p.sigma_at(1), std::sqrt(1.0 / 18), 1e-12);        // in the middle: s^2 / n
  EXPECT_NEAR(p.slope_sigma_at(7), std::sqrt(1.0 / 12), 1e-12);  // the same everywhere
  const auto [value, sigma] = slope(t, y);
  EXPECT_NEAR(value, 1.5, 1e-12);
  EXPECT_NEAR(sigma, std::sqrt(1.0 / 12), 1e-12);
}

TEST(Fit, WeightsAndHolesLeavePointsOut) {
  const std::vector<double> t{0, 1, 2, 3, 4}, y{1, 3, nan, 7, 100}, w{1, 1, 1, 1, 0};
  const Polynomial p = fit_polynomial(t, y, 1, w);
  EXPECT_EQ(p.n, 3);
  EXPECT_NEAR(p.c[0], 1, 1e-12);
  EXPECT_NEAR(p.c[1], 2, 1e-12);
  // A weight of 2 counts as two points.
  const std::vector<double> once{0, 1, 2}, z{0, 1, 5}, twice{0, 1, 2, 2}, zz{0, 1, 5, 5}, weights{1, 1, 2};
  EXPECT_NEAR(fit_polynomial(once, z, 1, weights).c[1], fit_polynomial(twice, zz, 1).c[1], 1e-12);
}

TEST(Fit, WhatThePointsDoNotSayIsNotInvented) {
  const std::vector<double> t{2, 2, 2}, y{1, 2, 3};
  const Polynomial p = fit_polynomial(t, y, 1);
  EXPECT_TRUE(std::isnan(p.covariance[3]));
  EXPECT_NEAR(p.at(2), 2, 1e-12);
  try {
    fit_polynomial(std::vector<double>{0, nan}, std::vector<double>{1, 2}, 1);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.exit(), Exit::bug);
  }
  EXPECT_TRUE(std::isnan(slope(std::vector<double>{0, 1}, std::vector<double>{0, 1})[0]));
  EXPECT_TRUE(std::isnan(slope(t, y)[1]));
}

TEST(Fit, AnOutlierAmongTenDoesNotMoveTheRobustFitWhereverItIs) {
  std::vector<double> t, y;
  Noise noise(3);
  for (int i = 0; i < 10; ++i)
    t.push_back(0.1 * i), y.push_back(5 + 3 * t[t.size() - 1] - 40 * std::pow(t.back(), 2) + 0.1 * noise.normal());
  for (std::size_t k = 0; k < 10; ++k) {
    std::vector<double> without_t = t, without_y = y, with_outlier = y;
    without_t.erase(without_t.begin() + static_cast<std::ptrdiff_t>(k));
    without_y.erase(without_y.begin() + static_cast<std::ptrdiff_t>(k));
    for (double size : {5.0, -5.0, 1000.0}) {
      with_outlier[k] = y[k] + size;
      const Polynomial p = fit_robust(t, with_outlier, 2, 0.1), q = fit_robust(without_t, without_y, 2, 0.1);
      // Only the robust sigma can differ a little: by far less than the noise of 0.1.
      for (double at : {0.0, 0.45, 0.9}) EXPECT_NEAR(p.at(at), q.at(at), 1e-3) << k << " " << size;
      EXPECT_GT(std::abs(fit_polynomial(t, with_outlier, 2).at(t[k]) - q.at(t[k])), 0.5);  // negative control
    }
  }
}

TEST(Fit, TheRobustFitQuotesItsOwnScatter) {
  for (const bool dirty : {false, true}) {
    double sum = 0, sum2 = 0, quoted2 = 0;
    constexpr int trials = 600;
    for (int trial = 0; trial < trials; ++trial) {
      Noise noise(static_cast<std::uint64_t>(trial));
      std::vector<double> t, y;
      for (int i = 0; i < 24; ++i) t.push_back(i / 24.0), y.push_back(4 * t.back() * t.back() + 0.3 * noise.normal());
      if (dirty) y[static_cast<std::size_t>(trial % 24)] += 8, y[static_cast<std::size_t>((trial + 11) % 24)] -= 6;
      const Polynomial p = fit_robust(t, y, 2);
      sum += p.c[2] / trials, sum2 += p.c[2] * p.c[2] / trials, quoted2 += p.covariance[8] / trials;
    }
    const double scatter = std::sqrt(sum2 - sum * sum);
    EXPECT_NEAR(sum, 4, 4 * scatter / std::sqrt(trials));
    EXPECT_NEAR(std::sqrt(quoted2) / scatter, 1, 0.15) << dirty;
  }
}

TEST(Fit, CurvesOfAnyShape) {
  std::vector<double> t, y;
  for (int i = 0; i < 20; ++i) t.push_back(0.1 * i), y.push_back(2 + 5 * std::exp(-1.7 * t.back()));
  const Model model = [&](std::size_t i, std::span<const double> p, std::span<double> d) {
    const double e = std::exp(-p[2] * t[i]);
    d[0] = 1, d[1] = e, d[2] = -p[1] * t[i] * e;
    return p[0] + p[1] * e;
  };
  const std::vector<double> low{-100, -100, 0}, high{100, 100, 10};
  const Curve c = fit_curve(model, y, {0, 1, 0.5}, low, high);
  EXPECT_NEAR(c.p[0], 2, 1e-8);
  EXPECT_NEAR(c.p[1], 5, 1e-8);
  EXPECT_NEAR(c.p[2], 1.7, 1e-8);
  // At a bound the parameter is held, and has no doubt of its own.
  const Curve held = fit_curve(model, y, {0, 1, 0.5}, low, std::vector<double>{100, 100, 1});
  EXPECT_EQ(held.p[2], 1);
  EXPECT_TRUE(std::isnan(held.unit_covariance[8]));
  EXPECT_GT(held.sse, 1e-3);
}

TEST(Fit, ErrorsPropagateThroughAQuotient) {
  // f = a / b: (sigma_f / f)^2 = (sigma_a / a)^2 + (sigma_b / b)^2 - 2 cov / (a b)
  const std::vector<double> p{6, 2}, covariance{0.04, 0.01, 0.01, 0.01};
  const double s = propagate([](std::span<const double> q) { return q[0] / q[1]; }, p, covariance);
  EXPECT_NEAR(s, 3 * std::sqrt(0.04 / 36 + 0.01 / 4 - 2 * 0.01 / 12), 1e-4);
  EXPECT_TRUE(std::isnan(propagate([](std::span<const double>) { return nan; }, p, covariance)));
}

TEST(Fit, QuantilesOfTheFiniteValues) {
  EXPECT_EQ(quantile({4, 1, nan, 3, 2}, 0.25), 1.75);
  EXPECT_EQ(quantile({4, 1, 3, 2}, 1), 4);
  EXPECT_EQ(median({5, nan, 1}), 3);
  EXPECT_EQ(median({7}), 7);
  EXPECT_TRUE(std::isnan(median({nan})));
  EXPECT_TRUE(std::isnan(median({})));
}

TEST(Fit, LowPassKeepsLinesAndTakesFastSwings) {
  std::vector<double> t, line, fast, slow;
  for (int i = 0; i < 96; ++i) {
    t.push_back(i / 24.0 + 0.003 * std::sin(i));  // uneven
    line.push_back(3 - 2 * t.back());
    fast.push_back(std::sin(2 * std::numbers::pi * 6 * t.back()));
    slow.push_back(std::sin(2 * std::numbers::pi * 0.2 * t.back()));
  }
  const auto low_line = low_pass(t, line, 1), low_fast = low_pass(t, fast, 1), low_slow = low_pass(t, slow, 1);
  for (std::size_t i = 0; i < t.size(); ++i) EXPECT_NEAR(low_line[i], line[i], 1e-12);
  for (std::size_t i = 15; i < 80; ++i) {
    EXPECT_LT(std::abs(low_fast[i]), 0.05);
    EXPECT_NEAR(low_slow[i], slow[i], 0.05);
  }
  line[40] = nan;
  const auto holed = low_pass(t, line, 1);
  EXPECT_TRUE(std::isnan(holed[40]));
  EXPECT_NEAR(holed[41], line[41], 1e-12);
  EXPECT_EQ(low_pass(std::vector<double>{5}, std::vector<double>{2}, 1)[0], 2);
}

TEST(Fit, BootstrapOfTheMean) {
  const std::vector<double> same(10, 4.0);
  EXPECT_EQ(bootstrap_mean(same)[0], 4);
  EXPECT_EQ(bootstrap_mean(same)[1], 4);
  EXPECT_TRUE(std::isnan(bootstrap_mean({})[0]));
  std::vector<double> values;
  Noise noise(5);
  for (int i = 0; i < 200; ++i) values.push_back(noise.normal());
  double mean = 0, variance = 0;
  for (double v : values) mean += v / 200;
  for (double v : values) variance += (v - mean) * (v - mean) / 200;
  const auto interval = bootstrap_mean(values), again = bootstrap_mean(values),
             other = bootstrap_mean(values, 0.95, 2000, 9);
  EXPECT_EQ(interval, again);
  EXPECT_NE(interval, other);
  // The bootstrap's own error of a 2.5 % quantile from 2000 draws is about 0.06 of the standard error.
  const double error = std::sqrt(variance / 200);
  EXPECT_NEAR(interval[0], mean - 1.96 * error, 0.2 * error);
  EXPECT_NEAR(interval[1], mean + 1.96 * error, 0.2 * error);
}

TEST(Fit, NoiseOfATrack) {
  double sum = 0;
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    const Track t = made::track([](double s) { return 100 + 50 * s; }, [](double s) { return 20 + 400 * s * s; },
                                {.num_frames = 48, .sigma_px = 0.2, .seed = seed});
    sum += std::pow(position_sigma_px(t), 2) / 100;
  }
  EXPECT_NEAR(std::sqrt(sum), 0.2, 0.006);
  Track exact = made::track([](double s) { return 100 + 50 * s; }, [](double s) { return 20 + 400 * s * s; });
  EXPECT_NEAR(position_sigma_px(exact), 0, 1e-9);
  for (std::size_t f = 3; f < 24; f += 6) made::hide(exact, f, f + 1);  // never 7 in a row
  EXPECT_TRUE(std::isnan(position_sigma_px(exact)));
  EXPECT_TRUE(std::isnan(position_sigma_px(Track{})));
}

}  // namespace
}  // namespace reel::metrics
