#pragma once
// How a track moves: runs of smooth motion, and what separates them. Every law reads this.
#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "metrics/fit.hpp"
#include "metrics/track.hpp"

namespace reel::metrics {

/// What a run of smooth motion looks like.
enum class Kind {
  brief,    ///< fewer than 6 frames: nothing is said
  rest,     ///< does not move
  uniform,  ///< moves, without an acceleration that matters or along its path
  flight,   ///< accelerates downwards (more than sideways, by a tenth of its speed), or goes straight down
  other     ///< accelerates upwards in the same sense
};

/// Smooth motion between two breaks. Quadratics are robust fits of all its frames, as x(t), y(t) in px; their
/// covariances rest on the larger of their own residual and the track's noise.
struct Run {
  std::vector<std::size_t> frames;  ///< that the fits rest on, rising
  double begin_s = 0, end_s = 0;    ///< times of the first and the last of them
  Polynomial x, y;                  ///< degree 2 (three frames: exact)
  Kind kind = Kind::brief;
  double length_s() const { return end_s - begin_s; }
};

/// How one run passes into the next.
enum class Change {
  contact,  ///< the velocity changes at one moment, the position does not
  release,  ///< y begins or ceases to accelerate; nothing jumps
  jump      ///< the position changes at one moment
};

struct Break {
  Change change = Change::contact;
  std::size_t frame = 0;                    ///< first frame of the run after it
  double time_s = 0, time_sigma_s = 0;      ///< where the two runs meet; for a jump the middle between its two frames
  double x_px = 0, y_px = 0;                ///< there, before it
  std::array<double, 2> before{}, after{};  ///< velocity there, px/s
  std::array<double, 2> step_px{};          ///< of a jump: what is left when both sides follow one smooth motion
  double step_sigma_px = 0;                 ///< of the length of the step
};

/// A track taken apart. `runs` has one entry more than `breaks`, or is empty together with a reason in `refusal`.
struct Motion {
  double sigma_px = nan;   ///< noise of one coordinate, from what is left over of the pieces
  double radius_px = nan;  ///< sqrt(area / pi), median over the frames where the thing is whole; NaN without areas
  double frame_s = nan;    ///< median interval
  double path_px = 0;      ///< length of the fitted path, without jumps
  bool still = false;      ///< path no longer than 3 sigma sqrt(frames): no law of motion can be judged
  std::vector<Run> runs;
  std::vector<Break> breaks;
  std::vector<std::size_t> strays;  ///< frames, one or two in a row, that fit neither what is before nor what is after
  std::string refusal;
};

/// Takes a track apart, using the frames in which it is seen whole.
/// Least cost, over all ways to cut it, of sum (residual / sigma)^2 + ln(2 n) (coefficients + 3 cuts): the Bayesian
/// information criterion, where each coordinate of each piece is constant, linear or quadratic, and a piece has at
/// least 3 frames. Cuts across which position and velocity go on are undone (curves that are no parabolas stay whole).
/// sigma: from residuals of local quadratics over 5 frames while the thing moves, then from the pieces; at least 0.01
/// px, for things at rest show the same pixels again and again. Refuses with fewer than 6 frames.
Motion motion_of(const Track& track);

/// The same, `frames` of the track only, as one run without breaks: for curves that are known to be smooth.
Run run_of(const Track& track, std::vector<std::size_t> frames, double sigma_px);

// Parts of `motion_of`.

/// Positions in the frames where a thing is seen whole.
struct Samples {
  std::vector<std::size_t> frame;
  std::vector<double> t, x, y;
  std::size_t size() const { return t.size(); }
};
Samples whole_samples(const Track& track);

/// Samples [begin, end) and the degrees of their polynomials.
struct Piece {
  std::size_t begin = 0, end = 0;
  Polynomial x, y;
};
/// The cut of least cost; O(n^2) sums with the times taken from each piece's first sample. Pieces have at most 400
/// samples.
std::vector<Piece> cut(const Samples& samples, double sigma_px);

/// Noise of one coordinate from local quadratics over 5 samples: lower quartile of the squared residuals of the windows
/// that move by more than half a pixel (of all, when those are fewer than three), over that of chi-square with 4
/// degrees of freedom. Windows across contacts do not count as long as a quarter has none.
double local_sigma_px(const Samples& samples);

}  // namespace reel::metrics
