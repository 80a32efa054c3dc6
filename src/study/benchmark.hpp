#pragma once
// A benchmark: one or more models film many clips of the worlds whose truth is known, and are compared with it, with each
// other, and with two ways to go on that need no model. After PhyWorld (Kang et al., arXiv 2411.02385): the model sees the
// caption and the first latent frames of a held-out clip and goes on; the film is measured as any film.
//
// clang-format off
// | key                     | type, range               | default    | meaning                                          |
// |-------------------------|---------------------------|------------|--------------------------------------------------|
// | reel, title             | as in experiment.hpp      |            |                                                  |
// | benchmark.models        | list of paths             | required   | pipeline folders; the first is what others beat  |
// | benchmark.scenes        | list of worlds            | all        |                                                  |
// | benchmark.bands         | list of "in", "ood"       | both       | inside and outside of what was trained on        |
// | benchmark.clips         | 1 ... 100000              | 100        | held-out clips of each scene and band            |
// | benchmark.seeds         | 1 ... 1000                | 4          | films of each clip, from different noise         |
// | benchmark.first_clip    | 0 ... 2^62                | 1000000000 | seed of the first clip                           |
// | benchmark.given_latents | 1 ...                     | 2          | latent frames that the model is shown            |
// | benchmark.preference    | 0 ... 100000              | 0          | clips of each scene for the preference error     |
// | shot.frames/fps/size    | as in experiment.hpp      |            | of every film                                    |
// | sampler, run            | as in experiment.hpp      |            |                                                  |
// | output.dir              | path                      | results    | folder for the table                             |
// clang-format on
// The house has no band "ood". A fall begins 0.1 s after the first frame, so that the given frames show it begin.
#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "core/comm.hpp"
#include "metrics/metric.hpp"
#include "study/experiment.hpp"
#include "study/preference_study.hpp"

namespace reel::study {

struct Benchmark {
  std::filesystem::path file;
  std::string text;
  std::vector<std::string> overrides;
  std::string title;
  std::vector<std::filesystem::path> models;
  std::vector<std::string> scenes, bands;
  std::int64_t num_clips = 100, num_seeds = 4, num_given_latents = 2;
  std::uint64_t first_clip = 0;
  std::int64_t num_preference_clips = 0;
  Shot shot;  ///< frames, fps and size alone
  Sampler sampler;
  Run run;
  std::filesystem::path dir;
};

/// Whether an experiment file is a benchmark: it has a table [benchmark].
bool is_benchmark(std::string_view text);
/// Reads and checks. Throws DiagnosticError (Exit::usage) with all findings.
Benchmark parse_benchmark(std::string_view text, const std::filesystem::path& file, const std::vector<std::string>& overrides = {});

/// The metrics that are kept of every film, by id, and their units.
struct KeptMetric {
  const char *id, *unit;
};
const std::vector<KeptMetric>& kept_metrics();

/// One film that was measured, or one way to go on that is not a film.
struct BenchmarkFilm {
  std::size_t source = 0, scene = 0, band = 0;  ///< indices into the results' lists
  std::uint64_t clip = 0, noise_seed = 0;
  std::string sha256;         ///< of all pixels; "" for what is not a film
  std::vector<double> value;  ///< one for each kept metric; NaN: refused, or not of this scene
};

/// One number of the table: the mean over clips of the mean over their films.
struct BenchmarkCell {
  std::size_t source = 0, scene = 0, band = 0, metric = 0;
  std::int64_t num_clips = 0, num_films = 0, num_refused = 0;  ///< clips and films with a number, films without
  double mean = metrics::nan;
  std::array<double, 2> interval{metrics::nan, metrics::nan};  ///< 95 %, percentile bootstrap over clips
  /// Of a model that is not the first: mean over the clips that both have of its value less that of the first.
  double difference = metrics::nan;
  std::array<double, 2> difference_interval{metrics::nan, metrics::nan};
};

/// Preference error of one model on one scene and break, or on all (scene and break ""), without clean latent frames or
/// with as many as the films are given.
struct BenchmarkPreference {
  std::size_t model = 0;
  PreferenceCell cell;
};

struct BenchmarkResults {
  std::vector<std::string> sources;  ///< "truth", "copy", "law", then "NAME vae" and "NAME" of each model
  std::size_t num_models = 0;
  std::vector<std::string> scenes, bands;
  std::vector<BenchmarkFilm> films;
  std::vector<BenchmarkCell> cells;
  std::vector<BenchmarkPreference> preferences;
  std::string task_id, result_digest;
  std::filesystem::path file;

  static constexpr std::size_t truth = 0, copy = 1, law = 2;
  std::size_t vae(std::size_t model) const { return 3 + 2 * model; }
  std::size_t model(std::size_t model) const { return 4 + 2 * model; }
  /// The cell, or nullptr where no film gave or refused a number.
  const BenchmarkCell* find(std::size_t source, std::size_t scene, std::size_t band, std::string_view metric) const;
};

/// Renders and measures everything and writes `<task_id>.benchmark.h5` into `dir`. Clips are shared out to ranks and their
/// threads, models' preference errors to ranks; no number depends on the layout. Collective over `world`; the results are complete on rank 0.
/// `progress(done, all)` counts clips, on rank 0, by one thread at a time.
BenchmarkResults run_benchmark(const Benchmark& benchmark, const Comm& world, const std::string& command_line,
                               const std::function<void(std::int64_t, std::int64_t)>& progress = {});

/// Means, intervals and differences from films: what `run_benchmark` fills `cells` with.
std::vector<BenchmarkCell> benchmark_cells(const BenchmarkResults& results);
/// Tables for the terminal: velocity as PhyWorld has it, gravity of the fall, wobble of the house, films that fail.
std::string benchmark_text(const BenchmarkResults& results);
std::string benchmark_json(const BenchmarkResults& results);

}  // namespace reel::study
