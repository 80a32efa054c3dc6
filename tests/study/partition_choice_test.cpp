// run.partition = "auto": the fewest bytes, and that it is a choice among what could be asked for by name.
#include <gtest/gtest.h>

#include <algorithm>

#include "core/error.hpp"
#include "study/scaling.hpp"

namespace reel::study {
namespace {

using std::int64_t;

Experiment wan(double guidance, const std::string& run = "") {
  return parse_experiment("reel = 1\nshot.prompt = \"x\"\nshot.frames = 17\nshot.size = [832, 480]\nmodel.config = \"wan2.1-t2v-1.3b\"\n" + run +
                              "sampler.guidance = " + std::to_string(guidance) + "\n",
                          "e.toml", {});
}
const model::Pipeline& pipeline() {
  static const model::Pipeline p = model::Pipeline::synthetic("wan2.1-t2v-1.3b", 0);
  return p;
}

// 5 latent frames of 30 x 52 tokens: N = 7,800, D = 1,536, 30 layers, 16 channels out, velocity of 16 x 5 x 60 x 104.
TEST(PartitionChoice, TwoRanksTakeABranchEach) {
  const auto choices = partition_choices(wan(5), pipeline(), 2);
  ASSERT_EQ(choices.size(), 4u);
  EXPECT_EQ(choices[0].guidance_groups, 2);
  EXPECT_EQ(choices[0].partition, "heads");
  EXPECT_EQ(choices[0].step_bytes, std::uint64_t{4} * 16 * 5 * 60 * 104);
  // One group: two branches, each 4 * 4 N D / P (P - 1) / P a layer, and half of the velocity to the other rank.
  const std::uint64_t branch = 30ull * 4 * 4 * 7800 * 1536 / 4 + 4ull * 3900 * 64;
  EXPECT_EQ(choices[2].step_bytes, 2 * branch);
  EXPECT_EQ(choices[2].partition, "heads");
}

TEST(PartitionChoice, IsTheSmallestOfAllOnAnyNumberOfRanks) {
  for (const int64_t ranks : {1, 2, 3, 5, 12, 24, 100, 1024})
    for (const double guidance : {1.0, 5.0}) {
      const Experiment e = wan(guidance);
      const auto choices = partition_choices(e, pipeline(), ranks);
      EXPECT_EQ(choices.size(), ranks % 2 == 0 && guidance > 1 ? 4u : 2u) << ranks;
      for (const PartitionChoice& c : choices) EXPECT_LE(choices.front().step_bytes, c.step_bytes);
      Experiment automatic = wan(guidance, "run.partition = \"auto\"\n");
      const study::Run run = choose_partition(automatic, pipeline(), ranks);
      EXPECT_EQ(run.partition, choices.front().partition);
      EXPECT_EQ(run.guidance_groups, choices.front().guidance_groups);
      EXPECT_EQ(denoise_bytes(automatic, pipeline(), ranks, 3)[0] % 3, 0u);
      automatic.run = run;
      const auto sent = denoise_bytes(automatic, pipeline(), ranks, 1);
      EXPECT_EQ(*std::max_element(sent.begin(), sent.end()), choices.front().step_bytes);
    }
}

TEST(PartitionChoice, NamedOnesStay) {
  Experiment e = wan(5, "run.partition = \"stream\"\n");
  EXPECT_EQ(choose_partition(e, pipeline(), 2).partition, "stream");
  EXPECT_EQ(choose_partition(e, pipeline(), 2).guidance_groups, 1);
  EXPECT_THROW(wan(5, "run.partition = \"auto\"\nrun.guidance_groups = 2\n"), Error);
}

}  // namespace
}  // namespace reel::study
