#pragma once
// What a run took, as its result tells.
#include <limits>
#include <optional>

#include "io/results.hpp"

namespace reel::study {

/// Of all sittings: those that the last one went on from were paid for as well.
struct Spent {
  double wall_s = 0;               ///< of the slowest rank
  double node_h = 0, core_h = 0;   ///< nodes are held until their last rank is done, cores are each rank's threads
  double energy_j = std::numeric_limits<double>::quiet_NaN();  ///< of all nodes; NaN when it is not known of all sittings
};

/// From /measured and /provenance of `record`. Nothing when its times make no sense: negative, not finite, of differing
/// length. Throws Error (input) when one is missing.
std::optional<Spent> spent(const io::Record& record);

}  // namespace reel::study
