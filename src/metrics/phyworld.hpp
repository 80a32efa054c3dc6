#pragma once
// PhyWorld (Kang et al., arXiv 2411.02385): how far the balls of a film are from the law, in metres of its 10 m world.
//
// The paper prints e = mean over balls and frames of |v - v_true| (`velocity` below). Its evaluator, and its published
// numbers, use the time means instead (`mean_velocity`), find a ball as the mean of its coloured pixels, and divide by
// the picture's width where the renderer had multiplied by width - 1: at 256 pixels this alone is an error of 1/256 of
// the speed, 0.0098 m/s on average, which the paper shows as the floor of true films (0.0099). `phyworld_compat` has
// all three; the number to trust is `velocity` from sub-pixel tracks at the right scale.
#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/frames.hpp"
#include "metrics/metric.hpp"
#include "metrics/track.hpp"

namespace reel::metrics {

/// One ball: where the film shows it and where it should be.
struct PhyWorldBall {
  Track film, truth;  ///< one frame for each other; `truth.whole` says in which frames it is fully in view
  double mass = nan;  ///< of collisions, in any unit; PhyWorld: the radius squared, m2
};

struct PhyWorldOptions {
  double film_m_per_px = nan, truth_m_per_px = nan;  ///< of the two tracks
  double dt_s = 0.1;           ///< between frames in the world, whatever the rate at which the film is shown
  std::int64_t num_given = 3;  ///< conditioning frames at the start: not judged
  bool collision = false;      ///< judge only what comes after the impact (no gravity), and momentum and energy
  bool compat = false;         ///< as the published evaluator: a lost ball is put at the edge of the world; colliding
                               ///< balls are judged along x only, their radius in the first five frames only
  double world_m = 10;         ///< width of the world
};

/// Options of the published evaluator for a picture of `width_px`: film at 10 m / width, truth at 10 m / (width - 1).
PhyWorldOptions phyworld_compat(std::int64_t width_px);

/// Track of a ball as the published evaluator sees it: mean position and number of the pixels whose own channel is
/// above 127 and whose two others are below. NaN where there are none. `colour`: 0 red, 2 blue (the channel).
/// Reads the film from its first frame. Throws Error (Exit::input) for a film without frames.
Track phyworld_hard_track(FrameSource& film, int colour);

/// Errors before and after the impact, mean over pairs of frames.
struct PhyWorldLaw {
  double momentum = nan;  ///< |sum m v - p0|, in the unit of mass times m/s
  double energy = nan;    ///< |sum m v^2 / 2 - E0|, in the unit of mass times m2/s2
  std::int64_t num_pairs = 0;
};

struct PhyWorld {
  std::int64_t num_balls = 0;
  std::int64_t num_frames = 0;      ///< judged: generated, every ball truly in full view; collision: after the impact
  std::int64_t num_lost = 0;        ///< of `num_frames` times balls: not seen in the film
  std::int64_t num_velocities = 0;  ///< ball and pair of following frames that `velocity` rests on
  double velocity = nan;            ///< mean of |v - v_true|, Euclidean, m/s
  double mean_velocity_x = nan, mean_velocity_y = nan;  ///< |mean v - mean v_true|, mean over balls, m/s
  double mean_velocity = nan;                           ///< their sum
  std::int64_t num_sized = 0;      ///< frames that the radius is followed over: generated, every ball in full view
  double radius_drift_m = nan;     ///< largest minus smallest radius from the area, of the worst ball
  std::int64_t impact_frame = -1;  ///< first frame of the pair in which the truth's velocities jump; -1: none
  PhyWorldLaw before, after;       ///< collisions only
  std::vector<double> time_s, velocity_error;  ///< per frame: mean over balls of |v - v_true| up to it; NaN: not judged
};

/// Judges the balls of one clip. Velocities are differences of following frames over `dt_s`. The impact is the first
/// pair of true frames in which a ball's velocity differs by more than 0.1 m/s from the pair before; that pair is left
/// out. p0 and E0 are the truth's means before it. Without `compat` a pair with a lost ball is left out and counted.
/// Sums run over frames, then balls. Throws Error (Exit::input) without balls, for tracks of different length, scales
/// or `dt_s` that are not above 0.
PhyWorld phyworld(std::span<const PhyWorldBall> balls, const PhyWorldOptions& options);

/// Metrics "PW.velocity", "PW.mean_velocity", "PW.radius_drift", "PW.lost" and, for collisions, "PW.momentum_before",
/// "PW.momentum_after", "PW.energy_before", "PW.energy_after", and the trace "PW.velocity". With `compat` every id ends
/// in "_compat": the two kinds of number are not to be compared. Masses in m2.
Findings phyworld_findings(const PhyWorld& result, const PhyWorldOptions& options);

// What a film is to be compared with: two ways to go on from the given frames. Both take the truth (or a measured
// track), use its first `num_given` frames only, and keep area and axes of the last of them; `whole` is the truth's.

/// Nothing moves any more. Throws Error (Exit::input) when the last given frame does not exist.
Track phyworld_copy_last(const Track& track, std::int64_t num_given);

/// The exact law of one ball: constant acceleration (x right, y down, px/s2; zeros: uniform motion), velocity and
/// position by least squares from the given frames. Throws Error (Exit::input) with fewer than two of them seen.
Track phyworld_extrapolate(const Track& track, std::int64_t num_given, double dt_s,
                           std::array<double, 2> acceleration_px_per_s2 = {0, 0});

/// The exact law of two balls: uniform motion, one frictionless elastic impact where the distance of the centres is
/// the sum of the radii, uniform motion. Throws Error (Exit::input) as above and for radii or masses not above 0.
std::array<Track, 2> phyworld_extrapolate_impact(const std::array<Track, 2>& tracks, std::int64_t num_given,
                                                 double dt_s, std::array<double, 2> radius_px,
                                                 std::array<double, 2> mass);

}  // namespace reel::metrics
