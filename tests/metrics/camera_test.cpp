// The camera's motion is known in closed form here: textures given by a formula, sampled at exactly warped points, and
// houses whose camera path the world tells.
#include "metrics/camera.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "core/error.hpp"
#include "metrics/fit.hpp"
#include "synthetic.hpp"
#include "worlds/world.hpp"

namespace reel::metrics {
namespace {

using synthetic::film_of;
using synthetic::Picture;
using synthetic::tau;
using synthetic::Texture;

std::vector<CameraStep> steps_of(const Film& film, CameraTracker& tracker, const std::vector<Box>& moving = {}) {
  FilmFrames frames(film);
  Frame frame;
  std::vector<CameraStep> steps;
  while (frames.next(frame)) {
    const CameraStep step = tracker.add(frame, moving);
    if (tracker.num_frames() > 1) steps.push_back(step);
  }
  return steps;
}

std::vector<CameraStep> steps_of(const Film& film) {
  CameraTracker tracker;
  return steps_of(film, tracker);
}

/// Median over steps of the distance between the measured shift and (dx, dy).
double shift_error(const std::vector<CameraStep>& steps, double dx, double dy) {
  std::vector<double> error;
  for (const CameraStep& s : steps) error.push_back(s.calibrated ? std::hypot(s.dx_px - dx, s.dy_px - dy) : 1e9);
  return median(error);
}

TEST(Camera, FindsShiftsToAFiftiethOfAPixel) {
  for (const std::int64_t size : {64, 256})
    for (const auto& shift : {std::pair{0.37, -0.21}, {1.5, 0.8}, {5.3, -3.1}}) {
      const double dx = shift.first, dy = shift.second;
      const Texture texture(3);
      const Film film = film_of(size, size, 6, 24, [&](std::int64_t f, double x, double y) {
        return texture.at(x - dx * static_cast<double>(f), y - dy * static_cast<double>(f));
      });
      const auto steps = steps_of(film);
      const double error = shift_error(steps, dx, dy);
      std::printf("  %3d px, shift %.2f %.2f: error %.4f px, %d corners\n", static_cast<int>(size), dx, dy, error,
                  steps.back().num_inliers);
      EXPECT_LE(error, 0.02) << size << " px, " << dx << ", " << dy;
      for (const CameraStep& s : steps) EXPECT_EQ(s.model, CameraModel::similarity);
    }
}

TEST(Camera, ReportsPixelsOfTheOriginalWhereItWorksOnAReducedPicture) {
  const Texture texture(4, 12);
  const Film film = film_of(1280, 720, 3, 24, [&](std::int64_t f, double x, double y) {
    return texture.at(x - 4.3 * static_cast<double>(f), y + 1.7 * static_cast<double>(f));
  });
  EXPECT_LE(shift_error(steps_of(film), 4.3, -1.7), 0.02);
}

TEST(Camera, FindsTurnAndScaleAboutTheCentre) {
  constexpr double turn = 0.004, growth = 0.003, dx = 0.6, dy = -0.4;  // per frame
  const Texture texture(5);
  // A step takes p to c + e^growth R(turn) (p - c) + d. Steps have the same turn and growth, so f of them are
  // e^(f growth) R(f turn) and a shift that is summed here step by step.
  const Film film = film_of(256, 256, 8, 24, [&](std::int64_t f, double x, double y) {
    double u = x - 128, v = y - 128;
    for (std::int64_t i = 0; i < f; ++i) {  // backwards to the first frame
      const double a = u - dx, b = v - dy, s = std::exp(-growth);
      u = s * (a * std::cos(turn) + b * std::sin(turn));
      v = s * (-a * std::sin(turn) + b * std::cos(turn));
    }
    return texture.at(u + 128, v + 128);
  });
  CameraTracker tracker;
  const auto steps = steps_of(film, tracker);
  EXPECT_LE(shift_error(steps, dx, dy), 0.02);
  for (const CameraStep& s : steps) {
    EXPECT_NEAR(s.theta_rad, turn, 5e-5);
    EXPECT_NEAR(s.log_scale, growth, 5e-5);
  }
  // Cumulated: the middle of the last picture, brought to the first.
  double u = 0, v = 0;
  for (int i = 0; i < 7; ++i) {
    const double a = u - dx, b = v - dy, s = std::exp(-growth);
    u = s * (a * std::cos(turn) + b * std::sin(turn));
    v = s * (-a * std::sin(turn) + b * std::cos(turn));
  }
  const auto at = mapped(tracker.path().to_first.back(), 128, 128);
  EXPECT_NEAR(at[0], u + 128, 0.05);
  EXPECT_NEAR(at[1], v + 128, 0.05);
  EXPECT_NEAR(tracker.path().log_scale.back(), 7 * growth, 2e-4);
}

TEST(Camera, TakesAsManyParametersAsTheMotionHas) {
  const Texture texture(6);
  const Matrix3 shear{1.01, 0.012, -3, -0.006, 0.992, 1.5, 0, 0, 1};  // previous -> next
  const Matrix3 perspective{1.004, 0.002, -1, -0.001, 1.003, 0.5, 6e-5, -3e-5, 1};
  for (const auto& [truth, model] :
       {std::pair{shear, CameraModel::affine}, std::pair{perspective, CameraModel::homography}}) {
    const Matrix3 back = inverse(truth);
    const Film film = film_of(256, 256, 2, 24, [&](std::int64_t f, double x, double y) {
      if (f == 0) return texture.at(x, y);
      const auto p = mapped(back, x, y);
      return texture.at(p[0], p[1]);
    });
    const CameraStep step = steps_of(film).back();
    ASSERT_TRUE(step.calibrated) << step.reason;
    EXPECT_EQ(step.model, model);
    for (const double x : {20.0, 236.0})
      for (const double y : {20.0, 236.0}) {
        const auto a = mapped(truth, x, y), b = mapped(step.from_previous, x, y);
        EXPECT_LE(std::hypot(a[0] - b[0], a[1] - b[1]), 0.1) << x << ", " << y;
      }
  }
}

TEST(Camera, FollowsTheHouseInEveryMove) {
  for (const std::int64_t size : {64, 256})
    for (const char* move : {"static camera", "slow pan to the right", "slow push in"}) {
      worlds::Spec spec;
      spec.width_px = spec.height_px = size;
      spec.num_frames = 13;
      spec.fps = 24;
      spec.set = {{"camera", move}, {"time", "at noon"}};
      const worlds::Clip clip = worlds::make("house", 1, spec);
      CameraTracker tracker;
      const auto steps = steps_of(clip.film, tracker);
      std::vector<double> shift, scale;
      for (std::size_t i = 0; i < steps.size(); ++i) {
        EXPECT_TRUE(steps[i].calibrated) << steps[i].reason;
        // A point at p in frame 0 is at c + zoom (p - c - path) later: between frames the centre moves by
        // -zoom (path' - path), up to the change of zoom over one frame of a shift that is zero in a push.
        const double moved = -clip.camera.zoom[i + 1] * (clip.camera.x_px[i + 1] - clip.camera.x_px[i]);
        shift.push_back(std::hypot(steps[i].dx_px - moved, steps[i].dy_px));
        scale.push_back(std::abs(steps[i].log_scale - std::log(clip.camera.zoom[i + 1] / clip.camera.zoom[i])));
      }
      std::printf("  %3d px, %s: median error %.4f px, scale %.1e\n", static_cast<int>(size), move, median(shift),
                  median(scale));
      EXPECT_LE(median(shift), 0.02) << size << " px, " << move;
      EXPECT_LE(median(scale), 3e-4) << size << " px, " << move;
      if (std::string_view(move) == "static camera") {
        EXPECT_EQ(quantile(shift, 1), 0);  // equal pictures: nothing moves, to the bit
        EXPECT_EQ(tracker.path().log_scale.back(), 0);
      }
    }
}

/// A square of another texture, `side` px, whose corner moves by (vx, vy) px per frame over a background that moves
/// (bx, by).
Picture object_before(const Texture& ground, const Texture& object, double side, double vx, double vy, double bx,
                      double by) {
  return [=, &ground, &object](std::int64_t f, double x, double y) {
    const double t = static_cast<double>(f), u = x - 40 - vx * t, v = y - 60 - vy * t;
    if (u >= 0 && u < side && v >= 0 && v < side) return object.at(u, v);
    return ground.at(x - bx * t, y - by * t);
  };
}

TEST(Camera, AMovingObjectDoesNotPullIt) {
  const Texture ground(7), object(8);
  for (const auto& [vx, vy] : {std::pair{0.6, 0.0}, {2.5, -1.0}, {6.0, 2.0}}) {
    const Film film =
        film_of(256, 256, 5, 24, object_before(ground, object, 140, vx, vy, 0.3, 0.1));  // 30 % of the picture
    CameraTracker tracker;
    const auto steps = steps_of(film, tracker);
    EXPECT_LE(shift_error(steps, 0.3, 0.1), 0.02) << vx;
    int inside = 0, background_inside = 0, tracks = 0;
    for (const Feature& f : tracker.features()) {
      const double u = f.x_px - 40 - 4 * vx, v = f.y_px - 60 - 4 * vy;
      const bool in = u > 5 && u < 135 && v > 5 && v < 135;
      inside += in, background_inside += in && f.background, ++tracks;
    }
    EXPECT_GT(inside, tracks / 8);  // the object is well covered with corners, and none of them counts
    EXPECT_LE(background_inside, inside / 50);
  }
}

TEST(Camera, BoxesLeaveOutAnObjectThatFillsMostOfThePicture) {
  const Texture ground(9), object(10);
  const Film film = film_of(256, 256, 5, 24, object_before(ground, object, 190, 2, 0, 0.3, 0.1));  // 55 %
  CameraTracker tracker;
  EXPECT_LE(shift_error(steps_of(film, tracker, {{30, 50, 220, 206}}), 0.3, 0.1), 0.02);
  EXPECT_GT(shift_error(steps_of(film), 0.3, 0.1), 1);  // negative control: without the box the object is the world
}

TEST(Camera, PicturesWithoutTextureAreTakenAsLockedOffAndSaySo) {
  worlds::Spec spec;
  spec.width_px = spec.height_px = 64;
  spec.num_frames = 12;
  for (const char* world : {"uniform", "parabola", "collision"}) {
    const worlds::Clip clip = worlds::make(world, 2, spec);
    CameraTracker tracker;
    for (const CameraStep& s : steps_of(clip.film, tracker)) {
      EXPECT_FALSE(s.calibrated) << world;
      EXPECT_TRUE(s.assumed_still) << world << ": " << s.reason;
      EXPECT_EQ(s.from_previous, identity3);
      EXPECT_EQ(s.reason, "no texture: camera taken as locked off");
    }
    EXPECT_EQ(tracker.path().num_assumed_still, 11);
    EXPECT_TRUE(tracker.path().usable());
  }
}

TEST(Camera, PicturesThatHaveNothingInCommonAreUncalibratedAndNotStill) {
  const Film film = film_of(128, 128, 4, 24, [](std::int64_t f, double x, double y) {
    return Texture(static_cast<std::uint64_t>(20 + f)).at(x, y);
  });
  CameraTracker tracker;
  for (const CameraStep& s : steps_of(film, tracker)) {
    EXPECT_FALSE(s.calibrated);
    EXPECT_FALSE(s.assumed_still);
    EXPECT_FALSE(s.reason.empty());
  }
  EXPECT_EQ(tracker.path().num_uncalibrated, 3);
  EXPECT_FALSE(tracker.path().usable());
}

TEST(Camera, OneBallIsNotTheWorld) {
  // Texture only in one place, on a ground whose border changes: many corners move together, but they say nothing.
  const Texture object(11);
  const Film film = film_of(256, 256, 3, 24, [&](std::int64_t f, double x, double y) {
    const double u = x - 100 - 2.0 * static_cast<double>(f), v = y - 100;
    if (u >= 0 && u < 64 && v >= 0 && v < 64) return object.at(u, v);
    return 100 + 10 * static_cast<double>(f) + 0.2 * x;
  });
  for (const CameraStep& s : steps_of(film)) {
    EXPECT_FALSE(s.calibrated);
    EXPECT_FALSE(s.reason.empty());
  }
}

TEST(Camera, FlickerDoesNotMoveIt) {
  const Texture texture(12);
  const Film film = film_of(128, 128, 8, 24, [&](std::int64_t f, double x, double y) {
    const double t = static_cast<double>(f);
    return (1 + 0.1 * std::sin(t)) * texture.at(x - 0.4 * t, y) + 12 * std::cos(2 * t);
  });
  EXPECT_LE(shift_error(steps_of(film), 0.4, 0), 0.02);
}

TEST(Camera, SameFilmSameBits) {
  worlds::Spec spec;
  spec.width_px = spec.height_px = 96;
  spec.num_frames = 6;
  spec.set = {{"camera", "slow pan to the left"}};
  const worlds::Clip clip = worlds::make("house", 3, spec);
  CameraTracker a, b;
  steps_of(clip.film, a), steps_of(clip.film, b);
  ASSERT_EQ(a.path().num_frames(), b.path().num_frames());
  for (std::size_t i = 0; i < a.path().to_first.size(); ++i)
    EXPECT_EQ(std::memcmp(&a.path().to_first[i], &b.path().to_first[i], sizeof(Matrix3)), 0);
}

TEST(Camera, AnyPictureIsAnswered) {
  for (const auto& [w, h] : {std::pair{1, 1}, {2, 7}, {15, 15}, {16, 16}, {17, 33}, {200, 18}, {41, 640}}) {
    const Film film = film_of(w, h, 3, 24, [](std::int64_t f, double x, double y) {
      return 99 + 40 * std::sin(x + y + static_cast<double>(f));
    });
    CameraTracker tracker;
    for (const CameraStep& s : steps_of(film, tracker))
      EXPECT_TRUE(s.calibrated || !s.reason.empty()) << w << " x " << h;
    EXPECT_EQ(tracker.path().num_frames(), 3);
    for (const Matrix3& m : tracker.path().to_first)
      for (const double e : m) EXPECT_TRUE(std::isfinite(e));
  }
}

TEST(Camera, RefusesFramesThatDoNotFit) {
  const Film film = film_of(32, 32, 1, 24, [](std::int64_t, double, double) { return 0; });
  FilmFrames frames(film);
  Frame good;
  frames.next(good);
  CameraTracker tracker;
  EXPECT_EQ(tracker.add(good).reason, "first frame");
  EXPECT_THROW(tracker.add(good), Error);  // the same time again
  Frame bad = good;
  bad.time_s = 1;
  bad.width_px = 16;
  EXPECT_THROW(tracker.add(bad), Error);
  bad = good, bad.time_s = nan;
  EXPECT_THROW(tracker.add(bad), Error);
  bad = good, bad.time_s = 1, bad.rgb.pop_back();
  EXPECT_THROW(tracker.add(bad), Error);
  CameraTracker other;
  EXPECT_THROW(other.add(Frame{}), Error);
  good.time_s = 1;  // the tracker is as good as before
  EXPECT_TRUE(tracker.add(good).assumed_still);
}

TEST(CameraFit, FindsAModelAmongOutliers) {
  const worlds::Draws draws(1, "fit");
  const Matrix3 truth{1.02, -0.03, 4, 0.025, 0.99, -7, 4e-5, -2e-5, 1};
  std::vector<Pair> pairs;
  for (int i = 0; i < 200; ++i) {
    Pair p{draws.between(0, 640, "x", i), draws.between(0, 360, "y", i), 0, 0, 1};
    const auto at = mapped(truth, p.x, p.y);
    p.u = at[0] + 0.1 * synthetic::normal(draws, "u", i), p.v = at[1] + 0.1 * synthetic::normal(draws, "v", i);
    if (i % 4 == 0) p.u += draws.between(15, 40, "out", i);
    pairs.push_back(p);
  }
  const Matrix3 start = ransac_similarity(pairs, 6, 5);
  const Matrix3 h = fit_robust(CameraModel::homography, pairs, start);
  for (const double x : {0.0, 640.0})
    for (const double y : {0.0, 360.0}) {
      const auto a = mapped(truth, x, y), b = mapped(h, x, y);
      EXPECT_LE(std::hypot(a[0] - b[0], a[1] - b[1]), 0.12);  // 8 numbers from 150 points of 0.1 px
    }
}

TEST(CameraFit, FindsTheEpipolarGeometryOfPointsInDepth) {
  const worlds::Draws draws(2, "fit");
  std::vector<Pair> pairs;
  for (int i = 0; i < 120; ++i) {
    // A camera of focal length 500 px that moves by (0.3, 0.1, 0.2) and turns by 0.02 about the vertical.
    const double X = draws.between(-3, 3, "X", i), Y = draws.between(-2, 2, "Y", i), Z = draws.between(5, 12, "Z", i);
    const double c = std::cos(0.02), s = std::sin(0.02), U = c * X + s * Z - 0.3, V = Y - 0.1, W = -s * X + c * Z - 0.2;
    pairs.push_back({320 + 500 * X / Z, 180 + 500 * Y / Z, 320 + 500 * U / W, 180 + 500 * V / W, 1});
  }
  const Matrix3 exact = ransac_fundamental(pairs, 0.5, 40, 3);
  for (const Pair& p : pairs) EXPECT_LE(sampson_px(exact, p), 1e-6);
  for (std::size_t i = 0; i < pairs.size(); i += 5) pairs[i].v += 9;
  const Matrix3 robust = ransac_fundamental(pairs, 0.5, 100, 3);
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    if (i % 5 == 0) continue;
    EXPECT_LE(sampson_px(robust, pairs[i]), 0.01);
  }
  // Sampson's distance of a point moved off its line by d in one picture alone: d |n| / sqrt(|n|^2 + |n'|^2) <= d.
  EXPECT_GT(sampson_px(robust, pairs[0]), 3);
  EXPECT_LE(sampson_px(robust, pairs[0]), 9);
}

}  // namespace
}  // namespace reel::metrics
