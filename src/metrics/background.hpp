#pragma once
// What stands behind everything that moves: the temporal median of a shot.
#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "core/frames.hpp"

namespace reel::metrics {

/// 3 x 3 matrix, row-major, that takes a point (x, y, 1) of one picture to another; pixels as in Track.
using Matrix3 = std::array<double, 9>;
inline constexpr Matrix3 identity3{1, 0, 0, 0, 1, 0, 0, 0, 1};

/// The point that `m` takes (x, y) to; {NaN, NaN} when it lies at infinity or behind.
std::array<double, 2> mapped(const Matrix3& m, double x_px, double y_px);

/// A picture without the things that move, in the coordinates of the shot's first frame.
struct Background {
  std::int64_t height_px = 0, width_px = 0;
  std::vector<std::uint8_t> rgb;    ///< [H, W, 3]
  std::vector<std::uint8_t> valid;  ///< [H, W]: 1 where half of the frames used reach
  int num_frames = 0;               ///< that the median rests on; 0 for a background that was given
  double doubtful = 0;              ///< share of the pixels that are covered in most of the frames

  /// One colour everywhere, for scenes whose background is known.
  static Background plain(std::int64_t height_px, std::int64_t width_px, std::array<std::uint8_t, 3> rgb);

  /// Bilinear value at a point, in levels; false outside the picture or where it is not valid.
  bool at(double x_px, double y_px, std::array<double, 3>& out) const;
};

/// Collects frames spread evenly over a shot of unknown length: at most 31 are held, every second is dropped when they
/// are full. Cost is linear, memory bounded.
class BackgroundMedian {
 public:
  static constexpr std::size_t most_frames = 31;

  /// The next frame of the shot. Throws Error (Exit::input) when its size is not that of the first.
  void add(const Frame& frame);

  /// Median per pixel and channel (of the two middle values the mean, rounded) of those frames held that show the
  /// background there: see `uncovered`, on a picture reduced to 320 px. `to_first`: for a moving camera, one matrix for
  /// every frame added, frame -> first frame; frames are sampled bilinearly, those whose matrix has no inverse not at
  /// all. `things`: colours of what moves, if known: slow things are told apart better, see `leave_out`. What is
  /// covered in all frames takes the colour around it. A thing that stands still in all of the frames held is
  /// background. Throws Error (Exit::input) without frames.
  Background median(std::span<const Matrix3> to_first = {},
                    std::span<const std::array<std::uint8_t, 3>> things = {}) const;

 private:
  struct Held {
    std::int64_t number;
    std::vector<std::uint8_t> rgb;
  };
  std::int64_t height_px_ = 0, width_px_ = 0, count_ = 0, stride_ = 1;
  std::vector<Held> held_;
};

/// Inverse of a 3 x 3 matrix; all NaN when it has none: then `mapped` leads nowhere.
Matrix3 inverse(const Matrix3& m);

}  // namespace reel::metrics
