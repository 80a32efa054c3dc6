#pragma once
// The sweep file: one base experiment, varied.
//
// | key                     | type, range                    | default            | meaning                                    |
// |-------------------------|--------------------------------|--------------------|--------------------------------------------|
// | reel                    | 1                              | required           | version of this format                     |
// | base                    | path                           | required           | the experiment that is varied              |
// | title                   | text                           | ""                 | for people                                 |
// | sweep.matrix            | "table.key" = [values]         | {}                 | every value with every other key's         |
// | [[sweep.zip]]           | "table.key" = [values]         | none               | lists of one length, taken together        |
// | [[sweep.exclude]].where | "a.b == 1 and c.d != 'x'"      | none               | leaves these out; == != < <= > >=          |
// | sweep.seeds             | 1 ... 10^6, or [seeds]         | the base's         | so many seeds derived from shot.seed       |
// | sweep.repeat            | 1 ... 10^4                     | 1                  | runs of each: same film, new times         |
// | output.dir              | path                           | base's dir / name  | folder of results, manifest, checkpoints   |
// | slurm.machine           | name or path                   | this_machine       | slurm/machines/NAME.toml                   |
// | slurm.array             | 1 ... 10^6                     | the machine's      | tasks per array                            |
// | slurm.running           | 0 ... 10^6                     | 0 (no limit)       | of an array at a time                      |
// | slurm.walltime          | "2 h"                          | the machine's      | of a task                                  |
//
// Order of runs: matrix keys in byte order, the last varies fastest; then each zip, seeds, repeats. Derived seed i of a
// base seed s: the first 63 bits of SHA-256 over "<s> seed <i>"; seed 0 is s itself.
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "study/experiment.hpp"

namespace reel::study {

/// One point of a sweep: the base with these overrides, for the `repeat`-th time.
struct SweepPoint {
  std::vector<std::string> overrides;  ///< as --set takes them, in the order of `SweepFile::keys`
  std::int64_t repeat = 0;
};

struct SlurmWishes {
  std::string machine = "this_machine", walltime;
  std::int64_t array = 0, running = 0;
};

struct SweepFile {
  std::filesystem::path file, base_file, dir;
  std::string text, base_text, title;
  std::vector<std::string> keys;  ///< that vary
  std::vector<SweepPoint> points;
  std::int64_t num_excluded = 0;
  SlurmWishes slurm;
};

/// Whether this text is a sweep (has a [sweep] table).
bool is_sweep(std::string_view text);
/// Reads the file and its base and expands it. Throws as `load_experiment`, and Error (usage) for more than 10^6 runs. A
/// point that is no good experiment shows when it is asked for.
SweepFile load_sweep(const std::filesystem::path& file);
/// The experiment of a point: its files are named and anchored by the base. Throws as `parse_experiment`.
Experiment experiment_of(const SweepFile& sweep, const SweepPoint& point);
std::uint64_t derived_seed(std::uint64_t base, std::int64_t i);

}  // namespace reel::study
