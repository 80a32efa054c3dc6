// PhyWorld on tracks made by hand, where one pixel is one metre and one frame one second: velocities, momentum and
// energy, lost balls; and the two ways to go on from the given frames.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstddef>
#include <functional>
#include <numbers>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "core/error.hpp"
#include "metrics/phyworld.hpp"

namespace reel::metrics {
namespace {

Track line(std::vector<double> x, std::vector<double> y = {}) {
  Track track;
  if (y.empty()) y.assign(x.size(), 5);
  for (std::size_t t = 0; t < x.size(); ++t) track.time_s.push_back(static_cast<double>(t));
  track.area_px.assign(x.size(), std::numbers::pi);
  track.whole.assign(x.size(), 1);
  track.major_px = track.minor_px = std::vector<double>(x.size(), 0.5);
  track.x_px = std::move(x);
  track.y_px = std::move(y);
  return track;
}

PhyWorldOptions unit(std::int64_t num_given = 1) {
  return {.film_m_per_px = 1, .truth_m_per_px = 1, .dt_s = 1, .num_given = num_given};
}

const Metric& find(const Findings& findings, const std::string& id) {
  for (const Metric& metric : findings.metrics)
    if (metric.id == id) return metric;
  throw std::runtime_error("no " + id);
}

TEST(PhyWorld, VelocityErrorByHand) {
  // True speed 1; the film moves by 1.5, 0.5, 1 after the given frame: |errors| of the two judged pairs .5 and 0, and
  // the means differ by 0.25. The pair from the given frame is not judged.
  const std::vector<PhyWorldBall> balls = {{line({0, 1.5, 2, 3}), line({0, 1, 2, 3})}};
  const PhyWorld p = phyworld(balls, unit());
  EXPECT_EQ(p.num_frames, 3);
  EXPECT_EQ(p.num_velocities, 2);
  EXPECT_NEAR(p.velocity, 0.25, 1e-12);
  EXPECT_NEAR(p.mean_velocity, 0.25, 1e-12);
  EXPECT_TRUE(std::isnan(p.velocity_error[1]));
  EXPECT_NEAR(p.velocity_error[2], 0.5, 1e-12);
  EXPECT_NEAR(phyworld(balls, unit(0)).velocity, (0.5 + 0.5 + 0) / 3, 1e-12);
  // Noise that comes and goes is seen by the printed formula only.
  const std::vector<PhyWorldBall> shaky = {{line({0, 1, 2.3, 3, 4}), line({0, 1, 2, 3, 4})}};
  EXPECT_NEAR(phyworld(shaky, unit()).velocity, 0.2, 1e-12);
  EXPECT_NEAR(phyworld(shaky, unit()).mean_velocity, 0, 1e-12);
  // Euclidean against the sum of axes: 3, 4 and 5.
  const std::vector<PhyWorldBall> aslant = {{line({0, 3, 6}, {0, 4, 8}), line({0, 0, 0}, {0, 0, 0})}};
  EXPECT_NEAR(phyworld(aslant, unit()).velocity, 5, 1e-12);
  EXPECT_NEAR(phyworld(aslant, unit()).mean_velocity, 7, 1e-12);
}

TEST(PhyWorld, OnlyFramesInFullViewOfEveryBallAreJudged) {
  Track gone = line({0, 1, 2, 3, 4, 5});
  gone.whole = {1, 1, 1, 1, 0, 0};
  const std::vector<PhyWorldBall> balls = {{line({0, 1, 2, 3, 9, 20}), gone},
                                           {line({0, 1, 2, 3, 4, 5}), line({0, 1, 2, 3, 4, 5})}};
  const PhyWorld p = phyworld(balls, unit());
  EXPECT_EQ(p.num_frames, 3);
  EXPECT_EQ(p.num_velocities, 4);
  EXPECT_EQ(p.velocity, 0);
}

TEST(PhyWorld, ALostBallIsCountedOrPutAtTheEdge) {
  const std::vector<PhyWorldBall> balls = {
      {line({0, 1, 2, nan, 4, 5}, {5, 5, 5, nan, 5, 5}), line({0, 1, 2, 3, 4, 5})}};
  const PhyWorld counted = phyworld(balls, unit());
  EXPECT_EQ(counted.num_lost, 1);
  EXPECT_EQ(counted.num_velocities, 2);  // 1-2 and 4-5
  EXPECT_EQ(counted.velocity, 0);
  EXPECT_NEAR(find(phyworld_findings(counted, unit()), "PW.lost").value, 1 / 5.0, 1e-12);
  PhyWorldOptions options = unit();
  options.compat = true;  // at 10 m: velocities 1, 8, -6, 1
  EXPECT_NEAR(phyworld(balls, options).velocity, (0 + 7 + 7 + 0) / 4.0, 1e-12);
  EXPECT_EQ(phyworld(balls, options).num_lost, 1);
  EXPECT_NEAR(find(phyworld_findings(phyworld(balls, options), options), "PW.velocity_compat").value, 3.5, 1e-12);
}

TEST(PhyWorld, RadiusDrift) {
  std::vector<PhyWorldBall> balls = {{line({0, 1, 2, 3}), line({0, 1, 2, 3})}};
  balls[0].film.area_px = {9 * std::numbers::pi, std::numbers::pi, 2.25 * std::numbers::pi, nan};
  EXPECT_NEAR(phyworld(balls, unit()).radius_drift_m, 0.5, 1e-12);  // the given frame does not count
  EXPECT_NEAR(phyworld(balls, unit(0)).radius_drift_m, 2, 1e-12);
}

TEST(PhyWorld, MomentumAndEnergyByHand) {
  // Masses 1 and 3, speeds 2 and -1 until frame 3, then -2.5 and 0.5: momentum -1, energy 3.5.
  const Track a = line({0, 2, 4, 6, 3.5, 1, -1.5}), b = line({20, 19, 18, 17, 17.5, 18, 18.5});
  PhyWorldOptions options = unit();
  options.collision = true;
  const std::vector<PhyWorldBall> exact = {{a, a, 1}, {b, b, 3}};
  const PhyWorld p = phyworld(exact, options);
  EXPECT_EQ(p.impact_frame, 3);
  EXPECT_NEAR(p.after.momentum, 0, 1e-12);
  EXPECT_NEAR(p.after.energy, 0, 1e-12);
  EXPECT_EQ(p.before.num_pairs, 2);  // frames 1 to 3
  EXPECT_EQ(p.after.num_pairs, 2);   // 4 to 6; the pair 3 to 4 has the impact
  EXPECT_EQ(p.num_velocities, 4);
  // A film in which the light ball comes back with 3.5 instead: momentum -2, energy 6.125 + 0.375 = 6.5.
  const std::vector<PhyWorldBall> wrong = {{line({0, 2, 4, 6, 2.5, -1, -4.5}), a, 1}, {b, b, 3}};
  const PhyWorld q = phyworld(wrong, options);
  EXPECT_NEAR(q.before.momentum, 0, 1e-12);
  EXPECT_NEAR(q.after.momentum, 1, 1e-12);
  EXPECT_NEAR(q.after.energy, 3, 1e-12);
  EXPECT_NEAR(q.velocity, 0.5, 1e-12);  // one ball wrong by 1, the other right
  EXPECT_NEAR(find(phyworld_findings(q, options), "PW.energy_after").value, 3, 1e-12);
}

TEST(PhyWorld, RefusesWhatItCannotJudge) {
  PhyWorldOptions options = unit();
  options.collision = true;
  const Track a = line({0, 1, 2, 3});
  const Findings calm = phyworld_findings(phyworld(std::vector<PhyWorldBall>{{a, a, 1}}, options), options);
  EXPECT_EQ(find(calm, "PW.velocity").refusal, "the truth has no impact");
  EXPECT_EQ(find(calm, "PW.momentum_after").refusal, "the truth has no impact");
  const Track never = line({nan, nan, nan, nan}, {nan, nan, nan, nan});
  const Findings unseen = phyworld_findings(phyworld(std::vector<PhyWorldBall>{{never, a}}, unit()), unit());
  EXPECT_FALSE(find(unseen, "PW.velocity").given());
  EXPECT_FALSE(find(unseen, "PW.mean_velocity").given());
  EXPECT_EQ(find(unseen, "PW.lost").value, 1);
  const Findings given = phyworld_findings(phyworld(std::vector<PhyWorldBall>{{a, a}}, unit(9)), unit(9));
  EXPECT_FALSE(find(given, "PW.velocity").given());
  EXPECT_FALSE(find(given, "PW.lost").given());
  const Track none = line({});
  EXPECT_TRUE(std::isnan(phyworld(std::vector<PhyWorldBall>{{none, none}}, unit()).velocity));
  EXPECT_THROW(phyworld({}, unit()), Error);
  EXPECT_THROW(phyworld(std::vector<PhyWorldBall>{{a, line({0, 1})}}, unit()), Error);
  EXPECT_THROW(phyworld(std::vector<PhyWorldBall>{{a, a}}, {}), Error);
  EXPECT_THROW(phyworld_compat(1), Error);
}

/// 32 frames of 0.1 s, positions in pixels over time; 25.5 px/m.
Track moving(const std::function<std::array<double, 2>(double)>& at) {
  std::vector<double> x, y;
  for (int f = 0; f < 32; ++f) {
    const auto p = at(f * 0.1);
    x.push_back(p[0]), y.push_back(p[1]);
  }
  return line(x, y);
}

double error_of(const Track& film, const Track& truth) {
  return phyworld(std::vector<PhyWorldBall>{{film, truth}}, {.film_m_per_px = 1 / 25.5, .truth_m_per_px = 1 / 25.5})
      .velocity;
}

TEST(PhyWorldBaseline, TheExactLawFollowsTheTruthAndAStillPictureDoesNot) {
  const Track uniform = moving([](double t) { return std::array{30 + 2 * 25.5 * t, 80.0}; });
  EXPECT_LT(error_of(phyworld_extrapolate(uniform, 3, 0.1), uniform), 1e-9);
  EXPECT_NEAR(error_of(phyworld_copy_last(uniform, 3), uniform), 2, 1e-9);

  const double g_px = 2.5 * 25.5;
  const Track falling = moving([=](double t) { return std::array{40 + 60 * t, 50 + g_px * t * t / 2}; });
  for (const int num_given : {2, 3})
    EXPECT_LT(error_of(phyworld_extrapolate(falling, num_given, 0.1, {0, g_px}), falling), 1e-9);
  EXPECT_GT(error_of(phyworld_extrapolate(falling, 3, 0.1), falling), 1);  // control: no gravity
}

TEST(PhyWorldBaseline, AnElasticImpact) {
  // Masses 1 and 3, speeds 60 and -40 px/s; velocities after it: -90 and 10. Radii 20 and 30 touch at 1.03 s.
  const auto one_way = [](double touch, double before, double after) {
    return moving([=](double t) { return std::array{touch + (t < 1.03 ? before : after) * (t - 1.03), 90.0}; });
  };
  const std::array<Track, 2> truth = {one_way(100, 60, -90), one_way(150, -40, 10)};
  const std::array<Track, 2> law = phyworld_extrapolate_impact(truth, 3, 0.1, {20, 30}, {1, 3});
  for (std::size_t t = 0; t < 32; ++t)
    for (std::size_t k = 0; k < 2; ++k) {
      EXPECT_NEAR(law[k].x_px[t], truth[k].x_px[t], 1e-9) << t;
      EXPECT_NEAR(law[k].y_px[t], 90, 1e-9) << t;
    }
  // Control: swapped masses go elsewhere.
  EXPECT_GT(std::abs(phyworld_extrapolate_impact(truth, 3, 0.1, {20, 30}, {3, 1})[0].x_px[31] - truth[0].x_px[31]), 10);
}

TEST(PhyWorldBaseline, AGlancingImpactKeepsMomentumAndEnergy) {
  // A ball of mass 1 meets one of mass 2 at rest, off centre by d = 1.2 with touching distance 2: the line of centres
  // has sine 0.6, cosine 0.8. Speed 1 along x: closing 0.8; impulse 2 m1 m2 / (m1 + m2) * 0.8 = 16 / 15 along the line.
  const Track a = line({0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, std::vector<double>(10, 0.0)),
              b = line(std::vector<double>(10, 5.6), std::vector<double>(10, 1.2));
  const std::array<Track, 2> law = phyworld_extrapolate_impact({a, b}, 3, 1, {1, 1}, {1, 2});
  // Touch at x = 5.6 - 1.6 = 4, t = 4.
  EXPECT_NEAR(law[0].x_px[4], 4, 1e-9);
  EXPECT_NEAR(law[0].x_px[9], 4 + 5 * (1 - 16 / 15.0 * 0.8), 1e-9);
  EXPECT_NEAR(law[0].y_px[9], 5 * (-16 / 15.0 * 0.6), 1e-9);
  EXPECT_NEAR(law[1].x_px[9], 5.6 + 5 * (16 / 30.0 * 0.8), 1e-9);
  EXPECT_NEAR(law[1].y_px[9], 1.2 + 5 * (16 / 30.0 * 0.6), 1e-9);
  // Balls that miss go on: off centre by more than the touching distance.
  const Track high = line(std::vector<double>(10, 5.6), std::vector<double>(10, 2.5));
  EXPECT_NEAR(phyworld_extrapolate_impact({a, high}, 3, 1, {1, 1}, {1, 2})[0].x_px[9], 9, 1e-9);
}

TEST(PhyWorldBaseline, KeepsTheGivenFramesAndRefusesTooFew) {
  Track a = line({0, 1, 2, 3, 9});
  a.area_px = {3, 3, 4, 5, 6};
  const Track still = phyworld_copy_last(a, 3);
  EXPECT_EQ(still.x_px, (std::vector<double>{0, 1, 2, 2, 2}));
  EXPECT_EQ(still.area_px, (std::vector<double>{3, 3, 4, 4, 4}));
  EXPECT_NEAR(phyworld_extrapolate(a, 3, 1).x_px[4], 4, 1e-12);
  a.x_px[1] = nan;  // seen in two of three
  EXPECT_NEAR(phyworld_extrapolate(a, 3, 1).x_px[4], 4, 1e-12);
  EXPECT_THROW(phyworld_extrapolate(a, 2, 1), Error);
  EXPECT_THROW(phyworld_extrapolate(a, 3, 0), Error);
  EXPECT_THROW(phyworld_copy_last(a, 0), Error);
  EXPECT_THROW(phyworld_copy_last(a, 6), Error);
  EXPECT_THROW(phyworld_extrapolate_impact({a, a}, 3, 1, {1, 0}, {1, 1}), Error);
}

}  // namespace
}  // namespace reel::metrics
