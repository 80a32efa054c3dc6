// Broken clips break one law, by the amount that they say, and nothing before the event: closed forms on the tracks,
// and the pixels against those of the valid clip.
#include "worlds/broken.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "core/error.hpp"

namespace reel::worlds {
namespace {

using std::int64_t;

bool same_frame(const Film& a, int64_t f, const Film& b, int64_t g) {
  return std::memcmp(a.frame(f), b.frame(g), static_cast<std::size_t>(a.frame_bytes())) == 0;
}
int64_t first_difference(const Film& a, const Film& b) {
  int64_t f = 0;
  while (f < a.num_frames && same_frame(a, f, b, f)) ++f;
  return f;
}
int64_t event_of(const Clip& clip) { return static_cast<int64_t>(clip.facts.at("event_frame")); }

template <class Check>
void each(const std::string& name, double amount, Check check) {
  for (const Break& b : breaks()) {
    if (b.name != name) continue;
    for (const std::string& scene : b.scenes) {
      int num = 0;
      for (std::uint64_t seed = 100; seed < 112; ++seed)
        if (const auto broken = make_broken(scene, name, amount, seed)) {
          SCOPED_TRACE(scene + " " + std::to_string(seed));
          check(make(scene, seed), *broken);
          ++num;
        }
      EXPECT_GE(num, 4) << scene << " " << name;
    }
  }
}

TEST(Broken, FilmsDifferFromTheEventOn) {
  for (const Break& b : breaks())
    each(b.name, b.amount, [](const Clip& valid, const Clip& broken) {
      const int64_t event = event_of(broken), first = first_difference(valid.film, broken.film);
      EXPECT_GE(event, num_kept_frames);
      EXPECT_GE(first, event);
      EXPECT_LE(first, event + 2);  // gravity and impact show in pixels a little later
      EXPECT_EQ(valid.caption, broken.caption);
      EXPECT_EQ(valid.attributes, broken.attributes);
      for (std::size_t k = 0; k < valid.objects.size(); ++k)
        for (int64_t f = 0; f < event; ++f)
          EXPECT_EQ(valid.objects[k].y_m[static_cast<std::size_t>(f)],
                    broken.objects[k].y_m[static_cast<std::size_t>(f)]);
    });
}

TEST(Broken, NothingIsBrokenByNothing) {
  for (const Break& b : breaks())
    each(b.name, b.name == "gravity" ? 1 : 0, [](const Clip& valid, const Clip& broken) {
      EXPECT_EQ(valid.film.rgb, broken.film.rgb);
      for (std::size_t k = 0; k < valid.objects.size(); ++k)
        EXPECT_EQ(valid.objects[k].visible, broken.objects[k].visible);
    });
}

TEST(Broken, FreezeStandsThenGoesOnAndSkipJumps) {
  each("freeze", 4, [](const Clip& valid, const Clip& broken) {
    const int64_t e = event_of(broken);
    for (int64_t f = e; f < e + 4; ++f) EXPECT_TRUE(same_frame(broken.film, f, valid.film, e - 1));
    for (int64_t f = e + 4; f < 33; ++f) EXPECT_TRUE(same_frame(broken.film, f, valid.film, f - 4));
    EXPECT_EQ(broken.objects[0].x_px[32], valid.objects[0].x_px[28]);
  });
  each("skip", 4, [](const Clip& valid, const Clip& broken) {
    for (int64_t f = event_of(broken); f + 4 < 33; ++f) EXPECT_TRUE(same_frame(broken.film, f, valid.film, f + 4));
    EXPECT_EQ(broken.objects[0].x_px[28], valid.objects[0].x_px[32]);
  });
}

TEST(Broken, VanishShowsTheStillBackground) {
  each("vanish", 4, [](const Clip& valid, const Clip& broken) {
    const int64_t e = event_of(broken);
    for (int64_t f = 0; f < 33; ++f) {
      if (f >= e && f < e + 4) {
        EXPECT_TRUE(same_frame(broken.film, f, broken.film, e));
        EXPECT_FALSE(broken.objects[0].visible[static_cast<std::size_t>(f)]);
      } else {
        EXPECT_TRUE(same_frame(broken.film, f, valid.film, f));
      }
    }
    // Where it is far from the object, the valid clip shows the same background; under the object it does not.
    const auto i = static_cast<std::size_t>(e);
    int64_t far = 0, near = 0;
    for (int64_t y = 0; y < 64; ++y)
      for (int64_t x = 0; x < 64; ++x) {
        double distance = 1e9;
        for (const Track& t : valid.objects) {
          const double reach = 1.3 * std::max(t.half_width_m, t.half_height_m) * valid.px_per_m + 2;
          distance = std::min(
              distance,
              std::hypot(static_cast<double>(x) + 0.5 - t.x_px[i], static_cast<double>(y) + 0.5 - t.y_px[i]) - reach);
        }
        const bool same =
            std::memcmp(valid.film.frame(e) + 3 * (64 * y + x), broken.film.frame(e) + 3 * (64 * y + x), 3) == 0;
        (distance > 0 ? far : near) += !same;
      }
    EXPECT_EQ(far, 0);
    EXPECT_GT(near, 8);
  });
}

TEST(Broken, GravityIsWhatItSays) {
  for (const double factor : {-1.0, 0.0, 2.0})
    each("gravity", factor, [&](const Clip& valid, const Clip& broken) {
      const auto e = static_cast<std::size_t>(event_of(broken));
      const std::vector<double>&y = broken.objects[0].y_m, &x = broken.objects[0].x_m;
      const double g = valid.facts.at("gravity_m_per_s2"), dt = 1.0 / 16;
      const auto bend = [&](std::size_t f) { return (y[f + 1] - 2 * y[f] + y[f - 1]) / (dt * dt); };
      EXPECT_NEAR(bend(e - 2), -g, 1e-9);
      for (std::size_t f = e; f <= e + 2; ++f) {
        EXPECT_NEAR(bend(f), -factor * g, 1e-9);
        EXPECT_EQ(x[f], valid.objects[0].x_m[f]);  // along x nothing is broken
        EXPECT_NEAR(broken.objects[0].vy_m_per_s[f],
                    valid.objects[0].vy_m_per_s[f] + g * (1 - factor) * static_cast<double>(f + 1 - e) * dt, 1e-9);
      }
    });
}

TEST(Broken, AJumperOfAnyWeightLandsOnTheCushionOrNever) {
  Spec spec;
  spec.num_frames = 80;
  for (const double factor : {-1.0, 0.0, 0.5, 2.0})
    for (std::uint64_t seed = 0; seed < 6; ++seed) {
      const auto broken = make_broken("fall", "gravity", factor, seed, spec);
      ASSERT_TRUE(broken);
      const Track& t = broken->objects[0];
      const double lands_m = 1.2 + 0.3;
      for (std::size_t f = 1; f < 80; ++f) {
        EXPECT_GE(t.y_m[f], lands_m);
        EXPECT_LE(t.y_m[f - 1] - t.y_m[f], 30.0 / 16) << f;  // nobody is put down from above
      }
      if (factor > 0) {
        EXPECT_EQ(t.y_m[79], lands_m);
      }
    }
}

TEST(Broken, BallsPassThroughEachOther) {
  each("pass", 1, [](const Clip& valid, const Clip& broken) {
    for (const Track& t : broken.objects)
      for (std::size_t f = 1; f < 33; ++f) EXPECT_NEAR(t.x_m[f] - t.x_m[f - 1], t.vx_m_per_s[0] / 16, 1e-4);
    EXPECT_GT(std::abs(valid.objects[0].vx_m_per_s[32] - broken.objects[0].vx_m_per_s[32]), 0.5);
    const auto e = static_cast<std::size_t>(event_of(broken));
    EXPECT_NE(valid.objects[0].vx_m_per_s[e], valid.objects[0].vx_m_per_s[e - 1]);
  });
}

TEST(Broken, RefusesWhatCannotBe) {
  EXPECT_THROW(make_broken("uniform", "gravity", -1, 1), Error);
  EXPECT_THROW(make_broken("parabola", "pass", 1, 1), Error);
  EXPECT_THROW(make_broken("house", "freeze", 4, 1), Error);
  EXPECT_THROW(make_broken("uniform", "melt", 4, 1), Error);
  EXPECT_THROW(make_broken("uniform", "freeze", 2.5, 1), Error);
  EXPECT_THROW(make_broken("uniform", "freeze", std::nan(""), 1), Error);
  EXPECT_THROW(make_broken("fall", "gravity", 11, 1), Error);
  Spec brief;
  brief.num_frames = 5;
  EXPECT_FALSE(make_broken("uniform", "freeze", 4, 1, brief));
  EXPECT_FALSE(make_broken("collision", "pass", 1, 1, brief));
}

}  // namespace
}  // namespace reel::worlds
