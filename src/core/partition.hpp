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

/// What moves between the rank that owns tokens and the rank that works on `item` of its share of the attention.
struct HeadPiece {
  int peer;           ///< the other rank, or this one itself
  std::int64_t item;  ///< place in the worker's share
  std::int64_t head;
  Interval tokens;    ///< the owner's: the worker gets their keys and values
  Interval queries;   ///< those of them that the worker works on: it gets their queries and returns what came of them
};

/// All pieces of the tokens that `rank` owns: by item, then by worker from the next rank round to itself.
inline std::vector<HeadPiece> pieces_given(std::int64_t num_heads, std::int64_t num_tokens, int ranks, int rank) {
  std::vector<std::vector<HeadRows>> shares;
  std::size_t most = 0;
  for (int step = 1; step <= ranks; ++step)
    most = std::max(most, shares.emplace_back(attention_share(num_heads, num_tokens, ranks, (rank + step) % ranks)).size());
  const Interval mine = slice(num_tokens, ranks, rank);
  std::vector<HeadPiece> pieces;
  for (std::size_t item = 0; item < most; ++item)
    for (int step = 1; step <= ranks; ++step) {
      const std::vector<HeadRows>& share = shares[static_cast<std::size_t>(step - 1)];
      if (item < share.size())
        pieces.push_back({(rank + step) % ranks, static_cast<std::int64_t>(item), share[item].head, mine, intersect(mine, share[item].rows)});
    }
  return pieces;
}

/// All pieces of the work of `rank`: by item, then by owner from the next rank round to itself. Those of one owner come in the
/// order in which it gives them.
inline std::vector<HeadPiece> pieces_taken(std::int64_t num_heads, std::int64_t num_tokens, int ranks, int rank) {
  const std::vector<HeadRows> share = attention_share(num_heads, num_tokens, ranks, rank);
  std::vector<HeadPiece> pieces;
  for (std::size_t item = 0; item < share.size(); ++item)
    for (int step = 1; step <= ranks; ++step) {
      const int owner = (rank + step) % ranks;
      const Interval theirs = slice(num_tokens, ranks, owner);
      pieces.push_back({owner, static_cast<std::int64_t>(item), share[item].head, theirs, intersect(theirs, share[item].rows)});
    }
  return pieces;
}

}  // namespace reel
