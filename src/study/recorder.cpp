#include "study/recorder.hpp"

#include <sys/resource.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/parallel.hpp"

namespace reel::study {

void Recorder::log(const char* type, const std::string& key, double value) {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  events_.push_back(fmt::format(R"({{"namespace": "reel", "time_ms": {}, "event_type": "{}", "key": "{}", "value": {}}})",
                                std::chrono::duration_cast<std::chrono::milliseconds>(now).count(), type, key, value));
}

void Recorder::note(const std::string& line) {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  events_.push_back(nlohmann::json{{"namespace", "reel"},
                                   {"time_ms", std::chrono::duration_cast<std::chrono::milliseconds>(now).count()},
                                   {"event_type", "POINT_IN_TIME"},
                                   {"key", "note"},
                                   {"value", line}}
                        .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

void Recorder::begin(const std::string& phase, std::int64_t num_steps) {
  phases_.push_back({});
  phases_.back().name = phase;
  phases_.back().num_steps = num_steps;
  comm_begin_s_ = Comm::seconds();
  sent_begin_ = Comm::bytes_sent();
  log("INTERVAL_START", phase, static_cast<double>(num_steps));
  phase_begin_ = step_begin_ = Clock::now();
  if (listener_) listener_(phases_.back(), false);
}

void Recorder::step(double flops) {
  Phase& phase = phases_.back();
  const auto now = Clock::now();
  phase.step_s.push_back(std::chrono::duration<double>(now - step_begin_).count());
  phase.flops += flops;
  log("POINT_IN_TIME", phase.name + "_step", static_cast<double>(phase.step_s.size()));
  step_begin_ = Clock::now();
  if (listener_) listener_(phase, false);
}

void Recorder::end() {
  Phase& phase = phases_.back();
  phase.wall_s = std::chrono::duration<double>(Clock::now() - phase_begin_).count();
  phase.comm_s = Comm::seconds() - comm_begin_s_;
  phase.sent_bytes = Comm::bytes_sent() - sent_begin_;
  log("INTERVAL_END", phase.name, phase.wall_s);
  if (listener_) listener_(phase, true);
}

void Recorder::predicted(const std::string& phase, double seconds) {
  for (Phase& p : phases_)
    if (p.name == phase) p.predicted_s = seconds;
}

void Recorder::write(const Comm& world, double peak_flops, io::Record& record) const {
  // One row of doubles per rank: peak memory, peak rate, threads, then (wall, comm, bytes) of each phase.
  std::vector<double> row{static_cast<double>(peak_memory_bytes()), peak_flops, static_cast<double>(num_threads())};
  for (const Phase& p : phases_) row.insert(row.end(), {p.wall_s, p.comm_s, static_cast<double>(p.sent_bytes)});
  const std::size_t row_bytes = row.size() * sizeof(double);
  std::vector<double> rows(row.size() * static_cast<std::size_t>(world.size()));
  const std::vector<std::size_t> counts(static_cast<std::size_t>(world.size()), row_bytes);
  world.all_gather(row.data(), rows.data(), counts);

  const auto num_ranks = static_cast<std::size_t>(world.size()), num_phases = phases_.size();
  const auto ranks = static_cast<std::int64_t>(num_ranks), phases = static_cast<std::int64_t>(num_phases);
  const auto column = [&](std::size_t c) {
    std::vector<double> v;
    for (std::size_t r = 0; r < num_ranks; ++r) v.push_back(rows[r * row.size() + c]);
    return v;
  };
  const auto table = [&](std::size_t which) {
    std::vector<double> v;
    for (std::size_t r = 0; r < num_ranks; ++r)
      for (std::size_t p = 0; p < num_phases; ++p) v.push_back(rows[r * row.size() + 3 + p * 3 + which]);
    return v;
  };
  const auto add = [&](const std::string& name, const std::string& unit, const std::string& long_name, Shape shape,
                       std::vector<std::string> dims, io::Data data) {
    record.datasets.push_back({"/measured/" + name, unit, long_name, std::move(shape), std::move(dims), std::move(data), {}});
  };
  std::vector<std::string> names;
  std::vector<double> flop, predicted, steps;
  for (const Phase& p : phases_) {
    names.push_back(p.name);
    flop.push_back(p.flops);
    predicted.push_back(p.predicted_s);
    if (p.name == "denoise") steps = p.step_s;
  }
  add("phase", "", "phase of the run", {phases}, {"phase"}, names);
  add("phase_wall", "s", "wall time of each phase on each rank", {ranks, phases}, {"rank", "phase"}, table(0));
  if (std::any_of(predicted.begin(), predicted.end(), [](double x) { return !std::isnan(x); }))
    add("predicted_wall", "s", "wall time of each phase, told before from kernels timed at its shapes; NaN: not told", {phases}, {"phase"}, predicted);
  add("comm_wall", "s", "time inside communication calls, waiting included", {ranks, phases}, {"rank", "phase"}, table(1));
  add("bytes_sent", "byte", "bytes sent to other ranks", {ranks, phases}, {"rank", "phase"}, table(2));
  add("flop", "1", "floating-point operations of all ranks, two per multiply-add, by formula", {phases}, {"phase"}, flop);
  add("mem_peak", "byte", "largest resident memory, shared weights counted on every rank", {ranks}, {"rank"}, column(0));
  add("peak_rate", "s-1", "measured floating-point peak, operations per second, all threads of the rank", {ranks}, {"rank"}, column(1));
  add("threads", "1", "threads", {ranks}, {"rank"}, column(2));
  record.datasets.push_back({"/log/events", "", "what happened when, one JSON object each", {static_cast<std::int64_t>(events_.size())},
                             {"event"}, events_, {}});
  if (!steps.empty())
    add("step_wall", "s", "wall time of each denoising step on rank 0", {static_cast<std::int64_t>(steps.size())}, {"step"}, steps);
}

std::int64_t peak_memory_bytes() {
  rusage usage{};
  return getrusage(RUSAGE_SELF, &usage) == 0 ? usage.ru_maxrss * 1024 : 0;
}

namespace {

// The smallest memory limit of this process's control groups (jobs, containers) [byte]; none: the largest number.
std::int64_t memory_limit_bytes() {
  std::int64_t limit = std::numeric_limits<std::int64_t>::max();
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {  // "0::/job/step", or "5:memory:/job/step" in version 1
    const auto second = line.find(':', line.find(':') + 1);
    const bool unified = line.starts_with("0::");
    if (second == std::string::npos || (!unified && line.find(":memory:") == std::string::npos)) continue;
    const std::filesystem::path root = unified ? "/sys/fs/cgroup" : "/sys/fs/cgroup/memory";
    for (std::filesystem::path group = line.substr(second + 1);; group = group.parent_path()) {
      std::ifstream file(root / group.relative_path() / (unified ? "memory.max" : "memory.limit_in_bytes"));
      if (std::int64_t bytes = 0; file >> bytes) limit = std::min(limit, bytes);  // "max" is no number
      if (!group.has_relative_path()) break;
    }
  }
  return limit;
}

}  // namespace

std::int64_t available_memory_bytes() {
  std::ifstream in("/proc/meminfo");
  for (std::string word; in >> word;)
    if (word == "MemAvailable:") {
      std::int64_t kib = 0;
      in >> kib;
      return std::min(kib * 1024, memory_limit_bytes());
    }
  return 0;
}

}  // namespace reel::study
