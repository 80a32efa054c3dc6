#pragma once
// How one picture maps to another, from pairs of points. Not for use outside of camera and wobble.
#include <cstdint>
#include <span>
#include <vector>

#include "metrics/background.hpp"

namespace reel::metrics {

/// A point in one picture and the same in another, in px. `weight` makes up for crowded places.
struct Pair {
  double x = 0, y = 0, u = 0, v = 0;
  double weight = 1;
};

enum class CameraModel { none, similarity, affine, homography };

/// Weights 1 / (points of the same cell of an 8 x 8 grid over the picture, by x and y). Returns the occupied cells.
int weigh_by_cell(std::span<Pair> pairs, double width_px, double height_px);

/// Distance between where m takes (x, y) and (u, v); infinite where m is undefined.
double transfer_px(const Matrix3& m, const Pair& p);

/// Largest set of pairs that one similarity explains to `threshold_px`, by 200 draws of two pairs (Philox, keyed by
/// `seed`; the first candidate is "nothing moves"), each scored by the weighted sum of min(r^2, threshold^2). Returns
/// the similarity; with fewer than two pairs the identity.
Matrix3 ransac_similarity(std::span<const Pair> pairs, double threshold_px, std::uint64_t seed);

/// Least squares with Tukey's biweight (4.685 robust sigmas, at least 0.05 px), from `start`; at most 12 rounds.
/// Transfer error in the second picture. The homography by Gauss-Newton. Sums in index order, coordinates centred and
/// scaled.
Matrix3 fit_robust(CameraModel model, std::span<const Pair> pairs, const Matrix3& start);

/// 1.4826 times the median of r / 1.1774 (the median of a two-dimensional normal's length): sigma of one coordinate.
double robust_sigma_px(std::span<const Pair> pairs, const Matrix3& m);

/// Shift, turn and log of the scale of m's best similarity about `(cx, cy)`: from its derivative there.
struct Similarity {
  double dx = 0, dy = 0, theta = 0, log_scale = 0;
};
Similarity similarity_of(const Matrix3& m, double cx, double cy);

Matrix3 product(const Matrix3& a, const Matrix3& b);  ///< a after b

/// Fundamental matrix F with (u, v, 1) F (x, y, 1)' = 0: normalised eight points inside `draws` draws (Philox), the
/// best by the sum of clipped squared Sampson distances, then refined by reweighted least squares. Fewer than 16 pairs:
/// zeros.
Matrix3 ransac_fundamental(std::span<const Pair> pairs, double threshold_px, int draws, std::uint64_t seed);

/// Sampson distance: first-order distance of the pair, as a point of four coordinates, from the epipolar constraint.
double sampson_px(const Matrix3& f, const Pair& p);

}  // namespace reel::metrics
