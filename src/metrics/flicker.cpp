#include "metrics/flicker.hpp"

#include <algorithm>
#include <cmath>
#include <opencv2/core/hal/hal.hpp>
#include <opencv2/imgproc.hpp>

#include "core/error.hpp"
#include "metrics/fit.hpp"
#include "metrics/jitter.hpp"

namespace reel::metrics {
namespace {

constexpr int block_px = 16;
constexpr std::size_t longest = 256;

cv::Mat view(const Plane& p) {
  return {p.height_px, p.width_px, CV_32F, const_cast<float*>(p.level.data())};  // NOLINT: read only
}

/// Sums of v and v^2 in eight lanes, which are added in order: as fast as a vector unit, and always in the same order.
class Moments {
 public:
  void add(const float* v, std::size_t n) {
    float sum[8] = {}, square[8] = {};
    for (std::size_t i = 0; i + 8 <= n; i += 8)
      for (std::size_t k = 0; k < 8; ++k) sum[k] += v[i + k], square[k] += v[i + k] * v[i + k];
    for (std::size_t i = n - n % 8; i < n; ++i) sum[i % 8] += v[i], square[i % 8] += v[i] * v[i];
    for (std::size_t k = 0; k < 8; ++k) sum_ += static_cast<double>(sum[k]), square_ += static_cast<double>(square[k]);
    n_ += static_cast<double>(n);
  }
  double mean() const { return sum_ / n_; }
  double deviation() const { return std::sqrt(std::max(0.0, square_ / n_ - mean() * mean())); }

 private:
  double sum_ = 0, square_ = 0, n_ = 0;
};

/// Standard deviation over the picture of the Sobel magnitude, without the border.
double sobel_deviation(const Plane& p) {
  if (p.width_px < 3 || p.height_px < 3) return nan;
  const auto w = static_cast<std::size_t>(p.width_px);
  Moments moments;
  std::vector<float> magnitude(w - 2);
  for (std::size_t y = 1; y + 1 < static_cast<std::size_t>(p.height_px); ++y) {
    const float *a = p.level.data() + (y - 1) * w, *b = a + w, *c = b + w;
    float* out = magnitude.data();
    for (std::size_t x = 0; x + 2 < w; ++x) {
      const float gx = (a[x + 2] - a[x]) + 2 * (b[x + 2] - b[x]) + (c[x + 2] - c[x]);
      const float gy = (c[x] - a[x]) + 2 * (c[x + 1] - a[x + 1]) + (c[x + 2] - a[x + 2]);
      out[x] = gx * gx + gy * gy;
    }
    cv::hal::sqrt32f(out, out, static_cast<int>(w) - 2);  // std::sqrt sets errno, which keeps it off vector units
    moments.add(out, w - 2);
  }
  return moments.deviation();
}

double change_deviation(const Plane& a, const Plane& b) {
  const auto w = static_cast<std::size_t>(a.width_px);
  Moments moments;
  std::vector<float> change(w);
  for (std::size_t begin = 0; begin < a.level.size(); begin += w) {
    for (std::size_t x = 0; x < w; ++x) change[x] = b.level[begin + x] - a.level[begin + x];
    moments.add(change.data(), w);
  }
  return moments.deviation();
}

/// Sum of |a - b|: whole numbers, so that the order does not count.
std::int64_t absolute_difference(const std::uint8_t* a, const std::uint8_t* b, std::size_t n) {
  std::int64_t sum = 0;
  for (std::size_t begin = 0; begin < n; begin += 4096) {
    int some = 0;
    for (std::size_t i = begin; i < std::min(n, begin + 4096); ++i) some += std::abs(a[i] - b[i]);
    sum += some;
  }
  return sum;
}

double mean_level(const Plane& p) {
  const auto w = static_cast<std::size_t>(p.width_px);
  Moments moments;
  for (std::size_t begin = 0; begin < p.level.size(); begin += w) moments.add(p.level.data() + begin, w);
  return moments.mean();
}

}  // namespace

struct Flicker::State {
  std::vector<std::uint8_t> rgb_before;
  cv::Mat small, small_before;
  std::vector<double> time_s, mean_luma, si, ti, raw, aligned;
  // Blocks: brightness over the frames since `begin`, [frame, block].
  int blocks_x = 0, blocks_y = 0;
  std::size_t begin = 0;
  std::vector<std::vector<double>> blocks;
  double common_square = 0, common_weight = 0;  ///< power above 1 Hz x frames, and frames
  std::vector<double> common_residual;  ///< per frame of the shot; NaN where there is none
  std::vector<double> block_square, block_weight;  ///< per block: high-passed squares / kept power, and frames
  std::vector<double> frame_square, frame_weight;  ///< the same per frame, over blocks

  void add_blocks(const Plane& before, const Plane& now, const CameraStep& step, int factor);
  void close_blocks();
};

// Brightness of the blocks goes on from the frame before by the mean of what has changed under the camera's motion.
void Flicker::State::add_blocks(const Plane& before, const Plane& now, const CameraStep& step, int factor) {
  const auto num = static_cast<std::size_t>(blocks_x * blocks_y);
  const bool known = step.calibrated || step.assumed_still;
  if (blocks.size() == longest) close_blocks();
  if (blocks.empty()) {
    begin = time_s.size() - 1;
    blocks.emplace_back(num, 0);
    return;
  }
  blocks.push_back(blocks.back());
  if (!known) {
    // Without the step nothing can be said: a gap, from which a new piece begins.
    blocks.pop_back();
    close_blocks();
    begin = time_s.size() - 1;
    blocks.emplace_back(num, 0);
    return;
  }
  cv::Mat warped = view(before);
  const bool moved = step.from_previous != identity3;
  const float none = std::numeric_limits<float>::quiet_NaN();
  const double k = factor;
  cv::Matx33d m(step.from_previous.data());
  // Whole numbers are pixel centres for OpenCV.
  const cv::Matx33d to(k, 0, 0.5 * k, 0, k, 0.5 * k, 0, 0, 1);
  m = to.inv() * m * to;
  if (moved) {
    warped = cv::Mat();
    cv::warpPerspective(view(before), warped, m, {now.width_px, now.height_px}, cv::INTER_LINEAR, cv::BORDER_CONSTANT,
                        none);
  }
  std::int64_t change = 0, num_valid = 0;
  cv::Mat warped_rgb = small_before;
  if (moved) {
    warped_rgb = cv::Mat();
    cv::warpPerspective(small_before, warped_rgb, m, small.size(), cv::INTER_LINEAR);
  }
  for (int by = 0; by < blocks_y; ++by)
    for (int bx = 0; bx < blocks_x; ++bx) {
      // The last column and row of blocks take what is left over.
      const int x1 = bx + 1 == blocks_x ? now.width_px : (bx + 1) * block_px;
      const int y1 = by + 1 == blocks_y ? now.height_px : (by + 1) * block_px;
      double sum = 0;
      int n = 0;
      for (int y = by * block_px; y < y1; ++y) {
        const float* a = warped.ptr<float>(y);
        const float* b = now.level.data() + static_cast<std::size_t>(y) * static_cast<std::size_t>(now.width_px);
        float row = 0;
        for (int x = bx * block_px; x < x1; ++x) row += b[x] - a[x];
        if (!(row == row)) {  // some of the row came from outside
          row = 0;
          for (int x = bx * block_px; x < x1; ++x)
            if (a[x] == a[x]) row += b[x] - a[x], ++n;
        } else {
          n += x1 - bx * block_px;
        }
        sum += static_cast<double>(row);
      }
      const int all = (x1 - bx * block_px) * (y1 - by * block_px);
      // The camera's smallest step leaves a rim unfilled: blocks at the border must not be lost to it.
      if (4 * n >= 3 * all) blocks.back()[static_cast<std::size_t>(by * blocks_x + bx)] += sum / n;
      if (n == all) {
        const int x0 = bx * block_px;
        for (int y = by * block_px; moved && y < y1; ++y)
          change += absolute_difference(small.ptr(y, x0), warped_rgb.ptr(y, x0), 3 * static_cast<std::size_t>(x1 - x0));
        num_valid += 3 * n;
      }
    }
  if (!moved) {
    change = absolute_difference(small.data, small_before.data, 3 * small.total());
    num_valid = 3 * static_cast<std::int64_t>(small.total());
  }
  aligned.back() = num_valid > 0 ? (255 - static_cast<double>(change) / static_cast<double>(num_valid)) / 255 : nan;
}

void Flicker::State::close_blocks() {
  const std::size_t n = blocks.size();
  const std::vector<double> t(time_s.begin() + static_cast<std::ptrdiff_t>(begin),
                              time_s.begin() + static_cast<std::ptrdiff_t>(begin + n));
  const double kept =
      n >= 12 && t.back() - t.front() >= 0.5 ? kept_power(n, (t.back() - t.front()) / static_cast<double>(n - 1)) : nan;
  if (std::isfinite(kept)) {
    frame_square.resize(time_s.size(), 0), frame_weight.resize(time_s.size(), 0);
    std::vector<double> y(n);
    std::vector<std::vector<double>> residuals(n);  // [frame, block]
    for (std::size_t b = 0; b < block_square.size(); ++b) {
      for (std::size_t i = 0; i < n; ++i) y[i] = blocks[i][b];
      const std::vector<double> high = high_pass(t, y);
      for (std::size_t i = 0; i < n; ++i) {
        block_square[b] += high[i] * high[i] / kept, block_weight[b] += 1;
        frame_square[begin + i] += high[i] * high[i] / kept, frame_weight[begin + i] += 1;
        residuals[i].push_back(high[i]);
      }
    }
    common_residual.resize(time_s.size(), nan);
    for (std::size_t i = 0; i < n; ++i) {
      y[i] = median(std::move(residuals[i]));
      common_residual[begin + i] = y[i];
    }
    common_square += power_above(t, y) * static_cast<double>(n), common_weight += static_cast<double>(n);
  }
  blocks.clear();
}

Flicker::Flicker() : state_(std::make_unique<State>()) {}
Flicker::~Flicker() = default;
Flicker::Flicker(Flicker&&) noexcept = default;
Flicker& Flicker::operator=(Flicker&&) noexcept = default;

void Flicker::add(const Frame& frame, const CameraTracker& camera, std::span<const std::uint8_t> small) {
  State& s = *state_;
  REEL_CHECK(static_cast<std::int64_t>(s.time_s.size()) + 1 == camera.num_frames(), "the camera has {} frames, this {}",
             camera.num_frames(), s.time_s.size());
  keep_opencv_on_one_thread();
  const Plane &luma = camera.luma(), &grey = camera.grey();
  const bool first = s.time_s.empty();
  if (first) {
    s.blocks_x = std::max(1, grey.width_px / block_px), s.blocks_y = std::max(1, grey.height_px / block_px);
    s.block_square.assign(static_cast<std::size_t>(s.blocks_x * s.blocks_y), 0);
    s.block_weight = s.block_square;
  }
  s.time_s.push_back(frame.time_s);
  s.mean_luma.push_back(mean_level(luma));
  s.si.push_back(sobel_deviation(luma));
  s.ti.push_back(first ? nan : change_deviation(camera.luma_before(), luma));

  std::swap(s.small, s.small_before);
  REEL_CHECK(small.size() == 3 * grey.level.size(), "{} bytes", small.size());
  cv::Mat(grey.height_px, grey.width_px, CV_8UC3, const_cast<std::uint8_t*>(small.data())).copyTo(s.small);  // NOLINT
  s.raw.push_back(nan), s.aligned.push_back(nan);
  if (!first) {
    const auto change = absolute_difference(frame.rgb.data(), s.rgb_before.data(), frame.rgb.size());
    s.raw.back() = (255 - static_cast<double>(change) / static_cast<double>(frame.rgb.size())) / 255;
  }
  s.add_blocks(camera.grey_before(), grey, camera.step(), camera.factor());
  s.rgb_before = frame.rgb;
}

Findings Flicker::finish() {
  State& s = *state_;
  Findings out;
  const auto n = static_cast<std::int64_t>(s.time_s.size());
  if (!s.blocks.empty()) s.close_blocks();
  const auto add = [&](std::string id, std::string name, std::string unit, Better better, double value, const char* why,
                       Aspect aspect = Aspect::stability) {
    Metric m{std::move(id), std::move(name), std::move(unit), aspect, better, value, nan, n};
    out.metrics.push_back(std::isfinite(value) ? m : refused(m, why));
  };
  const char* brief = "fewer than 12 frames, less than half a second, or fewer than 4 frames per second";
  const Jitter j = n > 0 ? jitter(s.time_s, s.mean_luma) : Jitter{};
  add("B5.flicker", "flicker that all parts of the picture have in common, above 1 Hz", "levels", Better::lower,
      s.common_weight > 0 ? std::sqrt(s.common_square / s.common_weight) : nan, brief);
  add("B5.mean_luma", "changes of the mean luma above 1 Hz, objects that come and go among them", "levels", Better::none, j.rms, brief,
      Aspect::description);
  std::vector<double> rms, per_frame(s.time_s.size(), nan);
  for (std::size_t b = 0; b < s.block_square.size(); ++b)
    if (s.block_weight[b] > 0) rms.push_back(std::sqrt(s.block_square[b] / s.block_weight[b]));
  for (std::size_t i = 0; i < s.frame_square.size(); ++i)
    if (s.frame_weight[i] > 0) per_frame[i] = std::sqrt(s.frame_square[i] / s.frame_weight[i]);
  add("B5.block_median", "flicker of blocks above 1 Hz, median over blocks", "levels", Better::lower, median(rms),
      brief);
  add("B5.block_p95", "flicker of blocks above 1 Hz, 95 %", "levels", Better::lower, quantile(rms, 0.95), brief);
  const auto mean = [](const std::vector<double>& v) {
    double sum = 0;
    int num = 0;
    for (const double x : v)
      if (std::isfinite(x)) sum += x, ++num;
    return num > 0 ? sum / num : nan;
  };
  const char* one = "one frame has no change";
  add("B5.vbench_raw", "temporal flickering as VBench has it", "1", Better::higher, mean(s.raw), one);
  add("B5.vbench_aligned", "temporal flickering without the camera's motion", "1", Better::higher, mean(s.aligned),
      "one frame, or the camera is unknown");
  const auto most = [](const std::vector<double>& v) {
    double best = nan;
    for (const double x : v)
      if (std::isfinite(x) && !(x <= best)) best = x;
    return best;
  };
  add("B7.si", "spatial information of ITU-T P.910", "levels", Better::none, most(s.si), "picture too small",
      Aspect::description);
  add("B7.ti", "temporal information of ITU-T P.910", "levels", Better::none, most(s.ti), one, Aspect::description);
  if (n > 0) {
    if (s.common_weight > 0) {
      s.common_residual.resize(s.time_s.size(), nan);
      out.traces.push_back(traced("B5.flicker", "flicker within a quarter of a second", "levels", s.time_s,
                                  running_rms(s.time_s, s.common_residual)));
    }
    if (!rms.empty())
      out.traces.push_back(traced("B5.block", "flicker of blocks, frame by frame", "levels", s.time_s, per_frame));
    out.traces.push_back(traced("B5.luma", "mean luma", "levels", s.time_s, s.mean_luma));
    out.traces.push_back(traced("B5.vbench_raw", "temporal flickering as VBench has it", "1", s.time_s, s.raw));
    out.traces.push_back(traced("B7.si", "spatial information", "levels", s.time_s, s.si));
    out.traces.push_back(traced("B7.ti", "temporal information", "levels", s.time_s, s.ti));
  }
  return out;
}

}  // namespace reel::metrics
