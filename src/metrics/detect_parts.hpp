#pragma once
// What detection and association share. Not for use outside of them.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <vector>

#include "core/error.hpp"
#include "metrics/background.hpp"
#include "metrics/detect.hpp"

namespace reel::metrics::parts {

/// Weighted sums over pixels, in the order of adding.
struct Moments {
  double s = 0, x = 0, y = 0, xx = 0, xy = 0, yy = 0;
  void add(double share, double px, double py) {
    s += share, x += share * px, y += share * py;
    xx += share * px * px, xy += share * px * py, yy += share * py * py;
  }
  /// Centroid, area and axes, shifted by the origin of px and py. A pixel's share is an average over the pixel, which
  /// adds 1/12 px^2 to either variance: taken off.
  Detection detection(double origin_x, double origin_y) const {
    Detection d;
    d.area_px = s;
    const double mx = x / s, my = y / s;
    d.x_px = origin_x + mx, d.y_px = origin_y + my;
    const double vx = xx / s - mx * mx - 1.0 / 12, vy = yy / s - my * my - 1.0 / 12, c = xy / s - mx * my;
    const double mean = 0.5 * (vx + vy), spread = std::hypot(0.5 * (vx - vy), c);
    d.major_px = std::sqrt(std::max(0.0, mean + spread));
    d.minor_px = std::sqrt(std::max(0.0, mean - spread));
    return d;
  }
};

/// The background as a frame sees it.
class Behind {
 public:
  Behind(const Background& background, const Matrix3& to_first)
      : background_(background), m_(to_first), still_(to_first == identity3) {}
  bool still() const noexcept { return still_; }
  /// Background at the middle of pixel (x, y) of the frame, in levels; false where it is not known.
  bool at(std::int64_t x, std::int64_t y, std::array<double, 3>& out) const {
    if (still_) {
      const auto i = static_cast<std::size_t>(y * background_.width_px + x);
      for (std::size_t c = 0; c < 3; ++c) out[c] = background_.rgb[3 * i + c];
      return background_.valid[i] != 0;
    }
    const auto p = mapped(m_, static_cast<double>(x) + 0.5, static_cast<double>(y) + 0.5);
    return background_.at(p[0], p[1], out);
  }

 private:
  const Background& background_;
  Matrix3 m_;
  bool still_;
};

/// A rectangle of pixels, [x0, x1) x [y0, y1).
struct Pixels {
  std::int64_t x0 = 0, y0 = 0, x1 = 0, y1 = 0;
  std::int64_t width() const noexcept { return x1 - x0; }
  std::int64_t height() const noexcept { return y1 - y0; }
  std::size_t size() const noexcept { return static_cast<std::size_t>(width() * height()); }
  void include(std::int64_t x, std::int64_t y) {
    x0 = std::min(x0, x), y0 = std::min(y0, y), x1 = std::max(x1, x + 1), y1 = std::max(y1, y + 1);
  }
  /// Grown by `margin` on every side, cut off at the picture.
  Pixels grown(std::int64_t margin, std::int64_t width, std::int64_t height) const {
    return {std::max<std::int64_t>(0, x0 - margin), std::max<std::int64_t>(0, y0 - margin),
            std::min(width, x1 + margin), std::min(height, y1 + margin)};
  }
  Box box() const {
    return {static_cast<double>(x0), static_cast<double>(y0), static_cast<double>(width()),
            static_cast<double>(height())};
  }
  static Pixels none() { return {INT64_MAX, INT64_MAX, INT64_MIN, INT64_MIN}; }
};

/// Labels 1, 2, ... of the 8-connected components of mask [H, W], in order of their first pixel; 0 elsewhere.
inline int label(const std::vector<std::uint8_t>& mask, std::int64_t width, std::int64_t height,
                 std::vector<std::int32_t>& labels) {
  labels.assign(mask.size(), 0);
  std::vector<std::int64_t> open;
  int count = 0;
  for (std::int64_t start = 0; start < width * height; ++start) {
    if (!mask[static_cast<std::size_t>(start)] || labels[static_cast<std::size_t>(start)]) continue;
    labels[static_cast<std::size_t>(start)] = ++count;
    open.push_back(start);
    while (!open.empty()) {
      const std::int64_t i = open.back(), x = i % width, y = i / width;
      open.pop_back();
      for (std::int64_t v = std::max<std::int64_t>(0, y - 1); v < std::min(height, y + 2); ++v)
        for (std::int64_t u = std::max<std::int64_t>(0, x - 1); u < std::min(width, x + 2); ++u) {
          const auto j = static_cast<std::size_t>(v * width + u);
          if (!mask[j] || labels[j]) continue;
          labels[j] = count;
          open.push_back(v * width + u);
        }
    }
  }
  return count;
}

/// Edge of the cells that reduce a picture to at most 320 px.
inline std::int64_t cell_of(std::int64_t width, std::int64_t height) { return (std::max(width, height) + 319) / 320; }

/// Means of cell x cell pixels, [rows, columns, 3]; cells at the right and lower end may be smaller.
inline std::vector<float> reduce(const std::uint8_t* rgb, std::int64_t width, std::int64_t height, std::int64_t cell) {
  const std::int64_t columns = (width + cell - 1) / cell, rows = (height + cell - 1) / cell;
  std::vector<float> out(static_cast<std::size_t>(3 * columns * rows));
  std::vector<std::uint32_t> sums(static_cast<std::size_t>(3 * width));
  for (std::int64_t r = 0; r < rows; ++r) {
    const std::int64_t y0 = r * cell, y1 = std::min(height, y0 + cell);
    std::fill(sums.begin(), sums.end(), 0u);
    for (std::int64_t y = y0; y < y1; ++y) {
      const std::uint8_t* row = rgb + 3 * y * width;
      for (std::size_t i = 0; i < sums.size(); ++i) sums[i] += row[i];
    }
    for (std::int64_t q = 0; q < columns; ++q) {
      const std::int64_t x0 = q * cell, x1 = std::min(width, x0 + cell);
      std::uint32_t sum[3] = {};
      for (std::int64_t x = x0; x < x1; ++x)
        for (int c = 0; c < 3; ++c) sum[c] += sums[static_cast<std::size_t>(3 * x + c)];
      const float unit = 1.0f / static_cast<float>((x1 - x0) * (y1 - y0));
      for (int c = 0; c < 3; ++c)
        out[static_cast<std::size_t>(3 * (r * columns + q) + c)] = static_cast<float>(sum[c]) * unit;
    }
  }
  return out;
}

/// One step of growing (to = 1) or shrinking (to = 0) by a cross of 3 pixels. The outside of the picture is neither.
inline std::vector<std::uint8_t> crossed(const std::vector<std::uint8_t>& mask, std::int64_t w, std::int64_t h,
                                         std::uint8_t to) {
  std::vector<std::uint8_t> out = mask;
  for (std::int64_t y = 0; y < h; ++y)
    for (std::int64_t x = 0; x < w; ++x) {
      const auto i = static_cast<std::size_t>(y * w + x), row = static_cast<std::size_t>(w);
      if ((x > 0 && mask[i - 1] == to) || (x + 1 < w && mask[i + 1] == to) || (y > 0 && mask[i - row] == to) ||
          (y + 1 < h && mask[i + row] == to))
        out[i] = to;
    }
  return out;
}

/// Standard deviation of noise from absolute differences: 1.4826 times their median. 0 without values.
inline double robust_sigma(std::vector<float>& differences) {
  if (differences.empty()) return 0;
  const auto middle = differences.begin() + static_cast<std::ptrdiff_t>(differences.size() / 2);
  std::nth_element(differences.begin(), middle, differences.end());
  return 1.4826 * static_cast<double>(*middle);
}

/// Of a disc of the same area; without an area, of the box.
inline double radius_of(const Detection& d) {
  if (std::isfinite(d.area_px)) return std::max(0.5, std::sqrt(d.area_px / std::numbers::pi));
  return std::max(0.5, 0.25 * (d.box.width_px + d.box.height_px));
}
/// Whether two boxes come within `margin` of each other.
inline bool meet(const Box& a, const Box& b, double margin) {
  return a.x_px <= b.x_px + b.width_px + margin && b.x_px <= a.x_px + a.width_px + margin &&
         a.y_px <= b.y_px + b.height_px + margin && b.y_px <= a.y_px + a.height_px + margin;
}
inline void check_size(const Frame& frame, const Background& background) {
  if (frame.height_px != background.height_px || frame.width_px != background.width_px ||
      frame.rgb.size() != background.rgb.size())
    throw Error(Exit::input, fmt::format("a frame is {} x {} px, its background {} x {} px", frame.width_px,
                                         frame.height_px, background.width_px, background.height_px));
}

}  // namespace reel::metrics::parts
