#include "io/video.hpp"

#include <sys/mount.h>

#include <cmath>
#include <cstdlib>

#include "temp_dir.hpp"

namespace reel::io {
namespace {

using test::error_of;
using test::expect_contains;

/// Frames of pseudo-random pixels: the hardest case for a lossless codec.
Film noise_film(std::int64_t num_frames, std::int64_t height_px, std::int64_t width_px) {
  Film film{num_frames, height_px, width_px, 16, {}};
  film.rgb.resize(static_cast<std::size_t>(num_frames * film.frame_bytes()));
  std::uint32_t state = 1;
  for (auto& value : film.rgb) value = static_cast<std::uint8_t>((state = state * 1664525u + 1013904223u) >> 24);
  return film;
}

/// A smooth picture that moves: what a codec is made for.
Film smooth_film(std::int64_t num_frames, std::int64_t height_px, std::int64_t width_px) {
  Film film = noise_film(num_frames, height_px, width_px);
  for (std::int64_t f = 0; f < num_frames; ++f) {
    for (std::int64_t y = 0; y < height_px; ++y) {
      for (std::int64_t x = 0; x < width_px; ++x) {
        std::uint8_t* pixel = film.frame(f) + 3 * (y * width_px + x);
        const double u = static_cast<double>(x) / 20 + static_cast<double>(f) / 5, v = static_cast<double>(y) / 15;
        for (int c = 0; c < 3; ++c) pixel[c] = static_cast<std::uint8_t>(128 + 90 * std::sin(u + c) * std::cos(v - c));
      }
    }
  }
  return film;
}

double psnr_db(const Film& a, const Film& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.rgb.size(); ++i) sum += std::pow(static_cast<double>(a.rgb[i]) - b.rgb[i], 2);
  return 10 * std::log10(255.0 * 255.0 * static_cast<double>(a.rgb.size()) / sum);
}

struct VideoTest : test::TempDir {};

TEST_F(VideoTest, LosslessKeepsEveryBit) {
  for (const auto& [height, width] : {std::pair{16, 16}, {48, 80}, {33, 17}, {8, 9}}) {
    const Film film = noise_film(5, height, width);
    write_video(dir / "v.mkv", film, {.lossless = true});
    const Video read = read_video(dir / "v.mkv");
    EXPECT_EQ(read.film.num_frames, 5);
    EXPECT_EQ(read.film.height_px, height);
    EXPECT_EQ(read.film.width_px, width);
    EXPECT_EQ(read.film.fps, 16);
    EXPECT_TRUE(read.film.rgb == film.rgb) << height << " x " << width;
    EXPECT_EQ(read.pts_s.size(), 5u);
    for (std::size_t f = 0; f < 5; ++f)
      EXPECT_NEAR(read.pts_s[f], static_cast<double>(f) / 16, 0.0006);  // Matroska: ms
  }
  EXPECT_EQ(num_files(), 1u);
}

TEST_F(VideoTest, H264LooksTheSameAndKeepsTime) {
  const Film film = smooth_film(33, 64, 96);
  write_video(dir / "v.mp4", film);
  const Video read = read_video(dir / "v.mp4");
  ASSERT_EQ(read.film.num_frames, 33);
  EXPECT_EQ(read.film.fps, 16);
  for (std::size_t f = 0; f < 33; ++f) EXPECT_NEAR(read.pts_s[f], static_cast<double>(f) / 16, 1e-9);
  EXPECT_GT(psnr_db(film, read.film), 35);
  EXPECT_EQ(num_files(), 1u);
}

TEST_F(VideoTest, ColoursSurviveTheWayThroughYuv) {
  Film film = noise_film(2, 32, 32);
  const std::uint8_t colours[][3] = {{255, 0, 0}, {0, 255, 0}, {0, 0, 255}, {255, 255, 255}, {0, 0, 0}, {120, 60, 200}};
  for (const auto& colour : colours) {
    for (std::size_t i = 0; i < film.rgb.size(); ++i) film.rgb[i] = colour[i % 3];
    write_video(dir / "v.mp4", film);
    const Film read = read_video(dir / "v.mp4").film;
    for (std::size_t i = 0; i < film.rgb.size(); ++i) ASSERT_NEAR(read.rgb[i], film.rgb[i], 3) << i;
  }
}

TEST_F(VideoTest, SameFilmSameFile) {
  const Film film = smooth_film(9, 48, 64);
  for (const char* suffix : {"mp4", "mkv"}) {
    const bool lossless = std::string(suffix) == "mkv";
    const auto one = dir / fmt::format("one.{}", suffix), two = dir / fmt::format("two.{}", suffix);
    write_video(one, film, {.lossless = lossless});
    write_video(two, film, {.lossless = lossless});
    EXPECT_TRUE(get(one) == get(two)) << suffix;
  }
}

TEST_F(VideoTest, FrameRatesAreFractions) {
  const auto is = [](double fps, int num, int den) {
    const Rational rate = frame_rate(fps);
    EXPECT_EQ(rate.num, num) << fps;
    EXPECT_EQ(rate.den, den) << fps;
  };
  is(16, 16, 1);
  is(24, 24, 1);
  is(25, 25, 1);
  is(30, 30, 1);
  is(1000, 1000, 1);
  is(12.5, 25, 2);
  is(0.5, 1, 2);
  is(23.976, 24000, 1001);
  is(24000.0 / 1001, 24000, 1001);
  is(29.97, 30000, 1001);
  is(59.94, 60000, 1001);
  EXPECT_EQ(error_of([] { frame_rate(0); }).exit(), Exit::bug);
  EXPECT_EQ(error_of([] { frame_rate(std::nan("")); }).exit(), Exit::bug);
  Film film = smooth_film(4, 32, 32);
  film.fps = 23.976;
  write_video(dir / "v.mp4", film);
  EXPECT_NEAR(read_video(dir / "v.mp4").film.fps, 24000.0 / 1001, 1e-9);
}

TEST_F(VideoTest, ReadsOnlyAsManyFramesAsAsked) {
  const Film film = noise_film(12, 16, 16);
  write_video(dir / "v.mkv", film, {.lossless = true});
  const Video read = read_video(dir / "v.mkv", 5);
  EXPECT_EQ(read.film.num_frames, 5);
  EXPECT_TRUE(std::equal(read.film.rgb.begin(), read.film.rgb.end(), film.rgb.begin()));
  EXPECT_EQ(read_video(dir / "v.mkv", 50).film.num_frames, 12);
}

TEST_F(VideoTest, FramesComeOneByOneAndAgain) {
  const Film film = noise_film(7, 16, 24);
  write_video(dir / "v.mkv", film, {.lossless = true});
  const auto source = open_video(dir / "v.mkv");
  Frame frame;
  for (int round = 0; round < 3; ++round) {
    std::int64_t f = 0;
    for (; source->next(frame); ++f) {
      EXPECT_EQ(frame.width_px, 24);
      EXPECT_NEAR(frame.time_s, static_cast<double>(f) / 16, 0.0006);
      EXPECT_TRUE(std::equal(frame.rgb.begin(), frame.rgb.end(), film.frame(f)));
      if (round == 1 && f == 3) break;  // also from the middle
    }
    if (round != 1) {
      EXPECT_EQ(f, 7);
      EXPECT_FALSE(source->next(frame));
    }
    source->rewind();
  }
}

TEST_F(VideoTest, FolderOfPicturesIsAFilm) {
  std::filesystem::create_directory(dir / "p");
  for (int f = 0; f < 3; ++f) {  // PPM: 3 x 2 pixels of one grey
    put(fmt::format("p/{:03}.ppm", 10 * f), "P6\n3 2\n255\n" + std::string(18, static_cast<char>(40 * f)));
  }
  const auto source = open_pictures(dir / "p", 8);
  Frame frame;
  for (int f = 0; f < 3; ++f) {
    ASSERT_TRUE(source->next(frame));
    EXPECT_EQ(frame.time_s, f / 8.0);
    EXPECT_EQ(frame.rgb, std::vector<std::uint8_t>(18, static_cast<std::uint8_t>(40 * f)));
  }
  EXPECT_FALSE(source->next(frame));
  source->rewind();
  EXPECT_TRUE(source->next(frame));
  put("p/zzz.ppm", "P6\n1 1\n255\nabc");
  const Error size = error_of([&] {
    const auto other = open_pictures(dir / "p", 8);
    while (other->next(frame)) {
    }
  });
  expect_contains(size.what(), "1 x 1 pixels");
  EXPECT_EQ(error_of([&] { open_pictures(dir / "p", 0); }).exit(), Exit::usage);
  EXPECT_EQ(error_of([&] { open_pictures(dir / "none", 8); }).exit(), Exit::input);
  std::filesystem::create_directory(dir / "empty");
  EXPECT_EQ(error_of([&] { open_pictures(dir / "empty", 8); }).exit(), Exit::input);
}

TEST_F(VideoTest, RefusesWhatDoesNotFit) {
  const Film odd = noise_film(1, 15, 16), film = noise_film(1, 16, 16);
  EXPECT_EQ(error_of([&] { write_video(dir / "v.mp4", odd); }).exit(), Exit::usage);
  EXPECT_EQ(error_of([&] { write_video(dir / "v.avi", film); }).exit(), Exit::usage);
  EXPECT_EQ(error_of([&] { write_video(dir / "v.mp4", film, {.lossless = true}); }).exit(), Exit::usage);
  EXPECT_EQ(error_of([&] { write_video(dir / "v.mkv", noise_film(1, 7, 16), {.lossless = true}); }).exit(),
            Exit::usage);
  Film short_film = film;
  short_film.rgb.pop_back();
  EXPECT_EQ(error_of([&] { write_video(dir / "v.mp4", short_film); }).exit(), Exit::bug);
  EXPECT_EQ(error_of([&] { write_video(dir / "v.mp4", Film{}); }).exit(), Exit::bug);
  EXPECT_EQ(num_files(), 0u);
}

TEST_F(VideoTest, UnwritablePlacesAndFullDisks) {
  const Film film = noise_film(20, 64, 64);
  put("file", "x");
  EXPECT_EQ(error_of([&] { write_video(dir / "file" / "v.mp4", film); }).exit(), Exit::write);
  EXPECT_EQ(error_of([&] { write_video(dir / "none" / "v.mp4", film); }).exit(), Exit::write);
  if (mount("tmpfs", dir.c_str(), "tmpfs", 0, "size=32k") != 0) GTEST_SKIP() << "needs the right to mount";
  const Error full_mp4 = error_of([&] { write_video(dir / "v.mp4", film); });
  const Error full_mkv = error_of([&] { write_video(dir / "v.mkv", film, {.lossless = true}); });
  const std::size_t left = num_files();
  umount(dir.c_str());
  EXPECT_EQ(full_mp4.exit(), Exit::write);
  EXPECT_EQ(full_mkv.exit(), Exit::write);
  expect_contains(full_mp4.what(), "No space left");
  expect_contains(full_mkv.what(), "No space left");
  EXPECT_EQ(left, 0u);
}

TEST_F(VideoTest, BadFilesAreErrorsNotCrashes) {
  EXPECT_EQ(error_of([&] { read_video(dir / "none.mp4"); }).exit(), Exit::input);
  EXPECT_EQ(error_of([&] { read_video(dir); }).exit(), Exit::input);
  EXPECT_EQ(error_of([&] { read_video(put("empty.mp4", "")); }).exit(), Exit::input);
  EXPECT_EQ(error_of([&] { read_video(put("text.mp4", "hello, this is no video at all")); }).exit(), Exit::input);
  // A playlist must not open other files.
  write_video(dir / "v.mkv", noise_film(4, 32, 32), {.lossless = true});
  EXPECT_EQ(error_of([&] { read_video(put("list.txt", "ffconcat version 1.0\nfile /etc/passwd\n")); }).exit(),
            Exit::input);
  const std::string whole = get(dir / "v.mkv");
  for (std::size_t n = 0; n < whole.size(); n += 509) {
    try {
      EXPECT_LE(read_video(put("cut.mkv", whole.substr(0, n))).film.num_frames, 4);
    } catch (const Error& error) {
      EXPECT_EQ(error.exit(), Exit::input);
    }
  }
}

TEST_F(VideoTest, FlippedByteInLosslessFramesIsFound) {
  const Film film = noise_film(3, 32, 32);
  write_video(dir / "v.mkv", film, {.lossless = true});
  std::string bytes = get(dir / "v.mkv");
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 4);
  const Error error = error_of([&] { read_video(put("bad.mkv", bytes)); });
  EXPECT_EQ(error.exit(), Exit::input);
  expect_contains(error.what(), "CRC");
}

TEST_F(VideoTest, OtherProgramsReadIt) {
  if (std::system("ffprobe -version > /dev/null 2>&1") != 0) GTEST_SKIP() << "ffprobe is not here";
  write_video(dir / "v.mp4", smooth_film(9, 48, 64));
  const std::string line = fmt::format(
      "cd '{}' && ffprobe -v error -show_entries stream=codec_name,pix_fmt,r_frame_rate,nb_frames,color_space -of csv "
      "v.mp4 > out 2>&1",
      dir.string());
  EXPECT_EQ(std::system(line.c_str()), 0);
  expect_contains(get(dir / "out"), "h264,yuv420p,bt709,16/1,9");
  const std::string mp4 = get(dir / "v.mp4");
  EXPECT_LT(mp4.find("moov"), mp4.find("mdat"));  // plays while it loads
}

}  // namespace
}  // namespace reel::io
