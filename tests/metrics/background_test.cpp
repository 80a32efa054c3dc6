// The background of scenes whose background is known: white, a texture, a pan over one.
#include "metrics/background.hpp"

#include <gtest/gtest.h>

#include "core/error.hpp"
#include "metrics/detect.hpp"
#include "scenes.hpp"

namespace reel::metrics {
namespace {

using scenes::blank;
using scenes::Disc;

constexpr worlds::Color red{222, 52, 48};

int worst_difference(const Background& b, const std::uint8_t* truth) {
  int worst = 0;
  for (std::size_t i = 0; i < b.rgb.size(); ++i) worst = std::max(worst, std::abs(b.rgb[i] - truth[i]));
  return worst;
}

std::int64_t num_different(const Background& b, const std::uint8_t* truth, int levels) {
  std::int64_t n = 0;
  for (std::size_t i = 0; i < b.rgb.size(); i += 3)
    n += std::abs(b.rgb[i] - truth[i]) > levels || std::abs(b.rgb[i + 1] - truth[i + 1]) > levels;
  return n;
}

TEST(Matrix, InverseAndPoints) {
  const Matrix3 m{1.1, 0.2, 3, -0.1, 0.9, -2, 1e-3, 2e-3, 1};
  const auto p = mapped(m, 10, 20);  // w = 1.05
  EXPECT_NEAR(p[0], (11 + 4 + 3) / 1.05, 1e-12);
  EXPECT_NEAR(p[1], (-1 + 18 - 2) / 1.05, 1e-12);
  const auto q = mapped(inverse(m), p[0], p[1]);
  EXPECT_NEAR(q[0], 10, 1e-9);
  EXPECT_NEAR(q[1], 20, 1e-9);
  EXPECT_TRUE(std::isnan(mapped({1, 0, 0, 0, 1, 0, -1, 0, 1}, 2, 0)[0]));  // behind
  for (const Matrix3& none : {Matrix3{1, 2, 3, 2, 4, 6, 0, 0, 1}, Matrix3{NAN, 0, 0, 0, 1, 0, 0, 0, 1}})
    EXPECT_TRUE(std::isnan(mapped(inverse(none), 1, 1)[0]));
}

TEST(Background, BilinearValueByHand) {
  Background b = Background::plain(2, 2, {0, 0, 0});
  for (std::size_t i = 0; i < 4; ++i) b.rgb[3 * i] = static_cast<std::uint8_t>(40 * i);  // 0 40 / 80 120
  std::array<double, 3> v{};
  ASSERT_TRUE(b.at(0.5, 0.5, v));
  EXPECT_EQ(v[0], 0);
  ASSERT_TRUE(b.at(1.25, 1, v));  // three quarters to the right, half way down: 30 + 40
  EXPECT_NEAR(v[0], 70, 1e-12);
  ASSERT_TRUE(b.at(2, 2, v));  // beyond the last centre: the last pixel
  EXPECT_EQ(v[0], 120);
  EXPECT_FALSE(b.at(2.01, 1, v));
  EXPECT_FALSE(b.at(NAN, 1, v));
  b.valid[3] = 0;
  EXPECT_FALSE(b.at(1.5, 1.5, v));
}

TEST(Background, MedianOfAPassingDiscIsExactlyTheTexture) {
  Film film = blank(40, 48, 96), truth = blank(1, 48, 96);
  scenes::fill_texture(truth, 0);
  for (std::int64_t f = 0; f < 40; ++f) {
    scenes::fill_texture(film, f);
    scenes::draw(film, f, {Disc{-10 + 3.0 * static_cast<double>(f), 24, 8, red}});
  }
  const Background b = scenes::median_of(film);
  EXPECT_EQ(worst_difference(b, truth.frame(0)), 0);
  EXPECT_EQ(b.num_frames, 20);  // every second of 40: 31 do not hold them all
  EXPECT_EQ(b.doubtful, 0);
}

TEST(Background, EveryLengthIsCoveredEvenly) {
  // Frame f has level f: the median of the frames held is near the middle of the film.
  for (std::int64_t n : {1, 2, 30, 31, 32, 62, 63, 200, 250}) {
    Film film = blank(n, 2, 3);
    for (std::int64_t f = 0; f < n; ++f) std::fill_n(film.frame(f), film.frame_bytes(), static_cast<std::uint8_t>(f));
    const Background b = scenes::median_of(film);
    EXPECT_LE(b.num_frames, 31);
    EXPECT_GE(b.num_frames, std::min<int>(16, static_cast<int>(n)));
    // Films of that length change by up to 8 levels between the frames held, and by half of that at the ends.
    EXPECT_NEAR(b.rgb[0], 0.5 * static_cast<double>(n - 1), 8) << n;
  }
}

TEST(Background, WhatRestsForMostOfAShotIsStillAThing) {
  // In place for two thirds of the shot, then it leaves: a plain median would keep it.
  Film film = blank(30, 40, 80), truth = blank(1, 40, 80);
  scenes::fill_texture(truth, 0);
  for (std::int64_t f = 0; f < 30; ++f) {
    scenes::fill_texture(film, f);
    scenes::draw(film, f, {Disc{20 + 5.0 * static_cast<double>(std::max<std::int64_t>(0, f - 20)), 20, 9, red}});
  }
  const Background b = scenes::median_of(film);
  EXPECT_EQ(num_different(b, truth.frame(0), 8), 0);
  EXPECT_GT(b.doubtful, 0);  // and it says that it had to think
}

TEST(Background, WhatNeverMovesIsBackground) {  // negative control
  Film film = blank(20, 40, 60);
  for (std::int64_t f = 0; f < 20; ++f)
    scenes::draw(film, f, {Disc{20, 20, 6, red}, Disc{30 + 2.0 * static_cast<double>(f), 10, 4, {0, 0, 200}}});
  const Background b = scenes::median_of(film);
  EXPECT_NEAR(b.rgb[3 * (20 * 60 + 20)], red.r, 1);
}

TEST(Background, SlowBallsOfTheWorldsLeaveLittleBehind) {
  const std::vector<std::uint8_t> white(64 * 64 * 3, 255);
  std::int64_t clean = 0, left = 0;
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    const std::int64_t bad = num_different(scenes::median_of(scenes::world("uniform", seed, 64).film), white.data(), 5);
    clean += bad == 0, left += bad;
  }
  EXPECT_GE(clean, 36);  // a plain median: at most 24
  EXPECT_LE(left, 200);  // pixels, of 40 balls of 63 to 252
}

TEST(Background, KnownColoursTellThingsFromTheGround) {
  // Both balls of a collision fill their places for most of the clip, some for all of it.
  const std::vector<std::uint8_t> white(128 * 128 * 3, 255);
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    const worlds::Clip clip = scenes::world("collision", seed, 128);
    std::vector<std::array<std::uint8_t, 3>> things;
    for (const NamedColour& c : world_colours("collision", clip.attributes)) things.push_back(c.rgb);
    FilmFrames frames(clip.film);
    BackgroundMedian median;
    Frame frame;
    while (frames.next(frame)) median.add(frame);
    EXPECT_EQ(num_different(median.median({}, things), white.data(), 3), 0) << seed;
  }
  // What has the colour and is part of the ground stays, also where a thing of that colour passes by.
  Film film = blank(24, 40, 80), truth = blank(1, 40, 80);
  const Disc post{50, 20, 6, red};
  scenes::fill_texture(truth, 0);
  scenes::draw(truth, 0, {post});
  for (std::int64_t f = 0; f < 24; ++f) {
    scenes::fill_texture(film, f);
    scenes::draw(film, f, {post, Disc{4 + 3.5 * static_cast<double>(f), 8, 4, red}});
  }
  FilmFrames frames(film);
  BackgroundMedian median;
  Frame frame;
  while (frames.next(frame)) median.add(frame);
  const std::array<std::uint8_t, 3> thing{222, 52, 48};
  EXPECT_EQ(num_different(median.median({}, {&thing, 1}), truth.frame(0), 3), 0);
}

TEST(Background, FramesWithoutAUsableMatrixAreLeftOut) {
  Film film = blank(5, 8, 8, 100);
  std::fill_n(film.frame(2), film.frame_bytes(), std::uint8_t{200});
  std::vector<Matrix3> to_first(5, identity3);
  to_first[1] = {nan, nan, nan, nan, nan, nan, nan, nan, nan};
  const Background b = scenes::median_of(film, to_first);
  EXPECT_EQ(b.rgb[50], 100);
  EXPECT_EQ(b.valid[20], 1);
}

TEST(Background, AlignedFramesOfAPanAndTheirValidity) {
  // The camera moves right by 2.5 px per frame over 12 frames: matrix frame -> first is a shift by +2.5 f.
  Film film = blank(12, 40, 64), truth = blank(1, 40, 64);
  scenes::fill_texture(truth, 0);
  std::vector<Matrix3> to_first;
  for (std::int64_t f = 0; f < 12; ++f) {
    const double shift = 2.5 * static_cast<double>(f);
    scenes::fill_texture(film, f, shift);
    scenes::draw(film, f, {Disc{32, 20, 5, red}});  // keeps pace with the camera
    to_first.push_back({1, 0, shift, 0, 1, 0, 0, 0, 1});
  }
  const Background b = scenes::median_of(film, to_first);
  std::int64_t invalid = 0;
  int worst = 0;
  for (std::size_t y = 0; y < 40; ++y)
    for (std::size_t x = 0; x < 64; ++x) {
      const std::size_t i = y * 64 + x;
      if (!b.valid[i]) ++invalid;
      if (b.valid[i] && x >= 16 && x < 50) worst = std::max(worst, std::abs(b.rgb[3 * i] - truth.rgb[3 * i]));
    }
  // Seen in frames with 2.5 f <= x + 1/2: at least 6 of 12 from x = 12 on.
  EXPECT_EQ(invalid, 40 * 12);
  EXPECT_LE(worst, 6);  // bilinear between texels of slope up to 18 levels/px, and the thing is gone
  const Background unaligned = scenes::median_of(film);  // negative control
  EXPECT_GT(worst_difference(unaligned, truth.frame(0)), 40);
}

TEST(Background, OddFilms) {
  for (const Film& film : scenes::odd_films()) EXPECT_EQ(worst_difference(scenes::median_of(film), film.frame(0)), 0);
  EXPECT_THROW(BackgroundMedian().median(), Error);
  EXPECT_THROW(BackgroundMedian().add(Frame{}), Error);
  BackgroundMedian median;
  median.add(Frame{1, 2, 0, std::vector<std::uint8_t>(6)});
  EXPECT_THROW(median.add(Frame{2, 1, 0, std::vector<std::uint8_t>(6)}), Error);
}

}  // namespace
}  // namespace reel::metrics
