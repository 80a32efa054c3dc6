#include "metrics/associate.hpp"

#include <algorithm>
#include <cmath>

#include "core/error.hpp"
#include "metrics/assignment.hpp"
#include "metrics/detect_parts.hpp"

namespace reel::metrics {
namespace {

constexpr double never = 1e9;  // cost of a pair that must not be

double colour_distance(const std::array<double, 3>& a, const std::array<double, 3>& b) {
  const double d = std::hypot(a[0] - b[0], a[1] - b[1], a[2] - b[2]);
  return std::isfinite(d) ? d : 0;  // unknown colours agree
}
/// |ln| of the ratio of the areas; a thing that is cut off by the rim agrees with any.
double size_distance(double area_px, const Detection& d) {
  const double r = std::abs(std::log(d.area_px / area_px));
  return d.whole && std::isfinite(r) ? r : 0;
}
bool holds(const Box& box, double x, double y, double margin) {
  return x >= box.x_px - margin && x <= box.x_px + box.width_px + margin && y >= box.y_px - margin &&
         y <= box.y_px + box.height_px + margin;
}
/// One standard deviation of a measured coordinate, as the filter takes it: generous, for it only associates.
double measured_px(double radius_px) { return std::max(0.15, 0.02 * radius_px); }

}  // namespace

using parts::meet;
using parts::radius_of;

Associator::Associator(std::int64_t width_px, std::int64_t height_px, AssociateOptions options)
    : width_px_(width_px), height_px_(height_px), options_(std::move(options)) {
  REEL_CHECK(width_px > 0 && height_px > 0, "{} x {}", width_px, height_px);
}

// ---- the filter

void Associator::predict(Thing& thing, double dt) const {
  // White jerk: in one frame the acceleration changes by a tenth of the radius per frame^2, one standard deviation.
  const double kick = 0.1 * std::max(thing.radius_px, 3.0);
  const double q = kick * kick / std::pow(frame_s_, 5);
  for (Axis* axis : {&thing.x, &thing.y}) {
    auto& s = axis->state;
    auto& p = axis->covariance;
    const double h = 0.5 * dt * dt;
    s = {s[0] + dt * s[1] + h * s[2], s[1] + dt * s[2], s[2]};
    // F P F^T, with F = (1 dt h; 0 1 dt; 0 0 1)
    const double a00 = p[0] + dt * p[1] + h * p[2], a01 = p[1] + dt * p[3] + h * p[4],
                 a02 = p[2] + dt * p[4] + h * p[5];
    const double a11 = p[3] + dt * p[4], a12 = p[4] + dt * p[5];
    p = {a00 + dt * a01 + h * a02 + q * std::pow(dt, 5) / 20,
         a01 + dt * a02 + q * std::pow(dt, 4) / 8,
         a02 + q * std::pow(dt, 3) / 6,
         a11 + dt * a12 + q * std::pow(dt, 3) / 3,
         a12 + q * dt * dt / 2,
         p[5] + q * dt};
  }
}

/// Forgets speed and acceleration: known is the last sight alone.
void Associator::restart(Thing& thing) const {
  const Detection& d = thing.seen.back()->at;
  const double reach = std::max(2 * thing.radius_px, 0.02 * static_cast<double>(std::max(width_px_, height_px_)));
  const double r = measured_px(thing.radius_px), v = reach / frame_s_, a = 0.25 * reach / (frame_s_ * frame_s_);
  thing.x = {{d.x_px, 0, 0}, {r * r, 0, 0, v * v, 0, a * a}};
  thing.y = {{d.y_px, 0, 0}, {r * r, 0, 0, v * v, 0, a * a}};
}

void Associator::correct(Thing& thing, const Detection& d) const {
  const double r = measured_px(thing.radius_px);
  for (int k = 0; k < 2; ++k) {
    Axis& axis = k == 0 ? thing.x : thing.y;
    auto& s = axis.state;
    auto& p = axis.covariance;
    const double variance = p[0] + r * r, innovation = (k == 0 ? d.x_px : d.y_px) - s[0];
    const double g0 = p[0] / variance, g1 = p[1] / variance, g2 = p[2] / variance;
    s = {s[0] + g0 * innovation, s[1] + g1 * innovation, s[2] + g2 * innovation};
    p = {(1 - g0) * p[0], (1 - g0) * p[1], (1 - g0) * p[2], p[3] - g1 * p[1], p[4] - g1 * p[2], p[5] - g2 * p[2]};
  }
}

/// Index of the last frame in which it was seen, counted from its first.
std::int64_t Associator::last_sight(const Thing& thing) const {
  auto k = static_cast<std::int64_t>(thing.seen.size()) - 1;
  while (!thing.seen[static_cast<std::size_t>(k)]) --k;
  return k;
}

/// Detection j of this frame is thing i. `again`: not where the filter expected it.
void Associator::see(std::size_t i, std::size_t j, bool again) {
  Thing& thing = things_[i];
  const Sight& sight = found_[j];
  const std::int64_t f = static_cast<std::int64_t>(time_s_.size()) - 1;
  const std::int64_t k = last_sight(thing);
  const Detection& before = thing.seen[static_cast<std::size_t>(k)]->at;
  thing.step_px =
      std::hypot(sight.at.x_px - before.x_px, sight.at.y_px - before.y_px) / static_cast<double>(f - thing.begin - k);
  thing.seen.back() = sight;
  thing.last = f;
  ++thing.num_seen;
  if (sight.at.whole && size_distance(thing.area_px, sight.at) > 0.25) {
    thing.area_px += 0.2 * (sight.at.area_px - thing.area_px);  // hidden in part, more likely than changed
  } else if (sight.at.whole || !std::isfinite(thing.area_px)) {
    thing.area_px = sight.at.area_px;
    thing.radius_px = radius_of(sight.at);
  }
  if (std::isfinite(sight.at.rgb[0])) thing.rgb = sight.at.rgb;
  if (again)
    restart(thing);
  else
    correct(thing, sight.at);
  owner_[j] = static_cast<int>(i);
}

void Associator::say(Thing& thing, const char* id, std::string text, std::int64_t frame, double x, double y) const {
  Event event;
  event.id = id, event.text = std::move(text), event.frame = frame, event.x_px = x, event.y_px = y;
  event.time_s = time_s_[static_cast<std::size_t>(frame)];
  thing.events.push_back(std::move(event));
}

// ---- one frame

void Associator::add(double time_s, std::span<const Detection> detections, const Matrix3& to_first) {
  if (!std::isfinite(time_s) || (!time_s_.empty() && time_s <= time_s_.back()))
    throw Error(Exit::input,
                fmt::format("frame {} is shown at {} s, not after the one before", time_s_.size(), time_s));
  const double dt = time_s_.empty() ? 0 : time_s - time_s_.back();
  time_s_.push_back(time_s);
  const auto f = static_cast<std::int64_t>(time_s_.size()) - 1;
  if (f == 1) {
    frame_s_ = dt;
    for (Thing& thing : things_) restart(thing);
  }
  found_.clear();
  for (const Detection& d : detections) {
    const Sight sight{mapped(d, to_first), d.x_px, d.y_px};
    if (std::isfinite(sight.at.x_px) && std::isfinite(sight.at.y_px)) found_.push_back(sight);
  }
  owner_.assign(found_.size(), nobody);
  for (Thing& thing : things_) {
    thing.seen.emplace_back();
    // What was hardly seen does not wait for long, or noise would live on.
    const std::int64_t patience = thing.object < 0 && thing.num_seen < 3
                                      ? std::min<std::int64_t>(2, options_.most_missing)
                                      : options_.most_missing;
    if (f - thing.last - 1 > patience) thing.dead = true;
    if (!thing.dead) predict(thing, dt);
  }
  come_apart();
  merge();
  match();
  look_again(true);
  look_again(false);
  for (std::size_t j = 0; j < found_.size(); ++j) {
    if (owner_[j] != nobody) continue;
    Thing thing;
    thing.begin = thing.last = f;
    thing.num_seen = 1;
    thing.seen.push_back(found_[j]);
    thing.area_px = found_[j].at.area_px;
    thing.radius_px = radius_of(found_[j].at);
    thing.rgb = found_[j].at.rgb;
    thing.object = found_[j].at.object;
    restart(thing);
    // Part of something else, which became smaller by it?
    for (const Thing& other : things_) {
      if (other.dead || other.last != f || other.object != thing.object || other.begin == f) continue;
      const Detection& now = other.seen.back()->at;
      const auto previous = other.seen.size() >= 2 ? other.seen[other.seen.size() - 2] : std::nullopt;
      const double apart = std::hypot(now.x_px - found_[j].at.x_px, now.y_px - found_[j].at.y_px);
      if (previous && now.area_px < 0.9 * previous->at.area_px && apart < 3 * (radius_of(now) + thing.radius_px))
        say(thing, "O3.split", "comes out of another thing", f, found_[j].at.x_px, found_[j].at.y_px);
    }
    things_.push_back(std::move(thing));
  }
}

/// Where the filter expects things: the assignment of most pairs that costs least.
void Associator::match() {
  const auto f = static_cast<std::int64_t>(time_s_.size()) - 1;
  std::vector<std::size_t> rows, columns;
  for (std::size_t i = 0; i < things_.size(); ++i)
    if (!things_[i].dead && things_[i].last < f) rows.push_back(i);
  for (std::size_t j = 0; j < found_.size(); ++j)
    if (owner_[j] == nobody) columns.push_back(j);
  if (rows.empty() || columns.empty()) return;
  // A column of its own for every thing that is not seen; a pair is worth more than any difference in cost.
  const std::size_t width = columns.size() + rows.size();
  constexpr double pair_worth = 1e5;
  std::vector<double> cost(rows.size() * width, 0.0);
  for (std::size_t r = 0; r < rows.size(); ++r)
    for (std::size_t c = 0; c < columns.size(); ++c) {
      const Thing& thing = things_[rows[r]];
      const Detection& d = found_[columns[c]].at;
      const double noise = measured_px(thing.radius_px);
      const double vx = thing.x.covariance[0] + noise * noise, vy = thing.y.covariance[0] + noise * noise;
      const double dx = d.x_px - thing.x.state[0], dy = d.y_px - thing.y.state[0];
      const double d2 = dx * dx / vx + dy * dy / vy, colour = colour_distance(thing.rgb, d.rgb);
      const bool possible = d2 <= gate_chi2 && d.object == thing.object && (d.object >= 0 || colour < 80);
      const double other =
          std::min(20.0, std::pow(colour / 20, 2) + std::pow(size_distance(thing.area_px, d) / 0.3, 2));
      cost[r * width + c] = possible ? d2 + std::log(vx * vy) + other - pair_worth : never;
    }
  const std::vector<int> pairs = assign(cost, rows.size(), width);
  for (std::size_t r = 0; r < rows.size(); ++r)
    if (pairs[r] >= 0 && static_cast<std::size_t>(pairs[r]) < columns.size())
      see(rows[r], columns[static_cast<std::size_t>(pairs[r])], false);
}

/// Things that were inside one detection: as many detections as things again? Then colour, size and place say which.
void Associator::come_apart() {
  const auto f = static_cast<std::int64_t>(time_s_.size()) - 1;
  std::vector<Group> left;
  for (Group& group : groups_) {
    double reach = 0;
    for (std::size_t i : group.members) reach = std::max(reach, things_[i].radius_px + things_[i].step_px);
    const int object = things_[group.members[0]].object;
    std::vector<std::size_t> near;
    for (std::size_t j = 0; j < found_.size(); ++j)
      if (owner_[j] == nobody && found_[j].at.object == object && meet(found_[j].at.box, group.region, reach))
        near.push_back(j);
    if (near.size() < group.members.size()) {
      if (f - group.since > options_.most_missing) {  // for good: what is there now begins anew
        for (std::size_t i : group.members) things_[i].dead = true;
        continue;
      }
      for (std::size_t j : near) owner_[j] = a_group, group.region = found_[j].at.box;
      for (std::size_t i : group.members) things_[i].last = f;
      left.push_back(std::move(group));
      continue;
    }
    std::vector<double> cost;
    for (std::size_t i : group.members)
      for (std::size_t j : near) {
        const Thing& thing = things_[i];
        const Detection& d = found_[j].at;
        const double apart =
            std::hypot(d.x_px - thing.x.state[0], d.y_px - thing.y.state[0]) / (thing.radius_px + thing.step_px);
        cost.push_back(std::pow(colour_distance(thing.rgb, d.rgb) / 20, 2) +
                       std::pow(size_distance(thing.area_px, d) / 0.3, 2) + 0.5 * apart * apart);
      }
    const std::vector<int> pairs = assign(cost, group.members.size(), near.size());
    for (std::size_t r = 0; r < group.members.size(); ++r) {
      const std::size_t j = near[static_cast<std::size_t>(pairs[r])];
      see(group.members[r], j, true);
      if (r > 0) continue;
      say(things_[group.members[0]], "O3.split", fmt::format("{} things come apart", group.members.size()), f,
          found_[j].at.x_px, found_[j].at.y_px);
    }
  }
  groups_ = std::move(left);
}

/// Two or more things predicted inside one detection that is too large for any of them.
void Associator::merge() {
  const auto f = static_cast<std::int64_t>(time_s_.size()) - 1;
  for (std::size_t j = 0; j < found_.size(); ++j) {
    if (owner_[j] != nobody) continue;
    const Detection& d = found_[j].at;
    std::vector<std::size_t> members;
    double largest = 0, sum = 0;
    for (std::size_t i = 0; i < things_.size(); ++i) {
      const Thing& thing = things_[i];
      if (thing.dead || thing.last == f || f - thing.last > 3 || thing.num_seen < 2 || thing.object != d.object)
        continue;
      if (!holds(d.box, thing.x.state[0], thing.y.state[0], 0.5 * thing.radius_px)) continue;
      members.push_back(i);
      largest = std::max(largest, thing.area_px), sum += thing.area_px;
    }
    if (members.size() < 2 || !(d.area_px > 1.2 * largest && d.area_px < 1.4 * sum)) continue;
    for (std::size_t i : members) things_[i].last = f;
    owner_[j] = a_group;
    groups_.push_back({members, d.box, f});
    say(things_[members[0]], "O3.merge", fmt::format("{} things are seen as one", members.size()), f, d.x_px, d.y_px);
  }
}

/// What is left over on both sides: one thing and one detection that agree with each other and with nothing else.
void Associator::look_again(bool near) {
  const auto f = static_cast<std::int64_t>(time_s_.size()) - 1;
  std::vector<std::array<std::size_t, 2>> pairs;
  std::vector<int> of_thing(things_.size(), 0), of_found(found_.size(), 0);
  for (std::size_t i = 0; i < things_.size(); ++i) {
    const Thing& thing = things_[i];
    if (thing.dead || thing.last == f) continue;
    if (!near && (thing.num_seen < 4 || comes_or_goes(thing, true))) continue;
    for (std::size_t j = 0; j < found_.size(); ++j) {
      const Detection& d = found_[j].at;
      if (owner_[j] != nobody || d.object != thing.object) continue;
      if (colour_distance(thing.rgb, d.rgb) > (near ? 60 : 40)) continue;
      // What meets something else may be hidden in part: any smaller size will do.
      const bool meets = std::any_of(found_.begin(), found_.end(), [&](const Sight& other) {
        return &other != &found_[j] && meet(other.at.box, d.box, 1);
      });
      if (size_distance(thing.area_px, d) > (near ? 0.7 : 0.4) && !(meets && d.area_px < thing.area_px)) continue;
      const std::int64_t k = last_sight(thing);
      const Detection& last = thing.seen[static_cast<std::size_t>(k)]->at;
      const double reach = 3 * thing.radius_px + 3 * thing.step_px * static_cast<double>(f - thing.begin - k);
      const double from_last = std::hypot(d.x_px - last.x_px, d.y_px - last.y_px);
      const double from_here = std::hypot(d.x_px - thing.x.state[0], d.y_px - thing.y.state[0]);
      if (near && std::min(from_last, from_here) > reach) continue;
      pairs.push_back({i, j});
      ++of_thing[i], ++of_found[j];
    }
  }
  // One thing, several detections that nobody else could be, as large as the thing together: it comes apart, and goes
  // on as the nearest of them.
  for (std::size_t i = 0; near && i < things_.size(); ++i) {
    if (of_thing[i] < 2) continue;
    double area = 0, least = INFINITY;
    std::size_t nearest = 0;
    bool mine = true;
    for (const auto& [a, j] : pairs) {
      if (a != i) continue;
      const Detection& d = found_[j].at;
      const double apart = std::hypot(d.x_px - things_[i].x.state[0], d.y_px - things_[i].y.state[0]);
      mine = mine && of_found[j] == 1;
      area += d.area_px;
      if (apart < least) least = apart, nearest = j;
    }
    if (mine && std::abs(std::log(area / things_[i].area_px)) < 0.25) see(i, nearest, true);
  }
  for (const auto& [i, j] : pairs) {
    if (of_thing[i] != 1 || of_found[j] != 1) continue;
    Thing& thing = things_[i];
    const Detection& d = found_[j].at;
    const std::int64_t k = last_sight(thing);
    const Detection& last = thing.seen[static_cast<std::size_t>(k)]->at;
    const double jump = std::hypot(d.x_px - last.x_px, d.y_px - last.y_px);
    // Here d^2 is above the gate already. Half hidden things seem to jump when they come out on the other side.
    if (thing.num_seen > 1 &&
        jump > std::max(thing.radius_px, 3 * thing.step_px * static_cast<double>(f - thing.begin - k)) &&
        !half_hidden(i, thing.begin + k, last) && !half_hidden(i, f, d))
      say(thing, "O2.teleport", fmt::format("jumps by {:.1f} px", jump), f, d.x_px, d.y_px);
    see(i, j, true);
  }
}

/// Whether thing i, seen as `d` in frame f, is smaller than usual there and meets another thing.
bool Associator::half_hidden(std::size_t i, std::int64_t f, const Detection& d) const {
  if (!(d.area_px < 0.97 * things_[i].area_px)) return false;
  for (std::size_t o = 0; o < things_.size(); ++o) {
    const Thing& other = things_[o];
    if (o == i || f < other.begin || f - other.begin >= static_cast<std::int64_t>(other.seen.size())) continue;
    const auto& sight = other.seen[static_cast<std::size_t>(f - other.begin)];
    if (sight && meet(sight->at.box, d.box, 1)) return true;
  }
  return false;
}

}  // namespace reel::metrics
