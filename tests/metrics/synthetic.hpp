#pragma once
// Films whose truth is exact: a smooth texture, given by a formula, sampled at exactly warped points.
#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <numbers>
#include <string_view>
#include <vector>

#include "core/frames.hpp"
#include "worlds/draws.hpp"

namespace reel::metrics::synthetic {

constexpr double tau = 2 * std::numbers::pi;

/// Sum of plane waves 7 to 60 px long, around 128 levels with a standard deviation of about 35.
class Texture {
 public:
  explicit Texture(std::uint64_t seed, double shortest_px = 7) {
    const worlds::Draws draws(seed, "texture");
    for (int i = 0; i < num_waves; ++i) {
      const double length = shortest_px * std::pow(60 / shortest_px, draws.unit("length", i)),
                   angle = tau * draws.unit("angle", i);
      waves_.push_back({tau / length * std::cos(angle), tau / length * std::sin(angle), tau * draws.unit("phase", i)});
    }
  }
  double at(double x, double y) const {
    double sum = 0;
    for (const auto& w : waves_) sum += std::sin(w[0] * x + w[1] * y + w[2]);
    return 128 + 35 * sum / std::sqrt(0.5 * static_cast<double>(waves_.size()));
  }

 private:
  static constexpr int num_waves = 12;
  std::vector<std::array<double, 3>> waves_;
};

/// Level of a pixel centre (x, y) in frame f.
using Picture = std::function<double(std::int64_t f, double x, double y)>;

inline std::uint8_t to_byte(double level) { return static_cast<std::uint8_t>(std::clamp(level + 0.5, 0.0, 255.0)); }

inline Film film_of(std::int64_t width, std::int64_t height, std::int64_t num_frames, double fps,
                    const Picture& picture) {
  Film film;
  film.width_px = width, film.height_px = height, film.num_frames = num_frames, film.fps = fps;
  film.rgb.resize(static_cast<std::size_t>(3 * width * height * num_frames));
  std::size_t i = 0;
  for (std::int64_t f = 0; f < num_frames; ++f)
    for (std::int64_t y = 0; y < height; ++y)
      for (std::int64_t x = 0; x < width; ++x, i += 3)
        film.rgb[i] = film.rgb[i + 1] = film.rgb[i + 2] =
            to_byte(picture(f, static_cast<double>(x) + 0.5, static_cast<double>(y) + 0.5));
  return film;
}

/// A standard normal number, as the sum of twelve uniform ones.
inline double normal(const worlds::Draws& draws, std::string_view name, std::int64_t index) {
  double sum = -6;
  for (int k = 0; k < 12; ++k) sum += draws.unit(name, 12 * index + k);
  return sum;
}

}  // namespace reel::metrics::synthetic
