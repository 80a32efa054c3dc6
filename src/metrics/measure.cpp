#include "metrics/measure.hpp"

#include <algorithm>
#include <cmath>

#include "core/error.hpp"
#include "metrics/associate.hpp"
#include "metrics/background.hpp"
#include "metrics/camera.hpp"
#include "metrics/detect.hpp"
#include "metrics/laws.hpp"
#include "metrics/shots.hpp"
#include "metrics/wobble.hpp"

namespace reel::metrics {
namespace {

/// What the first look at a shot gives.
struct Look {
  Background background;
  std::vector<Matrix3> to_first;  ///< one per frame
  CameraPath path;
  Findings findings;              ///< wobble and flicker
};

/// Reads `num_frames` frames: camera, wobble, flicker, and the still picture behind what moves.
Look look(FrameSource& source, std::int64_t num_frames, const MeasureOptions& options) {
  CameraTracker camera(options.still_background);
  Wobble wobble;
  BackgroundMedian background;
  Frame frame;
  for (std::int64_t f = 0; f < num_frames && source.next(frame); ++f) {
    camera.add(frame);
    wobble.add(frame, camera);
    background.add(frame);
  }
  Look l;
  l.path = camera.path();
  l.to_first = l.path.to_first;
  std::vector<std::array<std::uint8_t, 3>> things;
  for (const NamedColour& c : options.colours) things.push_back(c.rgb);
  l.background = background.median(l.to_first, things);
  l.findings = wobble.finish(camera);
  return l;
}

/// Follows the objects through the same frames.
Association follow(FrameSource& source, std::int64_t num_frames, const Look& look, const MeasureOptions& options,
                   std::int64_t width_px, std::int64_t height_px) {
  Frame frame;
  if (options.object) {
    std::optional<BoxFollower> follower;
    std::vector<double> time_s;
    std::vector<std::optional<Detection>> seen;
    for (std::int64_t f = 0; f < num_frames && source.next(frame); ++f) {
      if (!follower) follower.emplace(frame, *options.object);
      std::optional<Detection> d = follower->next(frame);
      if (d) d = mapped(*d, look.to_first[static_cast<std::size_t>(f)]);
      time_s.push_back(frame.time_s);
      seen.push_back(d);
    }
    Association one;
    one.tracks.push_back(track_of("box", time_s, seen));
    return one;
  }
  AssociateOptions associate;
  std::optional<ColourDetector> by_colour;
  std::optional<MotionDetector> by_motion;
  if (!options.colours.empty()) {
    by_colour.emplace(options.colours, look.background);
    associate.names = by_colour->names();
  } else {
    by_motion.emplace(look.background);
    associate.least_seen = 4;  // specks of the motion mask come and go
  }
  Associator associator(width_px, height_px, associate);
  for (std::int64_t f = 0; f < num_frames && source.next(frame); ++f) {
    const Matrix3& to_first = look.to_first[static_cast<std::size_t>(f)];
    associator.add(frame.time_s, by_colour ? by_colour->detect(frame, to_first) : by_motion->detect(frame, to_first), to_first);
  }
  return associator.finish();
}

}  // namespace

FilmReport measure(FrameSource& source, const MeasureOptions& options) {
  source.rewind();
  const ShotList list = find_shots(source);
  FilmReport report;
  report.name = source.name();
  report.width_px = list.width_px;
  report.height_px = list.height_px;
  report.num_frames = list.num_frames();
  report.duration_s = list.time_s.back() - list.time_s.front();
  report.dt_min_s = list.dt_min_s;
  report.dt_median_s = list.dt_median_s;
  report.dt_max_s = list.dt_max_s;
  report.duplicate_frames = list.duplicate_frames;

  std::vector<Look> looks;
  source.rewind();
  for (std::size_t s = 0; s < list.first_frames.size(); ++s) {
    const std::int64_t first = list.first_frames[s], end = list.end_frame(s);
    ShotReport shot;
    shot.first_frame = first;
    shot.num_frames = end - first;
    shot.begin_s = list.time_s[static_cast<std::size_t>(first)];
    shot.end_s = list.time_s[static_cast<std::size_t>(end - 1)];
    report.shots.push_back(std::move(shot));
    looks.push_back(look(source, end - first, options));
  }
  source.rewind();
  for (std::size_t s = 0; s < looks.size(); ++s) {
    ShotReport& shot = report.shots[s];
    Look& l = looks[s];
    Association found;
    if (options.objects) found = follow(source, shot.num_frames, l, options, report.width_px, report.height_px);
    LawInput input;
    input.tracks = found.tracks;
    input.width_px = report.width_px;
    input.height_px = report.height_px;
    input.scale = options.scale;
    input.expected_gravity_m_per_s2 = options.gravity_m_per_s2;
    input.to_first = l.to_first;
    shot.findings = measure_laws(input);
    join(shot.findings, std::move(l.findings));
    for (const Event& e : found.events)  // jumps are judged by the laws, with the whole track in view
      if (e.id != "O2.teleport") shot.findings.events.push_back(e);
    std::stable_sort(shot.findings.events.begin(), shot.findings.events.end(), [](const Event& a, const Event& b) { return a.frame < b.frame; });
    shot.tracks = std::move(found.tracks);
    shot.camera = std::move(l.to_first);
    if (shot.num_frames < 2) {
      shot.refusal = "one frame: nothing moves in it";
    } else if (!l.path.usable()) {
      shot.refusal = "the camera could not be followed: " + l.path.reason;
    }
    if (!shot.refusal.empty())  // what rests on a camera that nobody knows is refused, and counted
      for (Metric& m : shot.findings.metrics)
        if (m.given() && !m.id.starts_with("B5") && !m.id.starts_with("B7")) m = refused(m, shot.refusal);
  }
  return report;
}

}  // namespace reel::metrics
