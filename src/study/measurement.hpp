#pragma once
// What a measurement leaves behind: the side file beside a film, and the same as JSON.
#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "io/results.hpp"
#include "metrics/measure.hpp"
#include "study/floors.hpp"

namespace reel::study {

/// A measured film, and where it came from.
struct Measurement {
  metrics::FilmReport film;
  metrics::Findings paired;                 ///< against a reference or a truth; empty without
  Floors floors;                            ///< what clean clips of this size give
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

/// One number over several films, for example of several seeds.
struct OverFilms {
  std::string id, name, unit;
  double mean = metrics::nan;  ///< over films, of each film's mean over its objects and shots
  std::array<double, 2> interval{metrics::nan, metrics::nan};  ///< 95 %, percentile bootstrap over films
  std::int64_t num_films = 0, num_refused = 0;                 ///< with a number; without, where some film has one
};

/// Of a side file `<run_id>.measure.h5`: mean of each metric over the objects and shots that give it; NaN where none does.
/// Throws Error (input) when it cannot be read.
std::map<std::string, double> metric_means(const std::filesystem::path& side_file);

/// From what `measurement_json` gave of each film, in the order of the metrics' first appearance. What no film tells is
/// left out.
std::vector<OverFilms> over_films(const std::vector<std::string>& measurement_jsons);
std::string over_films_text(const std::vector<OverFilms>& numbers, std::size_t num_films);
std::string over_films_json(const std::vector<OverFilms>& numbers, std::size_t num_films);

}  // namespace reel::study
