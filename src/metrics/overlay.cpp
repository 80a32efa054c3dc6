#include "metrics/overlay.hpp"

#include <algorithm>
#include <cmath>
#include <opencv2/imgproc.hpp>

#include "core/error.hpp"

namespace reel::metrics {
namespace {

// Colours that stay apart on most films; green and magenta first.
const cv::Scalar palette[] = {{0, 230, 90}, {255, 0, 200}, {255, 170, 0}, {0, 170, 255}, {250, 250, 0}, {170, 90, 255}};

class Painter {
 public:
  Painter(Frame& frame, const ShotReport& shot, std::int64_t f, int zoom)
      : picture_(static_cast<int>(frame.height_px), static_cast<int>(frame.width_px), CV_8UC3, frame.rgb.data()),
        shot_(shot), f_(f), zoom_(zoom), thick_(std::max(1, static_cast<int>(frame.height_px) / 360)) {
    // Tracks are in the coordinates of the shot's first picture; where is that now?
    if (f < static_cast<std::int64_t>(shot.camera.size())) {
      const cv::Matx33d to_first(shot.camera[static_cast<std::size_t>(f)].data());
      from_first_ = std::abs(cv::determinant(to_first)) > 1e-9 ? to_first.inv() : cv::Matx33d::eye();
      moves_ = cv::norm(from_first_ - cv::Matx33d::eye()) > 1e-6;
    }
  }

  void camera() const {
    if (!moves_) return;
    const double w = picture_.cols / zoom_, h = picture_.rows / zoom_;
    std::vector<cv::Point> corners;
    for (const auto& [x, y] : {std::pair{0.0, 0.0}, {w, 0.0}, {w, h}, {0.0, h}}) corners.push_back(place(x, y));
    cv::polylines(picture_, corners, true, {255, 255, 255}, thick_, cv::LINE_AA);
  }

  void track(const Track& track, std::size_t index) const {
    const cv::Scalar colour = palette[index % std::size(palette)];
    const auto now = static_cast<std::size_t>(f_);
    if (now >= track.time_s.size()) return;
    for (std::size_t i = now; i > 0 && track.time_s[now] - track.time_s[i - 1] < 1; --i)
      if (std::isfinite(track.x_px[i]) && std::isfinite(track.x_px[i - 1]))
        cv::line(picture_, place(track.x_px[i - 1], track.y_px[i - 1]), place(track.x_px[i], track.y_px[i]), colour, thick_, cv::LINE_AA);
    if (!std::isfinite(track.x_px[now])) return;
    const cv::Point at = place(track.x_px[now], track.y_px[now]);
    cv::drawMarker(picture_, at, colour, cv::MARKER_CROSS, 9 * thick_, thick_, cv::LINE_AA);
    label(track.name, at + cv::Point(5 * thick_, -5 * thick_), colour);
  }

  void event(const Event& event, double now_s, int line) const {
    if (now_s < event.time_s || now_s - event.time_s > 0.5) return;
    const cv::Scalar colour{255, 40, 40};
    if (std::isfinite(event.x_px)) cv::circle(picture_, place(event.x_px, event.y_px), 10 * thick_, colour, thick_, cv::LINE_AA);
    label(event.id, {4 * thick_, (14 + 14 * line) * thick_}, colour);
  }

  void clock(double now_s) const { label(fmt::format("{:.2f} s", now_s), {4 * thick_, picture_.rows - 4 * thick_}, {255, 255, 255}); }

 private:
  cv::Point place(double x, double y) const {
    const cv::Vec3d p = from_first_ * cv::Vec3d(x, y, 1);
    if (!(std::abs(p[2]) > 1e-9)) return {-1000, -1000};
    const auto pixel = [&](double v) { return static_cast<int>(std::clamp(std::floor(v * zoom_), -30000.0, 30000.0)); };
    return {pixel(p[0] / p[2]), pixel(p[1] / p[2])};
  }
  void label(const std::string& text, cv::Point at, const cv::Scalar& colour) const {
    cv::putText(picture_, text, at, cv::FONT_HERSHEY_SIMPLEX, 0.4 * thick_, {0, 0, 0}, thick_ + 2, cv::LINE_AA);
    cv::putText(picture_, text, at, cv::FONT_HERSHEY_SIMPLEX, 0.4 * thick_, colour, thick_, cv::LINE_AA);
  }

  mutable cv::Mat picture_;
  const ShotReport& shot_;
  std::int64_t f_;
  int zoom_, thick_;
  cv::Matx33d from_first_ = cv::Matx33d::eye();
  bool moves_ = false;
};

}  // namespace

void draw_overlay(Frame& frame, const ShotReport& shot, std::int64_t f, int zoom) {
  REEL_CHECK(zoom >= 1 && frame.rgb.size() == static_cast<std::size_t>(3 * frame.width_px * frame.height_px));
  const Painter painter(frame, shot, f, zoom);
  painter.camera();
  for (std::size_t i = 0; i < shot.tracks.size(); ++i) painter.track(shot.tracks[i], i);
  int line = 0;
  for (const Event& event : shot.findings.events) {
    painter.event(event, frame.time_s, line);
    line += frame.time_s >= event.time_s && frame.time_s - event.time_s <= 0.5;
  }
  painter.clock(frame.time_s);
}

Frame enlarged(const Frame& frame, int zoom) {
  Frame out{frame.height_px * zoom, frame.width_px * zoom, frame.time_s, {}};
  out.rgb.resize(static_cast<std::size_t>(3 * out.width_px * out.height_px));
  for (std::int64_t y = 0; y < out.height_px; ++y)
    for (std::int64_t x = 0; x < out.width_px; ++x)
      std::copy_n(frame.rgb.data() + 3 * (y / zoom * frame.width_px + x / zoom), 3, out.rgb.data() + 3 * (y * out.width_px + x));
  return out;
}

}  // namespace reel::metrics
