// O1 permanence, O2 continuity, O3 identity, S1 stillness.
#include <algorithm>
#include <array>
#include <cmath>

#include "metrics/fit.hpp"
#include "metrics/laws_parts.hpp"

namespace reel::metrics {
namespace {

const Metric o1_missing{"O1.missing", "frames in which it should be seen and is not", "1", Aspect::stability,
                        Better::zero};
const Metric o1_permanence{"O1.permanence", "frames in which it is seen, of those in which it should be", "1",
                           Aspect::stability, Better::one};
const Metric o2_jump{"O2.jump", "largest jump", "px", Aspect::stability, Better::zero};
const Metric o2_teleports{"O2.teleports", "jumps beyond radius and motion", "1", Aspect::stability, Better::zero};
const Metric o3_births{"O3.births", "things that appear in mid-picture", "1", Aspect::stability, Better::zero};
const Metric o3_deaths{"O3.deaths", "things that are gone for good in mid-picture", "1", Aspect::stability,
                       Better::zero};
const Metric o3_splits{"O3.splits", "things that come out of another", "1", Aspect::stability, Better::zero};
const Metric o3_merges{"O3.merges", "things that become one", "1", Aspect::stability, Better::zero};
const Metric s1_still{"S1.still", "1 where it stands still: not judged by laws of motion", "1", Aspect::description,
                      Better::none};
const Metric s1_path{"S1.path", "length of its smooth path", "px", Aspect::description, Better::none};

using Point = std::array<double, 2>;

double distance(const Point& a, const Point& b) { return std::hypot(a[0] - b[0], a[1] - b[1]); }

bool seen(const Track& t, std::size_t f) { return std::isfinite(t.x_px[f]) && std::isfinite(t.y_px[f]); }
Point at(const Track& t, std::size_t f) { return {t.x_px[f], t.y_px[f]}; }

/// First and last frame in which it is seen; both the number of frames when it never is.
std::array<std::size_t, 2> life(const Track& t) {
  const std::size_t n = t.time_s.size();
  std::size_t first = n, last = n;
  for (std::size_t f = 0; f < n; ++f)
    if (seen(t, f)) first = std::min(first, f), last = f;
  return {first, last};
}

/// A point of the shot's first picture, in picture f.
Point in_picture(const LawInput& input, std::size_t f, const Point& p) {
  if (input.to_first.empty()) return p;
  const auto& m = input.to_first[f];
  const auto minor = [&](int a, int b, int c, int d) {
    return m[static_cast<std::size_t>(a)] * m[static_cast<std::size_t>(d)] -
           m[static_cast<std::size_t>(b)] * m[static_cast<std::size_t>(c)];
  };
  // The inverse up to a factor: columns of cofactors.
  const double u = minor(4, 5, 7, 8) * p[0] + minor(2, 1, 8, 7) * p[1] + minor(1, 2, 4, 5);
  const double v = minor(5, 3, 8, 6) * p[0] + minor(0, 2, 6, 8) * p[1] + minor(2, 0, 5, 3);
  const double w = minor(3, 4, 6, 7) * p[0] + minor(1, 0, 7, 6) * p[1] + minor(0, 1, 3, 4);
  return {u / w, v / w};
}

/// Farther from the rim of picture f than `margin_px`.
bool inside(const LawInput& input, std::size_t f, const Point& p, double margin_px) {
  const Point q = in_picture(input, f, p);
  return q[0] >= margin_px && q[1] >= margin_px && q[0] <= static_cast<double>(input.width_px) - margin_px &&
         q[1] <= static_cast<double>(input.height_px) - margin_px;
}

double radius(const Scene& scene, std::size_t i) {
  const double r = scene.motions[i].radius_px;
  return std::isfinite(r) ? r : 0;
}

/// Constant acceleration from the last 5 sights before frame `before`; lines where it does not show, or for fewer
/// sights.
struct Outlook {
  Polynomial x, y;
  bool known = false;
  Point at(double t) const { return {x.at(t), y.at(t)}; }
};
Outlook outlook(const Track& track, std::size_t before, double sigma_px) {
  std::vector<double> t, x, y;
  for (std::size_t f = before; f-- > 0 && t.size() < 5;)
    if (seen(track, f)) t.push_back(track.time_s[f]), x.push_back(track.x_px[f]), y.push_back(track.y_px[f]);
  Outlook o;
  o.known = !t.empty();
  const auto fit = [&](const std::vector<double>& z) {
    if (t.size() >= 5) {
      const Polynomial p = fit_polynomial(t, z, 2);
      const double noise = std::max({p.rms, sigma_px, 0.05});
      if (std::abs(p.c[2]) > 4 * noise * std::sqrt(p.unit_covariance[8])) return p;
    }
    return fit_polynomial(t, z, t.size() >= 2 ? 1 : 0);
  };
  if (o.known) o.x = fit(x), o.y = fit(y);
  return o;
}

/// Where a thing is, or should be, in frame f; nothing before its first sight.
std::optional<Point> place(const Scene& scene, std::size_t i, std::size_t f) {
  const Track& track = scene.input.tracks[i];
  if (seen(track, f)) return at(track, f);
  const Outlook o = outlook(track, f, scene.motions[i].sigma_px);
  if (!o.known) return {};
  return o.at(track.time_s[f]);
}

/// Behind another thing, or one with it.
bool hidden(const Scene& scene, std::size_t i, std::size_t f, const Point& p) {
  for (std::size_t j = 0; j < scene.input.tracks.size(); ++j) {
    if (j == i) continue;
    const std::optional<Point> other = place(scene, j, f);
    if (other && distance(*other, p) < 1.1 * (radius(scene, i) + radius(scene, j)) + 1) return true;
  }
  return false;
}

/// Comes in over the rim with its first sight, or goes out over it with its last.
bool over_rim(const Scene& scene, std::size_t i, bool goes) {
  const Track& track = scene.input.tracks[i];
  const auto [first, last] = life(track);
  const std::size_t f = goes ? last : first;
  const double margin = radius(scene, i) + 1;
  if (!track.whole[f] || !inside(scene.input, f, at(track, f), margin)) return true;
  const std::size_t g = goes ? f - 1 : f + 1;  // wraps below 0: no such frame
  if (g >= track.time_s.size() || !seen(track, g)) return false;
  const Point p = at(track, f), q = at(track, g);
  return !inside(scene.input, f, {p[0] + 1.5 * (p[0] - q[0]), p[1] + 1.5 * (p[1] - q[1])}, margin);
}

/// A thing of the size of i that appears in mid-picture after frame f: i itself, under a new name. Number of frames if
/// none.
std::size_t back_again(const Scene& scene, std::size_t i, std::size_t f) {
  std::size_t when = scene.input.tracks[i].time_s.size();
  for (std::size_t j = 0; j < scene.input.tracks.size(); ++j) {
    const std::size_t first = life(scene.input.tracks[j])[0];
    if (j == i || first <= f + 1 || first >= when || over_rim(scene, j, false)) continue;
    const double a = radius(scene, i), b = radius(scene, j);
    if (std::abs(a - b) <= 0.2 * a) when = first;
  }
  return when;
}

/// Frame from which two things are not seen both, near each other; pairs of which that is so.
struct Union {
  std::size_t a, b, from, to;  // seen again in `to`, or the number of frames
};
std::vector<Union> unions_of(const Scene& scene) {
  std::vector<Union> found;
  const auto& tracks = scene.input.tracks;
  for (std::size_t a = 0; a < tracks.size(); ++a)
    for (std::size_t b = a + 1; b < tracks.size(); ++b)
      for (std::size_t f = 1; f < tracks[a].time_s.size(); ++f) {
        if (!seen(tracks[a], f - 1) || !seen(tracks[b], f - 1) || seen(tracks[a], f) || seen(tracks[b], f)) continue;
        const Point p = *place(scene, a, f), q = *place(scene, b, f);
        const double radii = radius(scene, a) + radius(scene, b);
        if (distance(p, q) > 1.25 * radii + 1 || !inside(scene.input, f, p, 0) || !inside(scene.input, f, q, 0))
          continue;
        std::size_t end = f;
        while (end < tracks[a].time_s.size() && !seen(tracks[a], end) && !seen(tracks[b], end)) ++end;
        found.push_back({a, b, f, end});
      }
  return found;
}

/// The thing right beside track i in frame f, and by how much its area changes from frame `from` to frame `to`.
struct Neighbour {
  bool there = false;
  double growth = 0;
};
Neighbour neighbour(const Scene& scene, std::size_t i, std::size_t f, std::size_t from, std::size_t to) {
  Neighbour n;
  const Point p = at(scene.input.tracks[i], f);
  for (std::size_t j = 0; j < scene.input.tracks.size(); ++j) {
    const Track& other = scene.input.tracks[j];
    if (j == i || !seen(other, from) || !seen(other, to)) continue;
    const double reach = 1.25 * (radius(scene, i) + radius(scene, j)) + 1;
    if (std::min(distance(at(other, from), p), distance(at(other, to), p)) > reach) continue;
    n.there = true;
    const double growth = other.area_px[to] / other.area_px[from] - 1;
    if (std::abs(growth) > std::abs(n.growth)) n.growth = growth;
  }
  return n;
}

}  // namespace

Findings permanence(const Scene& scene) {
  Findings out;
  if (scene.input.tracks.empty()) parts::refuse(out, {o1_missing, o1_permanence}, "", parts::no_tracks(scene));
  for (std::size_t i = 0; i < scene.input.tracks.size(); ++i) {
    const Track& track = scene.input.tracks[i];
    const std::size_t n = track.time_s.size();
    const auto [first, last] = life(track);
    if (first == n) {
      parts::refuse(out, {o1_missing, o1_permanence}, track.name, "is never seen");
      continue;
    }
    if (first > 0 && !over_rim(scene, i, false) && !hidden(scene, i, first, at(track, first))) {
      parts::refuse(out, {o1_missing, o1_permanence}, track.name, "appeared in mid-picture: counted by O3");
      continue;
    }
    std::int64_t num_seen = 0, num_missing = 0;
    for (std::size_t f = first; f < n; ++f) num_seen += seen(track, f);
    for (std::size_t f = first; f < n; ++f) {
      if (seen(track, f)) continue;
      std::size_t end = f;
      while (end < n && !seen(track, end)) ++end;
      const bool left = end == n && over_rim(scene, i, true);
      const Outlook o = outlook(track, f, scene.motions[i].sigma_px);
      const std::size_t judged = end == n ? back_again(scene, i, f - 1) : end;
      std::int64_t missing = 0;
      std::size_t begin = n;
      for (std::size_t g = f; g < judged && !left; ++g) {
        const Point p = o.at(track.time_s[g]);
        if (!inside(scene.input, g, p, radius(scene, i) + 1)) {
          if (end == n) break;  // it has left the picture, and does not come back
          continue;
        }
        if (hidden(scene, i, g, p)) continue;
        begin = std::min(begin, g);
        ++missing;
      }
      if (missing > 0) {
        const Point p = o.at(track.time_s[begin]);
        Event event{"O1.vanish", track.name, fmt::format("is not seen for {} frames", missing)};
        event.frame = static_cast<std::int64_t>(begin);
        event.time_s = track.time_s[begin], event.x_px = p[0], event.y_px = p[1];
        out.events.push_back(std::move(event));
      }
      num_missing += missing;
      f = end;
    }
    const std::int64_t expected = num_seen + num_missing;
    out.metrics.push_back(parts::with(o1_missing, track.name, static_cast<double>(num_missing), nan, expected));
    out.metrics.push_back(parts::with(o1_permanence, track.name,
                                      static_cast<double>(num_seen) / static_cast<double>(expected), nan, expected));
  }
  return out;
}

Findings continuity(const Scene& scene) {
  Findings out;
  if (scene.input.tracks.empty()) parts::refuse(out, {o2_jump, o2_teleports}, "", parts::no_tracks(scene));
  for (std::size_t i = 0; i < scene.input.tracks.size(); ++i) {
    const Track& track = scene.input.tracks[i];
    const Motion& m = scene.motions[i];
    if (!m.refusal.empty()) {
      parts::refuse(out, {o2_jump, o2_teleports}, track.name, m.refusal);
      continue;
    }
    double largest = 0, sigma = nan;
    std::int64_t teleports = 0, n = static_cast<std::int64_t>(m.strays.size());
    const auto report = [&](std::size_t frame, double jump, const std::string& text) {
      ++teleports;
      Event event{"O2.teleport", track.name, fmt::format("{} {:.2f} px", text, jump)};
      event.frame = static_cast<std::int64_t>(frame);
      event.time_s = track.time_s[frame], event.x_px = track.x_px[frame], event.y_px = track.y_px[frame];
      out.events.push_back(std::move(event));
    };
    for (std::size_t k = 0; k < m.runs.size(); ++k) n += static_cast<std::int64_t>(m.runs[k].frames.size());
    for (std::size_t k = 0; k < m.breaks.size(); ++k) {
      const Break& b = m.breaks[k];
      if (b.change != Change::jump) continue;
      const double jump = std::hypot(b.step_px[0], b.step_px[1]);
      if (jump > largest) largest = jump, sigma = b.step_sigma_px;
      const double d2 = std::pow(jump / b.step_sigma_px, 2), wait = track.time_s[b.frame] - m.runs[k].end_s;
      if (d2 > gate && jump > std::max(radius(scene, i), 3 * std::hypot(b.before[0], b.before[1]) * wait))
        report(b.frame, jump, "jumps by");
    }
    for (std::size_t k = 0; k < m.strays.size(); ++k) {  // away for a frame or two
      std::size_t f = m.strays[k], g = f;
      while (k + 1 < m.strays.size() && m.strays[k + 1] == g + 1) ++g, ++k;
      if (f == 0 || g + 1 >= track.time_s.size() || !seen(track, f - 1) || !seen(track, g + 1)) continue;
      const Point p = at(track, f - 1), q = at(track, g + 1);
      const double share = 1 / static_cast<double>(g + 2 - f);  // of the way back, made by the first stray
      const double off = distance(at(track, f), {p[0] + share * (q[0] - p[0]), p[1] + share * (q[1] - p[1])});
      if (off <= std::max(radius(scene, i), 3 * share * distance(p, q))) continue;
      if (off > largest) largest = off, sigma = std::sqrt(1.5) * m.sigma_px;
      report(f, off, fmt::format("is off for {} frames by", g + 1 - f));
    }
    out.metrics.push_back(parts::with(o2_jump, track.name, largest, sigma, n));
    out.metrics.push_back(parts::with(o2_teleports, track.name, static_cast<double>(teleports), nan, n));
  }
  return out;
}

Findings identity(const Scene& scene) {
  Findings out;
  const auto& tracks = scene.input.tracks;
  if (tracks.empty()) {
    parts::refuse(out, {o3_births, o3_deaths, o3_splits, o3_merges}, "", parts::no_tracks(scene));
    return out;
  }
  std::int64_t births = 0, deaths = 0, splits = 0, merges = 0;
  const std::vector<Union> unions = unions_of(scene);
  for (const Union& u : unions) ++merges, splits += u.to < tracks[0].time_s.size();
  for (std::size_t i = 0; i < tracks.size(); ++i) {
    const auto [first, last] = life(tracks[i]);
    const std::size_t n = tracks[i].time_s.size();
    if (first == n) continue;
    if (first > 0 && !over_rim(scene, i, false)) {
      const Neighbour by = neighbour(scene, i, first, first - 1, first);
      if (by.there)
        splits += by.growth < -0.1;  // otherwise it comes out from behind
      else
        ++births;
    }
    const std::size_t gone = last + 1;
    const bool in_union = std::any_of(unions.begin(), unions.end(),
                                      [&](const Union& u) { return (u.a == i || u.b == i) && u.from == gone; });
    if (last + 1 < n && !in_union && !over_rim(scene, i, true)) {
      const Neighbour by = neighbour(scene, i, last, last, last + 1);
      if (by.there)
        merges += by.growth > 0.2;
      else
        ++deaths;
    }
  }
  const auto n = static_cast<std::int64_t>(tracks.size());
  for (const auto& [metric, value] :
       {std::pair{&o3_births, births}, {&o3_deaths, deaths}, {&o3_splits, splits}, {&o3_merges, merges}})
    out.metrics.push_back(parts::with(*metric, "", static_cast<double>(value), nan, n));
  return out;
}

Findings stillness(const Scene& scene) {
  Findings out;
  if (scene.input.tracks.empty()) parts::refuse(out, {s1_still, s1_path}, "", parts::no_tracks(scene));
  for (std::size_t i = 0; i < scene.input.tracks.size(); ++i) {
    const Motion& m = scene.motions[i];
    const std::string& name = scene.input.tracks[i].name;
    if (!m.refusal.empty()) {
      parts::refuse(out, {s1_still, s1_path}, name, m.refusal);
      continue;
    }
    std::int64_t n = 0;
    for (const Run& run : m.runs) n += static_cast<std::int64_t>(run.frames.size());
    out.metrics.push_back(parts::with(s1_still, name, m.still ? 1 : 0, nan, n));
    out.metrics.push_back(parts::with(s1_path, name, m.path_px, nan, n));
  }
  return out;
}

}  // namespace reel::metrics
