// Detection against shapes whose centroid, area and axes are known, and against the truth of the worlds.
#include "metrics/detect.hpp"

#include <gtest/gtest.h>

#include <numbers>

#include "core/error.hpp"
#include "scenes.hpp"

namespace reel::metrics {
namespace {

using scenes::blank;
using scenes::Disc;
using scenes::blue;
using scenes::red;
using scenes::red_and_blue;

Frame frame_of(const Film& film, std::int64_t f) {
  return {film.height_px, film.width_px, static_cast<double>(f) / film.fps,
          std::vector<std::uint8_t>(film.frame(f), film.frame(f) + film.frame_bytes())};
}

double quantile_of(std::vector<double> v, double q) {
  if (v.empty()) return nan;
  std::sort(v.begin(), v.end());
  return v[static_cast<std::size_t>(q * static_cast<double>(v.size() - 1))];
}

/// Distances in pixels between the objects of a world and the nearest detection, where the truth says "visible" and
/// `counts` agrees; relative errors of a ball's area; how often there was none within 4 px, and how many too many.
struct Errors {
  std::vector<double> px, area;
  int missing = 0, extra = 0;
};
template <class Counts>
void compare(const worlds::Clip& clip, std::int64_t f, const std::vector<Detection>& found, Errors& errors,
             Counts counts) {
  const auto i = static_cast<std::size_t>(f);
  int seen = 0;
  for (const worlds::Track& object : clip.objects) {
    if (!object.visible[i] || !counts(f)) continue;
    ++seen;
    double least = 4;
    const Detection* nearest = nullptr;
    for (const Detection& d : found) {
      const double apart = std::hypot(d.x_px - object.x_px[i], d.y_px - object.y_px[i]);
      if (apart < least) least = apart, nearest = &d;
    }
    if (nearest == nullptr) {
      ++errors.missing;
      continue;
    }
    errors.px.push_back(least);
    const double r = object.half_width_m * clip.px_per_m;
    errors.area.push_back(std::abs(nearest->area_px / (std::numbers::pi * r * r) - 1));
  }
  if (seen == static_cast<int>(clip.objects.size())) errors.extra += static_cast<int>(found.size()) - seen;
}
constexpr auto always = [](std::int64_t) { return true; };

Errors colour_errors(const char* world, std::int64_t size, int noise = 0) {
  Errors errors;
  for (std::uint64_t seed = 1; seed <= (size > 128 ? 4u : 10u); ++seed) {
    worlds::Clip clip = scenes::world(world, seed, size);
    if (noise) scenes::add_noise(clip.film, noise, static_cast<std::uint32_t>(seed));
    const bool fall = clip.world == "fall";
    const ColourDetector detector(world_colours(clip.world, clip.attributes),
                                  fall ? scenes::median_of(clip.film) : Background::plain(size, size, {255, 255, 255}));
    for (std::int64_t f = 0; f < clip.film.num_frames; ++f)
      compare(clip, f, detector.detect(frame_of(clip.film, f)), errors, always);
  }
  return errors;
}

TEST(Colour, ADiscHasItsCentroidAreaAndAxes) {
  Film film = blank(1, 40, 50);
  scenes::draw(film, 0, {Disc{20.3, 17.8, 9, red}});
  const ColourDetector detector(red_and_blue, Background::plain(40, 50, {255, 255, 255}));
  const auto found = detector.detect(frame_of(film, 0));
  ASSERT_EQ(found.size(), 1u);
  EXPECT_NEAR(found[0].x_px, 20.3, 0.003);
  EXPECT_NEAR(found[0].y_px, 17.8, 0.003);
  EXPECT_NEAR(found[0].area_px, 81 * std::numbers::pi, 0.2);
  EXPECT_NEAR(found[0].major_px, 4.5, 0.01);  // half the radius
  EXPECT_NEAR(found[0].minor_px, 4.5, 0.01);
  EXPECT_TRUE(found[0].whole);
  EXPECT_EQ(found[0].object, 0);
  EXPECT_NEAR(found[0].rgb[0], 222, 0.01);
  EXPECT_EQ(found[0].box.x_px, 11);  // 11.3 to 29.3
  EXPECT_EQ(found[0].box.width_px, 19);
  EXPECT_EQ(found[0].box.y_px, 8);  // 8.8 to 26.8
  EXPECT_EQ(found[0].box.height_px, 19);
}

TEST(Colour, ARectangleHasItsAxes) {
  worlds::Canvas canvas(60, 40);
  canvas.clear({255, 255, 255});
  const worlds::Point corners[] = {{10.5, 12.25}, {34.5, 12.25}, {34.5, 20.25}, {10.5, 20.25}};
  canvas.add(corners);
  canvas.fill(blue);
  Film film = blank(1, 40, 60);
  canvas.store(film.frame(0));
  const auto found = ColourDetector(red_and_blue, Background::plain(40, 60, {255, 255, 255})).detect(frame_of(film, 0));
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].object, 1);
  EXPECT_NEAR(found[0].x_px, 22.5, 0.01);
  EXPECT_NEAR(found[0].y_px, 16.25, 0.01);
  EXPECT_NEAR(found[0].area_px, 192, 0.5);
  EXPECT_NEAR(found[0].major_px, 24 / std::sqrt(12.0), 0.02);
  EXPECT_NEAR(found[0].minor_px, 8 / std::sqrt(12.0), 0.03);
}

TEST(Colour, BallsOfTheWorldsToAFiftiethOfAPixel) {
  for (const char* world : {"uniform", "parabola", "collision"})
    for (std::int64_t size : {64, 128, 256}) {
      const Errors errors = colour_errors(world, size);
      EXPECT_LE(quantile_of(errors.px, 0.5), 0.003) << world << size;
      EXPECT_LE(quantile_of(errors.px, 1), 0.04) << world << size;  // two balls that touch
      EXPECT_LE(quantile_of(errors.area, 1), 0.01) << world << size;
      EXPECT_EQ(errors.missing, 0) << world << size;
      EXPECT_EQ(errors.extra, 0) << world << size;
    }
}

TEST(Colour, TheJumperInFrontOfABuilding) {
  for (std::int64_t size : {64, 128, 256}) {
    const Errors errors = colour_errors("fall", size);
    EXPECT_LE(quantile_of(errors.px, 0.5), 0.03) << size;
    EXPECT_LE(quantile_of(errors.px, 1), 0.08) << size;
    EXPECT_EQ(errors.missing, 0) << size;
    EXPECT_EQ(errors.extra, 0) << size;
  }
}

TEST(Colour, TwoLevelsOfNoiseCostLittle) {
  for (const char* world : {"uniform", "collision"}) {
    const Errors errors = colour_errors(world, 64, 2);
    EXPECT_LE(quantile_of(errors.px, 0.5), 0.005) << world;
    EXPECT_LE(quantile_of(errors.px, 1), 0.05) << world;
    EXPECT_LE(quantile_of(errors.area, 1), 0.01) << world;
    EXPECT_EQ(errors.missing + errors.extra, 0) << world;
  }
  const Errors fall = colour_errors("fall", 64, 2);
  EXPECT_LE(quantile_of(fall.px, 0.5), 0.04);
  EXPECT_LE(quantile_of(fall.px, 1), 0.2);
  EXPECT_EQ(fall.missing + fall.extra, 0);
}

TEST(Colour, AHardThresholdWouldFailThoseTests) {  // negative control: pixels counted as in or out
  std::vector<double> errors;
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    const worlds::Clip clip = scenes::world("uniform", seed, 64);
    for (std::size_t f = 0; f < 33; ++f) {
      if (!clip.objects[0].visible[f]) continue;
      double n = 0, x = 0;
      const std::uint8_t* p = clip.film.frame(static_cast<std::int64_t>(f));
      for (std::size_t i = 0; i < 64 * 64; ++i)
        if (p[3 * i + 2] < 200 || p[3 * i + 1] < 200) ++n, x += static_cast<double>(i % 64) + 0.5;
      errors.push_back(std::abs(x / n - clip.objects[0].x_px[f]));
    }
  }
  EXPECT_GT(quantile_of(errors, 0.5), 0.01);
}

TEST(Colour, AFilmWithItsColoursOffKeepsAreasAndCentroids) {
  // A tenth of the contrast lost, as a video coder or a model may do it: the shares inside are 0.9.
  Film film = blank(1, 64, 64);
  scenes::draw(film, 0, {Disc{30.4, 33.7, 8, red}});
  for (std::uint8_t& v : film.rgb) v = static_cast<std::uint8_t>(std::lround(255 - 0.9 * (255 - v)));
  const auto found = ColourDetector(red_and_blue, Background::plain(64, 64, {255, 255, 255})).detect(frame_of(film, 0));
  ASSERT_EQ(found.size(), 1u);
  EXPECT_NEAR(found[0].x_px, 30.4, 0.01);
  EXPECT_NEAR(found[0].y_px, 33.7, 0.01);
  EXPECT_NEAR(found[0].area_px / (64 * std::numbers::pi), 1, 0.01);
}

TEST(Colour, PaletteIsThatOfTheWorlds) {
  // The commonest colour of a ball or suit that is not the background is the one we look for, to the bit.
  for (const char* word : {"red", "green", "orange", "purple"}) {
    const worlds::Clip clip = scenes::world("collision", 3, 256, {{"color", word}});
    const auto colours = world_colours("collision", clip.attributes);
    ASSERT_EQ(colours.size(), 2u);
    for (std::size_t k = 0; k < 2; ++k) {
      const auto x = static_cast<std::int64_t>(clip.objects[k].x_px[0]),
                 y = static_cast<std::int64_t>(clip.objects[k].y_px[0]);
      EXPECT_EQ(colours[k].name, clip.objects[k].name);
      for (std::size_t c = 0; c < 3; ++c)
        EXPECT_EQ(clip.film.rgb[static_cast<std::size_t>(3 * (y * 256 + x)) + c], colours[k].rgb[c]) << word;
    }
  }
  for (const char* word : {"red", "orange", "yellow", "green"}) {
    const worlds::Clip clip = scenes::world("fall", 3, 512, {{"suit", word}});
    const auto colours = world_colours("fall", clip.attributes);
    ASSERT_EQ(colours.size(), 2u);
    EXPECT_EQ(colours[0].name, "person");
    EXPECT_EQ(colours[1].name, "person");
    const auto x = static_cast<std::int64_t>(clip.objects[0].x_px[0]),
               y = static_cast<std::int64_t>(clip.objects[0].y_px[0]);
    for (std::size_t c = 0; c < 3; ++c)
      EXPECT_EQ(clip.film.rgb[static_cast<std::size_t>(3 * (y * 512 + x)) + c], colours[0].rgb[c]) << word;
  }
  EXPECT_TRUE(world_colours("house", {}).empty());
  EXPECT_THROW(world_colours("uniform", {}), Error);
  EXPECT_THROW(world_colours("fall", {{"suit", "black"}}), Error);
}

TEST(Colour, TwoOfOneColourTheRimAndSpecks) {
  Film film = blank(1, 40, 80);
  scenes::draw(film, 0, {Disc{15, 12, 5, red}, Disc{40, 30, 4, red}, Disc{79, 20, 6, red}, Disc{60, 8, 0.9, red}});
  const auto found = ColourDetector(red_and_blue, Background::plain(40, 80, {255, 255, 255})).detect(frame_of(film, 0));
  ASSERT_EQ(found.size(), 3u);  // the speck of 2.5 px is too small
  EXPECT_NEAR(found[0].x_px, 15, 0.01);
  EXPECT_TRUE(found[0].whole);
  EXPECT_FALSE(found[1].whole);  // half outside
  EXPECT_NEAR(found[2].x_px, 40, 0.01);
  EXPECT_TRUE(found[2].whole);
}

TEST(Colour, AnotherColourIsNotAMixtureOfTheTwo) {
  Film film = blank(1, 40, 80);
  scenes::draw(film, 0, {Disc{20, 20, 8, {46, 158, 84}}, Disc{60, 20, 8, {247, 148, 30}}});
  EXPECT_TRUE(
      ColourDetector(red_and_blue, Background::plain(40, 80, {255, 255, 255})).detect(frame_of(film, 0)).empty());
}

TEST(Colour, FoundWithoutBeingTold) {
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    const worlds::Clip clip = scenes::world("collision", seed, 64);
    FilmFrames frames(clip.film);
    const auto found = find_colours(frames), known = world_colours("collision", clip.attributes);
    ASSERT_EQ(found.size(), 2u) << seed;
    for (const NamedColour& k : known)
      EXPECT_TRUE(std::any_of(found.begin(), found.end(), [&](const NamedColour& c) { return c.rgb == k.rgb; }))
          << seed;
  }
  Film grey = blank(3, 20, 20, 130);
  FilmFrames frames(grey);
  EXPECT_TRUE(find_colours(frames).empty());
}

TEST(Motion, BallsOfTheWorlds) {
  for (const auto& [size, noise] : {std::pair{64, 0}, {64, 2}, {128, 0}, {256, 0}}) {
    Errors errors;
    for (std::uint64_t seed = 1; seed <= (size > 128 ? 4u : 10u); ++seed) {
      worlds::Clip clip = scenes::world("parabola", seed, size);
      if (noise) scenes::add_noise(clip.film, noise, static_cast<std::uint32_t>(seed));
      const MotionDetector detector(scenes::median_of(clip.film));
      for (std::int64_t f = 0; f < 33; ++f) compare(clip, f, detector.detect(frame_of(clip.film, f)), errors, always);
    }
    EXPECT_LE(quantile_of(errors.px, 0.5), noise ? 0.004 : 0.003) << size;
    EXPECT_LE(quantile_of(errors.px, 1), 0.02) << size;
    EXPECT_LE(quantile_of(errors.area, 1), 0.01) << size;
    EXPECT_EQ(errors.missing + errors.extra, 0) << size;
  }
}

TEST(Motion, TheJumperInTheAir) {
  for (const auto& [size, median, most] : {std::tuple{128, 0.06, 0.4}, {256, 0.02, 0.1}}) {
    Errors errors;
    for (std::uint64_t seed = 1; seed <= 5; ++seed) {
      const worlds::Clip clip = scenes::world("fall", seed, size);
      const MotionDetector detector(scenes::median_of(clip.film));
      for (std::int64_t f = 0; f < 33; ++f)
        compare(clip, f, detector.detect(frame_of(clip.film, f)), errors, [&](std::int64_t at) {
          const double t = static_cast<double>(at) / 16 - clip.facts.at("wait_s");
          return t > 0 && t < clip.facts.at("fall_s");
        });
    }
    EXPECT_LE(quantile_of(errors.px, 0.5), median) << size;
    EXPECT_LE(quantile_of(errors.px, 1), most) << size;
    EXPECT_EQ(errors.missing, 0) << size;
  }
}

TEST(Motion, NoiseOnATexturedGroundIsNoThing) {
  Film film = blank(31, 60, 100);
  const auto x_at = [](std::int64_t f) { return -12 + 4.1 * static_cast<double>(f); };
  for (std::int64_t f = 0; f < 31; ++f) {
    scenes::fill_texture(film, f);
    scenes::draw(film, f, {Disc{x_at(f), 31.3, 9, {250, 240, 20}}});
  }
  scenes::add_noise(film, 2, 99);
  const MotionDetector detector(scenes::median_of(film));
  int things = 0;
  double worst = 0;
  for (std::int64_t f = 0; f < 31; ++f) {
    const auto found = detector.detect(frame_of(film, f));
    things += static_cast<int>(found.size());
    if (x_at(f) < 10 || x_at(f) > 90) continue;
    ASSERT_EQ(found.size(), 1u) << f;
    worst = std::max({worst, std::abs(found[0].x_px - x_at(f)), std::abs(found[0].y_px - 31.3)});
    EXPECT_NEAR(found[0].area_px / (81 * std::numbers::pi), 1, 0.03);
  }
  EXPECT_LE(worst, 0.1);
  EXPECT_LE(things, 31);
}

TEST(Motion, LargePicturesAreReducedAndRefined) {
  // 1000 x 700 px is searched in cells of 4 px; the centroid is still that of the full picture.
  Film film = blank(3, 700, 1000);
  const std::vector<Disc> at{{200.3, 300.8, 41.2, red}, {640.9, 90.1, 12.5, blue}};
  scenes::draw(film, 0, at);
  const MotionDetector detector(Background::plain(700, 1000, {255, 255, 255}));
  const auto found = detector.detect(frame_of(film, 0));
  ASSERT_EQ(found.size(), 2u);
  for (std::size_t k = 0; k < 2; ++k) {
    const Detection& d = found[1 - k];  // from top to bottom
    EXPECT_NEAR(d.x_px, at[k].x_px, 0.005);
    EXPECT_NEAR(d.y_px, at[k].y_px, 0.005);
    EXPECT_NEAR(d.area_px / (std::numbers::pi * at[k].radius_px * at[k].radius_px), 1, 0.002);
    EXPECT_NEAR(d.major_px, 0.5 * at[k].radius_px, 0.02);
  }
  EXPECT_TRUE(detector.detect(frame_of(film, 1)).empty());
}

TEST(Motion, UnderAMovingCamera) {
  // The camera pans by 1.3 px per frame; the disc stands in the world, then moves. Matrix frame -> first: shift by 1.3
  // f.
  Film film = blank(24, 60, 100);
  std::vector<Matrix3> to_first;
  const auto at = [](std::int64_t f) {
    return std::array{30 + 2.2 * static_cast<double>(f), 30 + 0.3 * static_cast<double>(f)};
  };
  for (std::int64_t f = 0; f < 24; ++f) {
    const double shift = 1.3 * static_cast<double>(f);
    scenes::fill_texture(film, f, shift);
    scenes::draw(film, f, {Disc{at(f)[0] - shift, at(f)[1], 7, {250, 20, 20}}});
    to_first.push_back({1, 0, shift, 0, 1, 0, 0, 0, 1});
  }
  const Background background = scenes::median_of(film, to_first);
  const MotionDetector by_motion(background);
  const ColourDetector by_colour({{"red", {250, 20, 20}}}, background);
  for (std::int64_t f = 0; f < 24; ++f) {
    if (at(f)[0] > 80) break;  // behind it the first frame shows no background
    for (const bool colour : {false, true}) {
      const Matrix3& m = to_first[static_cast<std::size_t>(f)];
      const auto found = colour ? by_colour.detect(frame_of(film, f), m) : by_motion.detect(frame_of(film, f), m);
      ASSERT_EQ(found.size(), 1u) << f << colour;
      const Detection d = mapped(found[0], m);
      EXPECT_NEAR(d.x_px, at(f)[0], 0.1) << f << colour;
      EXPECT_NEAR(d.y_px, at(f)[1], 0.1) << f << colour;
    }
  }
}

TEST(Motion, DetectionsMapWithTheLocalScale) {
  Detection d;
  d.x_px = 10, d.y_px = 20, d.area_px = 50, d.major_px = 4, d.minor_px = 3, d.box = {8, 17, 4, 6};
  const Detection twice = mapped(d, {2, 0, 5, 0, 2, -3, 0, 0, 1});
  EXPECT_NEAR(twice.x_px, 25, 1e-12);
  EXPECT_NEAR(twice.y_px, 37, 1e-12);
  EXPECT_NEAR(twice.area_px, 200, 1e-9);
  EXPECT_NEAR(twice.major_px, 8, 1e-9);
  EXPECT_NEAR(twice.box.x_px, 21, 1e-12);
  EXPECT_NEAR(twice.box.width_px, 8, 1e-12);
  // A homography's scale at a point, against a finite difference.
  const Matrix3 m{1, 0.1, 2, -0.05, 1.1, 3, 1e-3, -2e-3, 1};
  const auto p = mapped(m, 10, 20), px = mapped(m, 10 + 1e-5, 20), py = mapped(m, 10, 20 + 1e-5);
  const double area = ((px[0] - p[0]) * (py[1] - p[1]) - (px[1] - p[1]) * (py[0] - p[0])) / 1e-10;
  EXPECT_NEAR(mapped(d, m).area_px, 50 * area, 1e-3);
}

TEST(Follower, ATextureMovedByKnownSteps) {
  Film film = blank(20, 70, 120);
  const auto at = [](std::int64_t f) {
    return std::array{30 + 2.37 * static_cast<double>(f), 25 + 0.7 * static_cast<double>(f)};
  };
  for (std::int64_t f = 0; f < 20; ++f) {
    std::fill_n(film.frame(f), film.frame_bytes(), std::uint8_t{120});
    for (std::int64_t y = 0; y < 70; ++y)  // a textured square of 20 px, sampled at sub-pixel places
      for (std::int64_t x = 0; x < 120; ++x) {
        const double u = static_cast<double>(x) + 0.5 - at(f)[0], v = static_cast<double>(y) + 0.5 - at(f)[1];
        if (std::abs(u) > 10 || std::abs(v) > 10) continue;
        for (int c = 0; c < 3; ++c) film.frame(f)[3 * (y * 120 + x) + c] = scenes::texture(2 * u + 100, 2 * v + 100, c);
      }
  }
  BoxFollower follower(frame_of(film, 0), {21, 16, 18, 18});
  for (std::int64_t f = 0; f < 20; ++f) {
    const auto d = follower.next(frame_of(film, f));
    ASSERT_TRUE(d) << f;
    EXPECT_NEAR(d->x_px, at(f)[0], 0.1) << f;
    EXPECT_NEAR(d->y_px, at(f)[1], 0.1) << f;
    EXPECT_TRUE(d->whole);
    EXPECT_TRUE(std::isnan(d->area_px));
  }
}

TEST(Follower, SaysThatItLostAndFindsAgain) {
  Film film = blank(16, 60, 120);
  for (std::int64_t f = 0; f < 16; ++f) {
    scenes::fill_texture(film, f);
    if (f < 6 || f > 9)
      scenes::draw(
          film, f,
          {Disc{30 + 3.0 * static_cast<double>(f), 30, 8, red}, Disc{33 + 3.0 * static_cast<double>(f), 28, 3, blue}});
  }
  BoxFollower follower(frame_of(film, 0), {20, 20, 20, 20});
  for (std::int64_t f = 0; f < 16; ++f) {
    const auto d = follower.next(frame_of(film, f));
    EXPECT_EQ(d.has_value(), f < 6 || f > 9) << f;
    if (d.has_value()) {
      EXPECT_NEAR(d->x_px, 30 + 3.0 * static_cast<double>(f), 0.2) << f;
    }
  }
}

TEST(Follower, BadBoxesAreRefused) {
  Film film = blank(1, 40, 60);
  scenes::draw(film, 0, {Disc{20, 20, 8, red}});
  const Frame frame = frame_of(film, 0);
  for (const Box& box : {Box{10, 10, 3, 20}, Box{58, 10, 20, 20}, Box{-30, 0, 20, 20}, Box{NAN, 0, 10, 10},
                         Box{0, 0, INFINITY, 10}, Box{40, 20, 10, 10}})
    EXPECT_THROW(BoxFollower(frame, box), Error);
  EXPECT_NO_THROW(BoxFollower(frame, {10, 10, 20, 20}));
}

TEST(Detect, OddFilmsAndWrongSizes) {
  for (const Film& film : scenes::odd_films()) {
    const Background background = scenes::median_of(film);
    const MotionDetector by_motion(background);
    const ColourDetector by_colour(red_and_blue, background);
    for (std::int64_t f = 0; f < film.num_frames; ++f) {
      EXPECT_TRUE(by_motion.detect(frame_of(film, f)).empty());
      EXPECT_TRUE(by_colour.detect(frame_of(film, f)).empty());
    }
    EXPECT_THROW(by_motion.detect(Frame{2, 2, 0, std::vector<std::uint8_t>(12)}), Error);
    EXPECT_THROW(by_colour.detect(Frame{2, 2, 0, std::vector<std::uint8_t>(12)}), Error);
    // Black film, white background: everything differs; one thing fills the picture and is not whole.
    const auto all =
        MotionDetector(Background::plain(film.height_px, film.width_px, {255, 255, 255})).detect(frame_of(film, 0));
    for (const Detection& d : all) EXPECT_FALSE(d.whole);
  }
  EXPECT_THROW(ColourDetector({}, Background::plain(2, 2, {0, 0, 0})), Error);
}

}  // namespace
}  // namespace reel::metrics
