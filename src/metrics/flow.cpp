#include "metrics/flow.hpp"

#include <algorithm>
#include <cmath>

#include "core/error.hpp"

namespace reel::metrics {
namespace {

constexpr int max_rounds = 10, max_window = 31;
constexpr float small_step_px = 0.03f, least_texture = 0.01f;

std::size_t index(const Plane& p, int x, int y) {
  return static_cast<std::size_t>(y) * static_cast<std::size_t>(p.width_px) + static_cast<std::size_t>(x);
}

/// Samples `n` x `n` values 1 px apart, the first at (x, y), pixel centres at whole numbers; beyond the edge the edge's
/// pixels are repeated.
void sample(const Plane& p, float x, float y, int n, float* out) {
  const float fx0 = std::floor(x), fy0 = std::floor(y);
  const int x0 = static_cast<int>(fx0), y0 = static_cast<int>(fy0);
  const float fx = x - fx0, fy = y - fy0;
  const float w00 = (1 - fx) * (1 - fy), w01 = fx * (1 - fy), w10 = (1 - fx) * fy, w11 = fx * fy;
  if (x0 >= 0 && y0 >= 0 && x0 + n < p.width_px && y0 + n < p.height_px) {
    for (int j = 0; j < n; ++j) {
      const float *a = p.level.data() + index(p, x0, y0 + j), *b = a + p.width_px;
      for (int i = 0; i < n; ++i) out[j * n + i] = w00 * a[i] + w01 * a[i + 1] + w10 * b[i] + w11 * b[i + 1];
    }
    return;
  }
  const auto at = [&](int i, int j) {
    return p.level[index(p, std::clamp(i, 0, p.width_px - 1), std::clamp(j, 0, p.height_px - 1))];
  };
  for (int j = 0; j < n; ++j)
    for (int i = 0; i < n; ++i)
      out[j * n + i] = w00 * at(x0 + i, y0 + j) + w01 * at(x0 + i + 1, y0 + j) + w10 * at(x0 + i, y0 + j + 1) +
                       w11 * at(x0 + i + 1, y0 + j + 1);
}

/// A square of texture with its derivatives: what is looked for.
class Template {
 public:
  /// `n` x `n` px, the first at (x, y); with `centred` the mean does not count. False without texture.
  bool take(const Plane& p, float x, float y, int n, bool centred) {
    n_ = n, centred_ = centred;
    std::array<float, (max_window + 2) * (max_window + 2)> wide;
    const int m = n + 2;
    sample(p, x - 1, y - 1, m, wide.data());
    float mean = 0;
    if (centred) {
      for (int j = 0; j < n; ++j)
        for (int i = 0; i < n; ++i) mean += wide[static_cast<std::size_t>((j + 1) * m + i + 1)];
      mean /= static_cast<float>(n * n);
    }
    float sx = 0, sy = 0;
    for (int j = 0; j < n; ++j)
      for (int i = 0; i < n; ++i) {
        const float* c = wide.data() + (j + 1) * m + i + 1;
        const auto k = static_cast<std::size_t>(j * n + i);
        value_[k] = *c - mean;
        dx_[k] = 0.5f * (c[1] - c[-1]);
        dy_[k] = 0.5f * (c[m] - c[-m]);
        sx += dx_[k], sy += dy_[k];
      }
    const auto count = static_cast<std::size_t>(n * n);
    const float ax = centred ? sx / static_cast<float>(count) : 0, ay = centred ? sy / static_cast<float>(count) : 0;
    float xx = 0, xy = 0, yy = 0;
    for (std::size_t k = 0; k < count; ++k) {
      dx_[k] -= ax, dy_[k] -= ay;
      xx += dx_[k] * dx_[k], xy += dx_[k] * dy_[k], yy += dy_[k] * dy_[k];
    }
    const float det = xx * yy - xy * xy, half = 0.5f * (xx + yy);
    const float smaller = half - std::sqrt(std::max(0.0f, half * half - det));
    if (!(smaller > least_texture * static_cast<float>(count))) return false;
    ixx_ = yy / det, ixy_ = -xy / det, iyy_ = xx / det;
    return true;
  }

  /// Moves (x, y), the place of the first pixel in `p`, by one step; returns the step's length.
  float step(const Plane& p, float& x, float& y) {
    sample(p, x, y, n_, now_.data());
    const auto count = static_cast<std::size_t>(n_ * n_);
    float mean = 0;
    if (centred_) {
      for (std::size_t k = 0; k < count; ++k) mean += now_[k];
      mean /= static_cast<float>(count);
    }
    float bx = 0, by = 0;
    for (std::size_t k = 0; k < count; ++k) {
      const float d = now_[k] - mean - value_[k];
      bx += d * dx_[k], by += d * dy_[k];
    }
    const float ux = ixx_ * bx + ixy_ * by, uy = ixy_ * bx + iyy_ * by;
    x -= ux, y -= uy;
    return std::sqrt(ux * ux + uy * uy);
  }

  /// Difference at a pixel as of the last `step`'s start, mean removed on both sides when `centred`.
  float difference(int k) const { return now_[static_cast<std::size_t>(k)] - value_[static_cast<std::size_t>(k)]; }

 private:
  int n_ = 0;
  bool centred_ = false;
  float ixx_ = 0, ixy_ = 0, iyy_ = 0;
  std::array<float, max_window * max_window> value_{}, dx_{}, dy_{}, now_{};
};

Plane halved(const Plane& p) {
  Plane across{(p.width_px + 1) / 2, p.height_px, {}};
  across.level.resize(static_cast<std::size_t>(across.width_px) * static_cast<std::size_t>(across.height_px));
  for (int y = 0; y < p.height_px; ++y) {
    const float* row = p.level.data() + index(p, 0, y);
    const auto at = [&](int x) { return row[std::clamp(x, 0, p.width_px - 1)]; };
    for (int x = 0; x < across.width_px; ++x)
      across.level[index(across, x, y)] = (at(2 * x - 2) + 4 * at(2 * x - 1) + 6 * at(2 * x) + 4 * at(2 * x + 1) + at(2 * x + 2)) / 16;
  }
  Plane out{across.width_px, (p.height_px + 1) / 2, {}};
  out.level.resize(static_cast<std::size_t>(out.width_px) * static_cast<std::size_t>(out.height_px));
  for (int y = 0; y < out.height_px; ++y) {
    const auto row = [&](int j) { return across.level.data() + index(across, 0, std::clamp(j, 0, p.height_px - 1)); };
    const float *a = row(2 * y - 2), *b = row(2 * y - 1), *c = row(2 * y), *d = row(2 * y + 1), *e = row(2 * y + 2);
    for (int x = 0; x < out.width_px; ++x) out.level[index(out, x, y)] = (a[x] + 4 * b[x] + 6 * c[x] + 4 * d[x] + e[x]) / 16;
  }
  return out;
}

}  // namespace

Pyramid::Pyramid(const Plane& picture, int levels) {
  REEL_CHECK(picture.width_px > 0 && picture.height_px > 0 && levels >= 0);
  levels_.push_back(picture);
  for (int l = 0; l < levels && std::min(levels_.back().width_px, levels_.back().height_px) >= 16; ++l)
    levels_.push_back(halved(levels_.back()));
}

bool follow_point(const Pyramid& from, const Pyramid& to, int window, double& x, double& y) {
  REEL_CHECK(window % 2 == 1 && window <= max_window && from.num_levels() == to.num_levels(), "window {}", window);
  const auto half = static_cast<float>(window / 2);
  const auto px = static_cast<float>(x) - 0.5f, py = static_cast<float>(y) - 0.5f;  // centres at whole numbers
  float ux = 0, uy = 0;
  Template piece;
  for (int l = from.num_levels() - 1; l >= 0; --l) {
    const float scale = 1.0f / static_cast<float>(1 << l);
    const float x0 = px * scale - half, y0 = py * scale - half;
    if (l + 1 < from.num_levels()) ux *= 2, uy *= 2;
    if (!piece.take(from.level(l), x0, y0, window, false)) {
      if (l == 0) return false;
      continue;  // too coarse to show it
    }
    const float start_x = x0 + ux, start_y = y0 + uy;
    float nx = start_x, ny = start_y;
    for (int round = 0; round < max_rounds; ++round) {
      const float length = piece.step(to.level(l), nx, ny);
      if (!(std::abs(nx - start_x) <= 2 * static_cast<float>(window) && std::abs(ny - start_y) <= 2 * static_cast<float>(window))) {
        if (l == 0) return false;
        nx = start_x, ny = start_y;
        break;
      }
      if (length < small_step_px) break;
    }
    ux = nx - x0, uy = ny - y0;
  }
  const float qx = px + ux, qy = py + uy;
  if (!(qx >= 0 && qy >= 0 && qx <= static_cast<float>(to.level(0).width_px - 1) && qy <= static_cast<float>(to.level(0).height_px - 1))) return false;
  x = static_cast<double>(qx) + 0.5, y = static_cast<double>(qy) + 0.5;
  return true;
}

FlowField dense_flow(const Plane& from, const Plane& to) {
  REEL_CHECK(from.width_px == to.width_px && from.height_px == to.height_px);
  constexpr int side = 8, every = 4, finest = 1;
  int levels = finest;
  while (std::min(from.width_px, from.height_px) >> (levels + 1) >= 2 * side) ++levels;
  const Pyramid a(from, levels), b(to, levels);
  FlowField field;
  Template piece;
  const int last = std::min(finest, a.num_levels() - 1);
  for (int l = a.num_levels() - 1; l >= last; --l) {
    const Plane &p = a.level(l), &q = b.level(l);
    const auto w = static_cast<std::size_t>(p.width_px);
    FlowField coarser = std::move(field);
    field = {p.width_px, p.height_px, {}};
    field.flow.assign(w * static_cast<std::size_t>(p.height_px), {0, 0});
    std::vector<float> weight(field.flow.size(), 0);
    const auto start_at = [&](int x, int y) -> std::array<float, 2> {
      if (coarser.flow.empty()) return {0, 0};
      const auto cx = static_cast<std::size_t>(std::min(x / 2, coarser.width_px - 1)), cy = static_cast<std::size_t>(std::min(y / 2, coarser.height_px - 1));
      const auto& f = coarser.flow[cy * static_cast<std::size_t>(coarser.width_px) + cx];
      return {2 * f[0], 2 * f[1]};
    };
    for (int y = 0;; y = std::min(y + every, p.height_px - side)) {
      for (int x = 0;; x = std::min(x + every, p.width_px - side)) {
        const std::array<float, 2> start = start_at(x + side / 2, y + side / 2);
        std::array<float, 2> u = start;
        const bool textured = p.width_px >= side && p.height_px >= side && piece.take(p, static_cast<float>(x), static_cast<float>(y), side, true);
        if (textured) {
          float nx = static_cast<float>(x) + u[0], ny = static_cast<float>(y) + u[1];
          for (int round = 0; round < 12 && piece.step(q, nx, ny) >= small_step_px; ++round) {
          }
          const float dx = nx - static_cast<float>(x), dy = ny - static_cast<float>(y);
          if (std::hypot(dx - start[0], dy - start[1]) <= static_cast<float>(side)) u = {dx, dy};
        }
        std::array<float, side * side> there;
        sample(q, static_cast<float>(x) + u[0], static_cast<float>(y) + u[1], side, there.data());
        for (int j = 0; j < std::min(side, p.height_px); ++j)
          for (int i = 0; i < std::min(side, p.width_px); ++i) {
            const std::size_t k = static_cast<std::size_t>(y + j) * w + static_cast<std::size_t>(x + i);
            const float off = std::abs(there[static_cast<std::size_t>(j * side + i)] - p.level[k]);
            const float s = 1 / std::max(1.0f, off);
            field.flow[k][0] += s * u[0], field.flow[k][1] += s * u[1];
            weight[k] += s;
          }
        if (x + side >= p.width_px) break;
      }
      if (y + side >= p.height_px) break;
    }
    for (std::size_t k = 0; k < weight.size(); ++k)
      if (weight[k] > 0) field.flow[k][0] /= weight[k], field.flow[k][1] /= weight[k];
  }
  // To full size: pixel centres of level l lie at (x - 1/2) / 2^l + 1/2 in its own.
  const auto scale = static_cast<float>(1 << last);
  FlowField out{from.width_px, from.height_px, {}};
  out.flow.resize(from.level.size());
  const auto fw = static_cast<std::size_t>(field.width_px);
  for (int y = 0; y < from.height_px; ++y) {
    const float sy = std::min(static_cast<float>(y) / scale, static_cast<float>(field.height_px - 1));
    const int y0 = static_cast<int>(sy), y1 = std::min(y0 + 1, field.height_px - 1);
    const float fy = sy - static_cast<float>(y0);
    for (int x = 0; x < from.width_px; ++x) {
      const float sx = std::min(static_cast<float>(x) / scale, static_cast<float>(field.width_px - 1));
      const int x0 = static_cast<int>(sx), x1 = std::min(x0 + 1, field.width_px - 1);
      const float fx = sx - static_cast<float>(x0);
      const auto at = [&](int i, int j) -> const std::array<float, 2>& { return field.flow[static_cast<std::size_t>(j) * fw + static_cast<std::size_t>(i)]; };
      for (std::size_t c = 0; c < 2; ++c)
        out.flow[index(from, x, y)][c] = scale * ((1 - fy) * ((1 - fx) * at(x0, y0)[c] + fx * at(x1, y0)[c]) +
                                                  fy * ((1 - fx) * at(x0, y1)[c] + fx * at(x1, y1)[c]));
    }
  }
  return out;
}

}  // namespace reel::metrics
