#include "metrics/background.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/error.hpp"
#include "core/parallel.hpp"
#include "metrics/detect_parts.hpp"
#include "metrics/metric.hpp"
#include "metrics/uncovered.hpp"

namespace reel::metrics {
namespace {

std::size_t at_index(std::int64_t y, std::int64_t x, std::int64_t width) {
  return static_cast<std::size_t>(y * width + x);
}

/// Median of n <= 31 bytes by insertion sort, which is fastest for few values that are nearly equal.
std::uint8_t median_of(std::uint8_t* v, std::size_t n) {
  for (std::size_t i = 1; i < n; ++i) {
    const std::uint8_t x = v[i];
    std::size_t j = i;
    for (; j > 0 && v[j - 1] > x; --j) v[j] = v[j - 1];
    v[j] = x;
  }
  return n % 2 ? v[n / 2] : static_cast<std::uint8_t>((v[n / 2 - 1] + v[n / 2] + 1) / 2);
}

/// To the nearest level, halves up; std::lround is a call that would be most of the work.
std::uint8_t rounded(double level) {
  const int whole = static_cast<int>(level);
  return static_cast<std::uint8_t>(whole + (level - whole >= 0.5));
}

/// Bilinear sample of an [H, W, 3] picture; false when the point is not within half a pixel of the picture's inside.
template <class T>
bool sample(const T* rgb, std::int64_t height, std::int64_t width, double x, double y, double* out) {
  if (!(x >= 0 && y >= 0 && x <= static_cast<double>(width) && y <= static_cast<double>(height))) return false;
  const double u = std::clamp(x - 0.5, 0.0, static_cast<double>(width - 1));
  const double v = std::clamp(y - 0.5, 0.0, static_cast<double>(height - 1));
  const auto x0 = std::min(static_cast<std::int64_t>(u), std::max<std::int64_t>(width - 2, 0));
  const auto y0 = std::min(static_cast<std::int64_t>(v), std::max<std::int64_t>(height - 2, 0));
  const double a = u - static_cast<double>(x0), b = v - static_cast<double>(y0);
  const T* p = rgb + 3 * at_index(y0, x0, width);
  const std::size_t right = x0 + 1 < width ? 3 : 0, down = y0 + 1 < height ? 3 * static_cast<std::size_t>(width) : 0;
  for (std::size_t c = 0; c < 3; ++c) {
    const double top = (1 - a) * p[c] + a * p[right + c], low = (1 - a) * p[down + c] + a * p[down + right + c];
    out[c] = (1 - b) * top + b * low;
  }
  return true;
}

}  // namespace

std::array<double, 2> mapped(const Matrix3& m, double x, double y) {
  const double w = m[6] * x + m[7] * y + m[8];
  if (!(w > 1e-9)) return {nan, nan};
  return {(m[0] * x + m[1] * y + m[2]) / w, (m[3] * x + m[4] * y + m[5]) / w};
}

Matrix3 inverse(const Matrix3& m) {
  const double a = m[4] * m[8] - m[5] * m[7], b = m[5] * m[6] - m[3] * m[8], c = m[3] * m[7] - m[4] * m[6];
  const double det = m[0] * a + m[1] * b + m[2] * c;
  if (!std::isfinite(det) || std::abs(det) < 1e-12) return {nan, nan, nan, nan, nan, nan, nan, nan, nan};
  return {a / det, (m[2] * m[7] - m[1] * m[8]) / det, (m[1] * m[5] - m[2] * m[4]) / det,
          b / det, (m[0] * m[8] - m[2] * m[6]) / det, (m[2] * m[3] - m[0] * m[5]) / det,
          c / det, (m[1] * m[6] - m[0] * m[7]) / det, (m[0] * m[4] - m[1] * m[3]) / det};
}

Background Background::plain(std::int64_t height_px, std::int64_t width_px, std::array<std::uint8_t, 3> rgb) {
  REEL_CHECK(height_px > 0 && width_px > 0, "{} x {}", width_px, height_px);
  Background out;
  out.height_px = height_px, out.width_px = width_px;
  const auto n = static_cast<std::size_t>(height_px * width_px);
  out.rgb.resize(3 * n);
  for (std::size_t i = 0; i < 3 * n; ++i) out.rgb[i] = rgb[i % 3];
  out.valid.assign(n, 1);
  return out;
}

bool Background::at(double x_px, double y_px, std::array<double, 3>& out) const {
  if (!sample(rgb.data(), height_px, width_px, x_px, y_px, out.data())) return false;
  const auto x = std::min(static_cast<std::int64_t>(x_px), width_px - 1);
  const auto y = std::min(static_cast<std::int64_t>(y_px), height_px - 1);
  return valid[at_index(y, x, width_px)] != 0;
}

void BackgroundMedian::add(const Frame& frame) {
  if (frame.height_px <= 0 || frame.width_px <= 0 ||
      frame.rgb.size() != static_cast<std::size_t>(3 * frame.height_px * frame.width_px))
    throw Error(Exit::input, "a frame is empty or cut short");
  if (count_ == 0) height_px_ = frame.height_px, width_px_ = frame.width_px;
  if (frame.height_px != height_px_ || frame.width_px != width_px_)
    throw Error(Exit::input, fmt::format("frame {} is {} x {} px, the first is {} x {} px", count_, frame.width_px,
                                         frame.height_px, width_px_, height_px_));
  if (count_ % stride_ == 0) {
    if (held_.size() == most_frames) {
      std::size_t kept = 0;
      for (std::size_t i = 0; i < held_.size(); i += 2) std::swap(held_[kept++], held_[i]);
      held_.resize(kept);
      stride_ *= 2;
    }
    if (count_ % stride_ == 0) held_.push_back({count_, frame.rgb});
  }
  ++count_;
}

constexpr std::uint8_t hidden = 2;  // while the median is made: reached, but covered in all frames

/// What is covered in all frames takes the mean of the known neighbours, layer by layer from its outline.
static void inpaint(Background& b) {
  std::vector<std::int64_t> layer, next;
  const auto known = [&](std::int64_t x, std::int64_t y) {
    return x >= 0 && y >= 0 && x < b.width_px && y < b.height_px && b.valid[at_index(y, x, b.width_px)] == 1;
  };
  std::vector<std::int64_t> todo;
  for (std::int64_t i = 0; i < b.height_px * b.width_px; ++i)
    if (b.valid[static_cast<std::size_t>(i)] == hidden) todo.push_back(i);
  while (!todo.empty()) {
    next.clear(), layer.clear();
    for (const std::int64_t i : todo) {
      const std::int64_t x = i % b.width_px, y = i / b.width_px;
      int n = 0, sum[3] = {};
      for (std::int64_t v = y - 1; v <= y + 1; ++v)
        for (std::int64_t u = x - 1; u <= x + 1; ++u) {
          if (!known(u, v)) continue;
          for (std::size_t c = 0; c < 3; ++c) sum[c] += b.rgb[3 * at_index(v, u, b.width_px) + c];
          ++n;
        }
      if (n == 0) {
        next.push_back(i);
        continue;
      }
      for (std::size_t c = 0; c < 3; ++c)
        b.rgb[static_cast<std::size_t>(3 * i) + c] = static_cast<std::uint8_t>((sum[c] + n / 2) / n);
      layer.push_back(i);
    }
    for (const std::int64_t i : layer) b.valid[static_cast<std::size_t>(i)] = 1;
    if (layer.empty()) break;  // everything is covered: what is there stays
    todo.swap(next);
  }
  for (const std::int64_t i : todo) b.valid[static_cast<std::size_t>(i)] = 1;
}

/// Per cell, the frames held that show the background there.
static std::vector<std::uint32_t> clear_frames(const std::vector<std::vector<float>>& reduced,
                                               const std::vector<Matrix3>& from_first, std::int64_t cell,
                                               std::int64_t rows, std::int64_t columns,
                                               std::span<const std::array<std::uint8_t, 3>> things) {
  std::vector<std::uint32_t> known(static_cast<std::size_t>(rows * columns), 0);
  if (from_first.empty()) {
    std::fill(known.begin(), known.end(), (std::uint32_t{1} << reduced.size()) - 1);
    leave_out(things, reduced, known, rows, columns);
    return uncovered(reduced, known, rows, columns);
  }
  // Every picture in the first one's coordinates, sampled bilinearly between the middles of the cells.
  std::vector<std::vector<float>> aligned(reduced.size(), std::vector<float>(reduced[0].size(), 0.0f));
  const auto unit = static_cast<double>(cell);
  for (std::size_t k = 0; k < reduced.size(); ++k)
    for (std::int64_t r = 0; r < rows; ++r)
      for (std::int64_t q = 0; q < columns; ++q) {
        const auto p =
            mapped(from_first[k], (static_cast<double>(q) + 0.5) * unit, (static_cast<double>(r) + 0.5) * unit);
        std::array<double, 3> v{};
        if (!sample(reduced[k].data(), rows, columns, p[0] / unit, p[1] / unit, v.data())) continue;
        const std::size_t i = at_index(r, q, columns);
        known[i] |= std::uint32_t{1} << k;
        for (std::size_t c = 0; c < 3; ++c) aligned[k][3 * i + c] = static_cast<float>(v[c]);
      }
  leave_out(things, aligned, known, rows, columns);
  return uncovered(aligned, known, rows, columns);
}

Background BackgroundMedian::median(std::span<const Matrix3> to_first,
                                    std::span<const std::array<std::uint8_t, 3>> things) const {
  if (held_.empty()) throw Error(Exit::input, "a shot without frames has no background");
  REEL_CHECK(to_first.empty() || to_first.size() == static_cast<std::size_t>(count_), "{} matrices for {} frames",
             to_first.size(), count_);
  Background out;
  out.height_px = height_px_, out.width_px = width_px_;
  out.num_frames = static_cast<int>(held_.size());
  const auto pixels = static_cast<std::size_t>(height_px_ * width_px_);
  out.rgb.assign(3 * pixels, 0);
  out.valid.assign(pixels, 0);
  const bool still = std::all_of(to_first.begin(), to_first.end(), [](const Matrix3& m) { return m == identity3; });
  std::vector<Matrix3> from_first;  // per frame held
  for (std::size_t k = 0; !still && k < held_.size(); ++k)
    from_first.push_back(inverse(to_first[static_cast<std::size_t>(held_[k].number)]));
  const std::int64_t cell = parts::cell_of(width_px_, height_px_);
  const std::int64_t columns = (width_px_ + cell - 1) / cell, rows = (height_px_ + cell - 1) / cell;
  std::vector<std::vector<float>> reduced;
  for (const Held& h : held_) reduced.push_back(parts::reduce(h.rgb.data(), width_px_, height_px_, cell));
  const std::vector<std::uint32_t> use = clear_frames(reduced, from_first, cell, rows, columns, things);
  std::vector<std::int64_t> doubtful(static_cast<std::size_t>(height_px_), 0);  // per row
  parallel_for(height_px_, [&](std::int64_t y) {
    std::array<std::array<std::uint8_t, most_frames>, 3> values;
    for (std::int64_t x = 0; x < width_px_; ++x) {
      const std::size_t i = at_index(y, x, width_px_);
      const std::uint32_t clear = use[at_index(y / cell, x / cell, columns)];
      std::size_t n = 0, seen = 0;
      for (std::size_t k = 0; k < held_.size(); ++k) {
        const bool wanted = clear == 0 || (clear >> k & 1u);
        const std::uint8_t* rgb = held_[k].rgb.data();
        if (from_first.empty()) {
          ++seen;
          if (!wanted) continue;
          for (std::size_t c = 0; c < 3; ++c) values[c][n] = rgb[3 * i + c];
        } else {
          std::array<double, 3> v{};
          const auto p = mapped(from_first[k], static_cast<double>(x) + 0.5, static_cast<double>(y) + 0.5);
          if (!sample(rgb, height_px_, width_px_, p[0], p[1], v.data())) continue;
          ++seen;
          if (!wanted) continue;
          for (std::size_t c = 0; c < 3; ++c) values[c][n] = rounded(v[c]);
        }
        ++n;
      }
      if (2 * seen < held_.size() || n == 0) continue;
      out.valid[i] = clear != 0 ? 1 : hidden;
      for (std::size_t c = 0; c < 3; ++c) out.rgb[3 * i + c] = median_of(values[c].data(), n);
      doubtful[static_cast<std::size_t>(y)] += 2 * n < seen || clear == 0;
    }
  });
  inpaint(out);
  const std::int64_t all = std::accumulate(doubtful.begin(), doubtful.end(), std::int64_t{0});
  out.doubtful = static_cast<double>(all) / static_cast<double>(pixels);
  return out;
}

}  // namespace reel::metrics
