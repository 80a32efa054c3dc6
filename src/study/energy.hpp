#pragma once
// Measures the energy that a node uses while a run lasts.
//
// Every source counts the whole node with all that runs on it: a node shared with others measures the others too.
// Nothing is subtracted (no idle baseline). What cannot be told is "not available", never 0.
#include <chrono>
#include <filesystem>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "io/results.hpp"

namespace reel::study {

/// What one node used.
struct Energy {
  /// "node-meter" (Cray pm_counters), "perf", "powercap", "slurm", "declared"; "" when not available.
  std::string method;
  /// "node"; "package-0", "package-0/dram", "package-0/core", "psys". A name after another method and a colon
  /// ("powercap:package-0") is a cross-check: read over the same time from a source that was not chosen.
  std::vector<std::string> domains;
  std::vector<double> joules;  ///< [J] per domain, over the covered time; above 0
  /// Share of the wall time that counters cover, above 0 to 1 (declared: 1); 0 when not available. `joules` are not
  /// scaled up where it is below 1.
  double coverage = 0;
  double wall_s = 0;
  std::string unavailable;  ///< for people: sources that gave nothing, or not all, and why

  /// [J] of the node, or of packages + dram, summed in the order of `domains`. What lies within them (core, uncore),
  /// around them (psys) or beside them (cross-checks) is not added. Nothing when not available.
  std::optional<double> total_j() const;
};

/// Adds to the record, of all nodes in the order of their first ranks: /measured/energy(node) [J] with the attributes
/// method and coverage (smallest of any node) when every node tells its energy by the same method; /measured/energy_json
/// with domains and reasons always. `energies`: `energy_json` of each node.
std::string energy_json(const Energy& energy);
void add_energy(const std::vector<std::string>& energies, io::Record& record);

/// One per node: its first rank uses it, the caller brings the nodes together.
///
/// Sources, the first that covers most of the time is chosen:
///   node-meter  /sys/cray/pm_counters/energy
///   perf        events energy-pkg and energy-ram of the "power" unit, by perf_event_open
///   powercap    /sys/class/powercap/intel-rapl:*, whose counters wrap
///   slurm       ConsumedEnergyRaw of this job step by `sstat`, an equal share for each of the step's nodes. Only in a
///               job, and only when no counter can be read. Slurm's own sampling (often every 30 s) blurs both ends.
///   declared    given power x wall time; only when no other source gave anything
/// A source is used whole or not at all: when one of its counters cannot be read, no half sum is told.
///
/// Counters are read at start, at stop and, by a thread of its own, every 10 s in between, so that no wrap is missed.
/// Time over which a counter may have wrapped unseen, went backwards, or rose faster than a package can (2 kW) is left
/// out of `joules` and of `coverage`; so is the time after the last good reading. A node or package that stands still,
/// as in many virtual machines, is not measured.
class EnergyMeter {
 public:
  /// `root` stands for "/". `declared_w`: power of this node [W] as its owner states it, 0 for none. Throws Error
  /// (Exit::usage) when it is negative or not finite.
  explicit EnergyMeter(std::filesystem::path root = "/", double declared_w = 0);
  ~EnergyMeter();
  EnergyMeter(const EnergyMeter&) = delete;
  EnergyMeter& operator=(const EnergyMeter&) = delete;

  /// Begins (anew). A source that fails is no error. In a Slurm job without counters it, and stop(), may take 2 s.
  void start();
  /// Reads the counters once more; the thread calls it every 10 s. A reading that fails is no error.
  void sample();
  /// Ends what start() began: once for each start().
  Energy stop();

 private:
  struct Source;
  using Clock = std::chrono::steady_clock;
  std::filesystem::path root_;
  double declared_w_;
  bool running_ = false;
  Clock::time_point begin_, sampled_;
  std::vector<Source> sources_;
  std::mutex mutex_;      // of sources_, while the sampler runs
  std::jthread sampler_;  // last: joined before what it reads is gone
};

}  // namespace reel::study
