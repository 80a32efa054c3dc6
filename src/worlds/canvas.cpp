#include "worlds/canvas.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "core/error.hpp"

namespace reel::worlds {
namespace {

constexpr int num_corners = 128;

/// Corners of the unit circle, by halving a right angle again and again: only sqrt and division, so that every machine
/// gets the same bits. Scaled so that the polygon has the area of the circle.
std::array<Point, num_corners> make_corners() {
  double c = 0, s = 1;  // cosine and sine of 90 degrees
  for (int n = 4; n < num_corners; n *= 2) {
    const double half_c = std::sqrt((1 + c) / 2);
    s = s / (2 * half_c);
    c = half_c;
  }
  constexpr double pi = 3.14159265358979323846;
  const double scale = std::sqrt(pi / (0.5 * num_corners * s));
  std::array<Point, num_corners> corners;
  constexpr int quarter = num_corners / 4;
  Point p{1, 0};
  for (int i = 0; i < quarter; ++i) {  // the other quarters are turned copies: the centre is exact
    const auto at = [&](int q) -> Point& { return corners[static_cast<std::size_t>(i + q * quarter)]; };
    at(0) = {scale * p.x, scale * p.y};
    at(1) = {-at(0).y, at(0).x};
    at(2) = {-at(0).x, -at(0).y};
    at(3) = {at(0).y, -at(0).x};
    p = {p.x * c - p.y * s, p.x * s + p.y * c};
  }
  return corners;
}

/// Sutherland and Hodgman: keeps the part where inside(p) >= 0. Parts that come apart stay joined along the cut, where
/// the joining edges cancel in the signed area.
template <class Distance>
void cut(const std::vector<Point>& in, std::vector<Point>& out, Distance distance) {
  out.clear();
  for (std::size_t i = 0; i < in.size(); ++i) {
    const Point a = in[i], b = in[i + 1 < in.size() ? i + 1 : 0];
    const double da = distance(a), db = distance(b);
    if (da >= 0) out.push_back(a);
    if ((da >= 0) != (db >= 0)) {
      const double t = da / (da - db);
      out.push_back({a.x + t * (b.x - a.x), a.y + t * (b.y - a.y)});
    }
  }
}

}  // namespace

Canvas::Canvas(int width_px, int height_px)
    : width_(width_px),
      height_(height_px),
      rgb_(static_cast<std::size_t>(width_px) * static_cast<std::size_t>(height_px) * 3),
      cover_(static_cast<std::size_t>(width_px + 2) * static_cast<std::size_t>(height_px)) {
  REEL_CHECK(width_px > 0 && height_px > 0, "canvas {} x {}", width_px, height_px);
  path_ = changed_ = none();
}

void Canvas::add(std::span<const Point> polygon) {
  if (polygon.size() < 3) return;
  double x0 = polygon[0].x, x1 = x0, y0 = polygon[0].y, y1 = y0, area = 0;
  for (std::size_t i = 0; i < polygon.size(); ++i) {
    const Point a = polygon[i], b = polygon[i + 1 < polygon.size() ? i + 1 : 0];
    area += (a.x - polygon[0].x) * (b.y - polygon[0].y) - (b.x - polygon[0].x) * (a.y - polygon[0].y);
    x0 = std::min(x0, a.x), x1 = std::max(x1, a.x), y0 = std::min(y0, a.y), y1 = std::max(y1, a.y);
  }
  const double w = width_, h = height_;
  if (!(area != 0) || x1 <= 0 || x0 >= w || y1 <= 0 || y0 >= h) return;
  if (x0 < 0 || x1 > w || y0 < 0 || y1 > h) {
    cut_.assign(polygon.begin(), polygon.end());
    cut(cut_, cut_next_, [](Point p) { return p.x; });
    cut(cut_next_, cut_, [w](Point p) { return w - p.x; });
    cut(cut_, cut_next_, [](Point p) { return p.y; });
    cut(cut_next_, cut_, [h](Point p) { return h - p.y; });
    polygon = cut_;
    x0 = std::clamp(x0, 0.0, w), x1 = std::clamp(x1, 0.0, w), y0 = std::clamp(y0, 0.0, h), y1 = std::clamp(y1, 0.0, h);
  }
  const double sign = area > 0 ? -1 : 1;  // y points down: edges that go down open the shape
  for (std::size_t i = 0; i < polygon.size(); ++i) edge(polygon[i], polygon[i + 1 < polygon.size() ? i + 1 : 0], sign);
  path_.x0 = std::min(path_.x0, static_cast<int>(x0)), path_.y0 = std::min(path_.y0, static_cast<int>(y0));
  path_.x1 = std::max(path_.x1, std::min(width_, static_cast<int>(x1) + 1));
  path_.y1 = std::max(path_.y1, std::min(height_, static_cast<int>(y1) + 1));
}

void Canvas::edge(Point a, Point b, double sign) {
  const double w = width_, h = height_;
  a = {std::clamp(a.x, 0.0, w), std::clamp(a.y, 0.0, h)}, b = {std::clamp(b.x, 0.0, w), std::clamp(b.y, 0.0, h)};
  if (a.y == b.y) return;
  if (a.y > b.y) std::swap(a, b), sign = -sign;
  const double slope = (b.x - a.x) / (b.y - a.y), low = std::min(a.x, b.x), high = std::max(a.x, b.x);
  const int last = std::min(height_ - 1, static_cast<int>(b.y));
  double x = a.x;
  for (int row = static_cast<int>(a.y); row <= last; ++row) {
    const double dy = std::min(row + 1.0, b.y) - std::max<double>(row, a.y);
    if (dy <= 0) continue;
    const double next = std::clamp(x + slope * dy, low, high), d = sign * dy;
    const double left = std::min(x, next), right = std::max(x, next);
    double* cover = cover_.data() + static_cast<std::ptrdiff_t>(row) * (width_ + 2);
    const int first = static_cast<int>(left);
    if (right <= first + 1.0) {  // the edge stays in one pixel: cover is a trapezoid
      const double middle = 0.5 * (left + right) - first;
      cover[first] += d - d * middle;
      cover[first + 1] += d * middle;
    } else {  // it crosses pixels: the cover right of the edge grows as its integral over each pixel
      const double per_x = 1 / (right - left);
      double before = 0;
      for (int px = first;; ++px) {
        const double from = std::max(left, static_cast<double>(px)), to = std::min(right, px + 1.0);
        const double ends = (to - left) * per_x;  // share of the edge left of `to`
        const double starts = (from - left) * per_x;
        const double inside = 0.5 * (starts + ends) * (to - from) + ends * (px + 1.0 - to);
        cover[px] += d * (inside - before);
        before = inside;
        if (to >= right) {
          cover[px + 1] += d * (1 - before);
          break;
        }
      }
    }
    x = next;
  }
}

void Canvas::add_ellipse(Point center, double radius_x_px, double radius_y_px) {
  static const std::array<Point, num_corners> corners = make_corners();
  std::array<Point, num_corners> polygon;
  for (std::size_t i = 0; i < polygon.size(); ++i)
    polygon[i] = {center.x + radius_x_px * corners[i].x, center.y + radius_y_px * corners[i].y};
  add(polygon);
}

void Canvas::fill(Color color, float opacity) {
  for (int y = path_.y0; y < path_.y1; ++y) {
    double* cover = cover_.data() + static_cast<std::ptrdiff_t>(y) * (width_ + 2);
    float* px = rgb_.data() + (static_cast<std::ptrdiff_t>(y) * width_ + path_.x0) * 3;
    double sum = 0;
    for (int x = path_.x0; x < path_.x1; ++x, px += 3) {
      sum += cover[x];
      cover[x] = 0;
      const float share = static_cast<float>(std::clamp(sum, 0.0, 1.0)) * opacity;
      px[0] += (color.r - px[0]) * share;
      px[1] += (color.g - px[1]) * share;
      px[2] += (color.b - px[2]) * share;
    }
    cover[path_.x1] = cover[path_.x1 + 1] = 0;  // edges on the right border of the box end here
  }
  changed_ = {std::min(changed_.x0, path_.x0), std::min(changed_.y0, path_.y0), std::max(changed_.x1, path_.x1),
              std::max(changed_.y1, path_.y1)};
  path_ = none();
}

void Canvas::clear(Color color) {
  for (int y = 0; y < height_; ++y) set_row(y, color);
}

void Canvas::set_row(int y, Color color) {
  float* px = rgb_.data() + static_cast<std::ptrdiff_t>(y) * width_ * 3;
  for (int x = 0; x < width_; ++x, px += 3) px[0] = color.r, px[1] = color.g, px[2] = color.b;
  changed_ = whole();
}

void Canvas::store_box(std::uint8_t* rgb, Box box) const {
  for (int y = box.y0; y < box.y1; ++y) {
    const std::ptrdiff_t row = static_cast<std::ptrdiff_t>(y) * width_ * 3;
    for (std::ptrdiff_t i = row + box.x0 * 3; i < row + box.x1 * 3; ++i)
      rgb[i] = static_cast<std::uint8_t>(std::clamp(rgb_[static_cast<std::size_t>(i)], 0.0f, 255.0f) + 0.5f);
  }
}

void Canvas::store(std::uint8_t* rgb) const { store_box(rgb, whole()); }

void Canvas::store_changed(std::uint8_t* rgb) const { store_box(rgb, changed_); }

void Canvas::restore(const Canvas& background) {
  REEL_CHECK(background.width_ == width_ && background.height_ == height_, "another size");
  for (int y = changed_.y0; y < changed_.y1; ++y) {
    const std::ptrdiff_t row = static_cast<std::ptrdiff_t>(y) * width_ * 3;
    if (changed_.x0 < changed_.x1)
      std::copy(background.rgb_.begin() + row + changed_.x0 * 3, background.rgb_.begin() + row + changed_.x1 * 3,
                rgb_.begin() + row + changed_.x0 * 3);
  }
  changed_ = none();
}

}  // namespace reel::worlds
