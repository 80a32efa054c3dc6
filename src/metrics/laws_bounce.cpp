// F5: what a bounce keeps of speed, height and time.
#include <algorithm>
#include <array>
#include <cmath>

#include "metrics/laws_parts.hpp"

namespace reel::metrics {
namespace {

const Metric f5_v{"F5.e_v", "speed after over speed before a bounce", "1", Aspect::parameter, Better::none};
const Metric f5_h{"F5.e_h", "root of the heights' ratio", "1", Aspect::parameter, Better::none};
const Metric f5_t{"F5.e_t", "ratio of the flights' times", "1", Aspect::parameter, Better::none};
const Metric f5_same{"F5.consistency", "difference of e_h and e_t", "1", Aspect::form, Better::zero};

/// Parabolas y0 + v u + a u^2 / 2 of both sides, u from about the contact, and the covariance of all six.
struct Sides {
  std::array<double, 6> p{};
  std::vector<double> covariance;  // [6, 6]
  double at_s = 0;
  bool found = false;
};

struct Value {
  double value = nan, sigma = nan;
};

/// Moment of contact relative to Sides::at_s: where both parabolas meet, the meeting nearest to 0.
double contact(std::span<const double> p) {
  const double c = p[0] - p[3], b = p[1] - p[4], a = 0.5 * (p[2] - p[5]);
  const double d = b * b - 4 * a * c;
  if (!(d >= 0) || b == 0) return b == 0 ? nan : -c / b;
  return 2 * c / (-b - std::copysign(std::sqrt(d), b));  // the root that stays finite when a is 0
}

/// Both sides by least squares; `shared`: with one acceleration.
Sides fit_sides(const Track& track, const Run& left, const Run& right, double at_s, bool shared, double sigma_px) {
  const std::size_t k = shared ? 5 : 6;
  std::vector<double> design, y;
  const auto add = [&](const Run& run, bool after) {
    for (std::size_t f : run.frames) {
      const double u = track.time_s[f] - at_s;
      std::vector<double> row(k, 0.0);
      const std::size_t from = after ? (shared ? 2u : 3u) : 0u;
      row[from] = 1, row[from + 1] = u;
      row[shared ? 4 : from + 2] = 0.5 * u * u;
      design.insert(design.end(), row.begin(), row.end());
      y.push_back(track.y_px[f]);
    }
  };
  add(left, false);
  add(right, true);
  Sides s;
  s.at_s = at_s;
  if (y.size() < k + 1) return s;
  const Linear fit = fit_linear(design, k, y);
  const std::array<std::size_t, 6> from =
      shared ? std::array<std::size_t, 6>{0, 1, 4, 2, 3, 4} : std::array<std::size_t, 6>{0, 1, 2, 3, 4, 5};
  const double variance = std::pow(std::max(fit.rms, sigma_px), 2);
  s.covariance.resize(36);
  s.found = true;
  for (std::size_t i = 0; i < 6; ++i) {
    s.p[i] = fit.c[from[i]];
    for (std::size_t j = 0; j < 6; ++j) s.covariance[6 * i + j] = variance * fit.unit_covariance[from[i] * k + from[j]];
    s.found = s.found && std::isfinite(s.covariance[7 * i]);
  }
  return s;
}

Value value_of(const Sides& s, const std::function<double(std::span<const double>)>& f) {
  if (!s.found) return {};
  return {f(s.p), propagate(f, s.p, s.covariance)};
}

double e_v(std::span<const double> p) {
  const double u = contact(p);
  return -(p[4] + p[5] * u) / (p[1] + p[2] * u);
}
double e_h(std::span<const double> p) {
  const double u = contact(p), y = p[0] + p[1] * u + 0.5 * p[2] * u * u;
  return std::sqrt((y - (p[3] - p[4] * p[4] / (2 * p[5]))) / (y - (p[0] - p[1] * p[1] / (2 * p[2]))));
}
double rise_time(std::span<const double> p) { return -p[4] / p[5] - contact(p); }
double fall_time(std::span<const double> p) { return contact(p) + p[1] / p[2]; }

struct Bounce {
  std::size_t at;     // of Motion::breaks
  Sides speeds, own;  // with one acceleration where that is known no better, and with two
  Value contact_s;
};

bool has_apex(const Run& run, const Polynomial& y, double frame_s) {
  const double apex = -y.c[1] / (2 * y.c[2]);
  return y.c[2] > 0 && apex > run.begin_s - 1.5 * frame_s && apex < run.end_s + 1.5 * frame_s;
}

std::vector<Bounce> bounces_of(const Track& track, const Motion& m) {
  std::vector<Bounce> found;
  for (std::size_t k = 0; k < m.breaks.size(); ++k) {
    const Break& b = m.breaks[k];
    const Run &left = m.runs[k], &right = m.runs[k + 1];
    if (b.change != Change::contact || !(b.before[1] > 0) || !(b.after[1] < 0)) continue;
    const bool long_left = left.kind == Kind::flight, long_right = right.kind == Kind::flight;
    if (!long_left && !long_right) continue;
    Bounce bounce;
    bounce.at = k;
    const double al = parts::acceleration(left.y), ar = parts::acceleration(right.y);
    const double doubt = std::hypot(parts::acceleration_sigma(left.y), parts::acceleration_sigma(right.y));
    const bool shared = !long_left || !long_right || std::abs(al - ar) < 5 * doubt;
    bounce.speeds = fit_sides(track, left, right, b.time_s, shared, m.sigma_px);
    if (long_left && long_right) bounce.own = fit_sides(track, left, right, b.time_s, false, m.sigma_px);
    bounce.contact_s = value_of(bounce.speeds, contact);
    bounce.contact_s.value += b.time_s;
    found.push_back(std::move(bounce));
  }
  return found;
}

/// Whole time of the flight on one side of bounce j: to the next bounce, or twice the way to the apex.
Value flight_time(const Motion& m, const std::vector<Bounce>& all, std::size_t j, bool after) {
  const Bounce& b = all[j];
  const std::size_t other = after ? j + 1 : j - 1;  // wraps for j = 0: no such bounce
  if (other < all.size() && all[other].at + (after ? 0 : 1) == b.at + (after ? 1 : 0))
    return {std::abs(all[other].contact_s.value - b.contact_s.value),
            std::hypot(all[other].contact_s.sigma, b.contact_s.sigma)};
  const Run& run = m.runs[b.at + (after ? 1 : 0)];
  if (!has_apex(run, run.y, m.frame_s)) return {};
  const Value half = value_of(b.own, after ? rise_time : fall_time);
  return {2 * half.value, 2 * half.sigma};
}

}  // namespace

Findings bounces(const Scene& scene) {
  Findings out;
  const auto refuse = [&](const std::string& object, const std::string& reason) {
    parts::refuse(out, {f5_v, f5_h, f5_t, f5_same}, object, reason);
  };
  if (scene.input.tracks.empty()) refuse("", parts::no_tracks(scene));
  for (std::size_t i = 0; i < scene.input.tracks.size(); ++i) {
    const Track& track = scene.input.tracks[i];
    const Motion& m = scene.motions[i];
    const std::string reason = parts::excuse_of_swings(scene, i);
    const std::vector<Bounce> all = reason.empty() ? bounces_of(track, m) : std::vector<Bounce>{};
    if (all.empty()) refuse(track.name, reason.empty() ? "no bounce between two flights" : reason);
    for (std::size_t j = 0; j < all.size(); ++j) {
      const Bounce& b = all[j];
      const Break& moment = m.breaks[b.at];
      const Run &left = m.runs[b.at], &right = m.runs[b.at + 1];
      const std::string which = fmt::format("bounce {}", j + 1);
      const auto n = static_cast<std::int64_t>(left.frames.size() + right.frames.size());
      const Value v = value_of(b.speeds, e_v);
      out.metrics.push_back(parts::with(f5_v, track.name, v.value, v.sigma, n, which));
      Event event{"F5.impact", track.name,
                  fmt::format("bounces at {:.4f} s, e_v = {:.3f}", b.contact_s.value, v.value)};
      event.frame = parts::frame_at(track, b.contact_s.value);
      event.time_s = b.contact_s.value, event.x_px = moment.x_px, event.y_px = moment.y_px;
      out.events.push_back(std::move(event));
      if (!b.own.found) {
        parts::refuse(out, {f5_h, f5_t, f5_same}, track.name, "one of the flights has fewer than 6 frames", which);
        continue;
      }
      const bool apexes = has_apex(left, left.y, m.frame_s) && has_apex(right, right.y, m.frame_s);
      const Value h = apexes ? value_of(b.own, e_h) : Value{};
      const Value t1 = flight_time(m, all, j, false), t2 = flight_time(m, all, j, true);
      const double t = t2.value / t1.value, t_sigma = std::hypot(t2.sigma, t * t1.sigma) / t1.value;
      const std::string unseen = "the highest point of a flight is not seen";
      out.metrics.push_back(apexes ? parts::with(f5_h, track.name, h.value, h.sigma, n, which)
                                   : parts::without(f5_h, track.name, unseen, which));
      const bool timed = std::isfinite(t);
      out.metrics.push_back(timed ? parts::with(f5_t, track.name, t, t_sigma, n, which)
                                  : parts::without(f5_t, track.name, unseen, which));
      out.metrics.push_back(apexes && timed ? parts::with(f5_same, track.name, std::abs(h.value - t),
                                                          std::hypot(h.sigma, t_sigma), n, which)
                                            : parts::without(f5_same, track.name, unseen, which));
    }
    // What comes down and does not bounce has landed.
    for (std::size_t k = 0; reason.empty() && k < m.breaks.size(); ++k) {
      const Break& b = m.breaks[k];
      const bool falls = m.runs[k].kind == Kind::flight && b.before[1] > 0;
      if (b.change != Change::contact || !falls ||
          std::any_of(all.begin(), all.end(), [&](const Bounce& o) { return o.at == k; }))
        continue;
      if (!(std::abs(b.after[1]) < 0.25 * b.before[1])) continue;
      Event event{"F5.impact", track.name, fmt::format("lands at {:.4f} s", b.time_s)};
      event.frame = parts::frame_at(track, b.time_s);
      event.time_s = b.time_s, event.x_px = b.x_px, event.y_px = b.y_px;
      out.events.push_back(std::move(event));
    }
  }
  return out;
}

}  // namespace reel::metrics
