#pragma once
// What all metrics of a pair share: films that can be compared, and the spread between two
// takes of one real event as the natural unit of a difference.
#include <fmt/format.h>

#include <cmath>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "core/error.hpp"
#include "core/frames.hpp"
#include "metrics/fit.hpp"
#include "metrics/metric.hpp"

namespace reel::metrics {

/// Throws Error (Exit::input) for a frame without pixels or with another number of bytes than its size asks for.
inline void require_pixels(const Frame& frame, const FrameSource& source) {
  const std::int64_t h = frame.height_px, w = frame.width_px;
  if (h > 0 && w > 0 && static_cast<std::int64_t>(frame.rgb.size()) == h * w * 3) return;
  throw Error(Exit::input, fmt::format("a frame of {} x {} pixels has {} bytes", w, h, frame.rgb.size()), source.name(),
              "give a film of 8-bit RGB frames that all have one size");
}

/// The next frame of two films. True when both have one, false when both have ended or, with `up_to_the_shorter`, when
/// either has. Throws Error (Exit::input), naming both, when only one has ended or a frame has no pixels.
inline bool next_pair(FrameSource& film, FrameSource& reference, Frame& a, Frame& b, std::int64_t num_read,
                      bool up_to_the_shorter) {
  const bool more_a = film.next(a), more_b = reference.next(b);
  if (more_a != more_b && !up_to_the_shorter)
    throw Error(Exit::input,
                fmt::format("{} ends after {} frames, {} goes on", (more_a ? reference : film).name(), num_read,
                            (more_a ? film : reference).name()),
                film.name(), "compare films of the same length, or ask for the frames that both have");
  if (!more_a || !more_b) return false;
  require_pixels(a, film);
  require_pixels(b, reference);
  return true;
}

/// Throws Error (Exit::input) with both sizes when they differ.
inline void require_same_size(const Frame& a, const Frame& b, const std::string& film, const std::string& reference) {
  if (a.height_px == b.height_px && a.width_px == b.width_px) return;
  throw Error(Exit::input,
              fmt::format("{} is {} x {} pixels, {} is {} x {}", film, a.width_px, a.height_px, reference, b.width_px,
                          b.height_px),
              film, "scale one of the two films to the size of the other");
}

/// A paired metric in units of the same metric between two takes of the real event: below 1, a difference lies within
/// what reality itself does. `metric` compares a film with take 1, `takes` take 2 with take 1. Refused when either is,
/// when either is not finite, or when the takes do not differ (spread 0). Errors add in quadrature.
/// Throws Error (bug) when the two are not the same metric.
inline Metric in_units_of_takes(const Metric& metric, const Metric& takes) {
  REEL_CHECK(metric.id == takes.id && metric.unit == takes.unit, "{} [{}] and {} [{}]", metric.id, metric.unit,
             takes.id, takes.unit);
  Metric ratio = metric;
  ratio.id += "_per_takes";
  ratio.name += ", in units of the difference between takes";
  ratio.unit = "1";
  if (!metric.given()) return refused(ratio, metric.refusal);
  if (!takes.given()) return refused(ratio, "between the takes: " + takes.refusal);
  if (!std::isfinite(metric.value) || !std::isfinite(takes.value)) return refused(ratio, "not a finite number");
  if (takes.value == 0) return refused(ratio, "the takes do not differ");
  ratio.value = metric.value / takes.value;
  ratio.sigma = std::hypot(metric.sigma, ratio.value * takes.sigma) / std::abs(takes.value);
  return ratio;
}

}  // namespace reel::metrics
