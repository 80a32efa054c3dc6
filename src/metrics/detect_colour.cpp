#include <algorithm>
#include <cmath>

#include "metrics/detect_parts.hpp"

namespace reel::metrics {
namespace {

using Rgb = std::array<double, 3>;

constexpr double core_share = 0.3, inside_share = 0.5, least_peak = 0.6;
constexpr double least_share = 0.02;   // below, rounding to bytes could be the reason
constexpr double least_contrast = 30;  // levels between a colour and the background it is seen before
constexpr double rest_sigma = 60;      // levels
constexpr double pair_gain = 48;       // levels^2: a second colour must explain more than rounding
constexpr std::size_t most_colours = 16;

Rgb minus(const Rgb& a, const Rgb& b) { return {a[0] - b[0], a[1] - b[1], a[2] - b[2]}; }
double dot(const Rgb& a, const Rgb& b) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; }
double rest_of(const Rgb& change, const Rgb& a, double s, const Rgb& b = {}, double t = 0) {
  double sum = 0;
  for (std::size_t c = 0; c < 3; ++c) {
    const double r = change[c] - s * a[c] - t * b[c];
    sum += r * r;
  }
  return sum;
}

struct Shares {
  std::size_t first = 0, second = 0;  // colours
  double s = 0, t = 0;                // their shares
  double rest = 0;                    // squared levels
};

/// Best one or two colours for `change` = pixel - background.
Shares explain(const Rgb& change, const Rgb& background, const std::vector<Rgb>& colours) {
  std::array<Rgb, most_colours> d;
  std::array<double, most_colours> dd{};
  Shares best{0, 0, 0, 0, dot(change, change)};
  for (std::size_t k = 0; k < colours.size(); ++k) {
    d[k] = minus(colours[k], background);
    dd[k] = dot(d[k], d[k]);
    if (dd[k] < least_contrast * least_contrast) continue;
    const double s = std::max(0.0, dot(change, d[k]) / dd[k]), rest = rest_of(change, d[k], s);
    if (rest < best.rest) best = {k, k, s, 0, rest};
  }
  if (colours.size() < 2 || best.rest <= pair_gain) return best;
  const double limit = best.rest - pair_gain;
  for (std::size_t i = 0; i < colours.size(); ++i)
    for (std::size_t j = i + 1; j < colours.size(); ++j) {
      const double ij = dot(d[i], d[j]), det = dd[i] * dd[j] - ij * ij;
      if (std::min(dd[i], dd[j]) < least_contrast * least_contrast) continue;
      double s = -1, t = -1;
      if (det > 1e-3 * dd[i] * dd[j]) {  // otherwise the two colours lie on one line with the background
        const double ci = dot(change, d[i]), cj = dot(change, d[j]);
        s = (ci * dd[j] - cj * ij) / det;
        t = (cj * dd[i] - ci * ij) / det;
      }
      if (s < 0 || t < 0 || s + t > 1) {  // on the line between the two: no background
        const Rgb span = minus(d[i], d[j]);
        if (dot(span, span) < least_contrast * least_contrast) continue;
        s = dot(minus(change, d[j]), span) / dot(span, span);
        t = 1 - s;
        if (s < 0 || t < 0) continue;
      }
      const double rest = rest_of(change, d[i], s, d[j], t);
      if (rest < std::min(limit, best.rest)) best = {i, j, s, t, rest};
    }
  return best;
}

/// Shares of one object in a rectangle of the frame.
struct Map {
  parts::Pixels area;
  std::vector<float> share;
  float at(std::int64_t x, std::int64_t y) const {
    return share[static_cast<std::size_t>((y - area.y0) * area.width() + x - area.x0)];
  }
};

/// A pixel all of whose neighbours are mostly covered is wholly covered. Outside of the picture nothing contradicts.
bool is_inside(const Map& map, std::int64_t x, std::int64_t y, std::int64_t width, std::int64_t height) {
  for (std::int64_t v = y - 1; v <= y + 1; ++v)
    for (std::int64_t u = x - 1; u <= x + 1; ++u) {
      if (u < 0 || v < 0 || u >= width || v >= height) continue;
      if (u < map.area.x0 || v < map.area.y0 || u >= map.area.x1 || v >= map.area.y1) return false;
      if (map.at(u, v) < inside_share) return false;
    }
  return true;
}

/// Components of one object's map, which has a margin of 4 px around all cores unless the picture ends before.
void collect(const Map& map, const Frame& frame, int object, double least_area_px, std::vector<Detection>& out) {
  const std::int64_t w = map.area.width(), h = map.area.height();
  std::vector<std::uint8_t> core(map.share.size());
  for (std::size_t i = 0; i < core.size(); ++i) core[i] = map.share[i] > core_share;
  std::vector<std::int32_t> labels;
  const int count = parts::label(core, w, h, labels);
  if (count == 0) return;
  std::vector<std::int32_t> grown;
  for (int round = 0; round < 2; ++round) {  // what is seen within 2 px of the core
    grown = labels;
    for (std::int64_t y = 0; y < h; ++y)
      for (std::int64_t x = 0; x < w; ++x) {
        const auto i = static_cast<std::size_t>(y * w + x);
        if (labels[i] || map.share[i] <= 0) continue;
        std::int32_t near = 0;
        for (std::int64_t v = std::max<std::int64_t>(0, y - 1); v < std::min(h, y + 2); ++v)
          for (std::int64_t u = std::max<std::int64_t>(0, x - 1); u < std::min(w, x + 2); ++u) {
            const std::int32_t other = labels[static_cast<std::size_t>(v * w + u)];
            if (other && (!near || other < near)) near = other;
          }
        grown[i] = near;
      }
    labels.swap(grown);
  }
  const auto n = static_cast<std::size_t>(count) + 1;
  std::vector<parts::Pixels> extent(n, parts::Pixels::none());
  std::vector<double> inside_sum(n, 0), peak(n, 0);
  std::vector<std::int64_t> inside_count(n, 0);
  std::vector<Rgb> colour(n, Rgb{});
  std::vector<std::uint8_t> inside(map.share.size(), 0);
  for (std::int64_t y = 0; y < h; ++y)
    for (std::int64_t x = 0; x < w; ++x) {
      const auto i = static_cast<std::size_t>(y * w + x);
      const auto k = static_cast<std::size_t>(labels[i]);
      if (k == 0) continue;
      const std::int64_t fx = map.area.x0 + x, fy = map.area.y0 + y;
      extent[k].include(fx, fy);
      peak[k] = std::max(peak[k], static_cast<double>(map.share[i]));
      if (!is_inside(map, fx, fy, frame.width_px, frame.height_px)) continue;
      inside[i] = 1;
      inside_sum[k] += map.share[i];
      ++inside_count[k];
      for (std::size_t c = 0; c < 3; ++c)
        colour[k][c] += frame.rgb[static_cast<std::size_t>(3 * (fy * frame.width_px + fx)) + c];
    }
  for (std::size_t k = 1; k < n; ++k) {
    if (peak[k] < least_peak) continue;
    const double full = inside_count[k] ? inside_sum[k] / static_cast<double>(inside_count[k]) : 1;
    parts::Moments moments;
    bool whole = true;
    Rgb rim{};
    for (std::int64_t y = extent[k].y0; y < extent[k].y1; ++y)
      for (std::int64_t x = extent[k].x0; x < extent[k].x1; ++x) {
        const auto i = static_cast<std::size_t>((y - map.area.y0) * w + x - map.area.x0);
        if (labels[i] != static_cast<std::int32_t>(k)) continue;
        double share = std::min(1.0, map.share[i] / full);
        if (inside[i] && share > 0.9) share = 1;  // otherwise a gap narrower than a pixel
        moments.add(share, static_cast<double>(x - extent[k].x0) + 0.5, static_cast<double>(y - extent[k].y0) + 0.5);
        whole = whole && x > 0 && y > 0 && x < frame.width_px - 1 && y < frame.height_px - 1;
        for (std::size_t c = 0; c < 3; ++c)
          rim[c] += share * frame.rgb[static_cast<std::size_t>(3 * (y * frame.width_px + x)) + c];
      }
    if (moments.s < least_area_px) continue;
    Detection d = moments.detection(static_cast<double>(extent[k].x0), static_cast<double>(extent[k].y0));
    d.box = extent[k].box();
    d.whole = whole;
    d.object = object;
    for (std::size_t c = 0; c < 3; ++c)
      d.rgb[c] = inside_count[k] ? colour[k][c] / static_cast<double>(inside_count[k]) : rim[c] / moments.s;
    out.push_back(d);
  }
}

}  // namespace

ColourDetector::ColourDetector(std::vector<NamedColour> colours, Background background)
    : colours_(std::move(colours)), background_(std::move(background)) {
  if (colours_.empty() || colours_.size() > most_colours)
    throw Error(Exit::input, fmt::format("{} colours to look for", colours_.size()), "colours", "give 1 to 16");
  for (const NamedColour& colour : colours_) {
    const auto at = std::find(names_.begin(), names_.end(), colour.name);
    object_.push_back(static_cast<std::size_t>(at - names_.begin()));
    if (at == names_.end()) names_.push_back(colour.name);
  }
}

std::vector<Detection> ColourDetector::detect(const Frame& frame, const Matrix3& to_first) const {
  parts::check_size(frame, background_);
  const parts::Behind behind(background_, to_first);
  const std::int64_t width = frame.width_px, height = frame.height_px;
  std::vector<Rgb> colours;
  for (const NamedColour& c : colours_)
    colours.push_back({static_cast<double>(c.rgb[0]), static_cast<double>(c.rgb[1]), static_cast<double>(c.rgb[2])});

  // Noise, from the green of every 7th pixel, and the rectangle outside of which nothing differs.
  std::vector<float> differences;
  Rgb b{};
  for (std::int64_t i = 0; i < width * height; i += 7)
    if (behind.at(i % width, i / width, b))
      differences.push_back(std::abs(static_cast<float>(frame.rgb[static_cast<std::size_t>(3 * i + 1)] - b[1])));
  const double noise = parts::robust_sigma(differences), least_change = std::max(2.0, 3 * noise);

  parts::Pixels area = parts::Pixels::none();
  std::vector<float> changed(
      static_cast<std::size_t>(3 * width * height));  // pixel - background, 0 where nothing is known
  for (std::int64_t y = 0; y < height; ++y)
    for (std::int64_t x = 0; x < width; ++x) {
      const auto i = static_cast<std::size_t>(3 * (y * width + x));
      if (!behind.at(x, y, b)) continue;
      double sum = 0;
      for (std::size_t c = 0; c < 3; ++c) {
        const double change = frame.rgb[i + c] - b[c];
        changed[i + c] = static_cast<float>(change);
        sum += change * change;
      }
      if (sum >= least_change * least_change) area.include(x, y);
    }
  std::vector<Detection> out;
  if (area.x0 > area.x1) return out;

  std::vector<Map> maps(names_.size(), Map{area, std::vector<float>(area.size(), 0.0f)});
  for (std::int64_t y = area.y0; y < area.y1; ++y)
    for (std::int64_t x = area.x0; x < area.x1; ++x) {
      const auto i = static_cast<std::size_t>(3 * (y * width + x));
      const Rgb change{changed[i], changed[i + 1], changed[i + 2]};
      if (dot(change, change) < least_change * least_change || !behind.at(x, y, b)) continue;
      const Shares found = explain(change, b, colours);
      const double trust = std::exp(-found.rest / (2 * rest_sigma * rest_sigma));
      const auto j = static_cast<std::size_t>((y - area.y0) * area.width() + x - area.x0);
      const auto take = [&](std::size_t colour, double share) {
        const double least =
            std::max(least_share, 3 * noise / std::sqrt(dot(minus(colours[colour], b), minus(colours[colour], b))));
        if (share > least) maps[object_[colour]].share[j] += static_cast<float>(share * trust);
      };
      take(found.first, found.s);
      if (found.t > 0) take(found.second, found.t);
    }
  for (std::size_t k = 0; k < maps.size(); ++k) {
    parts::Pixels core = parts::Pixels::none();
    for (std::size_t i = 0; i < maps[k].share.size(); ++i)
      if (maps[k].share[i] > core_share)
        core.include(area.x0 + static_cast<std::int64_t>(i) % area.width(),
                     area.y0 + static_cast<std::int64_t>(i) / area.width());
    if (core.x0 > core.x1) continue;
    Map map{core.grown(4, width, height), {}};
    for (std::int64_t y = map.area.y0; y < map.area.y1; ++y)
      for (std::int64_t x = map.area.x0; x < map.area.x1; ++x)
        map.share.push_back(x >= area.x0 && y >= area.y0 && x < area.x1 && y < area.y1 ? maps[k].at(x, y) : 0.0f);
    collect(map, frame, static_cast<int>(k), least_area_px, out);
  }
  return out;
}

}  // namespace reel::metrics
