// Flaws of the picture, on a house that does not move.
#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include "core/error.hpp"
#include "worlds/scene.hpp"

namespace reel::worlds {
namespace {

constexpr double tau = 2 * std::numbers::pi;
constexpr double jitter_hz = 3, wobble_hz = 3, flicker_hz = 4;

Spec house_spec(const Spec& spec, const std::string& camera, std::uint64_t seed) {
  Spec s = spec;
  // By day: at night most of the picture is black, and a flaw of the texture has nothing to sit on.
  s.set = {{"camera", camera}, {"time", seed % 2 ? "at noon" : "at dawn"}};
  return s;
}

std::uint8_t to_byte(double level) { return static_cast<std::uint8_t>(std::clamp(level + 0.5, 0.0, 255.0)); }

/// A smooth vector field over the picture, times cos(phase + tau f t): sums of plane waves a third to a fifth of the
/// frame long. What a homography could take up (polynomials to the second degree) is projected out on a grid, and the
/// field is scaled to a root mean square displacement of 1 px over picture and time.
class Field {
 public:
  Field(const Draws& draws, std::int64_t width_px, std::int64_t height_px)
      : width_(static_cast<double>(width_px)), height_(static_cast<double>(height_px)) {
    for (int i = 0; i < 2 * num_waves; ++i) {
      const double waves = draws.between(3, 5, "waves", i), angle = tau * draws.unit("angle", i);
      waves_[static_cast<std::size_t>(i)] = {waves * std::cos(angle), waves * std::sin(angle), tau * draws.unit("phase", i)};
    }
    // Gram-Schmidt of the six polynomials on the grid, then the raw field against them.
    constexpr int n = 24;
    std::array<std::array<double, n * n>, 6> basis{};
    for (int j = 0; j < n * n; ++j) {
      const double u = (j % n + 0.5) / n - 0.5, v = (j / n + 0.5) / n - 0.5;
      const std::array<double, 6> p{1, u, v, u * u, u * v, v * v};
      for (std::size_t k = 0; k < 6; ++k) basis[k][static_cast<std::size_t>(j)] = p[k];
    }
    std::array<std::array<double, 6>, 6> to{};  // orthonormal polynomials in terms of the plain ones
    for (std::size_t k = 0; k < 6; ++k) {
      to[k][k] = 1;
      for (std::size_t l = 0; l < k; ++l) {
        double dot = 0;
        for (std::size_t j = 0; j < n * n; ++j) dot += basis[k][j] * basis[l][j];
        for (std::size_t j = 0; j < n * n; ++j) basis[k][j] -= dot * basis[l][j];
        for (std::size_t m = 0; m < 6; ++m) to[k][m] -= dot * to[l][m];
      }
      double norm = 0;
      for (double b : basis[k]) norm += b * b;
      norm = std::sqrt(norm);
      for (double& b : basis[k]) b /= norm;
      for (double& t : to[k]) t /= norm;
    }
    double square = 0;
    for (int axis = 0; axis < 2; ++axis) {
      std::array<double, n * n> raw{};
      for (int j = 0; j < n * n; ++j)
        raw[static_cast<std::size_t>(j)] = waves(axis, (j % n + 0.5) / n - 0.5, (j / n + 0.5) / n - 0.5);
      for (std::size_t k = 0; k < 6; ++k) {
        double dot = 0;
        for (std::size_t j = 0; j < n * n; ++j) dot += raw[j] * basis[k][j];
        for (std::size_t j = 0; j < n * n; ++j) raw[j] -= dot * basis[k][j];
        for (std::size_t m = 0; m < 6; ++m) smooth_[static_cast<std::size_t>(axis)][m] += dot * to[k][m];
      }
      for (double r : raw) square += r * r / (n * n);
    }
    scale_ = std::sqrt(2 / square);  // the mean square of the cosine over time is a half
  }

  /// Displacement [px] at a pixel, at full swing.
  Point at(double x_px, double y_px) const {
    const double u = x_px / width_ - 0.5, v = y_px / height_ - 0.5;
    std::array<double, 2> d{};
    for (std::size_t axis = 0; axis < 2; ++axis) {
      const auto& c = smooth_[axis];
      d[axis] = scale_ * (waves(static_cast<int>(axis), u, v) - c[0] - c[1] * u - c[2] * v - c[3] * u * u - c[4] * u * v - c[5] * v * v);
    }
    return {d[0], d[1]};
  }

 private:
  static constexpr int num_waves = 5;
  double waves(int axis, double u, double v) const {
    double sum = 0;
    for (int i = 0; i < num_waves; ++i) {
      const auto& w = waves_[static_cast<std::size_t>(axis * num_waves + i)];
      sum += std::sin(tau * (w[0] * u + w[1] * v) + w[2]);
    }
    return sum;
  }
  double width_, height_, scale_ = 1;
  std::array<std::array<double, 3>, 2 * num_waves> waves_{};
  std::array<std::array<double, 6>, 2> smooth_{};
};

// The still picture is drawn three times as large and warped down: each output pixel is the mean of nine samples.
Clip film_wobble(std::uint64_t seed, const Spec& spec, double rms_px) {
  constexpr int fine = 3;
  Clip clip = make_house(seed, house_spec(spec, "static camera", seed));
  Spec large = house_spec(spec, "static camera", seed);
  large.width_px *= fine;
  large.height_px *= fine;
  large.num_frames = 1;
  const Film still = make_house(seed, large).film;
  const Draws draws(seed, "lab");
  const Field field(draws, spec.width_px, spec.height_px);
  const double phase = tau * draws.unit("time");
  const auto sample = [&](double x, double y, double* rgb) {  // of the large picture, bilinear
    x = std::clamp(x - 0.5, 0.0, static_cast<double>(still.width_px - 1));
    y = std::clamp(y - 0.5, 0.0, static_cast<double>(still.height_px - 1));
    const auto x0 = static_cast<std::int64_t>(x), y0 = static_cast<std::int64_t>(y);
    const std::int64_t x1 = std::min(x0 + 1, still.width_px - 1), y1 = std::min(y0 + 1, still.height_px - 1);
    const double fx = x - static_cast<double>(x0), fy = y - static_cast<double>(y0);
    const auto at = [&](std::int64_t xi, std::int64_t yi) { return still.rgb.data() + 3 * (yi * still.width_px + xi); };
    const std::uint8_t *a = at(x0, y0), *b = at(x1, y0), *c = at(x0, y1), *d = at(x1, y1);
    for (int k = 0; k < 3; ++k) rgb[k] += (1 - fy) * ((1 - fx) * a[k] + fx * b[k]) + fy * ((1 - fx) * c[k] + fx * d[k]);
  };
  std::vector<Point> swing;
  for (std::int64_t y = 0; y < spec.height_px; ++y)
    for (std::int64_t x = 0; x < spec.width_px; ++x)
      swing.push_back(field.at(static_cast<double>(x) + 0.5, static_cast<double>(y) + 0.5));
  for (std::int64_t f = 0; f < spec.num_frames; ++f) {
    const double now = rms_px * std::cos(phase + tau * wobble_hz * static_cast<double>(f) / spec.fps);
    std::uint8_t* out = clip.film.frame(f);
    for (std::int64_t i = 0; i < spec.width_px * spec.height_px; ++i, out += 3) {
      const double x = fine * (static_cast<double>(i % spec.width_px) - now * swing[static_cast<std::size_t>(i)].x);
      const double y = fine * (static_cast<double>(i / spec.width_px) - now * swing[static_cast<std::size_t>(i)].y);
      double rgb[3] = {};
      for (int j = 0; j < fine * fine; ++j) sample(x + j % fine + 0.5, y + j / fine + 0.5, rgb);
      for (int k = 0; k < 3; ++k) out[k] = to_byte(rgb[k] / (fine * fine));
    }
  }
  return clip;
}

// Noise that comes anew in every frame, where there is texture; flat parts stay as they are.
void add_boil(Clip& clip, const Draws& draws, double levels) {
  Film& film = clip.film;
  const std::int64_t w = film.width_px, h = film.height_px;
  std::vector<std::uint8_t> textured(static_cast<std::size_t>(w * h), 0);
  const std::uint8_t* first = film.frame(0);
  const auto green = [&](std::int64_t x, std::int64_t y) { return static_cast<int>(first[3 * (y * w + x) + 1]); };
  for (std::int64_t y = 1; y + 1 < h; ++y)
    for (std::int64_t x = 1; x + 1 < w; ++x) {
      if (std::abs(green(x + 1, y) - green(x - 1, y)) + std::abs(green(x, y + 1) - green(x, y - 1)) < 24) continue;
      for (std::int64_t j = std::max<std::int64_t>(0, y - 2); j < std::min(h, y + 3); ++j)
        for (std::int64_t i = std::max<std::int64_t>(0, x - 2); i < std::min(w, x + 3); ++i)
          textured[static_cast<std::size_t>(j * w + i)] = 1;
    }
  for (std::int64_t f = 0; f < film.num_frames; ++f) {
    std::uint8_t* out = film.frame(f);
    for (std::int64_t i = 0; i < w * h; ++i, out += 3) {
      if (!textured[static_cast<std::size_t>(i)]) continue;
      // Sum of twelve uniform numbers: near enough to a normal one, and its variance is exactly 1.
      double noise = -6;
      for (int k = 0; k < 12; ++k) noise += draws.unit("boil", (f * w * h + i) * 12 + k);
      for (int k = 0; k < 3; ++k) out[k] = to_byte(out[k] + levels * noise);
    }
  }
}

}  // namespace

Clip make_flawed_house(std::string_view name, double knob, std::uint64_t seed, const Spec& spec) {
  const Draws draws(seed, "lab");
  const double phase = tau * draws.unit("phase");
  if (name == "wobble" && knob != 0) return film_wobble(seed, spec, knob);
  if (name == "jitter" && knob != 0)
    return make_house(seed, house_spec(spec, "static camera", seed), [&](std::int64_t f) {
      return Shake{knob * std::sin(phase + tau * jitter_hz * static_cast<double>(f) / spec.fps), 0, 1};
    });
  if ((name == "pan" || name == "push") && knob != 0) {
    Spec s = house_spec(spec, name == "pan" ? "slow pan to the right" : "slow push in", seed);
    s.set["speed"] = fmt::format("{}", knob * (name == "pan" ? 0.5 : 0.025));
    return make_house(seed, s);
  }
  Clip clip = make_house(seed, house_spec(spec, "static camera", seed));
  if (name == "boil" && knob != 0) add_boil(clip, draws, knob);
  // Whole periods: their root mean square is knob / sqrt(2), whatever the phase.
  const auto num_frames = static_cast<double>(clip.film.num_frames);
  const double periods = std::max(1.0, std::round(flicker_hz * num_frames / spec.fps));
  if (name == "flicker" && knob != 0)
    for (std::int64_t f = 0; f < clip.film.num_frames; ++f) {
      const double more = knob * std::sin(phase + tau * periods * static_cast<double>(f) / num_frames);
      std::uint8_t* out = clip.film.frame(f);
      for (std::int64_t i = 0; i < clip.film.frame_bytes(); ++i) out[i] = to_byte(out[i] + more);
    }
  return clip;
}

}  // namespace reel::worlds
