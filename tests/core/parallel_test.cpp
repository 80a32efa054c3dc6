// parallel_for: every index once, whatever happens.
#include "core/parallel.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <mutex>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

#include "core/error.hpp"

namespace reel {
namespace {

using std::int64_t;

class Parallel : public ::testing::TestWithParam<int> {
 protected:
  void SetUp() override { set_num_threads(GetParam()); }
  void TearDown() override { set_num_threads(1); }
};

TEST_P(Parallel, CallsEachIndexExactlyOnce) {
  EXPECT_EQ(num_threads(), GetParam());
  for (const int64_t n : {0, 1, 2, 3, 7, 64, 1000, 100000}) {
    std::vector<std::atomic<int>> calls(static_cast<std::size_t>(n) + 1);
    parallel_for(n, [&](int64_t i) { ++calls.at(static_cast<std::size_t>(i)); });
    for (int64_t i = 0; i < n; ++i) ASSERT_EQ(calls[static_cast<std::size_t>(i)], 1) << i << " of " << n;
    ASSERT_EQ(calls.back(), 0);
  }
  parallel_for(-3, [](int64_t) { FAIL() << "no index below 0"; });
}

TEST_P(Parallel, RethrowsAndWorksAgainAfterwards) {
  for (int round = 0; round < 20; ++round) {
    try {
      parallel_for(1000, [](int64_t i) {
        if (i == 613) throw Error(Exit::nonfinite, "NaN in block 3", "blocks.3", "see the log");
      });
      FAIL() << "the exception was lost";
    } catch (const Error& e) {
      EXPECT_EQ(e.exit(), Exit::nonfinite);
      EXPECT_STREQ(e.what(), "NaN in block 3");
      EXPECT_EQ(e.where(), "blocks.3");
      EXPECT_EQ(e.hint(), "see the log");
    }
    EXPECT_THROW(parallel_for(100, [](int64_t) { throw std::bad_alloc(); }), std::bad_alloc);
    std::atomic<int64_t> sum = 0;
    parallel_for(1000, [&](int64_t i) { sum += i; });
    ASSERT_EQ(sum, 499500);
  }
}

TEST_P(Parallel, MayBeNested) {
  std::vector<std::atomic<int>> calls(40 * 50);
  parallel_for(
      40, [&](int64_t i) { parallel_for(50, [&](int64_t j) { ++calls.at(static_cast<std::size_t>(i * 50 + j)); }); });
  for (const auto& c : calls) ASSERT_EQ(c, 1);
}

TEST_P(Parallel, UsesNoMoreThreadsThanAskedFor) {
  std::mutex mutex;
  std::set<std::thread::id> seen;
  parallel_for(5000, [&](int64_t) {
    const std::lock_guard lock(mutex);
    seen.insert(std::this_thread::get_id());
  });
  EXPECT_LE(seen.size(), static_cast<std::size_t>(GetParam()));
}

TEST_P(Parallel, PollsOnTheCallingThreadAlone) {
  const std::thread::id self = std::this_thread::get_id();
  int outer = 0, inner = 0;
  std::atomic<int> here = 0;
  const auto loop = [&] {
    here = 0;
    parallel_for(500, [&](int64_t) { here += std::this_thread::get_id() == self; });
  };
  {
    const Polling first([&] { ++outer; }, 0);
    {
      const Polling second([&] {
        EXPECT_EQ(std::this_thread::get_id(), self);
        ++inner;
      }, 0);
      loop();
      EXPECT_EQ(inner, here) << "after each item of this thread, and of no other";
      EXPECT_EQ(outer, here) << "and the one made before";
      parallel_for(1, [](int64_t) {});
      EXPECT_EQ(inner, here + 1);
    }
    outer = 0;
    loop();
    EXPECT_EQ(outer, here);
    EXPECT_TRUE(GetParam() > 1 || outer == 500);
  }
  const int before = outer + inner;
  loop();
  EXPECT_EQ(outer + inner, before) << "gone";
  int rare = 0;
  const Polling seldom([&] { ++rare; }, 3600);
  parallel_for(1, [](int64_t) {});  // on this thread
  loop();
  EXPECT_EQ(rare, 1) << "once in an hour";
}

INSTANTIATE_TEST_SUITE_P(Threads, Parallel, ::testing::Values(1, 2, 4));

TEST(Threads, BadCountsAreErrors) {
  for (const int n : {0, -1}) EXPECT_THROW(set_num_threads(n), Error);
  EXPECT_GE(num_threads(), 1);
  EXPECT_GE(num_cores(), 1);
}

}  // namespace
}  // namespace reel
