#pragma once
// The whole unpaired suite on one film: cuts, camera, objects, laws, wobble. Frames are read twice, memory does not grow
// with the film, and the same film gives the same numbers on any number of ranks and threads.
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/frames.hpp"
#include "metrics/metric.hpp"
#include "metrics/track.hpp"

namespace reel::metrics {

/// An object that is found by its colour before a still background.
struct NamedColour {
  std::string name;
  std::array<std::uint8_t, 3> rgb{};
};

/// A box in pixels of the first frame, top left corner and size, given by a person.
struct Box {
  double x_px = 0, y_px = 0, width_px = 0, height_px = 0;
};

struct MeasureOptions {
  bool objects = true;               ///< false: nothing in this scene moves of itself, judge the camera and the picture
  std::vector<NamedColour> colours;  ///< objects by colour (our worlds); empty: whatever moves
  std::optional<Box> object;         ///< follow what is in this box instead
  Scale scale;
  double gravity_m_per_s2 = 9.81;    ///< what falls here should fall with
  bool still_background = false;     ///< the camera is known to stand: do not look for its motion
};

/// One shot between two cuts.
struct ShotReport {
  std::int64_t first_frame = 0, num_frames = 0;
  double begin_s = 0, end_s = 0;  ///< times of its first and last frame
  Findings findings;
  std::vector<Track> tracks;      ///< in the frame of the shot's first picture
  std::vector<std::array<double, 9>> camera;  ///< per frame: this picture to the shot's first, row-major; may be empty
  std::string refusal;            ///< why nothing could be measured; "" otherwise
};

struct FilmReport {
  std::string name;
  std::int64_t width_px = 0, height_px = 0, num_frames = 0;
  double duration_s = 0;                       ///< last time minus first
  double dt_min_s = nan, dt_median_s = nan, dt_max_s = nan;
  std::vector<std::int64_t> duplicate_frames;  ///< equal to the frame before
  std::vector<ShotReport> shots;
};

/// Measures `source` from its first frame. Throws Error (Exit::input) for a film that cannot be read or has no frames.
FilmReport measure(FrameSource& source, const MeasureOptions& options = {});

}  // namespace reel::metrics
