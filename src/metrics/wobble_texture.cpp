#include <algorithm>
#include <cmath>
#include <opencv2/imgproc.hpp>

#include "core/error.hpp"
#include "metrics/fit.hpp"
#include "metrics/flow.hpp"
#include "metrics/jitter.hpp"
#include "metrics/wobble.hpp"

namespace reel::metrics {

void TextureBoil::add(const CameraTracker& camera) {
  time_s_.push_back(camera.path().time_s.back());
  std::vector<double> textured;
  for (const Feature& f : camera.features())
    if (f.background && std::isfinite(f.variance)) textured.push_back(f.variance);
  const auto flat = camera.flat_variances();
  texture_.push_back(textured.size() >= 12 ? median(textured) : nan);
  flat_.push_back(median({flat.begin(), flat.end()}));
}

Findings TextureBoil::finish() const {
  Findings out;
  double texture = 0, flat = 0;
  std::int64_t n = 0, num_flat = 0;
  std::vector<double> levels(time_s_.size(), nan);
  for (std::size_t i = 0; i < time_s_.size(); ++i)
    if (std::isfinite(flat_[i])) flat += flat_[i], ++num_flat;
  flat = num_flat > 0 ? flat / static_cast<double>(num_flat) : nan;
  for (std::size_t i = 0; i < time_s_.size(); ++i) {
    if (!std::isfinite(texture_[i])) continue;
    texture += texture_[i], ++n;
    levels[i] = std::sqrt(std::max(0.0, texture_[i] - (num_flat > 0 ? flat : 0)));
  }
  Metric boil{"B4.boil",     "standard deviation of texture over time, without noise",
              "levels",      Aspect::stability,
              Better::lower, nan,
              nan,           n};
  Metric noise{
      "B4.noise", "standard deviation of flat patches over time", "levels", Aspect::description, Better::none, nan, nan,
      num_flat};
  if (n >= 4) {
    boil.value = std::sqrt(std::max(0.0, texture / static_cast<double>(n) - (num_flat > 0 ? flat : 0)));
    out.metrics.push_back(boil);
    out.traces.push_back(traced("B4.boil", "standard deviation of texture, frame by frame", "levels", time_s_, levels));
  } else {
    out.metrics.push_back(refused(boil, "too few corners of the background for four frames"));
  }
  noise.value = std::sqrt(flat);
  out.metrics.push_back(num_flat > 0 ? noise : refused(noise, "no flat patch could be followed"));
  return out;
}

struct WarpingError::State {
  std::vector<double> time_s, there, reversed;
  cv::Mat before;
  Plane grey, grey_before;
};

namespace {

constexpr int most_pixels = 120000;

/// Mean of ||a - W(b, f)||^2 over the pixels that count; g is the flow back. NaN when fewer than 1 % do. Sums row by
/// row.
double warp_error(const cv::Mat& a, const cv::Mat& b, const FlowField& f, const FlowField& g) {
  const int w = a.cols, h = a.rows;
  double sum = 0;
  std::int64_t n = 0;
  for (int y = 0; y + 1 < h; ++y) {
    const auto *row = f.flow.data() + y * w, *below = row + w;
    const auto* pixel = a.ptr<cv::Vec3b>(y);
    double row_sum = 0;
    for (int x = 0; x + 1 < w; ++x) {
      const float u = row[x][0], v = row[x][1], size = u * u + v * v;
      const float ux = row[x + 1][0] - u, vx = row[x + 1][1] - v, uy = below[x][0] - u, vy = below[x][1] - v;
      if (ux * ux + vx * vx + uy * uy + vy * vy > 0.01f * size + 0.002f) continue;
      const float px = static_cast<float>(x) + u, py = static_cast<float>(y) + v;
      if (!(px >= 0 && py >= 0 && px < static_cast<float>(w - 1) && py < static_cast<float>(h - 1))) continue;
      const int ix = static_cast<int>(px), iy = static_cast<int>(py);
      const float fx = px - static_cast<float>(ix), fy = py - static_cast<float>(iy);
      const float w00 = (1 - fx) * (1 - fy), w01 = fx * (1 - fy), w10 = (1 - fx) * fy, w11 = fx * fy;
      const auto *g0 = g.flow.data() + iy * w + ix, *g1 = g0 + w;
      const float bu = w00 * g0[0][0] + w01 * g0[1][0] + w10 * g1[0][0] + w11 * g1[1][0];
      const float bv = w00 * g0[0][1] + w01 * g0[1][1] + w10 * g1[0][1] + w11 * g1[1][1];
      if ((u + bu) * (u + bu) + (v + bv) * (v + bv) > 0.01f * (size + bu * bu + bv * bv) + 0.5f) continue;
      const auto *b0 = b.ptr<cv::Vec3b>(iy) + ix, *b1 = b.ptr<cv::Vec3b>(iy + 1) + ix;
      float square = 0;
      for (int c = 0; c < 3; ++c) {
        const float d = w00 * static_cast<float>(b0[0][c]) + w01 * static_cast<float>(b0[1][c]) +
                        w10 * static_cast<float>(b1[0][c]) + w11 * static_cast<float>(b1[1][c]) -
                        static_cast<float>(pixel[x][c]);
        square += d * d;
      }
      row_sum += static_cast<double>(square);
      ++n;
    }
    sum += row_sum;
  }
  return 100 * n >= static_cast<std::int64_t>(w) * h ? sum / static_cast<double>(n) / (255.0 * 255.0) : nan;
}

}  // namespace

WarpingError::WarpingError() : state_(std::make_unique<State>()) {}
WarpingError::~WarpingError() = default;
WarpingError::WarpingError(WarpingError&&) noexcept = default;
WarpingError& WarpingError::operator=(WarpingError&&) noexcept = default;

void WarpingError::add(std::span<const std::uint8_t> rgb, int height_px, int width_px, double time_s) {
  REEL_CHECK(rgb.size() == 3 * static_cast<std::size_t>(height_px) * static_cast<std::size_t>(width_px), "{} bytes",
             rgb.size());
  State& s = *state_;
  keep_opencv_on_one_thread();
  cv::Mat now(height_px, width_px, CV_8UC3, const_cast<std::uint8_t*>(rgb.data()));  // NOLINT: read only
  if (height_px * width_px > most_pixels) {
    cv::Mat half;
    cv::resize(now, half, {}, 0.5, 0.5, cv::INTER_AREA);
    now = half;
  }
  std::swap(s.grey, s.grey_before);
  s.grey = {now.cols, now.rows, {}};
  s.grey.level.resize(static_cast<std::size_t>(now.cols) * static_cast<std::size_t>(now.rows));
  for (int y = 0, k = 0; y < now.rows; ++y)
    for (int x = 0; x < now.cols; ++x, ++k) {
      const auto& pixel = now.at<cv::Vec3b>(y, x);
      s.grey.level[static_cast<std::size_t>(k)] = static_cast<float>(luma(pixel[0], pixel[1], pixel[2]));
    }
  s.time_s.push_back(time_s);
  s.there.push_back(nan), s.reversed.push_back(nan);
  // The flow's coarsest patches need some room.
  if (!s.before.empty() && std::min(now.rows, now.cols) >= 32) {
    const FlowField forward = dense_flow(s.grey_before, s.grey), backward = dense_flow(s.grey, s.grey_before);
    s.there.back() = warp_error(s.before, now, forward, backward);
    s.reversed.back() = warp_error(now, s.before, backward, forward);
  }
  now.copyTo(s.before);
}

Findings WarpingError::finish() const {
  const State& s = *state_;
  Findings out;
  for (const auto& [id, name, values] :
       {std::tuple{"B6.warp", "warping error along the optical flow", &s.there},
        std::tuple{"B6.warp_reversed", "warping error, pairs backwards", &s.reversed}}) {
    double sum = 0;
    std::int64_t n = 0;
    for (const double v : *values)
      if (std::isfinite(v)) sum += v, ++n;
    Metric m{id, name, "1", Aspect::stability, Better::lower, n > 0 ? sum / static_cast<double>(n) : nan, nan, n};
    out.metrics.push_back(n > 0 ? m
                                : refused(m, "one frame, a picture below 32 px, or no pixel that both frames share"));
    if (n > 0) out.traces.push_back(traced(id, name, "1", s.time_s, *values));
  }
  return out;
}

}  // namespace reel::metrics
