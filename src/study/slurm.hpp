#pragma once
// A sweep as Slurm array jobs: plain scripts from slurm/array.sbatch, one array for each layout.
#include <filesystem>
#include <string>
#include <vector>

#include "study/forecast.hpp"
#include "study/manifest.hpp"

namespace reel::study {

/// slurm/machines/NAME.toml; every key is explained in slurm/machines/example_epyc.toml.
struct Machine {
  std::string name;
  std::int64_t cores = 1, sockets = 1, numa_domains = 1;  ///< of a node
  std::string memory, scratch;
  std::string launcher = "srun", mpi = "pmix";
  std::vector<std::string> modules, extra;
  std::string partition, account, qos;
  std::int64_t max_array = 1000;
  double walltime_s = 3600;
  double node_hour = 0;   ///< price, 0: not told
  std::string currency;
  Network network;
};

/// `name`: of a file in slurm/machines, or a path to one. Throws as `load_experiment`; Error (input) names the known ones.
Machine load_machine(const std::string& name);

/// Ranks and threads of a run. Where the experiment leaves them open: a rank for each NUMA domain of one node, and the cores of
/// the node shared out as its threads.
struct Layout {
  std::int64_t ranks = 1, threads = 1;
};
Layout layout_on(const Machine& machine, const Run& run);

struct ArrayJob {
  std::string name, script;
  std::int64_t ranks = 1, threads = 1, nodes = 1, num_runs = 0;
};

/// Arrays for those of `indexes` that are still to do. Elements of an array are the manifest's indexes less an offset; a
/// layout is split where they would reach the machine's max_array. `program`: path of reel. Throws Error (usage) for a
/// layout that no node of the machine can hold, or a walltime that is no time.
std::vector<ArrayJob> array_jobs(const Manifest& manifest, const std::vector<std::int64_t>& indexes, const Machine& machine, const SlurmWishes& wishes,
                                 const std::string& program);

/// "0-3,7,9-10" of rising numbers.
std::string ranges(const std::vector<std::int64_t>& numbers);
/// As one word of a shell.
std::string shell_word(const std::string& text);

}  // namespace reel::study
