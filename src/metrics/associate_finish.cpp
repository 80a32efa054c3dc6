// The end of a shot: what the sights of each thing say about its beginning and its end, and the tracks.
#include <algorithm>
#include <cmath>

#include "metrics/associate.hpp"
#include "metrics/detect_parts.hpp"

namespace reel::metrics {

using parts::meet;
using parts::radius_of;

bool Associator::over_rim(double x_px, double y_px, double radius_px) const {
  return x_px < radius_px + 1 || y_px < radius_px + 1 || x_px > static_cast<double>(width_px_) - radius_px - 1 ||
         y_px > static_cast<double>(height_px_) - radius_px - 1;
}

/// Whether the thing comes in over the rim with its first sights, or goes out with its last ones: it touches the rim,
/// or will, or did, within a step and a half.
bool Associator::comes_or_goes(const Thing& thing, bool goes) const {
  std::array<std::int64_t, 2> at{-1, -1};  // the sight next to the absence, and its neighbour
  const auto n = static_cast<std::int64_t>(thing.seen.size());
  for (std::int64_t k = 0; k < n && at[1] < 0; ++k) {
    const std::int64_t i = goes ? n - 1 - k : k;
    if (thing.seen[static_cast<std::size_t>(i)]) at[at[0] < 0 ? 0 : 1] = i;
  }
  if (at[0] < 0) return false;
  const Sight& last = *thing.seen[static_cast<std::size_t>(at[0])];
  const double r = radius_of(last.at);
  if (!last.at.whole || over_rim(last.frame_x_px, last.frame_y_px, r)) return true;
  if (at[1] < 0) return false;
  const Sight& before = *thing.seen[static_cast<std::size_t>(at[1])];
  const double steps = 1.5 / static_cast<double>(std::abs(at[0] - at[1]));
  return over_rim(last.frame_x_px + steps * (last.frame_x_px - before.frame_x_px),
                  last.frame_y_px + steps * (last.frame_y_px - before.frame_y_px), r);
}

Track Associator::track(const Thing& thing) const {
  std::vector<std::optional<Detection>> seen(time_s_.size());
  for (std::size_t k = 0; k < thing.seen.size(); ++k)
    if (thing.seen[k]) seen[static_cast<std::size_t>(thing.begin) + k] = thing.seen[k]->at;
  return track_of({}, time_s_, seen);
}

Association Associator::finish() {
  Association out;
  std::vector<const Thing*> kept;
  std::vector<int> count(options_.names.size() + 1, 0);
  const auto end = static_cast<std::int64_t>(time_s_.size());
  for (Thing& thing : things_) {
    if (thing.num_seen < std::max<std::int64_t>(1, options_.least_seen)) {
      ++out.num_dropped;
      continue;
    }
    const auto sight = [&](std::int64_t f) { return thing.seen[static_cast<std::size_t>(f - thing.begin)]; };
    const bool split = std::any_of(thing.events.begin(), thing.events.end(),
                                   [&](const Event& e) { return e.id == "O3.split" && e.frame == thing.begin; });
    if (thing.begin > 0 && !split && !comes_or_goes(thing, false))
      say(thing, "O3.birth", "appears", thing.begin, sight(thing.begin)->at.x_px, sight(thing.begin)->at.y_px);
    const std::int64_t last = thing.begin + last_sight(thing);
    if (thing.dead && !comes_or_goes(thing, true))
      say(thing, "O3.death", "is gone", last + 1, sight(last)->at.x_px, sight(last)->at.y_px);
    const bool named = thing.object >= 0 && static_cast<std::size_t>(thing.object) < options_.names.size();
    const std::size_t kind = named ? static_cast<std::size_t>(thing.object) : options_.names.size();
    const int number = ++count[kind];
    Track t = track(thing);
    t.name = !named ? std::to_string(number) : options_.names[kind] + (number > 1 ? fmt::format(" {}", number) : "");
    for (Event& event : thing.events) {
      event.object = t.name;
      out.events.push_back(std::move(event));
    }
    out.tracks.push_back(std::move(t));
    kept.push_back(&thing);
  }
  std::stable_sort(out.events.begin(), out.events.end(),
                   [](const Event& a, const Event& b) { return a.frame < b.frame; });
  // Hidden in part: boxes meet, and the area is not what it is elsewhere.
  for (std::size_t a = 0; a < kept.size(); ++a) {
    std::vector<double> areas;
    std::vector<std::int64_t> crowded;
    for (std::int64_t f = kept[a]->begin; f < end; ++f) {
      const auto& mine = kept[a]->seen[static_cast<std::size_t>(f - kept[a]->begin)];
      if (!mine) continue;
      bool met = false;
      for (std::size_t b = 0; b < kept.size() && !met; ++b) {
        if (a == b || f < kept[b]->begin) continue;
        const auto& other = kept[b]->seen[static_cast<std::size_t>(f - kept[b]->begin)];
        met = other && meet(mine->at.box, other->at.box, 1);
      }
      if (met)
        crowded.push_back(f);
      else if (mine->at.whole)
        areas.push_back(mine->at.area_px);
    }
    if (areas.empty() || crowded.empty()) continue;
    std::nth_element(areas.begin(), areas.begin() + static_cast<std::ptrdiff_t>(areas.size() / 2), areas.end());
    const double usual = areas[areas.size() / 2];
    for (std::int64_t f : crowded) {
      const auto i = static_cast<std::size_t>(f);
      if (std::abs(out.tracks[a].area_px[i] - usual) > 0.03 * usual) out.tracks[a].whole[i] = 0;
    }
  }
  return out;
}

Track track_of(std::string name, std::span<const double> time_s, std::span<const std::optional<Detection>> seen) {
  REEL_CHECK(time_s.size() == seen.size(), "{} times, {} sights", time_s.size(), seen.size());
  Track t;
  t.name = std::move(name);
  t.time_s.assign(time_s.begin(), time_s.end());
  for (const auto& d : seen) {
    t.x_px.push_back(d ? d->x_px : nan);
    t.y_px.push_back(d ? d->y_px : nan);
    t.area_px.push_back(d ? d->area_px : nan);
    t.major_px.push_back(d ? d->major_px : nan);
    t.minor_px.push_back(d ? d->minor_px : nan);
    t.whole.push_back(d && d->whole);
  }
  t.sigma_px = position_sigma_px(t);
  return t;
}

}  // namespace reel::metrics
