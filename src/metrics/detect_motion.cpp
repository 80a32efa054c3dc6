#include <algorithm>
#include <cmath>

#include "metrics/detect_parts.hpp"

namespace reel::metrics {
namespace {

using parts::Pixels;
using Rgb = std::array<double, 3>;
using Mask = std::vector<std::uint8_t>;

constexpr double least_difference = 6;  // levels
constexpr double slack_px = 0.3;        // of a camera's matrices: edges of the background may lie this far off
constexpr std::size_t most_things = 64;

/// Sets what cannot be reached from the rim of the mask without crossing it.
void fill_holes(Mask& mask, std::int64_t w, std::int64_t h) {
  Mask outside(mask.size(), 0);
  std::vector<std::int64_t> open;
  const auto visit = [&](std::int64_t x, std::int64_t y) {
    const auto i = static_cast<std::size_t>(y * w + x);
    if (!mask[i] && !outside[i]) outside[i] = 1, open.push_back(y * w + x);
  };
  for (std::int64_t x = 0; x < w; ++x) visit(x, 0), visit(x, h - 1);
  for (std::int64_t y = 0; y < h; ++y) visit(0, y), visit(w - 1, y);
  while (!open.empty()) {
    const std::int64_t x = open.back() % w, y = open.back() / w;
    open.pop_back();
    if (x > 0) visit(x - 1, y);
    if (x + 1 < w) visit(x + 1, y);
    if (y > 0) visit(x, y - 1);
    if (y + 1 < h) visit(x, y + 1);
  }
  for (std::size_t i = 0; i < mask.size(); ++i) mask[i] = !outside[i];
}

/// A rectangle of the frame at full resolution, around one thing.
struct Patch {
  Pixels area;
  std::vector<Rgb> pixel, behind;
  Mask mask, inside;
  std::int64_t width() const { return area.width(); }
  std::size_t index(std::int64_t x, std::int64_t y) const { return static_cast<std::size_t>(y * width() + x); }
};

/// How much of a pixel on the rim is covered: its place on the way from the background to the thing's colour there.
/// That is the mean of the nearest inside pixels, within 4 px; where it does not explain the pixel (another part of the
/// thing), or a thin part has no inside, that of the pixel within 1 px which differs most from its background.
double rim_share(const Patch& patch, std::int64_t x, std::int64_t y) {
  const std::size_t i = patch.index(x, y);
  const std::int64_t width = patch.width(), height = patch.area.height();
  Rgb change{};
  double changed = 0;
  for (std::size_t c = 0; c < 3; ++c)
    change[c] = patch.pixel[i][c] - patch.behind[i][c], changed += change[c] * change[c];
  if (changed == 0) return 0;
  const auto visit = [&](std::int64_t reach, auto&& f) {
    for (std::int64_t v = std::max<std::int64_t>(0, y - reach); v <= std::min(height - 1, y + reach); ++v)
      for (std::int64_t u = std::max<std::int64_t>(0, x - reach); u <= std::min(width - 1, x + reach); ++u)
        f(patch.index(u, v));
  };
  /// Share and what it leaves unexplained, as a part of the change.
  const auto explained = [&](const Rgb& colour) {
    double product = 0, square = 0;
    for (std::size_t c = 0; c < 3; ++c) {
      const double d = colour[c] - patch.behind[i][c];
      product += d * change[c], square += d * d;
    }
    if (square == 0 || product <= 0) return std::array<double, 2>{0, 1};
    return std::array<double, 2>{std::min(1.0, product / square), 1 - product * product / (square * changed)};
  };
  for (std::int64_t reach = 1; reach <= 4; ++reach) {
    Rgb colour{};
    int n = 0;
    visit(reach, [&](std::size_t j) {
      if (!patch.inside[j]) return;
      for (std::size_t c = 0; c < 3; ++c) colour[c] += patch.pixel[j][c];
      ++n;
    });
    if (n == 0) continue;
    for (double& c : colour) c /= n;
    const auto [share, rest] = explained(colour);
    if (rest < 0.1 || changed < 400) return share;  // a faint pixel is mostly noise: its direction says little
    break;
  }
  double most = 0;
  Rgb colour = patch.pixel[i];
  visit(1, [&](std::size_t j) {
    if (!patch.mask[j]) return;
    double sum = 0;
    for (std::size_t c = 0; c < 3; ++c) sum += std::pow(patch.pixel[j][c] - patch.behind[j][c], 2);
    if (sum > most) most = sum, colour = patch.pixel[j];
  });
  return explained(colour)[0];
}

}  // namespace

Detection mapped(const Detection& d, const Matrix3& m) {
  if (m == identity3) return d;
  Detection out = d;
  const auto p = mapped(m, d.x_px, d.y_px);
  out.x_px = p[0], out.y_px = p[1];
  // Local scale: square root of the Jacobian's determinant, which for a homography is det(M) / w^3.
  const double w = m[6] * d.x_px + m[7] * d.y_px + m[8];
  const double det =
      m[0] * (m[4] * m[8] - m[5] * m[7]) - m[1] * (m[3] * m[8] - m[5] * m[6]) + m[2] * (m[3] * m[7] - m[4] * m[6]);
  const double area = std::abs(det / (w * w * w)), length = std::sqrt(area);
  out.area_px *= area, out.major_px *= length, out.minor_px *= length;
  double x0 = INFINITY, y0 = INFINITY, x1 = -INFINITY, y1 = -INFINITY;
  for (int corner = 0; corner < 4; ++corner) {
    const auto q = mapped(m, d.box.x_px + (corner % 2) * d.box.width_px, d.box.y_px + (corner / 2) * d.box.height_px);
    x0 = std::min(x0, q[0]), y0 = std::min(y0, q[1]), x1 = std::max(x1, q[0]), y1 = std::max(y1, q[1]);
  }
  out.box = {x0, y0, x1 - x0, y1 - y0};
  return out;
}

MotionDetector::MotionDetector(Background background) : background_(std::move(background)) {
  const std::int64_t w = background_.width_px, h = background_.height_px;
  REEL_CHECK(w > 0 && h > 0, "{} x {}", w, h);
  cell_px_ = parts::cell_of(w, h);
  rows_ = (h + cell_px_ - 1) / cell_px_, columns_ = (w + cell_px_ - 1) / cell_px_;
  reduced_ = parts::reduce(background_.rgb.data(), w, h, cell_px_);
}

std::vector<Detection> MotionDetector::detect(const Frame& frame, const Matrix3& to_first) const {
  parts::check_size(frame, background_);
  const parts::Behind behind(background_, to_first);
  const std::int64_t width = frame.width_px, height = frame.height_px, cell = cell_px_;
  const std::vector<float> now = parts::reduce(frame.rgb.data(), width, height, cell);
  const auto cells = static_cast<std::size_t>(rows_ * columns_);

  // Largest channel difference per cell; with a moving camera against the background where the cell's middle falls,
  // lowered by what the background changes within `slack_px`. Negative: nothing known.
  std::vector<float> difference(cells, -1.0f), known;
  for (std::int64_t r = 0; r < rows_; ++r)
    for (std::int64_t q = 0; q < columns_; ++q) {
      const auto i = static_cast<std::size_t>(r * columns_ + q);
      const std::int64_t x = std::min(width - 1, q * cell + cell / 2), y = std::min(height - 1, r * cell + cell / 2);
      double u = static_cast<double>(q), v = static_cast<double>(r);  // in cells of the background
      if (!behind.still()) {
        const double centre_x = 0.5 * static_cast<double>(q * cell + std::min(width, (q + 1) * cell));
        const double centre_y = 0.5 * static_cast<double>(r * cell + std::min(height, (r + 1) * cell));
        const auto p = mapped(to_first, centre_x, centre_y);
        Rgb ignored;
        if (!background_.at(p[0], p[1], ignored)) continue;
        u = std::clamp(p[0] / static_cast<double>(cell) - 0.5, 0.0, static_cast<double>(columns_ - 1));
        v = std::clamp(p[1] / static_cast<double>(cell) - 0.5, 0.0, static_cast<double>(rows_ - 1));
      } else if (!background_.valid[static_cast<std::size_t>(y * width + x)]) {
        continue;
      }
      const auto u0 = static_cast<std::int64_t>(u), v0 = static_cast<std::int64_t>(v);
      const auto a = static_cast<float>(u - static_cast<double>(u0)),
                 b = static_cast<float>(v - static_cast<double>(v0));
      const std::int64_t u1 = std::min(u0 + 1, columns_ - 1), v1 = std::min(v0 + 1, rows_ - 1);
      float most = 0;
      for (std::int64_t c = 0; c < 3; ++c) {
        const auto at = [&](std::int64_t s, std::int64_t t) {
          return reduced_[static_cast<std::size_t>(3 * (t * columns_ + s) + c)];
        };
        float d =
            std::abs(now[3 * i + static_cast<std::size_t>(c)] -
                     ((1 - b) * ((1 - a) * at(u0, v0) + a * at(u1, v0)) + b * ((1 - a) * at(u0, v1) + a * at(u1, v1))));
        if (!behind.still()) {
          const auto low_u = std::max<std::int64_t>(0, u0 - 1), low_v = std::max<std::int64_t>(0, v0 - 1);
          const float steep = std::max({std::abs(at(u1, v0) - at(u0, v0)), std::abs(at(u0, v1) - at(u0, v0)),
                                        std::abs(at(u0, v0) - at(low_u, v0)), std::abs(at(u0, v0) - at(u0, low_v))});
          d -= steep * static_cast<float>(std::min(1.0, slack_px / static_cast<double>(cell) + 0.1));
        }
        most = std::max(most, d);
      }
      difference[i] = most;
      known.push_back(most);
    }
  const double threshold = std::max(least_difference, 5 * parts::robust_sigma(known));
  Mask mask(cells);
  for (std::size_t i = 0; i < cells; ++i) mask[i] = difference[i] > threshold;
  mask = parts::crossed(parts::crossed(mask, columns_, rows_, 0), columns_, rows_, 1);  // open: specks and lines go
  mask = parts::crossed(parts::crossed(mask, columns_, rows_, 1), columns_, rows_, 0);  // close: cracks go
  std::vector<std::int32_t> labels;
  const int count = parts::label(mask, columns_, rows_, labels);
  std::vector<Pixels> extent(static_cast<std::size_t>(count) + 1, Pixels::none());
  std::vector<std::int64_t> size(extent.size(), 0);
  for (std::size_t i = 0; i < cells; ++i) {
    if (!labels[i]) continue;
    const auto k = static_cast<std::size_t>(labels[i]);
    extent[k].include(static_cast<std::int64_t>(i) % columns_, static_cast<std::int64_t>(i) / columns_);
    ++size[k];
  }
  std::vector<std::size_t> order;
  for (std::size_t k = 1; k < extent.size(); ++k) order.push_back(k);
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return size[a] > size[b]; });
  order.resize(std::min(order.size(), most_things));
  std::sort(order.begin(), order.end());

  /// A cell belongs to a thing when the nearest labelled cell within 2 is one of its own.
  const auto belongs = [&](std::int64_t q, std::int64_t r, std::int32_t k) {
    for (std::int64_t reach = 0; reach <= 2; ++reach) {
      bool other = false;
      for (std::int64_t v = std::max<std::int64_t>(0, r - reach); v <= std::min(rows_ - 1, r + reach); ++v)
        for (std::int64_t u = std::max<std::int64_t>(0, q - reach); u <= std::min(columns_ - 1, q + reach); ++u) {
          const std::int32_t found = labels[static_cast<std::size_t>(v * columns_ + u)];
          if (found == k) return true;
          other = other || found;
        }
      if (other) return false;
    }
    return false;
  };

  std::vector<Detection> out;
  for (const std::size_t k : order) {
    // Everything around the thing, at full resolution, with an empty margin.
    const Pixels around = extent[k].grown(2, columns_, rows_);
    const Pixels area{around.x0 * cell, around.y0 * cell, std::min(width, around.x1 * cell),
                      std::min(height, around.y1 * cell)};
    Patch patch{area, std::vector<Rgb>(area.size()), std::vector<Rgb>(area.size()), Mask(area.size()),
                Mask(area.size())};
    Mask mine(area.size());
    for (std::int64_t y = area.y0; y < area.y1; ++y)
      for (std::int64_t x = area.x0; x < area.x1; ++x) {
        const std::size_t i = patch.index(x - area.x0, y - area.y0);
        for (std::size_t c = 0; c < 3; ++c)
          patch.pixel[i][c] = frame.rgb[static_cast<std::size_t>(3 * (y * width + x)) + c];
        mine[i] = belongs(x / cell, y / cell, static_cast<std::int32_t>(k)) && behind.at(x, y, patch.behind[i]);
        double most = 0;
        for (std::size_t c = 0; c < 3; ++c) most = std::max(most, std::abs(patch.pixel[i][c] - patch.behind[i][c]));
        patch.mask[i] = mine[i] && most > threshold;
      }
    const std::int64_t w = area.width(), h = area.height();
    fill_holes(patch.mask, w, h);
    // Specks of noise beside the thing do not belong to it: only its largest component does.
    std::vector<std::int32_t> pieces;
    const int num_pieces = parts::label(patch.mask, w, h, pieces);
    if (num_pieces == 0) continue;
    std::vector<std::int64_t> piece_size(static_cast<std::size_t>(num_pieces) + 1, 0);
    for (std::int32_t p : pieces) piece_size[static_cast<std::size_t>(p)] += p != 0;
    const std::int64_t largest = *std::max_element(piece_size.begin(), piece_size.end());
    for (std::size_t i = 0; i < pieces.size(); ++i)  // parts of a torn thing stay
      patch.mask[i] = pieces[i] && 10 * piece_size[static_cast<std::size_t>(pieces[i])] >= largest;
    // Inside: all neighbours have changed too.
    for (std::int64_t y = 0; y < h; ++y)
      for (std::int64_t x = 0; x < w; ++x) {
        // On the rim of the picture half of the neighbours are unknown.
        const std::int64_t fx = area.x0 + x, fy = area.y0 + y;
        bool all = fx > 0 && fy > 0 && fx < width - 1 && fy < height - 1;
        for (std::int64_t v = std::max<std::int64_t>(0, y - 1); v < std::min(h, y + 2); ++v)
          for (std::int64_t u = std::max<std::int64_t>(0, x - 1); u < std::min(w, x + 2); ++u)
            all = all && patch.mask[patch.index(u, v)];
        patch.inside[patch.index(x, y)] = all;
      }
    parts::Moments moments;
    Pixels box = Pixels::none();
    bool whole = true;
    Rgb colour{};
    double inside = 0;
    for (std::int64_t y = 0; y < h; ++y)
      for (std::int64_t x = 0; x < w; ++x) {
        const std::size_t i = patch.index(x, y);
        bool near = false;  // the mask and a rim of 1 px: an edge may be too faint for the threshold
        for (std::int64_t v = std::max<std::int64_t>(0, y - 1); v < std::min(h, y + 2) && !near; ++v)
          for (std::int64_t u = std::max<std::int64_t>(0, x - 1); u < std::min(w, x + 2) && !near; ++u)
            near = patch.mask[patch.index(u, v)];
        if (!near || !(mine[i] || patch.mask[i])) continue;
        const double share = patch.inside[i] ? 1 : rim_share(patch, x, y);
        if (share < (patch.mask[i] ? 0.02 : 0.03)) continue;
        moments.add(share, static_cast<double>(x) + 0.5, static_cast<double>(y) + 0.5);
        const std::int64_t fx = area.x0 + x, fy = area.y0 + y;
        box.include(fx, fy);
        whole = whole && fx > 0 && fy > 0 && fx < width - 1 && fy < height - 1;
        if (!patch.inside[i]) continue;
        ++inside;
        for (std::size_t c = 0; c < 3; ++c) colour[c] += patch.pixel[i][c];
      }
    if (moments.s < least_area_px) continue;
    Detection d = moments.detection(static_cast<double>(area.x0), static_cast<double>(area.y0));
    d.box = box.box();
    d.whole = whole;
    for (std::size_t c = 0; c < 3; ++c) d.rgb[c] = inside > 0 ? colour[c] / inside : nan;
    out.push_back(d);
  }
  return out;
}

}  // namespace reel::metrics
