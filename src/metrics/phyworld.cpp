#include "metrics/phyworld.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numbers>
#include <utility>

#include "core/error.hpp"
#include "metrics/paired.hpp"

namespace reel::metrics {
namespace {

constexpr double jump_m_per_s = 0.1;  // of a true velocity: an impact
constexpr std::size_t compat_radius_frames = 5;

struct Vector {
  double x = nan, y = nan;
};
Vector operator+(Vector a, Vector b) { return {a.x + b.x, a.y + b.y}; }
Vector operator-(Vector a, Vector b) { return {a.x - b.x, a.y - b.y}; }
Vector operator*(double s, Vector a) { return {s * a.x, s * a.y}; }
double dot(Vector a, Vector b) { return a.x * b.x + a.y * b.y; }
double length(Vector a) { return std::hypot(a.x, a.y); }
bool known(Vector a) { return std::isfinite(a.x) && std::isfinite(a.y); }

/// Positions in metres; NaN where not seen.
std::vector<Vector> positions(const Track& track, double m_per_px) {
  std::vector<Vector> out;
  for (std::size_t t = 0; t < track.x_px.size(); ++t) out.push_back(m_per_px * Vector{track.x_px[t], track.y_px[t]});
  return out;
}

/// Velocities between frames t and t + 1.
std::vector<Vector> velocities(const std::vector<Vector>& at, double dt_s) {
  std::vector<Vector> out;
  for (std::size_t t = 0; t + 1 < at.size(); ++t) out.push_back((1 / dt_s) * (at[t + 1] - at[t]));
  return out;
}

/// One ball while it is judged.
struct Judged {
  std::vector<Vector> film, film_velocity, true_velocity;
};

void require(std::span<const PhyWorldBall> balls, const PhyWorldOptions& o) {
  if (balls.empty()) throw Error(Exit::input, "no balls to judge");
  const std::size_t n = balls[0].truth.time_s.size();
  for (const PhyWorldBall& ball : balls)
    for (const Track* track : {&ball.film, &ball.truth})
      if (track->time_s.size() != n || track->x_px.size() != n || track->y_px.size() != n ||
          (track == &ball.film && track->area_px.size() != n) || (track == &ball.truth && track->whole.size() != n))
        throw Error(Exit::input, fmt::format("track {} does not have the {} frames of the truth", track->name, n), {},
                    "give tracks of the same frames");
  if (!(o.film_m_per_px > 0 && o.truth_m_per_px > 0 && o.dt_s > 0 && o.world_m > 0 && o.num_given >= 0))
    throw Error(Exit::input,
                fmt::format("scales {} and {} m/px, step {} s, world {} m, {} given frames", o.film_m_per_px,
                            o.truth_m_per_px, o.dt_s, o.world_m, o.num_given),
                {}, "scales, step and world are above 0");
}

/// The published evaluator puts a lost ball at the right edge, the left one of several at the left edge, at the height
/// where a ball was seen last.
void put_lost_at_the_edge(std::vector<Vector>& at, std::size_t from, double edge_m) {
  double last_y = nan;
  for (std::size_t t = from; t < at.size(); ++t)
    if (known(at[t]))
      last_y = at[t].y;
    else
      at[t] = {edge_m, last_y};
}

/// First pair of true frames whose velocity differs from that of the pair before; the number of pairs without one.
std::size_t find_impact(const std::vector<Judged>& balls, std::size_t num_pairs) {
  for (std::size_t t = 1; t < num_pairs; ++t)
    for (const Judged& ball : balls)
      if (length(ball.true_velocity[t] - ball.true_velocity[t - 1]) > jump_m_per_s) return t;
  return num_pairs;
}

/// |mean v - mean v_true| per axis over the pairs `use`, mean over balls.
Vector error_of_means(const std::vector<Judged>& balls, const std::vector<std::size_t>& use) {
  Vector error{0, 0};
  for (const Judged& ball : balls) {
    Vector film{0, 0}, truth{0, 0};
    double n = 0;
    for (const std::size_t t : use)
      if (known(ball.film_velocity[t])) {
        film = film + ball.film_velocity[t];
        truth = truth + ball.true_velocity[t];
        ++n;
      }
    error = error + Vector{std::abs(film.x - truth.x) / n, std::abs(film.y - truth.y) / n};  // NaN for n = 0
  }
  return (1 / static_cast<double>(balls.size())) * error;
}

struct State {
  Vector momentum{0, 0};
  double energy = 0;
};

State state_of(std::span<const PhyWorldBall> balls, const std::vector<Judged>& judged, std::size_t t, bool film) {
  State state;
  for (std::size_t i = 0; i < balls.size(); ++i) {
    const Vector v = film ? judged[i].film_velocity[t] : judged[i].true_velocity[t];
    state.momentum = state.momentum + balls[i].mass * v;
    state.energy += balls[i].mass * dot(v, v) / 2;
  }
  return state;
}

double radius_drift_m(const PhyWorldBall& ball, const std::vector<std::size_t>& frames, double m_per_px) {
  double low = nan, high = nan;
  for (const std::size_t t : frames) {
    const double area = ball.film.area_px[t];
    if (!(area > 0)) continue;
    const double radius = std::sqrt(area / std::numbers::pi) * m_per_px;
    low = std::fmin(low, radius);
    high = std::fmax(high, radius);
  }
  return high - low;
}

}  // namespace

PhyWorldOptions phyworld_compat(std::int64_t width_px) {
  if (width_px < 2)
    throw Error(Exit::input, fmt::format("a picture {} pixels wide has no scale", width_px), {},
                "give at least two pixels");
  PhyWorldOptions options;
  options.film_m_per_px = options.world_m / static_cast<double>(width_px);
  options.truth_m_per_px = options.world_m / static_cast<double>(width_px - 1);
  options.compat = true;
  return options;
}

Track phyworld_hard_track(FrameSource& film, int colour) {
  REEL_CHECK(colour == 0 || colour == 2, "channel {}", colour);
  film.rewind();
  Track track;
  track.name = colour == 0 ? "red" : "blue";
  Frame frame;
  const auto own = static_cast<std::size_t>(colour), other = 2 - own;
  while (film.next(frame)) {
    require_pixels(frame, film);
    std::int64_t n = 0, x = 0, y = 0;
    for (std::int64_t i = 0; i < frame.height_px * frame.width_px; ++i) {
      const std::uint8_t* p = &frame.rgb[static_cast<std::size_t>(3 * i)];
      if (p[own] > 127 && p[other] < 127 && p[1] < 127) ++n, x += i % frame.width_px, y += i / frame.width_px;
    }
    const auto mean = [n](std::int64_t sum) {
      return n == 0 ? nan : static_cast<double>(sum) / static_cast<double>(n) + 0.5;
    };
    track.time_s.push_back(frame.time_s);
    track.x_px.push_back(mean(x));
    track.y_px.push_back(mean(y));
    track.area_px.push_back(n == 0 ? nan : static_cast<double>(n));
    track.whole.push_back(n > 0);
  }
  if (track.time_s.empty()) throw Error(Exit::input, "no frames", film.name(), "give a film with frames");
  track.major_px.assign(track.time_s.size(), nan);
  track.minor_px = track.major_px;
  return track;
}

PhyWorld phyworld(std::span<const PhyWorldBall> balls, const PhyWorldOptions& o) {
  require(balls, o);
  const std::size_t num_frames = balls[0].truth.time_s.size(), num_pairs = num_frames > 0 ? num_frames - 1 : 0;
  const auto num_given = std::min(static_cast<std::size_t>(o.num_given), num_frames);
  PhyWorld result;
  result.num_balls = static_cast<std::int64_t>(balls.size());
  std::vector<Judged> judged;
  for (std::size_t i = 0; i < balls.size(); ++i) {
    std::vector<Vector> film = positions(balls[i].film, o.film_m_per_px), seen = film;
    if (o.compat) put_lost_at_the_edge(film, num_given, i == 0 && balls.size() > 1 ? 0 : o.world_m);
    judged.push_back(
        {std::move(seen), velocities(film, o.dt_s), velocities(positions(balls[i].truth, o.truth_m_per_px), o.dt_s)});
    if (o.compat && o.collision)
      for (std::vector<Vector>* list : {&judged.back().film_velocity, &judged.back().true_velocity})
        for (Vector& velocity : *list) velocity.y = 0;
  }
  const std::size_t impact = o.collision ? find_impact(judged, num_pairs) : num_pairs;
  if (impact < num_pairs) result.impact_frame = static_cast<std::int64_t>(impact);

  const auto in_view = [&](std::size_t t) {
    return t >= num_given && std::all_of(balls.begin(), balls.end(), [t](const PhyWorldBall& ball) {
             return ball.truth.whole[t] && std::isfinite(ball.truth.x_px[t]) && std::isfinite(ball.truth.y_px[t]);
           });
  };
  const std::size_t first_judged = o.collision ? impact + 1 : 0;
  std::vector<std::size_t> viewed, pairs;  // frames in view; pairs that velocities are judged by
  for (std::size_t t = 0; t < num_frames; ++t) {
    result.time_s.push_back(static_cast<double>(t) * o.dt_s);
    result.velocity_error.push_back(nan);
    if (!in_view(t)) continue;
    viewed.push_back(t);
    if (t >= first_judged && t + 1 < num_frames && in_view(t + 1)) pairs.push_back(t);
    if (t < first_judged) continue;
    ++result.num_frames;
    for (const Judged& ball : judged) result.num_lost += !known(ball.film[t]);
  }

  double sum = 0;
  for (const std::size_t t : pairs) {
    double errors = 0;
    std::int64_t n = 0;
    for (const Judged& ball : judged) {
      const double error = length(ball.film_velocity[t] - ball.true_velocity[t]);
      if (std::isfinite(error)) errors += error, ++n;
    }
    if (n == 0) continue;
    result.velocity_error[t + 1] = errors / static_cast<double>(n);
    sum += errors;
    result.num_velocities += n;
  }
  if (result.num_velocities > 0) {
    result.velocity = sum / static_cast<double>(result.num_velocities);
    const Vector means = error_of_means(judged, pairs);
    result.mean_velocity_x = means.x;
    result.mean_velocity_y = means.y;
    result.mean_velocity = means.x + means.y;
  }

  std::vector<std::size_t> sized = viewed;
  if (o.compat && o.collision) sized.resize(std::min(sized.size(), compat_radius_frames));
  result.num_sized = static_cast<std::int64_t>(sized.size());
  for (const PhyWorldBall& ball : balls)
    result.radius_drift_m = std::fmax(result.radius_drift_m, radius_drift_m(ball, sized, o.film_m_per_px));
  if (!o.collision || result.impact_frame < 0) return result;

  State start;
  double num_before = 0;
  for (std::size_t t = 0; t < impact; ++t) {
    const State state = state_of(balls, judged, t, false);
    if (!known(state.momentum)) continue;
    start.momentum = start.momentum + state.momentum;
    start.energy += state.energy;
    ++num_before;
  }
  start = {(1 / num_before) * start.momentum, start.energy / num_before};
  for (const std::size_t t : viewed) {
    if (t == impact || t + 1 >= num_frames || !in_view(t + 1)) continue;
    const State state = state_of(balls, judged, t, true);
    if (!known(state.momentum)) continue;
    PhyWorldLaw& law = t < impact ? result.before : result.after;
    if (law.num_pairs++ == 0) law.momentum = law.energy = 0;
    law.momentum += length(state.momentum - start.momentum);
    law.energy += std::abs(state.energy - start.energy);
  }
  for (PhyWorldLaw* law : {&result.before, &result.after}) {
    law->momentum /= static_cast<double>(law->num_pairs);
    law->energy /= static_cast<double>(law->num_pairs);
  }
  return result;
}

Findings phyworld_findings(const PhyWorld& r, const PhyWorldOptions& options) {
  Findings findings;
  const std::string suffix = options.compat ? "_compat" : "";
  const auto add = [&](const char* id, const char* name, const char* unit, Aspect aspect, Better better, double value,
                       std::int64_t n, const char* reason) {
    Metric metric{
        .id = id + suffix, .name = name, .unit = unit, .aspect = aspect, .better = better, .value = value, .n = n};
    findings.metrics.push_back(std::isnan(value) ? refused(std::move(metric), reason) : std::move(metric));
  };
  const bool no_impact = options.collision && r.impact_frame < 0;
  const char* unseen = no_impact           ? "the truth has no impact"
                       : r.num_frames == 0 ? "no generated frame has every ball truly in full view"
                                           : "the film never shows a ball in two judged frames in a row";
  add("PW.velocity", "error of velocity, mean over balls and pairs of frames", "m s-1", Aspect::parameter,
      Better::lower, r.velocity, r.num_velocities, unseen);
  add("PW.mean_velocity", "error of the velocity's time mean, x plus y, mean over balls, balls and pairs of frames",
      "m s-1", Aspect::parameter, Better::lower, r.mean_velocity, r.num_velocities, unseen);
  add("PW.radius_drift", "largest minus smallest radius, frames", "m", Aspect::stability, Better::lower,
      r.radius_drift_m, r.num_sized, "the film never shows a ball in a judged frame");
  const std::int64_t num_balls_and_frames = r.num_frames * r.num_balls;
  add("PW.lost", "share of judged balls and frames in which the film does not show the ball", "1", Aspect::stability,
      Better::zero,
      r.num_frames == 0 ? nan : static_cast<double>(r.num_lost) / static_cast<double>(num_balls_and_frames),
      num_balls_and_frames, unseen);
  if (options.collision) {
    const char* reason = no_impact ? "the truth has no impact" : "no pair of frames with every ball, or no masses";
    const auto law = [&](const char* momentum, const char* energy, const PhyWorldLaw& errors) {
      add(momentum, "error of momentum, masses in m2, pairs of frames", "m3 s-1", Aspect::stability, Better::lower,
          errors.momentum, errors.num_pairs, reason);
      add(energy, "error of kinetic energy, masses in m2, pairs of frames", "m4 s-2", Aspect::stability, Better::lower,
          errors.energy, errors.num_pairs, reason);
    };
    law("PW.momentum_before", "PW.energy_before", r.before);
    law("PW.momentum_after", "PW.energy_after", r.after);
  }
  findings.traces.push_back(
      traced("PW.velocity" + suffix, "error of velocity, mean over balls", "m s-1", r.time_s, r.velocity_error));
  return findings;
}

}  // namespace reel::metrics
