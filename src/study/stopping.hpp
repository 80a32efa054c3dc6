#pragma once
// When a run must stop: asked by a signal or a file, or because its time is up.
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>

namespace reel::study {

/// The time at which the launcher ends this process, as far as anybody says so.
struct EndTime {
  double unix_s = 0;
  std::string source;  ///< who says so: "--walltime", "REEL_END_TIME", "SLURM_JOB_END_TIME", "squeue"
};

/// In this order: `walltime_s` after `start_unix_s`, when given; REEL_END_TIME, SLURM_JOB_END_TIME (Unix seconds); in a
/// Slurm job one query of squeue. Nothing when nobody knows. Throws Error (usage) for a REEL_END_TIME that is no time.
std::optional<EndTime> end_time(std::optional<double> walltime_s, double start_unix_s);
/// "2026-11-26T02:10:00" in local time, as squeue writes it; nothing for "N/A" and the like.
std::optional<double> parse_local_time(const std::string& text);
double unix_now_s();
/// "2 h", "90 min", "5 s": seconds. `where` names it in messages. Throws Error (usage).
double parse_duration_s(const std::string& text, const std::string& where);

/// Decides between two steps whether to go on. One rank looks at file and clock; all look for signals.
class Stopping {
 public:
  struct Options {
    std::optional<double> walltime_s;
    std::int64_t after_steps = 0;  ///< stop after so many steps and decoded latent frames; 0: never
    std::filesystem::path stop_file;  ///< stop when it exists; empty: none
  };
  /// Throws as `end_time`. `looks`: whether this rank looks at file and clock.
  Stopping(Options options, bool looks, double start_unix_s);

  /// To be called after every step; `save_s`: how long saving takes. Why to stop, or "".
  std::string reason(double save_s);

 private:
  Options options_;
  bool looks_;
  std::optional<EndTime> end_;
  std::int64_t steps_ = 0;
  double longest_s_ = 0, last_ = 0;
};

}  // namespace reel::study
