// F2: does a drop from rest grow with the square of time?
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "core/error.hpp"
#include "metrics/laws_parts.hpp"

namespace reel::metrics {
namespace {

const Metric f2_exponent{"F2.exponent", "exponent of the drop", "1", Aspect::form, Better::none};
const Metric f2_deviation{"F2.deviation", "exponent of the drop, less 2", "1", Aspect::form, Better::zero};
const Metric f2_qfi{"F2.qfi", "quadratic fit index over the square of time", "1", Aspect::form, Better::lower};
const Metric f2_r2{"F2.r2", "share of the drop that the square of time explains", "1", Aspect::form, Better::one};
const Metric f2_odd{"F2.odd", "largest deviation from increments 1:3:5:7, of the drop", "1", Aspect::form,
                    Better::lower};

constexpr double least_p = 0.5, most_p = 4.5;

/// y at any time between two samples: the parabola through the three nearest.
double between(std::span<const double> t, std::span<const double> y, double at) {
  std::size_t i = 0;
  while (i + 3 < t.size() && std::abs(t[i + 3] - at) < std::abs(t[i] - at)) ++i;
  double sum = 0;
  for (std::size_t a = i; a < i + 3; ++a) {
    double term = y[a];
    for (std::size_t b = i; b < i + 3; ++b)
      if (b != a) term *= (at - t[b]) / (t[a] - t[b]);
    sum += term;
  }
  return sum;
}

/// Where the drop that ends with run k begins: the runs before it that do not move in y, joined by a release.
std::size_t first_run(const Track& track, const Motion& m, std::size_t k) {
  double fastest = 0;
  for (std::size_t f : m.runs[k].frames) fastest = std::max(fastest, std::abs(m.runs[k].y.slope_at(track.time_s[f])));
  std::size_t first = k;
  while (first > 0) {
    const Break& b = m.breaks[first - 1];
    const Run& before = m.runs[first - 1];
    const double v = std::max(std::abs(before.y.slope_at(before.begin_s)), std::abs(before.y.slope_at(before.end_s)));
    const bool at_rest = before.kind == Kind::rest || v < 0.1 * fastest;
    if (b.change == Change::jump || !at_rest || (b.change == Change::contact && before.kind != Kind::rest)) break;
    --first;
  }
  return first;
}

}  // namespace

Drop fit_drop(std::span<const double> t, std::span<const double> y, double earliest_s, double latest_s,
              double sigma_px) {
  const std::size_t n = t.size();
  REEL_CHECK(y.size() == n && earliest_s <= latest_s, "{} times, {} positions", n, y.size());
  Drop drop;
  if (n < 6) {
    drop.refusal = "fewer than 6 frames";
    return drop;
  }
  const double length = t[n - 1] - t[0];
  // Best y0 and c for given t0 and p.
  double least = std::numeric_limits<double>::infinity();
  std::vector<double> start(4);
  const int steps =
      std::clamp(static_cast<int>(4 * (latest_s - earliest_s) / (length / static_cast<double>(n - 1))) + 1, 8, 160);
  std::vector<double> g(n);
  for (int i = 0; i <= steps; ++i) {
    const double t0 = earliest_s + (latest_s - earliest_s) * i / steps;
    for (double p = least_p + 0.1; p < most_p; p += 0.1) {
      double sg = 0, sgg = 0, sy = 0, sgy = 0, syy = 0;
      for (std::size_t k = 0; k < n; ++k) {
        g[k] = t[k] > t0 ? std::pow((t[k] - t0) / length, p) : 0;
        const double d = y[k] - y[0];
        sg += g[k], sgg += g[k] * g[k], sy += d, sgy += g[k] * d, syy += d * d;
      }
      const auto count = static_cast<double>(n);
      const double det = count * sgg - sg * sg;
      if (!(det > 1e-12)) continue;
      const double c = (count * sgy - sg * sy) / det, y0 = (sy - c * sg) / count;
      const double sse = syy - y0 * sy - c * sgy;
      if (sse < least) least = sse, start = {y[0] + y0, c, t0, p};
    }
  }
  if (!std::isfinite(least)) {
    drop.refusal = "nothing moves after the earliest beginning";
    return drop;
  }
  const Model model = [&](std::size_t i, std::span<const double> p, std::span<double> d) {
    const double u = (t[i] - p[2]) / length;
    d[0] = 1;
    d[1] = d[2] = d[3] = 0;
    if (u <= 0) return p[0];
    const double power = std::pow(u, p[3]);
    d[1] = power;
    d[2] = -p[1] * p[3] * power / u / length;
    d[3] = p[1] * power * std::log(u);
    return p[0] + p[1] * power;
  };
  constexpr double far = 1e12;
  Curve curve =
      fit_curve(model, y, start, std::array{-far, -far, earliest_s, least_p}, std::array{far, far, latest_s, most_p});
  // A straight line has no beginning: what is left of its covariance rests on the beginning as found.
  if (!std::isfinite(curve.unit_covariance[15]))
    curve = fit_curve(model, y, curve.p, std::array{-far, -far, curve.p[2], least_p},
                      std::array{far, far, curve.p[2], most_p});
  drop.sse_px2 = curve.sse;
  drop.start_px = curve.p[0];
  drop.begin_s = curve.p[2];
  drop.exponent = curve.p[3];
  drop.exponent_sigma = std::max(curve.rms, sigma_px) * std::sqrt(curve.unit_covariance[15]);
  // The square of time since the beginning, as a line and as a parabola.
  std::vector<double> u, s;
  for (std::size_t i = 0; i < n; ++i)
    if (t[i] > drop.begin_s) u.push_back(std::pow(t[i] - drop.begin_s, 2)), s.push_back(y[i]);
  drop.n = static_cast<std::int64_t>(u.size());
  if (drop.n < 6) {
    drop.refusal = "fewer than 6 frames of fall";
    return drop;
  }
  const auto count = static_cast<double>(drop.n);
  const Polynomial line = fit_polynomial(u, s, 1), parabola = fit_polynomial(u, s, 2);
  const double sse_line = line.rms * line.rms * (count - 2), sse_parabola = parabola.rms * parabola.rms * (count - 3);
  const double mean = [&] {
    double sum = 0;
    for (double v : s) sum += v / count;
    return sum;
  }();
  double total = 0;
  for (double v : s) total += (v - mean) * (v - mean);
  drop.r2 = 1 - sse_line / total;
  drop.qfi = std::max(0.0, sse_line - sse_parabola) / (std::max(sse_parabola, 1e-14 * total) / (count - 3));
  const double end = t[n - 1], whole = y[n - 1] - drop.start_px;
  double previous = drop.start_px;
  drop.odd = 0;
  for (int k = 1; k <= 4; ++k) {
    const double at = drop.begin_s + (end - drop.begin_s) * k / 4, now = k == 4 ? y[n - 1] : between(t, y, at);
    drop.odd = std::max(drop.odd, std::abs((now - previous) / whole - (2 * k - 1) / 16.0));
    previous = now;
  }
  return drop;
}

Findings drop_form(const Scene& scene) {
  Findings out;
  const auto refuse = [&](const std::string& object, const std::string& reason, const std::string& which = {}) {
    parts::refuse(out, {f2_exponent, f2_deviation, f2_qfi, f2_r2, f2_odd}, object, reason, which);
  };
  if (scene.input.tracks.empty()) refuse("", parts::no_tracks(scene));
  for (std::size_t i = 0; i < scene.input.tracks.size(); ++i) {
    const Track& track = scene.input.tracks[i];
    const Motion& m = scene.motions[i];
    const std::string reason = parts::excuse_of_swings(scene, i);
    if (!reason.empty()) {
      refuse(track.name, reason);
      continue;
    }
    bool any = false;
    for (std::size_t k = 0; k < m.runs.size(); ++k) {
      const Run& run = m.runs[k];
      const double dy = run.y.at(run.end_s) - run.y.at(run.begin_s);
      if (run.kind != Kind::flight || !(dy > 20 * m.sigma_px) || run.y.slope_at(run.end_s) < 0) continue;
      const std::size_t first = first_run(track, m, k);
      // Down again after a contact or a jump: not from rest. Or the slow beginning of what comes next.
      if (first == k && k > 0) continue;
      if (k + 1 < m.runs.size() && m.runs[k + 1].kind == Kind::flight && m.breaks[k].change == Change::release)
        continue;
      std::vector<double> t, y;
      // Frames before the first run are in: a curve that begins suddenly is cut there.
      for (std::size_t f = first == 0 ? 0 : m.runs[first].frames.front(); f < m.runs[first].frames.front(); ++f)
        if (track.whole[f] && std::isfinite(track.y_px[f])) t.push_back(track.time_s[f]), y.push_back(track.y_px[f]);
      for (std::size_t r = first; r <= k; ++r)
        for (std::size_t f : m.runs[r].frames) t.push_back(track.time_s[f]), y.push_back(track.y_px[f]);
      any = true;
      const double earliest = first == k ? t[0] - m.frame_s : t[0];
      const Drop drop = fit_drop(t, y, earliest, run.begin_s + 0.5 * run.length_s(), m.sigma_px);
      const std::string which = parts::frames_of(run);
      if (!drop.refusal.empty()) {
        refuse(track.name, drop.refusal, which);
        continue;
      }
      if (first == k) {  // does it fit better with a speed of its own at the beginning?
        const Polynomial thrown = fit_polynomial(t, y, 2);
        const double sse_thrown = thrown.rms * thrown.rms * static_cast<double>(t.size() - 3);
        if (drop.sse_px2 - sse_thrown > 16 * m.sigma_px * m.sigma_px && drop.sse_px2 > 2 * sse_thrown) {
          refuse(track.name, "moves already when it is first seen", which);
          continue;
        }
      }
      const auto give = [&](const Metric& metric, double value, double sigma = nan) {
        out.metrics.push_back(parts::with(metric, track.name, value, sigma, drop.n, which));
      };
      give(f2_exponent, drop.exponent, drop.exponent_sigma);
      give(f2_deviation, drop.exponent - 2, drop.exponent_sigma);
      give(f2_qfi, drop.qfi);
      give(f2_r2, drop.r2);
      give(f2_odd, drop.odd);
    }
    if (!any) refuse(track.name, "no drop from rest");
  }
  return out;
}

}  // namespace reel::metrics
