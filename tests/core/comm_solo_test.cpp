// One rank without MPI: every call is a copy or nothing.
#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <numeric>
#include <stdexcept>

#include "core/comm.hpp"
#include "core/error.hpp"

namespace reel {
namespace {

TEST(CommSolo, NeverStartsMpi) {
  const Comm solo = Comm::solo();
  EXPECT_EQ(solo.rank(), 0);
  EXPECT_EQ(solo.size(), 1);
  solo.barrier();
  EXPECT_EQ(solo.split(3).size(), 1);
  EXPECT_EQ(solo.split_node().size(), 1);
  EXPECT_EQ(solo.max(-5), -5);
  EXPECT_TRUE(Comm::all_arrive(0));
  Comm::finish();
  EXPECT_FALSE(Comm::started());
  EXPECT_EQ(Comm::bytes_sent(), 0u);
}

TEST(CommSolo, BroadcastAndGatherAreCopies) {
  const Comm solo = Comm::solo();
  int value = 7;
  solo.broadcast(&value, sizeof value, 0);
  EXPECT_EQ(value, 7);
  EXPECT_EQ(solo.broadcast("text", 0), "text");
  EXPECT_EQ(solo.all_gather(std::int64_t{5}), std::vector<std::int64_t>{5});
  EXPECT_EQ(solo.all_gather(std::string("a\0b", 3)), std::vector<std::string>{std::string("a\0b", 3)});
  EXPECT_EQ(solo.all_gather(std::string()), std::vector<std::string>{""});
  const std::array<std::size_t, 1> counts{3};
  std::array<char, 3> mine{'x', 'y', 'z'}, all{};
  solo.all_gather(mine.data(), all.data(), counts);
  EXPECT_EQ(all, mine);
  solo.all_gather(all.data(), all.data(), counts);  // mine may be part of all
  EXPECT_EQ(all, mine);
  std::array<char, 3> there{};
  solo.all_to_all(mine.data(), counts, there.data(), counts);
  EXPECT_EQ(there, mine);
}

TEST(CommSolo, ExchangeWithOneself) {
  const Comm solo = Comm::solo();
  std::array<int, 2> a{1, 2}, b{};
  solo.exchange(std::array{Comm::Message{0, a.data(), sizeof a, b.data(), sizeof b}});
  EXPECT_EQ(b, a);
  solo.exchange(std::array{Comm::Message{0, nullptr, 0, nullptr, 0}});
  solo.exchange({});
  EXPECT_THROW(solo.exchange(std::array{Comm::Message{0, a.data(), 8, b.data(), 4}}), Error);
  const std::array<std::size_t, 2> wrong{4, 4};
  EXPECT_THROW(solo.all_gather(a.data(), b.data(), wrong), Error);
  EXPECT_THROW(solo.all_to_all(a.data(), wrong, b.data(), wrong), Error);
}

TEST(CommSolo, AgreeRethrowsAsError) {
  const Comm solo = Comm::solo();
  solo.agree(nullptr);
  int steps = 0;
  solo.together([&] { ++steps; });
  EXPECT_EQ(steps, 1);
  const auto caught = [&](auto thrown) {
    try {
      solo.together([&] { throw thrown; });
    } catch (const Error& e) {
      return e;
    }
    return Error(Exit::ok, "nothing was thrown");
  };
  const Error kept = caught(Error(Exit::write, "no space", "out.h5", "free some"));
  EXPECT_EQ(kept.exit(), Exit::write);
  EXPECT_STREQ(kept.what(), "no space");
  EXPECT_EQ(kept.where(), "out.h5");
  EXPECT_EQ(kept.hint(), "free some");
  EXPECT_EQ(caught(std::bad_alloc()).exit(), Exit::resources);
  EXPECT_EQ(caught(std::runtime_error("odd")).exit(), Exit::bug);
  EXPECT_STREQ(caught(std::runtime_error("odd")).what(), "odd");
  EXPECT_EQ(caught(42).exit(), Exit::bug);  // anything else, too: the other ranks wait for an answer
}

TEST(CommSolo, SharedFloatsAreMemory) {
  const SharedFloats floats(Comm::solo(), 1000), none(Comm::solo(), 0);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(floats.data()) % 64, 0u);
  std::iota(floats.data(), floats.data() + 1000, 0.0f);
  const SharedFloats copy = floats;  // shares
  EXPECT_EQ(copy.data(), floats.data());
  EXPECT_EQ(copy.data()[999], 999.0f);
  EXPECT_NE(none.data(), nullptr);
  EXPECT_EQ(SharedFloats().data(), nullptr);
#if !defined(__SANITIZE_ADDRESS__)  // which ends the program instead
  EXPECT_THROW(SharedFloats(Comm::solo(), std::int64_t{1} << 58), Error);
#endif
}

}  // namespace
}  // namespace reel
