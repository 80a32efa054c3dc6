#include "metrics/laws.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.hpp"

namespace reel::metrics {
namespace {

/// Swings to and fro in x: at least two turns wider than the noise, no contacts, a sinusoid of 1.25 periods or more.
std::optional<Swing> swing_of(const Track& track, const Motion& motion) {
  if (!motion.refusal.empty() || motion.still) return {};
  for (const Break& b : motion.breaks)
    if (b.change != Change::release) return {};
  const Samples s = whole_samples(track);
  const auto [low, high] = std::minmax_element(s.x.begin(), s.x.end());
  const double least = std::max(0.15 * (*high - *low), 10 * motion.sigma_px);
  double lowest = s.x[0], highest = s.x[0];  // since the last turn
  int turns = 0, way = 0;
  for (double x : s.x) {
    lowest = std::min(lowest, x), highest = std::max(highest, x);
    const int now = way != 1 && x > lowest + least ? 1 : way != -1 && x < highest - least ? -1 : 0;
    if (now == 0) continue;
    turns += way != 0;
    way = now;
    lowest = highest = x;
  }
  if (turns < 2) return {};
  Swing swing = fit_swing(s.t, s.x);
  if (!swing.refusal.empty() || swing.num_periods < 1.25 || swing.r2 < 0.5) return {};
  return swing;
}

}  // namespace

Scene scene_of(LawInput input) {
  if (input.width_px <= 0 || input.height_px <= 0)
    throw Error(Exit::input, fmt::format("a picture of {} x {} px", input.width_px, input.height_px));
  if (!(input.expected_gravity_m_per_s2 > 0) || !std::isfinite(input.expected_gravity_m_per_s2))
    throw Error(Exit::input, fmt::format("an expected gravity of {} m/s2", input.expected_gravity_m_per_s2), {},
                "it is above 0");
  for (const Track& t : input.tracks) {
    const bool same = t.time_s == input.tracks[0].time_s && t.major_px.size() == t.time_s.size() &&
                      t.minor_px.size() == t.time_s.size();
    if (!same || (!input.to_first.empty() && input.to_first.size() != t.time_s.size()))
      throw Error(Exit::input, fmt::format("track {} does not have one entry for each frame of the shot", t.name),
                  t.name);
  }
  Scene scene;
  scene.input = std::move(input);
  for (const Track& t : scene.input.tracks) {
    scene.motions.push_back(motion_of(t));
    scene.swings.push_back(swing_of(t, scene.motions.back()));
  }
  return scene;
}

Findings measure_laws(const LawInput& input) {
  const Scene scene = scene_of(input);
  Findings all;
  for (const auto law : {free_fall, drop_form, sideways_inertia, equal_fall, bounces, uniform_motion, collisions,
                         pendulum, permanence, continuity, identity, size_constancy, solidity, stillness})
    join(all, law(scene));
  std::stable_sort(all.events.begin(), all.events.end(),
                   [](const Event& a, const Event& b) { return a.frame < b.frame; });
  return all;
}

}  // namespace reel::metrics
