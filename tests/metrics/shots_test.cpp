// Cuts where films are joined, and none where they only flash, flicker or pan.
#include "metrics/shots.hpp"

#include <gtest/gtest.h>

#include "core/error.hpp"
#include "scenes.hpp"
#include "worlds/lab.hpp"

namespace reel::metrics {
namespace {

using scenes::blank;
using Frames = std::vector<std::int64_t>;

Frame grey_halves(int left, int right) {
  Frame frame{8, 16, 0, std::vector<std::uint8_t>(8 * 16 * 3)};
  for (std::size_t i = 0; i < frame.rgb.size(); ++i)
    frame.rgb[i] = static_cast<std::uint8_t>(i / 3 % 16 < 8 ? left : right);
  return frame;
}

Film joined(const Film& a, const Film& b) {
  Film out = a;
  out.rgb.insert(out.rgb.end(), b.rgb.begin(), b.rgb.end());
  out.num_frames += b.num_frames;
  return out;
}

ShotList shots_of(const Film& film) {
  FilmFrames source(film);
  return find_shots(source);
}

/// A film whose frames have times of their own.
class Timed final : public FrameSource {
 public:
  explicit Timed(std::vector<double> times) : times_(std::move(times)) {}
  bool next(Frame& frame) override {
    if (at_ == times_.size()) return false;
    frame = grey_halves(static_cast<int>(10 * at_), 200);
    frame.time_s = times_[at_++];
    return true;
  }
  void rewind() override { at_ = 0; }
  std::string name() const override { return "timed"; }

 private:
  std::vector<double> times_;
  std::size_t at_ = 0;
};

TEST(Histogram, DistancesWorkedByHand) {
  const auto of = [](int left, int right) { return luma_histogram(grey_halves(left, right)); };
  double sum = 0;
  for (double share : of(3, 250)) sum += share;
  EXPECT_NEAR(sum, 1, 1e-12);  // nothing falls off the ends
  EXPECT_NEAR(histogram_distance(of(100, 200), of(100, 200)), 0, 1e-12);
  EXPECT_NEAR(histogram_distance(of(20, 20), of(220, 220)), 2, 1e-12);
  // All at one level against half there and half elsewhere: (1 - 1/2)^2 / (3/2) + (1/2)^2 / (1/2) = 2/3.
  EXPECT_NEAR(histogram_distance(of(100, 100), of(100, 200)), 2.0 / 3, 1e-12);
  EXPECT_NEAR(histogram_distance(of(100, 200), of(110, 210)), 0, 1e-12);  // brighter, the same picture
  EXPECT_GT(histogram_distance(of(100, 200), of(130, 230)), 1);           // too much for a flicker
}

TEST(Shots, TwoWorldsJoinedHaveOneCutAtTheJoint) {
  for (std::uint64_t seed = 1; seed <= 6; ++seed) {
    const Film fall = scenes::world("fall", seed, 64).film, ball = scenes::world("uniform", seed, 64).film;
    const Film house = scenes::world("house", seed, 64).film;
    EXPECT_EQ(shots_of(joined(ball, fall)).first_frames, (Frames{0, 33})) << seed;
    EXPECT_EQ(shots_of(joined(fall, ball)).first_frames, (Frames{0, 33})) << seed;
    EXPECT_EQ(shots_of(joined(joined(fall, house), ball)).first_frames, (Frames{0, 33, 66})) << seed;
    for (const Film* film : {&fall, &ball, &house}) EXPECT_EQ(shots_of(*film).first_frames, Frames{0}) << seed;
  }
}

TEST(Shots, EndOfAShot) {
  ShotList list;
  list.time_s = {0, 1, 2, 3, 4};
  list.first_frames = {0, 3};
  EXPECT_EQ(list.end_frame(0), 3);
  EXPECT_EQ(list.end_frame(1), 5);
}

TEST(Shots, AFlashIsNoCutButACutBesideItIs) {
  Film film = joined(scenes::world("fall", 1, 64).film, scenes::world("uniform", 1, 64).film);
  std::fill_n(film.frame(10), film.frame_bytes(), std::uint8_t{255});
  std::fill_n(film.frame(20), film.frame_bytes(), std::uint8_t{0});
  EXPECT_EQ(shots_of(film).first_frames, (Frames{0, 33}));
}

TEST(Shots, PansPushesAndFlickerAreNoCuts) {
  Film pan = blank(40, 48, 64);
  for (std::int64_t f = 0; f < pan.num_frames; ++f) scenes::fill_texture(pan, f, 20.0 * static_cast<double>(f));
  EXPECT_EQ(shots_of(pan).first_frames, Frames{0});  // a third of the picture is new in every frame
  worlds::Spec spec;
  spec.fps = 24;  // so that a flicker of 12 levels at 4 Hz makes steps of at most 12 levels, which are no cut
  for (const auto& [name, knob] :
       {std::pair{"pan", 2.0}, {"push", 2.0}, {"flicker", 12.0}, {"boil", 12.0}, {"jitter", 3.0}})
    for (std::uint64_t seed = 1; seed <= 3; ++seed)
      EXPECT_EQ(shots_of(worlds::make_injected(name, knob, seed, spec).film).first_frames, Frames{0}) << name << seed;
  // From a dark to a bright half of a panorama within five frames.
  Film across = blank(20, 32, 60);
  for (std::int64_t f = 0; f < 20; ++f)
    for (std::int64_t x = 0; x < 60; ++x)
      for (std::int64_t y = 0; y < 32; ++y)
        std::fill_n(across.frame(f) + 3 * (60 * y + x), 3, static_cast<std::uint8_t>(x + 12 * f < 120 ? 40 : 210));
  EXPECT_EQ(shots_of(across).first_frames, Frames{0});
}

TEST(Shots, AStrangeLastFrameIsSetApart) {
  Film film = scenes::world("fall", 2, 64).film;
  std::fill_n(film.frame(32), film.frame_bytes(), std::uint8_t{255});
  EXPECT_EQ(shots_of(film).first_frames, (Frames{0, 32}));
}

TEST(Shots, RepeatedFramesAreListed) {
  Film film = blank(12, 32, 48);
  for (std::int64_t f = 0; f < 12; ++f) {
    const std::int64_t shown = f == 5 ? 4 : f >= 8 && f <= 9 ? 7 : f;  // frames 5, 8 and 9 repeat the one before
    scenes::draw(film, f, {{8.0 + 0.2 * static_cast<double>(shown), 16, 5, {200, 30, 30}}});
  }
  EXPECT_EQ(shots_of(film).duplicate_frames, (Frames{5, 8, 9}));
  film.frame(5)[100] ^= 1;  // rounding of a codec
  EXPECT_EQ(shots_of(film).duplicate_frames, (Frames{5, 8, 9}));
  film.frame(5)[100] ^= 8;
  EXPECT_EQ(shots_of(film).duplicate_frames, (Frames{8, 9}));
}

TEST(Shots, TimesAreThoseOfTheFrames) {
  Timed even({0, 0.04, 0.08, 0.12}), uneven({0.5, 0.54, 0.58, 0.70, 0.74});
  EXPECT_FALSE(find_shots(even).variable_rate());
  const ShotList list = find_shots(uneven);
  EXPECT_TRUE(list.variable_rate());
  EXPECT_NEAR(list.dt_min_s, 0.04, 1e-12);
  EXPECT_NEAR(list.dt_median_s, 0.04, 1e-12);
  EXPECT_NEAR(list.dt_max_s, 0.12, 1e-12);
  EXPECT_EQ(list.time_s.front(), 0.5);
  Timed one({3});
  EXPECT_TRUE(std::isnan(find_shots(one).dt_median_s));
  EXPECT_FALSE(find_shots(one).variable_rate());
}

TEST(Shots, BadFilmsAreRefused) {
  const auto refused = [](auto&& source) {
    try {
      find_shots(source);
    } catch (const Error& e) {
      return e.exit() == Exit::input;
    }
    return false;
  };
  EXPECT_TRUE(refused(Timed({})));
  EXPECT_TRUE(refused(Timed({0, 1, 1})));
  EXPECT_TRUE(refused(Timed({0, 1, 0.5})));
  EXPECT_TRUE(refused(Timed({0, std::nan("")})));
  CutFinder cuts;
  cuts.add(grey_halves(1, 2));
  EXPECT_THROW(cuts.add(Frame{4, 4, 1, std::vector<std::uint8_t>(48)}), Error);
  EXPECT_THROW(CutFinder().add(Frame{}), Error);
}

TEST(Shots, OddFilms) {
  for (const Film& film : scenes::odd_films()) {
    const ShotList list = shots_of(film);
    EXPECT_EQ(list.first_frames, Frames{0});
    EXPECT_EQ(list.num_frames(), film.num_frames);
    EXPECT_EQ(static_cast<std::int64_t>(list.duplicate_frames.size()), film.num_frames - 1);
  }
}

}  // namespace
}  // namespace reel::metrics
