// Points and fields of flow against analytic textures whose displacement is known exactly.
#include "metrics/flow.hpp"

#include <gtest/gtest.h>

#include <cmath>

namespace reel::metrics {
namespace {

/// A smooth texture without period in the picture, seen through a shift and a scale about (cx, cy).
Plane texture(int width, int height, double dx, double dy, double scale = 1) {
  Plane p{width, height, {}};
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x) {
      const double u = (x + 0.5 - dx - 0.5 * width) / scale + 0.5 * width, v = (y + 0.5 - dy - 0.5 * height) / scale + 0.5 * height;
      // Long waves, so that far shifts are not ambiguous; shorter ones, so that near ones are sharp.
      p.level.push_back(static_cast<float>(128 + 35 * std::sin(0.045 * u + 0.02 * v) + 30 * std::cos(0.025 * u - 0.055 * v + 1) +
                                           20 * std::sin(0.13 * u + 0.11 * v) + 15 * std::cos(0.16 * u - 0.19 * v) +
                                           8 * std::sin(0.45 * u) * std::cos(0.5 * v)));
    }
  return p;
}

TEST(Flow, PointsAreFoundToHundredthsOfAPixel) {
  for (const auto& [dx, dy] : {std::pair{0.3, -0.2}, {2.7, 1.9}, {-11.4, 6.3}}) {
    const Pyramid a(texture(160, 120, 0, 0), 3), b(texture(160, 120, dx, dy), 3);
    double worst = 0;
    for (int y = 30; y < 100; y += 10)
      for (int x = 30; x < 140; x += 10) {
        double px = x + 0.25, py = y + 0.75;
        ASSERT_TRUE(follow_point(a, b, 11, px, py)) << x << " " << y;
        worst = std::max(worst, std::hypot(px - x - 0.25 - dx, py - y - 0.75 - dy));
      }
    EXPECT_LT(worst, 0.05) << dx << " " << dy;
  }
}

TEST(Flow, WithoutAPyramidAFarPointIsLost) {  // the coarse levels are what finds it
  const double dx = -11.4, dy = 6.3;
  const Pyramid a(texture(160, 120, 0, 0), 0), b(texture(160, 120, dx, dy), 0);
  double x = 80, y = 60;
  const bool found = follow_point(a, b, 11, x, y);
  EXPECT_FALSE(found && std::hypot(x - 80 - dx, y - 60 - dy) < 0.5);
}

TEST(Flow, FlatPlacesAndEdgesHaveNoAnswer) {
  Plane flat{64, 64, std::vector<float>(64 * 64, 90)};
  double x = 32, y = 32;
  EXPECT_FALSE(follow_point(Pyramid(flat, 2), Pyramid(flat, 2), 11, x, y));
  Plane stripes = flat;  // texture in one direction only
  for (std::size_t k = 0; k < stripes.level.size(); ++k) stripes.level[k] = k % 64 % 8 < 4 ? 60.0f : 160.0f;
  EXPECT_FALSE(follow_point(Pyramid(stripes, 2), Pyramid(stripes, 2), 11, x, y));
  const Pyramid a(texture(64, 64, 0, 0), 2), b(texture(64, 64, 20, 0), 2);
  x = 58, y = 32;  // goes out of the picture
  const bool found = follow_point(a, b, 11, x, y);
  EXPECT_FALSE(found && std::abs(x - 78) < 1);
  EXPECT_EQ(Pyramid(texture(1, 1, 0, 0), 4).num_levels(), 1);
}

double mean_error(const FlowField& f, double dx, double dy, double scale) {
  double sum = 0;
  int n = 0;
  for (int y = 16; y < f.height_px - 16; ++y)
    for (int x = 16; x < f.width_px - 16; ++x, ++n) {
      const auto& v = f.flow[static_cast<std::size_t>(y * f.width_px + x)];
      const double tx = (x + 0.5 - 0.5 * f.width_px) * (scale - 1) + dx, ty = (y + 0.5 - 0.5 * f.height_px) * (scale - 1) + dy;
      sum += std::hypot(static_cast<double>(v[0]) - tx, static_cast<double>(v[1]) - ty);
    }
  return sum / n;
}

TEST(Flow, FieldsOfShiftAndZoom) {
  const Plane still = texture(320, 180, 0, 0);
  EXPECT_LT(mean_error(dense_flow(still, still), 0, 0, 1), 1e-6);
  EXPECT_LT(mean_error(dense_flow(still, texture(320, 180, 1.7, -0.6)), 1.7, -0.6, 1), 0.05);
  EXPECT_LT(mean_error(dense_flow(still, texture(320, 180, -9, 4)), -9, 4, 1), 0.1);
  EXPECT_LT(mean_error(dense_flow(still, texture(320, 180, 0, 0, 1.02)), 0, 0, 1.02), 0.15);
  EXPECT_GT(mean_error(dense_flow(still, still), 1.7, -0.6, 1), 1.5);  // the measure itself can fail
  for (const auto& [w, h] : {std::pair{1, 1}, {3, 40}, {40, 3}, {17, 9}})
    EXPECT_EQ(dense_flow(texture(w, h, 0, 0), texture(w, h, 1, 0)).flow.size(), static_cast<std::size_t>(w * h));
}

}  // namespace
}  // namespace reel::metrics
