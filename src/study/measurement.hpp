#pragma once
// What a measurement leaves behind: the side file beside a film, and the same as JSON.
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "io/results.hpp"
#include "metrics/measure.hpp"

namespace reel::study {

/// A measured film, and where it came from.
struct Measurement {
  metrics::FilmReport film;
  metrics::Findings paired;                 ///< against a reference or a truth; empty without
  std::map<std::string, double> floors;     ///< metric id -> what clean clips of this size give; see datasets/calibration
  std::string source_sha256, task_id;       ///< of the film's file; of the result it belongs to, or ""
  std::string reference;                    ///< name of the reference or truth, or ""
};

/// The side file. Tables are lists of equal length ("metric_id", "metric_value", ...); traces and tracks of all shots
/// stand one behind the other, and `trace_begin`, `trace_count` cut them (CF's contiguous ragged arrays).
///
///   /result/metric_*(metric)    shot id name object value sigma n unit aspect better floor refusal
///   /result/trace_*(trace)      shot id unit begin count slope slope_sigma        sample_time sample_value (sample)
///   /result/track_*(track)      shot name begin count sigma                       point_* (point): time x y area
///   /result/event_*(event)      shot id object frame time x y text
///   /result/shot_*(shot)        first_frame num_frames begin end refusal
io::Record measurement_record(const Measurement& measurement);

/// The same without tracks and with traces by their slopes alone: for people and scripts.
std::string measurement_json(const Measurement& measurement);

/// A table for the terminal: one line for each metric, refusals with their reason. `brief`: one metric per law.
std::string measurement_text(const Measurement& measurement, bool brief = false);

}  // namespace reel::study
