#include "metrics/camera.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <opencv2/imgproc.hpp>

#include "core/error.hpp"
#include "metrics/flow.hpp"
#include "metrics/patch.hpp"

namespace reel::metrics {
namespace {

constexpr int grid = 8, per_cell = 5, most_features = 320;
constexpr double least_corner = 10;  // smaller eigenvalue of the structure tensor; about 1.6 levels/px both ways
constexpr int lk_window = 11;
constexpr double texture_spacing = 0.5;  // pieces of 4 px: texture is where the corner is

struct Tracked {
  Feature feature;
  Patch place;    ///< on the smoothed picture: where it is
  Patch texture;  ///< on the picture as it is: how it changes
  Patch::Linear linear{1, 0, 0, 1};
  double x = 0, y = 0, x_before = 0, y_before = 0;  ///< px of the grey picture
};

struct Flat {
  Patch patch;
  double x = 0, y = 0;
};

cv::Mat view(const Plane& p) {
  return {p.height_px, p.width_px, CV_32F, const_cast<float*>(p.level.data())};  // NOLINT: read only
}

/// Which blocks of the picture's border are flat, and which have changed.
struct Border {
  int blocks = 0, changed = 0, still_and_flat = 0;
};

Border border(const Plane& before, const Plane& now) {
  Border out;
  const int bw = std::max(1, now.width_px / 16), bh = std::max(1, now.height_px / 16);
  const int nx = now.width_px / bw, ny = now.height_px / bh;
  for (int j = 0; j < ny; ++j)
    for (int i = 0; i < nx; ++i) {
      if (j > 0 && j + 1 < ny && i > 0 && i + 1 < nx) continue;
      float low = 1e9f, high = -1e9f, change = 0;
      for (int y = j * bh; y < (j + 1) * bh; ++y)
        for (int x = i * bw; x < (i + 1) * bw; ++x) {
          const auto k =
              static_cast<std::size_t>(y) * static_cast<std::size_t>(now.width_px) + static_cast<std::size_t>(x);
          low = std::min(low, now.level[k]), high = std::max(high, now.level[k]);
          change = std::max(change, std::abs(now.level[k] - before.level[k]));
        }
      ++out.blocks;
      out.changed += change > 3;
      out.still_and_flat += change <= 3 && high - low <= 8;
    }
  return out;
}

}  // namespace

int min_inliers(int short_side_px) { return std::clamp(short_side_px / 8, 12, 30); }

struct CameraTracker::State {
  bool still = false;
  std::uint64_t seed = 0;
  int factor = 1, zoom = 1;  ///< zoom: enlargement of grey for the pyramid
  std::int64_t width = 0, height = 0, next_id = 0;
  double spacing = 1, apart = 3;
  Plane luma, luma_before, grey, grey_before;
  Plane smooth;  ///< grey under [1 2 1] / 4 both ways: sharp edges between pixels would pull shifts to whole pixels
  Pyramid pyramid, pyramid_before;
  std::vector<Tracked> tracks;
  std::vector<Feature> features;
  std::array<Flat, grid * grid> flats;
  std::vector<double> flat_variances;
  CameraStep step;
  CameraPath path;
  int levels = 0;

  void first(const Frame& frame) {
    width = frame.width_px, height = frame.height_px;
    path.width_px = width, path.height_px = height;
    factor = reduction(height, width);
    const auto side = static_cast<double>(std::min(height, width) / factor);
    // Small pieces on small pictures, or they would average over the motions they are to see. Never 1: samples between
    // the pixels, at all phases alike, keep interpolation from pulling shifts towards whole pixels.
    spacing = side < 96 ? 0.5 : 0.75;
    zoom = side < 64 ? 4 : side < 128 ? 2 : 1;
    apart = std::max(3.0, 0.015 * side);
    levels = std::clamp(static_cast<int>(std::log2(side * zoom / 24)), 0, 4);
  }

  /// Room for the pyramid: at least a few pixels each way.
  bool trackable() const { return std::min(grey.width_px, grey.height_px) >= 16; }

  void build_pyramid() {
    smooth.width_px = grey.width_px, smooth.height_px = grey.height_px;
    smooth.level.resize(grey.level.size());
    cv::Mat out = view(smooth);
    const cv::Mat kernel = (cv::Mat_<float>(3, 1) << 0.25f, 0.5f, 0.25f);
    cv::sepFilter2D(view(grey), out, CV_32F, kernel, kernel, {-1, -1}, 0, cv::BORDER_REPLICATE);
    std::swap(pyramid, pyramid_before);
    // Without the local mean: corners are found again when the light changes.
    cv::Mat local;
    cv::blur(view(grey), local, {15, 15}, {-1, -1}, cv::BORDER_REPLICATE);
    cv::subtract(view(grey), local, local);
    Plane coarse{grey.width_px * zoom, grey.height_px * zoom, {}};
    coarse.level.resize(grey.level.size() * static_cast<std::size_t>(zoom * zoom));
    cv::Mat large = view(coarse);
    cv::resize(local, large, large.size(), 0, 0, cv::INTER_CUBIC);
    pyramid = Pyramid(coarse, levels);
  }

  void follow() {
    std::vector<Tracked> kept;
    kept.reserve(tracks.size());
    for (std::size_t i = 0; i < tracks.size(); ++i) {
      Tracked& t = tracks[i];
      double x = t.x * zoom, y = t.y * zoom;
      if (!follow_point(pyramid_before, pyramid, lk_window, x, y)) continue;
      double back_x = x, back_y = y;
      if (!follow_point(pyramid, pyramid_before, lk_window, back_x, back_y)) continue;
      if (!(std::hypot(back_x / zoom - t.x, back_y / zoom - t.y) <= 0.5)) continue;
      t.x_before = t.x, t.y_before = t.y;
      t.x = x / zoom, t.y = y / zoom;
      if (!t.place.find(smooth, t.linear, t.x, t.y, 1.5)) continue;
      if (!t.texture.compare(grey, t.linear, t.x, t.y, true)) continue;
      t.feature.variance = t.texture.variance();
      t.place.remember();
      t.texture.remember();
      kept.push_back(std::move(t));
    }
    tracks = std::move(kept);
  }

  /// Fits the step to the tracks; false, with the reason, when it cannot be told.
  bool fit(std::span<const Box> moving) {
    std::vector<Pair> pairs;
    std::vector<std::size_t> whose;
    for (std::size_t i = 0; i < tracks.size(); ++i) {
      Tracked& t = tracks[i];
      t.feature.background = false;
      const Pair p{t.x_before * factor, t.y_before * factor, t.x * factor, t.y * factor, 1};
      const bool left_out = std::any_of(moving.begin(), moving.end(), [&](const Box& b) {
        return p.u >= b.x_px && p.u <= b.x_px + b.width_px && p.v >= b.y_px && p.v <= b.y_px + b.height_px;
      });
      if (!left_out) pairs.push_back(p), whose.push_back(i);
    }
    const auto w = static_cast<double>(width), h = static_cast<double>(height);
    step.num_tracks = static_cast<int>(pairs.size());
    const int least = min_inliers(std::min(grey.width_px, grey.height_px));
    if (step.num_tracks < least) {
      step.reason = fmt::format("{} corners, {} are needed", step.num_tracks, least);
      return false;
    }
    weigh_by_cell(pairs, w, h);
    // A start: the smallest of three thresholds that joins half of the corners.
    const double unit = std::max(1.0, std::min(w, h) / 256);
    Matrix3 m = identity3;
    std::vector<Pair> set;
    const auto join = [&](double reach) {
      set.clear();
      for (const Pair& p : pairs)
        if (transfer_px(m, p) <= reach) set.push_back(p);
    };
    for (double threshold = unit; threshold <= 4 * unit; threshold *= 2) {
      m = ransac_similarity(pairs, threshold, seed + static_cast<std::uint64_t>(path.num_frames()));
      join(threshold);
      if (2 * set.size() >= pairs.size()) break;
    }
    if (set.size() < 4) {
      step.reason = "no corners move together";
      return false;
    }
    m = fit_robust(CameraModel::similarity, set, m);
    // Background: what is not far out of the crowd, by the median over all corners. That is tight where the scene is
    // rigid, also beside an object that moves, and wide where all of it wobbles.
    const auto reach = [&] { return std::clamp(6 * robust_sigma_px(pairs, m), 0.25 * unit, 4 * unit); };
    join(reach());
    const int cells = weigh_by_cell(set, w, h);
    m = choose(set, cells, m, w, h);
    const double near = reach();
    double square = 0, sx = 0, sy = 0, sxx = 0, syy = 0;
    for (std::size_t i = 0; i < pairs.size(); ++i) {
      const Pair& p = pairs[i];
      const double r = transfer_px(m, p);
      if (r > near) continue;
      tracks[whose[i]].feature.background = true;
      ++step.num_inliers;
      square += r * r;
      sx += p.u / w, sy += p.v / h, sxx += p.u * p.u / (w * w), syy += p.v * p.v / (h * h);
    }
    const double n = std::max(step.num_inliers, 1);
    step.residual_px = std::sqrt(square / n);
    step.from_previous = m;
    const double spread = std::sqrt(std::max(0.0, std::min(sxx / n - sx * sx / n / n, syy / n - sy * sy / n / n)));
    if (step.num_inliers < least || step.num_inliers < 0.4 * step.num_tracks)
      step.reason = fmt::format("{} of {} corners move together, {} and 40 % are needed", step.num_inliers,
                                step.num_tracks, least);
    else if (spread < 0.12)
      step.reason = "the corners that move together fill too small a part of the picture";
    return step.reason.empty();
  }

  Matrix3 choose(std::span<const Pair> set, int cells, const Matrix3& start, double w, double h) {
    const std::array models{CameraModel::similarity, CameraModel::affine, CameraModel::homography};
    const std::array parameters{4.0, 6.0, 8.0};
    Matrix3 best = start, m = start;
    double lowest = 0, cut = 0;
    for (std::size_t k = 0; k < models.size(); ++k) {
      m = fit_robust(models[k], set, m);
      if (k == 0) {
        const Similarity s = similarity_of(m, 0.5 * w, 0.5 * h);
        step.dx_px = s.dx, step.dy_px = s.dy, step.theta_rad = s.theta, step.log_scale = s.log_scale;
        cut = 4 * std::max(robust_sigma_px(set, m), 0.02);
      }
      double square = 0, weight = 0;
      for (const Pair& p : set) {
        const double r = std::min(transfer_px(m, p), cut);
        square += p.weight * r * r, weight += p.weight;
      }
      // Below 0.01 px nothing is to be gained.
      const double n = 2.0 * cells, bic = n * std::log(square / weight + 1e-4) + parameters[k] * std::log(n);
      if (k == 0 || bic < lowest) lowest = bic, best = m, step.model = models[k];
    }
    return best;
  }

  void replenish() {
    const int w = grey.width_px, h = grey.height_px;
    std::array<int, grid * grid> count{};
    const auto cell = [&](double x, double y) {
      return static_cast<std::size_t>(std::clamp(static_cast<int>(grid * y / h), 0, grid - 1) * grid +
                                      std::clamp(static_cast<int>(grid * x / w), 0, grid - 1));
    };
    for (const Tracked& t : tracks) ++count[cell(t.x, t.y)];
    const bool full = std::all_of(count.begin(), count.end(), [](int n) { return n >= per_cell; });
    if (full || static_cast<int>(tracks.size()) >= most_features) return;
    cv::Mat strength;
    cv::cornerMinEigenVal(view(grey), strength, 3, 3);
    struct Corner {
      float strength;
      int x, y;
    };
    std::array<std::vector<Corner>, grid * grid> found;
    for (int y = 3; y + 3 < h; ++y) {
      const float *up = strength.ptr<float>(y - 1), *row = strength.ptr<float>(y), *down = strength.ptr<float>(y + 1);
      for (int x = 3; x + 3 < w; ++x) {
        const float s = row[x];
        if (!(s >= static_cast<float>(least_corner))) continue;
        if (s < row[x - 1] || s < up[x - 1] || s < up[x] || s < up[x + 1]) continue;
        if (s <= row[x + 1] || s <= down[x - 1] || s <= down[x] || s <= down[x + 1]) continue;
        found[cell(x + 0.5, y + 0.5)].push_back({s, x, y});
      }
    }
    for (std::size_t c = 0; c < found.size(); ++c) {
      std::stable_sort(found[c].begin(), found[c].end(),
                       [](const Corner& a, const Corner& b) { return a.strength > b.strength; });
      for (const Corner& corner : found[c]) {
        if (count[c] >= per_cell || static_cast<int>(tracks.size()) >= most_features) break;
        const double x = corner.x + 0.5, y = corner.y + 0.5;
        if (std::any_of(tracks.begin(), tracks.end(),
                        [&](const Tracked& t) { return std::hypot(t.x - x, t.y - y) < apart; }))
          continue;
        Tracked t;
        t.x = x, t.y = y;
        if (!t.place.start(smooth, x, y, spacing) || !t.texture.start(grey, x, y, texture_spacing)) continue;
        t.feature.id = next_id++;
        tracks.push_back(std::move(t));
        ++count[c];
      }
    }
  }

  /// Flat pieces, one per cell: where the memory of one has left the picture, the flattest of nine takes its place.
  void follow_flats() {
    flat_variances.clear();
    const auto& m = step.from_previous;
    for (std::size_t c = 0; c < flats.size(); ++c) {
      Flat& f = flats[c];
      if (f.patch.age() > 0) {
        const auto at = mapped(m, f.x * factor, f.y * factor);
        f.x = at[0] / factor, f.y = at[1] / factor;
        if (std::isfinite(f.x) && f.patch.compare(grey, {1, 0, 0, 1}, f.x, f.y, false)) {
          if (std::isfinite(f.patch.variance())) flat_variances.push_back(f.patch.variance());
          f.patch.remember();
          continue;
        }
      }
      f.patch = {};
      double flattest = 3;  // levels; more than that is texture
      for (int k = 0; k < 9; ++k) {
        const double x = (static_cast<double>(c % grid) + (k % 3 + 0.5) / 3) * grey.width_px / grid;
        const double y = (static_cast<double>(c / grid) + (k / 3 + 0.5) / 3) * grey.height_px / grid;
        Patch patch;
        if (!patch.start(grey, x, y, texture_spacing) || patch.contrast() >= flattest) continue;
        flattest = patch.contrast();
        f = {patch, x, y};
      }
    }
  }

  void take_as_still(std::string reason) {
    step.from_previous = identity3;
    step.model = CameraModel::none;
    step.dx_px = step.dy_px = step.theta_rad = step.log_scale = 0;
    step.residual_px = nan;
    step.assumed_still = true;
    step.reason = std::move(reason);
    // Corners that did not move are the background of a camera that stands.
    const double near = 0.25 * std::max(1.0, static_cast<double>(std::min(width, height)) / 256);
    step.num_inliers = 0;
    for (Tracked& t : tracks) {
      t.feature.background = std::hypot(t.x - t.x_before, t.y - t.y_before) * factor <= near;
      step.num_inliers += t.feature.background;
    }
  }

  void estimate(std::span<const Box> moving) {
    const CameraStep last = step;
    const double now = step.time_s;
    step = {};
    step.time_s = now;
    follow();
    step.calibrated = fit(moving);
    const Border b = border(grey_before, grey);
    if (4 * b.still_and_flat >= 3 * b.blocks) {
      step.calibrated = false;
      take_as_still("no texture: camera taken as locked off");
    } else if (!step.calibrated && 4 * b.changed <= b.blocks) {
      take_as_still("the border does not change: camera taken as locked off (" + step.reason + ")");
    } else if (!step.calibrated) {
      for (Tracked& t : tracks) t.feature.background = false;
      step.from_previous = last.from_previous;
      step.dx_px = last.dx_px, step.dy_px = last.dy_px, step.theta_rad = last.theta_rad,
      step.log_scale = last.log_scale;
      step.model = CameraModel::none;
    }
  }

  void extend_path() {
    path.time_s.push_back(step.time_s);
    const bool first = path.x_px.empty();
    const auto sum = [&](std::vector<double>& v, double d) { v.push_back(first ? 0 : v.back() + d); };
    sum(path.x_px, step.dx_px), sum(path.y_px, step.dy_px);
    sum(path.theta_rad, step.theta_rad), sum(path.log_scale, step.log_scale);
    Matrix3 to_first = identity3;
    if (!first) {
      to_first = product(path.to_first.back(), inverse(step.from_previous));
      for (double& e : to_first) e /= to_first[8];
      if (!step.calibrated) {
        ++(step.assumed_still ? path.num_assumed_still : path.num_uncalibrated);
        if (path.reason.empty()) path.reason = step.reason;
      }
    }
    path.to_first.push_back(to_first);
    path.noise_px.push_back(step.calibrated ? step.residual_px / std::sqrt(static_cast<double>(step.num_inliers))
                                            : nan);
  }
};

CameraTracker::CameraTracker(bool still, std::uint64_t seed) : state_(std::make_unique<State>()) {
  state_->still = still;
  state_->seed = seed;
}
CameraTracker::~CameraTracker() = default;
CameraTracker::CameraTracker(CameraTracker&&) noexcept = default;
CameraTracker& CameraTracker::operator=(CameraTracker&&) noexcept = default;

const CameraStep& CameraTracker::add(const Frame& frame, std::span<const Box> moving) {
  State& s = *state_;
  keep_opencv_on_one_thread();
  const bool first = s.path.time_s.empty();
  if (!first && (frame.width_px != s.width || frame.height_px != s.height))
    throw Error(Exit::input,
                fmt::format("a frame of {} x {} px after frames of {} x {} px", frame.width_px, frame.height_px,
                            s.width, s.height),
                "camera", "all frames of a film have one size");
  if (!std::isfinite(frame.time_s) || (!first && !(frame.time_s > s.path.time_s.back())))
    throw Error(Exit::input, fmt::format("frame {} is shown at {} s", s.path.num_frames(), frame.time_s), "camera",
                "times must rise from frame to frame");
  Plane luma = luma_plane(frame);
  std::swap(s.luma, s.luma_before);
  s.luma = std::move(luma);
  if (first) s.first(frame);
  std::swap(s.grey, s.grey_before);
  s.grey = reduced(s.luma, s.factor);
  s.step.time_s = frame.time_s;
  const bool track = !s.still && s.trackable();
  if (track) s.build_pyramid();
  if (first) {
    s.step.reason = "first frame";
  } else if (track) {
    s.estimate(moving);
  } else {
    s.step = {};
    s.step.time_s = frame.time_s;
    s.take_as_still(s.still ? "camera said to be locked off" : "too small a picture: camera taken as locked off");
  }
  s.extend_path();
  if (s.trackable()) s.follow_flats();
  if (track) {
    for (Tracked& t : s.tracks)
      if (t.feature.background) {  // pieces turn and grow with the picture
        const Matrix3& m = s.step.from_previous;
        const Similarity d = similarity_of(m, t.x_before * s.factor, t.y_before * s.factor);
        const double a = std::exp(d.log_scale) * std::cos(d.theta), b = std::exp(d.log_scale) * std::sin(d.theta);
        const Patch::Linear l = t.linear;
        t.linear = {a * l[0] - b * l[2], a * l[1] - b * l[3], b * l[0] + a * l[2], b * l[1] + a * l[3]};
      }
    s.replenish();
  }
  s.features.clear();
  for (Tracked& t : s.tracks) {
    t.feature.x_px = t.x * s.factor, t.feature.y_px = t.y * s.factor;
    s.features.push_back(t.feature);
  }
  return s.step;
}

const CameraStep& CameraTracker::step() const { return state_->step; }
const CameraPath& CameraTracker::path() const { return state_->path; }
std::span<const Feature> CameraTracker::features() const { return state_->features; }
std::span<const double> CameraTracker::flat_variances() const { return state_->flat_variances; }
const Plane& CameraTracker::luma() const { return state_->luma; }
const Plane& CameraTracker::luma_before() const { return state_->luma_before; }
const Plane& CameraTracker::grey() const { return state_->grey; }
const Plane& CameraTracker::grey_before() const { return state_->grey_before; }
int CameraTracker::factor() const { return state_->factor; }

}  // namespace reel::metrics
