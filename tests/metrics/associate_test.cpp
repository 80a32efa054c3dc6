// Identities: who is who after a bounce, a crossing, a gap, a jump; and what is said about it.
#include "metrics/associate.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <numbers>
#include <numeric>

#include "core/error.hpp"
#include "metrics/assignment.hpp"
#include "scenes.hpp"
#include "worlds/lab.hpp"

namespace reel::metrics {
namespace {

using scenes::blank;
using scenes::Disc;
using scenes::blue;
using scenes::red;
using scenes::red_and_blue;

Detection disc(double x, double y, double r, int object = -1, std::array<double, 3> rgb = {222, 52, 48}) {
  Detection d;
  d.x_px = x, d.y_px = y, d.area_px = std::numbers::pi * r * r, d.major_px = d.minor_px = r / 2;
  d.box = {x - r, y - r, 2 * r, 2 * r};
  d.whole = x > r && y > r && x < 200 - r && y < 100 - r;
  d.object = object, d.rgb = rgb;
  return d;
}

/// Runs a list of detections per frame in a picture of 200 x 100 px at 25 frames per second.
Association run(std::int64_t frames, const std::function<std::vector<Detection>(std::int64_t)>& at,
                AssociateOptions options = {}) {
  Associator associator(200, 100, std::move(options));
  for (std::int64_t f = 0; f < frames; ++f) associator.add(static_cast<double>(f) / 25, at(f));
  return associator.finish();
}

Association by_colour(const Film& film, const std::vector<NamedColour>& colours, const Background& background) {
  const ColourDetector detector(colours, background);
  AssociateOptions options;
  options.names = detector.names();
  Associator associator(film.width_px, film.height_px, options);
  FilmFrames frames(film);
  Frame frame;
  while (frames.next(frame)) associator.add(frame.time_s, detector.detect(frame));
  return associator.finish();
}
Association by_colour(const Film& film) {
  return by_colour(film, red_and_blue, Background::plain(film.height_px, film.width_px, {255, 255, 255}));
}
Association by_motion(const Film& film, const Background& background) {
  const MotionDetector detector(background);
  AssociateOptions options;
  options.least_seen = 3;
  Associator associator(film.width_px, film.height_px, options);
  FilmFrames frames(film);
  Frame frame;
  while (frames.next(frame)) associator.add(frame.time_s, detector.detect(frame));
  return associator.finish();
}

std::int64_t num_missing(const Track& t) {
  return std::count_if(t.x_px.begin(), t.x_px.end(), [](double x) { return std::isnan(x); });
}
std::string events_of(const Association& a) {
  std::string out;
  for (const Event& e : a.events) out += fmt::format("{}@{} ", e.id, e.frame);
  return out;
}

TEST(Assign, AgreesWithTryingAllPermutations) {
  scenes::Lcg lcg{7};
  for (int trial = 0; trial < 300; ++trial) {
    const auto rows = static_cast<std::size_t>(1 + lcg.below(5)),
               columns = rows + static_cast<std::size_t>(lcg.below(3));
    std::vector<double> cost(rows * columns);
    for (double& c : cost) c = lcg.below(trial % 2 ? 1000 : 4) - 2;  // also many ties
    std::vector<std::size_t> order(columns);
    std::iota(order.begin(), order.end(), std::size_t{0});
    double least = 1e9;
    do {
      double sum = 0;
      for (std::size_t r = 0; r < rows; ++r) sum += cost[r * columns + order[r]];
      least = std::min(least, sum);
    } while (std::next_permutation(order.begin(), order.end()));
    const std::vector<int> found = assign(cost, rows, columns);
    double sum = 0;
    std::vector<int> used(columns, 0);
    for (std::size_t r = 0; r < rows; ++r) {
      ASSERT_GE(found[r], 0);
      sum += cost[r * columns + static_cast<std::size_t>(found[r])];
      EXPECT_EQ(used[static_cast<std::size_t>(found[r])]++, 0);
    }
    EXPECT_NEAR(sum, least, 1e-9);
  }
  EXPECT_TRUE(assign({}, 0, 3).empty());
}

TEST(Associate, PositionsAreThoseMeasured) {
  const auto at = [](std::int64_t f) { return 30 + 2.5 * static_cast<double>(f) + (f % 2 ? 0.2 : -0.2); };
  const Association a = run(30, [&](std::int64_t f) { return std::vector{disc(at(f), 50, 6)}; });
  ASSERT_EQ(a.tracks.size(), 1u);
  EXPECT_EQ(a.tracks[0].name, "1");
  EXPECT_TRUE(a.events.empty());
  for (std::int64_t f = 0; f < 30; ++f)
    EXPECT_EQ(a.tracks[0].x_px[static_cast<std::size_t>(f)], at(f));  // not smoothed
  EXPECT_EQ(a.tracks[0].time_s[7], 7.0 / 25);
}

TEST(Associate, WorldsKeepTheirIdentitiesByColour) {
  for (const char* world : {"uniform", "parabola", "collision", "fall"})
    for (std::uint64_t seed = 1; seed <= 10; ++seed) {
      const worlds::Clip clip = scenes::world(world, seed, 64);
      const Association a =
          by_colour(clip.film, world_colours(world, clip.attributes),
                    clip.world == "fall" ? scenes::median_of(clip.film) : Background::plain(64, 64, {255, 255, 255}));
      ASSERT_EQ(a.tracks.size(), clip.objects.size()) << world << seed;
      EXPECT_TRUE(a.events.empty()) << world << seed << events_of(a);
      for (const worlds::Track& truth : clip.objects) {
        const auto t =
            std::find_if(a.tracks.begin(), a.tracks.end(), [&](const Track& x) { return x.name == truth.name; });
        ASSERT_NE(t, a.tracks.end()) << world << seed;
        // A ball that is cut off by the rim has a centroid that lags: only those that stay inside.
        if (clip.world == "uniform" && std::count(t->whole.begin(), t->whole.end(), 1) == 33) {
          EXPECT_LE(t->sigma_px, 0.01) << seed;
        }
        for (std::size_t f = 0; f < truth.x_px.size(); ++f) {
          if (!truth.visible[f]) continue;
          EXPECT_NEAR(t->x_px[f], truth.x_px[f], 0.1) << world << seed;
          EXPECT_NEAR(t->y_px[f], truth.y_px[f], 0.1) << world << seed;
        }
      }
    }
}

TEST(Associate, ACollisionSeenByMotionAloneKeepsItsIdentities) {
  // Both balls are seen as one while they touch.
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    const worlds::Clip clip = scenes::world("collision", seed, 128);
    const Association a = by_motion(clip.film, Background::plain(128, 128, {255, 255, 255}));
    ASSERT_EQ(a.tracks.size(), 2u) << seed << events_of(a);
    for (const worlds::Track& truth : clip.objects) {
      const Track& t = std::abs(a.tracks[0].x_px[0] - truth.x_px[0]) < 2 ? a.tracks[0] : a.tracks[1];
      for (std::size_t f = 0; f < truth.x_px.size(); ++f)
        if (truth.visible[f] && std::isfinite(t.x_px[f])) {
          EXPECT_NEAR(t.x_px[f], truth.x_px[f], 0.1) << seed << " " << f;
        }
      EXPECT_LE(num_missing(t), std::count(truth.visible.begin(), truth.visible.end(), false) + 4) << seed;
    }
  }
}

TEST(Associate, TwoThingsCrossing) {
  // By colour: the one behind is seen less and less, then not at all; identities stay.
  Film film = blank(40, 60, 120);
  const auto x = [](std::int64_t f) {
    return std::array{15 + 2.3 * static_cast<double>(f), 105 - 2.3 * static_cast<double>(f)};
  };
  for (std::int64_t f = 0; f < 40; ++f) scenes::draw(film, f, {Disc{x(f)[0], 29, 8, red}, Disc{x(f)[1], 31, 9, blue}});
  const Association colour = by_colour(film);
  ASSERT_EQ(colour.tracks.size(), 2u);
  EXPECT_EQ(colour.tracks[0].name, "red");
  EXPECT_TRUE(colour.events.empty()) << events_of(colour);
  const Association motion = by_motion(film, Background::plain(60, 120, {255, 255, 255}));
  ASSERT_EQ(motion.tracks.size(), 2u) << events_of(motion);
  int hidden = 0;
  for (std::size_t f = 0; f < 40; ++f) {
    const bool apart = std::abs(x(static_cast<std::int64_t>(f))[0] - x(static_cast<std::int64_t>(f))[1]) > 19;
    for (std::size_t k = 0; k < 2; ++k) {
      const double truth = x(static_cast<std::int64_t>(f))[k];
      if (apart || k == 1) {  // blue is in front
        EXPECT_NEAR(colour.tracks[k].x_px[f], truth, 0.05) << f;
      }
      if (apart) {
        EXPECT_NEAR(motion.tracks[k].x_px[f], truth, 0.05) << f;
      } else {
        EXPECT_TRUE(std::isnan(motion.tracks[k].x_px[f])) << f;
      }
    }
    if (std::abs(colour.tracks[0].x_px[f] - x(static_cast<std::int64_t>(f))[0]) > 0.2) {
      ++hidden;
      EXPECT_EQ(colour.tracks[0].whole[f], 0) << f;  // where the centroid is wrong, it says so
    }
  }
  EXPECT_GT(hidden, 0);
  ASSERT_EQ(motion.events.size(), 2u) << events_of(motion);
  EXPECT_EQ(motion.events[0].id, "O3.merge");
  EXPECT_EQ(motion.events[1].id, "O3.split");
}

TEST(Associate, CrossingThingsThatLookTheSameGoOnStraight) {
  const Association a = run(40, [](std::int64_t f) {
    const double t = static_cast<double>(f);
    return std::vector{disc(20 + 4 * t, 30 + 1 * t, 5), disc(180 - 4 * t, 30 + 1 * t + 0.1 * t, 5)};
  });
  ASSERT_EQ(a.tracks.size(), 2u);
  for (std::size_t f = 0; f < 40; ++f) EXPECT_NEAR(a.tracks[0].x_px[f], 20 + 4 * static_cast<double>(f), 1e-9) << f;
}

TEST(Associate, ABounceDoesNotBreakATrack) {
  for (const double speed : {2.0, 5.0, 9.0}) {  // px per frame, radius 5
    const Association a = run(30, [&](std::int64_t f) {
      return std::vector{
          disc(20 + 2 * static_cast<double>(f), 80 - speed * std::abs(static_cast<double>(f) - 6.5) / 2, 5)};
    });
    ASSERT_EQ(a.tracks.size(), 1u) << speed;
    EXPECT_EQ(num_missing(a.tracks[0]), 0);
    EXPECT_TRUE(a.events.empty()) << speed << events_of(a);
  }
}

TEST(Associate, LabBouncesAndKicksAreQuiet) {
  for (const auto& [name, knob] : {std::pair{"bounce", 0.8},
                                   {"bounce", 1.2},
                                   {"kick", 0.4},
                                   {"gravity", 0.0},
                                   {"exponent", 3.0},
                                   {"size_pulse", 0.2}})
    for (std::uint64_t seed = 1; seed <= 4; ++seed) {
      const worlds::Clip clip = worlds::make_injected(name, knob, seed, {});
      const Association a = by_colour(clip.film);
      EXPECT_EQ(a.tracks.size(), clip.objects.size()) << name << seed << events_of(a);
      EXPECT_TRUE(a.events.empty()) << name << seed << events_of(a);
    }
}

TEST(Associate, AVanishingIsAGapInOneTrack) {
  for (const double frames : {1.0, 2.0, 3.0, 5.0, 8.0})
    for (std::uint64_t seed = 1; seed <= 4; ++seed) {
      const worlds::Clip clip = worlds::make_injected("vanish", frames, seed, {});
      const Association a = by_colour(clip.film);
      ASSERT_EQ(a.tracks.size(), 1u) << frames;
      const auto event = static_cast<std::size_t>(clip.facts.at("event_frame"));
      EXPECT_EQ(num_missing(a.tracks[0]), static_cast<std::int64_t>(frames));
      EXPECT_TRUE(std::isnan(a.tracks[0].x_px[event]));
      EXPECT_FALSE(std::isnan(a.tracks[0].x_px[event - 1]));
      EXPECT_TRUE(a.events.empty()) << events_of(a);
    }
}

TEST(Associate, WhatIsGoneForLongerIsDead) {
  const auto seen = [](std::int64_t gone) {
    return run(60, [=](std::int64_t f) {
      if (f >= 10 && f < 10 + gone) return std::vector<Detection>{};
      return std::vector{disc(20 + 1.5 * static_cast<double>(f), 50, 6)};
    });
  };
  EXPECT_EQ(seen(16).tracks.size(), 1u);
  const Association a = seen(17);
  ASSERT_EQ(a.tracks.size(), 2u);
  EXPECT_EQ(events_of(a), "O3.death@10 O3.birth@27 ");
  EXPECT_EQ(a.events[0].object, "1");
  EXPECT_EQ(a.events[1].object, "2");
  EXPECT_NEAR(a.events[1].x_px, 20 + 1.5 * 27, 1e-9);
}

TEST(Associate, ADuplicateIsASecondTrackAndAnEvent) {
  for (const double frames : {2.0, 4.0, 8.0})
    for (std::uint64_t seed = 1; seed <= 4; ++seed) {
      const worlds::Clip clip = worlds::make_injected("duplicate", frames, seed, {});
      const auto event = static_cast<std::int64_t>(clip.facts.at("event_frame"));
      const Association a = by_colour(clip.film);
      ASSERT_EQ(a.tracks.size(), 2u);
      EXPECT_EQ(33 - num_missing(a.tracks[1]), static_cast<std::int64_t>(frames));
      ASSERT_FALSE(a.events.empty());
      EXPECT_EQ(a.events[0].id, "O3.birth");
      EXPECT_EQ(a.events[0].frame, event);
      EXPECT_EQ(num_missing(a.tracks[0]), 0);
    }
  // The same with a second one of the same colour, which dies again.
  const Association a = run(40,
                            [](std::int64_t f) {
                              std::vector<Detection> found{disc(30 + 2.0 * static_cast<double>(f), 40, 6, 0)};
                              if (f >= 12 && f < 15) found.push_back(disc(30 + 2.0 * static_cast<double>(f), 70, 6, 0));
                              return found;
                            },
                            {16, 1, {"red"}});
  ASSERT_EQ(a.tracks.size(), 2u);
  EXPECT_EQ(a.tracks[0].name, "red");
  EXPECT_EQ(a.tracks[1].name, "red 2");
  EXPECT_EQ(events_of(a), "O3.birth@12 O3.death@15 ");
  EXPECT_EQ(40 - num_missing(a.tracks[1]), 3);
}

TEST(Associate, ATeleportKeepsTheTrack) {
  for (const double px : {12.0, 16.0})
    for (std::uint64_t seed = 1; seed <= 4; ++seed) {
      const worlds::Clip clip = worlds::make_injected("teleport", px, seed, {});
      const Association a = by_colour(clip.film);
      ASSERT_EQ(a.tracks.size(), 1u);
      EXPECT_EQ(num_missing(a.tracks[0]), 0);
      EXPECT_EQ(events_of(a), fmt::format("O2.teleport@{} ", static_cast<int>(clip.facts.at("event_frame"))));
    }
  // Less than a radius is no event, by definition; the track goes on.
  const worlds::Clip clip = worlds::make_injected("teleport", 4, 1, {});
  const Association a = by_colour(clip.film);
  EXPECT_EQ(a.tracks.size(), 1u);
  EXPECT_TRUE(a.events.empty()) << events_of(a);
  // Another colour or size is another thing.
  for (const bool colour : {true, false}) {
    const Association other = run(60, [&](std::int64_t f) {
      const double t = static_cast<double>(f);
      if (f < 15) return std::vector{disc(30 + t, 30, 6)};
      return std::vector{colour ? disc(130 + t, 70, 6, -1, {44, 102, 204}) : disc(130 + t, 70, 10)};
    });
    EXPECT_EQ(other.tracks.size(), 2u);
    EXPECT_EQ(events_of(other), "O3.death@15 O3.birth@15 ");
  }
}

TEST(Associate, ComingAndGoingOverTheRimIsNoEvent) {
  const Association a = run(60, [](std::int64_t f) {
    std::vector<Detection> found;
    const double x = -30 + 7 * static_cast<double>(f);
    if (x > -6 && x < 206) found.push_back(disc(x, 50, 6));
    return found;
  });
  ASSERT_EQ(a.tracks.size(), 1u);
  EXPECT_TRUE(a.events.empty()) << events_of(a);
  EXPECT_EQ(a.tracks[0].whole[6], 1);   // x = 12
  EXPECT_EQ(a.tracks[0].whole[4], 0);   // x = -2
  EXPECT_EQ(a.tracks[0].whole[50], 0);  // gone
}

TEST(Associate, OneThingBecomesTwo) {
  const Association a = run(40, [](std::int64_t f) {
    const double t = static_cast<double>(f);
    if (f < 15) return std::vector{disc(30 + 2 * t, 50, 8)};
    const double d = 7 + 1.5 * static_cast<double>(f - 15), r = 8 / std::numbers::sqrt2;  // the area is shared
    return std::vector{disc(30 + 2 * t, 50 - d, r), disc(30 + 2 * t, 50 + d, r)};
  });
  EXPECT_EQ(a.tracks.size(), 2u) << events_of(a);
  EXPECT_EQ(events_of(a), "O3.split@15 ");
}

TEST(Associate, NoiseIsDroppedAndCounted) {
  scenes::Lcg lcg{3};
  const Association a = run(80,
                            [&](std::int64_t f) {
                              std::vector<Detection> found{disc(20 + 2 * static_cast<double>(f), 50, 6)};
                              if (f % 5 == 0) found.push_back(disc(10 + lcg.below(180), lcg.below(2) ? 10 : 90, 2.5));
                              return found;
                            },
                            {16, 3, {}});
  EXPECT_EQ(a.tracks.size(), 1u);
  EXPECT_EQ(num_missing(a.tracks[0]), 0);
  EXPECT_EQ(a.num_dropped, 16);
  EXPECT_TRUE(a.events.empty()) << events_of(a);
}

TEST(Associate, UnevenTimesAreTheFiltersTimes) {
  // Constant speed in seconds, frames dropped at random: no jump, no event.
  Associator associator(400, 100);
  scenes::Lcg lcg{5};
  double t = 0;
  for (int f = 0; f < 40; ++f) {
    associator.add(t, std::vector{disc(20 + 100 * t, 50, 6)});
    t += 0.04 * (1 + lcg.below(3));
  }
  const Association a = associator.finish();
  EXPECT_EQ(a.tracks.size(), 1u);
  EXPECT_TRUE(a.events.empty()) << events_of(a);
  Associator backwards(10, 10);
  backwards.add(1, {});
  EXPECT_THROW(backwards.add(1, {}), Error);
  EXPECT_THROW(backwards.add(NAN, {}), Error);
}

TEST(Associate, TracksOfAMovingCameraLieInTheFirstFrame) {
  Associator associator(200, 100);
  for (int f = 0; f < 40; ++f) {  // stands at (100, 50) in the first picture; the camera pans by 2 px per frame
    const double shift = 2.0 * f;
    associator.add(f / 25.0, std::vector{disc(100 - shift, 50, 6)}, {1, 0, shift, 0, 1, 0, 0, 0, 1});
  }
  const Association a = associator.finish();
  ASSERT_EQ(a.tracks.size(), 1u);
  for (double x : a.tracks[0].x_px) EXPECT_NEAR(x, 100, 1e-9);
}

TEST(Associate, NothingAndOddFilms) {
  EXPECT_TRUE(Associator(10, 10).finish().tracks.empty());
  EXPECT_TRUE(run(5, [](std::int64_t) { return std::vector<Detection>{}; }).tracks.empty());
  Detection bad;
  EXPECT_TRUE(run(3, [&](std::int64_t) { return std::vector{bad}; }).tracks.empty());  // a place that is not a number
  for (const Film& film : scenes::odd_films()) {
    EXPECT_TRUE(by_colour(film, red_and_blue, scenes::median_of(film)).tracks.empty());
    EXPECT_TRUE(by_motion(film, scenes::median_of(film)).tracks.empty());
  }
  const std::vector<double> times{0, 1};
  const std::vector<std::optional<Detection>> seen{disc(50, 50, 3), std::nullopt};
  const Track t = track_of("x", times, seen);
  EXPECT_EQ(t.x_px[0], 50);
  EXPECT_TRUE(std::isnan(t.x_px[1]));
  EXPECT_EQ(t.whole[0], 1);
  EXPECT_EQ(t.whole[1], 0);
}

}  // namespace
}  // namespace reel::metrics
