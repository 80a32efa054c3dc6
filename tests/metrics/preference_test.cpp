// Preference error: counts by hand, Wilson's interval against statsmodels.
#include "metrics/preference.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "core/error.hpp"

namespace reel::metrics {
namespace {

/// `wrong` pairs in which the invalid film is preferred, `ties` equal ones, the rest right.
Preference counted(int wrong, int ties, int pairs) {
  std::vector<double> valid, invalid;
  for (int i = 0; i < pairs; ++i) {
    valid.push_back(1);
    invalid.push_back(i < wrong ? 0.5 : i < wrong + ties ? 1 : 1.5);
  }
  return preference_error(valid, invalid);
}

TEST(Preference, CountsByHand) {
  const std::vector<double> valid = {1, 2, 3, 4}, invalid = {2, 1, 3, 5};  // right, wrong, tie, right
  const Preference p = preference_error(valid, invalid);
  EXPECT_EQ(p.num_pairs, 4);
  EXPECT_EQ(p.num_wrong, 1);
  EXPECT_EQ(p.num_ties, 1);
  EXPECT_EQ(p.error, 1.5 / 4);
  EXPECT_EQ(preference_error(invalid, valid).error, 1 - 1.5 / 4);  // the other way round
}

TEST(Preference, WilsonsInterval) {
  // statsmodels proportion_confint(count, n, method="wilson"), 95 %.
  struct Case {
    int wrong, ties, pairs;
    double low, high;
  };
  for (const Case& c :
       {Case{1, 0, 4, 0.0455872608097006, 0.6993581574175982}, Case{0, 0, 10, 0, 0.27753279986288926},
        Case{10, 0, 10, 0.7224672001371106, 1}, Case{37, 1, 100, 0.2863947163440664, 0.47285365820768005}}) {
    const Preference p = counted(c.wrong, c.ties, c.pairs);
    EXPECT_NEAR(p.low, c.low, 1e-12);
    EXPECT_NEAR(p.high, c.high, 1e-12);
    EXPECT_LE(p.low, p.error);
    EXPECT_GE(p.high, p.error);
  }
  EXPECT_EQ(counted(0, 0, 10).low, 0);
  EXPECT_EQ(counted(10, 0, 10).high, 1);
}

TEST(Preference, ChanceLiesInsideAndAKnowingModelDoesNot) {
  const Preference coin = counted(48, 0, 100), expert = counted(3, 0, 100);
  EXPECT_LT(coin.low, 0.5);
  EXPECT_GT(coin.high, 0.5);
  EXPECT_LT(expert.high, 0.5);
  EXPECT_EQ(counted(0, 7, 7).error, 0.5);  // a model that sees no difference
}

TEST(Preference, Findings) {
  const Findings findings = preference_findings(counted(37, 1, 100));
  ASSERT_EQ(findings.metrics.size(), 3u);
  EXPECT_EQ(findings.metrics[0].id, "PPE.error");
  EXPECT_EQ(findings.metrics[0].value, 0.375);
  EXPECT_EQ(findings.metrics[0].n, 100);
  EXPECT_NEAR(findings.metrics[0].sigma, (0.47285365820768005 - 0.2863947163440664) / (2 * 1.959963984540054), 1e-12);
  EXPECT_EQ(findings.metrics[1].id, "PPE.low");
  EXPECT_EQ(findings.metrics[2].id, "PPE.high");
}

TEST(Preference, Refusals) {
  const std::vector<double> two = {1, 2}, three = {1, 2, 3}, broken = {1, nan},
                            endless = {1, std::numeric_limits<double>::infinity()};
  EXPECT_THROW(preference_error(two, three), Error);
  EXPECT_THROW(preference_error(two, broken), Error);
  EXPECT_THROW(preference_error(endless, two), Error);
  EXPECT_THROW(preference_error(two, two, 0), Error);
  const Preference none = preference_error({}, {});
  EXPECT_TRUE(std::isnan(none.error));
  for (const Metric& metric : preference_findings(none).metrics) {
    EXPECT_EQ(metric.refusal, "no pairs");
    EXPECT_TRUE(std::isnan(metric.value));
  }
}

}  // namespace
}  // namespace reel::metrics
