// Quantile tables against Boost, moments against closed formulas, and spreads that must be refused.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <boost/math/distributions/normal.hpp>
#include <boost/math/special_functions/beta.hpp>
#include <cmath>
#include <limits>

#include "core/error.hpp"
#include "cost/draws.hpp"

namespace reel::cost {
namespace {

using Shape = Spread::Shape;
double below(double z) { return boost::math::cdf(boost::math::normal(), z); }

// Where the table errs most from `want` over 10^4 scores, relative to the span P10 ... P90.
template <class Want>
double worst_error(const Quantile& q, double from, double to, Want want) {
  double worst = 0;
  const double span = q(z_p90) - q(-z_p90);
  for (int i = 0; i < 10000; ++i) {
    const double z = from + (to - from) * (i + 0.37) / 10000;
    worst = std::max(worst, std::abs(q(z) - want(z)) / span);
  }
  return worst;
}

double pert_oracle(const PertShape& p, double z) {
  const double a = 1 + 4 * (p.m - p.a) / (p.b - p.a), b = 6 - a;
  return p.a +
         (p.b - p.a) * (z < 0 ? boost::math::ibeta_inv(a, b, below(z)) : boost::math::ibetac_inv(a, b, below(-z)));
}

constexpr double no_floor = -std::numeric_limits<double>::infinity();

const std::vector<Spread> spreads{{1, 2, 6},    {1, 1, 6},
                                  {1, 6, 6},    {-3, 0, 0.5},
                                  {35, 38, 40}, {1.9e3, 1.04e4, 3.5e4},
                                  {0, 0.01, 1}, {100, 100.001, 100.002}};

TEST(Pert, HasModeAndQuantilesThatWereAskedFor) {
  for (const Spread& s : spreads) {
    const PertShape p = pert_from_quantiles(s.low, s.typical, s.high);
    const double span = s.high - s.low, a = 1 + 4 * (p.m - p.a) / (p.b - p.a);
    EXPECT_LT(p.a, s.low);
    EXPECT_GT(p.b, s.high);
    EXPECT_EQ(p.m, s.typical);
    EXPECT_NEAR(p.a + (p.b - p.a) * boost::math::ibeta_inv(a, 6 - a, 0.1), s.low, 1e-10 * span);
    EXPECT_NEAR(p.a + (p.b - p.a) * boost::math::ibeta_inv(a, 6 - a, 0.9), s.high, 1e-10 * span);
  }
}

TEST(Pert, EachPlaceOfTheTypicalValueHasOneMode) {  // both ratios rise from below 0 to above 1
  const auto triangle = [](double u, double p) { return p <= u ? std::sqrt(u * p) : 1 - std::sqrt((1 - u) * (1 - p)); };
  const auto pert = [](double u, double p) { return boost::math::ibeta_inv(1 + 4 * u, 5 - 4 * u, p); };
  const auto ratio = [](double u, auto at) { return (u - at(u, 0.1)) / (at(u, 0.9) - at(u, 0.1)); };
  EXPECT_LT(ratio(0.0, pert), -0.05);
  EXPECT_GT(ratio(1.0, pert), 1.05);
  EXPECT_LT(ratio(0.0, triangle), -0.05);
  EXPECT_GT(ratio(1.0, triangle), 1.05);
  for (int i = 0; i < 2000; ++i) {
    const double u = i / 2000.0, next = (i + 1) / 2000.0;
    ASSERT_LT(ratio(u, pert), ratio(next, pert)) << u;
    ASSERT_LT(ratio(u, triangle), ratio(next, triangle)) << u;
  }
}

TEST(Table, PertIsBoosts) {
  for (const Spread& s : spreads) {
    const PertShape p = pert_from_quantiles(s.low, s.typical, s.high);
    EXPECT_LT(worst_error(Quantile::of(s, no_floor), -6, 6, [&](double z) { return pert_oracle(p, z); }), 1e-8);
  }
}

TEST(Table, ShapesWithGivenEndsComeBackFromTheirQuantiles) {
  for (const PertShape& s : std::vector<PertShape>{{1, 2, 8}, {0, 1, 2}, {-5, -4.9, 3}, {10, 30, 31}}) {
    const double a = s.a, m = s.m, b = s.b, width = b - a, u = (m - a) / width;
    const auto triangle = [&](double z) {
      return below(z) <= u ? a + width * std::sqrt(u * below(z)) : b - width * std::sqrt((1 - u) * below(-z));
    };
    const Spread flat{triangle(-z_p90), m, triangle(z_p90), Shape::triangular};
    if (flat.low <= m && m <= flat.high) {
      EXPECT_LT(worst_error(Quantile::of(flat, no_floor), -6, 6, triangle), 1e-5) << a << ' ' << m << ' ' << b;
    }
    const auto pert = [&](double z) { return pert_oracle({a, m, b}, z); };
    const Spread round{pert(-z_p90), m, pert(z_p90)};
    if (round.low <= m && m <= round.high) {
      EXPECT_LT(worst_error(Quantile::of(round, no_floor), -6, 6, pert), 1e-8) << a << ' ' << m << ' ' << b;
    }
  }
}

TEST(Table, LognormalIsTheExponential) {
  for (const double ratio : {1.01, 3.0, 100.0, 1e6}) {
    const Quantile q = Quantile::of({7, 7, 7 * ratio, Shape::lognormal});
    for (int i = 0; i <= 10000; ++i) {
      const double z = -6 + 12e-4 * i;
      const double want = 7 * std::sqrt(ratio) * std::exp(std::log(ratio) / (2 * z_p90) * z);
      ASSERT_NEAR(q(z) / want, 1, 1e-6) << ratio << " at " << z;
    }
    EXPECT_NEAR(q(-z_p90) / 7, 1, 1e-6);
    EXPECT_NEAR(q(0) / (7 * std::sqrt(ratio)), 1, 1e-12);
    EXPECT_NEAR(q(z_p90) / (7 * ratio), 1, 1e-6);
  }
}

TEST(Table, BetaIsBoosts) {
  for (const auto& [a, b] : std::vector<std::array<double, 2>>{
           {1, 1}, {0.5, 0.5}, {0.2, 3}, {1.5, 15}, {15.5, 335.5}, {4000, 3}, {1e6, 2e6}}) {
    const auto want = [a = a, b = b](double z) {
      return z < 0 ? boost::math::ibeta_inv(a, b, below(z)) : boost::math::ibetac_inv(a, b, below(-z));
    };
    EXPECT_LT(worst_error(Quantile::beta(a, b), -6, 6, want), 1e-8) << a << ' ' << b;
  }
}

TEST(Table, BetaKeepsItsQuantiles) {
  for (const double low : {1e-6, 0.003, 0.05, 0.5, 0.9})
    for (const double share : {0.001, 0.1, 0.5, 0.95}) {
      const double high = low + (1 - low) * share;
      const BetaShape s = beta_from_quantiles(low, high);
      EXPECT_NEAR(boost::math::ibeta(s.a, s.b, low), 0.1, 1e-7) << low << ' ' << high;
      EXPECT_NEAR(boost::math::ibeta(s.a, s.b, high), 0.9, 1e-7) << low << ' ' << high;
      EXPECT_NEAR(s.mean(), s.a / (s.a + s.b), 0);
    }
  const BetaShape even = beta_from_quantiles(0.1, 0.9);  // Beta(1, 1) is the uniform
  EXPECT_NEAR(even.a, 1, 1e-9);
  EXPECT_NEAR(even.b, 1, 1e-9);
}

TEST(Table, NeverFalls) {
  std::vector<Quantile> all{Quantile::beta(0.01, 0.01), Quantile::beta(1e-3, 5), Quantile::uniform(-2, 3)};
  for (Spread s : spreads)
    for (const Shape shape : {Shape::pert, Shape::triangular, Shape::discrete}) {
      s.shape = shape;
      all.push_back(Quantile::of(s, -1));
    }
  for (const Quantile& q : all) {
    std::vector<double> z, one_by_one;
    for (int i = 0; i <= 20000; ++i) z.push_back(-7 + 7e-4 * i);
    for (double v : z) one_by_one.push_back(q(v));
    const double rounding = 1e-14 * std::max(std::abs(one_by_one.front()), std::abs(one_by_one.back()));
    for (std::size_t i = 1; i < z.size(); ++i) ASSERT_GE(one_by_one[i], one_by_one[i - 1] - rounding) << z[i];
    q.replace(z);
    EXPECT_FALSE(z != one_by_one);
  }
}

TEST(Table, ConstantsFloorsAndWholeNumbersAreExact) {
  for (const double z : {-9.0, -1.0, 0.0, 0.3, 9.0}) {
    EXPECT_EQ(Quantile()(z), 0);
    EXPECT_EQ(Quantile::constant(0.1)(z), 0.1);
    EXPECT_EQ(Quantile::of({7, 7, 7})(z), 7);
    EXPECT_EQ(Quantile::of({0, 0, 0, Shape::lognormal})(z), 0);
    EXPECT_EQ(Quantile::of({2.6, 2.6, 2.6, Shape::discrete})(z), 3);
    EXPECT_EQ(Quantile::of({-7, -7, -7})(z), 0);
    EXPECT_EQ(Quantile::uniform(3, 3)(z), 3);
  }
  EXPECT_EQ(Quantile::of({7, 7, 7}).mean(), 7);

  const Quantile free = Quantile::of({0, 1, 3}, no_floor), clipped = Quantile::of({0, 1, 3});
  EXPECT_LT(free(-3), 0);
  EXPECT_GT(clipped.mean(), free.mean());
  for (int i = -60; i <= 60; ++i) {
    const double z = 0.1 * i;
    EXPECT_EQ(clipped(z), std::max(free(z), 0.0));
    EXPECT_EQ(Quantile::of({0, 1, 3}, 0.5)(z), std::max(free(z), 0.5));
    EXPECT_EQ(Quantile::of({0, 1, 3, Shape::discrete})(z), std::max(std::nearbyint(free(z)), 0.0));
  }
}

TEST(Moments, OfPertBetaAndLognormal) {
  constexpr std::size_t num = 100000;
  const auto check = [&](const Quantile& q, double mean, double variance) {
    std::vector<double> x(num);
    normals(3, "moments", 0, x);
    q.replace(x);
    const Summary s = summarise(x);
    EXPECT_NEAR(q.mean(), mean, 1e-7 * std::abs(mean) + 1e-7 * std::sqrt(variance));
    EXPECT_NEAR(s.mean, mean, 4 * std::sqrt(variance / num));
    EXPECT_NEAR(s.sd / std::sqrt(variance), 1, 0.02);
    EXPECT_NEAR(s.p10, q(-z_p90), 0.02 * std::sqrt(variance));
    EXPECT_NEAR(s.p50, q(0), 0.02 * std::sqrt(variance));
    EXPECT_NEAR(s.p90, q(z_p90), 0.04 * std::sqrt(variance));
  };
  for (const Spread& s : spreads) {
    const PertShape p = pert_from_quantiles(s.low, s.typical, s.high);
    check(Quantile::of(s, no_floor), p.mean(), p.variance());
  }
  for (const auto& [a, b] : std::vector<std::array<double, 2>>{{1, 1}, {2, 5}, {15.5, 335.5}})
    check(Quantile::beta(a, b), a / (a + b), a * b / ((a + b) * (a + b) * (a + b + 1)));
  const double sigma = std::log(4.0) / (2 * z_p90), mean = 20 * std::exp(0.5 * sigma * sigma);
  check(Quantile::of({10, 20, 40, Shape::lognormal}), mean, mean * mean * (std::exp(sigma * sigma) - 1));
  check(Quantile::uniform(-1, 5), 2, 3);

  // Whole numbers: sum over k of k P(k), the jumps found in the table without rounding.
  const Quantile smooth = Quantile::of({1, 2, 6});
  double whole = 0;
  for (int k = 1; k < 20; ++k) {  // E = sum P(x >= k - 1/2)
    double low = -6, high = 6;
    for (int i = 0; i < 60; ++i) (smooth(0.5 * (low + high)) < k - 0.5 ? low : high) = 0.5 * (low + high);
    whole += below(-low);
  }
  EXPECT_NEAR(Quantile::of({1, 2, 6, Shape::discrete}).mean(), whole, 1e-4);
}

TEST(Spreads, BadOnesAreRefused) {
  const double nan = std::numeric_limits<double>::quiet_NaN(), inf = std::numeric_limits<double>::infinity();
  const auto refused = [](const Spread& s, const std::string& what) {
    try {
      Quantile::of(s);
      ADD_FAILURE() << s.low << ' ' << s.typical << ' ' << s.high << " was taken";
    } catch (const Error& e) {
      EXPECT_EQ(e.exit(), Exit::input);
      EXPECT_NE(std::string(e.what()).find(what), std::string::npos) << e.what();
      EXPECT_FALSE(e.where().empty() || e.hint().empty());
    }
  };
  for (const double bad : {nan, inf, -inf}) {
    refused({bad, 1, 2}, "finite");
    refused({0, bad, 2}, "finite");
    refused({0, 1, bad}, "finite");
  }
  refused({2, 1, 3}, "low <= typical");
  refused({1, 4, 3}, "low <= typical");
  refused({3, 3, 1}, "low <= typical");
  refused({0, 1, 2, Shape::lognormal}, "above 0");
  refused({-1, 1, 2, Shape::lognormal}, "above 0");
  refused({0, 0.5, 0.9, Shape::beta}, "0 < P10");
  refused({0.1, 0.5, 1, Shape::beta}, "0 < P10");
  refused({0.5, 0.5, 0.5 + 1e-9, Shape::beta}, "no Beta");
  for (const auto& [a, b] : std::vector<std::array<double, 2>>{{0, 1}, {1, 0}, {-1, 1}, {nan, 1}, {1, inf}})
    EXPECT_THROW(Quantile::beta(a, b), Error);
  EXPECT_THROW(Quantile::uniform(2, 1), Error);
  EXPECT_THROW(Quantile::uniform(nan, 1), Error);
  EXPECT_THROW(beta_from_quantiles(0.5, 0.5), Error);
}

}  // namespace
}  // namespace reel::cost
