// F1 to F5 on tracks whose accelerations, exponents and bounces are known, with noise of a known size.
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "core/error.hpp"
#include "made_tracks.hpp"

namespace reel::metrics {
namespace {

using namespace made;

constexpr double m_per_px = 0.01, g_px = 981;  // 9.81 m/s2

/// Dropped from rest in the first frame.
Track drop(double a_px, const Make& how = {}) {
  return track([](double) { return 300.0; }, [=](double t) { return 50 + 0.5 * a_px * t * t; }, how);
}

/// A ball that falls from `height_px` and bounces with `e`, in closed form.
Path bouncing(double height_px, double e, double a = g_px, double floor_px = 900) {
  return [=](double t) {
    double v = std::sqrt(2 * a * height_px), begin = v / a;
    if (t < begin) return floor_px - height_px + 0.5 * a * t * t;
    for (int k = 0; k < 50; ++k) {
      v *= e;
      if (t < begin + 2 * v / a) return floor_px - v * (t - begin) + 0.5 * a * (t - begin) * (t - begin);
      begin += 2 * v / a;
    }
    return floor_px;
  };
}

TEST(FreeFall, AccelerationAndItsDoubtAreRight) {
  // metrics.md 3.2: sigma_g / g = sqrt(720 / N) sigma / (2 H), here with N = 24 frames, H = 200 px, 0.2 px: 0.27 %.
  const double T = 23 / 24.0, a = 2 * 200 / (T * T);
  Scatter scatter, x;
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    const Findings f = free_fall(scene_of(input({drop(a, {.sigma_px = 0.2, .seed = seed})})));
    ASSERT_EQ(all(f, "F1.a").size(), 1u) << seed;
    scatter.add(one(f, "F1.a"));
  }
  EXPECT_NEAR(scatter.mean(), a, 4 * scatter.spread() / std::sqrt(scatter.n()));
  EXPECT_NEAR(scatter.quoted() / scatter.spread(), 1, 0.25);
  EXPECT_GE(scatter.within_3(a), 0.985);
  EXPECT_NEAR(scatter.spread() / a, std::sqrt(720.0 / 24) * 0.2 / (2 * 200), 0.15 * 0.0027);
}

TEST(FreeFall, WrongGravityComesBackAndNothingElseMoves) {
  std::vector<double> injected, found;
  for (double x : {-0.9, -0.6, -0.3, 0.0, 0.3, 0.6, 1.0})
    for (std::uint64_t seed = 0; seed < 8; ++seed) {
      const Make how{.name = "red", .num_frames = 26, .sigma_px = 0.1, .seed = seed, .area_sigma = 0.002};
      Make blue = how;
      blue.name = "blue", blue.seed = seed + 100, blue.radius_px = 14;
      const double a = g_px * (1 + x) * 0.7;
      const Track second = track([](double) { return 700.0; }, [=](double t) { return 90 + 0.5 * a * t * t; }, blue);
      const Findings f = measure_laws(input({drop(a, how), second}, m_per_px / 0.7));
      injected.push_back(9.81 * (1 + x));
      found.push_back(one(f, "F1.g_eff").value);
      EXPECT_NEAR(one(f, "F1.epsilon").value, x, std::max(0.01, 4 * one(f, "F1.epsilon").sigma));
      EXPECT_NEAR(one(f, "F1.tau").value, std::sqrt(1 + x), 0.01);
      // Cross-talk: form, direction, permanence, size stay as they are.
      EXPECT_LT(std::abs(one(f, "F2.deviation").value), std::max(0.02, 4 * one(f, "F2.deviation").sigma))
          << x << " " << seed;
      EXPECT_LT(std::abs(one(f, "F3.ratio").value), 4 * one(f, "F3.ratio").sigma);
      EXPECT_NEAR(one(f, "F4.ratio").value, 1, 4 * one(f, "F4.ratio").sigma);
      EXPECT_GT(one(f, "F1.r2").value, 0.9999);
      EXPECT_LT(one(f, "F1.misfit").value, 1.6);
      EXPECT_EQ(one(f, "O1.missing").value, 0);
      EXPECT_EQ(one(f, "O2.jump").value, 0);
      EXPECT_EQ(one(f, "O3.births").value + one(f, "O3.deaths").value, 0);
      EXPECT_LT(one(f, "R1.cv").value, 0.003);
      EXPECT_LT(one(f, "R1.pulse").value, 0.002);
      EXPECT_TRUE(f.events.empty()) << f.events.front().id;
    }
  const Recovery r = recovery(injected, found);
  EXPECT_NEAR(r.slope, 1, 0.02);
  EXPECT_GE(r.r2, 0.99);
  EXPECT_LT(r.worst, 0.01 * 9.81);
}

TEST(FreeFall, ScaleGivesMetresAndItsDoubt) {
  LawInput in = input({drop(981, {.sigma_px = 0.05})}, m_per_px);
  in.scale.sigma = 0.06;
  const Findings known = free_fall(scene_of(in));
  EXPECT_NEAR(one(known, "F1.g_eff").value, 9.81, 0.02);
  EXPECT_NEAR(one(known, "F1.g_eff").sigma / 9.81, 0.06, 0.001);  // 6 % of height are 6 % of g
  EXPECT_NEAR(one(known, "F1.tau").sigma, 0.03, 0.001);
  EXPECT_EQ(one(known, "F1.a").unit, "px s-2");
  EXPECT_EQ(one(known, "F1.g_eff").unit, "m s-2");
  // A disc of radius 10 px is 20 px long; if 9.81 held, a pixel would be 1 cm.
  EXPECT_NEAR(one(known, "F1.size").value, 0.2, 0.001);
  in.scale = {};
  const Findings unknown = free_fall(scene_of(in));
  for (const char* id : {"F1.g_eff", "F1.epsilon", "F1.tau"})
    EXPECT_NE(one(unknown, id).refusal.find("scale"), std::string::npos) << id;
  EXPECT_NEAR(one(unknown, "F1.a").value, 981, 2);
  EXPECT_NEAR(one(unknown, "F1.size").value, 0.2, 0.001);
}

TEST(FreeFall, SlowMotionIsThePlaybackSpeed) {
  for (double tau : {0.35, 0.5, 1.0, 1.25}) {
    const Findings f = free_fall(scene_of(input({drop(981 * tau * tau, {.sigma_px = 0.05})}, m_per_px)));
    EXPECT_NEAR(one(f, "F1.tau").value, tau, 0.01);
  }
}

TEST(FreeFall, FormAndDriftTellAParabolaFromOtherCurves) {
  const Make how{.sigma_px = 0.1};
  const Findings clean = free_fall(scene_of(input({drop(800, how)})));
  EXPECT_LT(std::abs(one(clean, "F1.drift").value), 4 * one(clean, "F1.drift").sigma);
  // y''' = 600: the acceleration changes by 600 T / a of itself
  const Track bent =
      track([](double) { return 300.0; }, [](double t) { return 50 + 400 * t * t + 100 * t * t * t; }, how);
  const Findings f = free_fall(scene_of(input({bent})));
  const double T = 23 / 24.0, a = 800 + 600 * T / 2;
  EXPECT_NEAR(one(f, "F1.drift").value, 600 * T / a, 0.02);
  EXPECT_GT(one(f, "F1.misfit").value, 5);
}

TEST(FreeFall, AReleaseAndALandingAreCutOff) {
  // Stands for 0.4 s, runs off and falls, lies from 1.2 s on.
  const double v = 120;
  const auto fallen = [](double t) { return std::min(std::max(t - 0.41, 0.0), 0.79); };
  const Track t =
      track([=](double s) { return 200 + v * fallen(s); },
            [=](double s) { return 60 + 0.5 * g_px * std::pow(fallen(s), 2); }, {.num_frames = 40, .sigma_px = 0.1});
  const Scene scene = scene_of(input({t}, m_per_px));
  ASSERT_EQ(scene.motions[0].runs.size(), 3u);
  EXPECT_EQ(scene.motions[0].breaks[0].frame, 10u);  // 0.41 s: between frames 9 and 10
  EXPECT_EQ(scene.motions[0].breaks[1].frame, 29u);  // 1.20 s: between frames 28 and 29
  EXPECT_NEAR(scene.motions[0].breaks[1].time_s, 1.2, 4 * scene.motions[0].breaks[1].time_sigma_s);
  EXPECT_LT(scene.motions[0].breaks[1].time_sigma_s, 0.001);
  const Findings f = measure_laws(input({t}, m_per_px));
  EXPECT_NEAR(one(f, "F1.g_eff").value, 9.81, 4 * one(f, "F1.g_eff").sigma);
  EXPECT_NEAR(one(f, "F2.exponent").value, 2, 4 * one(f, "F2.exponent").sigma);
  EXPECT_NEAR(one(f, "F3.ratio").value, 0, 4 * one(f, "F3.ratio").sigma);
  ASSERT_EQ(events(f).size(), 1u);
  EXPECT_EQ(events(f)[0].id, "F5.impact");
  EXPECT_NEAR(events(f)[0].time_s, 1.2, 0.002);
}

TEST(DropForm, ExponentsComeBack) {
  std::vector<double> injected, found;
  for (double p : {1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0}) {
    Scatter scatter;
    for (std::uint64_t seed = 0; seed < 12; ++seed) {
      const Track t = track([](double) { return 300.0; }, [=](double s) { return 50 + 600 * std::pow(s, p); },
                            {.num_frames = 25, .sigma_px = 0.1, .seed = seed});
      const Metric m = one(drop_form(scene_of(input({t}))), "F2.exponent");
      ASSERT_TRUE(m.given()) << p << " " << seed << " " << m.refusal;
      injected.push_back(p), found.push_back(m.value);
      scatter.add(m);
    }
    EXPECT_NEAR(scatter.mean(), p, 0.01) << p;
  }
  const Recovery r = recovery(injected, found);
  EXPECT_NEAR(r.slope, 1, 0.02);
  EXPECT_GE(r.r2, 0.99);
  EXPECT_LT(r.worst, 0.02);
}

TEST(DropForm, QuotesItsDoubtAndKnowsAParabola) {
  Scatter scatter;
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    // At rest for 8 frames and a third.
    const Path y = [](double t) { return 50 + 0.5 * 900 * std::pow(std::max(0.0, t - 25 / 72.0), 2); };
    const Findings f = drop_form(
        scene_of(input({track([](double) { return 300.0; }, y, {.num_frames = 32, .sigma_px = 0.3, .seed = seed})})));
    scatter.add(one(f, "F2.exponent"));
    EXPECT_GT(one(f, "F2.r2").value, 0.999);
    EXPECT_LT(one(f, "F2.odd").value, 0.01);
  }
  ASSERT_EQ(scatter.n(), 200);
  EXPECT_NEAR(scatter.mean(), 2, 4 * scatter.spread() / std::sqrt(200));
  EXPECT_NEAR(scatter.quoted() / scatter.spread(), 1, 0.25);
  EXPECT_GE(scatter.within_3(2), 0.98);
}

TEST(DropForm, IndicesByHand) {
  // y = 5 t^2 exactly: increments 1:3:5:7, no gain of a parabola in t^2.
  std::vector<double> t, y, line;
  for (int i = 0; i <= 40; ++i)
    t.push_back(0.05 * i), y.push_back(5 * t.back() * t.back()), line.push_back(5 * t.back());
  const Drop d = fit_drop(t, y, 0, 0.1, 0.01);
  EXPECT_NEAR(d.exponent, 2, 1e-6);
  EXPECT_NEAR(d.begin_s, 0, 1e-5);
  EXPECT_NEAR(d.odd, 0, 1e-6);
  EXPECT_NEAR(d.r2, 1, 1e-9);
  // y = 5 t: quarters of 1/4 each; the largest deviation from 7/16 is 3/16.
  const Drop straight = fit_drop(t, line, 0, 0.1, 0.01);
  EXPECT_NEAR(straight.exponent, 1, 1e-6);
  EXPECT_NEAR(straight.odd, 3.0 / 16, 1e-4);
  EXPECT_GT(straight.qfi, 50);
  EXPECT_EQ(fit_drop(std::vector<double>{0, 1}, std::vector<double>{0, 1}, 0, 0, 1).refusal, "fewer than 6 frames");
}

TEST(DropForm, WhatIsThrownDownIsNoDropFromRest) {
  const Track t =
      track([](double) { return 300.0; }, [](double s) { return 50 + 300 * s + 0.5 * 400 * s * s; }, {.sigma_px = 0.1});
  EXPECT_EQ(one(drop_form(scene_of(input({t}))), "F2.exponent").refusal, "moves already when it is first seen");
  const Track up = track([](double s) { return 100 + 200 * s; },
                         [](double s) { return 500 - 300 * s + 0.5 * 400 * s * s; }, {.sigma_px = 0.1});
  EXPECT_FALSE(one(drop_form(scene_of(input({up}))), "F2.exponent").given());
}

TEST(SidewaysInertia, SteeringComesBack) {
  std::vector<double> injected, found;
  for (double ratio : {-0.3, -0.1, 0.0, 0.1, 0.3}) {
    const Track t = track([=](double s) { return 300 + 80 * s + 0.5 * ratio * 700 * s * s; },
                          [](double s) { return 50 + 350 * s * s; }, {.sigma_px = 0.1});
    const Metric m = one(sideways_inertia(scene_of(input({t}))), "F3.ratio");
    injected.push_back(ratio), found.push_back(m.value);
    EXPECT_NEAR(m.value, ratio, 4 * m.sigma);
  }
  EXPECT_NEAR(recovery(injected, found).slope, 1, 0.02);
}

TEST(EqualFall, OneThatFallsHeavierIsFound) {
  std::vector<double> injected, found;
  for (double x : {-0.5, -0.1, 0.0, 0.1, 0.5})
    for (std::uint64_t seed = 0; seed < 5; ++seed) {
      const Track blue = track([](double) { return 600.0; }, [=](double s) { return 80 + 300 * (1 + x) * s * s; },
                               {.name = "blue", .sigma_px = 0.1, .seed = 50 + seed});
      const Findings f = equal_fall(scene_of(input({drop(600, {.sigma_px = 0.1, .seed = seed}), blue})));
      const Metric m = one(f, "F4.ratio");
      EXPECT_EQ(m.object, "red, blue");
      EXPECT_NEAR(one(f, "F4.deviation").value, std::abs(x), 4 * m.sigma);
      injected.push_back(1 + x), found.push_back(m.value);
    }
  const Recovery r = recovery(injected, found);
  EXPECT_NEAR(r.slope, 1, 0.02);
  EXPECT_LT(r.worst, 0.01);
  EXPECT_EQ(one(equal_fall(scene_of(input({drop(600)}))), "F4.ratio").refusal, "fewer than two flights in the shot");
}

TEST(EqualFall, GalileosSlopeOverManyClips) {
  std::vector<DropPair> pairs, still;
  for (int i = 1; i <= 6; ++i) {  // h = 4.9 t^2
    const double t1 = 0.3 * i, t2 = 0.9;
    pairs.push_back({4.9 * t1 * t1, 4.9 * t2 * t2, t1, t2});
    still.push_back({1 + 0.2 * t1 * t1 / (t2 * t2), 1, t1, t2});  // slope 0.2 by construction
  }
  pairs.push_back({nan, 1, 1, 1});
  pairs.push_back({1, 0, 1, 1});
  const Metric m = galileo_slope(pairs);
  EXPECT_NEAR(m.value, 1, 1e-9);
  EXPECT_EQ(m.n, 6);
  EXPECT_NEAR(galileo_slope(still).value, 0.2, 1e-9);
  EXPECT_FALSE(galileo_slope(std::span(pairs).first(2)).given());
}

TEST(Bounce, RestitutionComesBack) {
  std::vector<double> injected, found;
  for (double e : {0.3, 0.5, 0.7, 0.9, 1.0, 1.1, 1.4}) {
    Scatter scatter;
    for (std::uint64_t seed = 0; seed < 6; ++seed) {
      // The first fall takes 0.6 s; 12 to 19 frames of what follows.
      const Track t = track([](double s) { return 200 + 90 * s; }, bouncing(0.5 * g_px * 0.36, e),
                            {.num_frames = e < 0.4 ? 24 : 31, .sigma_px = 0.1, .seed = seed});
      const Metric m = one(bounces(scene_of(input({t}))), "F5.e_v");
      ASSERT_TRUE(m.given()) << e << " " << seed << m.refusal;
      injected.push_back(e), found.push_back(m.value);
      scatter.add(m);
    }
    EXPECT_NEAR(scatter.mean(), e, 0.005) << e;
  }
  const Recovery r = recovery(injected, found);
  EXPECT_NEAR(r.slope, 1, 0.02);
  EXPECT_GE(r.r2, 0.99);
  EXPECT_LT(r.worst, 0.02);
}

TEST(Bounce, HeightsTimesAndSpeedsAgreeUnderConstantGravity) {
  Scatter e_v, e_h, e_t;
  for (std::uint64_t seed = 0; seed < 150; ++seed) {
    const Track t = track([](double s) { return 100 + 90 * s; }, bouncing(300, 0.8),
                          {.num_frames = 70, .sigma_px = 0.2, .seed = seed});
    const Findings f = bounces(scene_of(input({t})));
    ASSERT_GE(all(f, "F5.e_v").size(), 2u);
    const std::size_t k = seed % 2;  // first bounce: after a drop from rest; second: between two impacts
    e_v.add(all(f, "F5.e_v")[k]), e_h.add(all(f, "F5.e_h")[k]), e_t.add(all(f, "F5.e_t")[k]);
    EXPECT_LT(all(f, "F5.consistency")[k].value, 5 * all(f, "F5.consistency")[k].sigma);
    EXPECT_TRUE(events(f, "F5.impact").size() >= 2);
    EXPECT_NEAR(events(f, "F5.impact")[0].time_s, std::sqrt(2 * 300 / g_px), 0.002);
  }
  for (const Scatter* s : {&e_v, &e_h, &e_t}) {
    ASSERT_EQ(s->n(), 150);
    EXPECT_NEAR(s->mean(), 0.8, 4 * s->spread() / std::sqrt(150));
    EXPECT_GE(s->within_3(0.8), 0.97);
    EXPECT_NEAR(s->quoted() / s->spread(), 1, 0.25);
  }
}

TEST(Bounce, AChangeOfGravityAtTheContactIsInconsistent) {
  // Comes down with g, goes up with g / 2 at 0.8 of the speed: e_v = 0.8, e_h = 0.8 sqrt(2), e_t = 1.6.
  const double begin = std::sqrt(2 * 300 / g_px), v = 0.8 * g_px * begin;
  const Path y = [=](double t) {
    return t < begin ? 600 + 0.5 * g_px * t * t : 900 - v * (t - begin) + 0.25 * g_px * std::pow(t - begin, 2);
  };
  const Track t = track([](double) { return 300.0; }, y, {.num_frames = 62, .sigma_px = 0.1});
  const Findings f = bounces(scene_of(input({t})));
  EXPECT_NEAR(one(f, "F5.e_v").value, 0.8, 0.01);
  EXPECT_NEAR(one(f, "F5.e_h").value, 0.8 * std::sqrt(2.0), 0.01);
  EXPECT_NEAR(one(f, "F5.e_t").value, 1.6, 0.01);
  EXPECT_GT(one(f, "F5.consistency").value, 10 * one(f, "F5.consistency").sigma);
}

TEST(Falls, WhatCannotBeJudgedIsRefusedAndNeverCrashes) {
  const Findings nothing = measure_laws(input({}));
  EXPECT_EQ(one(nothing, "F1.a").refusal, "no object was followed");
  EXPECT_EQ(one(nothing, "O3.births").refusal, "no object was followed");
  for (const Metric& m : nothing.metrics) EXPECT_FALSE(m.given()) << m.id;
  // One frame, no frame, never seen, five frames.
  Track unseen = drop(900);
  hide(unseen, 0, 24);
  for (const Track& t :
       {drop(900, {.num_frames = 1}), drop(900, {.num_frames = 0}), unseen, drop(900, {.num_frames = 5})}) {
    const Findings f = measure_laws(input({t}, m_per_px));
    for (const Metric& m : f.metrics) EXPECT_FALSE(m.id[0] == 'F' && m.given()) << m.id;
    for (const Metric& m : f.metrics) EXPECT_TRUE(m.given() ? std::isfinite(m.value) : std::isnan(m.value)) << m.id;
  }
  // A short flight: six frames are judged, five are not.
  EXPECT_TRUE(one(free_fall(scene_of(input({drop(900, {.num_frames = 6, .sigma_px = 0.05})}))), "F1.a").given());
  // An object that stands still: every law of motion says so.
  const Track still = track([](double) { return 50.0; }, [](double) { return 60.0; }, {.sigma_px = 0.1});
  const Findings f = measure_laws(input({still}, m_per_px));
  for (const char* id : {"F1.a", "F2.exponent", "F3.ratio", "F5.e_v", "U1.drift", "P1.period"})
    EXPECT_EQ(one(f, id).refusal, "object stands still") << id;
  EXPECT_EQ(one(f, "S1.still").value, 1);
  EXPECT_TRUE(one(f, "R1.cv").given());
}

TEST(Falls, BadInputIsAnErrorAtTheBorder) {
  const auto refuses = [](const LawInput& in) {
    try {
      measure_laws(in);
      return false;
    } catch (const Error& e) {
      return e.exit() == Exit::input;
    }
  };
  LawInput in = input({drop(900)});
  EXPECT_FALSE(refuses(in));
  in.tracks[0].y_px.pop_back();
  EXPECT_TRUE(refuses(in));
  in = input({drop(900)});
  in.tracks[0].time_s[4] = in.tracks[0].time_s[3];
  EXPECT_TRUE(refuses(in));
  in.tracks[0].time_s[4] = nan;
  EXPECT_TRUE(refuses(in));
  in = input({drop(900), drop(900, {.num_frames = 20})});
  EXPECT_TRUE(refuses(in));
  in = input({drop(900)});
  in.width_px = 0;
  EXPECT_TRUE(refuses(in));
  in = input({drop(900)});
  in.expected_gravity_m_per_s2 = nan;
  EXPECT_TRUE(refuses(in));
  in = input({drop(900)});
  in.to_first.resize(3);
  EXPECT_TRUE(refuses(in));
}

}  // namespace
}  // namespace reel::metrics
