#pragma once
// From a file and what a person knows of it to a measurement: options, truth, reference, overlay, side file.
#include <filesystem>
#include <string>

#include "study/measurement.hpp"

namespace reel::study {

/// One film to measure. Empty paths: not wanted.
struct MeasureTask {
  std::filesystem::path film;
  std::filesystem::path reference;  ///< a film of the same size to compare with, frame by frame
  std::filesystem::path truth;      ///< truth of a world: objects by colour, scale, gravity, paired metrics
  std::filesystem::path out;        ///< side file
  std::filesystem::path overlay;    ///< the film with what was measured drawn on it (.mp4)
  double fps = 0;                   ///< of a folder of pictures
  metrics::MeasureOptions options;
};

/// Does it. Throws Error as `open_film`, `measure` and the writers do; Exit::input when reference or truth do not fit.
Measurement measure_film(const MeasureTask& task);

/// "door=2.03 m:120 px" -> metres per pixel. The name before "=" is for people; "+-" gives the doubt of the length:
/// "person=1.70+-0.10 m:24 px". Throws Error (Exit::usage).
metrics::Scale parse_scale(const std::string& text);
/// "x,y,w,h" in pixels. Throws Error (Exit::usage).
metrics::Box parse_box(const std::string& text);

}  // namespace reel::study
