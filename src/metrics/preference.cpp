#include "metrics/preference.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <utility>

#include "core/error.hpp"

namespace reel::metrics {

Preference preference_error(std::span<const double> valid, std::span<const double> invalid, double z) {
  REEL_CHECK(z > 0 && std::isfinite(z), "{} standard deviations", z);
  if (valid.size() != invalid.size())
    throw Error(Exit::input, fmt::format("{} losses of valid films, {} of invalid ones", valid.size(), invalid.size()),
                {}, "give both films of every pair");
  Preference result;
  result.z = z;
  for (std::size_t i = 0; i < valid.size(); ++i) {
    if (!std::isfinite(valid[i]) || !std::isfinite(invalid[i]))
      throw Error(Exit::input, fmt::format("pair {} has the losses {} and {}", i, valid[i], invalid[i]), {},
                  "losses are finite numbers");
    result.num_wrong += valid[i] > invalid[i];
    result.num_ties += valid[i] == invalid[i];
  }
  result.num_pairs = static_cast<std::int64_t>(valid.size());
  if (result.num_pairs == 0) return result;
  const auto n = static_cast<double>(result.num_pairs);
  const double p = (static_cast<double>(result.num_wrong) + static_cast<double>(result.num_ties) / 2) / n;
  const double z2 = z * z, middle = (p + z2 / (2 * n)) / (1 + z2 / n);
  const double half = z / (1 + z2 / n) * std::sqrt(p * (1 - p) / n + z2 / (4 * n * n));
  result.error = p;
  // At p = 0 and 1 the interval ends there exactly; rounding may leave it short.
  result.low = std::min(p, std::max(0.0, middle - half));
  result.high = std::max(p, std::min(1.0, middle + half));
  return result;
}

Findings preference_findings(const Preference& p) {
  Findings findings;
  const auto add = [&](const char* id, const char* name, Better better, double value, double sigma) {
    Metric metric{.id = id,
                  .name = name,
                  .unit = "1",
                  .aspect = Aspect::form,
                  .better = better,
                  .value = value,
                  .sigma = sigma,
                  .n = p.num_pairs};
    findings.metrics.push_back(p.num_pairs == 0 ? refused(std::move(metric), "no pairs") : std::move(metric));
  };
  add("PPE.error", "share of pairs in which the film that breaks the law is preferred, pairs", Better::lower, p.error,
      (p.high - p.low) / (2 * p.z));
  add("PPE.low", "lower end of its Wilson interval, pairs", Better::none, p.low, nan);
  add("PPE.high", "upper end of its Wilson interval, pairs", Better::none, p.high, nan);
  return findings;
}

}  // namespace reel::metrics
