#pragma once
// What a measurement is: a number with its unit and its doubt, or the reason why there is none.
#include <cstdint>
#include <iterator>
#include <limits>
#include <string>
#include <utility>
#include <vector>

namespace reel::metrics {

/// Version of the suite: raised whenever any number changes. Written beside every number.
inline constexpr int suite_version = 3;

inline constexpr double nan = std::numeric_limits<double>::quiet_NaN();

/// Which way is good. `zero` and `one`: nearer to that number; `none`: a description, not a judgement.
enum class Better { lower, higher, zero, one, none };

/// The three questions that are never mixed: is it the right law, with the right constant, and does it hold still?
enum class Aspect { form, parameter, stability, description };

/// One number. `id` is law and quantity, "F1.g_eff"; ids are stable and documented in the manual.
struct Metric {
  std::string id, name, unit;  ///< unit: UDUNITS text, "1" without unit
  Aspect aspect = Aspect::description;
  Better better = Better::none;
  double value = nan;
  double sigma = nan;      ///< one standard deviation of the measurement; NaN when not known
  std::int64_t n = 0;      ///< what the value rests on: frames, flights, pairs; the name says which
  std::string object = {};      ///< which track, "" for the whole shot
  std::string refusal = {};     ///< why there is no value; "" when there is one

  bool given() const noexcept { return refusal.empty(); }
};

/// The same metric without a value.
inline Metric refused(Metric metric, std::string reason) {
  metric.value = metric.sigma = nan;
  metric.refusal = std::move(reason);
  return metric;
}

/// A number for every frame (or pair of frames), and its trend: films of 10 to 15 seconds drift.
struct Trace {
  std::string id, name, unit;
  std::vector<double> time_s, value;        ///< NaN where there is none
  double slope_per_s = nan, slope_sigma = nan;  ///< least squares over the finite values; NaN for fewer than three
};

/// Something that happened at one moment: a jump, a birth, an impact.
struct Event {
  std::string id, object, text;
  std::int64_t frame = 0;  ///< first frame that shows it, counted in the shot
  double time_s = 0, x_px = nan, y_px = nan;
};

/// What one part of the suite found in one shot.
struct Findings {
  std::vector<Metric> metrics;
  std::vector<Trace> traces;
  std::vector<Event> events;
};

/// Appends all that `from` found.
inline void join(Findings& to, Findings from) {
  const auto append = [](auto& a, auto& b) { a.insert(a.end(), std::make_move_iterator(b.begin()), std::make_move_iterator(b.end())); };
  append(to.metrics, from.metrics);
  append(to.traces, from.traces);
  append(to.events, from.events);
}

}  // namespace reel::metrics
