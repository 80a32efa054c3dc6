#pragma once
// Injection and recovery: clips with one known flaw go in, the metrics must give the flaw's size back and nothing else
// may move. What clean clips give are the floors that are quoted beside every number.
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "metrics/measure.hpp"
#include "worlds/lab.hpp"

namespace reel::study {

/// Size of the clips and the codec they went through.
struct Condition {
  std::int64_t size_px = 64;
  int crf = -1;  ///< H.264 quality; -1: clean
};

/// How well one metric gives one injection back, over all its knobs and seeds.
struct Recovery {
  Condition condition;
  std::string injection, metric, unit;
  double slope = metrics::nan, offset = metrics::nan, r2 = metrics::nan;  ///< of recovered over injected
  double bias = metrics::nan;       ///< mean of recovered minus injected
  double worst = metrics::nan;      ///< largest |recovered - injected|
  double tolerance = 0;             ///< that `worst` is allowed
  std::int64_t num_clips = 0, num_refused = 0;
  bool passed = false;              ///< slope within 0.02 of 1, r2 >= 0.99, or exact where only exact counts
};

/// How far an injection moves a metric that it should not move.
struct CrossTalk {
  Condition condition;
  std::string injection, metric;
  double share = metrics::nan;  ///< of the metric's own range: largest shift over what its own injection spans
  bool passed = false;          ///< share below 0.1
};

/// What clean clips give: the 95th percentile of |value - ideal| over seeds and scenes.
struct Floor {
  Condition condition;
  std::string metric, unit;
  double value = metrics::nan;
  std::int64_t n = 0;
};

struct Calibration {
  std::vector<Recovery> recoveries;
  std::vector<CrossTalk> cross_talks;
  std::vector<Floor> floors;
};

struct CalibrationPlan {
  std::vector<Condition> conditions;
  int num_seeds = 2;
  std::int64_t num_frames = 33;
  double fps = 24;
};

/// All of it. `progress(done, all)` is called now and then, by one thread at a time. The numbers do not depend on the
/// number of threads.
Calibration calibrate(const CalibrationPlan& plan, const std::function<void(std::int64_t, std::int64_t)>& progress = {});

/// Comma-separated tables with a head line: recovery, cross-talk, floors.
std::string recovery_csv(const Calibration& c);
std::string cross_talk_csv(const Calibration& c);
std::string floors_csv(const Calibration& c);

}  // namespace reel::study
