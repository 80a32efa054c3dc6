#include "study/measure_films.hpp"

#include <charconv>
#include <cmath>
#include <fstream>
#include <iterator>

#include "io/video.hpp"
#include "metrics/overlay.hpp"
#include "study/films.hpp"
#include "worlds/world.hpp"

namespace reel::study {
namespace {

/// Reads one number and moves `text` behind it.
bool take_number(std::string_view& text, double& value) {
  while (text.starts_with(' ')) text.remove_prefix(1);
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc()) return false;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  while (text.starts_with(' ')) text.remove_prefix(1);
  return std::isfinite(value);
}
bool take(std::string_view& text, std::string_view what) {
  if (!text.starts_with(what)) return false;
  text.remove_prefix(what.size());
  while (text.starts_with(' ')) text.remove_prefix(1);
  return true;
}

worlds::Clip load_truth(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in || std::filesystem::is_directory(path)) throw Error(Exit::input, "cannot be read", path.string(), "check the path of the truth");
  const std::string text{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  return worlds::read_truth(text, path.string());
}

void draw(const MeasureTask& task, FrameSource& frames, const metrics::FilmReport& report) {
  // Small films are enlarged until lines and letters can be read; H.264 wants even sizes.
  int zoom = 1;
  while (zoom * std::min(report.width_px, report.height_px) < 360 || zoom * report.width_px % 2 != 0 || zoom * report.height_px % 2 != 0) ++zoom;
  const double fps = report.duration_s > 0 ? static_cast<double>(report.num_frames - 1) / report.duration_s : 16;
  io::VideoWriter writer(task.overlay, zoom * report.width_px, zoom * report.height_px, std::min(fps, 1000.0));
  frames.rewind();
  Frame frame;
  for (const metrics::ShotReport& shot : report.shots)
    for (std::int64_t f = 0; f < shot.num_frames && frames.next(frame); ++f) {
      Frame large = metrics::enlarged(frame, zoom);
      metrics::draw_overlay(large, shot, f, zoom);
      writer.add(large.rgb.data());
    }
  writer.finish();
}

}  // namespace

metrics::Scale parse_scale(const std::string& text) {
  const auto bad = [&] {
    return Error(Exit::usage, fmt::format("'{}' is no scale", text), "--scale", "write \"door=2.03 m:120 px\" or \"person=1.70+-0.10 m:24 px\"");
  };
  std::string_view rest = text;
  if (const auto equals = rest.find('='); equals != std::string_view::npos) rest.remove_prefix(equals + 1);
  double length = 0, doubt = 0, pixels = 0;
  if (!take_number(rest, length)) throw bad();
  if (take(rest, "+-") && !take_number(rest, doubt)) throw bad();
  if (!take(rest, "m") || !take(rest, ":") || !take_number(rest, pixels) || !take(rest, "px") || !rest.empty()) throw bad();
  if (!(length > 0 && pixels > 0 && doubt >= 0 && doubt < length)) throw bad();
  return {length / pixels, doubt / length};
}

metrics::Box parse_box(const std::string& text) {
  double v[4] = {};
  std::string_view rest = text;
  bool good = true;
  for (int i = 0; i < 4 && good; ++i) good = (i == 0 || take(rest, ",")) && take_number(rest, v[i]);
  if (!good || !rest.empty() || v[0] < 0 || v[1] < 0 || !(v[2] > 0 && v[3] > 0))
    throw Error(Exit::usage, fmt::format("'{}' is no box", text), "--object", "write x,y,width,height in pixels of the first frame");
  return {v[0], v[1], v[2], v[3]};
}

}  // namespace reel::study
