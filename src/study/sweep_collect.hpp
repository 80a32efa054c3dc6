#pragma once
// Gathers the results of a sweep into one table, and holds the runs of each task against each other.
#include <filesystem>
#include <string>
#include <vector>

#include "study/scaling.hpp"
#include "study/sweep.hpp"

namespace reel::study {

/// Runs of one task whose digests differ.
struct OddRun {
  std::string task, run, digest, expected;
};

struct Collected {
  std::filesystem::path file;  ///< sweep.h5
  SweepCount count;
  std::int64_t num_tasks = 0, num_layouts = 0;  ///< of the runs that are done and whole
  std::vector<OddRun> odd;
  std::vector<std::string> damaged;
  std::vector<ScalingRow> scaling;
};
/// Verifies all results, compares the digests of each task, writes sweep.h5: columns /table/*, one row a run, with what
/// varies, layout, times and energy of all sittings, denoising by step, bytes sent and by formula, digest, and the metrics of
/// side files; nothing is written when a digest is odd. Idempotent. Throws Error (input) when nothing is done.
Collected collect(const Manifest& manifest);

}  // namespace reel::study
