// The canvas promises exact area coverage: checked against areas and centroids known in closed form, and against a
// finely sampled picture.
#include "worlds/canvas.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "worlds/draws.hpp"

namespace reel::worlds {
namespace {

struct Ink {
  double area = 0, x = 0, y = 0;
};

/// Black on white, measured on bytes as any metric would.
Ink measure(const Canvas& canvas) {
  std::vector<std::uint8_t> rgb(static_cast<std::size_t>(canvas.width_px() * canvas.height_px() * 3));
  canvas.store(rgb.data());
  Ink ink;
  for (int y = 0; y < canvas.height_px(); ++y)
    for (int x = 0; x < canvas.width_px(); ++x) {
      const double a = 1 - rgb[static_cast<std::size_t>((y * canvas.width_px() + x) * 3)] / 255.0;
      ink.area += a, ink.x += a * (x + 0.5), ink.y += a * (y + 0.5);
    }
  ink.x /= ink.area, ink.y /= ink.area;
  return ink;
}

Canvas white(int size = 64) {
  Canvas canvas(size, size);
  canvas.clear({255, 255, 255});
  return canvas;
}

TEST(Canvas, DiscHasItsAreaAndCentroidAtAnySubpixelPosition) {
  const Draws draws(1, "test");
  double worst = 0, worst_area = 0;
  for (int i = 0; i < 400; ++i) {
    const double r = draws.between(1.5, 12, "r", i), x = draws.between(14, 50, "x", i),
                 y = draws.between(14, 50, "y", i);
    Canvas canvas = white();
    canvas.add_disc({x, y}, r);
    canvas.fill({0, 0, 0});
    const Ink ink = measure(canvas);
    worst = std::max({worst, std::abs(ink.x - x), std::abs(ink.y - y)});
    worst_area = std::max(worst_area, std::abs(ink.area - std::numbers::pi * r * r) / r);
  }
  EXPECT_LE(worst, 0.02);
  EXPECT_LE(worst_area, 0.05);  // px of area per px of radius: rounding to bytes along the rim
}

TEST(Canvas, ADiscIsRound) {
  constexpr int n = 64;  // samples per pixel and direction
  const double cx = 16.3, cy = 15.8, r = 12;
  Canvas canvas = white(32);
  canvas.add_disc({cx, cy}, r);
  canvas.fill({0, 0, 0});
  std::uint8_t rgb[32 * 32 * 3];
  canvas.store(rgb);
  double worst = 0;
  for (int y = 0; y < 32; ++y)
    for (int x = 0; x < 32; ++x) {
      int hits = 0;
      for (int s = 0; s < n * n; ++s) {
        const double dx = x + (s % n + 0.5) / n - cx, dy = y + (s / n + 0.5) / n - cy;
        hits += dx * dx + dy * dy <= r * r;
      }
      worst = std::max(worst, std::abs(1 - rgb[(y * 32 + x) * 3] / 255.0 - static_cast<double>(hits) / (n * n)));
    }
  EXPECT_LE(worst, 0.012);  // the polygon strays by 0.0003 r, sampling by 1/2n, bytes by 1/510
}

TEST(Canvas, ADiscWithoutCoverageWouldFailThatTest) {  // negative control
  double worst = 0;
  for (int i = 0; i < 50; ++i) {
    const double cx = 32 + 0.02 * i, cy = 32.37, r = 6;
    Ink ink;
    for (int y = 0; y < 64; ++y)
      for (int x = 0; x < 64; ++x)
        if (std::hypot(x + 0.5 - cx, y + 0.5 - cy) <= r) ink.area += 1, ink.x += x + 0.5;
    worst = std::max(worst, std::abs(ink.x / ink.area - cx));
  }
  EXPECT_GT(worst, 0.02);
}

TEST(Canvas, RectangleCoversPixelsByTheirShare) {
  Canvas canvas = white(4);
  const Point corners[] = {{0.25, 1}, {2.5, 1}, {2.5, 2.5}, {0.25, 2.5}};
  canvas.add(corners);
  canvas.fill({0, 0, 0});
  std::uint8_t rgb[48];
  canvas.store(rgb);
  const auto at = [&](int x, int y) { return rgb[(y * 4 + x) * 3]; };
  EXPECT_EQ(at(0, 1), 64);  // 3/4 covered: 63.75
  EXPECT_EQ(at(1, 1), 0);
  EXPECT_EQ(at(2, 1), 128);  // 1/2: 127.5
  EXPECT_EQ(at(3, 1), 255);
  EXPECT_EQ(at(0, 2), 159);  // 3/8: 159.375
  EXPECT_EQ(at(1, 0), 255);
  EXPECT_EQ(at(1, 3), 255);
}

TEST(Canvas, PartsOutsideAreCutOffExactly) {
  for (const Point c : {Point{0, 32}, Point{64, 32}, Point{32, 0}, Point{32, 64}}) {
    Canvas canvas = white();
    canvas.add_disc(c, 10);
    canvas.fill({0, 0, 0});
    EXPECT_NEAR(measure(canvas).area, 50 * std::numbers::pi, 0.4);
  }
  Canvas canvas = white();
  canvas.add_disc({0, 0}, 10);
  canvas.add_disc({-40, 20}, 10);   // outside
  canvas.add_disc({1e7, -1e7}, 3);  // far outside
  canvas.fill({0, 0, 0});
  EXPECT_NEAR(measure(canvas).area, 25 * std::numbers::pi, 0.3);
}

TEST(Canvas, AgreesWithFineSamplingForConcavePolygonsEitherWayRound) {
  const Draws draws(2, "test");
  constexpr int n = 32;  // samples per pixel and direction
  for (int trial = 0; trial < 20; ++trial) {
    // A star around a point, partly outside the canvas: concave and cut.
    std::vector<Point> star;
    const double cx = draws.between(0, 16, "cx", trial), cy = draws.between(0, 16, "cy", trial);
    for (int k = 0; k < 9; ++k) {
      const double r = draws.between(1, 9, "r", 16 * trial + k), a = 2 * std::numbers::pi * k / 9;
      star.push_back({cx + r * std::cos(a), cy + r * std::sin(a)});
    }
    if (trial % 2) std::reverse(star.begin(), star.end());
    Canvas canvas = white(16);
    canvas.add(star);
    canvas.fill({0, 0, 0});
    std::uint8_t rgb[16 * 16 * 3];
    canvas.store(rgb);
    double worst = 0;
    for (int y = 0; y < 16; ++y)
      for (int x = 0; x < 16; ++x) {
        int hits = 0;
        for (int s = 0; s < n * n; ++s) {
          const double px = x + (s % n + 0.5) / n, py = y + (s / n + 0.5) / n;
          bool inside = false;
          for (std::size_t i = 0, j = star.size() - 1; i < star.size(); j = i++)
            if ((star[i].y > py) != (star[j].y > py) &&
                px < (star[j].x - star[i].x) * (py - star[i].y) / (star[j].y - star[i].y) + star[i].x)
              inside = !inside;
          hits += inside;
        }
        const double cover = 1 - rgb[(y * 16 + x) * 3] / 255.0;
        worst = std::max(worst, std::abs(cover - static_cast<double>(hits) / (n * n)));
      }
    EXPECT_LE(worst, 2.0 / n) << "trial " << trial;
  }
}

TEST(Canvas, PolygonsOfOneFillShareItAndLeaveNothingBehind) {
  Canvas canvas = white(16);
  const Point left[] = {{2, 2}, {8.3, 2}, {8.3, 14}, {2, 14}}, right[] = {{8.3, 2}, {14, 2}, {14, 14}, {8.3, 14}};
  canvas.add(left);
  canvas.add(right);
  canvas.fill({0, 0, 0});
  EXPECT_NEAR(measure(canvas).area, 144, 1e-9);  // no seam
  canvas.clear({255, 255, 255});
  canvas.fill({0, 0, 0});
  EXPECT_EQ(measure(canvas).area, 0);
  const Point line[] = {{1, 1}, {5, 5}, {3, 3}};
  canvas.add(line);
  canvas.add({});
  canvas.fill({0, 0, 0});
  EXPECT_EQ(measure(canvas).area, 0);
}

TEST(Canvas, RestorePutsBackOnlyAndAllOfWhatChanged) {
  Canvas background = white(32), canvas = white(32);
  canvas.restore(background);
  std::vector<std::uint8_t> still(32 * 32 * 3), moving(32 * 32 * 3), again(32 * 32 * 3);
  background.store(still.data());
  moving = still;
  canvas.add_disc({31, 10}, 4);
  canvas.fill({10, 200, 30});
  canvas.store_changed(moving.data());
  canvas.store(again.data());
  EXPECT_EQ(moving, again);
  EXPECT_NE(moving, still);
  canvas.restore(background);
  canvas.store(again.data());
  EXPECT_EQ(again, still);
}

TEST(Draws, AreUniformNamedAndRepeatable) {
  const Draws draws(7, "a"), same(7, "a"), other_seed(8, "a"), other_world(7, "b");
  EXPECT_EQ(draws.bits("x", 3), same.bits("x", 3));
  EXPECT_NE(draws.bits("x", 3), other_seed.bits("x", 3));
  EXPECT_NE(draws.bits("x", 3), other_world.bits("x", 3));
  EXPECT_NE(draws.bits("x", 3), draws.bits("y", 3));
  EXPECT_NE(draws.bits("x", 3), draws.bits("x", 4));
  EXPECT_NE(draws.bits("x", 3), draws.bits("x", -3));
  EXPECT_NE(draws.bits("x"), Draws(7 + (std::uint64_t{1} << 32), "a").bits("x"));  // all 64 bits of the seed count
  double sum = 0;
  int thirds[3] = {};
  for (int i = 0; i < 30000; ++i) sum += draws.unit("u", i), ++thirds[draws.pick(3, "p", i)];
  EXPECT_NEAR(sum / 30000, 0.5, 0.01);  // six standard deviations
  for (int n : thirds) EXPECT_NEAR(n, 10000, 490);
}

}  // namespace
}  // namespace reel::worlds
