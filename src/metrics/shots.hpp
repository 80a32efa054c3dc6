#pragma once
// Where a film is cut, which of its frames are repeats, and how its time runs.
#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "core/frames.hpp"
#include "metrics/metric.hpp"

namespace reel::metrics {

/// Share of the pixels at each of the 256 levels of luma (BT.601), smoothed over +-6 levels; sums to 1.
using LumaHistogram = std::array<double, 256>;
LumaHistogram luma_histogram(const Frame& frame);

/// Distance sum (a - b)^2 / (a + b) between 0 (equal) and 2 (nothing in common): the smallest over shifts of b by -12
/// to 12 levels, so that flicker and exposure do not count. Sums in order of level.
double histogram_distance(const LumaHistogram& a, const LumaHistogram& b);

/// What a cut is judged by: which levels there are, and where. `layout`: mean luma of 16 x 16 cells (fewer pixels than
/// cells: some repeat), minus its mean.
struct Composition {
  LumaHistogram histogram{};
  std::array<double, 256> layout{};
};
Composition composition_of(const Frame& frame);

/// How different two looks are; at least 1 for a jump: the larger of their histogram distance over 0.12, and the share
/// of cells whose luma differs by more than 10 levels over 0.4. The second tells scenes of the same colours apart, and
/// lets a thing jump.
double jump_between(const Composition& a, const Composition& b);

/// Finds hard cuts, one frame late. A cut is a pair of neighbours that differ by a jump of at least 1, three times as
/// far as the pairs before and after: a fast pan has no such peak. A flash does not count: the frame after it looks
/// like the one before. Fades and dissolves (also a blend of one frame) are not found, nor cuts between pictures alike
/// in levels and layout, such as two scenes of a small ball on white.
class CutFinder {
 public:
  /// Takes the next frame. True when the frame *before* this one starts a new shot. Throws Error (Exit::input) for a
  /// frame of another size than the first.
  bool add(const Frame& frame);
  /// No more frames: true when the last one starts a new shot, all by itself.
  bool finish();

 private:
  std::int64_t height_px_ = 0, width_px_ = 0, count_ = 0;
  Composition before_, last_;          // the frame before the last one, and the last one
  double jump_ = 0, jump_before_ = 0;  // of (before_, last_), and of the pair before that
};

/// A film cut into shots. Times as in the film.
struct ShotList {
  std::int64_t height_px = 0, width_px = 0;
  std::vector<double> time_s;                  ///< of every frame
  std::vector<std::int64_t> first_frames;      ///< of every shot, rising, the first is 0
  std::vector<std::int64_t> duplicate_frames;  ///< equal to the frame before: no sample differs by more than 1 level
  double dt_min_s = nan, dt_median_s = nan, dt_max_s = nan;  ///< NaN for fewer than two frames

  std::int64_t num_frames() const noexcept { return static_cast<std::int64_t>(time_s.size()); }
  /// One past the last frame of shot number `shot`.
  std::int64_t end_frame(std::size_t shot) const {
    return shot + 1 < first_frames.size() ? first_frames[shot + 1] : num_frames();
  }
  /// Frame intervals differ by more than a tenth of the median: rates must not be taken from a nominal frame rate.
  bool variable_rate() const noexcept { return dt_max_s - dt_min_s > 0.1 * dt_median_s; }
};

/// Makes the list of shots as the frames of a film come by.
class ShotFinder {
 public:
  explicit ShotFinder(std::string film) : film_(std::move(film)) {}  ///< its name, for messages
  /// Takes the next frame; `before`: the one before it (of the first anything). True when the frame *before* starts a
  /// new shot. Throws Error (Exit::input) for an empty frame, one of another size than the first, or a time that does
  /// not rise.
  bool add(const Frame& frame, const Frame& before);
  /// No more frames: true when the last one starts a new shot. Throws Error (Exit::input) for a film without frames.
  bool finish();
  const ShotList& shots() const noexcept { return shots_; }  ///< whole after `finish`

 private:
  std::string film_;
  CutFinder cuts_;
  ShotList shots_;
};

/// Reads `source` from its first frame to its last; two frames are held in memory. Throws as ShotFinder does.
ShotList find_shots(FrameSource& source);

}  // namespace reel::metrics
