#pragma once
// Runs what is missing of a sweep.
#include <functional>
#include <string>
#include <vector>

#include "study/manifest.hpp"
#include "study/run.hpp"

namespace reel::study {

/// How many runs are in each state.
struct SweepCount {
  std::int64_t total = 0, done = 0, running = 0, stopped = 0, failed = 0, missing = 0;
  std::int64_t too_wide = 0;  ///< of those to do: need more ranks than there are
  std::int64_t most_ranks = 1;
  int first_exit = 0;  ///< exit code of the first failure
  bool all_done() const noexcept { return done == total; }
};
SweepCount count_runs(const Manifest& manifest, const std::vector<std::int64_t>& indexes);

/// What a rank group has to say when a run ends: the run, how it went, what it took.
struct SweepNews {
  const ManifestRun& run;
  const RunSummary* summary = nullptr;  ///< when done
  const Error* error = nullptr;         ///< when failed or stopped
};

/// Runs those of `indexes` that are neither done, failed, nor worked on by others: layout by layout, several side by side
/// on groups of ranks as far as there are cores for them. A run that fails is noted and left; the rest goes on. Collective;
/// each group's first rank calls `news`. Throws Error (stopped) on all ranks when asked to stop.
void run_sweep(const Manifest& manifest, const std::vector<std::int64_t>& indexes, const Comm& world, const std::string& command_line,
               const Sittings& sittings, const std::function<void(const SweepNews&)>& news);

/// One run, by its index: for array jobs. Collective. Throws what the run throws, after having noted it.
RunSummary run_one(const Manifest& manifest, std::int64_t index, const Comm& world, const std::string& command_line,
                   Recorder::Listener listener, const Sittings& sittings);

}  // namespace reel::study
