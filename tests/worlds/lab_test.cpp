// The knobs of the lab do what they say: checked on the truth in closed form and on the pixels.
#include "worlds/lab.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "core/error.hpp"

namespace reel::worlds {
namespace {

Spec spec(std::int64_t size = 64, std::int64_t frames = 24) {
  Spec s;
  s.width_px = s.height_px = size;
  s.num_frames = frames;
  s.fps = 24;
  return s;
}

double second_difference(const std::vector<double>& y, std::size_t i) { return y[i + 1] - 2 * y[i] + y[i - 1]; }

TEST(Lab, EveryInjectionFilmsEveryKnob) {
  for (const Injection& injection : injections())
    for (const double knob : injection.knobs) {
      const Clip clip = make_injected(injection.name, knob, 3, spec(32, 12));
      EXPECT_EQ(clip.film.rgb.size(), 12u * 32 * 32 * 3) << injection.name;
      EXPECT_EQ(clip.facts.at("injected"), knob);
    }
  EXPECT_THROW(make_injected("nothing", 0, 1, spec()), Error);
  EXPECT_THROW(make_injected("bounce", 40, 1, spec()), Error);
  EXPECT_THROW(make_injected("bounce", std::nan(""), 1, spec()), Error);
}

TEST(Lab, BallsFallAsFastAsTheKnobSays) {
  for (const double knob : {-0.9, 0.0, 1.0}) {
    const Clip both = make_injected("gravity", knob, 5, spec()), one = make_injected("heavier", knob / 2, 5, spec());
    const auto a = [](const Clip& clip, std::size_t i) { return -second_difference(clip.objects[i].y_m, 5) * 24 * 24; };
    EXPECT_NEAR(a(both, 0), 9.81 * (1 + knob), 1e-9);
    EXPECT_NEAR(a(both, 1), 9.81 * (1 + knob), 1e-9);
    EXPECT_NEAR(a(one, 0), 9.81, 1e-9);
    EXPECT_NEAR(a(one, 1), 9.81 * (1 + knob / 2), 1e-9);
  }
  const Clip slow = make_injected("slow_motion", 0.5, 5, spec());
  EXPECT_NEAR(-second_difference(slow.objects[0].y_m, 5) * 24 * 24, 9.81 / 4, 1e-9);
}

TEST(Lab, BounceKeepsItsShareOfSpeed) {
  for (const double e : {0.5, 0.8, 1.2}) {
    const Clip clip = make_injected("bounce", e, 7, spec(64, 72));
    const Track& t = clip.objects[0];
    double highest = 0, first = t.y_m[0];
    std::size_t i = 1;
    while (t.vy_m_per_s[i] <= 0) ++i;  // first contact
    for (; i < t.y_m.size() && t.vy_m_per_s[i] >= -9.81 / 24; ++i) highest = std::max(highest, t.y_m[i]);
    const double floor = 0.5 + 0.6;
    EXPECT_NEAR(std::sqrt((highest - floor) / (first - floor)), e, 0.01) << e;
  }
}

TEST(Lab, KickChangesMomentumAndNotRestitution) {
  for (const double knob : {-0.4, 0.0, 0.4}) {
    const Clip clip = make_injected("kick", knob, 2, spec(64, 33));
    const Track &a = clip.objects[0], &b = clip.objects[1];
    const double m1 = a.half_width_m * a.half_width_m, m2 = b.half_width_m * b.half_width_m;
    const auto last = a.vx_m_per_s.size() - 1;
    const double before = m1 * a.vx_m_per_s[0] + m2 * b.vx_m_per_s[0];
    const double after = m1 * a.vx_m_per_s[last] + m2 * b.vx_m_per_s[last];
    EXPECT_NEAR(after / before, 1 + knob, 1e-12);
    EXPECT_NEAR((b.vx_m_per_s[last] - a.vx_m_per_s[last]) / (a.vx_m_per_s[0] - b.vx_m_per_s[0]), 1, 1e-12);
  }
}

TEST(Lab, FlawsOfAnObjectLastAsLongAsTheKnobSays) {
  const Clip gone = make_injected("vanish", 3, 4, spec());
  const auto event = static_cast<std::size_t>(gone.facts.at("event_frame"));
  int empty = 0;
  for (std::int64_t f = 0; f < gone.film.num_frames; ++f) {
    const bool blank = std::all_of(gone.film.frame(f), gone.film.frame(f) + gone.film.frame_bytes(), [](auto v) { return v == 255; });
    empty += blank;
    if (f == static_cast<std::int64_t>(event)) {
      EXPECT_TRUE(blank);
    }
  }
  EXPECT_EQ(empty, 3);
  const Clip jumped = make_injected("teleport", 8, 4, spec());
  const auto k = static_cast<std::size_t>(jumped.facts.at("event_frame"));
  EXPECT_NEAR(jumped.objects[0].y_px[k] - jumped.objects[0].y_px[k - 1], 8, 1e-9);
}

TEST(Lab, ShakenCameraShowsInTruthAndPixels) {
  const Clip still = make_injected("jitter", 0, 9, spec()), shaken = make_injected("jitter", 2, 9, spec(64, 24));
  double square = 0;
  for (double x : shaken.camera.x_px) square += x * x / 24;
  EXPECT_NEAR(std::sqrt(square), 2 / std::sqrt(2.0), 1e-9);  // three whole swings in a second
  EXPECT_TRUE(std::equal(still.film.frame(0), still.film.frame(1), still.film.frame(7)));
  EXPECT_FALSE(std::equal(shaken.film.frame(0), shaken.film.frame(1), shaken.film.frame(1)));
}

TEST(Lab, BoilAndFlickerHaveTheirSize) {
  const Clip clean = make_injected("boil", 0, 9, spec()), noisy = make_injected("boil", 8, 9, spec());
  double square = 0;
  std::int64_t n = 0;
  for (std::size_t i = 0; i < clean.film.rgb.size(); ++i) {
    const double d = static_cast<double>(noisy.film.rgb[i]) - clean.film.rgb[i];
    const bool clipped = noisy.film.rgb[i] == 0 || noisy.film.rgb[i] == 255;
    if (d != 0 && !clipped) square += d * d, ++n;
  }
  EXPECT_NEAR(std::sqrt(square / static_cast<double>(n)), 8, 0.6);  // zeros are left out: a little too large
  const Clip flicker = make_injected("flicker", 8, 9, spec());
  double mean = 0, mean_square = 0;
  for (std::int64_t f = 0; f < 24; ++f) {
    double sum = 0;
    for (std::int64_t i = 0; i < flicker.film.frame_bytes(); ++i)
      sum += static_cast<double>(flicker.film.frame(f)[i]) - clean.film.frame(f)[i];
    sum /= static_cast<double>(flicker.film.frame_bytes());
    mean += sum / 24, mean_square += sum * sum / 24;
  }
  EXPECT_NEAR(std::sqrt(mean_square - mean * mean), 8 / std::sqrt(2.0), 0.4);  // some pixels clip
}

}  // namespace
}  // namespace reel::worlds
