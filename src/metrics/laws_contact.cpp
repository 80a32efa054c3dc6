// C1 momentum and C2 energy of collisions, U1 uniform motion.
#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include "metrics/laws_parts.hpp"

namespace reel::metrics {
namespace {

using Vector = std::array<double, 2>;
double dot(const Vector& a, const Vector& b) { return a[0] * b[0] + a[1] * b[1]; }
double length(const Vector& a) { return std::hypot(a[0], a[1]); }

const Metric c1_momentum{"C1.momentum", "change of momentum over the sizes of all momenta before", "1",
                         Aspect::parameter, Better::zero};
const Metric c1_ratio{"C1.ratio", "momentum after along that before, over it", "1", Aspect::parameter, Better::one};
const Metric c1_ball{"C1.momentum_r3", "the same as momentum for masses of balls", "1", Aspect::parameter,
                     Better::zero};
const Metric c2_energy{"C2.energy", "energy after over energy before, less 1", "1", Aspect::parameter, Better::none};
const Metric c2_ball{"C2.energy_r3", "the same for masses of balls", "1", Aspect::parameter, Better::none};
const Metric c2_restitution{"C2.restitution", "speed of parting over speed of approach", "1", Aspect::parameter,
                            Better::none};

const Metric u1_speed{"U1.speed", "mean speed", "px s-1", Aspect::description, Better::none};
const Metric u1_curvature{"U1.curvature", "gain of a parabola over a line (F statistic)", "1", Aspect::form,
                          Better::lower};
const Metric u1_r2{"U1.r2", "share of the motion that constant velocity explains", "1", Aspect::form, Better::one};
const Metric u1_drift{"U1.drift", "change of speed over the shot, relative", "1", Aspect::stability, Better::zero};
const Metric u1_across{"U1.drift_across", "change of velocity across the path, relative", "1", Aspect::stability,
                       Better::zero};
const Metric u1_rms{"U1.rms", "spread of the speed about its drift, relative", "1", Aspect::stability, Better::lower};

constexpr std::size_t most_frames = 8, least_frames = 3;

/// Position and velocity at one moment.
struct Fit {
  Vector at{}, velocity{}, at_sigma{}, velocity_sigma{};
  std::int64_t n = 0;
};

/// A line through `frames`, after the acceleration of the run they belong to.
Fit line_at(const Track& track, const Run& run, const std::vector<std::size_t>& frames, double time_s,
            double sigma_px) {
  Fit fit;
  fit.n = static_cast<std::int64_t>(frames.size());
  for (int axis = 0; axis < 2; ++axis) {
    const auto d = static_cast<std::size_t>(axis);
    const Polynomial& whole = axis ? run.y : run.x;
    const double a =
        run.kind != Kind::brief && std::abs(parts::acceleration(whole)) > 4 * parts::acceleration_sigma(whole)
            ? parts::acceleration(whole)
            : 0;
    std::vector<double> u, z;
    for (std::size_t f : frames) {
      u.push_back(track.time_s[f] - time_s);
      z.push_back((axis ? track.y_px : track.x_px)[f] - 0.5 * a * u.back() * u.back());
    }
    const Polynomial line = fit_polynomial(u, z, 1);
    const double noise = std::max(line.rms, sigma_px);
    fit.at[d] = line.c[0], fit.velocity[d] = line.c[1];
    fit.at_sigma[d] = noise * std::sqrt(line.unit_covariance[0]);
    fit.velocity_sigma[d] = noise * std::sqrt(line.unit_covariance[3]);
  }
  return fit;
}

/// Frames of a track on one side of a moment: up to 8 nearest ones of the run that is there.
struct Side {
  const Run* run = nullptr;
  std::vector<std::size_t> frames;
};
Side side_of(const Track& track, const Motion& m, double time_s, std::optional<std::size_t> own_break, bool after) {
  Side side;
  if (own_break) {
    side.run = &m.runs[*own_break + (after ? 1 : 0)];
    side.frames = side.run->frames;
  } else {
    for (const Run& run : m.runs)
      if (run.begin_s <= time_s && run.end_s >= time_s) side.run = &run;
    if (side.run)
      for (std::size_t f : side.run->frames)
        if ((track.time_s[f] > time_s) == after) side.frames.push_back(f);
  }
  if (side.frames.size() > most_frames) {
    const auto extra = static_cast<std::ptrdiff_t>(side.frames.size() - most_frames);
    if (after)
      side.frames.erase(side.frames.end() - extra, side.frames.end());
    else
      side.frames.erase(side.frames.begin(), side.frames.begin() + extra);
  }
  return side;
}

double radius_sigma(const Track& track) {
  std::vector<double> radii;
  for (std::size_t f = 0; f < track.area_px.size(); ++f)
    if (track.whole[f] && track.area_px[f] > 0) radii.push_back(std::sqrt(track.area_px[f] / std::numbers::pi));
  // Of a median: 1.25 times that of a mean.
  return 1.25 * 0.5 * (quantile(radii, 0.8413) - quantile(radii, 0.1587)) /
         std::sqrt(static_cast<double>(radii.size()));
}

/// The collision of tracks a and b at a moment, if it is one.
std::optional<Collision> collision_at(const Scene& scene, std::size_t a, std::size_t b, double time_s,
                                      std::optional<std::size_t> break_a, std::optional<std::size_t> break_b) {
  Collision c;
  c.a = a, c.b = b;
  c.time_s = time_s;
  c.frame = static_cast<std::size_t>(parts::frame_at(scene.input.tracks[a], time_s));
  std::array<Fit, 2> before, after;
  for (std::size_t k = 0; k < 2; ++k) {
    const std::size_t i = k ? b : a;
    const Track& track = scene.input.tracks[i];
    const Motion& m = scene.motions[i];
    for (const bool later : {false, true}) {
      const Side side = side_of(track, m, time_s, k ? break_b : break_a, later);
      if (side.frames.size() < least_frames) return {};
      const Fit fit = line_at(track, *side.run, side.frames, time_s, m.sigma_px);
      (later ? after : before)[k] = fit;
      (later ? c.after : c.before)[k] = fit.velocity;
      (later ? c.after_sigma : c.before_sigma)[k] = fit.velocity_sigma;
      c.n += fit.n;
    }
    c.radius_px[k] = m.radius_px;
    c.radius_sigma_px[k] = radius_sigma(track);
  }
  const Vector apart{before[1].at[0] - before[0].at[0], before[1].at[1] - before[0].at[1]};
  const double distance = length(apart), radii = c.radius_px[0] + c.radius_px[1];
  if (!(distance > 0) || !(distance - radii <= 0.25 * radii)) return {};  // half the mean radius
  c.normal = {apart[0] / distance, apart[1] / distance};
  c.at_px = {before[0].at[0] + c.radius_px[0] * c.normal[0], before[0].at[1] + c.radius_px[0] * c.normal[1]};
  const Vector closing{c.before[0][0] - c.before[1][0], c.before[0][1] - c.before[1][1]};
  if (!(dot(closing, c.normal) > 0)) return {};
  if (!break_a || !break_b) {  // only one of them changed: was it pushed by the other?
    const std::size_t k = break_a ? 0 : 1;
    const Vector push{c.after[k][0] - c.before[k][0], c.after[k][1] - c.before[k][1]};
    if (!(std::abs(dot(push, c.normal)) > 0.8 * length(push))) return {};
  }
  return c;
}

/// Change of momentum along `along`, over the sizes of the momenta before. p: masses' radii, then before and after of
/// both.
double momentum_change(std::span<const double> p, double power, const Vector& along) {
  double change = 0, sizes = 0;
  for (std::size_t k = 0; k < 2; ++k) {
    const double mass = std::pow(p[k], power);
    const Vector v{p[2 + 2 * k], p[3 + 2 * k]}, w{p[6 + 2 * k], p[7 + 2 * k]};
    change += mass * (dot(w, along) - dot(v, along));
    sizes += mass * length(v);
  }
  return change / sizes;
}
double momentum_ratio(std::span<const double> p, double power) {
  Vector before{}, after{};
  for (std::size_t k = 0; k < 2; ++k)
    for (std::size_t d = 0; d < 2; ++d) {
      before[d] += std::pow(p[k], power) * p[2 + 2 * k + d];
      after[d] += std::pow(p[k], power) * p[6 + 2 * k + d];
    }
  return dot(after, before) / dot(before, before);
}
double energy_change(std::span<const double> p, double power) {
  double before = 0, after = 0;
  for (std::size_t k = 0; k < 2; ++k)
    for (std::size_t d = 0; d < 2; ++d) {
      before += std::pow(p[k], power) * std::pow(p[2 + 2 * k + d], 2);
      after += std::pow(p[k], power) * std::pow(p[6 + 2 * k + d], 2);
    }
  return after / before - 1;
}
double restitution(std::span<const double> p, const Vector& normal) {
  const Vector before{p[2] - p[4], p[3] - p[5]}, after{p[6] - p[8], p[7] - p[9]};
  return -dot(after, normal) / dot(before, normal);
}

void report(const Scene& scene, const Collision& c, Findings& out) {
  const std::string pair = fmt::format("{}, {}", scene.input.tracks[c.a].name, scene.input.tracks[c.b].name);
  std::vector<double> p{c.radius_px[0], c.radius_px[1]}, sigma{c.radius_sigma_px[0], c.radius_sigma_px[1]};
  for (const auto* v : {&c.before, &c.after})
    for (const Vector& one : *v) p.insert(p.end(), one.begin(), one.end());
  for (const auto* v : {&c.before_sigma, &c.after_sigma})
    for (const Vector& one : *v) sigma.insert(sigma.end(), one.begin(), one.end());
  std::vector<double> covariance(p.size() * p.size(), 0.0);
  for (std::size_t i = 0; i < p.size(); ++i) covariance[i * p.size() + i] = sigma[i] * sigma[i];
  const auto give = [&](const Metric& m, const std::function<double(std::span<const double>)>& f) {
    out.metrics.push_back(parts::with(m, pair, f(p), propagate(f, p, covariance), c.n));
  };
  for (const double power : {2.0, 3.0}) {
    const Metric& m = power == 2 ? c1_momentum : c1_ball;
    // The size of the change, and its doubt along its direction: the size itself has no slope where it is zero.
    const auto change = [&](const Vector& along) {
      return [&, along](std::span<const double> q) { return momentum_change(q, power, along); };
    };
    const double x = momentum_change(p, power, {1, 0}), y = momentum_change(p, power, {0, 1}), size = std::hypot(x, y);
    const double noise = std::hypot(propagate(change({1, 0}), p, covariance), propagate(change({0, 1}), p, covariance));
    const Vector along = size > 0 ? Vector{x / size, y / size} : Vector{1, 0};
    // Noise alone has a size too: its square is taken off, or no collision would ever be clean.
    out.metrics.push_back(parts::with(m, pair, std::sqrt(std::max(0.0, size * size - noise * noise)),
                                      propagate(change(along), p, covariance), c.n));
    if (power == 2) give(c1_ratio, [](std::span<const double> q) { return momentum_ratio(q, 2); });
  }
  give(c2_energy, [](std::span<const double> q) { return energy_change(q, 2); });
  give(c2_ball, [](std::span<const double> q) { return energy_change(q, 3); });
  give(c2_restitution, [&](std::span<const double> q) { return restitution(q, c.normal); });
  Event event{"C1.collision", pair, fmt::format("collide at {:.4f} s", c.time_s)};
  event.frame = static_cast<std::int64_t>(c.frame);
  event.time_s = c.time_s;
  event.x_px = c.at_px[0], event.y_px = c.at_px[1];
  out.events.push_back(std::move(event));
}

}  // namespace

std::vector<Collision> collisions_of(const Scene& scene) {
  std::vector<Collision> found;
  for (std::size_t a = 0; a < scene.motions.size(); ++a)
    for (std::size_t b = a + 1; b < scene.motions.size(); ++b) {
      const Motion &ma = scene.motions[a], &mb = scene.motions[b];
      std::vector<bool> used(mb.breaks.size(), false);
      const double one_impact_s = 2.5 * std::max(ma.frame_s, mb.frame_s);
      // Noise may break one impact in two: of what the same pair does within a few frames, what rests on more frames counts.
      const auto keep = [&](const std::optional<Collision>& c) {
        if (!c) return false;
        const auto same = std::find_if(found.begin(), found.end(), [&](const Collision& other) {
          return other.a == a && other.b == b && std::abs(other.time_s - c->time_s) <= one_impact_s;
        });
        if (same == found.end())
          found.push_back(*c);
        else if (c->n > same->n)
          *same = *c;
        return true;
      };
      for (std::size_t i = 0; i < ma.breaks.size(); ++i) {
        const Break& x = ma.breaks[i];
        if (x.change != Change::contact) continue;
        bool done = false;
        for (std::size_t j = 0; j < mb.breaks.size() && !done; ++j) {
          const Break& y = mb.breaks[j];
          if (y.change != Change::contact || std::max(x.frame, y.frame) - std::min(x.frame, y.frame) > 2) continue;
          // The better known of the two moments counts more.
          const double wx = 1 / std::pow(std::max(x.time_sigma_s, 1e-9), 2),
                       wy = 1 / std::pow(std::max(y.time_sigma_s, 1e-9), 2);
          done = keep(collision_at(scene, a, b, (wx * x.time_s + wy * y.time_s) / (wx + wy), i, j));
          if (done) used[j] = true;
        }
        if (!done) keep(collision_at(scene, a, b, x.time_s, i, {}));
      }
      for (std::size_t j = 0; j < mb.breaks.size(); ++j)
        if (!used[j] && mb.breaks[j].change == Change::contact)
          keep(collision_at(scene, a, b, mb.breaks[j].time_s, {}, j));
    }
  return found;
}

Findings collisions(const Scene& scene) {
  Findings out;
  for (const Collision& c : collisions_of(scene)) report(scene, c, out);
  if (out.metrics.empty())
    parts::refuse(out, {c1_momentum, c1_ratio, c1_ball, c2_energy, c2_ball, c2_restitution}, "",
                  scene.input.tracks.empty()       ? parts::no_tracks(scene)
                  : scene.input.tracks.size() == 1 ? "one object alone: no collision"
                                                   : "no two objects collide");
  return out;
}

Findings uniform_motion(const Scene& scene) {
  Findings out;
  const std::vector<Collision> hits = collisions_of(scene);
  if (scene.input.tracks.empty())
    parts::refuse(out, {u1_speed, u1_curvature, u1_r2, u1_drift, u1_across, u1_rms}, "", parts::no_tracks(scene));
  for (std::size_t i = 0; i < scene.input.tracks.size(); ++i) {
    const Track& track = scene.input.tracks[i];
    const Motion& m = scene.motions[i];
    std::string reason = parts::excuse_of_swings(scene, i);
    for (std::size_t k = 0; reason.empty() && k < m.breaks.size(); ++k) {
      const Break& b = m.breaks[k];
      const bool partner = std::any_of(hits.begin(), hits.end(), [&](const Collision& c) {
        return (c.a == i || c.b == i) && std::abs(c.time_s - b.time_s) <= 2.5 * m.frame_s;
      });
      // A floor may stop or throw back what comes down, and what rests may set off; nothing else may change a velocity.
      if (b.change != Change::contact || partner || m.runs[k].kind == Kind::rest ||
          (m.runs[k].kind == Kind::flight && b.before[1] > 0 && b.after[1] <= 0.25 * b.before[1]))
        continue;
      Event event{"U1.kick", track.name,
                  fmt::format("velocity changes by {:.1f} px/s without a partner",
                              std::hypot(b.after[0] - b.before[0], b.after[1] - b.before[1]))};
      event.frame = static_cast<std::int64_t>(b.frame);
      event.time_s = b.time_s, event.x_px = b.x_px, event.y_px = b.y_px;
      out.events.push_back(std::move(event));
    }
    if (reason.empty() && !m.breaks.empty()) reason = "its motion has contacts, releases or jumps";
    if (reason.empty() && m.runs[0].kind != Kind::uniform)
      reason = m.runs[0].kind == Kind::flight ? "it falls: judged as a flight" : "it accelerates upwards";
    if (!reason.empty()) {
      parts::refuse(out, {u1_speed, u1_curvature, u1_r2, u1_drift, u1_across, u1_rms}, track.name, reason);
      continue;
    }
    const Run& run = m.runs[0];
    const double T = run.length_s();
    Vector way{run.x.at(run.end_s) - run.x.at(run.begin_s), run.y.at(run.end_s) - run.y.at(run.begin_s)};
    const double distance = length(way), speed = distance / T;
    way = {way[0] / distance, way[1] / distance};
    std::vector<double> t, along, across;
    for (std::size_t f : run.frames) {
      t.push_back(track.time_s[f] - run.begin_s);
      along.push_back(dot({track.x_px[f], track.y_px[f]}, way));
      across.push_back(dot({track.x_px[f], track.y_px[f]}, {-way[1], way[0]}));
    }
    const auto n = static_cast<std::int64_t>(t.size());
    const Polynomial line = fit_polynomial(t, along, 1), side = fit_polynomial(t, across, 1);
    const Polynomial bent = fit_polynomial(t, along, 2), side_bent = fit_polynomial(t, across, 2);
    const auto count = static_cast<double>(n);
    const auto sse = [&](const Polynomial& p) { return p.rms * p.rms * (count - static_cast<double>(p.c.size())); };
    const double straight = sse(line) + sse(side), curved = sse(bent) + sse(side_bent);
    const double noise = std::max(curved / (2 * count - 6), 1e-12);
    double total = 0, mean = 0;
    for (double s : along) mean += s / count;
    for (double s : along) total += (s - mean) * (s - mean);
    // Velocities between frames, about the line v(t) = v0 + a t.
    double spread = 0;
    for (std::size_t k = 1; k < t.size(); ++k)
      spread += std::pow((along[k] - along[k - 1]) / (t[k] - t[k - 1]) - bent.slope_at(0.5 * (t[k] + t[k - 1])), 2);
    const double per = 2 * T / speed, rms = std::sqrt(spread / (count - 1));
    const auto sigma_c2 = [&](const Polynomial& p) {
      return std::max(p.rms, m.sigma_px) * std::sqrt(p.unit_covariance[8]);
    };
    const auto give = [&](const Metric& metric, double value, double sigma = nan) {
      out.metrics.push_back(parts::with(metric, track.name, value, sigma, n));
    };
    give(u1_speed, speed, std::max(line.rms, m.sigma_px) * std::sqrt(line.unit_covariance[3]));
    give(u1_curvature, std::max(0.0, straight - curved) / 2 / noise);
    give(u1_r2, 1 - straight / total);
    give(u1_drift, per * bent.c[2], per * sigma_c2(bent));
    give(u1_across, per * side_bent.c[2], per * sigma_c2(side_bent));
    give(u1_rms, rms / speed, rms / speed / std::sqrt(2 * (count - 2)));
  }
  return out;
}

}  // namespace reel::metrics
