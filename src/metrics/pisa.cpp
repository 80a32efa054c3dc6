#include "metrics/pisa.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numbers>
#include <utility>

#include "core/error.hpp"
#include "metrics/paired.hpp"

namespace reel::metrics {
namespace {

using Mask = std::vector<std::uint8_t>;

struct Centroid {
  std::int64_t area = 0;
  double x = 0, y = 0;
};

Centroid centroid(const Mask& mask, std::int64_t width) {
  std::int64_t area = 0, x = 0, y = 0;
  for (std::size_t i = 0; i < mask.size(); ++i)
    if (mask[i]) {
      ++area;
      x += static_cast<std::int64_t>(i) % width;
      y += static_cast<std::int64_t>(i) / width;
    }
  if (area == 0) return {};
  const auto n = static_cast<double>(area);
  return {area, static_cast<double>(x) / n, static_cast<double>(y) / n};
}

/// Distance in rows from every pixel to the nearest set one of its column; H + W where the column has none.
std::vector<std::int64_t> column_distance(const Mask& mask, std::int64_t h, std::int64_t w) {
  std::vector<std::int64_t> out(mask.size(), h + w);
  const auto index = [w](std::int64_t y, std::int64_t x) { return static_cast<std::size_t>(y * w + x); };
  for (std::int64_t y = 0; y < h; ++y)
    for (std::int64_t x = 0; x < w; ++x)
      if (mask[index(y, x)])
        out[index(y, x)] = 0;
      else if (y > 0)
        out[index(y, x)] = std::min(out[index(y, x)], out[index(y - 1, x)] + 1);
  for (std::int64_t y = h - 2; y >= 0; --y)
    for (std::int64_t x = 0; x < w; ++x) out[index(y, x)] = std::min(out[index(y, x)], out[index(y + 1, x)] + 1);
  return out;
}

/// Mean over the pixels of `from` of the distance to the nearest pixel of `to`; both have some.
double mean_nearest(const Mask& from, const Mask& to, std::int64_t h, std::int64_t w) {
  const std::vector<std::int64_t> rows = column_distance(to, h, w);
  double sum = 0;
  std::int64_t n = 0;
  for (std::int64_t y = 0; y < h; ++y)
    for (std::int64_t x = 0; x < w; ++x) {
      if (!from[static_cast<std::size_t>(y * w + x)]) continue;
      const std::int64_t* row = &rows[static_cast<std::size_t>(y * w)];
      // Outwards from this column until no column can be nearer than what was found.
      std::int64_t best = row[x] * row[x];
      for (std::int64_t d = 1; d < w && d * d < best; ++d) {
        if (x >= d) best = std::min(best, d * d + row[x - d] * row[x - d]);
        if (x + d < w) best = std::min(best, d * d + row[x + d] * row[x + d]);
      }
      sum += std::sqrt(static_cast<double>(best));
      ++n;
    }
  return sum / static_cast<double>(n);
}

double overlap(const Mask& a, const Mask& b) {
  std::int64_t both = 0, any = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    both += a[i] && b[i];
    any += a[i] || b[i];
  }
  return any == 0 ? 1 : static_cast<double>(both) / static_cast<double>(any);
}

void require_masks(const MaskFilm& masks, const char* name) {
  if (masks.height_px < 1 || masks.width_px < 1 || masks.frames.empty())
    throw Error(Exit::input,
                fmt::format("{} masks of {} x {} pixels", masks.frames.size(), masks.width_px, masks.height_px), name,
                "give a mask for every frame");
  for (std::size_t t = 0; t < masks.frames.size(); ++t)
    if (static_cast<std::int64_t>(masks.frames[t].size()) != masks.height_px * masks.width_px)
      throw Error(
          Exit::input,
          fmt::format("mask {} has {} pixels, not {} x {}", t, masks.frames[t].size(), masks.width_px, masks.height_px),
          name, "give masks of one size");
}

}  // namespace

std::vector<std::int64_t> pisa_truth_frames(std::int64_t num_film_frames, double film_fps,
                                            std::int64_t num_truth_frames, double truth_fps) {
  if (!(film_fps > 0 && truth_fps > 0 && film_fps < 1e6 && truth_fps < 1e6))
    throw Error(Exit::input, fmt::format("{} and {} frames per second", film_fps, truth_fps), {},
                "rates are numbers above 0");
  std::vector<std::int64_t> frames;
  for (std::int64_t i = 0; i < num_film_frames; ++i) {
    const auto at = static_cast<std::int64_t>(static_cast<double>(i) * (truth_fps / film_fps));
    if (at >= num_truth_frames) break;
    frames.push_back(at);
  }
  return frames;
}

Pisa pisa(const MaskFilm& film, const MaskFilm& truth) {
  require_masks(film, "film");
  require_masks(truth, "truth");
  const std::int64_t h = truth.height_px, w = truth.width_px;
  if (film.height_px != h || film.width_px != w || film.frames.size() != truth.frames.size())
    throw Error(Exit::input,
                fmt::format("the film has {} masks of {} x {} pixels, the truth {} of {} x {}", film.frames.size(),
                            film.width_px, film.height_px, truth.frames.size(), w, h),
                "film", "give masks of one size and one number of frames");
  const double unit = std::numbers::sqrt2 * static_cast<double>(h);
  Pisa result;
  double coded = 0, euclid = 0, chamfer = 0, iou = 0, iou_seen = 0;
  for (std::size_t t = 0; t < truth.frames.size(); ++t) {
    const Mask &a = film.frames[t], &b = truth.frames[t];
    const Centroid ca = centroid(a, w), cb = centroid(b, w);
    result.iou_per_frame.push_back(overlap(a, b));
    iou += result.iou_per_frame.back();
    double distance = nan, nearest = nan;
    if (ca.area > 0 && cb.area > 0) {
      ++result.num_both;
      const double dx = ca.x - cb.x, dy = ca.y - cb.y;
      distance = std::hypot(dx, dy) / unit;
      nearest = (mean_nearest(a, b, h, w) + mean_nearest(b, a, h, w)) / unit;
      coded += (std::abs(dx) + std::abs(dy)) / 2 / unit;
      euclid += distance;
      chamfer += nearest;
      iou_seen += result.iou_per_frame.back();
    }
    result.num_lost += ca.area == 0 && cb.area > 0;
    result.num_invented += ca.area > 0 && cb.area == 0;
    result.l2_per_frame.push_back(distance);
    result.chamfer_per_frame.push_back(nearest);
  }
  result.num_frames = static_cast<std::int64_t>(truth.frames.size());
  const auto seen = static_cast<double>(result.num_both);
  const auto missed = static_cast<double>(result.num_lost + result.num_invented), all = seen + missed;
  const auto means = [&](double sum, double penalty) {
    return PisaDistance{seen > 0 ? sum / seen : nan, all > 0 ? (sum + penalty * missed) / all : nan};
  };
  result.l2_coded = means(coded, 1);
  result.l2 = means(euclid, 1);
  result.chamfer = means(chamfer, 2);
  result.iou = iou / static_cast<double>(result.num_frames);
  result.iou_seen = seen > 0 ? iou_seen / seen : nan;
  return result;
}

Findings pisa_findings(const Pisa& result, const std::vector<double>& time_s) {
  REEL_CHECK(static_cast<std::int64_t>(time_s.size()) == result.num_frames, "{} times for {} frames", time_s.size(),
             result.num_frames);
  Findings findings;
  const auto add = [&](std::string id, std::string name, Better better, double value, std::int64_t n) {
    Metric metric{.id = std::move(id), .name = std::move(name), .unit = "1", .better = better, .value = value, .n = n};
    findings.metrics.push_back(std::isnan(value) ? refused(std::move(metric), "no frame has the object in both")
                                                 : std::move(metric));
  };
  const std::int64_t either = result.num_both + result.num_lost + result.num_invented;
  const auto both_ways = [&](const std::string& id, const std::string& name, const PisaDistance& distance) {
    add(id, name + ", frames with both", Better::lower, distance.seen, result.num_both);
    add(id + "_all", name + ", a lost object at the far end, frames with either", Better::lower, distance.all, either);
  };
  both_ways("PISA.l2_coded", "mean coordinate error of the centroid / (sqrt(2) H)", result.l2_coded);
  both_ways("PISA.l2", "distance of the centroids / (sqrt(2) H)", result.l2);
  both_ways("PISA.chamfer", "chamfer distance of the masks / (sqrt(2) H)", result.chamfer);
  add("PISA.iou", "overlap of the masks, 1 where both are empty, frames", Better::higher, result.iou,
      result.num_frames);
  add("PISA.iou_seen", "overlap of the masks, frames with both", Better::higher, result.iou_seen, result.num_both);
  const auto share = [&](std::int64_t n) {
    return either == 0 ? nan : static_cast<double>(n) / static_cast<double>(either);
  };
  add("PISA.lost", "share of frames in which the film has lost the object", Better::zero, share(result.num_lost),
      either);
  add("PISA.invented", "share of frames in which only the film has the object", Better::zero,
      share(result.num_invented), either);
  findings.traces.push_back(
      traced("PISA.l2", "distance of the centroids / (sqrt(2) H)", "1", time_s, result.l2_per_frame));
  findings.traces.push_back(
      traced("PISA.chamfer", "chamfer distance of the masks / (sqrt(2) H)", "1", time_s, result.chamfer_per_frame));
  findings.traces.push_back(traced("PISA.iou", "overlap of the masks", "1", time_s, result.iou_per_frame));
  return findings;
}

}  // namespace reel::metrics
