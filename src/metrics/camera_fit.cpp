#include "metrics/camera_fit.hpp"

#include <Random123/philox.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <opencv2/core.hpp>

#include "core/error.hpp"
#include "metrics/fit.hpp"

namespace reel::metrics {
namespace {

constexpr double infinite = std::numeric_limits<double>::infinity();

/// Uniform numbers 0 .. n-1 that depend on (seed, draw, which) alone.
std::size_t drawn(std::size_t n, std::uint64_t seed, int draw, int which) {
  const auto bits = r123::Philox4x32()({{static_cast<std::uint32_t>(draw), static_cast<std::uint32_t>(which), 0, 0}},
                                       {{static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)}})[0];
  return static_cast<std::size_t>((static_cast<std::uint64_t>(bits) * n) >> 32);
}

/// Centre and scale, so that the normal equations have numbers near 1.
struct Frame2 {
  double cx = 0, cy = 0, scale = 1;
  Matrix3 to() const { return {1 / scale, 0, -cx / scale, 0, 1 / scale, -cy / scale, 0, 0, 1}; }
  Matrix3 from() const { return {scale, 0, cx, 0, scale, cy, 0, 0, 1}; }
};

Frame2 frame_of(std::span<const Pair> pairs, bool second) {
  Frame2 f;
  const auto n = static_cast<double>(pairs.size());
  for (const Pair& p : pairs) f.cx += second ? p.u : p.x, f.cy += second ? p.v : p.y;
  f.cx /= n, f.cy /= n;
  double spread = 0;
  for (const Pair& p : pairs)
    spread += second ? std::hypot(p.u - f.cx, p.v - f.cy) : std::hypot(p.x - f.cx, p.y - f.cy);
  f.scale = std::max(spread / n / std::sqrt(2.0), 1e-6);
  return f;
}

/// Solves A x = b for a symmetric positive definite A [n, n]; false when it is not.
template <std::size_t n>
bool solve(std::array<double, n * n>& a, std::array<double, n>& b) {
  for (std::size_t j = 0; j < n; ++j) {
    double d = a[j * n + j];
    for (std::size_t k = 0; k < j; ++k) d -= a[j * n + k] * a[j * n + k];
    if (!(d > 1e-14 * std::abs(a[j * n + j])) || !std::isfinite(d)) return false;
    a[j * n + j] = std::sqrt(d);
    for (std::size_t i = j + 1; i < n; ++i) {
      double s = a[i * n + j];
      for (std::size_t k = 0; k < j; ++k) s -= a[i * n + k] * a[j * n + k];
      a[i * n + j] = s / a[j * n + j];
    }
  }
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t k = 0; k < i; ++k) b[i] -= a[i * n + k] * b[k];
    b[i] /= a[i * n + i];
  }
  for (std::size_t i = n; i-- > 0;) {
    for (std::size_t k = i + 1; k < n; ++k) b[i] -= a[k * n + i] * b[k];
    b[i] /= a[i * n + i];
  }
  return true;
}

/// One Gauss-Newton step of n parameters on the weighted transfer error in normalised coordinates; false when singular.
/// Rows of the derivative come from `rows(x, y, u, v, du, dv)`, u and v being where the model puts (x, y) now.
template <std::size_t n, class Rows, class Apply>
bool gauss_newton(std::span<const Pair> q, const std::vector<double>& w, const Matrix3& m, Rows rows, Apply apply) {
  std::array<double, n * n> a{};
  std::array<double, n> b{}, du{}, dv{};
  for (std::size_t i = 0; i < q.size(); ++i) {
    if (!(w[i] > 0)) continue;
    const auto at = mapped(m, q[i].x, q[i].y);
    if (!std::isfinite(at[0])) continue;
    const double depth = m[6] * q[i].x + m[7] * q[i].y + m[8];
    rows(q[i].x, q[i].y, at[0], at[1], depth, du, dv);
    const double ru = q[i].u - at[0], rv = q[i].v - at[1];
    for (std::size_t j = 0; j < n; ++j) {
      b[j] += w[i] * (du[j] * ru + dv[j] * rv);
      for (std::size_t k = 0; k <= j; ++k) a[j * n + k] += w[i] * (du[j] * du[k] + dv[j] * dv[k]);
    }
  }
  for (std::size_t j = 0; j < n; ++j)
    for (std::size_t k = j + 1; k < n; ++k) a[j * n + k] = a[k * n + j];
  if (!solve<n>(a, b)) return false;
  apply(b);
  return true;
}

bool step(CameraModel model, std::span<const Pair> q, const std::vector<double>& w, Matrix3& m) {
  if (model == CameraModel::similarity)
    return gauss_newton<4>(
        q, w, m,
        [](double x, double y, double, double, double, auto& du, auto& dv) {
          du = {x, -y, 1, 0};
          dv = {y, x, 0, 1};
        },
        [&](const auto& d) { m[0] += d[0], m[4] += d[0], m[1] -= d[1], m[3] += d[1], m[2] += d[2], m[5] += d[3]; });
  if (model == CameraModel::affine)
    return gauss_newton<6>(
        q, w, m,
        [](double x, double y, double, double, double, auto& du, auto& dv) {
          du = {x, y, 1, 0, 0, 0};
          dv = {0, 0, 0, x, y, 1};
        },
        [&](const auto& d) {
          for (std::size_t i = 0; i < 6; ++i) m[i] += d[i];
        });
  return gauss_newton<8>(
      q, w, m,
      [](double x, double y, double u, double v, double depth, auto& du, auto& dv) {
        const double s = 1 / depth;
        du = {x * s, y * s, s, 0, 0, 0, -u * x * s, -u * y * s};
        dv = {0, 0, 0, x * s, y * s, s, -v * x * s, -v * y * s};
      },
      [&](const auto& d) {
        for (std::size_t i = 0; i < 8; ++i) m[i] += d[i];
      });
}

Matrix3 similarity_through(const Pair& p, const Pair& q) {
  const double dx = q.x - p.x, dy = q.y - p.y, du = q.u - p.u, dv = q.v - p.v, square = dx * dx + dy * dy;
  const double a = (dx * du + dy * dv) / square, b = (dx * dv - dy * du) / square;
  return {a, -b, p.u - a * p.x + b * p.y, b, a, p.v - b * p.x - a * p.y, 0, 0, 1};
}

std::vector<Pair> moved_to(std::span<const Pair> pairs, const Frame2& from, const Frame2& to) {
  std::vector<Pair> out(pairs.begin(), pairs.end());
  for (Pair& p : out) {
    p.x = (p.x - from.cx) / from.scale, p.y = (p.y - from.cy) / from.scale;
    p.u = (p.u - to.cx) / to.scale, p.v = (p.v - to.cy) / to.scale;
  }
  return out;
}

double tukey(double r, double c) { return r < c ? (1 - r * r / (c * c)) * (1 - r * r / (c * c)) : 0; }

double median_of(std::vector<double>& v) {
  if (v.empty()) return infinite;
  const auto middle = v.begin() + static_cast<std::ptrdiff_t>(v.size() / 2);
  std::nth_element(v.begin(), middle, v.end());
  return *middle;
}

}  // namespace

int weigh_by_cell(std::span<Pair> pairs, double width_px, double height_px) {
  constexpr int cells = 8;
  std::array<int, cells * cells> count{};
  const auto cell = [&](const Pair& p) {
    const int i = std::clamp(static_cast<int>(cells * p.x / width_px), 0, cells - 1);
    const int j = std::clamp(static_cast<int>(cells * p.y / height_px), 0, cells - 1);
    return static_cast<std::size_t>(j * cells + i);
  };
  for (const Pair& p : pairs) ++count[cell(p)];
  for (Pair& p : pairs) p.weight = 1.0 / count[cell(p)];
  return static_cast<int>(std::count_if(count.begin(), count.end(), [](int n) { return n > 0; }));
}

double transfer_px(const Matrix3& m, const Pair& p) {
  const auto at = mapped(m, p.x, p.y);
  const double r = std::hypot(at[0] - p.u, at[1] - p.v);
  return std::isfinite(r) ? r : infinite;
}

Matrix3 ransac_similarity(std::span<const Pair> pairs, double threshold_px, std::uint64_t seed) {
  const double square = threshold_px * threshold_px;
  const auto cost = [&](const Matrix3& m) {
    double sum = 0;
    for (const Pair& p : pairs) {
      const double du = m[0] * p.x + m[1] * p.y + m[2] - p.u, dv = m[3] * p.x + m[4] * p.y + m[5] - p.v;
      sum += p.weight * std::min(du * du + dv * dv, square);
    }
    return sum;
  };
  Matrix3 best = identity3;
  if (pairs.size() < 2) return best;
  double lowest = cost(best);
  for (int draw = 0; draw < 200; ++draw) {
    const Pair &p = pairs[drawn(pairs.size(), seed, draw, 0)], &q = pairs[drawn(pairs.size(), seed, draw, 1)];
    // Neighbours say little about turn and scale.
    if (std::hypot(p.x - q.x, p.y - q.y) < 8 * threshold_px) continue;
    const Matrix3 m = similarity_through(p, q);
    const double c = cost(m);
    if (c < lowest) lowest = c, best = m;
  }
  return best;
}

double robust_sigma_px(std::span<const Pair> pairs, const Matrix3& m) {
  std::vector<double> r;
  for (const Pair& p : pairs) r.push_back(transfer_px(m, p));
  return median_of(r) / 1.1774;
}

Matrix3 fit_robust(CameraModel model, std::span<const Pair> pairs, const Matrix3& start) {
  if (model == CameraModel::none || pairs.size() < 4) return start;
  const Frame2 from = frame_of(pairs, false), to = frame_of(pairs, true);
  const std::vector<Pair> q = moved_to(pairs, from, to);
  Matrix3 m = product(to.to(), product(start, from.from()));
  for (double& e : m) e /= m[8];
  std::vector<double> w(q.size()), r(q.size());
  double before = infinite;
  for (int round = 0; round < 12; ++round) {
    for (std::size_t i = 0; i < q.size(); ++i) r[i] = transfer_px(m, q[i]) * to.scale;
    std::vector<double> copy = r;
    const double c = 4.685 * std::max(median_of(copy) / 1.1774, 0.05);
    double sum = 0, weights = 0;
    for (std::size_t i = 0; i < q.size(); ++i) {
      w[i] = q[i].weight * tukey(r[i], c);
      sum += w[i] > 0 ? w[i] * r[i] * r[i] : 0, weights += w[i];
    }
    const double now = sum / weights;
    if (!(weights > 0) || std::abs(now - before) <= 1e-6 * now + 1e-12) break;
    before = now;
    const Matrix3 old = m;
    if (!step(model, q, w, m)) {
      m = old;
      break;
    }
  }
  m = product(to.from(), product(m, from.to()));
  for (double& e : m) e /= m[8];
  for (const double e : m)
    if (!std::isfinite(e)) return start;
  return m;
}

Similarity similarity_of(const Matrix3& m, double cx, double cy) {
  const auto at = mapped(m, cx, cy);
  const double depth = m[6] * cx + m[7] * cy + m[8];
  const double a = (m[0] - at[0] * m[6]) / depth, b = (m[1] - at[0] * m[7]) / depth;
  const double c = (m[3] - at[1] * m[6]) / depth, d = (m[4] - at[1] * m[7]) / depth;
  const double re = 0.5 * (a + d), im = 0.5 * (c - b);
  return {at[0] - cx, at[1] - cy, std::atan2(im, re), std::log(std::hypot(re, im))};
}

Matrix3 product(const Matrix3& a, const Matrix3& b) {
  Matrix3 m{};
  for (std::size_t i = 0; i < 3; ++i)
    for (std::size_t j = 0; j < 3; ++j)
      for (std::size_t k = 0; k < 3; ++k) m[3 * i + j] += a[3 * i + k] * b[3 * k + j];
  return m;
}

double sampson_px(const Matrix3& f, const Pair& p) {
  const double a = f[0] * p.x + f[1] * p.y + f[2], b = f[3] * p.x + f[4] * p.y + f[5];
  const double c = f[0] * p.u + f[3] * p.v + f[6], d = f[1] * p.u + f[4] * p.v + f[7];
  const double e = p.u * a + p.v * b + f[6] * p.x + f[7] * p.y + f[8],
               length = std::sqrt(a * a + b * b + c * c + d * d);
  return length > 0 ? std::abs(e) / length : infinite;
}

namespace {

/// Smallest eigenvector of the weighted sum of the constraints' outer products, made singular, in normalised
/// coordinates.
Matrix3 eight_point(std::span<const Pair> q, std::span<const double> weights) {
  cv::Matx<double, 9, 9> a = cv::Matx<double, 9, 9>::zeros();
  for (std::size_t i = 0; i < q.size(); ++i) {
    if (!(weights[i] > 0)) continue;
    const Pair& p = q[i];
    const double row[9] = {p.u * p.x, p.u * p.y, p.u, p.v * p.x, p.v * p.y, p.v, p.x, p.y, 1};
    for (int j = 0; j < 9; ++j)
      for (int k = 0; k <= j; ++k) a(j, k) += weights[i] * row[j] * row[k];
  }
  for (int j = 0; j < 9; ++j)
    for (int k = j + 1; k < 9; ++k) a(j, k) = a(k, j);
  cv::Mat values, vectors;
  cv::eigen(a, values, vectors);
  cv::Matx33d f;
  for (int j = 0; j < 9; ++j) f.val[j] = vectors.at<double>(8, j);
  cv::Matx31d w;
  cv::Matx33d u, vt;
  cv::SVD::compute(f, w, u, vt);
  f = u * cv::Matx33d::diag({w(0), w(1), 0}) * vt;
  Matrix3 out;
  std::copy(f.val, f.val + 9, out.begin());
  return out;
}

}  // namespace

Matrix3 ransac_fundamental(std::span<const Pair> pairs, double threshold_px, int draws, std::uint64_t seed) {
  if (pairs.size() < 16) return {};
  const Frame2 from = frame_of(pairs, false), to = frame_of(pairs, true);
  const std::vector<Pair> q = moved_to(pairs, from, to);
  const Matrix3 left = to.to(), right = from.to();
  const auto in_px = [&](const Matrix3& f) {  // transposed left, f, right
    return product({left[0], left[3], left[6], left[1], left[4], left[7], left[2], left[5], left[8]},
                   product(f, right));
  };
  const auto cost = [&](const Matrix3& f) {
    double sum = 0;
    for (const Pair& p : pairs) {
      const double r = sampson_px(f, p);
      sum += p.weight * std::min(r * r, threshold_px * threshold_px);
    }
    return sum;
  };
  Matrix3 best{};
  double lowest = infinite;
  std::vector<double> weights(q.size(), 1);
  const auto consider = [&](const Matrix3& candidate) {
    const double c = cost(candidate);
    if (c < lowest) lowest = c, best = candidate;
  };
  consider(in_px(eight_point(q, weights)));
  std::array<Pair, 8> some;
  const std::array<double, 8> ones{1, 1, 1, 1, 1, 1, 1, 1};
  for (int draw = 0; draw < draws; ++draw) {
    for (int j = 0; j < 8; ++j) some[static_cast<std::size_t>(j)] = q[drawn(q.size(), seed, draw, j)];
    consider(in_px(eight_point(some, ones)));
  }
  for (int round = 0; round < 5; ++round) {  // weights turn the algebraic error into Sampson's
    for (std::size_t i = 0; i < q.size(); ++i) {
      const Matrix3& f = best;
      const Pair& p = pairs[i];
      const double a = f[0] * p.x + f[1] * p.y + f[2], b = f[3] * p.x + f[4] * p.y + f[5];
      const double c = f[0] * p.u + f[3] * p.v + f[6], d = f[1] * p.u + f[4] * p.v + f[7];
      weights[i] = p.weight * tukey(sampson_px(f, p), threshold_px) / std::max(a * a + b * b + c * c + d * d, 1e-300);
    }
    const double scale = *std::max_element(weights.begin(), weights.end());
    if (!(scale > 0) || !std::isfinite(scale)) break;
    for (double& w : weights) w /= scale;
    consider(in_px(eight_point(q, weights)));
  }
  return best;
}

}  // namespace reel::metrics
