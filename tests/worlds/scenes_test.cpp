// Laws of each scene: in the truth exactly, and in the pixels within what 8 bits allow.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "worlds/world.hpp"

namespace reel::worlds {
namespace {

const std::uint8_t* pixel(const Film& film, std::int64_t f, std::int64_t x, std::int64_t y) {
  return film.frame(f) + (y * film.width_px + x) * 3;
}

/// Centroid of all that is not white, weighted by how much blue or green is missing: linear in cover for one ball.
std::pair<double, double> ball_centroid(const Film& film, std::int64_t f) {
  double area = 0, sx = 0, sy = 0;
  for (std::int64_t y = 0; y < film.height_px; ++y)
    for (std::int64_t x = 0; x < film.width_px; ++x) {
      const std::uint8_t* p = pixel(film, f, x, y);
      const double ink = 765 - p[0] - p[1] - p[2];
      area += ink, sx += ink * (static_cast<double>(x) + 0.5), sy += ink * (static_cast<double>(y) + 0.5);
    }
  return {sx / area, sy / area};
}

TEST(Ball, IsDrawnWhereTheTruthSays) {
  for (const char* name : {"uniform", "parabola"})
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
      const Clip clip = make(name, seed);
      const Track& ball = clip.objects[0];
      int seen = 0;
      for (std::int64_t f = 0; f < clip.film.num_frames; ++f) {
        const auto i = static_cast<std::size_t>(f);
        if (!ball.visible[i]) continue;
        ++seen;
        const auto [x, y] = ball_centroid(clip.film, f);
        EXPECT_NEAR(x, ball.x_px[i], 0.02) << name << " " << seed << " " << f;
        EXPECT_NEAR(y, ball.y_px[i], 0.02) << name << " " << seed << " " << f;
      }
      EXPECT_GE(seen, 24) << name << " " << seed;
    }
}

TEST(Ball, FollowsItsLaw) {
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    const Clip thrown = make("parabola", seed), rolls = make("uniform", seed);
    const double dt = 1 / 16.0;
    for (std::size_t f = 1; f + 1 < 33; ++f) {
      const auto second = [&](const std::vector<double>& v) { return (v[f + 1] - 2 * v[f] + v[f - 1]) / (dt * dt); };
      EXPECT_NEAR(second(thrown.objects[0].y_m), -2.5, 1e-11);
      EXPECT_NEAR(second(thrown.objects[0].x_m), 0, 1e-11);
      EXPECT_NEAR(second(rolls.objects[0].x_m), 0, 1e-11);
      EXPECT_EQ(rolls.objects[0].y_m[f], rolls.objects[0].y_m[0]);
    }
    const double v = std::abs(rolls.objects[0].vx_m_per_s[0]), r = rolls.objects[0].half_width_m;
    EXPECT_TRUE(v >= 1 && v <= 4 && r >= 0.7 && r <= 1.4) << v << " " << r;
  }
}

TEST(Ball, OutOfDistributionBandsDoNotTouchTheOthers) {
  for (const char* name : {"uniform", "parabola", "collision"})
    for (const char* band : {"ood", "ood_speed", "ood_size"})
      for (std::uint64_t seed = 0; seed < 40; ++seed) {
        Spec spec;
        spec.num_frames = 1;
        spec.set["band"] = band;
        const Clip clip = make(name, seed, spec);
        const double v = clip.facts.at("speed_m_per_s"), r = clip.facts.at("radius_m");
        const bool wild_v = v < 0.8 || (v > 4.5 && v < 6), wild_r = (r > 0.3 && r < 0.6) || (r > 1.5 && r < 2);
        if (std::string(band) != "ood_size") {
          EXPECT_TRUE(wild_v) << v;
        }
        if (std::string(band) == "ood_size") {
          EXPECT_TRUE(v >= 1 && v <= 4) << v;
        }
        if (std::string(band) != "ood_speed") {
          EXPECT_TRUE(wild_r) << r;
        }
      }
}

// Box2D computes in f32 (epsilon 6e-8) and solves one contact: a few roundings of velocities up to 4 m/s.
constexpr double box2d_tolerance = 2e-6;

TEST(Collision, KeepsMomentumAndEnergyAndHappens) {
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    const Clip clip = make("collision", seed);
    const Track &a = clip.objects[0], &b = clip.objects[1];
    const double m1 = clip.facts.at("mass_kg"), m2 = clip.facts.at("other_mass_kg");
    EXPECT_NEAR(m1 / m2, a.half_width_m * a.half_width_m / (b.half_width_m * b.half_width_m), 1e-5);
    const auto momentum = [&](std::size_t f) { return m1 * a.vx_m_per_s[f] + m2 * b.vx_m_per_s[f]; };
    const auto energy = [&](std::size_t f) {
      return 0.5 * (m1 * a.vx_m_per_s[f] * a.vx_m_per_s[f] + m2 * b.vx_m_per_s[f] * b.vx_m_per_s[f]);
    };
    const double scale = m1 * std::abs(a.vx_m_per_s[0]) + m2 * std::abs(b.vx_m_per_s[0]);
    std::size_t impact = 0;
    for (std::size_t f = 1; f < 33; ++f) {
      EXPECT_NEAR(momentum(f), momentum(0), box2d_tolerance * scale) << seed << " " << f;
      EXPECT_NEAR(energy(f), energy(0), 2 * box2d_tolerance * energy(0)) << seed << " " << f;
      EXPECT_EQ(a.vy_m_per_s[f], 0);
      if (!impact && a.vx_m_per_s[f] != a.vx_m_per_s[0]) impact = f;
      // Balls may overlap by the solver's slop of 5 mm plus what one step of 1/128 s brings.
      EXPECT_GE(b.x_m[f] - a.x_m[f], a.half_width_m + b.half_width_m - 0.07) << seed << " " << f;
    }
    EXPECT_GE(impact, 8u) << seed;
    EXPECT_LE(impact, 24u) << seed;
    // Elastic in one dimension: the velocity of separation is that of approach.
    EXPECT_NEAR(b.vx_m_per_s[32] - a.vx_m_per_s[32], a.vx_m_per_s[0] - b.vx_m_per_s[0], 2e-5) << seed;
    EXPECT_TRUE(a.visible[0] && b.visible[0]) << seed;
  }
}

TEST(Collision, TracksMoveWithTheirVelocity) {
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    const Clip clip = make("collision", seed);
    for (const Track& t : clip.objects)
      for (std::size_t f = 0; f + 1 < 33; ++f)
        if (t.vx_m_per_s[f] == t.vx_m_per_s[f + 1]) {
          EXPECT_NEAR(t.x_m[f + 1] - t.x_m[f], t.vx_m_per_s[f] / 16, 2e-5) << seed << " " << f;
        }
  }
}

TEST(Fall, FollowsFreeFallExactly) {
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    Spec spec;
    spec.num_frames = 65;
    const Clip clip = make("fall", seed, spec);
    const Track& person = clip.objects[0];
    const double wait = clip.facts.at("wait_s"), fall = clip.facts.at("fall_s");
    bool landed = false;
    for (std::size_t f = 0; f < 65; ++f) {
      const double t = static_cast<double>(f) / 16 - wait;
      if (t <= 0) {
        EXPECT_EQ(person.y_m[f], person.y_m[0]);
        EXPECT_EQ(person.vy_m_per_s[f], 0);
      } else if (t < fall) {
        EXPECT_NEAR(person.y_m[0] - person.y_m[f], 0.5 * 9.81 * t * t, 1e-12);
        EXPECT_NEAR(person.vy_m_per_s[f], -9.81 * t, 1e-12);
        EXPECT_NEAR(std::abs(person.x_m[f] - person.x_m[0]), clip.facts.at("speed_m_per_s") * t, 1e-12);
      } else {
        landed = true;
        EXPECT_NEAR(person.y_m[f], clip.facts.at("cushion_top_m") + 0.3, 1e-12);
        EXPECT_LT(std::abs(person.x_m[f] - clip.facts.at("cushion_x_m")), 2.1 - 0.8);  // on the cushion
      }
      EXPECT_TRUE(person.visible[f]) << seed << " " << f;
    }
    EXPECT_TRUE(landed);
  }
}

/// Cover by the person in one pixel: the picture is background + a (suit - background) + b (skin - background); a and
/// b by least squares over the three colours.
double person_cover(const std::uint8_t* p, const std::uint8_t* bg, const double* suit, const double* skin) {
  double ss = 0, sk = 0, kk = 0, sp = 0, kp = 0;
  for (int c = 0; c < 3; ++c) {
    const double s = suit[c] - bg[c], k = skin[c] - bg[c], d = p[c] - bg[c];
    ss += s * s, sk += s * k, kk += k * k, sp += s * d, kp += k * d;
  }
  const double det = ss * kk - sk * sk;
  return (sp * kk - kp * sk + kp * ss - sp * sk) / det;
}

TEST(Fall, ThePersonIsDrawnWhereTheTruthSays) {
  const double suit[] = {226, 44, 48}, skin[] = {244, 200, 164};
  int checked = 0;
  for (std::uint64_t seed = 0; seed < 12; ++seed) {
    Spec spec;
    spec.num_frames = 65;
    spec.set["suit"] = "red";
    const Clip clip = make("fall", seed, spec);
    const Track& person = clip.objects[0];
    for (std::int64_t f = 0; f < 65; ++f) {
      const auto i = static_cast<std::size_t>(f);
      // The background comes from a frame where the person is far away: the last for the upper half, else the first.
      const std::int64_t other = person.y_m[i] > 0.5 * person.y_m[0] ? 64 : 0;
      if (i > 0 && person.y_m[i] == person.y_m[i - 1]) continue;
      double area = 0, sx = 0, sy = 0;
      const double reach = 1.2 * clip.px_per_m;
      for (std::int64_t y = 0; y < 64; ++y)
        for (std::int64_t x = 0; x < 64; ++x) {
          const double px = static_cast<double>(x) + 0.5, py = static_cast<double>(y) + 0.5;
          if (std::abs(px - person.x_px[i]) > reach || std::abs(py - person.y_px[i]) > reach) continue;
          const double a = person_cover(pixel(clip.film, f, x, y), pixel(clip.film, other, x, y), suit, skin);
          area += a, sx += a * px, sy += a * py;
        }
      EXPECT_NEAR(sx / area, person.x_px[i], 0.1) << seed << " " << f;
      EXPECT_NEAR(sy / area, person.y_px[i], 0.1) << seed << " " << f;
      ++checked;
    }
  }
  EXPECT_GT(checked, 200);
}

TEST(Fall, StoreysAreThreeMetres) {
  for (const auto& [word, count] : {std::pair{"three", 3}, {"four", 4}, {"five", 5}, {"six", 6}}) {
    Spec spec;
    spec.set["storeys"] = word;
    const Clip clip = make("fall", 1, spec);
    EXPECT_EQ(clip.facts.at("num_storeys"), count);
    EXPECT_EQ(clip.facts.at("roof_m"), 3 * count);
    EXPECT_NEAR(clip.objects[0].y_m[0], 3 * count + 0.9, 0.15);  // a centroid near the middle of 1.8 m, on the roof
  }
}

/// Largest difference between the two pictures, the second shifted by dx pixels.
int shift_error(const Film& film, std::int64_t f, std::int64_t g, std::int64_t dx) {
  int worst = 0;
  for (std::int64_t y = 0; y < film.height_px; ++y)
    for (std::int64_t x = 0; x < film.width_px; ++x)
      if (x + dx >= 0 && x + dx < film.width_px)
        for (int c = 0; c < 3; ++c)
          worst = std::max(worst, std::abs(pixel(film, g, x, y)[c] - pixel(film, f, x + dx, y)[c]));
  return worst;
}

TEST(House, APanShiftsThePictureByTheCameraPath) {
  for (int way : {-1, 1})
    for (std::uint64_t seed = 0; seed < 6; ++seed) {
      Spec spec;
      spec.num_frames = 41;
      spec.set["camera"] = way > 0 ? "slow pan to the right" : "slow pan to the left";
      spec.set["speed"] = "1.5";  // half a pixel per frame: 12 m are 64 px, 16 frames are 1 s
      const Clip clip = make("house", seed, spec);
      for (std::int64_t f = 2; f < 41; f += 2) {
        EXPECT_NEAR(clip.camera.x_px[static_cast<std::size_t>(f)], way * 0.5 * static_cast<double>(f), 1e-12);
        EXPECT_LE(shift_error(clip.film, 0, f, way * f / 2), 1) << seed << " " << f;
        EXPECT_GT(shift_error(clip.film, 0, f, way * f / 2 + 1), 20);  // negative control
      }
      for (std::size_t f = 0; f < 41; ++f)
        EXPECT_NEAR(clip.objects[0].x_px[f], clip.objects[0].x_px[0] - clip.camera.x_px[f], 1e-12);
    }
}

TEST(House, APushInMagnifiesByTheZoom) {
  for (std::uint64_t seed = 0; seed < 4; ++seed) {
    Spec spec, large;
    spec.set = {{"camera", "slow push in"}, {"speed", "0.5"}};  // 1 / (1 - 0.5 t): zoom 2 after one second
    large.set = spec.set;
    large.width_px = large.height_px = 128;
    large.num_frames = 1;
    const Clip clip = make("house", seed, spec), twice = make("house", seed, large);
    EXPECT_NEAR(clip.camera.zoom[16], 2, 1e-12);
    int worst = 0;
    for (std::int64_t y = 0; y < 64; ++y)
      for (std::int64_t x = 0; x < 64; ++x)
        for (int c = 0; c < 3; ++c)
          worst = std::max(worst, std::abs(pixel(clip.film, 16, x, y)[c] - pixel(twice.film, 0, x + 32, y + 32)[c]));
    EXPECT_LE(worst, 1) << seed;
    for (std::size_t f = 0; f < 33; ++f) {
      const double zoom = clip.camera.zoom[f];
      EXPECT_NEAR(clip.objects[0].x_px[f], 32 + zoom * (clip.objects[0].x_px[0] - 32), 1e-10);
      EXPECT_NEAR(clip.objects[0].y_px[f], 32 + zoom * (clip.objects[0].y_px[0] - 32), 1e-10);
    }
  }
}

TEST(House, AStaticCameraSeesAStillPicture) {
  Spec spec;
  spec.set["camera"] = "static camera";
  const Clip clip = make("house", 4, spec);
  for (std::int64_t f = 1; f < 33; ++f) EXPECT_EQ(shift_error(clip.film, 0, f, 0), 0);
  EXPECT_GT(shift_error(clip.film, 0, 1, 1), 20);
}

TEST(House, WallsCanBeToldFromTheRoof) {
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    Spec spec;
    spec.num_frames = 1, spec.width_px = spec.height_px = 8;
    const Clip clip = make("house", seed, spec);
    EXPECT_NE(clip.attributes.at("wall"), clip.attributes.at("roof")) << seed;
  }
}

}  // namespace
}  // namespace reel::worlds
