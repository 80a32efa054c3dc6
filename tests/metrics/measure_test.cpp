// One film, the same numbers on any number of threads, and the same complaint.
#include "metrics/measure.hpp"

#include <gtest/gtest.h>

#include <bit>

#include "core/error.hpp"
#include "core/parallel.hpp"
#include "worlds/world.hpp"

namespace reel::metrics {
namespace {

class Measure : public ::testing::Test {
 protected:
  void TearDown() override { set_num_threads(1); }
};

/// A house under a pan, then a fall before a still camera.
Film cut_film() {
  worlds::Spec spec;
  spec.width_px = spec.height_px = 96;
  spec.num_frames = 16;
  spec.fps = 24;
  Film film = worlds::make("house", 3, spec).film;
  const Film other = worlds::make("fall", 5, spec).film;
  film.rgb.insert(film.rgb.end(), other.rgb.begin(), other.rgb.end());
  film.num_frames += other.num_frames;
  return film;
}

void same(double a, double b, const std::string& what) {
  EXPECT_EQ(std::bit_cast<std::uint64_t>(a), std::bit_cast<std::uint64_t>(b)) << what << ": " << a << " and " << b;
}

TEST_F(Measure, ThreadsDoNotChangeABit) {
  const Film film = cut_film();
  FilmFrames source(film);
  set_num_threads(1);
  const FilmReport one = measure(source);
  ASSERT_EQ(one.shots.size(), 2u);
  EXPECT_EQ(one.shots[1].first_frame, 16);
  EXPECT_EQ(one.num_frames, 32);
  for (const int threads : {2, 5}) {
    set_num_threads(threads);
    const FilmReport many = measure(source);
    ASSERT_EQ(many.shots.size(), one.shots.size());
    for (std::size_t s = 0; s < one.shots.size(); ++s) {
      const ShotReport &a = one.shots[s], &b = many.shots[s];
      EXPECT_EQ(a.first_frame, b.first_frame);
      EXPECT_EQ(a.tracks.size(), b.tracks.size());
      EXPECT_EQ(a.camera, b.camera);
      ASSERT_EQ(a.findings.metrics.size(), b.findings.metrics.size());
      for (std::size_t i = 0; i < a.findings.metrics.size(); ++i) {
        const Metric &x = a.findings.metrics[i], &y = b.findings.metrics[i];
        EXPECT_EQ(x.id, y.id);
        EXPECT_EQ(x.refusal, y.refusal);
        same(x.value, y.value, x.id);
        same(x.sigma, y.sigma, x.id);
      }
      ASSERT_EQ(a.findings.traces.size(), b.findings.traces.size());
      for (std::size_t i = 0; i < a.findings.traces.size(); ++i)
        for (std::size_t f = 0; f < a.findings.traces[i].value.size(); ++f)
          same(a.findings.traces[i].value[f], b.findings.traces[i].value[f], a.findings.traces[i].id);
    }
  }
}

/// Breaks when frame 7 is read.
class Damaged final : public FrameSource {
 public:
  explicit Damaged(const Film& film) : frames_(film) {}
  bool next(Frame& frame) override {
    if (++num_read_ == 8) throw Error(Exit::input, "frame 7 is damaged");
    return frames_.next(frame);
  }
  void rewind() override { frames_.rewind(), num_read_ = 0; }
  std::string name() const override { return "damaged"; }

 private:
  FilmFrames frames_;
  int num_read_ = 0;
};

TEST_F(Measure, AFrameThatCannotBeReadIsReportedFromAnyThread) {
  const Film film = cut_film();
  for (const int threads : {1, 2}) {
    set_num_threads(threads);
    Damaged source(film);
    try {
      measure(source);
      ADD_FAILURE() << "measured";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("frame 7 is damaged"), std::string::npos) << error.what();
    }
  }
}

TEST_F(Measure, ShortFilmsAreReadToTheirEnd) {
  Film film = cut_film();
  for (const std::int64_t n : {1, 2, 3}) {
    Film head = film;
    head.num_frames = n;
    head.rgb.resize(static_cast<std::size_t>(n * film.frame_bytes()));
    FilmFrames source(head);
    for (const int threads : {1, 2}) {
      set_num_threads(threads);
      const FilmReport report = measure(source);
      ASSERT_EQ(report.shots.size(), 1u);
      EXPECT_EQ(report.num_frames, n);
      EXPECT_EQ(report.shots[0].num_frames, n);
      EXPECT_EQ(report.shots[0].camera.size(), static_cast<std::size_t>(n));
    }
  }
  Film none = film;
  none.num_frames = 0;
  none.rgb.clear();
  FilmFrames source(none);
  EXPECT_THROW(measure(source), Error);
}

}  // namespace
}  // namespace reel::metrics
