// Sobol indices of functions whose indices are known, and values of information of closed cases.
#include "cost/sensitivity.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <boost/math/special_functions/beta.hpp>
#include <cmath>
#include <limits>
#include <numbers>

#include "core/error.hpp"
#include "core/parallel.hpp"

namespace reel::cost {
namespace {

using Shape = Spread::Shape;
using std::int64_t;
using std::size_t;

constexpr double pi = std::numbers::pi;

// One output y = f(x of one draw).
template <class F>
Evaluate each(size_t num, F f) {
  return [=](size_t n, std::span<const double> x, std::span<double> y) {
    std::vector<double> row(num);
    for (size_t i = 0; i < n; ++i) {
      for (size_t j = 0; j < num; ++j) row[j] = x[j * n + i];
      y[i] = f(row);
    }
  };
}

std::vector<double> flat(const std::vector<SobolIndex>& indices) {
  std::vector<double> out;
  for (const SobolIndex& s : indices)
    out.insert(out.end(), {s.total, s.total_low, s.total_high, s.first, s.first_low, s.first_high});
  return out;
}

void expect_index(const SobolIndex& s, double total, double first, double tolerance) {
  EXPECT_NEAR(s.total, total, tolerance);
  EXPECT_NEAR(s.first, first, tolerance);
  EXPECT_LE(s.total_low, s.total);
  EXPECT_GE(s.total_high, s.total);
  EXPECT_LE(s.first_low, s.first);
  EXPECT_GE(s.first_high, s.first);
}

const std::vector<Input> ishigami_inputs{
    {"x1", Quantile::uniform(-pi, pi)}, {"x2", Quantile::uniform(-pi, pi)}, {"x3", Quantile::uniform(-pi, pi)}};
const Evaluate ishigami = each(3, [](const std::vector<double>& x) {
  return std::sin(x[0]) + 7 * std::pow(std::sin(x[1]), 2) + 0.1 * std::pow(x[2], 4) * std::sin(x[0]);
});

TEST(Sobol, OfIshigami) {
  const std::vector<SobolIndex> s = sobol(ishigami_inputs, ishigami, 1, 0, 15, 1);
  ASSERT_EQ(s.size(), 4u);
  const std::array total{0.5576, 0.4424, 0.2437}, first{0.3139, 0.4424, 0.0};
  for (size_t j = 0; j < 3; ++j) {
    expect_index(s[j], total[j], first[j], 0.02);
    // Within twice the interval: six of 90 % would not all hold. How often one holds is tested below.
    EXPECT_LT(std::abs(s[j].total - total[j]), s[j].total_high - s[j].total_low);
    EXPECT_LT(std::abs(s[j].first - first[j]), s[j].first_high - s[j].first_low);
  }
  EXPECT_EQ(s[3].total, 0);
}

TEST(Sobol, IntervalsHoldNineTimesInTen) {
  const std::array total{0.5576, 0.4424, 0.2437}, first{0.3139, 0.4424, 0.0};
  int held = 0;
  double width = 0;
  constexpr int num_seeds = 50;
  for (std::uint64_t seed = 100; seed < 100 + num_seeds; ++seed) {
    const std::vector<SobolIndex> s = sobol(ishigami_inputs, ishigami, 1, 0, 10, seed);
    for (size_t j = 0; j < 3; ++j) {
      held += s[j].total_low < total[j] && total[j] < s[j].total_high;
      held += s[j].first_low < first[j] && first[j] < s[j].first_high;
      width += s[j].total_high - s[j].total_low;
    }
  }
  EXPECT_NEAR(held / (6.0 * num_seeds), 0.9, 0.05);
  EXPECT_LT(width / (3 * num_seeds), 0.2);
}

TEST(Sobol, OfASumAreSharesOfVariance) {
  const Quantile unit = Quantile::uniform(0, 1);
  const std::vector<Input> inputs{{"a", unit}, {"b", unit}, {"c", unit}, {"idle", unit}};
  const std::vector<SobolIndex> s = sobol(
      inputs, each(4, [](const std::vector<double>& x) { return 1e6 + 3 * x[0] + 2 * x[1] - x[2]; }), 1, 0, 14, 3);
  expect_index(s[0], 9.0 / 14, 9.0 / 14, 0.02);
  expect_index(s[1], 4.0 / 14, 4.0 / 14, 0.02);
  expect_index(s[2], 1.0 / 14, 1.0 / 14, 0.02);
  for (const size_t j : {size_t{3}, size_t{4}})  // the idle input and the tier, which nothing follows
    EXPECT_EQ(flat({s[j]}), std::vector<double>(6, 0.0));
}

TEST(Sobol, WhatMovesInputsTogetherIsTheTiers) {
  const Quantile score = Quantile::of({-z_p90 + 10, 10, z_p90 + 10}, 0);  // about normal
  const auto sum = each(2, [](const std::vector<double>& x) { return x[0] + x[1]; });
  const auto both = [&](double tier) { return sobol({{"a", score, tier}, {"b", score, tier}}, sum, 1, 0, 14, 4); };
  // Var = 4 tier^2 of the tier and 1 - tier^2 of each.
  const double tier = 0.8, all = 4 * 0.64 + 2 * 0.36;
  const std::vector<SobolIndex> s = both(tier);
  expect_index(s[0], 0.36 / all, 0.36 / all, 0.02);
  expect_index(s[1], 0.36 / all, 0.36 / all, 0.02);
  expect_index(s[2], 4 * 0.64 / all, 4 * 0.64 / all, 0.02);
  const std::vector<SobolIndex> full = both(1);
  EXPECT_EQ(full[0].total, 0);
  EXPECT_EQ(full[1].total, 0);
  EXPECT_NEAR(full[2].total, 1, 0.02);
  const std::vector<SobolIndex> none = both(0);
  EXPECT_NEAR(none[0].total, 0.5, 0.02);
  EXPECT_EQ(none[2].total, 0);
}

TEST(Sobol, LuckHasItsShareButNoIndex) {
  const Quantile unit = Quantile::uniform(0, 1);
  const std::vector<Input> inputs{{"a", unit}, {"luck", unit, 0, false}};
  const std::vector<SobolIndex> s =
      sobol(inputs, each(2, [](const std::vector<double>& x) { return x[0] + 2 * x[1]; }), 1, 0, 14, 5);
  expect_index(s[0], 0.2, 0.2, 0.02);
  EXPECT_EQ(flat({s[1]}), std::vector<double>(6, 0.0));
}

TEST(Sobol, HasOneSetOfBits) {
  const std::vector<Input> inputs{{"a", Quantile::of({1, 2, 6}), 0.5},
                                  {"b", Quantile::of({1, 2, 6, Shape::lognormal}), 0.9},
                                  {"luck", Quantile::uniform(0, 1), 0, false},
                                  {"c", Quantile::beta(2, 5)}};
  const auto f = [](size_t n, std::span<const double> x, std::span<double> y) {
    for (size_t i = 0; i < n; ++i) {
      y[i] = 7;
      y[n + i] = x[i] * x[n + i] / (0.1 + x[3 * n + i]) + x[2 * n + i];
    }
  };
  const std::vector<double> want = flat(sobol(inputs, f, 2, 1, 11, 6));
  set_num_threads(2);
  const std::vector<double> got = flat(sobol(inputs, f, 2, 1, 11, 6));
  set_num_threads(1);
  EXPECT_FALSE(got != want);
  EXPECT_TRUE(flat(sobol(inputs, f, 2, 1, 11, 7)) != want);
  // An output that does not vary has no shares.
  EXPECT_EQ(flat(sobol(inputs, f, 2, 0, 11, 6)), std::vector<double>(30, 0.0));
  EXPECT_THROW(sobol(inputs, f, 2, 2, 11, 6), Error);
  EXPECT_THROW(sobol(inputs, f, 2, 1, 3, 6), Error);
}

TEST(Tornado, SetsOneInputAtATime) {
  const std::vector<Input> inputs{{"a", Quantile::of({1, 2, 6}), 0.9},
                                  {"b", Quantile::of({10, 20, 90, Shape::lognormal})}};
  const auto f = [](size_t n, std::span<const double> x, std::span<double> y) {
    for (size_t i = 0; i < n; ++i) {
      y[i] = -1;
      y[n + i] = 100 * x[i] + x[n + i];
    }
  };
  const std::vector<TornadoBar> bars = tornado(inputs, f, 2, 1);
  ASSERT_EQ(bars.size(), 2u);
  const double a = inputs[0].quantile(0), b = inputs[1].quantile(0);
  EXPECT_EQ(bars[0].low, 100 * inputs[0].quantile(-z_p90) + b);
  EXPECT_EQ(bars[0].high, 100 * inputs[0].quantile(z_p90) + b);
  EXPECT_EQ(bars[1].low, 100 * a + inputs[1].quantile(-z_p90));
  EXPECT_EQ(bars[1].high, 100 * a + inputs[1].quantile(z_p90));
  EXPECT_NEAR(bars[0].high, 600 + 30, 1e-4);
  EXPECT_NEAR(bars[1].low, 100 * a + 10, 1e-4);
  EXPECT_TRUE(tornado({}, f, 2, 1).empty());
}

TEST(ValueOfKnowing, IsTheIntegralOverTheInput) {
  // Choices of mean cost 3 + x and 3.2 with x uniform in [0, 1]: min(3.5, 3.2) - E[min(3 + x, 3.2)] = 3.2 - 3.18.
  constexpr size_t num = 200000;
  std::vector<double> x(num), noise(num), other(num), idle(num);
  normals(1, "x", 0, x);
  normals(1, "noise", 0, noise);
  normals(1, "idle", 0, idle);
  Quantile::uniform(0, 1).replace(x);
  std::vector<double> first(num);
  for (size_t i = 0; i < num; ++i) {
    first[i] = 3 + x[i] + 0.1 * noise[i];
    other[i] = 3.2 - 0.1 * noise[i];
  }
  EXPECT_NEAR(value_of_knowing(x, {&first, &other}), 0.02, 5e-4);
  EXPECT_NEAR(value_of_knowing(x, {&other, &first}), 0.02, 5e-4);
  EXPECT_LT(value_of_knowing(idle, {&first, &other}), 1e-6);
  EXPECT_EQ(value_of_knowing(std::vector<double>(num, 1.0), {&first, &other}), 0);
  EXPECT_EQ(value_of_knowing(x, {&first}), 0);

  // One choice is best whatever x: exactly nothing.
  std::vector<double> dear(num);
  for (size_t i = 0; i < num; ++i) dear[i] = first[i] + 1;
  EXPECT_EQ(value_of_knowing(x, {&first, &dear}), 0);

  // A choice of its own for either value of an input with two values: equal values stay in one bin.
  std::vector<double> coin(num), heads(num), tails(num);
  double ones = 0;
  for (size_t i = 0; i < num; ++i) {
    coin[i] = noise[i] > 0.3 ? 1 : 0;
    heads[i] = coin[i] + 100 * idle[i] - 100 * idle[i];
    tails[i] = 1 - coin[i];
    ones += coin[i];
  }
  EXPECT_NEAR(value_of_knowing(coin, {&heads, &tails}), ones / num, 1e-12);
  EXPECT_THROW(value_of_knowing(x, {}), Error);
  EXPECT_THROW(value_of_knowing({1.0}, {&first}), Error);
}

TEST(ValueOfKnowing,
     OfNoiseAmongEqualValuesIsNothing) {  // a discrete input that says nothing, choices close to each other
  constexpr size_t num = 6400;
  std::vector<double> days(num), fine(num), a(num), b(num);
  normals(1, "days", 0, fine);
  normals(1, "a", 0, a);
  normals(1, "b", 0, b);
  for (size_t i = 0; i < num; ++i) days[i] = fine[i] > 0 ? 2 : 1;
  const double two = value_of_knowing(days, {&a, &b}), continuous = value_of_knowing(fine, {&a, &b});
  EXPECT_LT(two, 0.02);
  EXPECT_NEAR(continuous, 0.4 * std::numbers::sqrt2 * 0.1, 0.02);  // what 64 bins make of noise: documented
}

double log_beta(double a, double b) { return std::lgamma(a) + std::lgamma(b) - std::lgamma(a + b); }
double beta_binomial(double a, double b, int64_t n, int64_t k) {
  const auto t = static_cast<double>(n), g = static_cast<double>(k);
  return std::exp(std::lgamma(t + 1) - std::lgamma(g + 1) - std::lgamma(t - g + 1) + log_beta(a + g, b + t - g) -
                  log_beta(a, b));
}
// E[f(p)], p ~ Beta(a, b), by equal steps of probability.
template <class F>
double mean_over_beta(double a, double b, F f) {
  constexpr int num = 4000;
  double sum = 0;
  for (int i = 0; i < num; ++i) sum += f(boost::math::ibeta_inv(a, b, (i + 0.5) / num));
  return sum / num;
}

TEST(ValueOfLabels, OfLinearCostIsTheClosedSum) {
  const auto cost = [](double p) { return 100 - 80 * p; };
  for (const auto& [a, b] : std::vector<std::array<double, 2>>{{1, 1}, {0.5, 0.5}, {2, 7}, {15.5, 335.5}, {0.2, 3}})
    for (const int64_t n : {1, 2, 10, 100, 2000}) {
      const double other = 100 - 80 * a / (a + b) + 1;
      double want = std::min(other, 100 - 80 * a / (a + b));
      for (int64_t k = 0; k <= n; ++k) {
        const double mean = (a + static_cast<double>(k)) / (a + b + static_cast<double>(n));
        want -= beta_binomial(a, b, n, k) * std::min(100 - 80 * mean, other);
      }
      EXPECT_NEAR(value_of_labels(a, b, cost, other, n), want, 2e-5) << a << ' ' << b << ' ' << n;
    }
}

TEST(ValueOfLabels, OfCappedTakesIsBruteForce) {  // cost of a usable shot when takes are capped at 50
  const auto cost = [](double p) { return 7 * (1 - std::pow(1 - p, 50)) / p + 900 * std::pow(1 - p, 50); };
  const double a = 1.5, b = 15, other = 180;
  const int64_t n = 12;
  double want = std::min(other, mean_over_beta(a, b, cost));
  for (int64_t k = 0; k <= n; ++k) {
    const double mean = mean_over_beta(a + static_cast<double>(k), b + static_cast<double>(n - k), cost);
    want -= beta_binomial(a, b, n, k) * std::min(mean, other);
  }
  EXPECT_GT(want, 1);
  EXPECT_NEAR(value_of_labels(a, b, cost, other, n), want, 1e-3 * want);
}

TEST(ValueOfLabels, RisesToThatOfPerfectInformation) {
  const auto cost = [](double p) { return 20 / std::max(p, 0.01); };
  const double a = 1.5, b = 15, other = 300, mean = mean_over_beta(a, b, cost);
  const double perfect =
      std::min(mean, other) - mean_over_beta(a, b, [&](double p) { return std::min(cost(p), other); });
  EXPECT_EQ(value_of_labels(a, b, cost, other, 0), 0);
  double last = 0;
  for (const int64_t n : {1, 2, 4, 8, 16, 64, 256, 1024, 4096}) {
    const double value = value_of_labels(a, b, cost, other, n);
    EXPECT_GE(value, last * (1 - 1e-12)) << n;
    EXPECT_LE(value, perfect * (1 + 1e-4)) << n;
    last = value;
  }
  EXPECT_NEAR(last / perfect, 1, 0.01);
  EXPECT_LT(value_of_labels(a, b, cost, other, 1) / perfect, 0.5);
}

TEST(ValueOfLabels, IsNothingWhenTheChoiceIsClear) {
  const auto cost = [](double p) { return 100 - 80 * p; };
  for (const int64_t n : {1, 30}) {
    EXPECT_EQ(value_of_labels(2, 7, cost, 101, n), 0);
    EXPECT_EQ(value_of_labels(2, 7, cost, 19, n), 0);
  }
  EXPECT_THROW(value_of_labels(
                   2, 7, [](double) { return std::numeric_limits<double>::infinity(); }, 1, 1),
               Error);
  EXPECT_THROW(value_of_labels(2, 7, cost, std::numeric_limits<double>::quiet_NaN(), 1), Error);
  EXPECT_THROW(value_of_labels(0, 7, cost, 1, 1), Error);
  EXPECT_THROW(value_of_labels(2, 7, cost, 1, -1), Error);
  const double one_thread = value_of_labels(2, 7, cost, 80, 300);
  set_num_threads(2);
  const double two_threads = value_of_labels(2, 7, cost, 80, 300);
  set_num_threads(1);
  EXPECT_FALSE(one_thread != two_threads);
  EXPECT_GT(one_thread, 0);
}

}  // namespace
}  // namespace reel::cost
