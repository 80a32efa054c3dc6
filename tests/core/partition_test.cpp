// Plans of who owns what, for up to 1,024 ranks.
#include "core/partition.hpp"

#include <gtest/gtest.h>

#include <map>
#include <utility>

namespace reel {
namespace {

using std::int64_t;

TEST(Partition, IntersectIsTheCommonPartAndNeverNegative) {
  for (int64_t a = 0; a < 6; ++a)
    for (int64_t b = a; b < 6; ++b)
      for (int64_t c = 0; c < 6; ++c)
        for (int64_t d = c; d < 6; ++d) {
          const Interval both = intersect({a, b}, {c, d});
          ASSERT_GE(both.size(), 0);
          for (int64_t i = 0; i < 6; ++i)
            ASSERT_EQ(i >= both.begin && i < both.end, i >= a && i < b && i >= c && i < d);
        }
}

TEST(Partition, SlicesCoverExactlyWithFloorOrCeilSizesLongOnesFirst) {
  for (int64_t parts = 1; parts <= 1024; ++parts)
    for (const int64_t n : {int64_t{0}, int64_t{1}, parts - 1, parts, parts + 1, int64_t{1536}, int64_t{32760},
                            int64_t{75600}, int64_t{1} << 40}) {
      int64_t at = 0, previous = n;
      for (int64_t i = 0; i < parts; ++i) {
        const Interval s = slice(n, parts, i);
        ASSERT_EQ(s.begin, at) << n << " in " << parts << ", part " << i;
        ASSERT_TRUE(s.size() == n / parts || s.size() == (n + parts - 1) / parts);
        ASSERT_LE(s.size(), previous);
        previous = s.size(), at = s.end;
      }
      ASSERT_EQ(at, n);
    }
}

TEST(Partition, AttentionSharesCoverEveryPairOnceAndAreBalancedWithinOneRow) {
  struct Case {
    int64_t heads, tokens;
  };
  for (const Case c : {Case{1, 1025}, {12, 1560}, {40, 32760}, {3, 7}, {5, 1}})
    for (int ranks = 1; ranks <= 1024; ++ranks) {
      const int64_t total = c.heads * c.tokens;
      int64_t next = 0;  // the pair that must come now
      for (int rank = 0; rank < ranks; ++rank) {
        int64_t rows = 0;
        for (const HeadRows& item : attention_share(c.heads, c.tokens, ranks, rank)) {
          ASSERT_GT(item.rows.size(), 0);
          ASSERT_GE(item.rows.begin, 0);
          ASSERT_LE(item.rows.end, c.tokens);
          ASSERT_EQ(item.head * c.tokens + item.rows.begin, next) << ranks << " ranks, rank " << rank;
          next += item.rows.size();
          rows += item.rows.size();
        }
        ASSERT_TRUE(rows == total / ranks || rows == (total + ranks - 1) / ranks) << rows << " of " << total;
      }
      ASSERT_EQ(next, total);
    }
}

TEST(Partition, PiecesGivenAreThoseTakenInTheSameOrder) {
  struct Case {
    int64_t heads, tokens;
  };
  for (const Case c : {Case{12, 1560}, {5, 1031}, {1, 24}})
    for (const int ranks : {1, 2, 3, 5, 8, 12, 24, 100}) {
      if (ranks > c.tokens) continue;
      struct Way {
        std::vector<std::pair<int64_t, Interval>> given, taken;  // (item, queries) of one owner and one worker
      };
      std::map<std::pair<int, int>, Way> ways;
      for (int rank = 0; rank < ranks; ++rank) {
        const Interval own = slice(c.tokens, ranks, rank);
        int64_t queries = 0, work = 0;
        for (const HeadPiece& p : pieces_given(c.heads, c.tokens, ranks, rank)) {
          ASSERT_EQ(p.tokens, own);
          ASSERT_EQ(attention_share(c.heads, c.tokens, ranks, p.peer)[static_cast<std::size_t>(p.item)].head, p.head);
          ways[{rank, p.peer}].given.emplace_back(p.item, p.queries);
          queries += p.queries.size();
        }
        ASSERT_EQ(queries, own.size() * c.heads) << "each query goes to one worker";
        for (const HeadPiece& p : pieces_taken(c.heads, c.tokens, ranks, rank)) {
          ASSERT_EQ(p.tokens, slice(c.tokens, ranks, p.peer));
          ways[{p.peer, rank}].taken.emplace_back(p.item, p.queries);
          work += p.queries.size();
        }
        ASSERT_EQ(work, slice(c.heads * c.tokens, ranks, rank).size());
      }
      ASSERT_EQ(ways.size(), static_cast<std::size_t>(ranks) * static_cast<std::size_t>(ranks));
      for (const auto& [ranks_of, way] : ways) ASSERT_EQ(way.given, way.taken) << ranks_of.first << " to " << ranks_of.second;
    }
}

TEST(Partition, WholeHeadsWhenRanksDivideTheHeads) {
  for (const int64_t heads : {12, 40, 1024})
    for (int ranks = 1; ranks <= heads; ++ranks) {
      if (heads % ranks != 0) continue;
      for (int rank = 0; rank < ranks; ++rank) {
        const auto share = attention_share(heads, 77, ranks, rank);
        ASSERT_EQ(static_cast<int64_t>(share.size()), heads / ranks);
        for (std::size_t i = 0; i < share.size(); ++i) {
          ASSERT_EQ(share[i].head, rank * (heads / ranks) + static_cast<int64_t>(i));
          ASSERT_EQ(share[i].rows, (Interval{0, 77}));
        }
      }
    }
}

}  // namespace
}  // namespace reel
