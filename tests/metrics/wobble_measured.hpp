#pragma once
// All of a film's wobble and flicker, by id.
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "metrics/fit.hpp"
#include "metrics/wobble.hpp"
#include "synthetic.hpp"

namespace reel::metrics {

using synthetic::film_of;
using synthetic::Picture;
using synthetic::tau;
using synthetic::Texture;

struct Measured {
  std::map<std::string, Metric> metrics;
  std::map<std::string, Trace> traces;
  double operator[](const std::string& id) const { return metrics.at(id).value; }
};

inline Measured measured(const Film& film) {
  FilmFrames frames(film);
  Frame frame;
  CameraTracker camera;
  Wobble wobble;
  while (frames.next(frame)) {
    camera.add(frame);
    wobble.add(frame, camera);
  }
  const Findings found = wobble.finish(camera);
  Measured out;
  for (const Metric& m : found.metrics) {
    EXPECT_TRUE(out.metrics.emplace(m.id, m).second) << m.id << " twice";
    EXPECT_EQ(m.given(), std::isfinite(m.value)) << m.id << ": " << m.refusal;
    EXPECT_FALSE(m.unit.empty());
  }
  for (const Trace& t : found.traces) {
    EXPECT_TRUE(out.traces.emplace(t.id, t).second) << t.id << " twice";
    EXPECT_EQ(t.time_s.size(), t.value.size()) << t.id;
  }
  return out;
}

inline double slope_of(const std::vector<double>& x, const std::vector<double>& y) { return slope(x, y)[0]; }

}  // namespace reel::metrics
