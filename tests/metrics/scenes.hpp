#pragma once
// Small films for the tests of shots, background, detection and association.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "core/frames.hpp"
#include "metrics/background.hpp"
#include "metrics/measure.hpp"
#include "worlds/canvas.hpp"
#include "worlds/world.hpp"

namespace reel::metrics::scenes {

inline constexpr worlds::Color red{222, 52, 48}, blue{44, 102, 204};
inline const std::vector<NamedColour> red_and_blue{{"red", {222, 52, 48}}, {"blue", {44, 102, 204}}};

/// Linear congruential generator (Numerical Recipes).
struct Lcg {
  std::uint32_t state;
  std::uint32_t next() { return state = state * 1664525u + 1013904223u; }
  int below(int n) { return static_cast<int>((next() >> 8) % static_cast<std::uint32_t>(n)); }
};

inline worlds::Clip world(std::string_view name, std::uint64_t seed, std::int64_t size_px,
                          std::map<std::string, std::string> set = {}) {
  worlds::Spec spec;
  spec.width_px = spec.height_px = size_px;
  spec.set = std::move(set);
  return worlds::make(name, seed, spec);
}

/// Adds -levels ... levels to every sample.
inline void add_noise(Film& film, int levels, std::uint32_t seed = 1) {
  Lcg lcg{seed};
  for (std::uint8_t& v : film.rgb)
    v = static_cast<std::uint8_t>(std::clamp(v + lcg.below(2 * levels + 1) - levels, 0, 255));
}

inline Film blank(std::int64_t frames, std::int64_t height, std::int64_t width, std::uint8_t level = 255) {
  Film film;
  film.num_frames = frames, film.height_px = height, film.width_px = width, film.fps = 16;
  film.rgb.assign(static_cast<std::size_t>(frames * height * width * 3), level);
  return film;
}

struct Disc {
  double x_px, y_px, radius_px;
  worlds::Color color;
};

/// Draws discs, the later ones in front, over what frame f shows.
inline void draw(Film& film, std::int64_t f, const std::vector<Disc>& discs) {
  worlds::Canvas canvas(static_cast<int>(film.width_px), static_cast<int>(film.height_px));
  canvas.clear({255, 255, 255});
  // Over a picture: each disc's cover is read from a black disc on white.
  std::vector<std::uint8_t> cover(static_cast<std::size_t>(film.frame_bytes()));
  for (const Disc& disc : discs) {
    canvas.clear({255, 255, 255});
    canvas.add_disc({disc.x_px, disc.y_px}, disc.radius_px);
    canvas.fill({0, 0, 0});
    canvas.store(cover.data());
    const float rgb[3] = {disc.color.r, disc.color.g, disc.color.b};
    std::uint8_t* p = film.frame(f);
    for (std::size_t i = 0; i < cover.size(); ++i)
      p[i] = static_cast<std::uint8_t>(
          std::lround((cover[i] * p[i] + (255 - cover[i]) * static_cast<double>(rgb[i % 3])) / 255));
  }
}

/// Smooth random texture, levels 60 to 200: value noise on a grid of 8 px.
inline std::uint8_t texture(double x, double y, int channel) {
  const auto corner = [&](std::int64_t i, std::int64_t j) {
    Lcg lcg{static_cast<std::uint32_t>(i * 73856093 ^ j * 19349663 ^ (channel + 1) * 83492791)};
    lcg.next(), lcg.next();
    return 60.0 + lcg.below(141);
  };
  const double u = x / 8, v = y / 8;
  const auto i = static_cast<std::int64_t>(std::floor(u)), j = static_cast<std::int64_t>(std::floor(v));
  const double a = u - static_cast<double>(i), b = v - static_cast<double>(j);
  return static_cast<std::uint8_t>(std::lround((1 - b) * ((1 - a) * corner(i, j) + a * corner(i + 1, j)) +
                                               b * ((1 - a) * corner(i, j + 1) + a * corner(i + 1, j + 1))));
}

/// Fills frame f with the texture as a camera sees it whose picture starts at (x0, y0).
inline void fill_texture(Film& film, std::int64_t f, double x0 = 0, double y0 = 0) {
  std::uint8_t* p = film.frame(f);
  for (std::int64_t y = 0; y < film.height_px; ++y)
    for (std::int64_t x = 0; x < film.width_px; ++x)
      for (int c = 0; c < 3; ++c)
        *p++ = texture(x0 + static_cast<double>(x) + 0.5, y0 + static_cast<double>(y) + 0.5, c);
}

inline Background median_of(const Film& film, std::span<const Matrix3> to_first = {}) {
  FilmFrames frames(film);
  BackgroundMedian median;
  Frame frame;
  while (frames.next(frame)) median.add(frame);
  return median.median(to_first);
}

/// Films that have broken many a program: black, white, one frame, tiny.
inline std::vector<Film> odd_films() {
  return {blank(5, 24, 32, 0), blank(5, 24, 32, 255), blank(1, 24, 32, 128),
          blank(4, 1, 1, 90),  blank(4, 3, 5, 200),   blank(1, 1, 1, 7)};
}

}  // namespace reel::metrics::scenes
