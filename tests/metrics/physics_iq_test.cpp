// Physics-IQ: masks against OpenCV's on a film that both can make and against a slow recipe; overlaps and scores
// against hand-worked cases.
#include "metrics/physics_iq.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

#include "metrics/fidelity.hpp"

namespace reel::metrics {
namespace {

using Mask = std::vector<std::uint8_t>;

constexpr std::int64_t width = 96, height = 64, num_frames = 12;

/// A disc that moves over a still pattern, above a band that flickers by 10 to 21 levels; integers only.
Film scene(int which) {
  Film film{num_frames, height, width, 8, {}};
  film.rgb.resize(static_cast<std::size_t>(num_frames * film.frame_bytes()));
  for (int t = 0; t < num_frames; ++t)
    for (int y = 0; y < height; ++y)
      for (int x = 0; x < width; ++x) {
        const int base = ((3 * x + 5 * y) / 4 + (x * x + 7 * y) % 13) % 90;
        const int dx = x - (which == 0 ? 12 + 6 * t : 12 + 5 * t), dy = y - (which == 0 ? 30 : 26 + t);
        const bool disc = dx * dx + dy * dy <= (which == 0 ? 81 : 121);
        const int band = y >= 52 && y < 60 ? (x / 8 + t) % 2 * (10 + x / 8) : 0;
        const int rgb[3] = {disc ? 230 : base, disc ? 90 + 5 * which : base + 20, disc ? 30 : base + 40};
        for (int c = 0; c < 3; ++c)
          film.frame(t)[(y * width + x) * 3 + c] = static_cast<std::uint8_t>(std::clamp(rgb[c] + band, 0, 255));
      }
  return film;
}

Film grey(std::int64_t frames, std::int64_t w, std::int64_t h, int level) {
  Film film{frames, h, w, 8, {}};
  film.rgb.assign(static_cast<std::size_t>(frames * film.frame_bytes()), static_cast<std::uint8_t>(level));
  return film;
}

std::vector<Mask> masks_of(const Film& film) {
  FilmFrames frames(film);
  MotionMasks masks;
  Frame frame;
  std::vector<Mask> out;
  while (frames.next(frame)) out.push_back(masks.next(frame));
  return out;
}

const Metric& find(const Findings& findings, const std::string& id) {
  for (const Metric& metric : findings.metrics)
    if (metric.id == id) return metric;
  throw std::runtime_error("no " + id);
}

TEST(MotionMasks, AreThoseOfOpenCv) {
  // OpenCV 4.6 (cvtColor, GaussianBlur 5 x 5, accumulateWeighted 0.3 on double, convertScaleAbs, absdiff, threshold 10,
  // morphologyEx open and close with ones(5, 5)): set pixels, and the sum of index + 1 over them.
  const std::vector<std::vector<int>> area = {{0, 378, 474, 589, 591, 582, 489, 382, 326, 344, 408, 474},
                                              {0, 401, 474, 721, 798, 825, 757, 669, 556, 592, 599, 624}};
  const std::vector<std::vector<int>> places = {
      {0, 1552920, 1357906, 1786058, 1698112, 1670604, 1401449, 1114311, 957364, 1061183, 1248650, 1441627},
      {0, 1548262, 1213863, 2008750, 2147175, 2274621, 2151022, 1986291, 1771057, 1988297, 2088810, 2245649}};
  for (std::size_t which = 0; which < 2; ++which) {
    const std::vector<Mask> masks = masks_of(scene(static_cast<int>(which)));
    for (std::size_t t = 0; t < masks.size(); ++t) {
      int set = 0, place = 0;
      for (std::size_t i = 0; i < masks[t].size(); ++i)
        if (masks[t][i]) ++set, place += static_cast<int>(i) + 1;
      EXPECT_EQ(set, area[which][t]) << "film " << which << " frame " << t;
      EXPECT_EQ(place, places[which][t]) << "film " << which << " frame " << t;
    }
  }
}

/// The recipe again, straight from its words: 25 taps per pixel, boxes by definition.
std::vector<Mask> slow_masks(const Film& film) {
  const int w = static_cast<int>(film.width_px), h = static_cast<int>(film.height_px);
  const auto mirror = [](int i, int n) { return i < 0 ? -i : i >= n ? 2 * n - 2 - i : i; };
  const int binomial[5] = {1, 4, 6, 4, 1};
  std::vector<double> mean;
  std::vector<Mask> out;
  for (int t = 0; t < film.num_frames; ++t) {
    std::vector<int> grey, smooth;
    for (int i = 0; i < w * h; ++i) {
      const std::uint8_t* p = film.frame(t) + 3 * i;
      grey.push_back(static_cast<int>(std::floor(0.299 * p[0] + 0.587 * p[1] + 0.114 * p[2] + 0.5)));
    }
    for (int y = 0; y < h; ++y)
      for (int x = 0; x < w; ++x) {
        int sum = 0;
        for (int j = -2; j <= 2; ++j)
          for (int i = -2; i <= 2; ++i)
            sum += binomial[j + 2] * binomial[i + 2] *
                   grey[static_cast<std::size_t>(mirror(y + j, h) * w + mirror(x + i, w))];
        smooth.push_back(static_cast<int>(std::floor(sum / 256.0 + 0.5)));
      }
    Mask mask(smooth.size(), 0);
    if (t == 0) mean.assign(smooth.begin(), smooth.end());
    for (std::size_t i = 0; i < mask.size() && t > 0; ++i) {
      mean[i] = 0.7 * mean[i] + 0.3 * smooth[i];
      mask[i] = std::abs(smooth[i] - std::lrint(static_cast<float>(mean[i]))) > 10;
    }
    const auto box = [&](bool all) {
      Mask next(mask.size());
      for (int y = 0; y < h; ++y)
        for (int x = 0; x < w; ++x) {
          bool any_set = false, all_set = true;
          for (int j = std::max(0, y - 2); j <= std::min(h - 1, y + 2); ++j)
            for (int i = std::max(0, x - 2); i <= std::min(w - 1, x + 2); ++i) {
              const bool set = mask[static_cast<std::size_t>(j * w + i)];
              any_set |= set, all_set &= set;
            }
          next[static_cast<std::size_t>(y * w + x)] = all ? all_set : any_set;
        }
      mask = next;
    };
    box(true), box(false), box(false), box(true);
    out.push_back(mask);
  }
  return out;
}

TEST(MotionMasks, FollowTheRecipe) {
  for (int which = 0; which < 2; ++which) {
    const Film film = scene(which);
    const std::vector<Mask> expected = slow_masks(film), masks = masks_of(film);
    for (std::size_t t = 0; t < masks.size(); ++t) EXPECT_EQ(masks[t], expected[t]) << which << " " << t;
  }
}

TEST(MotionMasks, TheThresholdActsOnTheMeanAfterItsUpdate) {
  // A step of d leaves |I - B| = 0.7 d: 14 gives 9.8, rounded to 10, which is not above 10; 16 gives 11.2. 15 gives
  // 10.5: from an even level L, L + 4.5 rounds to L + 4 and leaves 11; from an odd one, to L + 5 and leaves 10.
  for (int level = 0; level <= 239; ++level)
    for (const int step : {14, 15, 16}) {
      Film film = grey(2, 6, 6, level);
      std::fill(film.frame(1), film.frame(1) + film.frame_bytes(), static_cast<std::uint8_t>(level + step));
      const std::vector<Mask> masks = masks_of(film);
      const bool moves = step == 16 || (step == 15 && level % 2 == 0);
      EXPECT_EQ(std::count(masks[1].begin(), masks[1].end(), 1), moves ? 36 : 0) << level << " " << step;
      EXPECT_EQ(std::count(masks[0].begin(), masks[0].end(), 1), 0);
    }
}

TEST(MotionMasks, TinyPicturesAndChangesOfSize) {
  EXPECT_EQ(masks_of(grey(3, 1, 1, 7)), std::vector<Mask>(3, Mask(1, 0)));
  EXPECT_EQ(masks_of(grey(2, 2, 1, 7)).size(), 2u);
  MotionMasks masks;
  const Frame small{2, 2, 0, std::vector<std::uint8_t>(12)}, large{3, 2, 0, std::vector<std::uint8_t>(18)},
      torn{3, 2, 0, std::vector<std::uint8_t>(17)};
  masks.next(small);
  EXPECT_THROW(masks.next(large), Error);
  EXPECT_THROW(masks.next(torn), Error);
  EXPECT_THROW(MotionMasks().next(Frame{}), Error);
}

TEST(MaskOverlap, HandWorked) {
  // Frame 1: a = {0}, b = {0, 1}: 1/2. Frame 2: a = {1, 2}, b = {3}: 0. Frame 3: both empty: 1.
  MaskOverlap overlap;
  overlap.add(Mask{1, 0, 0, 0}, Mask{1, 1, 0, 0});
  overlap.add(Mask{0, 9, 9, 0}, Mask{0, 0, 0, 1});
  overlap.add(Mask{0, 0, 0, 0}, Mask{0, 0, 0, 0});
  EXPECT_EQ(overlap.per_frame(), (std::vector<double>{0.5, 0, 1}));
  EXPECT_NEAR(overlap.spatiotemporal(), 0.5, 1e-15);
  EXPECT_NEAR(overlap.spatial(), 2 / 4.0, 1e-15);           // ever: a {0, 1, 2}, b {0, 1, 3}
  EXPECT_NEAR(overlap.weighted_spatial(), 2 / 4.0, 1e-15);  // counts a (1, 1, 1, 0), b (1, 1, 0, 1)
  overlap.add(Mask{1, 0, 0, 0}, Mask{0, 0, 0, 0});
  EXPECT_NEAR(overlap.weighted_spatial(), 2 / 5.0, 1e-15);  // counts a (2, 1, 1, 0)
  EXPECT_EQ(overlap.num_still(), 1);
  EXPECT_THROW(overlap.add(Mask{1}, Mask{1}), Error);
  EXPECT_TRUE(std::isnan(MaskOverlap().spatial()));
}

TEST(PhysicsIq, AgreesWithTheRecipeInPython) {
  // The same scenes through OpenCV 4.6 and numpy; a quarter: cv2.resize of 0/255 masks and of pictures, mask > 127.
  const Film a = scene(0), b = scene(1);
  FilmFrames film(a), reference(b);
  const PhysicsIqNumbers full = physics_iq(film, reference).numbers;
  EXPECT_NEAR(full.spatial, 0.6295612009237875, 1e-12);
  EXPECT_NEAR(full.spatiotemporal, 0.4909042741368212, 1e-12);
  EXPECT_NEAR(full.weighted_spatial, 0.5256962025316457, 1e-12);
  EXPECT_NEAR(full.mse, 0.009331936176056753, 1e-12);
  const PhysicsIqNumbers quarter = physics_iq(film, reference, {.quarter = true}).numbers;
  EXPECT_NEAR(quarter.spatial, 0.6689655172413793, 1e-12);
  EXPECT_NEAR(quarter.spatiotemporal, 0.511196790099331, 1e-12);
  EXPECT_NEAR(quarter.weighted_spatial, 0.5374531835205992, 1e-12);
  EXPECT_NEAR(quarter.mse, 0.008161511064120637, 1e-12);
}

TEST(PhysicsIq, AFilmAgreesWithItselfAndAFrozenOneDoesNot) {
  const Film moving = scene(0);
  Film frozen = moving;
  for (std::int64_t t = 1; t < num_frames; ++t)
    std::copy(frozen.frame(0), frozen.frame(0) + frozen.frame_bytes(), frozen.frame(t));
  FilmFrames a(moving), b(moving), still(frozen), again(frozen);
  const Findings same = physics_iq_findings(physics_iq(a, b));
  for (const char* id : {"IQ.spatial", "IQ.spatiotemporal", "IQ.weighted_spatial"})
    EXPECT_EQ(find(same, id).value, 1) << id;
  EXPECT_EQ(find(same, "IQ.mse").value, 0);
  EXPECT_NEAR(find(same, "IQ.still").value, 1 / 12.0, 1e-12);  // the first masks are empty by definition
  const PhysicsIqNumbers none = physics_iq(still, a).numbers;
  EXPECT_EQ(none.spatial, 0);
  EXPECT_NEAR(none.spatiotemporal, 1 / 12.0, 1e-12);
  EXPECT_GT(none.mse, 0.001);
  // The trap: two frozen films agree fully, and IQ.still says so.
  EXPECT_EQ(find(physics_iq_findings(physics_iq(still, again)), "IQ.still").value, 1);
}

TEST(PhysicsIq, RefusesWhatCannotBeCompared) {
  const Film a = grey(2, 16, 12, 9), b = grey(3, 16, 12, 9), c = grey(2, 32, 24, 9), d = grey(2, 3, 3, 9),
             none = grey(0, 16, 12, 9);
  FilmFrames fa(a), fb(b), fc(c), fd(d), fn(none);
  EXPECT_THROW(physics_iq(fa, fb), Error);
  EXPECT_EQ(physics_iq(fa, fb, {.up_to_the_shorter = true}).overlap.size(), 2u);
  EXPECT_THROW(physics_iq(fa, fc), Error);
  EXPECT_EQ(physics_iq(fc, fa, {.quarter = true}).numbers.mse, 0);  // of any size: brought to the reference's quarter
  EXPECT_THROW(physics_iq(fd, fd, {.quarter = true}), Error);
  EXPECT_THROW(physics_iq(fn, fn), Error);
  EXPECT_FALSE(find(physics_iq_findings({}), "IQ.spatial").given());
}

TEST(Resample, LinearBetweenCentresOfPixels) {
  const std::vector<std::uint8_t> ramp = {0, 10, 20, 30, 40, 50, 60, 70};
  // Eight to two: at 1.5 and 5.5. Two to four: at -0.25, 0.25, 0.75, 1.25, edges repeated.
  EXPECT_EQ(resample_linear(ramp, 1, 8, 1, 1, 2), (std::vector<std::uint8_t>{15, 55}));
  EXPECT_EQ(resample_linear(ramp, 8, 1, 1, 2, 1), (std::vector<std::uint8_t>{15, 55}));
  const std::vector<std::uint8_t> two = {0, 100};
  EXPECT_EQ(resample_linear(two, 1, 2, 1, 1, 4), (std::vector<std::uint8_t>{0, 25, 75, 100}));
  EXPECT_EQ(resample_linear(ramp, 1, 8, 1, 1, 8), ramp);
}

TEST(BlendedFrames, AreThoseOfTheScript) {
  // numpy: 8 to 5 frames per second, 12 old frames give 7; float32 mixtures, cut to uint8. Sum of the bytes, and of the
  // bytes times (index mod 251).
  const std::vector<std::int64_t> sum = {1255718, 1246433, 1241814, 1238846, 1249591, 1266624, 1281575};
  const std::vector<std::int64_t> places = {156517577, 155415710, 154807764, 154398765,
                                            155498592, 157640435, 159550342};
  const Film film = scene(0);
  FilmFrames frames(film);
  BlendedFrames blended(frames, 8, 5);
  for (int round = 0; round < 2; ++round) {
    Frame frame;
    std::size_t j = 0;
    for (; blended.next(frame); ++j) {
      ASSERT_LT(j, sum.size());
      std::int64_t total = 0, place = 0;
      for (std::size_t i = 0; i < frame.rgb.size(); ++i)
        total += frame.rgb[i], place += frame.rgb[i] * static_cast<std::int64_t>(i % 251);
      EXPECT_EQ(total, sum[j]) << j;
      EXPECT_EQ(place, places[j]) << j;
      EXPECT_EQ(frame.time_s, static_cast<double>(j) / 5);
    }
    EXPECT_EQ(j, 7u);
    blended.rewind();
  }
}

TEST(BlendedFrames, FasterFilmsGhostAndEndsAreKept) {
  Film film = grey(3, 1, 1, 0);
  film.rgb = {0, 0, 0, 100, 100, 100, 50, 50, 50};
  FilmFrames frames(film);
  const auto levels = [&](double from, double to, double seconds) {
    BlendedFrames blended(frames, from, to, seconds);
    Frame frame;
    std::vector<int> out;
    while (blended.next(frame)) out.push_back(frame.rgb[0]);
    return out;
  };
  EXPECT_EQ(levels(3, 5, 5), (std::vector<int>{0, 50, 100, 75, 50}));
  EXPECT_EQ(levels(3, 3, 5), (std::vector<int>{0, 100, 50}));
  EXPECT_EQ(levels(3, 1, 5), (std::vector<int>{0}));
  EXPECT_EQ(levels(2, 3, 1), (std::vector<int>{0, 50, 100}));  // one second only: two old frames
  EXPECT_THROW(levels(3, 0.5, 5), Error);
  EXPECT_THROW(levels(0, 5, 5), Error);
  EXPECT_THROW(levels(3, std::nan(""), 5), Error);
}

/// mse .1 / .05, st .4 / .3, sp .5 / .25, ws .6 / .5.
PhysicsIqTakes known_view() {
  return {{.spatial = 0.5, .spatiotemporal = 0.4, .weighted_spatial = 0.6, .mse = 0.1},
          {.spatial = 0.25, .spatiotemporal = 0.3, .weighted_spatial = 0.5, .mse = 0.05}};
}

TEST(PhysicsIqScore, HandWorked) {
  const std::vector<PhysicsIqTakes> views = {known_view()};
  EXPECT_NEAR(physics_iq_raw(views), (4 / 3.0 + 2 + 1.2) / 3 - 0.05, 1e-12);  // 1.4611
  EXPECT_NEAR(physics_iq_raw(views), 1.4611, 5e-5);
  EXPECT_EQ(physics_iq_score(views), 100);
  EXPECT_NEAR(physics_iq_verified(views), 100 * (1 + 1 + 1 + 0.5) / 4, 1e-4);
}

TEST(PhysicsIqScore, MeansBeforeRatiosOnTheOldBoardRatiosBeforeMeansOnTheNew) {
  PhysicsIqTakes good = known_view(), bad{{0.1, 0.1, 0.1, 0.2}, {0.75, 0.7, 0.5, 0.05}};
  const std::vector<PhysicsIqTakes> views = {good, bad};
  EXPECT_NEAR(physics_iq_raw(views), (0.5 / 1.0 + 0.6 / 1.0 + 0.7 / 1.0) / 3 - (0.3 - 0.1) / 2, 1e-12);
  EXPECT_NEAR(physics_iq_score(views), 50, 1e-10);
  const double second = (0.1 / 0.75 + 0.1 / 0.7 + 0.1 / 0.5 + 0.05 / 0.2) / 4;
  EXPECT_NEAR(physics_iq_verified(views), 100 * (0.875 + second) / 2, 1e-4);
}

TEST(PhysicsIqScore, ATakeScoresFullAndAHopelessFilmNothing) {
  PhysicsIqTakes view = known_view();
  view.film = view.takes;
  EXPECT_NEAR(physics_iq_score(std::vector{view}), 100, 1e-10);
  EXPECT_NEAR(physics_iq_verified(std::vector{view}), 100, 1e-4);
  view.film = {0, 0, 0, 1};
  EXPECT_EQ(physics_iq_score(std::vector{view}), 0);
  EXPECT_NEAR(physics_iq_verified(std::vector{view}), 100 * 0.05 / 4, 1e-4);
  view.film = {1, 1, 1, 0};
  EXPECT_NEAR(physics_iq_verified(std::vector{view}), 100, 1e-10);
}

TEST(PhysicsIqScore, RefusesWithoutANormaliser) {
  PhysicsIqTakes view = known_view();
  view.takes.spatial = 0;
  EXPECT_FALSE(find(physics_iq_score_findings(std::vector{view}), "IQ.score").given());
  EXPECT_TRUE(find(physics_iq_score_findings(std::vector{view}), "IQ.score_verified").given());
  view.takes.spatial = nan;
  for (const Metric& metric : physics_iq_score_findings(std::vector{view}).metrics) {
    EXPECT_FALSE(metric.given());
    EXPECT_TRUE(std::isnan(metric.value));
  }
  EXPECT_EQ(find(physics_iq_score_findings({}), "IQ.score").refusal, "no views");
  EXPECT_EQ(find(physics_iq_score_findings(std::vector{known_view()}), "IQ.score").n, 1);
}

}  // namespace
}  // namespace reel::metrics
