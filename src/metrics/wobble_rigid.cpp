#include <algorithm>
#include <cmath>

#include "core/error.hpp"
#include "metrics/fit.hpp"
#include "metrics/jitter.hpp"
#include "metrics/wobble.hpp"

namespace reel::metrics {
namespace {

constexpr std::size_t longest_life = 256;

/// Torr's geometric robust information criterion: residuals of sigma in r = 4 coordinates, for a model of dimension d
/// with k parameters.
double gric(std::span<const double> distances, double sigma, double d, double k) {
  const auto n = static_cast<double>(distances.size());
  double sum = 0;
  for (const double e : distances) sum += std::min(e * e / (sigma * sigma), 2 * (4 - d));
  return sum + std::log(4.0) * d * n + std::log(4 * n) * k;
}

std::vector<Pair> common(std::span<const Feature> a, std::span<const Feature> b) {
  std::vector<Pair> pairs;
  std::size_t i = 0;
  for (const Feature& f : b) {  // ids rise in both
    while (i < a.size() && a[i].id < f.id) ++i;
    if (i < a.size() && a[i].id == f.id && a[i].background && f.background)
      pairs.push_back({a[i].x_px, a[i].y_px, f.x_px, f.y_px, 1});
  }
  return pairs;
}

double mean(const std::vector<double>& v) {
  double sum = 0;
  int n = 0;
  for (const double x : v)
    if (std::isfinite(x)) sum += x, ++n;
  return n > 0 ? sum / n : nan;
}

}  // namespace

void RigidResidual::add(const CameraTracker& camera) {
  const CameraPath& path = camera.path();
  const auto frame = static_cast<std::int64_t>(time_s_.size());
  REEL_CHECK(frame + 1 == path.num_frames(), "frame {} after {}", path.num_frames() - 1, frame);
  time_s_.push_back(path.time_s.back());
  square_.push_back(0), weight_.push_back(0);
  const Matrix3& to_first = path.to_first.back();
  const auto features = camera.features();
  std::vector<Pair> places;
  for (const Feature& f : features) places.push_back({f.x_px, f.y_px, 0, 0, 1});
  weigh_by_cell(places, static_cast<double>(path.width_px), static_cast<double>(path.height_px));
  for (auto& [id, life] : lives_) life.seen = false;
  for (std::size_t i = 0; i < features.size(); ++i) {
    const auto at = mapped(to_first, features[i].x_px, features[i].y_px);
    if (!std::isfinite(at[0])) continue;
    Life& life = lives_[features[i].id];
    if (life.frame.size() == longest_life) {
      close(life);
      life = {};
    }
    life.seen = true;
    life.frame.push_back(frame);
    life.x.push_back(at[0]), life.y.push_back(at[1]), life.weight.push_back(places[i].weight);
    life.num_background += features[i].background;
  }
  for (auto it = lives_.begin(); it != lives_.end();)
    if (!it->second.seen) {
      close(it->second);
      it = lives_.erase(it);
    } else {
      ++it;
    }
  gaps(camera);
}

// Takes one corner's path into the sums over frames.
void RigidResidual::close(Life& life) {
  const std::size_t n = life.frame.size();
  if (n < 12 || 10 * life.num_background < 7 * static_cast<int>(n)) return;
  std::vector<double> t(n);
  for (std::size_t i = 0; i < n; ++i) t[i] = time_s_[static_cast<std::size_t>(life.frame[i])];
  const double length = t.back() - t.front();
  if (length < 0.5) return;
  if (!kept_.contains(static_cast<std::int64_t>(n)))
    kept_[static_cast<std::int64_t>(n)] = kept_power(n, length / static_cast<double>(n - 1));
  const double kept = kept_[static_cast<std::int64_t>(n)];
  if (!std::isfinite(kept)) return;
  ++num_lives_;
  const std::vector<double> high_x = high_pass(t, life.x), high_y = high_pass(t, life.y);
  double low[2] = {}, low2[2] = {};
  for (std::size_t i = 0; i < n; ++i) {
    const auto f = static_cast<std::size_t>(life.frame[i]);
    square_[f] += life.weight[i] * (high_x[i] * high_x[i] + high_y[i] * high_y[i]) / kept;
    weight_[f] += life.weight[i];
    const double dx = life.x[i] - high_x[i] - life.x[0], dy = life.y[i] - high_y[i] - life.y[0];
    low[0] += dx, low[1] += dy, low2[0] += dx * dx, low2[1] += dy * dy;
  }
  const auto m = static_cast<double>(n);
  drift_.push_back(std::sqrt(std::max(0.0, (low2[0] + low2[1]) / m - (low[0] * low[0] + low[1] * low[1]) / (m * m))));
}

void RigidResidual::gaps(const CameraTracker& camera) {
  const CameraPath& path = camera.path();
  const auto width = static_cast<double>(path.width_px), height = static_cast<double>(path.height_px);
  const auto features = camera.features();
  recent_.push_back({{features.begin(), features.end()}, path.to_first.back()});
  if (recent_.size() > gap_.back() + 1) recent_.pop_front();
  const bool test = path.num_frames() % 4 == 0;
  const std::size_t longest = std::min(gap_.back(), recent_.size() - 1);
  for (std::size_t k = 0; k < gap_.size(); ++k) {
    double median_px = nan, p95_px = nan;
    if (camera.step().calibrated && gap_[k] < recent_.size()) {
      const Still& then = recent_[recent_.size() - 1 - gap_[k]];
      std::vector<Pair> pairs = common(then.features, recent_.back().features);
      if (pairs.size() >= 12) {
        weigh_by_cell(pairs, width, height);
        const Matrix3 start = product(inverse(recent_.back().to_first), then.to_first);
        const Matrix3 h = fit_robust(CameraModel::homography, pairs, start);
        std::vector<double> r;
        for (const Pair& p : pairs) r.push_back(transfer_px(h, p));
        median_px = median(r), p95_px = quantile(r, 0.95);
        // The longest gap that this shot has so far; from 4 frames on depth may show.
        if (test && gap_[k] >= 4 && (k + 1 == gap_.size() || gap_[k + 1] > longest))
          depth(pairs, h, width, height, static_cast<std::uint64_t>(path.num_frames()));
      }
    }
    median_[k].push_back(median_px), p95_[k].push_back(p95_px);
  }
}

void RigidResidual::depth(std::span<Pair> pairs, const Matrix3& homography, double width, double height,
                          std::uint64_t seed) {
  if (pairs.size() < 24) return;
  const double sigma = 0.15 * std::max(1.0, std::min(width, height) / 360);
  const Matrix3 f = ransac_fundamental(pairs, 3 * sigma, 60, seed);
  std::vector<double> plane, rays;
  for (const Pair& p : pairs) plane.push_back(transfer_px(homography, p)), rays.push_back(sampson_px(f, p));
  ++num_tested_;
  const double m = median(rays);
  sampson_median_.push_back(m), sampson_p95_.push_back(quantile(rays, 0.95));
  num_depth_ += gric(rays, sigma, 3, 7) < gric(plane, sigma, 2, 8) && m < 0.35 * median(plane);
}

Findings RigidResidual::finish() {
  for (auto& [id, life] : lives_) close(life);
  lives_.clear();
  Findings out;
  const auto add = [&](std::string id, std::string name, std::string unit, double value, std::int64_t n,
                       const char* why, Better better = Better::lower) {
    Metric m{std::move(id), std::move(name), std::move(unit), Aspect::stability, better, value, nan, n};
    out.metrics.push_back(std::isfinite(value) ? m : refused(m, why));
  };
  double square = 0, weight = 0;
  std::vector<double> rms(time_s_.size(), nan);
  for (std::size_t i = 0; i < rms.size(); ++i) {
    square += square_[i], weight += weight_[i];
    if (weight_[i] > 0) rms[i] = std::sqrt(square_[i] / weight_[i]);
  }
  const char* few = "no corner of the background could be followed for half a second";
  add("B2.rms", "wobble of the rigid scene above 1 Hz, root mean square", "px",
      weight > 0 ? std::sqrt(square / weight) : nan, num_lives_, few);
  add("B2.drift", "drift of the rigid scene below 1 Hz, median over corners", "px", median(drift_), num_lives_, few);
  for (std::size_t k = 0; k < gap_.size(); ++k) {
    const auto n = std::count_if(median_[k].begin(), median_[k].end(), [](double v) { return std::isfinite(v); });
    const char* why = "too few corners seen in both frames, or the shot is too short";
    add(fmt::format("B2.gap{}_median", gap_[k]),
        fmt::format("distance to the best homography over {} frames, median", gap_[k]), "px", mean(median_[k]), n, why);
    add(fmt::format("B2.gap{}_p95", gap_[k]),
        fmt::format("distance to the best homography over {} frames, 95 %", gap_[k]), "px", mean(p95_[k]), n, why);
  }
  const bool deep = num_tested_ > 0 && 2 * num_depth_ > num_tested_;
  add("B2.parallax", "share of pairs of frames where depth shows", "1",
      num_tested_ > 0 ? static_cast<double>(num_depth_) / num_tested_ : nan, num_tested_,
      "too few corners seen in both frames, or the shot is too short", Better::none);
  add("B2.sampson_median", "Sampson distance to the best fundamental matrix, median", "px",
      deep ? mean(sampson_median_) : nan, num_tested_, "no parallax: a homography explains the background");
  add("B2.sampson_p95", "Sampson distance to the best fundamental matrix, 95 %", "px", deep ? mean(sampson_p95_) : nan,
      num_tested_, "no parallax: a homography explains the background");
  if (weight > 0)
    out.traces.push_back(traced("B2.rms", "wobble of the rigid scene, frame by frame", "px", time_s_, rms));
  for (std::size_t k = 0; k < gap_.size(); ++k)
    if (std::isfinite(mean(median_[k])))
      out.traces.push_back(traced(fmt::format("B2.gap{}_median", gap_[k]),
                                  fmt::format("distance to the best homography over {} frames", gap_[k]), "px", time_s_,
                                  median_[k]));
  return out;
}

}  // namespace reel::metrics
