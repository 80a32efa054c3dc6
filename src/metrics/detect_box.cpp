#include <algorithm>
#include <cmath>

#include "metrics/detect_parts.hpp"

namespace reel::metrics {
namespace {

constexpr std::int64_t coarse_px = 12;  // shorter side of the template at the coarsest level, at least half of this
constexpr double least_reach_px = 24;   // of the search window
constexpr double lost_reach_px = 8;     // the window grows by this in every frame without a find

}  // namespace

BoxFollower::Picture BoxFollower::whole(const Frame& frame) {
  Picture p{frame.height_px, frame.width_px, {}};
  p.rgb.assign(frame.rgb.begin(), frame.rgb.end());
  return p;
}

BoxFollower::Picture BoxFollower::half(const Picture& p) {
  Picture out{p.height / 2, p.width / 2, {}};
  out.rgb.resize(static_cast<std::size_t>(3 * out.height * out.width));
  for (std::int64_t y = 0; y < out.height; ++y)
    for (std::int64_t x = 0; x < out.width; ++x)
      for (std::int64_t c = 0; c < 3; ++c) {
        const auto at = [&](std::int64_t u, std::int64_t v) {
          return p.rgb[static_cast<std::size_t>(3 * (v * p.width + u) + c)];
        };
        out.rgb[static_cast<std::size_t>(3 * (y * out.width + x) + c)] =
            0.25f * (at(2 * x, 2 * y) + at(2 * x + 1, 2 * y) + at(2 * x, 2 * y + 1) + at(2 * x + 1, 2 * y + 1));
      }
  return out;
}

BoxFollower::BoxFollower(const Frame& first, const Box& box) {
  for (double v : {box.x_px, box.y_px, box.width_px, box.height_px})
    if (!std::isfinite(v) || std::abs(v) > 1e6) throw Error(Exit::input, "the box is not finite", "box");
  const auto clip = [](double v, std::int64_t limit) { return std::clamp<std::int64_t>(std::llround(v), 0, limit); };
  const std::int64_t x0 = clip(box.x_px, first.width_px), x1 = clip(box.x_px + box.width_px, first.width_px);
  const std::int64_t y0 = clip(box.y_px, first.height_px), y1 = clip(box.y_px + box.height_px, first.height_px);
  if (x1 - x0 < 4 || y1 - y0 < 4)
    throw Error(Exit::input, fmt::format("{} x {} px of the box lie in the first frame", x1 - x0, y1 - y0), "box",
                "give x,y,w,h in pixels around the object, at least 4 x 4");
  Picture t{y1 - y0, x1 - x0, {}};
  for (std::int64_t y = y0; y < y1; ++y) {
    const auto row = first.rgb.begin() + 3 * (y * first.width_px);
    t.rgb.insert(t.rgb.end(), row + 3 * x0, row + 3 * x1);
  }
  for (;;) {
    templates_.push_back(t);
    if (std::min(t.width, t.height) < coarse_px || templates_.size() == 6) break;
    t = half(t);
  }
  for (Picture& p : templates_) {
    double norm = 0;
    for (std::size_t c = 0; c < 3; ++c) {
      double mean = 0;
      for (std::size_t i = c; i < p.rgb.size(); i += 3) mean += p.rgb[i];
      mean /= static_cast<double>(p.width * p.height);
      for (std::size_t i = c; i < p.rgb.size(); i += 3) {
        p.rgb[i] -= static_cast<float>(mean);
        norm += static_cast<double>(p.rgb[i]) * p.rgb[i];
      }
    }
    if (norm < 3.0 * static_cast<double>(p.width * p.height))  // one level of contrast
      throw Error(Exit::input, "the box shows one flat colour", "box", "let the box reach over the object's edge");
    for (float& v : p.rgb) v = static_cast<float>(v / std::sqrt(norm));
  }
  x_ = static_cast<double>(x0), y_ = static_cast<double>(y0);
}

/// Correlation of the template of `level` with `picture` at its top left corner (x, y): -1 to 1, sums row by row.
double BoxFollower::correlate(const Picture& picture, std::size_t level, std::int64_t x, std::int64_t y) const {
  const Picture& t = templates_[level];
  if (x < 0 || y < 0 || x + t.width > picture.width || y + t.height > picture.height) return -1;
  double product = 0, sum[3] = {}, square = 0;
  for (std::int64_t v = 0; v < t.height; ++v) {
    const float* p = picture.rgb.data() + 3 * ((y + v) * picture.width + x);
    const float* q = t.rgb.data() + 3 * v * t.width;
    float row_product = 0, row_sum[3] = {}, row_square = 0;
    for (std::int64_t i = 0; i < t.width; ++i)
      for (std::int64_t c = 0; c < 3; ++c) {
        const float a = p[3 * i + c];
        row_product += a * q[3 * i + c], row_sum[c] += a, row_square += a * a;
      }
    product += static_cast<double>(row_product), square += static_cast<double>(row_square);
    for (int c = 0; c < 3; ++c) sum[c] += static_cast<double>(row_sum[c]);
  }
  const auto n = static_cast<double>(t.width * t.height);
  const double variance = square - (sum[0] * sum[0] + sum[1] * sum[1] + sum[2] * sum[2]) / n;
  return variance > 3 * n ? product / std::sqrt(variance) : 0;  // flat: no evidence
}

std::optional<Detection> BoxFollower::next(const Frame& frame) {
  if (frame.height_px <= 0 || frame.width_px <= 0 ||
      frame.rgb.size() != static_cast<std::size_t>(3 * frame.height_px * frame.width_px))
    throw Error(Exit::input, "a frame is empty or cut short");
  std::vector<Picture> pictures{whole(frame)};
  while (pictures.size() < templates_.size()) pictures.push_back(half(pictures.back()));
  const auto& t = templates_.front();
  const double guess_x = x_ + vx_, guess_y = y_ + vy_;
  double reach =
      std::max(least_reach_px, 0.75 * static_cast<double>(std::max(t.width, t.height))) + lost_reach_px * lost_;
  std::int64_t best_x = 0, best_y = 0;
  for (std::size_t level = templates_.size(); level-- > 0;) {
    const double unit = static_cast<double>(std::int64_t{1} << level);
    const bool coarsest = level + 1 == templates_.size();
    const std::int64_t cx = coarsest ? std::llround(guess_x / unit) : 2 * best_x;
    const std::int64_t cy = coarsest ? std::llround(guess_y / unit) : 2 * best_y;
    const std::int64_t r = coarsest ? static_cast<std::int64_t>(std::ceil(reach / unit)) : 2;
    double best = -2;
    for (std::int64_t y = cy - r; y <= cy + r; ++y)
      for (std::int64_t x = cx - r; x <= cx + r; ++x) {
        const double c = correlate(pictures[level], level, x, y);
        if (c > best) best = c, best_x = x, best_y = y;
      }
    correlation_ = best;
  }
  if (correlation_ < least_correlation) {
    ++lost_;
    x_ = guess_x, y_ = guess_y;
    return std::nullopt;
  }
  // Top of the parabola through three neighbours; at the rim of the frame there is none.
  const auto top = [&](std::int64_t dx, std::int64_t dy) {
    const double low = correlate(pictures[0], 0, best_x - dx, best_y - dy),
                 high = correlate(pictures[0], 0, best_x + dx, best_y + dy);
    const double bend = low + high - 2 * correlation_;
    return low > -1 && high > -1 && bend < 0 ? std::clamp(0.5 * (low - high) / bend, -0.5, 0.5) : 0.0;
  };
  const double x = static_cast<double>(best_x) + top(1, 0), y = static_cast<double>(best_y) + top(0, 1);
  vx_ = lost_ ? vx_ : x - x_, vy_ = lost_ ? vy_ : y - y_;
  x_ = x, y_ = y;
  lost_ = 0;
  Detection d;
  d.box = {x, y, static_cast<double>(t.width), static_cast<double>(t.height)};
  d.x_px = x + 0.5 * d.box.width_px, d.y_px = y + 0.5 * d.box.height_px;
  d.whole = best_x > 0 && best_y > 0 && best_x + t.width < frame.width_px && best_y + t.height < frame.height_px;
  d.object = 0;
  return d;
}

}  // namespace reel::metrics
