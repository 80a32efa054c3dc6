#pragma once
// Laws of motion and of things, judged on tracks. Three questions are never mixed: FORM (is it a parabola, a sinusoid,
// a straight line), PARAMETER (is g, e, the period, the momentum right) and STABILITY (does it drift or spread). What
// cannot be judged is refused with the reason; nothing is left out in silence. Formulas: the manual, by the ids.
//
// F1 free fall:           a [px s-2], g_eff [m s-2], epsilon, tau, size [m]; form r2, residual [px], misfit; drift
// F2 form of a drop:      exponent, deviation (exponent - 2), qfi, r2, odd
// F3 sideways in flight:  ratio (a_x / a_y)
// F4 equal fall:          ratio (a_2 / a_1), deviation; slope (over many clips)
// F5 bounce:              e_v, e_h, e_t; consistency
// U1 uniform motion:      speed [px s-1]; form curvature, r2; drift, drift_across, rms
// C1 momentum:            momentum, ratio, momentum_r3
// C2 energy:              energy, energy_r3, restitution
// P1 pendulum:            period [s], amplitude [px], r2, beta [s-1]; period_ratio (of two)
// O1 permanence:          missing, permanence
// O2 continuity:          jump [px], teleports
// O3 identity:            births, deaths, splits, merges
// R1 size:                cv, range, growth, aspect_drift, pulse, pulse_hz [Hz]
// R2 solidity:            overlap_px [px], overlap (radii)
// S1 stillness:           still (0 or 1), path [px]
//
// Conventions. tau is relative to the expected gravity, size is the object's length if that held. Parameters of a
// motion that is no parabola (see the form) are means over it. C1.momentum: root of the squared change less the square
// that noise alone would give, 0 when that is more. C2.energy above 0 needs a source. O2.jump counts steps above 1 px,
// 0.05 radii and 5 sigma; teleports are those above the radius, three steps of motion and chi-square's 0.999.
// R1.pulse is the largest amplitude at any frequency: noise alone gives about 3 of its sigmas. P1.beta below 0 gains
// energy. Sigmas come from the noise of the positions (at least 0.01 px), without the doubt of the model.
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "metrics/metric.hpp"
#include "metrics/motion.hpp"
#include "metrics/track.hpp"

namespace reel::metrics {

struct LawInput {
  std::vector<Track> tracks;  ///< stabilised, in the frame of the shot's first picture
  std::int64_t width_px = 0, height_px = 0;
  Scale scale;                              ///< may be unknown
  double expected_gravity_m_per_s2 = 9.81;  ///< PhyWorld's parabola uses 2.5
  /// Per frame, this picture to the shot's first, row-major 3 x 3: says what is out of the picture when the camera
  /// moves. Empty: the camera stands.
  std::vector<std::array<double, 9>> to_first;
};

/// All laws, in the order of the table; per law by track, then by time. Deterministic. Throws Error (Exit::input) when
/// a track's vectors do not have one entry per frame, times do not rise, tracks have different times, the picture has
/// no size, the expected gravity is not above 0, or `to_first` has another length.
Findings measure_laws(const LawInput& input);

// ---- One law at a time.

/// A damped sinusoid theta0 + exp(-beta t) (C cos w t + D sin w t).
struct Swing {
  double center = nan, amplitude = nan;             ///< of the fit; amplitude: root mean square of the envelope
  double period_s = nan, period_sigma_s = nan;      ///< 2 pi / w
  double beta_per_s = nan, beta_sigma_per_s = nan;  ///< below 0: it gains energy
  double amplitude_sigma = nan, r2 = nan, rms = nan;
  double num_periods = nan;  ///< within the samples
  /// Period for small swings when `theta` is an angle in rad: period / (1 + amplitude^2 / 16).
  double small_period_s() const { return period_s / (1 + amplitude * amplitude / 16); }
  std::string refusal;
};

/// Least squares in (theta0, C, D) over a search in (w, beta): a grid of tenths of a period up to 0.9 of the Nyquist
/// rate, then all five together. Any unit. Refused with fewer than 10 finite values or a constant; throws Error (bug)
/// when times and values do not pair up.
Swing fit_swing(std::span<const double> t, std::span<const double> theta);

/// Tracks taken apart, for the functions below.
struct Scene {
  LawInput input;
  std::vector<Motion> motions;               ///< one per track
  std::vector<std::optional<Swing>> swings;  ///< of x, where the track swings to and fro for 1.25 periods or more
};
Scene scene_of(LawInput input);  ///< throws as `measure_laws`

Findings free_fall(const Scene& scene);         ///< F1: one set per flight
Findings drop_form(const Scene& scene);         ///< F2: one set per drop from rest
Findings sideways_inertia(const Scene& scene);  ///< F3: one per flight
Findings equal_fall(const Scene& scene);        ///< F4: tracks against each other, and flights of one track
Findings bounces(const Scene& scene);           ///< F5: one set per bounce; events "F5.impact"
Findings uniform_motion(const Scene& scene);    ///< U1; events "U1.kick": a change of velocity without floor or partner
Findings collisions(const Scene& scene);        ///< C1, C2: one set per collision; events "C1.collision"
Findings pendulum(const Scene& scene);          ///< P1
Findings permanence(const Scene& scene);        ///< O1; events "O1.vanish"
Findings continuity(const Scene& scene);        ///< O2; events "O2.teleport"
Findings identity(const Scene& scene);          ///< O3: per shot; the associator reports the events
Findings size_constancy(const Scene& scene);    ///< R1
Findings solidity(const Scene& scene);          ///< R2: one set per pair that comes near
Findings stillness(const Scene& scene);         ///< S1

/// Fall of y [px, down] from rest: y0 + c (t - t0)^p after t0, y0 before.
struct Drop {
  double exponent = nan, exponent_sigma = nan, begin_s = nan, start_px = nan;
  double qfi = nan;      ///< (SSE_lin - SSE_quad) / (SSE_quad / (N - 3)), models in (t - t0)^2: small for a parabola
  double r2 = nan;       ///< of y over (t - t0)^2
  double odd = nan;      ///< largest |share of the drop in a quarter of the time - 1/16, 3/16, 5/16, 7/16|
  double sse_px2 = nan;  ///< squared residuals of the power law, summed
  std::int64_t n = 0;    ///< samples after t0
  std::string refusal;
};
/// `t`, `y` finite; t0 is searched within [earliest_s, latest_s], the exponent within [0.5, 4.5]. `sigma_px`: least
/// noise.
Drop fit_drop(std::span<const double> t, std::span<const double> y, double earliest_s, double latest_s,
              double sigma_px);

/// Two drops of one clip: heights and times from rest to contact, any unit.
struct DropPair {
  double h1 = nan, h2 = nan, t1 = nan, t2 = nan;
};
/// F4 over many clips: slope of h1/h2 over t1^2/t2^2 by least squares with intercept ("F4.slope"; ideal 1). After
/// arXiv 2512.02016. Pairs with a value that is not above 0 are left out; refused with fewer than three.
Metric galileo_slope(std::span<const DropPair> pairs);

/// Two things that touch and part.
struct Collision {
  std::size_t a = 0, b = 0;  ///< tracks
  std::size_t frame = 0;     ///< first frame after it
  double time_s = nan;
  std::array<double, 2> at_px{};                           ///< where the rims meet
  std::array<double, 2> normal{};                          ///< unit vector from a to b at the contact
  std::array<std::array<double, 2>, 2> before{}, after{};  ///< velocities of a and b, px/s
  std::array<std::array<double, 2>, 2> before_sigma{}, after_sigma{};
  std::array<double, 2> radius_px{}, radius_sigma_px{};
  std::int64_t n = 0;  ///< frames the four velocities rest on
};
/// Pairs whose velocities change within 2 frames of each other while the gap between their rims is at most half the
/// mean radius; or one changes, along the line of centres, and the other is there and does not. Velocities: lines
/// through up to 8 frames (at least 3) of the runs on either side, after a run's own acceleration, taken to the moment
/// of contact.
std::vector<Collision> collisions_of(const Scene& scene);

}  // namespace reel::metrics
