// Tracks are cut where something happens, and nowhere else.
#include "metrics/motion.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "made_tracks.hpp"

namespace reel::metrics {
namespace {

using namespace made;

/// Least residual sum of squares of a polynomial, by orthogonal polynomials in long double: an independent way.
double residual(const std::vector<double>& t, const std::vector<double>& y, std::size_t begin, std::size_t end,
                int degree) {
  std::vector<std::vector<long double>> basis;
  std::vector<long double> rest(y.begin() + static_cast<std::ptrdiff_t>(begin),
                                y.begin() + static_cast<std::ptrdiff_t>(end));
  for (int d = 0; d <= degree; ++d) {
    std::vector<long double> p;
    for (std::size_t i = begin; i < end; ++i) p.push_back(std::pow(static_cast<long double>(t[i] - t[begin]), d));
    for (int round = 0; round < 2; ++round)
      for (const auto& q : basis) {
        long double pq = 0, qq = 0;
        for (std::size_t i = 0; i < p.size(); ++i) pq += p[i] * q[i], qq += q[i] * q[i];
        for (std::size_t i = 0; i < p.size(); ++i) p[i] -= pq / qq * q[i];
      }
    long double py = 0, pp = 0;
    for (std::size_t i = 0; i < p.size(); ++i) py += p[i] * rest[i], pp += p[i] * p[i];
    for (std::size_t i = 0; i < p.size(); ++i) rest[i] -= py / pp * p[i];
    basis.push_back(p);
  }
  long double sum = 0;
  for (long double r : rest) sum += r * r;
  return static_cast<double>(sum);
}

TEST(Motion, TheCutIsTheCheapestOfAll) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const double at = 0.13 + 0.01 * static_cast<double>(seed);
    const Track track = made::track([=](double t) { return 100 + 40 * std::abs(t - at); },
                                    [=](double t) { return 50 + (t > at ? 300 * (t - at) * (t - at) : 0); },
                                    {.num_frames = 13, .sigma_px = 0.5, .seed = seed});
    const Samples s = whole_samples(track);
    const std::size_t n = s.size();
    const double sigma = 0.5, price = std::log(2.0 * static_cast<double>(n));
    const auto cost = [&](std::size_t begin, std::size_t end) {
      const int highest = end - begin == 1 ? 0 : end - begin < 4 ? 1 : 2;
      double sum = 0;
      for (const auto* axis : {&s.x, &s.y}) {
        double least = std::numeric_limits<double>::infinity();
        for (int d = 0; d <= highest; ++d)
          least = std::min(least, residual(s.t, *axis, begin, end, d) / (sigma * sigma) + (d + 1) * price);
        sum += least;
      }
      return sum;
    };
    std::vector<std::vector<double>> costs(n + 1, std::vector<double>(n + 1));
    for (std::size_t i = 0; i < n; ++i)
      for (std::size_t j = i + 1; j <= n; ++j) costs[i][j] = cost(i, j);
    double least = std::numeric_limits<double>::infinity();
    for (unsigned cuts = 0; cuts < 1u << (n - 1); ++cuts) {  // every subset of the twelve places to cut
      double sum = 0;
      std::size_t begin = 0;
      for (std::size_t i = 1; i <= n; ++i)
        if (i == n || (cuts >> (i - 1) & 1)) sum += costs[begin][i] + (begin > 0 ? 3 * price : 0), begin = i;
      least = std::min(least, sum);
    }
    double found = 0;
    for (const Piece& p : cut(s, sigma)) found += costs[p.begin][p.end] + (p.begin > 0 ? 3 * price : 0);
    EXPECT_NEAR(found, least, 1e-6) << seed;
  }
}

TEST(Motion, NoiseAloneIsNotCut) {
  int cuts = 0, strays = 0, tracks = 0;
  for (int n : {8, 16, 33, 80})
    for (std::uint64_t seed = 0; seed < 150; ++seed) {
      const double T = n / 24.0;
      const Make how{.num_frames = n, .sigma_px = 0.2, .seed = seed};
      for (const Path& y :
           {Path([](double) { return 300.0; }), Path([=](double t) { return 100 + 600 * t * t / (T * T); })}) {
        const Motion m = motion_of(track([=](double t) { return 100 + 300 * t / T; }, y, how));
        cuts += !m.breaks.empty();
        strays += !m.strays.empty();
        ++tracks;
      }
    }
  EXPECT_LE(cuts, 0.01 * tracks);
  EXPECT_LE(strays, 0.01 * tracks);
}

TEST(Motion, NoiseIsMeasuredAcrossContacts) {
  double sum = 0;
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    const Path y = [](double t) { return 500 - 200 * std::abs(std::fmod(t, 0.5) - 0.25); };  // a corner every 6 frames
    sum += std::pow(motion_of(track([](double t) { return 100 + 90 * t; }, y,
                                    {.num_frames = 40, .sigma_px = 0.2, .seed = seed}))
                        .sigma_px,
                    2) /
           60;
  }
  EXPECT_NEAR(std::sqrt(sum), 0.2, 0.03);
  // The plain estimate of a track's noise is not: the corners are noise to it.
  EXPECT_GT(position_sigma_px(track([](double t) { return 100 + 90 * t; },
                                    [](double t) { return 500 - 200 * std::abs(std::fmod(t, 0.5) - 0.25); },
                                    {.num_frames = 40, .sigma_px = 0.2})),
            0.5);
}

TEST(Motion, ContactsAreTimedBetweenFrames) {
  Scatter scatter;
  std::vector<double> off;
  for (std::uint64_t seed = 0; seed < 150; ++seed) {
    const double at = 0.5 + 0.0013 * static_cast<double>(seed % 30);
    const Motion m = motion_of(track([](double t) { return 100 + 90 * t; },
                                     [=](double t) { return 500 - 300 * std::abs(t - at) + 200 * (t - at) * (t - at); },
                                     {.num_frames = 28, .sigma_px = 0.2, .seed = seed}));
    ASSERT_EQ(m.breaks.size(), 1u) << seed;
    EXPECT_EQ(m.breaks[0].change, Change::contact);
    scatter.value.push_back(m.breaks[0].time_s - at);
    scatter.sigma.push_back(m.breaks[0].time_sigma_s);
    EXPECT_NEAR(m.breaks[0].before[1], 300, 20);
    EXPECT_NEAR(m.breaks[0].after[1], -300, 20);
  }
  EXPECT_NEAR(scatter.mean(), 0, 4 * scatter.spread() / std::sqrt(150));
  EXPECT_LT(scatter.spread(), 0.001);
  EXPECT_NEAR(scatter.quoted() / scatter.spread(), 1, 0.5);
}

TEST(Motion, RunsSayWhatTheyAre) {
  const auto kind = [](const Path& x, const Path& y) {
    const Motion m = motion_of(track(x, y, {.sigma_px = 0.1}));
    return m.runs.size() == 1 ? m.runs[0].kind : Kind::brief;
  };
  const Path still = [](double) { return 300.0; };
  EXPECT_EQ(kind(still, still), Kind::rest);
  EXPECT_EQ(kind([](double t) { return 100 + 90 * t; }, still), Kind::uniform);
  EXPECT_EQ(kind([](double t) { return 100 + 90 * t; }, [](double t) { return 300 - 200 * t + 300 * t * t; }),
            Kind::flight);
  EXPECT_EQ(kind(still, [](double t) { return 300 + 60 * t; }), Kind::flight);  // straight down, without support
  EXPECT_EQ(kind(still, [](double t) { return 300 - 60 * t; }), Kind::uniform);
  EXPECT_EQ(kind(still, [](double t) { return 500 - 200 * t * t; }), Kind::other);
  EXPECT_EQ(kind([](double t) { return 100 + 90 * t + 60 * t * t; }, still),
            Kind::uniform);  // faster, but on the level
  EXPECT_FALSE(motion_of(track(still, still, {.num_frames = 5})).refusal.empty());
}

}  // namespace
}  // namespace reel::metrics
