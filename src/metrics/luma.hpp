#pragma once
// Grey pictures: luma of a frame, and the same reduced to a size at which dense steps are cheap.
#include <cstdint>
#include <vector>

#include "core/frames.hpp"

namespace reel::metrics {

/// Luma of full-range RGB with the weights of ITU-R BT.601; in levels, 0 to 255 for bytes.
constexpr double luma(double r, double g, double b) { return 0.299 * r + 0.587 * g + 0.114 * b; }

/// One number per pixel, [H, W] row by row, in levels.
struct Plane {
  int width_px = 0, height_px = 0;
  std::vector<float> level;
};

/// Luma of every pixel. Throws Error (Exit::input) for a frame without pixels, with more than 2^15 in a row or column,
/// or whose bytes do not fit its size.
Plane luma_plane(const Frame& frame);

/// By how much dense steps reduce a picture: the whole number that brings its short side nearest to 360 px (1 up to
/// 539, 2 for 720, 3 for 1080).
int reduction(std::int64_t height_px, std::int64_t width_px);

/// Means of factor x factor pixels. Rows and columns that do not fill a block are left out, so a point at (x, y) px is
/// at (x, y) / factor here: pixel centres lie at i + 0.5 in both.
Plane reduced(const Plane& plane, int factor);

/// The frame's bytes reduced as `reduced` does, rounded, [h, w, 3].
std::vector<std::uint8_t> reduced_rgb(const Frame& frame, int factor);

/// Makes OpenCV compute on the calling thread alone, in every call of this process: some of its results depend on how
/// many threads share the work. Called by everything here that uses OpenCV's dense steps.
void keep_opencv_on_one_thread();

}  // namespace reel::metrics
