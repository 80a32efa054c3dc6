#pragma once
// What clean clips give: a number below its floor says nothing. Made by `reel measure --calibrate`, kept in
// datasets/calibration/floors.csv, and built into the program.
#include <cstdint>
#include <map>
#include <string>

namespace reel::study {

struct Floors {
  std::int64_t size_px = 0;             ///< of the calibration: the size nearest to the picture's shorter side
  std::string codec;                    ///< "clean", or "crf28" for every lossy film, whose quality nobody knows
  std::map<std::string, double> value;  ///< metric id -> 95th percentile of |value - ideal| over clean clips
};

/// Floors for a film of this size. Sizes are compared by their ratio.
Floors floors_for(std::int64_t width_px, std::int64_t height_px, bool lossless);

}  // namespace reel::study
