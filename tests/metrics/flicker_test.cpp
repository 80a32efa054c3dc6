// Brightness that is known pixel by pixel.
#include "metrics/flicker.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <vector>

#include "core/error.hpp"
#include "synthetic.hpp"

namespace reel::metrics {
namespace {

using synthetic::film_of;
using synthetic::tau;
using synthetic::Texture;

std::map<std::string, Metric> flicker_of(const Film& film) {
  FilmFrames frames(film);
  Frame frame;
  CameraTracker camera;
  Flicker flicker;
  while (frames.next(frame)) {
    camera.add(frame);
    flicker.add(frame, camera, reduced_rgb(frame, camera.factor()));
  }
  std::map<std::string, Metric> out;
  for (const Metric& m : flicker.finish().metrics) out[m.id] = m;
  return out;
}

TEST(Flicker, ASineComesBackAsItsEffectiveValue) {
  const Texture texture(51);
  for (const double a : {0.0, 2.0, 8.0}) {
    auto m = flicker_of(film_of(64, 64, 73, 24, [&](std::int64_t f, double x, double y) {
      return 0.5 * texture.at(x, y) + 60 + a * std::sin(tau * 4 * static_cast<double>(f) / 24) +
             0.2 * static_cast<double>(f);
    }));
    const double expected = a / std::sqrt(2);
    EXPECT_NEAR(m["B5.flicker"].value, expected, 0.03 * expected + 0.02);  // and a slow rise of light is not flicker
    EXPECT_NEAR(m["B5.block_median"].value, expected, 0.03 * expected + 0.05);
  }
}

TEST(Flicker, OnePartThatFlickersShowsInItsBlocks) {
  const Texture texture(52);
  auto m = flicker_of(film_of(128, 128, 49, 24, [&](std::int64_t f, double x, double y) {
    const double light = x < 32 && y < 48 ? 6 * std::sin(tau * 4 * static_cast<double>(f) / 24) : 0;  // 6 of 64 blocks
    return 0.6 * texture.at(x, y) + 50 + light;
  }));
  EXPECT_LE(m["B5.block_median"].value, 0.05);
  EXPECT_NEAR(m["B5.block_p95"].value, 6 / std::sqrt(2), 0.15);
  EXPECT_NEAR(m["B5.mean_luma"].value, 6 / std::sqrt(2) * 6 / 64, 0.02);
  EXPECT_LE(m["B5.flicker"].value, 0.01);  // most of the picture holds still
}

TEST(Flicker, AnObjectThatComesAndGoesIsNotFlicker) {
  const Texture texture(54);
  auto m = flicker_of(film_of(128, 128, 49, 24, [&](std::int64_t f, double x, double y) {
    const bool there = f % 10 < 5 && std::hypot(x - 30 - static_cast<double>(f), y - 64) < 24;  // a ninth of the picture
    return there ? 20 : 0.6 * texture.at(x, y) + 80;
  }));
  EXPECT_LE(m["B5.flicker"].value, 0.02);
  EXPECT_GT(m["B5.mean_luma"].value, 3);
}

TEST(Flicker, AMovingCameraIsNotFlicker) {
  const Texture texture(53, 9);
  auto m = flicker_of(film_of(128, 128, 37, 24, [&](std::int64_t f, double x, double y) {
    return texture.at(x - 1.3 * static_cast<double>(f), y + 0.4 * static_cast<double>(f));
  }));
  std::printf("  pan: blocks %.3f and %.3f levels, VBench raw %.4f, aligned %.4f\n", m["B5.block_median"].value,
              m["B5.block_p95"].value, m["B5.vbench_raw"].value, m["B5.vbench_aligned"].value);
  EXPECT_LE(m["B5.block_median"].value, 0.25);
  EXPECT_LE(m["B5.block_p95"].value, 0.5);
  EXPECT_LT(m["B5.vbench_raw"].value, 0.97);       // the raw score calls the pan flicker
  EXPECT_GT(m["B5.vbench_aligned"].value, 0.995);  // the aligned one does not
}

TEST(Flicker, VBenchsScoreIsTheMeanAbsoluteChangeOfAllBytes) {
  Film film;
  film.width_px = 2, film.height_px = 1, film.num_frames = 3, film.fps = 24;
  film.rgb = {10, 20, 30, 40, 50, 60,   //
              13, 20, 30, 40, 50, 51,   // 3 + 9 = 12 over 6 bytes: 2
              13, 26, 30, 40, 50, 51};  // 6 over 6: 1
  auto m = flicker_of(film);
  EXPECT_NEAR(m["B5.vbench_raw"].value, 0.5 * ((255 - 2.0) / 255 + (255 - 1.0) / 255), 1e-15);
  film.rgb.assign(18, 77);
  m = flicker_of(film);
  EXPECT_EQ(m["B5.vbench_raw"].value, 1);  // frozen is perfect: why it is only a compat number
  EXPECT_EQ(m["B5.vbench_aligned"].value, 1);
  EXPECT_EQ(m["B7.ti"].value, 0);
}

TEST(Information, AgreesWithItsDefinition) {
  // Oracle: ITU-T P.910 in double, pixel by pixel, on luma from the bytes.
  const worlds::Draws draws(8, "information");
  constexpr int w = 37, h = 23, n = 3;
  const Film film = film_of(w, h, n, 24, [&](std::int64_t f, double x, double y) {
    return draws.between(0, 255, "level", (f * h + static_cast<std::int64_t>(y)) * w + static_cast<std::int64_t>(x));
  });
  const auto level = [&](int f, int x, int y) { return static_cast<double>(film.frame(f)[3 * (y * w + x)]); };  // grey
  const auto deviation = [](const std::vector<double>& v) {
    double mean = 0, square = 0;
    for (const double x : v) mean += x / static_cast<double>(v.size());
    for (const double x : v) square += (x - mean) * (x - mean) / static_cast<double>(v.size());
    return std::sqrt(square);
  };
  double si = 0, ti = 0;
  for (int f = 0; f < n; ++f) {
    std::vector<double> sobel, change;
    for (int y = 1; y + 1 < h; ++y)
      for (int x = 1; x + 1 < w; ++x) {
        double gx = 0, gy = 0;
        for (int k = -1; k <= 1; ++k) {
          const int weight = k == 0 ? 2 : 1;
          gx += weight * (level(f, x + 1, y + k) - level(f, x - 1, y + k));
          gy += weight * (level(f, x + k, y + 1) - level(f, x + k, y - 1));
        }
        sobel.push_back(std::hypot(gx, gy));
      }
    si = std::max(si, deviation(sobel));
    if (f == 0) continue;
    for (int y = 0; y < h; ++y)
      for (int x = 0; x < w; ++x) change.push_back(level(f, x, y) - level(f - 1, x, y));
    ti = std::max(ti, deviation(change));
  }
  auto m = flicker_of(film);
  EXPECT_NEAR(m["B7.si"].value, si, 1e-5 * si);
  EXPECT_NEAR(m["B7.ti"].value, ti, 1e-5 * ti);
}

TEST(Information, OfAStepEdgeInClosedForm) {
  // Left half 50, right half 150: the Sobel magnitude is 4 x 100 in the two columns beside the edge and 0 elsewhere. Of
  // 30 columns inside the border, a share p = 2 / 30 has 400: standard deviation 400 sqrt(p (1 - p)).
  auto m = flicker_of(film_of(32, 20, 2, 24, [](std::int64_t f, double x, double) {
    return (x < 16 ? 50 : 150) + 10.0 * static_cast<double>(f);
  }));
  const double p = 2.0 / 30;
  EXPECT_NEAR(m["B7.si"].value, 400 * std::sqrt(p * (1 - p)), 1e-3);
  EXPECT_NEAR(m["B7.ti"].value, 0, 1e-4);  // all pixels change alike
}

TEST(Luma, HasTheWeightsOfBt601) {
  Frame frame;
  frame.width_px = 4, frame.height_px = 1;
  frame.rgb = {255, 0, 0, 0, 255, 0, 0, 0, 255, 77, 77, 77};
  const Plane p = luma_plane(frame);
  EXPECT_NEAR(p.level[0], 0.299 * 255, 1e-4);
  EXPECT_NEAR(p.level[1], 0.587 * 255, 1e-4);
  EXPECT_NEAR(p.level[2], 0.114 * 255, 1e-4);
  EXPECT_EQ(p.level[3], 77);
  EXPECT_NEAR(luma(10, 20, 30), 0.299 * 10 + 0.587 * 20 + 0.114 * 30, 1e-12);
  Plane big{5, 4, std::vector<float>(20)};
  for (std::size_t i = 0; i < 20; ++i) big.level[i] = static_cast<float>(i);
  const Plane small = reduced(big, 2);  // means of {0, 1, 5, 6}, {2, 3, 7, 8}, {10, 11, 15, 16}, {12, 13, 17, 18}
  ASSERT_EQ(small.level.size(), 4u);
  EXPECT_EQ(small.level[0], 3);
  EXPECT_EQ(small.level[1], 5);
  EXPECT_EQ(small.level[2], 13);
  EXPECT_EQ(small.level[3], 15);
  EXPECT_EQ(reduction(720, 1280), 2);
  EXPECT_EQ(reduction(1920, 1080), 3);
  EXPECT_EQ(reduction(64, 64), 1);
}

}  // namespace
}  // namespace reel::metrics
