#include "metrics/motion.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/error.hpp"

namespace reel::metrics {
namespace {

constexpr double least_sigma_px = 0.01;
constexpr std::size_t least_frames = 6, shortest = 3;  // of a track or flight; of a piece

double acceleration(const Polynomial& p) { return p.c.size() > 2 ? 2 * p.c[2] : 0; }

/// Covariance from a known noise.
Polynomial with_noise(Polynomial p, double sigma_px) {
  for (std::size_t i = 0; i < p.covariance.size(); ++i) p.covariance[i] = sigma_px * sigma_px * p.unit_covariance[i];
  return p;
}

/// Noise of one coordinate, of all pieces that move.
double pooled_sigma_px(const std::vector<Piece>& pieces, double otherwise) {
  double sum = 0, freedom = 0;
  for (const Piece& p : pieces) {
    if (p.end - p.begin < 4 || (p.x.c.size() == 1 && p.y.c.size() == 1)) continue;
    for (const Polynomial* axis : {&p.x, &p.y}) {
      const double f = axis->n - static_cast<double>(axis->c.size());
      sum += f * axis->rms * axis->rms, freedom += f;
    }
  }
  return freedom >= 6 ? std::sqrt(sum / freedom) : otherwise;
}

/// Whether line and constant really have no acceleration: would they fit as well with that of the other side?
bool refuses(const Samples& s, const Piece& p, double a, double sigma_px) {
  std::vector<double> t, y, without;
  for (std::size_t i = p.begin; i < p.end; ++i) {
    t.push_back(s.t[i] - s.t[p.begin]);
    y.push_back(s.y[i]);
    without.push_back(s.y[i] - 0.5 * a * t.back() * t.back());
  }
  const double f = static_cast<double>(t.size()) - 2;
  const double worse = std::pow(fit_polynomial(t, without, 1).rms, 2) - std::pow(fit_polynomial(t, y, 1).rms, 2);
  return worse * f > 16 * sigma_px * sigma_px;
}

bool begins_or_ends_acceleration(const Samples& s, const Piece& left, const Piece& right, double sigma_px) {
  const bool left_is_calm = std::abs(acceleration(left.y)) < std::abs(acceleration(right.y));
  const Piece &calm = left_is_calm ? left : right, &other = left_is_calm ? right : left;
  if (std::abs(acceleration(calm.y)) > 0.25 * std::abs(acceleration(other.y)) || calm.end - calm.begin < 3)
    return false;
  const auto fastest = [&](const Piece& p) {
    return std::max(std::abs(p.y.slope_at(s.t[p.begin])), std::abs(p.y.slope_at(s.t[p.end - 1])));
  };
  if (fastest(calm) > std::max(0.15 * fastest(other), 5 * with_noise(calm.y, sigma_px).slope_sigma_at(s.t[calm.begin])))
    return false;
  return refuses(s, calm, acceleration(other.y), sigma_px);
}

/// What up to 7 samples on either side of a cut say together: one smooth motion with a step on top, one of a higher
/// degree without, or neither.
enum class Together { step, smooth, neither };
Together together(const Samples& s, const Piece& left, const Piece& right, double sigma_px, Break& b) {
  const std::size_t begin = std::max(left.begin, left.end - std::min<std::size_t>(left.end, 7));
  const std::size_t end = std::min(right.end, right.begin + 7);
  double with_step = 0, without = 0, freedom = 0, freedom_without = 0;
  std::array<double, 2> step{}, variance{};
  for (int axis = 0; axis < 2; ++axis) {
    const Polynomial &l = axis ? left.y : left.x, &r = axis ? right.y : right.x;
    const std::size_t degree = std::max(l.c.size(), r.c.size()) - 1, k = degree + 2;
    std::vector<double> t, at, design;
    for (std::size_t i = begin; i < end; ++i) {
      if (i >= left.end && i < right.begin) continue;
      const double u = (s.t[i] - b.time_s) / (s.t[end - 1] - s.t[begin]);
      double power = 1;
      for (std::size_t d = 0; d <= degree; ++d, power *= u) design.push_back(power);
      design.push_back(i >= right.begin ? 1 : 0);
      t.push_back(u);
      at.push_back((axis ? s.y : s.x)[i]);
    }
    if (at.size() < k + 2) return Together::neither;
    const std::size_t smooth_degree = std::min<std::size_t>(4, at.size() - 3);
    const Linear fit = fit_linear(design, k, at);
    const Polynomial smooth = fit_polynomial(t, at, static_cast<int>(smooth_degree));
    step[static_cast<std::size_t>(axis)] = fit.c.back();
    variance[static_cast<std::size_t>(axis)] = fit.unit_covariance.back();
    with_step += fit.sse, freedom += static_cast<double>(at.size() - k);
    const double f = static_cast<double>(at.size() - smooth.c.size());
    without += smooth.rms * smooth.rms * f, freedom_without += f;
  }
  const double noise = sigma_px * sigma_px;
  const bool fits = with_step < 9 * noise * freedom && std::isfinite(variance[0] + variance[1]);
  if (without < 9 * noise * freedom_without && (!fits || without < with_step + 16 * noise)) return Together::smooth;
  if (!fits) return Together::neither;
  b.step_px = step;
  const double size = std::hypot(step[0], step[1]);
  b.step_sigma_px = size > 0
                        ? sigma_px * std::sqrt(step[0] * step[0] * variance[0] + step[1] * step[1] * variance[1]) / size
                        : sigma_px;
  return Together::step;
}

/// What lies between two pieces; nothing when position and velocity go on.
bool break_between(const Samples& s, const Piece& left, const Piece& right, const Motion& motion, Break& b) {
  const double sigma = motion.sigma_px, dt = motion.frame_s;
  const double t0 = s.t[left.end - 1], t1 = s.t[right.begin], from = t0 - 0.75 * dt, to = t1 + 0.75 * dt;
  const Polynomial lx = with_noise(left.x, sigma), ly = with_noise(left.y, sigma), rx = with_noise(right.x, sigma),
                   ry = with_noise(right.y, sigma);
  const auto gap_x = [&](double t) { return rx.at(t) - lx.at(t); };
  const auto gap_y = [&](double t) { return ry.at(t) - ly.at(t); };
  const auto gap2 = [&](double t) { return std::pow(gap_x(t), 2) + std::pow(gap_y(t), 2); };
  // Where the two come nearest, and how near each coordinate comes by itself: floor and wall can be met in one frame.
  constexpr int steps = 64;
  double best = from, near_x = std::abs(gap_x(from)), near_y = std::abs(gap_y(from));
  for (int i = 1; i <= steps; ++i) {
    const double before = from + (to - from) * (i - 1) / steps, t = from + (to - from) * i / steps;
    if (gap2(t) < gap2(best)) best = t;
    near_x = gap_x(before) * gap_x(t) <= 0 ? 0 : std::min(near_x, std::abs(gap_x(t)));
    near_y = gap_y(before) * gap_y(t) <= 0 ? 0 : std::min(near_y, std::abs(gap_y(t)));
  }
  double low = std::max(from, best - (to - from) / steps), high = std::min(to, best + (to - from) / steps);
  for (int i = 0; i < 60; ++i) {  // thirds
    const double a = low + (high - low) / 3, c = high - (high - low) / 3;
    (gap2(a) < gap2(c) ? high : low) = gap2(a) < gap2(c) ? c : a;
  }
  const double t = 0.5 * (low + high), middle = 0.5 * (t0 + t1);
  const double doubt = std::sqrt(0.5 * (std::pow(lx.sigma_at(middle), 2) + std::pow(rx.sigma_at(middle), 2) +
                                        std::pow(ly.sigma_at(middle), 2) + std::pow(ry.sigma_at(middle), 2)));
  b.frame = s.frame[right.begin];
  b.before = {lx.slope_at(t), ly.slope_at(t)};
  b.after = {rx.slope_at(t), ry.slope_at(t)};
  const double radius = std::isfinite(motion.radius_px) ? motion.radius_px : 0;
  const double least_step = std::max(1.0, 0.05 * radius);
  if (std::hypot(near_x, near_y) > std::max(least_step, 6 * doubt)) {
    b.change = Change::jump;
    b.time_s = middle;
    b.step_px = {gap_x(middle), gap_y(middle)};
    b.step_sigma_px = std::sqrt(2.0) * doubt;
    // Pieces of a curve that is no parabola may miss each other where one smooth motion fits without a step.
    const Together both = together(s, left, right, sigma, b);
    if (both != Together::smooth &&
        std::hypot(b.step_px[0], b.step_px[1]) > std::max(least_step, 5 * b.step_sigma_px)) {
      b.before = {lx.slope_at(t0), ly.slope_at(t0)};
      b.after = {rx.slope_at(t1), ry.slope_at(t1)};
      b.x_px = lx.at(middle), b.y_px = ly.at(middle);
      return true;
    }
    b.step_px = {};
    b.step_sigma_px = 0;
  }
  b.time_s = t;
  b.x_px = lx.at(t), b.y_px = ly.at(t);
  const double change = std::hypot(b.after[0] - b.before[0], b.after[1] - b.before[1]);
  const double change_sigma = std::sqrt(std::pow(lx.slope_sigma_at(t), 2) + std::pow(rx.slope_sigma_at(t), 2) +
                                        std::pow(ly.slope_sigma_at(t), 2) + std::pow(ry.slope_sigma_at(t), 2));
  b.time_sigma_s = change > 0 ? std::min(std::sqrt(2.0) * doubt / change, t1 - t0) : t1 - t0;
  // What a smooth motion of this acceleration does within two frames is no contact.
  const double bend =
      std::max(std::hypot(acceleration(lx), acceleration(ly)), std::hypot(acceleration(rx), acceleration(ry)));
  const double speed = std::max(std::hypot(b.before[0], b.before[1]), std::hypot(b.after[0], b.after[1]));
  if (change > std::max({5 * change_sigma, 2 * bend * dt, 0.04 * speed, 0.03 / dt})) {
    b.change = Change::contact;
    return true;
  }
  b.change = Change::release;
  return begins_or_ends_acceleration(s, left, right, sigma);
}

/// Length of the fitted path.
double path_px(const Run& run, const Track& track) {
  double sum = 0;
  for (std::size_t i = 1; i < run.frames.size(); ++i) {
    const double a = track.time_s[run.frames[i - 1]], b = track.time_s[run.frames[i]];
    sum += std::hypot(run.x.at(b) - run.x.at(a), run.y.at(b) - run.y.at(a));
  }
  return sum;
}

/// What noise can feign: 3 sigma sqrt(frames). Less than half a pixel, or a twentieth of the radius, is no motion
/// either: the edge of a thing that stands still changes by as much when something passes.
double still_px(double sigma_px, std::size_t frames, double radius_px) {
  const double size = std::isfinite(radius_px) ? radius_px : 0;
  return std::max({3 * sigma_px * std::sqrt(static_cast<double>(frames)), 0.5, 0.05 * size});
}

Kind kind_of(const Run& run, const Track& track, double sigma_px, double radius_px) {
  const double path = path_px(run, track), T = run.length_s();
  if (path <= still_px(sigma_px, run.frames.size(), radius_px)) return Kind::rest;
  if (run.frames.size() < least_frames) return Kind::brief;
  const double a = acceleration(run.y), sigma_a = 2 * std::sqrt(run.y.covariance[8]);
  double speed = 0;
  for (const double t : {run.begin_s, run.end_s})
    speed = std::max(speed, std::hypot(run.x.slope_at(t), run.y.slope_at(t)));
  // Gravity points down: what speeds up or slows down along a flat path is no flight.
  const bool matters =
      std::abs(a) > 4 * sigma_a && std::abs(a) * T > 0.1 * speed && std::abs(a) > std::abs(acceleration(run.x));
  if (matters) return a > 0 ? Kind::flight : Kind::other;
  const double dy = run.y.at(run.end_s) - run.y.at(run.begin_s), size = std::isfinite(radius_px) ? radius_px : 0;
  return dy > 0.95 * path && dy > std::max(size, still_px(sigma_px, run.frames.size(), radius_px)) ? Kind::flight
                                                                                                   : Kind::uniform;
}

void require_whole_track(const Track& t) {
  const std::size_t n = t.time_s.size();
  bool fine = t.x_px.size() == n && t.y_px.size() == n && t.area_px.size() == n && t.whole.size() == n;
  for (std::size_t i = 0; i < n; ++i)
    fine = fine && std::isfinite(t.time_s[i]) && (i == 0 || t.time_s[i] > t.time_s[i - 1]);
  if (!fine)
    throw Error(Exit::input, fmt::format("track {}: not one entry for each of {} rising times", t.name, n), t.name,
                "give x_px, y_px, area_px and whole for every frame, NaN where the thing is not seen");
}

}  // namespace

Run run_of(const Track& track, std::vector<std::size_t> frames, double sigma_px) {
  REEL_CHECK(frames.size() >= 3, "a run of {} frames", frames.size());
  Run run;
  std::vector<double> t, x, y;
  for (std::size_t f : frames) t.push_back(track.time_s[f]), x.push_back(track.x_px[f]), y.push_back(track.y_px[f]);
  run.begin_s = t.front();
  run.end_s = t.back();
  run.x = fit_robust(t, x, 2, sigma_px);
  run.y = fit_robust(t, y, 2, sigma_px);
  for (Polynomial* p : {&run.x, &run.y}) {
    const Polynomial known = with_noise(*p, sigma_px);
    if (!(p->covariance[8] > known.covariance[8])) p->covariance = known.covariance;
  }
  run.frames = std::move(frames);
  return run;
}

Motion motion_of(const Track& track) {
  require_whole_track(track);
  Motion m;
  std::vector<double> radii, steps;
  for (std::size_t f = 0; f < track.time_s.size(); ++f) {
    if (track.whole[f] && track.area_px[f] > 0) radii.push_back(std::sqrt(track.area_px[f] / std::numbers::pi));
    if (f > 0) steps.push_back(track.time_s[f] - track.time_s[f - 1]);
  }
  m.radius_px = median(radii);
  m.frame_s = median(steps);
  const Samples s = whole_samples(track);
  if (s.size() < least_frames) {
    m.refusal = fmt::format("seen whole in {} frames, {} are needed", s.size(), least_frames);
    return m;
  }
  double sigma = std::max(local_sigma_px(s), least_sigma_px);
  std::vector<Piece> pieces = cut(s, sigma);
  sigma = std::max(pooled_sigma_px(pieces, sigma), least_sigma_px);
  pieces = cut(s, sigma);
  m.sigma_px = pooled_sigma_px(pieces, sigma);

  m.sigma_px = std::max(m.sigma_px, least_sigma_px);
  std::vector<std::size_t> frames;
  const auto end_run = [&] {
    m.runs.push_back(run_of(track, std::move(frames), m.sigma_px));
    frames = {};
  };
  const Piece* before = nullptr;
  for (const Piece& piece : pieces) {
    const auto first = s.frame.begin() + static_cast<std::ptrdiff_t>(piece.begin),
               last = s.frame.begin() + static_cast<std::ptrdiff_t>(piece.end);
    if (piece.end - piece.begin < shortest) {
      m.strays.insert(m.strays.end(), first, last);
      continue;
    }
    Break b;
    if (before != nullptr && break_between(s, *before, piece, m, b)) {
      end_run();
      m.breaks.push_back(b);
    }
    frames.insert(frames.end(), first, last);
    before = &piece;
  }
  if (before == nullptr) {
    m.refusal = "no three frames in a row agree with each other";
    return m;
  }
  end_run();
  for (Run& run : m.runs) {
    run.kind = kind_of(run, track, m.sigma_px, m.radius_px);
    m.path_px += path_px(run, track);
  }
  m.still = m.path_px <= still_px(m.sigma_px, s.size(), m.radius_px);  // jumps do not count: they are O2's
  return m;
}

}  // namespace reel::metrics
