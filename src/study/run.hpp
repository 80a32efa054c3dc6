#pragma once
// From an experiment to its record: renders, measures, hashes. Everything but talking to the user.
#include <filesystem>
#include <memory>
#include <string>

#include "core/comm.hpp"
#include "model/generate.hpp"
#include "study/experiment.hpp"
#include "study/recorder.hpp"
#include "study/stopping.hpp"

namespace reel::study {

struct RunSummary {
  std::string task_id, run_id, result_digest, weights;  ///< weights: a path, or "synthetic"
  std::filesystem::path result, film;                   ///< film is empty with output.video = "none"
  std::filesystem::path measurement;                    ///< side file; empty without a [measure] table
  std::string measurement_text;                         ///< for the terminal
  std::int64_t num_sittings = 1;                        ///< 2 and more: went on from a checkpoint; 0: it was there
  double save_s = 0;                                    ///< spent on checkpoints
  std::vector<Phase> phases;                            ///< of rank 0
  double peak_flops = 0;                                ///< of all ranks [flop/s]
  std::int64_t peak_memory_bytes = 0;                   ///< largest of any rank
};

/// [sampler] in the terms of the model.
model::Sampling model_sampling(const Sampler& sampler);
/// The model of an experiment, in its profile. Throws Error like Pipeline::open.
std::unique_ptr<model::Pipeline> open_pipeline(const Model& model);
/// Throws Error (launch) when the experiment asks for another number of ranks than there is.
void expect_ranks(const Run& run, const Comm& world);

/// What does not belong to the experiment: how long it may run, and what is kept of a run that stops.
struct Sittings {
  Stopping::Options stopping;
  /// Every step is kept, whatever it takes; otherwise as often as that takes less than 1 % of the time. A run that is asked
  /// to stop is kept in any case.
  bool keep_every_step = false;
  std::string checkpoint;  ///< file in output.dir; "": "<task_id>.checkpoint"
  std::int64_t repeat = 0;
  std::string run_id;  ///< name of the result; "": task, layout as it runs, repeat
  /// A result of this task on this layout that is there and whole is left as it is.
  bool keep_finished = false;
  /// Kernels are timed first, and how long the run should take is kept beside how long it took. Without this only runs do so
  /// that promise to take half a minute, of which it is a few percent.
  bool rehearse = false;
  /// Text features are kept in `text_features` of output.dir, for others of the same prompts; with $REEL_CACHE in `text_features`
  /// of that folder, also without this.
  bool keep_text = false;
  std::function<void(const std::string&)> tell;  ///< on rank 0: what people should know now
};

/// Digests of the model and the given frames. Collective over `world`.
InputDigests digest_inputs(const Experiment& experiment, const Comm& world);

/// Renders `experiment`, from a checkpoint when there is one, and writes `<run_id>.h5` and the film into output.dir.
/// Collective over `world`; the summary is complete on rank 0. Throws Error before the first exchange for anything that can
/// be known by then, and Error (stopped) after having saved where it stands.
RunSummary run_experiment(const Experiment& experiment, const Comm& world, const std::string& command_line,
                          Recorder::Listener listener, const Sittings& sittings = {});

}  // namespace reel::study
