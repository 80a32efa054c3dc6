// O1 to O3, R1, R2, S1: things that vanish, jump, appear, breathe and pass through each other by a known amount.
#include <gtest/gtest.h>

#include <cmath>
#include <numbers>
#include <vector>

#include "made_tracks.hpp"

namespace reel::metrics {
namespace {

using namespace made;

const Path level = [](double) { return 400.0; };

/// Rolls to the right with 180 px/s.
Track roll(const Make& how = {.num_frames = 32, .sigma_px = 0.1, .area_sigma = 0.002}) {
  return track([](double t) { return 150 + 180 * t; }, level, how);
}

TEST(Permanence, FramesWithoutTheThingAreCountedExactly) {
  for (std::size_t gap : {0u, 1u, 2u, 3u, 5u, 9u}) {
    Track t = roll();
    hide(t, 12, 12 + gap);
    const Findings f = measure_laws(input({t}));
    EXPECT_EQ(one(f, "O1.missing").value, static_cast<double>(gap));
    EXPECT_DOUBLE_EQ(one(f, "O1.permanence").value, (32.0 - static_cast<double>(gap)) / 32);
    ASSERT_EQ(events(f).size(), gap > 0 ? 1u : 0u);
    if (gap > 0) {
      EXPECT_EQ(events(f)[0].frame, 12);
    }
    EXPECT_EQ(one(f, "O2.jump").value, 0);
    EXPECT_EQ(
        one(f, "O3.births").value + one(f, "O3.deaths").value + one(f, "O3.splits").value + one(f, "O3.merges").value,
        0);
    EXPECT_TRUE(one(f, "U1.drift").given());
  }
}

TEST(Permanence, OutOfThePictureOrBehindAnotherIsNotMissing) {
  // Rolls out to the right: 1000 px are reached after 4.7 s.
  Track leaves = track([](double t) { return 900 + 180 * t; }, level, {.num_frames = 32, .sigma_px = 0.1});
  for (std::size_t f = 0; f < 32; ++f) leaves.whole[f] = leaves.x_px[f] < 989;
  for (std::size_t f = 0; f < 32; ++f)
    if (leaves.x_px[f] > 1010) hide(leaves, f, f + 1);
  const Findings out = measure_laws(input({leaves}));
  EXPECT_EQ(one(out, "O1.missing").value, 0);
  EXPECT_EQ(one(out, "O3.deaths").value, 0);
  EXPECT_TRUE(out.events.empty());
  // Passes behind a large thing that stands still.
  Track red = roll();
  const Track post = track([](double) { return 260.0; }, level,
                           {.name = "post", .num_frames = 32, .sigma_px = 0.1, .radius_px = 40, .seed = 3});
  for (std::size_t f = 0; f < 32; ++f)
    if (std::abs(red.x_px[f] - 260) < 48) hide(red, f, f + 1);
  const Findings behind = measure_laws(input({red, post}));
  EXPECT_EQ(one(behind, "O1.missing").value, 0);
  EXPECT_EQ(one(behind, "O3.merges").value, 0);
  EXPECT_TRUE(behind.events.empty());
  // The same gap without the post is not excused.
  EXPECT_GT(one(permanence(scene_of(input({red}))), "O1.missing").value, 5);
}

TEST(Permanence, GoneForGood) {
  Track t = roll();
  hide(t, 20, 32);
  const Findings f = measure_laws(input({t}));
  EXPECT_EQ(one(f, "O1.missing").value, 12);
  EXPECT_EQ(one(f, "O3.deaths").value, 1);
  // Back under another name after 6 frames: missing until then.
  Track again = roll({.name = "2", .num_frames = 32, .sigma_px = 0.1, .seed = 4});
  hide(again, 0, 26);
  const Findings g = measure_laws(input({t, again}));
  EXPECT_EQ(one(g, "O1.missing").value, 6);
  EXPECT_EQ(one(g, "O3.births").value, 1);
}

TEST(Permanence, AMovingCameraTakesThingsOutOfItsPicture) {
  // The camera pans right with 400 px/s: picture f shows the first picture's x from 400 t on; a thing at rest leaves.
  Track t = track([](double s) { return 300 + 5 * s; }, level, {.num_frames = 32, .sigma_px = 0.05});
  LawInput in;
  for (std::size_t f = 0; f < 32; ++f) {
    const double x0 = 400 * t.time_s[f];
    in.to_first.push_back({1, 0, x0, 0, 1, 0, 0, 0, 1});
    t.whole[f] = t.x_px[f] - x0 > 11;
    if (t.x_px[f] - x0 < -10) hide(t, f, f + 1);
  }
  LawInput standing = input({t}), moving = standing;
  moving.to_first = in.to_first;
  EXPECT_EQ(one(permanence(scene_of(moving)), "O1.missing").value, 0);
  EXPECT_EQ(one(identity(scene_of(moving)), "O3.deaths").value, 0);
}

TEST(Continuity, JumpsComeBackToATenthOfAPixelInTheRightFrame) {
  std::vector<double> injected, found;
  Scatter scatter;
  for (double d : {0.0, 11.0, 16.0, 30.0, 80.0})
    for (std::uint64_t seed = 0; seed < 40; ++seed) {
      const std::size_t at = 5 + seed % 20;
      Track t = roll({.num_frames = 32, .sigma_px = 0.04, .seed = seed});
      for (std::size_t f = at; f < 32; ++f) t.y_px[f] -= d;
      const Findings f = measure_laws(input({t}));
      const Metric m = one(f, "O2.jump");
      injected.push_back(d), found.push_back(m.value);
      const bool far = d > 3 * 180 / 24.0;  // beyond the radius of 10 px and three steps of 7.5 px
      ASSERT_EQ(events(f).size(), far ? 1u : 0u) << d << " " << seed << (events(f).empty() ? "" : events(f)[0].id);
      EXPECT_EQ(one(f, "O2.teleports").value, far ? 1 : 0);
      if (far) {
        EXPECT_EQ(events(f)[0].frame, static_cast<std::int64_t>(at)) << seed;
      }
      if (d == 16) scatter.add(m);
    }
  const Recovery r = recovery(injected, found);
  EXPECT_NEAR(r.slope, 1, 0.02);
  EXPECT_GE(r.r2, 0.99);
  EXPECT_LT(r.worst, 0.15);  // 3 sigma; the mean is held to 0.1 below
  EXPECT_NEAR(scatter.mean(), 16, 0.02);
  EXPECT_LT(scatter.spread(), 0.1);
  EXPECT_NEAR(scatter.quoted() / scatter.spread(), 1, 0.3);
}

TEST(Continuity, AJumpInFlightAndOneForASingleFrame) {
  Track t = track([](double s) { return 100 + 60 * s; }, [](double s) { return 100 + 300 * s * s; },
                  {.num_frames = 30, .sigma_px = 0.05});
  for (std::size_t f = 14; f < 30; ++f) t.x_px[f] += 60;
  const Findings f = measure_laws(input({t}));
  EXPECT_NEAR(one(f, "O2.jump").value, 60, 0.15);
  ASSERT_EQ(events(f, "O2.teleport").size(), 1u);
  EXPECT_EQ(events(f, "O2.teleport")[0].frame, 14);
  Track blink = roll({.num_frames = 30, .sigma_px = 0.05});
  blink.y_px[17] += 45;
  const Findings g = measure_laws(input({blink}));
  EXPECT_NEAR(one(g, "O2.jump").value, 45, 0.3);
  ASSERT_EQ(events(g).size(), 1u);
  EXPECT_EQ(events(g)[0].frame, 17);
  EXPECT_TRUE(one(g, "U1.drift").given());  // the rest of the motion is judged without that frame
}

TEST(Continuity, ContactsAndCurvesAreNoJumps) {
  std::vector<Track> clean;
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const double at = 0.4 + 0.021 * static_cast<double>(seed);
    Make how{.num_frames = 36, .sigma_px = 0.1, .seed = seed};
    // A wall; a floor; floor and wall within one frame; a pendulum; a cubic.
    clean.push_back(track([=](double t) { return 500 - 400 * std::abs(t - at); }, level, how));
    clean.push_back(track([](double t) { return 100 + 70 * t; },
                          [=](double t) { return 600 - 300 * std::abs(t - at) + 400 * (t - at) * (t - at); }, how));
    clean.push_back(track([=](double t) { return 500 - 400 * std::abs(t - at); },
                          [=](double t) { return 600 - 300 * std::abs(t - at - 0.01); }, how));
    clean.push_back(track([](double t) { return 400 + 150 * std::sin(5 * t); }, level, how));
    clean.push_back(track(
        level, [](double t) { return 50 + 250 * t * t * t; }, how));
  }
  for (const Track& t : clean) {
    const Findings f = continuity(scene_of(input({t})));
    EXPECT_EQ(one(f, "O2.jump").value, 0);
    EXPECT_TRUE(f.events.empty());
  }
}

TEST(Identity, DuplicatesSplitsAndMerges) {
  const auto counts = [](const Findings& f) {
    return std::vector<double>{one(f, "O3.births").value, one(f, "O3.deaths").value, one(f, "O3.splits").value,
                               one(f, "O3.merges").value};
  };
  Track ghost = track([](double t) { return 150 + 180 * t; }, [](double) { return 600.0; },
                      {.name = "blue", .num_frames = 32, .sigma_px = 0.1, .seed = 2});
  hide(ghost, 0, 10);
  hide(ghost, 16, 32);
  const Findings f = measure_laws(input({roll(), ghost}));
  EXPECT_EQ(counts(f), (std::vector<double>{1, 1, 0, 0}));
  EXPECT_EQ(all(f, "O1.missing")[0].value, 0);
  EXPECT_FALSE(all(f, "O1.missing")[1].given());  // counted once, here
  // Comes in over the rim: no birth.
  Track comes = track([](double t) { return -100 + 180 * t; }, level, {.num_frames = 32, .sigma_px = 0.1});
  for (std::size_t k = 0; k < 32; ++k) {
    comes.whole[k] = comes.x_px[k] > 11;
    if (comes.x_px[k] < -9) hide(comes, k, k + 1);
  }
  EXPECT_EQ(counts(identity(scene_of(input({comes})))), (std::vector<double>{0, 0, 0, 0}));
  // Half of the red ball comes off in frame 12.
  Track red = roll(),
        half = track([](double t) { return 150 + 180 * t; }, [](double t) { return 400 + 60 * (t - 0.4); },
                     {.name = "2", .num_frames = 32, .sigma_px = 0.1, .radius_px = 7, .seed = 5});
  hide(half, 0, 12);
  for (std::size_t k = 12; k < 32; ++k) red.area_px[k] *= 0.5;
  EXPECT_EQ(counts(identity(scene_of(input({red, half})))), (std::vector<double>{0, 0, 1, 0}));
  // Two that run into each other are seen as none while they touch, then apart again.
  Track a = track([](double t) { return 300 + 100 * t; }, level, {.num_frames = 40, .sigma_px = 0.05}),
        b = track([](double t) { return 400 - 60 * t; }, level,
                  {.name = "2", .num_frames = 40, .sigma_px = 0.05, .seed = 6});
  for (std::size_t k = 0; k < 40; ++k)
    if (std::abs(a.x_px[k] - b.x_px[k]) < 21) hide(a, k, k + 1), hide(b, k, k + 1);
  const Findings g = measure_laws(input({a, b}));
  EXPECT_EQ(counts(g), (std::vector<double>{0, 0, 1, 1}));
  for (const Metric& m : all(g, "O1.missing")) EXPECT_EQ(m.value, 0);
}

TEST(Size, PulsesComeBack) {
  std::vector<double> injected, found;
  for (double x : {0.0, 0.02, 0.05, 0.1, 0.2})
    for (double hz : {1.7, 4.0})
      for (std::uint64_t seed = 0; seed < 4; ++seed) {
        Track t = roll({.num_frames = 48, .sigma_px = 0.1, .seed = seed, .area_sigma = 0.002});
        for (std::size_t f = 0; f < 48; ++f)
          t.area_px[f] *= std::pow(1 + x * std::sin(2 * std::numbers::pi * hz * t.time_s[f] + 0.5), 2);
        const Findings f = measure_laws(input({t}));
        injected.push_back(x), found.push_back(one(f, "R1.pulse").value);
        if (x > 0) {
          EXPECT_NEAR(one(f, "R1.pulse_hz").value, hz, 0.05);
        }
        if (x == 0) {
          EXPECT_EQ(one(f, "R1.pulse_hz").refusal, "no pulse stands out");
        }
        if (x > 0) {
          EXPECT_NEAR(one(f, "R1.cv").value, x / std::sqrt(2.0), 0.1 * x);
        }
        EXPECT_EQ(one(f, "O2.jump").value, 0);
        EXPECT_LT(std::abs(one(f, "U1.drift").value), 4 * one(f, "U1.drift").sigma);
      }
  const Recovery r = recovery(injected, found);
  EXPECT_NEAR(r.slope, 1, 0.02);
  EXPECT_GE(r.r2, 0.99);
  EXPECT_LT(r.worst, 0.002);
}

TEST(Size, ATrendIsPerspectiveAndNoPulse) {
  Track t = roll({.num_frames = 48, .sigma_px = 0.1});
  for (std::size_t f = 0; f < 48; ++f) {
    t.area_px[f] *= std::pow(1 + 0.1 * t.time_s[f] + 0.05 * t.time_s[f] * t.time_s[f], 2);
    t.major_px[f] *= 1 + 0.2 * t.time_s[f];
  }
  const Findings f = size_constancy(scene_of(input({t})));
  EXPECT_LT(one(f, "R1.cv").value, 1e-9);
  const double T = 47 / 24.0, r0 = 1, r1 = 1 + 0.1 * T + 0.05 * T * T, middle = 1 + 0.05 * T + 0.0125 * T * T;
  EXPECT_NEAR(one(f, "R1.growth").value, (r1 - r0) / middle, 0.005);
  EXPECT_NEAR(one(f, "R1.aspect_drift").value, 0.2 * T / (1 + 0.1 * T), 1e-3);
  // No areas: a thing that was followed by a box.
  for (double& a : t.area_px) a = nan;
  EXPECT_FALSE(one(size_constancy(scene_of(input({t}))), "R1.cv").given());
  EXPECT_TRUE(one(measure_laws(input({t})), "U1.drift").given());
}

TEST(Solidity, DepthOfTheOverlap) {
  // Pass through each other: centres at most 20 - 8 px apart vertically, radii 10 and 14.
  for (double offset : {30.0, 24.0, 16.0, 4.0}) {
    const Track a = track([](double t) { return 300 + 120 * t; }, level, {.num_frames = 25}),
                b = track([](double t) { return 420 - 120 * t; }, [=](double) { return 400 + offset; },
                          {.name = "blue", .num_frames = 25, .radius_px = 14});
    const Findings f = solidity(scene_of(input({a, b})));
    EXPECT_NEAR(one(f, "R2.overlap_px").value, std::max(0.0, 24 - offset), 1e-6);  // frame 12: the same x
    EXPECT_NEAR(one(f, "R2.overlap").value, std::max(0.0, 24 - offset) / 10, 1e-7);
  }
  EXPECT_EQ(one(solidity(scene_of(input({roll()}))), "R2.overlap").refusal, "one object alone");
}

TEST(Stillness, IsAClassOfItsOwn) {
  int still = 0;
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    const Track t = track([](double) { return 300.0; }, level, {.num_frames = 32, .sigma_px = 0.3, .seed = seed});
    still += one(stillness(scene_of(input({t}))), "S1.still").value == 1;
  }
  EXPECT_GE(still, 39);
  EXPECT_EQ(one(stillness(scene_of(input({roll()}))), "S1.still").value, 0);
  EXPECT_NEAR(one(stillness(scene_of(input({roll()}))), "S1.path").value, 180 * 31 / 24.0, 0.5);
  // Slow but clear motion is motion: 6 px in 32 frames with 0.1 px of noise.
  const Track slow = track([](double t) { return 300 + 4.6 * t; }, level, {.num_frames = 32, .sigma_px = 0.1});
  EXPECT_EQ(one(stillness(scene_of(input({slow}))), "S1.still").value, 0);
}

}  // namespace
}  // namespace reel::metrics
