#pragma once
// From an experiment to its record: renders, measures, hashes. Everything but talking to the user.
#include <filesystem>
#include <string>

#include "core/comm.hpp"
#include "model/generate.hpp"
#include "study/experiment.hpp"
#include "study/recorder.hpp"

namespace reel::study {

struct RunSummary {
  std::string task_id, run_id, result_digest, weights;  ///< weights: a path, or "synthetic"
  std::filesystem::path result, film;                   ///< film is empty with output.video = "none"
  std::filesystem::path measurement;                    ///< side file; empty without a [measure] table
  std::string measurement_text;                         ///< for the terminal
  std::vector<Phase> phases;                            ///< of rank 0
  double peak_flops = 0;                                ///< of all ranks [flop/s]
  std::int64_t peak_memory_bytes = 0;                   ///< largest of any rank
};

/// [sampler] in the terms of the model.
model::Sampling model_sampling(const Sampler& sampler);
/// Throws Error (launch) when the experiment asks for another number of ranks than there is.
void expect_ranks(const Run& run, const Comm& world);

/// Renders `experiment` and writes `<run_id>.h5` and the film into output.dir. Collective over `world`; the summary is
/// complete on rank 0. Throws Error before the first exchange for anything that can be known by then.
RunSummary run_experiment(const Experiment& experiment, const Comm& world, const std::string& command_line,
                          Recorder::Listener listener);

}  // namespace reel::study
