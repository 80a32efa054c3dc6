#pragma once
// Who owns what. Plans are integers only: pure functions of sizes and ranks, tested for 1,024 ranks without MPI.
#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/error.hpp"

namespace reel {

/// Half-open range [begin, end).
struct Interval {
  std::int64_t begin = 0, end = 0;
  std::int64_t size() const noexcept { return end - begin; }
  bool operator==(const Interval&) const = default;
};

inline Interval intersect(Interval a, Interval b) {
  const std::int64_t begin = std::max(a.begin, b.begin);
  return {begin, std::max(begin, std::min(a.end, b.end))};
}

/// Part `index` of n items cut into `parts` contiguous floor/ceil slices; the longer ones come first.
inline Interval slice(std::int64_t n, std::int64_t parts, std::int64_t index) {
  const std::int64_t base = n / parts, extra = n % parts;
  const std::int64_t begin = index * base + std::min(index, extra);
  return {begin, begin + base + (index < extra ? 1 : 0)};
}

/// Query rows [begin, end) of one head.
struct HeadRows {
  std::int64_t head;
  Interval rows;
};

/// The attention work of one rank: its equal share of the list of (head, query row) pairs, ordered by head, then row.
/// When the number of ranks divides the number of heads this is a partition by whole heads (Ulysses).
inline std::vector<HeadRows> attention_share(std::int64_t num_heads, std::int64_t num_tokens, int ranks, int rank) {
  const Interval pairs = slice(num_heads * num_tokens, ranks, rank);
  std::vector<HeadRows> share;
  for (std::int64_t h = pairs.begin / num_tokens; h < num_heads && h * num_tokens < pairs.end; ++h) {
    const Interval rows = intersect(pairs, {h * num_tokens, (h + 1) * num_tokens});
    if (rows.size() > 0) share.push_back({h, {rows.begin - h * num_tokens, rows.end - h * num_tokens}});
  }
  return share;
}

}  // namespace reel
