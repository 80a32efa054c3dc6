// The laws on the truth of our own scenes: what a scene was made with comes back to rounding.
#include <gtest/gtest.h>

#include <fmt/format.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <numbers>

#include "io/video.hpp"
#include "made_tracks.hpp"
#include "metrics/measure.hpp"
#include "worlds/lab.hpp"
#include "worlds/world.hpp"

namespace reel::metrics {
namespace {

using namespace made;

worlds::Spec spec_of(std::int64_t num_frames) {
  worlds::Spec spec;
  spec.width_px = spec.height_px = 128;
  spec.num_frames = num_frames;
  return spec;
}

LawInput truth_of(const worlds::Clip& clip) {
  LawInput in;
  in.width_px = clip.film.width_px, in.height_px = clip.film.height_px;
  in.scale.m_per_px = 1 / clip.px_per_m;
  for (const worlds::Track& o : clip.objects) {
    Track t;
    t.name = o.name;
    const double rx = o.half_width_m * clip.px_per_m, ry = o.half_height_m * clip.px_per_m;
    for (std::size_t f = 0; f < o.x_px.size(); ++f) {
      const bool seen = o.x_px[f] > -rx && o.y_px[f] > -ry && o.x_px[f] < static_cast<double>(in.width_px) + rx &&
                        o.y_px[f] < static_cast<double>(in.height_px) + ry;
      t.time_s.push_back(static_cast<double>(f) / clip.film.fps);
      t.x_px.push_back(seen ? o.x_px[f] : nan);
      t.y_px.push_back(seen ? o.y_px[f] : nan);
      t.area_px.push_back(seen ? std::numbers::pi * rx * ry : nan);
      t.major_px.push_back(seen ? 0.5 * std::max(rx, ry) : nan);
      t.minor_px.push_back(seen ? 0.5 * std::min(rx, ry) : nan);
      t.whole.push_back(o.visible[f]);
    }
    in.tracks.push_back(std::move(t));
  }
  return in;
}

/// No law of things is broken, and nothing happens but what is named.
void expect_sound(const Findings& f, const std::string& allowed = {}) {
  for (const char* id : {"O1.missing", "O2.jump", "O2.teleports", "O3.births", "O3.deaths", "O3.splits", "O3.merges"})
    for (const Metric& m : all(f, id))
      if (m.given()) {
        EXPECT_EQ(m.value, 0) << id;
      }
  for (const Metric& m : all(f, "R1.cv")) EXPECT_LT(m.value, 1e-9);
  for (const Event& e : f.events) EXPECT_EQ(e.id, allowed) << e.text;
}

class Worlds : public testing::TestWithParam<int> {};

TEST_P(Worlds, UniformIsUniform) {
  const Findings f =
      measure_laws(truth_of(worlds::make("uniform", static_cast<std::uint64_t>(GetParam()), spec_of(33))));
  EXPECT_LT(std::abs(one(f, "U1.drift").value), 1e-9);
  EXPECT_LT(std::abs(one(f, "U1.drift_across").value), 1e-9);
  EXPECT_LT(one(f, "U1.rms").value, 1e-9);
  EXPECT_NEAR(one(f, "U1.r2").value, 1, 1e-9);
  EXPECT_FALSE(one(f, "F1.g_eff").given());
  expect_sound(f);
}

TEST_P(Worlds, ParabolaFallsWithItsGravity) {
  const worlds::Clip clip = worlds::make("parabola", static_cast<std::uint64_t>(GetParam()), spec_of(33));
  LawInput in = truth_of(clip);
  in.expected_gravity_m_per_s2 = clip.facts.at("gravity_m_per_s2");
  const Findings f = measure_laws(in);
  EXPECT_NEAR(one(f, "F1.g_eff").value, 2.5, 1e-9);
  EXPECT_NEAR(one(f, "F1.epsilon").value, 0, 1e-9);
  EXPECT_NEAR(one(f, "F1.tau").value, 1, 1e-9);
  EXPECT_NEAR(one(f, "F2.exponent").value, 2, 1e-4);
  EXPECT_NEAR(one(f, "F3.ratio").value, 0, 1e-9);
  expect_sound(f);
}

TEST_P(Worlds, CollisionConservesMomentumAndEnergy) {
  const worlds::Clip clip = worlds::make("collision", static_cast<std::uint64_t>(GetParam()), spec_of(33));
  const Findings f = measure_laws(truth_of(clip));
  ASSERT_EQ(all(f, "C1.momentum").size(), 1u);
  // Box2D works in single precision; positions of 10 m have steps of 1e-6 m.
  EXPECT_LT(one(f, "C1.momentum").value, 2e-3);
  EXPECT_NEAR(one(f, "C2.energy").value, 0, 2e-3);
  EXPECT_NEAR(one(f, "C2.restitution").value, 1, 2e-3);
  EXPECT_GT(one(f, "C1.momentum_r3").value + std::abs(one(f, "C2.energy_r3").value), 2e-3);  // discs, not balls
  EXPECT_LT(one(f, "R2.overlap_px").value, 0.05);
  expect_sound(f, "C1.collision");
}

TEST_P(Worlds, TheStuntFallsWithG) {
  const worlds::Clip clip = worlds::make("fall", static_cast<std::uint64_t>(GetParam()), spec_of(40));
  const Findings f = measure_laws(truth_of(clip));
  EXPECT_NEAR(one(f, "F1.g_eff").value, 9.81, 1e-6);
  EXPECT_NEAR(one(f, "F2.exponent").value, 2, 1e-4);
  EXPECT_NEAR(one(f, "F3.ratio").value, 0, 1e-6);
  expect_sound(f, "F5.impact");
  for (const Event& e : events(f, "F5.impact"))
    EXPECT_NEAR(e.time_s, clip.facts.at("wait_s") + clip.facts.at("fall_s"), 1e-3);
}

INSTANTIATE_TEST_SUITE_P(Seeds, Worlds, testing::Range(0, 12));

TEST(Lab, TheTruthOfEveryInjectionComesBack) {
  const worlds::Spec spec{.width_px = 128, .height_px = 128, .num_frames = 33, .fps = 24, .set = {}};
  for (std::uint64_t seed = 0; seed < 3; ++seed) {
    for (double x : {-0.9, 0.3, 1.0})
      EXPECT_NEAR(one(measure_laws(truth_of(worlds::make_injected("gravity", x, seed, spec))), "F1.g_eff").value,
                  9.81 * (1 + x), 1e-6);
    for (double p : {1.0, 1.5, 3.0})
      EXPECT_NEAR(one(measure_laws(truth_of(worlds::make_injected("exponent", p, seed, spec))), "F2.exponent").value, p,
                  1e-3);
    for (double e : {0.5, 0.8, 1.2})
      EXPECT_NEAR(one(measure_laws(truth_of(worlds::make_injected("bounce", e, seed, spec))), "F5.e_v").value, e, 1e-6);
    for (double d : {6.0, 16.0})
      EXPECT_NEAR(one(measure_laws(truth_of(worlds::make_injected("teleport", d, seed, spec))), "O2.jump").value, d,
                  1e-6);
    for (double x : {-0.5, 0.5})
      EXPECT_NEAR(one(measure_laws(truth_of(worlds::make_injected("heavier", x, seed, spec))), "F4.ratio").value, 1 + x,
                  1e-6);
  }
}

TEST(Lab, AnImpactThatACodecBreaksInTwoCountsOnce) {
  worlds::Spec spec = spec_of(33);
  spec.width_px = spec.height_px = 64;
  spec.fps = 24;
  const worlds::Clip clip = worlds::make_injected("kick", -0.2, 0, spec);
  const std::filesystem::path file = std::filesystem::temp_directory_path() / fmt::format("reel-kick-{}.mp4", getpid());
  io::write_video(file, clip.film, {.lossless = false, .crf = 18});
  Film coded = io::read_video(file).film;
  std::filesystem::remove(file);
  coded.fps = spec.fps;
  MeasureOptions options;
  options.still_background = true;
  options.colours = {{"red", {222, 52, 48}}, {"blue", {44, 102, 204}}};
  FilmFrames frames(coded);
  const FilmReport report = measure(frames, options);
  ASSERT_EQ(report.shots.size(), 1u);
  EXPECT_EQ(all(report.shots[0].findings, "C1.momentum").size(), 1u);
}

}  // namespace
}  // namespace reel::metrics
