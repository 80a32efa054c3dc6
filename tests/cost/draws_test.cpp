// Draws that depend on seed, name and index only, and what is summed up of them.
#include "cost/draws.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <boost/math/distributions/normal.hpp>
#include <cmath>
#include <limits>
#include <numbers>
#include <numeric>

#include "core/error.hpp"
#include "core/parallel.hpp"

namespace reel::cost {
namespace {

using Shape = Spread::Shape;
using std::int64_t;
using std::size_t;

TEST(Normals, AreBoostsQuantileOfTheBits) {
  std::vector<std::uint32_t> bits(200003);
  std::vector<double> z(bits.size());
  random_bits(11, "scores", 5, bits);
  normals(11, "scores", 5, z);
  const auto check = [](double score, std::uint32_t b) {
    const double want = boost::math::quantile(boost::math::normal(), (b + 0.5) * 0x1p-32);
    ASSERT_NEAR(score, want, 2e-15 * std::abs(want) + 1e-17) << b;
  };
  for (size_t i = 0; i < z.size(); ++i) check(z[i], bits[i]);

  // Elements of this stream that lie in the last bits of either tail.
  for (const auto& [element, b] : std::vector<std::pair<int64_t, std::uint32_t>>{
           {1583975298, 0}, {577414519, 1}, {1456121920, 0xfffffffe}, {2192205561, 0xfffffffe}}) {
    std::uint32_t there = 0;
    double score = 0;
    random_bits(11, "scores", element, {&there, 1});
    normals(11, "scores", element, {&score, 1});
    ASSERT_EQ(there, b);
    check(score, b);
    EXPECT_LT(std::abs(score), 6.34);
  }
}

TEST(Normals, AreOneStreamHoweverItIsCut) {
  std::vector<std::uint32_t> golden(5);
  random_bits(1, "golden", 0, golden);
  EXPECT_EQ(golden, (std::vector<std::uint32_t>{0xbc43c2a0, 0x4e8c9611, 0x628a98e3, 0xe6124de9, 0xef59541d}));

  std::vector<double> all(3000);
  normals(5, "cut", 0, all);
  for (const int64_t first : {1, 2, 3, 4, 255, 256, 1023, 2999}) {
    std::vector<double> rest(all.size() - static_cast<size_t>(first));
    normals(5, "cut", first, rest);
    EXPECT_FALSE(!std::equal(rest.begin(), rest.end(), all.begin() + first)) << first;
  }
  std::vector<double> other(all.size());
  normals(6, "cut", 0, other);
  EXPECT_TRUE(other != all);
  normals(5, "cut2", 0, other);
  EXPECT_TRUE(other != all);
  normals(5 + (std::uint64_t{1} << 32), "cut", 0, other);
  EXPECT_TRUE(other != all);
}

// Gives each input as an output.
void pass(size_t, std::span<const double> x, std::span<double> y) { std::ranges::copy(x, y.begin()); }

std::vector<Input> some_inputs() {
  return {{"rate", Quantile::of({100, 150, 400}), 0.7},
          {"hours", Quantile::of({1, 2, 6})},
          {"fee", Quantile::of({10, 20, 90, Shape::lognormal}), -0.4},
          {"share", Quantile::beta(2, 9)},
          {"days", Quantile::of({1, 2, 5, Shape::discrete}), 1.0},
          {"fixed", Quantile::constant(3)}};
}

class Draw : public ::testing::TestWithParam<int> {
 protected:
  void SetUp() override { set_num_threads(GetParam()); }
  void TearDown() override { set_num_threads(1); }
};

TEST_P(Draw, DependsOnSeedNameAndIndexOnly) {
  constexpr int64_t num = 5000;
  const std::vector<Input> inputs = some_inputs();
  set_num_threads(1);
  const Draws want = draw(inputs, pass, inputs.size(), num, 42);
  set_num_threads(GetParam());
  EXPECT_FALSE(draw(inputs, pass, inputs.size(), num, 42).values != want.values);

  for (const std::vector<size_t>& picked : {std::vector<size_t>{5, 4, 3, 2, 1, 0}, {2}, {3, 1}, {4, 0}}) {
    std::vector<Input> some;
    for (size_t j : picked) some.push_back(inputs[j]);
    const Draws got = draw(some, pass, some.size(), num, 42);
    for (size_t j = 0; j < picked.size(); ++j)
      EXPECT_FALSE(got.values[j] != want.values[picked[j]]) << inputs[picked[j]].name;
  }
  for (const int64_t first : {1, 1024, 1030, 4999}) {
    const Draws got = draw(inputs, pass, inputs.size(), num - first, 42, first);
    for (size_t j = 0; j < inputs.size(); ++j)
      EXPECT_FALSE(
          !std::equal(got.values[j].begin(), got.values[j].end(), want.values[j].begin() + first, want.values[j].end()))
          << first;
  }
  // What must change a draw does.
  const Draws seed = draw(inputs, pass, inputs.size(), num, 43);
  std::vector<Input> renamed = inputs;
  renamed[1].name = "hour";
  const Draws name = draw(renamed, pass, inputs.size(), num, 42);
  for (size_t j = 0; j < 5; ++j) {
    EXPECT_TRUE(seed.values[j] != want.values[j]);
    EXPECT_EQ(name.values[j] != want.values[j], j == 1);
  }
}

TEST_P(Draw, StopsAtValuesThatAreNotFinite) {
  const std::vector<Input> inputs = some_inputs();
  const auto broken = [](size_t n, std::span<const double>, std::span<double> y) {
    std::ranges::fill(y, 1.0);
    y[2 * n - 1] = std::numeric_limits<double>::quiet_NaN();
  };
  try {
    draw(inputs, broken, 3, 100, 1, 50);
    FAIL() << "NaN was taken";
  } catch (const Error& e) {
    EXPECT_EQ(e.exit(), Exit::nonfinite);
    EXPECT_EQ(e.where(), "output 1, draw 149");
  }
  EXPECT_TRUE(draw(inputs, broken, 3, 0, 1).values[2].empty());
  std::vector<Input> twice = inputs;
  twice[1].name = twice[0].name;
  EXPECT_THROW(draw(twice, pass, twice.size(), 10, 1), Error);
  std::vector<Input> far = inputs;
  far[1].tier = 1.01;
  EXPECT_THROW(draw(far, pass, far.size(), 10, 1), Error);
}

INSTANTIATE_TEST_SUITE_P(Threads, Draw, ::testing::Values(1, 2));

double correlation(const std::vector<double>& a, const std::vector<double>& b) {
  const Summary sa = summarise(a), sb = summarise(b);
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += (a[i] - sa.mean) * (b[i] - sb.mean);
  return sum / static_cast<double>(a.size() - 1) / (sa.sd * sb.sd);
}

TEST(Tier, CorrelatesScoresAndLeavesEachInputItsDistribution) {
  constexpr int64_t num = 100000;
  // Scores themselves, nearly: the logarithm of a lognormal whose P10 and P90 are exp(-+1.28).
  const Quantile q = Quantile::of({std::exp(-z_p90), 1, std::exp(z_p90), Shape::lognormal});
  const std::vector<Input> inputs{{"a", q, 0.8}, {"b", q, 0.5},  {"c", q, -0.6},
                                  {"d", q, 0},   {"tier", q, 1}, {"e", q, 0}};
  const auto logarithms = [](size_t, std::span<const double> x, std::span<double> y) {
    std::ranges::transform(x, y.begin(), [](double v) { return std::log(v); });
  };
  const Draws d = draw(inputs, logarithms, inputs.size(), num, 9);
  for (size_t i = 0; i < inputs.size(); ++i) {
    const Summary s = summarise(d.values[i]);
    EXPECT_NEAR(s.mean, 0, 0.016);
    EXPECT_NEAR(s.sd, 1, 0.011);
    EXPECT_NEAR(s.p10, -z_p90, 0.025);
    EXPECT_NEAR(s.p90, z_p90, 0.025);
    for (size_t j = 0; j < i; ++j)
      EXPECT_NEAR(correlation(d.values[i], d.values[j]), inputs[i].tier * inputs[j].tier, 0.015) << i << ' ' << j;
  }
}

TEST(Sums, ArePairwiseOverRunsOf1024) {
  std::vector<double> x(2500);
  std::iota(x.begin(), x.end(), 1.0);
  EXPECT_EQ(pairwise_sum(x), 2500.0 * 2501 / 2);
  EXPECT_EQ(pairwise_sum({}), 0);
  for (double& v : x) v = 1e-16;
  x[0] = x[1024] = 1;  // each 1 swallows its run, 0.5e-16 of the last run are not swallowed: fixed by the order
  const std::span all(x);
  const auto plain = [](std::span<const double> run) { return std::accumulate(run.begin(), run.end(), 0.0); };
  EXPECT_EQ(pairwise_sum(x), plain(all.first(1024)) + plain(all.subspan(1024, 1024)) + plain(all.subspan(2048)));
  EXPECT_NE(pairwise_sum(x), plain(all));
}

TEST(Summary, PercentilesAreOfType7) {
  EXPECT_EQ(percentile({4, 1, 3, 2}, 0), 1);
  EXPECT_EQ(percentile({4, 1, 3, 2}, 0.5), 2.5);
  EXPECT_EQ(percentile({4, 1, 3, 2}, 1), 4);
  EXPECT_NEAR(percentile({4, 1, 3, 2}, 0.1), 1.3, 1e-15);
  EXPECT_EQ(percentile({7}, 0.9), 7);
  EXPECT_THROW(percentile({}, 0.5), Error);
  EXPECT_THROW(percentile({1}, 1.5), Error);

  std::vector<double> x(1001);
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<double>(i * 387 % 1001);  // 0 ... 1000 in disorder
  const Summary s = summarise(x);
  EXPECT_EQ(s.num, 1001);
  EXPECT_EQ(s.mean, 500);
  EXPECT_NEAR(s.sd, std::sqrt(1001.0 * 1002 / 12), 1e-10);
  EXPECT_NEAR(s.p10, 100, 1e-12);
  EXPECT_EQ(s.p50, 500);
  EXPECT_NEAR(s.p90, 900, 1e-12);
}

TEST(Summary, StandardErrorsAreThoseOfTheory) {
  std::vector<double> x(200000);
  normals(2, "errors", 0, x);
  const Summary s = summarise(x);
  const double root = std::sqrt(static_cast<double>(x.size()));
  EXPECT_NEAR(s.se_mean * root, 1, 0.35);  // 32 batches know it to 1 / sqrt(62)
  EXPECT_NEAR(s.se_p50 * root, std::sqrt(std::numbers::pi / 2), 0.45);
  EXPECT_LT(std::abs(s.p50), 4 * s.se_p50);
}

TEST(Summary, HundredThousandDrawsKnowTheMedianToOnePercent) {
  const auto se_share = [](int64_t num) {
    const std::vector<Input> inputs{{"fee", Quantile::of({100, 300, 1500, Shape::lognormal})}};
    const Summary s = summarise(draw(inputs, pass, 1, num, 1).values[0]);
    return s.se_p50 / s.p50;
  };
  EXPECT_LT(se_share(100000), 0.01);
  EXPECT_GT(se_share(1000), 0.01);
}

TEST(Summary, OfFewOrEqualOrBrokenValues) {
  const Summary one = summarise({5});
  EXPECT_EQ(one.mean, 5);
  EXPECT_EQ(one.sd, 0);
  EXPECT_EQ(one.p90, 5);
  EXPECT_TRUE(std::isnan(one.se_mean) && std::isnan(one.se_p50));
  const Summary equal = summarise(std::vector<double>(100, 2.0));
  EXPECT_EQ(equal.mean, 2);
  EXPECT_EQ(equal.sd, 0);
  EXPECT_EQ(equal.se_mean, 0);
  EXPECT_EQ(equal.se_p50, 0);
  EXPECT_THROW(summarise({}), Error);
  EXPECT_THROW(summarise({1, std::numeric_limits<double>::quiet_NaN()}), Error);
  EXPECT_THROW(summarise({1, std::numeric_limits<double>::infinity()}), Error);
}

}  // namespace
}  // namespace reel::cost
