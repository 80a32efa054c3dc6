#include "metrics/luma.hpp"

#include <algorithm>
#include <opencv2/core/utility.hpp>
#include <opencv2/imgproc.hpp>
#include <type_traits>

#include "core/error.hpp"

namespace reel::metrics {

Plane luma_plane(const Frame& frame) {
  const std::int64_t most = 1 << 15;
  if (frame.width_px < 1 || frame.height_px < 1 || frame.width_px > most || frame.height_px > most ||
      frame.rgb.size() != static_cast<std::size_t>(3 * frame.width_px * frame.height_px))
    throw Error(Exit::input,
                fmt::format("a frame of {} x {} px with {} bytes", frame.width_px, frame.height_px, frame.rgb.size()),
                "luma", "frames are [H, W, 3] bytes, at most 32768 pixels wide and high");
  Plane plane{static_cast<int>(frame.width_px), static_cast<int>(frame.height_px), {}};
  const std::size_t n = frame.rgb.size() / 3;
  plane.level.resize(n);
  const std::uint8_t* in = frame.rgb.data();
  // In whole thousandths: exact, and grey bytes give themselves.
  for (std::size_t i = 0; i < n; ++i)
    plane.level[i] = static_cast<float>(299 * in[3 * i] + 587 * in[3 * i + 1] + 114 * in[3 * i + 2]) / 1000.0f;
  return plane;
}

int reduction(std::int64_t height_px, std::int64_t width_px) {
  return static_cast<int>(std::max<std::int64_t>(1, (std::min(height_px, width_px) + 180) / 360));
}

namespace {

/// `k`: the factor, a number or a constant of the compiler.
template <class Factor>
void reduce(const Plane& plane, Factor k, Plane& out) {
  const auto w = static_cast<std::size_t>(out.width_px);
  const float share = 1.0f / static_cast<float>(k * k);
  for (std::size_t y = 0; y < static_cast<std::size_t>(out.height_px); ++y) {
    float* to = out.level.data() + y * w;
    for (std::size_t j = 0; j < k; ++j) {
      const float* from = plane.level.data() + (y * k + j) * static_cast<std::size_t>(plane.width_px);
      for (std::size_t x = 0; x < w; ++x) {
        float sum = from[x * k];
        for (std::size_t i = 1; i < k; ++i) sum += from[x * k + i];
        to[x] += sum;
      }
    }
    for (std::size_t x = 0; x < w; ++x) to[x] *= share;
  }
}

}  // namespace

Plane reduced(const Plane& plane, int factor) {
  REEL_CHECK(factor >= 1 && factor <= std::min(plane.width_px, plane.height_px), "factor {}", factor);
  if (factor == 1) return plane;
  Plane out{plane.width_px / factor, plane.height_px / factor, {}};
  out.level.resize(static_cast<std::size_t>(out.width_px) * static_cast<std::size_t>(out.height_px));
  if (factor == 2)  // 720p: worth vector units
    reduce(plane, std::integral_constant<std::size_t, 2>{}, out);
  else
    reduce(plane, static_cast<std::size_t>(factor), out);
  return out;
}

std::vector<std::uint8_t> reduced_rgb(const Frame& frame, int factor) {
  const int width = static_cast<int>(frame.width_px), height = static_cast<int>(frame.height_px);
  REEL_CHECK(factor >= 1 && factor <= std::min(width, height), "factor {}", factor);
  if (factor == 1) return frame.rgb;
  keep_opencv_on_one_thread();
  const cv::Mat rgb(height, width, CV_8UC3, const_cast<std::uint8_t*>(frame.rgb.data()));  // NOLINT: read only
  const cv::Size size(width / factor, height / factor);
  std::vector<std::uint8_t> out(3 * static_cast<std::size_t>(size.area()));
  cv::Mat small(size, CV_8UC3, out.data());
  cv::resize(rgb(cv::Rect(0, 0, size.width * factor, size.height * factor)), small, size, 0, 0, cv::INTER_AREA);
  return out;
}

void keep_opencv_on_one_thread() {
  static const bool once = (cv::setNumThreads(1), true);
  static_cast<void>(once);
}

}  // namespace reel::metrics
