#include "metrics/measure.hpp"

#include <algorithm>
#include <cmath>

#include "core/error.hpp"
#include "core/parallel.hpp"
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

/// Looks at the frames of one shot as they come: camera, wobble, flicker, and the still picture behind what moves.
struct Looker {
  explicit Looker(bool still_background) : camera(still_background) {}
  CameraTracker camera;
  Wobble wobble;
  BackgroundMedian background;

  Look look(const MeasureOptions& options) {
    Look l;
    l.path = camera.path();
    l.to_first = l.path.to_first;
    std::vector<std::array<std::uint8_t, 3>> things;
    for (const NamedColour& c : options.colours) things.push_back(c.rgb);
    l.background = background.median(l.to_first, things);
    l.findings = wobble.finish(camera);
    return l;
  }
};

/// Reads the film: cuts, and a look at every shot. A frame is looked at when the one after it has told whether it starts
/// a shot, while the next one is being read: three frames are held.
std::vector<Look> look_at_shots(FrameSource& source, ShotFinder& finder, const MeasureOptions& options) {
  std::vector<Look> looks;
  std::optional<Looker> shot;
  Frame now, judged, next;
  bool more = true, judging = false, looking = false;  // whether `next`, `judged` and `now` hold a frame
  source.rewind();
  do {
    bool starts_shot = false;  // `judged` does
    parallel_for(2, [&](std::int64_t part) {
      if (part == 0 && more) {
        more = source.next(next);
        starts_shot = more ? finder.add(next, judged) : finder.finish();
      } else if (part == 1 && looking) {
        shot->camera.add(now);
        shot->background.add(now);
      }
    });
    if (looking) shot->wobble.add(now, shot->camera);
    if (starts_shot) looks.push_back(shot->look(options));
    if (starts_shot || (judging && !looking)) shot.emplace(options.still_background);
    std::swap(now, judged), std::swap(judged, next);
    looking = judging, judging = more;
  } while (looking || judging);
  looks.push_back(shot->look(options));
  return looks;
}

/// Calls work(frame, f) for the next `num_frames` frames in order, while the one after is being read.
template <class Work>
void for_frames(FrameSource& source, std::int64_t num_frames, Work work) {
  Frame frame, next;
  bool more = num_frames > 0 && source.next(next);
  std::int64_t f = 0;
  while (more) {
    std::swap(frame, next);
    parallel_for(2, [&](std::int64_t part) {
      if (part == 0)
        more = f + 1 < num_frames && source.next(next);
      else
        work(frame, f);
    });
    ++f;
  }
}

/// Follows the objects through the same frames.
Association follow(FrameSource& source, std::int64_t num_frames, const Look& look, const MeasureOptions& options,
                   std::int64_t width_px, std::int64_t height_px) {
  if (options.object) {
    std::optional<BoxFollower> follower;
    std::vector<double> time_s;
    std::vector<std::optional<Detection>> seen;
    for_frames(source, num_frames, [&](const Frame& frame, std::int64_t f) {
      if (!follower) follower.emplace(frame, *options.object);
      std::optional<Detection> d = follower->next(frame);
      if (d) d = mapped(*d, look.to_first[static_cast<std::size_t>(f)]);
      time_s.push_back(frame.time_s);
      seen.push_back(d);
    });
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
  for_frames(source, num_frames, [&](const Frame& frame, std::int64_t f) {
    const Matrix3& to_first = look.to_first[static_cast<std::size_t>(f)];
    associator.add(frame.time_s, by_colour ? by_colour->detect(frame, to_first) : by_motion->detect(frame, to_first), to_first);
  });
  return associator.finish();
}

}  // namespace

FilmReport measure(FrameSource& source, const MeasureOptions& options) {
  ShotFinder finder(source.name());
  std::vector<Look> looks = look_at_shots(source, finder, options);
  const ShotList& list = finder.shots();
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

  source.rewind();
  for (std::size_t s = 0; s < looks.size(); ++s) {
    ShotReport shot;
    Look& l = looks[s];
    const std::int64_t end = list.end_frame(s);
    shot.first_frame = list.first_frames[s];
    shot.num_frames = end - shot.first_frame;
    shot.begin_s = list.time_s[static_cast<std::size_t>(shot.first_frame)];
    shot.end_s = list.time_s[static_cast<std::size_t>(end - 1)];
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
    report.shots.push_back(std::move(shot));
  }
  return report;
}

}  // namespace reel::metrics
