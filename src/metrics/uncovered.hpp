#pragma once
// Which frames show the background where: things that move slowly, or come to rest, cover a pixel most of the time and
// would win its median. Not for use outside of the background.
#include <array>
#include <cstdint>
#include <span>
#include <vector>

namespace reel::metrics {

/// `pictures` [n, rows, columns, 3], at most 31, of one place at rising times; `known` [rows, columns]: bit k is set
/// where picture k shows something. Returns per cell the set of pictures that show the background there, empty where
/// all are covered.
///
/// Starts from the median. Where a picture differs from it by more than 20 levels, on a connected patch, one of the two
/// has something there that the other has not, and a thing has an edge: along the patch's outline the picture with the
/// larger range within 3 x 3 cells has the thing. If it is the picture, it is covered there (and one cell around); if
/// it is the median, the picture shows the background; up to 15 per cent of difference between the two it does not
/// count. The median is taken anew of those, by all that was seen so far, until nothing changes, at most 16 times.
///
/// What covers a place nearly always (a thing that moves by less than its size, the place where it rests) can stay.
std::vector<std::uint32_t> uncovered(std::span<const std::vector<float>> pictures, std::span<const std::uint32_t> known,
                                     std::int64_t rows, std::int64_t columns);

/// Takes out of `known` where a thing of one of `colours` is (within 40 levels; and 2 cells around). What has that
/// colour in all pictures is such a thing too, when most of its outline has it in some; otherwise it is background. The
/// set is empty where all are covered.
void leave_out(std::span<const std::array<std::uint8_t, 3>> colours, std::span<const std::vector<float>> pictures,
               std::span<std::uint32_t> known, std::int64_t rows, std::int64_t columns);

}  // namespace reel::metrics
