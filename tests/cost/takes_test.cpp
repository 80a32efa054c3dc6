// Takes: closed forms of the geometric distribution, the identities of break-even, and published productions.
#include "cost/takes.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/error.hpp"

namespace reel::cost {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

TEST(Takes, MeanAndVarianceAreThoseOfTheGeometricDistribution) {
  for (const double p : {0.003, 0.05, 0.25, 0.7, 1.0}) {
    double mean = 0, square = 0, left = 1;
    for (int n = 1; left > 1e-18; ++n) {  // by its definition
      const double at_n = left * p;
      mean += n * at_n;
      square += static_cast<double>(n) * n * at_n;
      left *= 1 - p;
    }
    EXPECT_NEAR(mean_takes(p), mean, 1e-9 * mean) << p;
    EXPECT_NEAR(variance_takes(p), square - mean * mean, 1e-7 * square) << p;
  }
}

TEST(Takes, CappedMeanIsTheSumOfSurvivals) {
  for (const double p : {0.001, 0.2, 0.9})
    for (const std::int64_t cap : {1, 3, 40}) {
      double mean = 0;
      for (std::int64_t n = 0; n < cap; ++n) mean += std::pow(1 - p, n);
      EXPECT_NEAR(mean_takes(p, cap), mean, 1e-12 * mean);
      EXPECT_NEAR(success(p, cap), 1 - std::pow(1 - p, cap), 1e-13);
    }
  EXPECT_EQ(mean_takes(0, 7), 7);
  EXPECT_EQ(mean_takes(0), infinity);
  EXPECT_EQ(success(0, 7), 0);
}

TEST(Takes, QuantilesAsPublished) {
  // At 5 % the mean is 20 takes and the 90 % quantile 45
  EXPECT_EQ(mean_takes(0.05), 20);
  EXPECT_EQ(quantile_takes(0.05, 0.9), 45);
  EXPECT_EQ(quantile_takes(0.05, 0.9, 30), 30);
  EXPECT_EQ(quantile_takes(1, 0.9), 1);
  EXPECT_EQ(quantile_takes(0.5, 0.5), 1);   // exactly one half: not two
  EXPECT_EQ(quantile_takes(0.5, 0.75), 2);
  EXPECT_EQ(quantile_takes(0, 0.9), infinity);
}

TEST(Takes, DrawnTakesInvertTheDistribution) {
  const double p = 0.3;
  for (int n = 1; n < 20; ++n) {
    const double below = 1 - std::pow(1 - p, n - 1), above = 1 - std::pow(1 - p, n);
    EXPECT_EQ(drawn_takes(p, 0.5 * (below + above)), n);
  }
  EXPECT_EQ(drawn_takes(p, 0), 1);
  EXPECT_EQ(drawn_takes(0, 0.5), infinity);
  EXPECT_EQ(drawn_takes(1, 0.999), 1);
}

TEST(Takes, ExpectedCostIsTheMeanOverLuck) {
  const TakeCosts costs{100, 7, 40, 900, 12};
  for (const double p : {0.02, 0.15, 0.6}) {
    double mean = 0, left = 1;
    for (int n = 1; n <= 12; ++n) {
      mean += left * p * realised_cost(costs, n);
      left *= 1 - p;
    }
    mean += left * realised_cost(costs, 13);
    EXPECT_NEAR(expected_cost(costs, p), mean, 1e-10 * mean) << p;
  }
}

TEST(Takes, BreakEvenAcceptanceCostsExactlyTheOther) {
  const TakeCosts costs{60, 2.5, 120, 0, 0};
  const double other = 900;
  const auto p = break_even_acceptance(costs, other);
  ASSERT_TRUE(p);
  EXPECT_NEAR(expected_cost(costs, *p), other, 1e-10 * other);  // E[C](p*) = S
  EXPECT_GT(expected_cost(costs, 0.9 * *p), other);
  EXPECT_LT(expected_cost(costs, 1.1 * *p), other);
  EXPECT_NEAR(break_even_takes(costs, other), 1 / *p, 1e-10);
  // With a cap and the other way as fallback the identity holds too, up to the set-up that the fallback does not return.
  const TakeCosts capped{0, 2.5, 180, other, 25};
  EXPECT_NEAR(expected_cost(capped, *break_even_acceptance(capped, other)), other, 1e-10 * other);
  EXPECT_FALSE(break_even_acceptance(costs, 180));  // the bracket is zero
  EXPECT_FALSE(break_even_acceptance(costs, 181));  // would need p above 1
  EXPECT_LT(break_even_takes(costs, 100), 0);
}

TEST(Takes, MeanInverseIsInfiniteWhereTheHardestShotsMakeIt) {
  EXPECT_EQ(mean_inverse({1, 5}), infinity);
  EXPECT_EQ(mean_inverse({0.5, 5}), infinity);
  EXPECT_DOUBLE_EQ(mean_inverse({3, 7}), 9.0 / 2.0);
  // By quadrature: E[1/p] of Beta(3, 7), density p^2 (1-p)^6 / B(3, 7)
  double sum = 0;
  constexpr int steps = 200'000;
  for (int i = 0; i < steps; ++i) {
    const double p = (i + 0.5) / steps;
    sum += p * std::pow(1 - p, 6);
  }
  EXPECT_NEAR(sum / steps / std::beta(3.0, 7.0), 4.5, 1e-6);
}

TEST(Takes, StopRuleIsTheFirstAttemptThatDoesNotPay) {
  const BetaShape prior{0.8, 6};
  const double attempt = 5, post = 100, other = 400;
  const auto stop = stop_after(prior, attempt, post, other);
  ASSERT_TRUE(stop);
  const auto pays = [&](double n) { return prior.a / (prior.a + prior.b + n) * (other - post) >= attempt; };
  EXPECT_FALSE(pays(static_cast<double>(*stop)));
  EXPECT_TRUE(pays(static_cast<double>(*stop) - 1));
  EXPECT_EQ(stop_after(prior, 1000, post, other), 0);
  EXPECT_EQ(stop_after(prior, attempt, 500, other), 0);
  EXPECT_FALSE(stop_after(prior, 0, post, other));
}

TEST(Takes, GatesAreInverted) {
  const Screening gates{0.1, 0.2};
  for (const double q : {0.0, 0.3, 1.0}) EXPECT_NEAR(gates.quality(gates.passing(q)), q, 1e-15);
  EXPECT_EQ(gates.quality(0.05), 0);  // fewer pass than by misses alone
  EXPECT_THROW((Screening{0.6, 0.4}.quality(0.5)), Error);
  // A film of bad takes: all that pass are misses, so hardly anything is usable.
  EXPECT_LT(usable_after_gates({10, 90}, gates).mean(), 0.02);
  // Perfect gates change nothing; a false reject of one half halves what is usable.
  const BetaShape passing{30, 70};
  EXPECT_EQ(usable_after_gates(passing, {}).a, passing.a);
  EXPECT_NEAR(usable_after_gates(passing, {0, 0.5}).mean(), passing.mean(), 2e-4);
}

TEST(Takes, LabelsUpdateTheirPrior) {
  const BetaShape b = labelled(41, 164);
  EXPECT_EQ(b.a, 41.5);
  EXPECT_EQ(b.b, 123.5);
  EXPECT_THROW(labelled(3, 2), Error);
  EXPECT_THROW(labelled(-1, 2), Error);
}

TEST(Takes, SequencesPayForShotsThatMustMatch) {
  const TakeCosts costs{10, 2, 5, 300, 50};
  EXPECT_DOUBLE_EQ(expected_sequence_cost(costs, 0.2, 1, 0.5), expected_cost(costs, 0.2));
  EXPECT_DOUBLE_EQ(expected_sequence_cost(costs, 0.2, 4, 1), 4 * expected_cost(costs, 0.2));
  EXPECT_GT(expected_sequence_cost(costs, 0.2, 4, 0.5), 4 * expected_cost(costs, 0.2));
}

TEST(Takes, DaysAreWhole) {
  EXPECT_EQ(days_saved(100, 1, 10), 0);   // 10 days stay 10 days
  EXPECT_EQ(days_saved(101, 1, 10), 1);   // the last setup of an eleventh day
  EXPECT_EQ(days_saved(20, 20, 10), 2);
}

// A sports-betting advertisement of 2025: 2,000 dollars, 300 to 400 takes for 15 clips, one person for two to three days.
TEST(Takes, KalshiAdvertisement) {
  const double p = 15.0 / 350.0;
  EXPECT_NEAR(mean_takes(p) * 15, 350, 1e-9);
  // Published inputs: 8 s clips of a model at 0.40 dollars a second; and the same at the fast rate of 0.15.
  const double standard = 350 * 8 * 0.40, fast = 350 * 8 * 0.15;
  EXPECT_NEAR(standard, 1120, 1e-9);
  EXPECT_NEAR(fast, 420, 1e-9);
  // What is left of 2,000 for the person's 16 to 24 hours: 37 to 99 dollars an hour: inside the cards' 40 / 60 / 85 for
  // a middle of both rates.
  const double hourly = (2000 - 0.5 * (standard + fast)) / 20;
  EXPECT_NEAR(hourly, 61.5, 0.01);
  EXPECT_EQ(quantile_takes(p, 0.9), 53);  // budget for one clip
}

// An animated episode of 2026: 164 clips for 41 shots, 5 of 15 seconds used.
TEST(Takes, AnimatedEpisode) {
  const double p = 41.0 / 164.0;
  EXPECT_EQ(mean_takes(p), 4);
  EXPECT_NEAR(5.0 / (mean_takes(p) * 15.0), 1.0 / 12.0, 1e-15);  // seconds used of all generated
  // The price of a used second is twelve times the list price.
  const TakeCosts costs{0, 15 * 0.05, 0, 0, 0};
  EXPECT_NEAR(expected_cost(costs, p) / 5, 12 * 0.05, 1e-12);
}

}  // namespace
}  // namespace reel::cost
