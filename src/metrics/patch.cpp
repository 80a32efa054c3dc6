#include "metrics/patch.hpp"

#include <cmath>

#include "metrics/metric.hpp"

namespace reel::metrics {
namespace {

/// Weights of the four samples around a point `f` past the second: Keys' cubic with a = -1/2, exact for parabolas.
void cubic(float f, float* w) {
  const float g = 1 - f;
  w[0] = -0.5f * f * g * g;
  w[1] = 1 + f * f * (1.5f * f - 2.5f);
  w[2] = 1 + g * g * (1.5f * g - 2.5f);
  w[3] = -0.5f * g * f * f;
}

struct Window {
  std::array<float, Patch::side * Patch::side> w{};
  Window() {
    for (int j = 0; j < Patch::side; ++j)
      for (int i = 0; i < Patch::side; ++i) {
        const double u = i - Patch::side / 2, v = j - Patch::side / 2;
        w[static_cast<std::size_t>(j * Patch::side + i)] =
            static_cast<float>(std::exp(-(u * u + v * v) / (2 * 2.5 * 2.5)));
      }
  }
};
const Window window;

}  // namespace

bool Patch::sample(const Plane& plane, const Linear& linear, double x, double y) {
  const double reach = 0.5 * (full - 1) * static_cast<double>(spacing_);
  const double half_x = reach * (std::abs(linear[0]) + std::abs(linear[1]));
  const double half_y = reach * (std::abs(linear[2]) + std::abs(linear[3]));
  // From here on pixel centres are whole numbers, as the array's indices.
  x -= 0.5, y -= 0.5;
  if (!(x - half_x >= 1 && y - half_y >= 1 && x + half_x < plane.width_px - 2 && y + half_y < plane.height_px - 2))
    return false;
  const auto stride = static_cast<std::size_t>(plane.width_px);
  const auto gathered = [&](int ix, int iy, const float* wx, const float* wy) {
    const float* p = plane.level.data() + static_cast<std::size_t>(iy - 1) * stride + static_cast<std::size_t>(ix - 1);
    float sum = 0;
    for (std::size_t k = 0; k < 4; ++k, p += stride)
      sum += wy[k] * (wx[0] * p[0] + wx[1] * p[1] + wx[2] * p[2] + wx[3] * p[3]);
    return sum;
  };
  const auto power = [](const float* w) { return w[0] * w[0] + w[1] * w[1] + w[2] * w[2] + w[3] * w[3]; };
  const auto spacing = static_cast<double>(spacing_);
  float noise = 0;
  if (std::abs(linear[1]) + std::abs(linear[2]) < 1e-4) {  // not turned: rows and columns share their weights
    int ix[full], iy[full];
    float wx[full][4], wy[full][4], power_x = 0, power_y = 0;
    for (int i = 0; i < full; ++i) {
      const double px = x + linear[0] * spacing * (i - full / 2), py = y + linear[3] * spacing * (i - full / 2);
      ix[i] = static_cast<int>(px), iy[i] = static_cast<int>(py);
      cubic(static_cast<float>(px - ix[i]), wx[i]);
      cubic(static_cast<float>(py - iy[i]), wy[i]);
      power_x += power(wx[i]), power_y += power(wy[i]);
    }
    for (int j = 0; j < full; ++j)
      for (int i = 0; i < full; ++i)
        now_[static_cast<std::size_t>(j * full + i)] = gathered(ix[i], iy[j], wx[i], wy[j]);
    noise = power_x * power_y;
  } else {
    for (int j = 0; j < full; ++j)
      for (int i = 0; i < full; ++i) {
        const double u = spacing * (i - full / 2), v = spacing * (j - full / 2);
        const double px = x + linear[0] * u + linear[1] * v, py = y + linear[2] * u + linear[3] * v;
        const int ix = static_cast<int>(px), iy = static_cast<int>(py);
        float wx[4], wy[4];
        cubic(static_cast<float>(px - ix), wx);
        cubic(static_cast<float>(py - iy), wy);
        now_[static_cast<std::size_t>(j * full + i)] = gathered(ix, iy, wx, wy);
        noise += power(wx) * power(wy);
      }
  }
  noise_gain_ = static_cast<double>(noise) / (full * full);
  return true;
}

bool Patch::start(const Plane& plane, double x, double y, double spacing) {
  spacing_ = static_cast<float>(spacing);
  if (!sample(plane, {1, 0, 0, 1}, x, y)) return false;
  memory_ = now_;
  age_ = 1;
  variance_ = nan;
  return true;
}

// Regression of the piece on the memory, in the window: piece = gain memory + bias.
void Patch::match(bool contrast) {
  double s = 0, m = 0, p = 0, mm = 0, mp = 0;
  for (int j = 0; j < side; ++j)
    for (int i = 0; i < side; ++i) {
      const auto k = static_cast<std::size_t>((j + 1) * full + i + 1);
      const double w = static_cast<double>(window.w[static_cast<std::size_t>(j * side + i)]);
      const double a = static_cast<double>(memory_[k]), b = static_cast<double>(now_[k]);
      s += w, m += w * a, p += w * b, mm += w * a * a, mp += w * a * b;
    }
  m /= s, p /= s;
  const double var = mm / s - m * m, cov = mp / s - m * p;
  gain_ = contrast && var > 0 ? static_cast<float>(std::max(cov / var, 0.1)) : 1.0f;
  bias_ = static_cast<float>(p) - gain_ * static_cast<float>(m);
}

bool Patch::find(const Plane& plane, const Linear& linear, double& x, double& y, double reach) {
  // Derivatives of the memory in its own coordinates; shifts there become shifts in the picture by `linear`.
  std::array<float, side * side> gx, gy;
  double a = 0, b = 0, c = 0;
  for (int j = 0; j < side; ++j)
    for (int i = 0; i < side; ++i) {
      const auto k = static_cast<std::size_t>((j + 1) * full + i + 1), l = static_cast<std::size_t>(j * side + i);
      gx[l] = (memory_[k + 1] - memory_[k - 1]) / (2 * spacing_);
      gy[l] = (memory_[k + full] - memory_[k - full]) / (2 * spacing_);
      const double w = static_cast<double>(window.w[l]), u = static_cast<double>(gx[l]), v = static_cast<double>(gy[l]);
      a += w * u * u, b += w * u * v, c += w * v * v;
    }
  const double det = a * c - b * b;
  if (!(det > 1e-6 * (a + c) * (a + c))) return false;
  const double x0 = x, y0 = y;
  double last = 1e9;
  for (int round = 0; round < 15; ++round) {
    if (!sample(plane, linear, x, y)) return false;
    match(true);
    double ex = 0, ey = 0;
    for (int j = 0; j < side; ++j)
      for (int i = 0; i < side; ++i) {
        const auto k = static_cast<std::size_t>((j + 1) * full + i + 1), l = static_cast<std::size_t>(j * side + i);
        const double r = static_cast<double>(window.w[l] * ((now_[k] - bias_) / gain_ - memory_[k]));
        ex += r * static_cast<double>(gx[l]), ey += r * static_cast<double>(gy[l]);
      }
    const double du = -(c * ex - b * ey) / det, dv = -(a * ey - b * ex) / det;
    x += linear[0] * du + linear[1] * dv;
    y += linear[2] * du + linear[3] * dv;
    if (!(std::hypot(x - x0, y - y0) <= reach)) return false;
    last = std::hypot(du, dv);
    if (last < 0.003) break;
  }
  if (last >= 0.02 || !sample(plane, linear, x, y)) return false;
  match(true);
  return correlation() >= 0.7;
}

bool Patch::compare(const Plane& plane, const Linear& linear, double x, double y, bool textured) {
  if (!sample(plane, linear, x, y)) return false;
  match(textured);
  judge(textured);
  return true;
}

// Of the matched piece with the memory.
double Patch::correlation() const {
  double sum = 0, total = 0, square = 0;
  for (int j = 0; j < side; ++j)
    for (int i = 0; i < side; ++i) {
      const auto k = static_cast<std::size_t>((j + 1) * full + i + 1);
      const double value = static_cast<double>(now_[k]), r = static_cast<double>(now_[k] - bias_ - gain_ * memory_[k]);
      sum += value, total += value * value, square += r * r;
    }
  const double all = total - sum * sum / (side * side);
  return all > 0 ? std::sqrt(std::max(0.0, 1 - square / all)) : 0;
}

void Patch::judge(bool textured) {
  // What is explained away: brightness, and for texture contrast, shift, and turning, stretching and shearing, to first
  // order. The rest is what boils.
  constexpr std::size_t most = 8;
  const std::size_t num = textured ? most : 1;
  std::array<double, most * most> a{};
  std::array<double, most> b{}, row{};
  double left = 0;
  for (int j = 0; j < side; ++j)
    for (int i = 0; i < side; ++i) {
      const auto k = static_cast<std::size_t>((j + 1) * full + i + 1);
      const double r = static_cast<double>(now_[k] - bias_ - gain_ * memory_[k]);
      left += r * r;
      row[0] = 1;
      if (textured) {
        const double gx = static_cast<double>(memory_[k + 1] - memory_[k - 1]);
        const double gy = static_cast<double>(memory_[k + full] - memory_[k - full]);
        const double u = (i - side / 2) * 0.25, v = (j - side / 2) * 0.25;
        row = {1, static_cast<double>(memory_[k]) - 128, gx, gy, gx * u, gx * v, gy * u, gy * v};
      }
      for (std::size_t p = 0; p < num; ++p) {
        b[p] += row[p] * r;
        for (std::size_t q = 0; q <= p; ++q) a[p * most + q] += row[p] * row[q];
      }
    }
  // Cholesky; a direction that the texture does not show is left out.
  std::size_t fitted = 0;
  for (std::size_t p = 0; p < num; ++p) {
    const double own = a[p * most + p];
    double d = own;
    for (std::size_t q = 0; q < p; ++q) d -= a[p * most + q] * a[p * most + q];
    const bool shown = d > 1e-6 * own && d > 1e-9;
    const double root = shown ? std::sqrt(d) : 0;
    a[p * most + p] = root;
    for (std::size_t q = 0; q < p; ++q) b[p] -= a[p * most + q] * b[q];
    b[p] = shown ? b[p] / root : 0;
    left -= b[p] * b[p];
    fitted += shown;
    for (std::size_t o = p + 1; o < num; ++o) {
      double e = a[o * most + p];
      for (std::size_t q = 0; q < p; ++q) e -= a[o * most + q] * a[p * most + q];
      a[o * most + p] = shown ? e / root : 0;
    }
  }
  constexpr double samples = side * side;
  const double pixels = samples * static_cast<double>(spacing_ * spacing_);  // that are independent
  // The memory has noise too: that of a mean of `age` frames, later that of a sliding mean with weight 1 / memory.
  const double own = age_ <= memory ? 1.0 / age_ : 1.0 / (2 * memory - 1);
  const double freedom = pixels - static_cast<double>(fitted);
  variance_ = age_ < 4 ? nan : std::max(0.0, left) / samples * pixels / freedom / (1 + own) / noise_gain_;
}

void Patch::remember() {
  ++age_;
  const float share = 1.0f / static_cast<float>(std::min(age_, memory));
  for (std::size_t k = 0; k < memory_.size(); ++k) memory_[k] += share * ((now_[k] - bias_) / gain_ - memory_[k]);
}

double Patch::contrast() const {
  double s = 0, ss = 0;
  for (const float v : memory_) s += static_cast<double>(v), ss += static_cast<double>(v) * static_cast<double>(v);
  const double n = full * full;
  return std::sqrt(std::max(0.0, ss / n - s * s / (n * n)));
}

}  // namespace reel::metrics
