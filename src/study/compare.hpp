#pragma once
// Two results, or two folders of results, held against each other: digests first, then pictures and metrics.
#include <array>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <string>
#include <vector>

namespace reel::study {

/// Two results of one shot (same prompt, seed, frames, size, rate and given frames), whatever else differs.
struct ComparedPair {
  std::string name_a, name_b;      ///< run ids
  bool same_task = false, same_digest = false;
  /// Of B against A: |b - a| / |a| of the last latents, and of the pixels the PSNR [dB] and the largest difference.
  /// NaN where one has none.
  double latent_deviation = std::numeric_limits<double>::quiet_NaN(), psnr_db = latent_deviation, largest = latent_deviation;
};

/// One metric over all pairs whose side files both give it. Difference: B less A, its interval by bootstrap over pairs (95 %);
/// of a single pair from both sigmas (1.96 of their root sum of squares), NaN when one is unknown.
struct ComparedMetric {
  std::string id;
  std::int64_t num_pairs = 0;
  double mean_a = 0, mean_b = 0, difference = 0;
  std::array<double, 2> interval{};
  bool differs() const noexcept { return interval[0] > 0 || interval[1] < 0; }
};

struct Comparison {
  std::vector<ComparedPair> pairs;
  std::vector<ComparedMetric> metrics;
  std::int64_t num_alone = 0;  ///< results without a partner
  bool all_same() const noexcept;
};

/// `a` and `b`: results, or folders of them, where the first by name counts of those that show one shot. Throws Error (input) when
/// something cannot be read, or nothing pairs.
Comparison compare(const std::filesystem::path& a, const std::filesystem::path& b);
std::string comparison_text(const Comparison& comparison);
std::string comparison_json(const Comparison& comparison);

}  // namespace reel::study
