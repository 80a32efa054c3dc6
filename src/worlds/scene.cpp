#include "worlds/scene.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>

#include "core/error.hpp"

namespace reel::worlds {

const std::string* Knobs::find(const std::string& key) {
  asked_.insert(key);
  const auto it = spec_.set.find(key);
  return it == spec_.set.end() ? nullptr : &it->second;
}

double Knobs::number(const std::string& key, double drawn, double low, double high) {
  const std::string* text = find(key);
  if (!text) return drawn;
  double value = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (error != std::errc() || end != text->data() + text->size() || !(value >= low && value <= high))
    throw Error(Exit::usage, fmt::format("{} = '{}' is not a number from {} to {}", key, *text, low, high),
                "--set " + key);
  return value;
}

std::string Knobs::word(const std::string& key, const Words& options) {
  const std::string* text = find(key);
  if (!text) return options[draws_.pick(options.size(), key)];
  if (std::find(options.begin(), options.end(), *text) == options.end())
    throw Error(Exit::usage, fmt::format("{} = '{}' is unknown", key, *text), "--set " + key,
                fmt::format("use one of: {}", fmt::join(options, ", ")));
  return *text;
}

void Knobs::refuse_others(std::string_view world) const {
  for (const auto& [key, value] : spec_.set)
    if (!asked_.contains(key))
      throw Error(Exit::usage, fmt::format("the world '{}' has no setting '{}'", world, key), "--set " + key,
                  fmt::format("it has: {}", fmt::join(asked_, ", ")));
}

void Pen::add(std::initializer_list<Point> polygon) const {
  Point corners[16];
  REEL_CHECK(polygon.size() <= std::size(corners), "{} corners", polygon.size());
  std::transform(polygon.begin(), polygon.end(), corners, [this](Point p) { return px(p); });
  canvas.add({corners, polygon.size()});
}

void Pen::add_rect(double x0, double y0, double x1, double y1) const { add({{x0, y0}, {x1, y0}, {x1, y1}, {x0, y1}}); }

void Pen::sky(double y0, double y1, Color low, Color middle, Color high) const {
  for (int row = 0; row < canvas.height_px(); ++row) {
    const double y = look_at.y - (row + 0.5 - 0.5 * canvas.height_px()) / px_per_m;
    const float t = 2 * static_cast<float>(std::clamp((y - y0) / (y1 - y0), 0.0, 1.0));
    canvas.set_row(row, t < 1 ? mixed(low, middle, t) : mixed(middle, high, t - 1));
  }
}

Clip blank_clip(std::string_view world, std::uint64_t seed, const Spec& spec, double px_per_m) {
  Clip clip;
  clip.world = world;
  clip.seed = seed;
  clip.px_per_m = px_per_m;
  clip.film.num_frames = spec.num_frames;
  clip.film.height_px = spec.height_px;
  clip.film.width_px = spec.width_px;
  clip.film.fps = spec.fps;
  const auto frames = static_cast<std::size_t>(spec.num_frames);
  clip.film.rgb.resize(frames * static_cast<std::size_t>(clip.film.frame_bytes()));
  clip.camera.x_px.assign(frames, 0);
  clip.camera.y_px.assign(frames, 0);
  clip.camera.zoom.assign(frames, 1);
  return clip;
}

void append(Track& track, const Pen& pen, Point at_m, Point velocity_m_per_s, double half_width_m,
            double half_height_m) {
  const Point p = pen.px(at_m);
  const double w = half_width_m * pen.px_per_m, h = half_height_m * pen.px_per_m;
  track.x_m.push_back(at_m.x);
  track.y_m.push_back(at_m.y);
  track.vx_m_per_s.push_back(velocity_m_per_s.x);
  track.vy_m_per_s.push_back(velocity_m_per_s.y);
  track.x_px.push_back(p.x);
  track.y_px.push_back(p.y);
  track.visible.push_back(p.x - w >= 0 && p.x + w <= pen.canvas.width_px() && p.y - h >= 0 &&
                          p.y + h <= pen.canvas.height_px());
}

}  // namespace reel::worlds
