#pragma once
// What is seen in one frame: by colour, by motion, or by a box that a person gave. One core, no threads.
#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/frames.hpp"
#include "metrics/background.hpp"
#include "metrics/measure.hpp"
#include "metrics/metric.hpp"

namespace reel::metrics {

/// One thing in one frame. Pixels as in Track. Moments are sums over pixels of the share that the thing covers of each.
struct Detection {
  double x_px = nan, y_px = nan;             ///< centroid
  double area_px = nan;                      ///< sum of the shares; NaN when only a position is known
  double major_px = nan, minor_px = nan;     ///< standard deviations along the main axes (a disc: half its radius)
  Box box;                                   ///< around all its pixels
  bool whole = true;                         ///< no pixel of it is on the rim of the picture
  std::array<double, 3> rgb{nan, nan, nan};  ///< mean colour of its inside, levels
  int object = -1;                           ///< which of the named objects; -1 when nobody said
};

/// `d`, seen in a frame, in the coordinates of the shot's first frame. Areas and axes change with the local scale.
Detection mapped(const Detection& d, const Matrix3& to_first);

// ---- by colour

/// Finds objects of known colours before a known background. Every pixel is explained as background plus shares of at
/// most two of the colours (least squares, shares at least 0, together at most 1), after experiments/backlot. Colours
/// of the same name are one object: a suit and a head. What is not explained counts less, exp(-|rest|^2 / (2 60^2)). A
/// thing's pixels: connected shares above 0.3 and what is seen within 2 px of them; pixels inside count in full, those
/// on the rim by their share, relative to the mean share inside (a film's colours may be off). Touching things of the
/// same colour are one.
class ColourDetector {
 public:
  /// Throws Error (Exit::input) without colours or with more than 16.
  ColourDetector(std::vector<NamedColour> colours, Background background);

  /// Names of the objects, without repeats, in the order given: Detection::object counts in it.
  const std::vector<std::string>& names() const noexcept { return names_; }

  /// Things of at least `least_area_px`, by object, then from top to bottom. `to_first` as in BackgroundMedian. Throws
  /// Error (Exit::input) when the frame's size is not the background's.
  std::vector<Detection> detect(const Frame& frame, const Matrix3& to_first = identity3) const;

  double least_area_px = 4;

 private:
  std::vector<NamedColour> colours_;
  std::vector<std::size_t> object_;  // of every colour
  std::vector<std::string> names_;
  Background background_;
};

/// Colours of the objects of the worlds uniform, parabola, collision and fall; `attributes` are the words of the
/// caption
/// ({"color", "red"}, {"suit", "orange"}). Names are those of the truth: "ball", "blue ball", "person" (suit and head).
/// Nothing for a world without such objects. Throws Error (Exit::input) for an unknown word.
std::vector<NamedColour> world_colours(std::string_view world, const std::map<std::string, std::string>& attributes);

/// Discovers saturated colours (range of the channels above 60 levels) that fill connected, even patches: counts pixels
/// whose neighbours agree within 8 levels, in cells of 16 levels, over at most 16 frames of the source; cells within 60
/// levels of a stronger one join it. Most frequent first, at most `most`; named "1", "2", ... Reads from the first
/// frame.
std::vector<NamedColour> find_colours(FrameSource& source, std::size_t most = 4);

// ---- by motion

/// Finds what differs from the background. The frame is reduced to at most 320 px; where its largest channel difference
/// exceeds 5 robust standard deviations (median absolute difference) and 6 levels, it has changed; opened and closed
/// by a cross of 3 px; connected. Inside each box the edge is found at full resolution: pixels inside count in full,
/// those on the rim by their share between the background and the nearest inside colour. Shadows and reflections are
/// things too; what stands still for more than half of a shot is background and leaves a hole when it goes.
class MotionDetector {
 public:
  explicit MotionDetector(Background background);

  /// Things of at least `least_area_px`, from top to bottom, at most 64 (the largest).
  std::vector<Detection> detect(const Frame& frame, const Matrix3& to_first = identity3) const;

  double least_area_px = 12;

 private:
  Background background_;
  std::int64_t cell_px_ = 1, rows_ = 0, columns_ = 0;  // the reduced picture
  std::vector<float> reduced_;                         // [rows, columns, 3]
};

// ---- by a box

/// Follows the picture inside a box of the first frame by normalised correlation of the three channels. The template is
/// never updated: it cannot drift, but a thing that turns or changes its size is lost, and says so. The peak is refined
/// by a parabola per axis (bias up to 0.1 px on smooth shapes).
class BoxFollower {
 public:
  static constexpr double least_correlation = 0.6;  ///< below: not seen

  /// The box is rounded to whole pixels. Throws Error (Exit::input) when less than 4 x 4 px of it lie inside the frame
  /// or when it shows one flat colour.
  BoxFollower(const Frame& first, const Box& box);

  /// The box's centre in the next frame (the first frame may be given too), within a search window around where the
  /// last motion leads, which grows while the thing is lost. Area and axes are NaN.
  std::optional<Detection> next(const Frame& frame);

  double correlation() const noexcept { return correlation_; }  ///< of the last `next`

 private:
  struct Picture {
    std::int64_t height = 0, width = 0;
    std::vector<float> rgb;
  };
  static Picture whole(const Frame& frame);
  static Picture half(const Picture& p);
  double correlate(const Picture& picture, std::size_t level, std::int64_t x, std::int64_t y) const;

  std::vector<Picture> templates_;  // finest first; per channel the mean is 0, the norm over all is 1
  double x_ = 0, y_ = 0, vx_ = 0, vy_ = 0, correlation_ = 1;
  int lost_ = 0;
};

}  // namespace reel::metrics
