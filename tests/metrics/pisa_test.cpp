// PisaBench: small masks by hand, nearest distances against all pairs, and what becomes of a lost object.
#include "metrics/pisa.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/error.hpp"

namespace reel::metrics {
namespace {

using Mask = std::vector<std::uint8_t>;

/// A rectangle of w x h pixels with its corner at (x, y) in a picture of 20 x 16 (W x H).
Mask box(int x, int y, int w, int h) {
  Mask mask(20 * 16, 0);
  for (int j = y; j < y + h; ++j)
    for (int i = x; i < x + w; ++i) mask[static_cast<std::size_t>(j * 20 + i)] = 1;
  return mask;
}

const Mask empty(20 * 16, 0);
const double unit = std::numbers::sqrt2 * 16;

MaskFilm film(std::vector<Mask> frames) { return {16, 20, std::move(frames)}; }

const Metric& find(const Findings& findings, const std::string& id) {
  for (const Metric& metric : findings.metrics)
    if (metric.id == id) return metric;
  throw std::runtime_error("no " + id);
}

TEST(Pisa, TheCodedDistanceOfAVerticalErrorIsHalfTheTrueOne) {
  for (const int d : {1, 3, 7}) {
    const Pisa p = pisa(film({box(4, 2 + d, 3, 3)}), film({box(4, 2, 3, 3)}));
    EXPECT_NEAR(p.l2_coded.seen, d / (2 * std::numbers::sqrt2 * 16), 1e-12);  // d / (2 sqrt(2) H)
    EXPECT_NEAR(p.l2.seen, d / unit, 1e-12);
  }
  // Along the diagonal the two differ by sqrt(2) only.
  const Pisa p = pisa(film({box(7, 5, 3, 3)}), film({box(4, 2, 3, 3)}));
  EXPECT_NEAR(p.l2_coded.seen, 3 / unit, 1e-12);
  EXPECT_NEAR(p.l2.seen, 3 * std::numbers::sqrt2 / unit, 1e-12);
}

TEST(Pisa, HandWorkedOverlapAndChamfer) {
  // 4 x 2 pixels and the same moved right by 2: overlap 4 of 12. Of each, two columns are 2 and 1 pixels away from the
  // other, two lie in it: mean nearest (2 + 1) / 4 each way.
  const Pisa p = pisa(film({box(6, 5, 4, 2)}), film({box(4, 5, 4, 2)}));
  EXPECT_NEAR(p.iou, 4 / 12.0, 1e-12);
  EXPECT_NEAR(p.chamfer.seen, 2 * 0.75 / unit, 1e-12);
  // One pixel against one pixel 3 right and 4 down: 5 pixels each way.
  EXPECT_NEAR(pisa(film({box(3, 4, 1, 1)}), film({box(0, 0, 1, 1)})).chamfer.seen, 10 / unit, 1e-12);
  // A dot in the middle of a large box: 0 one way, mean distance of 9 pixels the other: (4 + 4 sqrt(2)) / 9.
  EXPECT_NEAR(pisa(film({box(5, 5, 1, 1)}), film({box(4, 4, 3, 3)})).chamfer.seen,
              (4 + 4 * std::numbers::sqrt2) / 9 / unit, 1e-12);
}

TEST(Pisa, GivesTheNumbersOfThePublishedCode) {
  // vision-x-nyu/pisa-experiments, find_centroid and utils/metrics.py, run in Python on these masks: discs of squared
  // radius r2 around (x, y), the third lost, the last absent in both.
  const auto disc = [](int cx, int cy, int r2) {
    Mask mask;
    for (int i = 0; i < 320; ++i) mask.push_back((i % 20 - cx) * (i % 20 - cx) + (i / 20 - cy) * (i / 20 - cy) <= r2);
    return mask;
  };
  const Pisa p = pisa(film({disc(5, 4, 9), disc(7, 6, 10), empty, disc(12, 14, 16), empty}),
                      film({disc(5, 5, 9), disc(6, 9, 9), disc(7, 13, 9), disc(15, 12, 9), empty}));
  EXPECT_NEAR(p.l2_coded.seen, 0.06690506870601882, 1e-12);
  EXPECT_NEAR(p.chamfer.seen, 0.07108368933284706, 1e-12);
  EXPECT_NEAR(p.iou, 0.4261807867801209, 1e-12);
}

TEST(Pisa, NearestDistancesAreThoseOfAllPairs) {
  std::uint32_t state = 1;
  for (int trial = 0; trial < 60; ++trial) {
    Mask a(20 * 16, 0), b(20 * 16, 0);
    const std::uint32_t rarity = trial % 3 == 0 ? 80 : trial % 3 == 1 ? 12 : 2;
    for (std::size_t i = 0; i < a.size(); ++i) {
      state = state * 1664525u + 1013904223u;
      a[i] = (state >> 16) % rarity == 0;
      state = state * 1664525u + 1013904223u;
      b[i] = (state >> 16) % rarity == 0;
    }
    a[0] = b[b.size() - 1] = 1;
    const auto one_way = [](const Mask& from, const Mask& to) {
      double sum = 0;
      int n = 0;
      for (int i = 0; i < 320; ++i) {
        if (!from[static_cast<std::size_t>(i)]) continue;
        double best = std::numeric_limits<double>::infinity();
        for (int j = 0; j < 320; ++j)
          if (to[static_cast<std::size_t>(j)]) best = std::min(best, std::hypot(i % 20 - j % 20, i / 20 - j / 20));
        sum += best, ++n;
      }
      return sum / n;
    };
    EXPECT_NEAR(pisa(film({a}), film({b})).chamfer.seen, (one_way(a, b) + one_way(b, a)) / unit, 1e-12);
  }
}

TEST(Pisa, ALostObjectIsCountedApart) {
  // Frame 1: 2 pixels off. Frame 2: lost. Frame 3: invented. Frame 4: both empty.
  const Mask at = box(4, 4, 2, 2);
  const Pisa p = pisa(film({box(6, 4, 2, 2), empty, at, empty}), film({at, at, empty, empty}));
  EXPECT_EQ(p.num_frames, 4);
  EXPECT_EQ(p.num_both, 1);
  EXPECT_EQ(p.num_lost, 1);
  EXPECT_EQ(p.num_invented, 1);
  EXPECT_NEAR(p.l2.seen, 2 / unit, 1e-12);  // as the original has it: the lost frames are not there
  EXPECT_NEAR(p.l2.all, (2 / unit + 1 + 1) / 3, 1e-12);
  EXPECT_NEAR(p.l2_coded.all, (1 / unit + 2) / 3, 1e-12);
  EXPECT_NEAR(p.chamfer.seen, 2 * 1.5 / unit, 1e-12);  // each way two pixels at 2 and two at 1
  EXPECT_NEAR(p.chamfer.all, (3 / unit + 2 + 2) / 3, 1e-12);
  EXPECT_NEAR(p.iou, (0 + 0 + 0 + 1) / 4.0, 1e-12);
  EXPECT_EQ(p.iou_seen, 0);
  const Findings findings = pisa_findings(p, {0, 0.1, 0.2, 0.3});
  EXPECT_NEAR(find(findings, "PISA.lost").value, 1 / 3.0, 1e-12);
  EXPECT_NEAR(find(findings, "PISA.invented").value, 1 / 3.0, 1e-12);
  EXPECT_EQ(find(findings, "PISA.l2").n, 1);
  EXPECT_EQ(find(findings, "PISA.l2_all").n, 3);
  ASSERT_EQ(findings.traces.size(), 3u);
  EXPECT_TRUE(std::isnan(findings.traces[0].value[1]));
}

TEST(Pisa, LosingTheObjectFlattersOnlyTheConventionThatIgnoresIt) {
  std::vector<Mask> truth, wrong, lost;
  for (int t = 0; t < 6; ++t) {
    truth.push_back(box(4, 2 + t, 2, 2));
    wrong.push_back(box(12, 2 + t, 2, 2));
    lost.push_back(t == 0 ? truth[0] : empty);
  }
  const Pisa honest = pisa(film(wrong), film(truth)), flattered = pisa(film(lost), film(truth));
  EXPECT_LT(flattered.l2.seen, honest.l2.seen);
  EXPECT_GT(flattered.l2.all, honest.l2.all);
}

TEST(Pisa, EqualMasksAreAtZero) {
  const Pisa p = pisa(film({box(1, 1, 5, 6), empty}), film({box(1, 1, 5, 6), empty}));
  EXPECT_EQ(p.l2.seen, 0);
  EXPECT_EQ(p.l2.all, 0);
  EXPECT_EQ(p.chamfer.seen, 0);
  EXPECT_EQ(p.iou, 1);
  EXPECT_EQ(p.iou_seen, 1);
}

TEST(Pisa, RefusesWhatHasNoObjectOrNoShape) {
  const Findings none = pisa_findings(pisa(film({empty}), film({empty})), {0});
  EXPECT_FALSE(find(none, "PISA.l2").given());
  EXPECT_FALSE(find(none, "PISA.l2_all").given());
  EXPECT_FALSE(find(none, "PISA.lost").given());
  EXPECT_TRUE(find(none, "PISA.iou").given());  // 1 by the original's convention
  const Findings lost = pisa_findings(pisa(film({empty}), film({box(0, 0, 1, 1)})), {0});
  EXPECT_FALSE(find(lost, "PISA.l2").given());
  EXPECT_EQ(find(lost, "PISA.l2_all").value, 1);
  EXPECT_EQ(find(lost, "PISA.lost").value, 1);
  EXPECT_THROW(pisa(film({}), film({})), Error);
  EXPECT_THROW(pisa(film({empty}), film({empty, empty})), Error);
  EXPECT_THROW(pisa({16, 20, {Mask(7)}}, film({empty})), Error);
  EXPECT_THROW(pisa({20, 16, {empty}}, film({empty})), Error);
  EXPECT_THROW(pisa({0, 0, {Mask()}}, {0, 0, {Mask()}}), Error);
  EXPECT_EQ(pisa({1, 1, {Mask{1}}}, {1, 1, {Mask{1}}}).l2.seen, 0);
}

TEST(Pisa, FramesAreMatchedByTime) {
  EXPECT_EQ(pisa_truth_frames(4, 8, 100, 16), (std::vector<std::int64_t>{0, 2, 4, 6}));
  EXPECT_EQ(pisa_truth_frames(6, 24, 3, 16), (std::vector<std::int64_t>{0, 0, 1, 2, 2}));  // 4 * 2/3 = 2.67, 5: 3.33
  EXPECT_TRUE(pisa_truth_frames(0, 8, 100, 16).empty());
  EXPECT_THROW(pisa_truth_frames(4, 0, 100, 16), Error);
}

}  // namespace
}  // namespace reel::metrics
