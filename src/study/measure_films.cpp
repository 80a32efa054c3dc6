#include "study/measure_films.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

#include "io/video.hpp"
#include "metrics/detect.hpp"
#include "metrics/fidelity.hpp"
#include "metrics/overlay.hpp"
#include "metrics/physics_iq.hpp"
#include "study/films.hpp"
#include "study/truth.hpp"
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

/// Calls use(picture, f) for every frame with what was measured drawn on it, `zoom` times as large as the film.
template <class Use>
void draw(FrameSource& frames, const metrics::FilmReport& report, int zoom, Use use) {
  frames.rewind();
  Frame frame;
  std::int64_t at = 0;
  for (const metrics::ShotReport& shot : report.shots)
    for (std::int64_t f = 0; f < shot.num_frames && frames.next(frame); ++f, ++at) {
      Frame large = metrics::enlarged(frame, zoom);
      metrics::draw_overlay(large, shot, f, zoom);
      use(large, at);
    }
}

void write_overlay_film(const MeasureTask& task, FrameSource& frames, const metrics::FilmReport& report) {
  // Small films are enlarged until lines and letters can be read; H.264 wants even sizes.
  int zoom = 1;
  while (zoom * std::min(report.width_px, report.height_px) < 360 || zoom * report.width_px % 2 != 0 || zoom * report.height_px % 2 != 0) ++zoom;
  const double fps = report.duration_s > 0 ? static_cast<double>(report.num_frames - 1) / report.duration_s : 16;
  io::VideoWriter writer(task.overlay, zoom * report.width_px, zoom * report.height_px, std::min(fps, 1000.0));
  draw(frames, report, zoom, [&](const Frame& picture, std::int64_t) { writer.add(picture.rgb.data()); });
  writer.finish();
}

/// Eight frames from the first to the last, side by side in two rows.
void write_overlay_sheet(const MeasureTask& task, FrameSource& frames, const metrics::FilmReport& report) {
  constexpr std::int64_t columns = 4, rows = 2, gap = 4, cells = columns * rows;
  int zoom = 1;
  while (zoom * std::min(report.width_px, report.height_px) < 192) ++zoom;
  const std::int64_t width = zoom * report.width_px, height = zoom * report.height_px;
  Frame sheet;
  sheet.width_px = columns * (width + gap) - gap;
  sheet.height_px = rows * (height + gap) - gap;
  if (std::max(sheet.width_px, sheet.height_px) > 16384)
    throw Error(Exit::usage, fmt::format("a sheet of {} x {} px is too large", sheet.width_px, sheet.height_px), task.overlay.string(), "ask for a film: *.mp4");
  sheet.rgb.assign(static_cast<std::size_t>(3 * sheet.width_px * sheet.height_px), 96);
  draw(frames, report, zoom, [&](const Frame& picture, std::int64_t f) {
    for (std::int64_t cell = 0; cell < cells; ++cell) {
      if ((2 * cell * (report.num_frames - 1) + cells - 1) / (2 * (cells - 1)) != f) continue;  // rounded
      const std::int64_t x = cell % columns * (width + gap), y = cell / columns * (height + gap);
      for (std::int64_t row = 0; row < height; ++row)
        std::copy_n(picture.rgb.data() + 3 * row * width, 3 * width, sheet.rgb.data() + 3 * ((y + row) * sheet.width_px + x));
    }
  });
  io::write_png(task.overlay, sheet);
}

}  // namespace

MeasureTask measure_task(const Experiment& e, const std::filesystem::path& result) {
  MeasureTask task;
  task.film = result;
  task.out = std::filesystem::path(result).replace_extension(".measure.h5");
  const nlohmann::json table = nlohmann::json::parse(e.measure_json);
  const auto refuse = [&](const std::string& what, const std::string& key) {
    throw Error(Exit::usage, what, e.file.string() + ": measure." + key, "keys of [measure]: gravity, objects, overlay, scale, world");
  };
  for (const auto& [key, value] : table.items()) {
    if (key == "scale" && value.is_string()) {
      task.options.scale = parse_scale(value.get<std::string>());
    } else if (key == "gravity" && value.is_number() && value.get<double>() > 0) {
      task.options.gravity_m_per_s2 = value.get<double>();
    } else if (key == "objects" && value.is_boolean()) {
      task.options.objects = value.get<bool>();
    } else if (key == "overlay" && value.is_boolean()) {
      if (value.get<bool>()) task.overlay = std::filesystem::path(result).replace_extension(".measure.mp4");
    } else if (key == "world" && value.is_object() && value.contains("name")) {
      std::map<std::string, std::string> words;
      for (const auto& [word, text] : value.items()) {
        if (!text.is_string()) refuse(fmt::format("'{}' is not a word", word), "world");
        words[word] = text.get<std::string>();
      }
      task.options.colours = metrics::world_colours(words.at("name"), words);
    } else {
      refuse(fmt::format("'{}' is unknown or of the wrong type", key), key);
    }
  }
  if (e.shot.first_frames && !e.shot.first_frames->world.empty()) {
    worlds::Spec spec;
    spec.width_px = e.shot.width_px;
    spec.height_px = e.shot.height_px;
    spec.num_frames = e.shot.num_frames;
    spec.fps = e.shot.fps;
    task.truth = worlds::make(e.shot.first_frames->world, e.shot.first_frames->seed, spec);
    task.truth->film.rgb.clear();
    task.num_given = 1 + 4 * (e.shot.first_frames->num_latents - 1);
  }
  return task;
}

Measurement measure_film(const MeasureTask& task) {
  OpenFilm film = open_film(task.film, task.fps);
  Measurement m;
  m.source_sha256 = film.sha256;
  m.task_id = film.task_id;
  metrics::MeasureOptions options = task.options;
  if (task.truth) look_for(*task.truth, options);
  m.film = metrics::measure(*film.frames, options);
  m.floors = floors_for(m.film.width_px, m.film.height_px, film.frames->lossless());
  if (task.truth) {
    const Film& of = task.truth->film;
    if (of.width_px != m.film.width_px || of.height_px != m.film.height_px)
      throw Error(Exit::input,
                  fmt::format("the truth is of {} x {} pixels, the film has {} x {}", of.width_px, of.height_px, m.film.width_px,
                              m.film.height_px),
                  task.film.string(), "give the truth of this very film");
    m.reference = fmt::format("truth of {} {}", task.truth->world, task.truth->seed);
    metrics::join(m.paired, against_truth(m.film, *task.truth, task.num_given));
  }
  if (!task.reference.empty()) {
    OpenFilm reference = open_film(task.reference, task.fps);
    m.reference = task.reference.string();
    film.frames->rewind();
    metrics::join(m.paired, metrics::fidelity_findings(metrics::fidelity(*film.frames, *reference.frames)));
    film.frames->rewind();
    reference.frames->rewind();
    metrics::join(m.paired, metrics::physics_iq_findings(metrics::physics_iq(*film.frames, *reference.frames)));
  }
  if (task.overlay.extension() == ".png")
    write_overlay_sheet(task, *film.frames, m.film);
  else if (!task.overlay.empty())
    write_overlay_film(task, *film.frames, m.film);
  if (!task.out.empty()) io::write_record(task.out, measurement_record(m));
  return m;
}

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
