#pragma once
// Measures a run while it happens: seconds per phase, step and rank, time in communication, bytes sent, operations.
#include <chrono>
#include <functional>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "core/comm.hpp"
#include "io/results.hpp"
#include "model/generate.hpp"

namespace reel::study {

/// One phase on this rank.
struct Phase {
  std::string name;
  std::int64_t num_steps = 0;
  double wall_s = 0, comm_s = 0;
  double flops = 0;  ///< of all ranks together
  std::uint64_t sent_bytes = 0;
  double predicted_s = std::numeric_limits<double>::quiet_NaN();  ///< of all ranks, told before it began; NaN: not told
  std::vector<double> step_s;
};

class Recorder : public model::Observer {
 public:
  /// Called after every change, for progress displays.
  using Listener = std::function<void(const Phase& phase, bool ended)>;
  explicit Recorder(Listener listener = {}) : listener_(std::move(listener)) {}

  /// A line for the log.
  void note(const std::string& line);

  void begin(const std::string& phase, std::int64_t num_steps) override;
  void step(double flops) override;
  void end() override;

  const std::vector<Phase>& phases() const noexcept { return phases_; }
  /// What was told before about a phase that has ended.
  void predicted(const std::string& phase, double seconds);

  /// Adds /measured and /log/events (this rank's, one JSON object a line, keys as MLPerf's logs) to the record: every rank's phases meet on rank 0. Collective; `peak_flops` is this rank's
  /// measured peak [flop/s] over all its threads.
  void write(const Comm& world, double peak_flops, io::Record& record) const;

 private:
  using Clock = std::chrono::steady_clock;
  std::vector<Phase> phases_;
  void log(const char* type, const std::string& key, double value);
  std::vector<std::string> events_;
  Clock::time_point phase_begin_, step_begin_;
  double comm_begin_s_ = 0;
  std::uint64_t sent_begin_ = 0;
  Listener listener_;
};

/// Largest resident memory of this process so far [byte].
std::int64_t peak_memory_bytes();
/// Memory this node could still give [byte]; 0 when it cannot be told.
std::int64_t available_memory_bytes();

}  // namespace reel::study
