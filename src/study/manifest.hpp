#pragma once
// What a sweep consists of, frozen, and how far each run of it is. All of it is read from files in one folder: no
// scheduler, no accounting, no database.
//
//   sweep.manifest.jsonl   one JSON object a line, only ever appended: bases {"base", "file", "text"} and runs {"index",
//                          "run", "task", "base", "overrides", "repeat"}
//   RUN.h5                 done (appears whole)          RUN.checkpoint[.before]  how far it is
//   RUN.claim              somebody works on it          RUN.failed               why it could not be done
#include <chrono>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "core/comm.hpp"
#include "core/error.hpp"
#include "study/experiment.hpp"
#include "study/sweep_file.hpp"

namespace reel::study {

struct ManifestRun {
  std::int64_t index = 0;
  std::string run, task;               ///< run id, task id
  std::string base;                    ///< SHA-256 of the base's text
  std::vector<std::string> overrides;
  std::int64_t repeat = 0;
};

class Manifest {
 public:
  static constexpr const char* file_name = "sweep.manifest.jsonl";
  /// Reads `dir`'s manifest; an empty one when there is none. Throws Error (input) when it is damaged.
  static Manifest read(const std::filesystem::path& dir);
  /// Makes the points of `sweep` known; those that are known keep their index. Returns the indexes of the sweep's runs, in
  /// its order. `tasks`: task id of each point. Writes what is new, if `writes`. Throws Error (write).
  std::vector<std::int64_t> add(const SweepFile& sweep, const std::vector<std::string>& tasks, bool writes = true);

  const std::vector<ManifestRun>& runs() const noexcept { return runs_; }
  const ManifestRun& at(std::int64_t index) const;  ///< throws Error (usage) when there is none
  /// The experiment of a run, with results in the manifest's folder.
  Experiment experiment(const ManifestRun& run) const;
  const std::filesystem::path& dir() const noexcept { return dir_; }

 private:
  struct Base {
    std::filesystem::path file;
    std::string text;
  };
  std::filesystem::path dir_;
  std::map<std::string, Base> bases_;
  std::vector<ManifestRun> runs_;
};

/// Task ids of all points: models and given frames are hashed once each. Collective over `world`.
std::vector<std::string> task_ids(const SweepFile& sweep, const Comm& world);

enum class RunState { missing, stopped, running, failed, done };
const char* state_name(RunState state);
struct RunStanding {
  RunState state = RunState::missing;
  std::string note;  ///< who works on it, why it failed
};
/// As the files in `dir` say now.
RunStanding standing_of(const std::filesystem::path& dir, const std::string& run);

/// The right to work on a run, as a file that others see. A thread renews it every few seconds; a claim that nobody has
/// renewed for ten minutes, or whose process on this host is gone, may be taken over. Two at work on one run would only
/// waste time: both make the same bits, and files appear whole.
class Claim {
 public:
  /// Nothing when another holds it. Throws Error (write).
  static std::unique_ptr<Claim> take(const std::filesystem::path& dir, const std::string& run);
  ~Claim();
  Claim(const Claim&) = delete;
  Claim& operator=(const Claim&) = delete;

 private:
  explicit Claim(std::filesystem::path path);
  std::filesystem::path path_;
  std::jthread renewer_;
};

/// Puts down why a run failed, or forgets it.
void note_failure(const std::filesystem::path& dir, const std::string& run, const Error& error);
void forget_failure(const std::filesystem::path& dir, const std::string& run);

}  // namespace reel::study
