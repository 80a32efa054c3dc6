#pragma once
// Preference error of LikePhys (Yuan et al., arXiv 2510.11512): a model that knows a law should find a film that obeys
// it more likely, so denoise it with less loss, than the same film with the law broken. Only the arithmetic is here:
// the losses come from the model, of both films of a pair with the same noises and noise levels.
#include <cstdint>
#include <span>

#include "metrics/metric.hpp"

namespace reel::metrics {

struct Preference {
  std::int64_t num_pairs = 0;
  std::int64_t num_wrong = 0;    ///< the invalid film has the smaller loss
  std::int64_t num_ties = 0;     ///< equal losses: half an error each (the published script counts them as right)
  double error = nan;            ///< (num_wrong + num_ties / 2) / num_pairs: 0 perfect, 1/2 chance
  double low = nan, high = nan;  ///< Wilson's interval at `z`, as if the pairs were independent
  double z = nan;
};

/// Losses of valid and invalid films, entry by entry one pair. `z`: half width of the interval in standard deviations,
/// 1.96 for 95 %. Without pairs all is NaN. Throws Error (Exit::input) when the numbers of losses differ or one is not
/// finite, Error (bug) for a `z` that is not above 0.
Preference preference_error(std::span<const double> valid, std::span<const double> invalid,
                            double z = 1.959963984540054);

/// Metrics "PPE.error" (sigma: half the interval over `z`), "PPE.low" and "PPE.high"; refused without pairs.
Findings preference_findings(const Preference& preference);

}  // namespace reel::metrics
