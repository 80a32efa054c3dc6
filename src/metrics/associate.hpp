#pragma once
// From what is seen in every frame to things that last: which detection is which object.
#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "metrics/detect.hpp"
#include "metrics/fit.hpp"
#include "metrics/track.hpp"

namespace reel::metrics {

/// chi-square with 2 degrees of freedom, quantile 0.999: -2 ln 0.001.
inline constexpr double gate_chi2 = 13.815510557964274;

struct AssociateOptions {
  std::int64_t most_missing = 16;  ///< a thing that is not seen for more frames than this is gone for good
  std::int64_t least_seen = 1;     ///< tracks seen in fewer frames are dropped and counted: noise of the motion mask
  std::vector<std::string> names;  ///< of Detection::object
};

/// Tracks in the order in which they began, and what happened to them.
struct Association {
  std::vector<Track> tracks;
  std::vector<Event> events;     ///< by frame
  std::int64_t num_dropped = 0;  ///< tracks seen in fewer than `least_seen` frames; their events are dropped too
};

/// Follows things through one shot. Per track and axis a Kalman filter with constant acceleration (white jerk, as large
/// as fits the thing's size) says where it should be; it only associates: a track holds the centroids as measured.
/// Every frame the assignment of most pairs within the gate that costs least is taken (Hungarian method; cost
/// d^2 + ln det S + difference in colour and size). Then second looks at what is left over:
///  - one thing and one detection near each other that agree in colour and size: a bounce, the filter starts anew;
///  - the same, far away: the thing has jumped, "O2.teleport" (d^2 above the gate and more than its radius and three
///    times its last step; not where it comes out from behind another);
///  - one thing and several detections near it, as large as the thing together: "O3.split";
///  - two things predicted inside one detection too large for either: "O3.merge"; both are not seen until they are
///  apart.
/// Tracks last through at most `most_missing` frames without a sight (NaN entries of one track), whatever is gone
/// longer is dead. Events: "O3.birth" and "O3.death" (first frame without it) away from the rim of the picture and from
/// the first frame, "O3.split" for a birth out of another thing and for things that come apart, "O3.merge",
/// "O2.teleport". Coming in or going out over the rim is no event. Where tracks overlap and an area strays by more than
/// 3 % from the track's median, or while merged, `whole` is 0.
class Associator {
 public:
  /// Size of the picture (of the frames; for the borders).
  Associator(std::int64_t width_px, std::int64_t height_px, AssociateOptions options = {});

  /// What is seen in the next frame. `to_first`, frame -> first frame: detections come in the frame's own coordinates
  /// and tracks are kept in those of the first. Throws Error (Exit::input) when time does not rise.
  void add(double time_s, std::span<const Detection> detections, const Matrix3& to_first = identity3);

  /// Ends the shot.
  Association finish();

 private:
  /// Position, speed and acceleration along one axis, and their covariance 00 01 02 11 12 22.
  struct Axis {
    std::array<double, 3> state{};
    std::array<double, 6> covariance{};
  };
  struct Sight {
    Detection at;                   // in the first frame's coordinates
    double frame_x_px, frame_y_px;  // in its own
  };
  struct Thing {
    Axis x, y;
    std::vector<std::optional<Sight>> seen;  // per frame of the shot since `begin`
    std::int64_t begin = 0, num_seen = 0;
    std::int64_t last = 0;                             // frame in which it was last seen or known to be hidden
    double radius_px = 1, area_px = nan, step_px = 0;  // last seen whole; length of the last step, per frame
    std::array<double, 3> rgb{nan, nan, nan};
    int object = -1;
    bool dead = false;
    std::vector<Event> events;
  };
  /// Things inside one detection, and where that was.
  struct Group {
    std::vector<std::size_t> members;
    Box region;
    std::int64_t since = 0;
  };

  void predict(Thing& thing, double dt) const;
  void restart(Thing& thing) const;
  void correct(Thing& thing, const Detection& d) const;
  std::int64_t last_sight(const Thing& thing) const;
  void see(std::size_t i, std::size_t j, bool again);
  void come_apart();
  void merge();
  void match();
  void look_again(bool near);
  bool half_hidden(std::size_t i, std::int64_t f, const Detection& d) const;
  void say(Thing& thing, const char* id, std::string text, std::int64_t frame, double x, double y) const;
  bool over_rim(double x_px, double y_px, double radius_px) const;
  bool comes_or_goes(const Thing& thing, bool goes) const;
  Track track(const Thing& thing) const;

  std::int64_t width_px_, height_px_;
  AssociateOptions options_;
  std::vector<double> time_s_;
  std::vector<Thing> things_;
  std::vector<Group> groups_;
  double frame_s_ = 1;  // time between the first two frames
  // Of the frame that is being added.
  std::vector<Sight> found_;
  std::vector<int> owner_;  // per detection: a thing, or one of the two below
  static constexpr int nobody = -1, a_group = -2;
};

/// The track of one thing that was followed by hand or by box; `seen` has one entry for every time.
Track track_of(std::string name, std::span<const double> time_s, std::span<const std::optional<Detection>> seen);

}  // namespace reel::metrics
