// Injection and recovery: a film with one known flaw, and the number that must come back. What clean films give is
// printed and bounded.
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "wobble_measured.hpp"
#include "worlds/world.hpp"

namespace reel::metrics {
namespace {

/// A smooth field of displacements: plane waves of a third to a fifth of the picture, RMS length 1 over picture and
/// time. What a camera could do (polynomials to the second degree) is projected out: it would not be wobble.
class Field {
 public:
  Field(std::uint64_t seed, std::int64_t size) : size_(size), shape_(static_cast<std::size_t>(size * size)) {
    const worlds::Draws draws(seed, "field");
    std::array<std::array<double, 3>, num_waves> wave;
    for (int i = 0; i < num_waves; ++i) {
      const double length = draws.between(3, 5, "waves", i), angle = tau * draws.unit("angle", i);
      wave[static_cast<std::size_t>(i)] = {length * std::cos(angle), length * std::sin(angle),
                                           tau * draws.unit("phase", i)};
      beat_[static_cast<std::size_t>(i)] = tau * draws.unit("beat", i);
    }
    for (std::size_t j = 0; j < shape_.size(); ++j)
      for (std::size_t i = 0; i < num_waves; ++i) {
        const double x = (static_cast<double>(j % static_cast<std::size_t>(size)) + 0.5) / static_cast<double>(size);
        const double y = (static_cast<double>(j / static_cast<std::size_t>(size)) + 0.5) / static_cast<double>(size);
        shape_[j][i] = std::sin(tau * (wave[i][0] * x + wave[i][1] * y) + wave[i][2]);
      }
    std::vector<std::vector<double>> basis;  // Gram-Schmidt over the pixels
    for (int p = 0; p < 6; ++p) {
      std::vector<double> b;
      for (std::size_t j = 0; j < shape_.size(); ++j) {
        const double u = static_cast<double>(j % static_cast<std::size_t>(size)) / static_cast<double>(size) - 0.5;
        const double v = static_cast<double>(j / static_cast<std::size_t>(size)) / static_cast<double>(size) - 0.5;
        b.push_back(std::array<double, 6>{1, u, v, u * u, u * v, v * v}[static_cast<std::size_t>(p)]);
      }
      double norm = 0;
      for (const auto& other : basis) {
        double dot = 0;
        for (std::size_t j = 0; j < b.size(); ++j) dot += b[j] * other[j];
        for (std::size_t j = 0; j < b.size(); ++j) b[j] -= dot * other[j];
      }
      for (const double e : b) norm += e * e;
      for (double& e : b) e /= std::sqrt(norm);
      for (std::size_t i = 0; i < num_waves; ++i) {
        double dot = 0;
        for (std::size_t j = 0; j < b.size(); ++j) dot += b[j] * shape_[j][i];
        for (std::size_t j = 0; j < b.size(); ++j) shape_[j][i] -= dot * b[j];
      }
      basis.push_back(std::move(b));
    }
    double square = 0;
    for (int k = 0; k < 16; ++k)
      for (std::size_t j = 0; j < shape_.size(); ++j) {
        const auto d = at(j, tau * k / 16);
        square += (d[0] * d[0] + d[1] * d[1]) / (16 * static_cast<double>(shape_.size()));
      }
    scale_ = 1 / std::sqrt(square);
  }
  std::array<double, 2> at(double x, double y, double phase) const {
    return at(static_cast<std::size_t>(y) * static_cast<std::size_t>(size_) + static_cast<std::size_t>(x), phase);
  }

 private:
  static constexpr int num_waves = 6;
  std::array<double, 2> at(std::size_t pixel, double phase) const {
    std::array<double, 2> d{};
    for (std::size_t i = 0; i < num_waves; ++i) d[i % 2] += scale_ * shape_[pixel][i] * std::cos(phase + beat_[i]);
    return d;
  }
  std::int64_t size_;
  double scale_ = 1;
  std::array<double, num_waves> beat_{};
  std::vector<std::array<double, num_waves>> shape_;
};

/// Every pixel q shows the texture's point q - a d(q): over the picture, the displacements have an RMS length of a.
Picture warped(const Texture& texture, const Field& field, double a, double hz, double pan = 0) {
  return [&texture, &field, a, hz, pan](std::int64_t f, double x, double y) {
    const auto d = field.at(x, y, tau * hz * static_cast<double>(f) / 24);
    return texture.at(x - a * d[0] - pan * static_cast<double>(f), y - a * d[1]);
  };
}

TEST(RigidScene, RecoversAnInjectedWarpAndTheCameraStaysQuiet) {
  const Texture texture(33);
  std::vector<double> injected, found;
  const Field field(3, 160);
  for (const double a : {0.0, 0.5, 1.0}) {
    const Measured m = measured(film_of(160, 160, 33, 24, warped(texture, field, a, 3)));
    std::printf("  warp %.1f px: B2.rms %.3f, B1.shift %.3f, B3 %.3f %%, B4 %.2f levels\n", a, m["B2.rms"],
                m["B1.shift"], m["B3.background"], m["B4.boil"]);
    injected.push_back(a), found.push_back(m["B2.rms"]);
    EXPECT_NEAR(m["B2.rms"], a, 0.05 * a + 0.02);
    EXPECT_LE(m["B1.shift"], 0.1 * a + 0.02);
    EXPECT_LE(m["B2.gap1_median"], m["B2.gap1_p95"]);
    EXPECT_FALSE(m.metrics.at("B2.sampson_median").given());  // a wobble is not taken for depth
  }
  EXPECT_NEAR(slope_of(injected, found), 1, 0.03);
}

TEST(RigidScene, OverGapsTheDistanceIsThatOfTheField) {
  // 3 Hz at 24 frames per second: over 8 and 16 frames the field is back, over 4 it is reversed.
  const Texture texture(34);
  const Field field(4, 160);
  const Measured m = measured(film_of(160, 160, 25, 24, warped(texture, field, 0.8, 3)));
  EXPECT_LE(m["B2.gap8_median"], 0.03);
  EXPECT_LE(m["B2.gap16_median"], 0.03);
  EXPECT_GT(m["B2.gap4_median"], 1.0);
  EXPECT_GT(m["B2.gap4_median"], m["B2.gap2_median"]);
  EXPECT_GT(m["B2.gap2_median"], m["B2.gap1_median"]);
}

TEST(RigidScene, SeesSlowDriftApartFromBoil) {
  const Texture texture(35);
  const Field field(5, 160);
  // A fifth of a turn in 1.25 s: below 1 Hz.
  const Measured m = measured(film_of(160, 160, 31, 24, warped(texture, field, 1.5, 1.0 / 6)));
  EXPECT_GT(m["B2.drift"], 0.3);
  EXPECT_LE(m["B2.rms"], 0.05);
  EXPECT_LE(m["B2.gap1_median"], 0.08);
  EXPECT_GT(m["B2.gap16_median"], 0.5);  // what neighbours hide, long gaps show
}

TEST(RigidScene, TellsDepthFromWobble) {
  // A camera that slides along a relief: every point moves along x by an amount that depends on its depth alone.
  const Texture texture(36);
  const Measured m = measured(film_of(192, 192, 21, 24, [&](std::int64_t f, double x, double y) {
    const double t = static_cast<double>(f);
    double u = x;
    for (int i = 0; i < 10; ++i)
      u = x - t * (0.5 + 0.2 * std::sin(tau * (u + 0.7 * y) / 90) + 0.1 * std::sin(tau * y / 40));
    return texture.at(u, y);
  }));
  std::printf("  relief: parallax %.2f, to homography %.2f px, Sampson %.3f px\n", m["B2.parallax"],
              m["B2.gap16_median"], m["B2.sampson_median"]);
  EXPECT_GT(m["B2.parallax"], 0.7);
  EXPECT_GT(m["B2.gap16_median"], 0.5);
  EXPECT_LE(m["B2.sampson_median"], 0.1);
  EXPECT_LE(m["B2.rms"], 0.05);
}

// ------------------------------------------------------------------------------------------------ B4, B6

/// The texture in a vignette: flat outside, so that noise has somewhere to be measured alone.
double islands(const Texture& texture, double x, double y, double size) {
  const double inside = std::clamp(1.5 * (0.38 - std::hypot(x - 0.5 * size, y - 0.5 * size) / size) * 10, 0.0, 1.0);
  return 128 + inside * (texture.at(x, y) - 128);
}

TEST(TextureBoil, RecoversNoiseOnTextureAndTakesOffThatOfFlatPatches) {
  const Texture texture(37);
  std::vector<double> base;
  for (int i = 0; i < 160 * 160; ++i) base.push_back(islands(texture, i % 160 + 0.5, i / 160 + 0.5, 160));
  for (const auto& sd : {std::pair{2.0, 0.0}, {8.0, 0.0}, {0.0, 3.0}, {4.0, 3.0}, {8.0, 3.0}}) {
    const double levels = sd.first, everywhere = sd.second;
    const worlds::Draws draws(6, "boil");
    const Measured m = measured(film_of(160, 160, 21, 24, [&](std::int64_t f, double x, double y) {
      const auto i = static_cast<std::int64_t>(y) * 160 + static_cast<std::int64_t>(x);
      const double level = base[static_cast<std::size_t>(i)];
      const double here = std::abs(level - 128) < 1e-9 ? everywhere : std::hypot(levels, everywhere);
      return level + (here > 0 ? here * synthetic::normal(draws, "n", f * 160 * 160 + i) : 0);
    }));
    std::printf("  boil %.0f, noise %.0f levels: B4.boil %.2f, B4.noise %.2f, B2.rms %.3f\n", levels, everywhere,
                m["B4.boil"], m["B4.noise"], m["B2.rms"]);
    EXPECT_NEAR(m["B4.noise"], everywhere, 0.05 * everywhere + 0.05);
    if (levels > 0)
      EXPECT_NEAR(m["B4.boil"], levels, 0.05 * levels);
    else
      EXPECT_LE(m["B4.boil"], 0.3 * everywhere);  // the difference of two variances that are known to some per cent
  }
}

TEST(TextureBoil, CameraWobbleAndFlickerAreNotBoil) {
  const Texture texture(38, 9);
  const Field field(6, 128);
  const Measured still = measured(film_of(128, 128, 17, 24, warped(texture, field, 0, 3)));
  const Measured pan = measured(film_of(128, 128, 17, 24, warped(texture, field, 0, 3, 0.37)));
  const Measured wobble = measured(film_of(128, 128, 17, 24, warped(texture, field, 1, 3)));
  const Measured flicker = measured(film_of(128, 128, 17, 24, [&](std::int64_t f, double x, double y) {
    return (1 + 0.1 * std::sin(2.0 * static_cast<double>(f))) * texture.at(x, y) +
           5 * std::cos(1.3 * static_cast<double>(f));
  }));
  std::printf("  B4 of a smooth texture: still %.2f, pan %.2f, warp of 1 px %.2f, flicker %.2f levels\n",
              still["B4.boil"], pan["B4.boil"], wobble["B4.boil"], flicker["B4.boil"]);
  EXPECT_EQ(still["B4.boil"], 0);
  EXPECT_LE(pan["B4.boil"], 1.0);
  EXPECT_LE(wobble["B4.boil"], 1.5);
  EXPECT_LE(flicker["B4.boil"], 1.0);
}

TEST(WarpingError, IsThatOfTheNoiseAndTheSameBackwards) {
  const Texture texture(39);
  const auto film = [&](double sd, double pan, bool reversed) {
    const worlds::Draws draws(7, "warp");
    return film_of(128, 96, 4, 24, [&, sd, pan, reversed](std::int64_t f, double x, double y) {
      const std::int64_t t = reversed ? 3 - f : f;
      const auto i = (t * 96 + static_cast<std::int64_t>(y)) * 128 + static_cast<std::int64_t>(x);
      return texture.at(x - pan * static_cast<double>(t), y) + (sd > 0 ? sd * synthetic::normal(draws, "n", i) : 0);
    });
  };
  const Measured frozen = measured(film(0, 0, false));
  EXPECT_EQ(frozen["B6.warp"], 0);
  // Noise of sd s in two frames, equal in the three channels: 3 (s^2 + s^2) / 255^2, less what the flow bends away
  // and what interpolation in the second picture smooths.
  const Measured noisy = measured(film(6, 0, false));
  const double expected = 3 * 2 * 36 / (255.0 * 255.0);
  EXPECT_LE(noisy["B6.warp"], 1.05 * expected);
  EXPECT_GE(noisy["B6.warp"], 0.5 * expected);
  const Measured moving = measured(film(0, 1.7, false)), back = measured(film(0, 1.7, true));
  std::printf("  warping error: noise %.5f of %.5f, pan of 1.7 px %.6f\n", noisy["B6.warp"], expected,
              moving["B6.warp"]);
  EXPECT_LE(moving["B6.warp"], 0.05 * expected);
  EXPECT_NEAR(moving["B6.warp"], back["B6.warp_reversed"], 1e-12);
  EXPECT_NEAR(moving["B6.warp_reversed"], back["B6.warp"], 1e-12);
}

// ------------------------------------------------------------------------------------------------ floors, refusals

TEST(Floors, CleanHousesAreQuietInEveryMove) {
  for (const char* move : {"static camera", "slow pan to the right", "slow push in"})
    for (const std::int64_t size : {64, 256}) {
      worlds::Spec spec;
      spec.width_px = spec.height_px = size;
      spec.num_frames = 33;
      spec.fps = 24;
      spec.set = {{"camera", move}, {"time", "at noon"}};
      const Measured m = measured(worlds::make("house", 2, spec).film);
      std::printf(
          "  %3d px, %-22s B1 %.4f px %.3f mrad, B2 %.4f drift %.3f gap16 p95 %.3f px, B3 %.4f %%, B4 %.2f, B5 %.4f "
          "block %.4f levels, "
          "B6 %.1e\n",
          static_cast<int>(size), move, m["B1.shift"], m["B1.turn"], m["B2.rms"], m["B2.drift"], m["B2.gap16_p95"],
          m["B3.background"], m["B4.boil"], m["B5.flicker"], m["B5.block_p95"], m["B6.warp"]);
      EXPECT_LE(m["B1.shift"], 0.02) << move;
      EXPECT_LE(m["B1.turn"], size == 64 ? 0.5 : 0.05);
      EXPECT_LE(m["B2.rms"], size == 64 ? 0.1 : 0.04);
      EXPECT_LE(m["B2.drift"], 0.1);
      EXPECT_LE(m["B3.background"], size == 64 ? 0.05 : 0.01);
      EXPECT_LE(m["B4.boil"], 6);  // hard edges between pixels change as they pass; a smooth texture gives below 1
      EXPECT_LE(m["B5.flicker"], 0.05);
      if (std::string_view(move) != "static camera") continue;
      for (const char* id : {"B1.shift", "B2.rms", "B2.gap16_p95", "B3.background", "B4.boil", "B5.flicker", "B6.warp"})
        EXPECT_LE(m[id], 1e-9) << id;
    }
}

TEST(Refusals, EveryNumberIsGivenOrSaysWhyNot) {
  const auto check = [](const Film& film) {
    const Measured m = measured(film);
    for (const auto& [id, metric] : m.metrics) EXPECT_TRUE(metric.given() || !metric.refusal.empty()) << id;
    return m;
  };
  const Picture black = [](std::int64_t, double, double) { return 0.0; };
  check(film_of(1, 1, 5, 24, black));
  check(film_of(33, 17, 40, 24, [](std::int64_t f, double x, double y) {
    return 128 + 100 * std::sin(3 * x + 5 * y + static_cast<double>(f));
  }));
  const Measured one = check(film_of(64, 64, 1, 24, black));
  for (const char* id :
       {"B1.shift", "B2.rms", "B3.background", "B4.boil", "B5.flicker", "B5.vbench_raw", "B6.warp", "B7.ti"})
    EXPECT_FALSE(one.metrics.at(id).given()) << id;
  const Measured dark = check(film_of(64, 64, 30, 24, black));
  for (const char* id : {"B1.shift", "B2.rms", "B3.background", "B4.boil"})
    EXPECT_FALSE(dark.metrics.at(id).given()) << id;
  EXPECT_EQ(dark["B5.flicker"], 0);  // black is seen, and it does not flicker
}

TEST(Traces, HaveOneValuePerFrameAndASlope) {
  const Texture texture(40);
  // Jitter that grows from nothing: the trace rises.
  const Measured m = measured(film_of(96, 96, 49, 24, [&](std::int64_t f, double x, double y) {
    const double t = static_cast<double>(f) / 24;
    return texture.at(x - t * std::sin(tau * 4 * t), y);
  }));
  for (const char* id : {"B1.shift", "B2.rms", "B2.gap4_median", "B3.background", "B4.boil", "B5.flicker", "B6.warp"}) {
    ASSERT_TRUE(m.traces.contains(id)) << id;
    EXPECT_EQ(m.traces.at(id).value.size(), 49u);
  }
  // The running RMS of t sin is sqrt((t^2 + 0.25^2 / 3) / 2) for t in the middle, and at both ends that of half a
  // window: 0.10 at 0 s and 1.33 at 2 s, so a line through all of it is a little flatter than 1 / sqrt(2).
  EXPECT_NEAR(m.traces.at("B1.shift").slope_per_s, 0.65, 0.04);
}

}  // namespace
}  // namespace reel::metrics
