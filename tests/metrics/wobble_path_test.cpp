// B1 and B3, injection and recovery: a camera that trembles or breathes by a known amount, and the number that must come
// back.
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <numbers>
#include <vector>

#include "metrics/jitter.hpp"
#include "wobble_measured.hpp"
#include "worlds/world.hpp"

namespace reel::metrics {
namespace {

std::vector<double> times(std::size_t n, double fps) {
  std::vector<double> t(n);
  for (std::size_t i = 0; i < n; ++i) t[i] = static_cast<double>(i) / fps;
  return t;
}

// ------------------------------------------------------------------------------------------------ B1, B3

CameraPath path_of(std::size_t n, double fps) {
  CameraPath path;
  path.width_px = 400, path.height_px = 200;
  path.time_s = times(n, fps);
  path.x_px.assign(n, 0);
  path.y_px = path.theta_rad = path.log_scale = path.x_px;
  path.to_first.assign(n, identity3);
  path.noise_px.assign(n, 0.01);
  return path;
}

std::map<std::string, Metric> by_id(const Findings& findings) {
  std::map<std::string, Metric> out;
  for (const Metric& m : findings.metrics) out[m.id] = m;
  return out;
}

TEST(CameraJitter, UnitsAndSharesFollowFromThePath) {
  CameraPath path = path_of(240, 24);
  for (std::size_t i = 0; i < 240; ++i) {
    const double s = path.time_s[i];
    path.x_px[i] = 3 * std::sin(tau * 3.5 * s), path.y_px[i] = 4 * std::cos(tau * 3.5 * s);
    path.theta_rad[i] = 0.002 * std::sin(tau * 5 * s), path.log_scale[i] = 0.01 * std::sin(tau * 2 * s) + 0.05 * s;
    path.to_first[i][2] = -path.x_px[i], path.to_first[i][5] = -path.y_px[i];
  }
  auto m = by_id(path_jitter(path));
  EXPECT_NEAR(m["B1.shift"].value, 5 / std::sqrt(2), 0.02);
  EXPECT_NEAR(m["B1.shift_share"].value, 100 * 5 / std::sqrt(2) / 200, 0.01);
  EXPECT_NEAR(m["B1.shift_x"].value, 3 / std::sqrt(2), 0.02);
  EXPECT_NEAR(m["B1.shift_y"].value, 4 / std::sqrt(2), 0.02);
  EXPECT_NEAR(m["B1.shift_3_8hz"].value, 5 / std::sqrt(2), 0.05);
  EXPECT_NEAR(m["B1.turn"].value, 2 / std::sqrt(2), 0.01);   // mrad
  EXPECT_NEAR(m["B1.scale"].value, 1 / std::sqrt(2), 0.01);  // %
  EXPECT_NEAR(m["B3.background"].value, 1 / std::sqrt(2), 0.01);
  EXPECT_NEAR(m["B1.shift"].sigma, 0.01, 1e-12);
  // All of it lies far above the fifth of 119 bins of 0.1 Hz.
  EXPECT_LE(m["B1.compat_stability_shift"].value, 0.01);
  EXPECT_FALSE(m["B1.compat_stability_turn"].given());  // atan2(1, 1) whatever the camera does: 0 / 0
}

TEST(CameraJitter, SoftPansAndPushesAreQuiet) {
  for (const double seconds : {4.0, 10.0}) {
    const auto n = static_cast<std::size_t>(24 * seconds) + 1;
    CameraPath pan = path_of(n, 24), eased = pan, push = pan;
    for (std::size_t i = 0; i < n; ++i) {
      const double u = pan.time_s[i] / seconds;
      pan.x_px[i] = 300 * u;
      eased.x_px[i] = 50 * (1 - std::cos(std::numbers::pi * u));  // 100 px, soft at both ends
      eased.y_px[i] = 60 * u * u * (3 - 2 * u);
      push.log_scale[i] = -std::log(1 - 0.3 * u);
    }
    EXPECT_LE(by_id(path_jitter(pan))["B1.shift"].value, 1e-6);
    const double soft = by_id(path_jitter(eased))["B1.shift"].value;
    std::printf("  100 px with soft ends over %.0f s leave %.4f px\n", seconds, soft);
    EXPECT_LE(soft, 0.02);
    EXPECT_LE(by_id(path_jitter(push))["B3.background"].value, 1e-3);
  }
}

TEST(CameraJitter, RefusesWhatItCannotKnow) {
  CameraPath path = path_of(48, 24);
  path.num_uncalibrated = 10, path.reason = "3 corners, 30 are needed";  // of 47
  EXPECT_NE(by_id(path_jitter(path))["B1.shift"].refusal.find("3 corners"), std::string::npos);
  path.num_uncalibrated = 0, path.num_assumed_still = 47, path.reason = "no texture: camera taken as locked off";
  EXPECT_EQ(by_id(path_jitter(path))["B1.shift"].refusal, path.reason);
  EXPECT_TRUE(path_jitter(path).traces.empty());
  EXPECT_FALSE(by_id(path_jitter(path_of(8, 24)))["B1.shift"].given());
  EXPECT_FALSE(by_id(path_jitter(CameraPath{}))["B1.shift"].given());
  EXPECT_EQ(by_id(path_jitter(path_of(48, 24)))["B1.shift"].value, 0);  // a camera that was seen to stand
}

TEST(CameraJitter, RecoversInjectedJitter) {
  const Texture texture(31);
  std::vector<double> injected, found;
  for (const auto& wave : {std::pair{0.0, 3.0}, {0.5, 3.0}, {2.0, 4.0}}) {
    const double a = wave.first, hz = wave.second;
    const Measured m = measured(film_of(96, 96, 37, 24, [&](std::int64_t f, double x, double y) {
      return texture.at(x - a * std::sin(tau * hz * static_cast<double>(f) / 24), y);
    }));
    injected.push_back(a / std::sqrt(2)), found.push_back(m["B1.shift"]);
    EXPECT_NEAR(found.back(), injected.back(), std::max(0.03 * injected.back(), 0.05));
    EXPECT_LE(m["B1.shift_y"], 0.01);
    EXPECT_LE(m["B2.rms"], 0.05);  // the scene itself holds still
  }
  EXPECT_NEAR(slope_of(injected, found), 1, 0.03);

  // Independent normal shifts of sd 0.8 px both ways: the sample's own standard deviation comes back.
  const worlds::Draws draws(5, "gauss");
  constexpr std::int64_t n = 60;
  double mean[2] = {}, square[2] = {};
  const auto shift = [&](int axis, std::int64_t f) { return 0.8 * synthetic::normal(draws, axis ? "y" : "x", f); };
  for (std::int64_t f = 0; f < n; ++f)
    for (const int axis : {0, 1}) mean[axis] += shift(axis, f) / n, square[axis] += shift(axis, f) * shift(axis, f) / n;
  std::vector<double> dx, dy;
  for (std::int64_t f = 0; f < n; ++f) dx.push_back(shift(0, f)), dy.push_back(shift(1, f));
  const Measured m = measured(film_of(80, 80, n, 24, [&](std::int64_t f, double x, double y) {
    return texture.at(x - dx[static_cast<std::size_t>(f)], y - dy[static_cast<std::size_t>(f)]);
  }));
  EXPECT_NEAR(m["B1.shift_x"], std::sqrt(square[0] - mean[0] * mean[0]), 0.05);
  EXPECT_NEAR(m["B1.shift_y"], std::sqrt(square[1] - mean[1] * mean[1]), 0.05);
}

TEST(Breathing, RecoversAnInjectedPulseOfTheScale) {
  const Texture texture(32);
  for (const double percent : {0.0, 1.0}) {
    const Measured m = measured(film_of(96, 96, 37, 24, [&](std::int64_t f, double x, double y) {
      const double s = std::exp(-0.01 * percent * std::sin(tau * 4 * static_cast<double>(f) / 24));
      return texture.at(48 + s * (x - 48), 48 + s * (y - 48));
    }));
    EXPECT_NEAR(m["B3.background"], percent / std::sqrt(2), 0.03 * percent + 0.01) << percent;
    EXPECT_LE(m["B1.shift"], 0.02);
  }
}

// ------------------------------------------------------------------------------------------------ B2

}  // namespace
}  // namespace reel::metrics
