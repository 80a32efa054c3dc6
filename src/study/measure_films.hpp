#pragma once
// From a file and what a person knows of it to a measurement: options, truth, reference, overlay, side file.
#include <filesystem>
#include <optional>
#include <string>

#include "study/experiment.hpp"
#include "study/measurement.hpp"
#include "worlds/world.hpp"

namespace reel::study {

/// One film to measure. Empty paths: not wanted.
struct MeasureTask {
  std::filesystem::path film;
  std::filesystem::path reference;  ///< a film of the same size to compare with, frame by frame
  std::optional<worlds::Clip> truth;  ///< of a world, pixels not needed: objects by colour, scale, gravity, paired metrics
  std::filesystem::path out;        ///< side file
  std::filesystem::path overlay;    ///< what was measured drawn on the film (.mp4) or on eight frames of it (.png)
  double fps = 0;                   ///< of a folder of pictures
  std::int64_t num_given = 1;       ///< frames that the model was shown: with a truth, not judged
  metrics::MeasureOptions options;
};

/// Does it. Throws Error as `open_film`, `measure` and the writers do; Exit::input when reference or truth do not fit.
Measurement measure_film(const MeasureTask& task);

/// What an experiment's [measure] table asks for, of the film `result`. A shot whose first frames come from a world is
/// measured against that world's truth. Keys, all optional:
///   scale = "storey=3.0 m:12.8 px"    gravity = 9.81 (m/s2)    overlay = true    objects = false (nothing moves of itself)
///   world = { name = "fall", suit = "red" }   objects by colour, as that world draws them; other keys: caption's words
/// Throws Error (Exit::usage) for an unknown key or a wrong type.
MeasureTask measure_task(const Experiment& experiment, const std::filesystem::path& result);

/// "door=2.03 m:120 px" -> metres per pixel. The name before "=" is for people; "+-" gives the doubt of the length:
/// "person=1.70+-0.10 m:24 px". Throws Error (Exit::usage).
metrics::Scale parse_scale(const std::string& text);
/// "x,y,w,h" in pixels. Throws Error (Exit::usage).
metrics::Box parse_box(const std::string& text);

}  // namespace reel::study
