// Bytes that ranks send against a count of every row that moves, and the table of layouts against numbers made by hand.
#include "study/scaling.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/partition.hpp"
#include "tests/io/temp_dir.hpp"

namespace reel::study {
namespace {

using model::Numerics;
using model::Partition;
using test::expect_contains;
using std::int64_t;

// Counts row by row who owns it and who works on it: no formula.
std::vector<std::uint64_t> counted(int64_t num_tokens, int64_t num_heads, int64_t head_dim, int64_t ranks) {
  const auto part_of = [&](int64_t n, int64_t i) {
    int64_t r = 0;
    while (!(slice(n, ranks, r).begin <= i && i < slice(n, ranks, r).end)) ++r;
    return r;
  };
  std::vector<std::uint64_t> sent(static_cast<std::size_t>(ranks));
  std::vector<std::vector<bool>> touched(static_cast<std::size_t>(ranks), std::vector<bool>(static_cast<std::size_t>(num_heads)));
  const auto row = 4 * static_cast<std::uint64_t>(head_dim);
  for (int64_t h = 0; h < num_heads; ++h)
    for (int64_t i = 0; i < num_tokens; ++i) {
      const int64_t owner = part_of(num_tokens, i), worker = part_of(num_heads * num_tokens, h * num_tokens + i);
      touched[static_cast<std::size_t>(worker)][static_cast<std::size_t>(h)] = true;
      if (owner == worker) continue;
      sent[static_cast<std::size_t>(owner)] += row;   // a query goes out
      sent[static_cast<std::size_t>(worker)] += row;  // what came of it goes home
    }
  for (int64_t worker = 0; worker < ranks; ++worker)
    for (int64_t h = 0; h < num_heads; ++h)
      for (int64_t i = 0; i < num_tokens; ++i)
        if (touched[static_cast<std::size_t>(worker)][static_cast<std::size_t>(h)] && part_of(num_tokens, i) != worker)
          sent[static_cast<std::size_t>(part_of(num_tokens, i))] += 2 * row;  // a key and a value
  return sent;
}

TEST(Traffic, HeadsAsCountedRowByRow) {
  for (const auto& [tokens, heads] : {std::pair<int64_t, int64_t>{24, 12}, {37, 12}, {20, 3}, {11, 1}, {16, 5}})
    for (int64_t ranks = 1; ranks <= 11; ++ranks) {
      const std::vector<std::uint64_t> expected = counted(tokens, heads, 32, ranks);
      for (int64_t rank = 0; rank < ranks; ++rank)
        EXPECT_EQ(attention_bytes(Partition::heads, Numerics::f32, tokens, heads, 32, ranks, rank), expected[static_cast<std::size_t>(rank)])
            << tokens << " tokens, " << heads << " heads, rank " << rank << " of " << ranks;
    }
}

TEST(Traffic, WholeHeadsAreTheKnownFormula) {
  // 4 S D / P (P - 1) / P elements; 40 heads of 128 at 480p, S = 32,760, on 8 ranks: 294 MB for each layer and rank.
  constexpr int64_t s = 32'760, d = 5120;
  for (const int64_t p : {2, 4, 5, 8, 10, 20, 40})
    EXPECT_EQ(attention_bytes(Partition::heads, Numerics::f32, s, 40, 128, p, p - 1),
              static_cast<std::uint64_t>(4 * 4 * s * d / p * (p - 1) / p)) << p;
  EXPECT_NEAR(static_cast<double>(attention_bytes(Partition::heads, Numerics::f32, s, 40, 128, 8, 0)), 294e6, 0.5e6);
  // A stream brings every key and value to every rank: 2 S D (P - 1) / P.
  for (const int64_t p : {1, 2, 4, 8})
    EXPECT_EQ(attention_bytes(Partition::stream, Numerics::f32, s, 40, 128, p, 0), static_cast<std::uint64_t>(4 * 2 * s * d * (p - 1) / p)) << p;
  // Ranks with a token more send more: 7 tokens on 2 ranks are 4 and 3.
  EXPECT_EQ(attention_bytes(Partition::stream, Numerics::f32, 7, 1, 32, 2, 0), 4u * 2 * 4 * 32);
  EXPECT_EQ(attention_bytes(Partition::stream, Numerics::f32, 7, 1, 32, 2, 1), 4u * 2 * 3 * 32);
}

// The plan that ranks follow, piece by piece and batch by batch.
std::vector<std::uint64_t> replayed(Partition partition, int64_t num_tokens, int64_t num_heads, int64_t row_bytes, int ranks) {
  std::vector<int64_t> rows(static_cast<std::size_t>(ranks));
  for (int rank = 0; rank < ranks; ++rank) {
    int64_t& sent = rows[static_cast<std::size_t>(rank)];
    if (partition == Partition::stream) {
      for (int64_t first = 0; first < num_tokens; first += 1024)
        sent += 2 * num_heads * (ranks - 1) * intersect({first, std::min(num_tokens, first + 1024)}, slice(num_tokens, ranks, rank)).size();
      continue;
    }
    for (const HeadPiece& p : pieces_given(num_heads, num_tokens, ranks, rank))
      if (p.peer != rank) sent += 2 * p.tokens.size() + p.queries.size();
    for (const HeadPiece& p : pieces_taken(num_heads, num_tokens, ranks, rank))
      if (p.peer != rank) sent += p.queries.size();
  }
  std::vector<std::uint64_t> sent;
  for (const int64_t r : rows) sent.push_back(static_cast<std::uint64_t>(r * row_bytes));
  return sent;
}

TEST(Traffic, PlansOfUpTo1024RanksSendWhatTheFormulaSays) {
  struct Case {
    int64_t tokens, heads, head_dim;
  };
  // 480p and 720p of 81 frames, one picture, and sizes that nothing divides.
  for (const Case c : {Case{32'760, 12, 128}, {75'600, 40, 128}, {1560, 12, 128}, {1031, 7, 20}})
    for (const int ranks : {1, 2, 3, 4, 5, 7, 8, 12, 13, 16, 24, 31, 40, 64, 100, 127, 240, 480, 500, 777, 1023, 1024}) {
      const bool half = ranks % 2 == 0;  // each profile with some
      for (const Partition partition : {Partition::heads, Partition::stream}) {
        const std::vector<std::uint64_t> sent = replayed(partition, c.tokens, c.heads, c.head_dim * (half ? 2 : 4), ranks);
        for (int rank = 0; rank < ranks; ++rank)
          ASSERT_EQ(attention_bytes(partition, half ? Numerics::bf16 : Numerics::f32, c.tokens, c.heads, c.head_dim, ranks, rank),
                    sent[static_cast<std::size_t>(rank)])
              << c.tokens << " tokens, rank " << rank << " of " << ranks;
      }
    }
}

TEST(Traffic, InBf16IsHalf) {
  for (const Partition partition : {Partition::heads, Partition::stream})
    for (const Numerics numerics : {Numerics::bf16, Numerics::bf16_amx})
      EXPECT_EQ(2 * attention_bytes(partition, numerics, 37, 5, 20, 3, 1), attention_bytes(partition, Numerics::f32, 37, 5, 20, 3, 1));
}

class Steps : public ::testing::Test {
 protected:
  static Experiment shot(const std::string& tables, int64_t frames = 5) {
    return parse_experiment("reel = 1\n[shot]\nprompt = \"a ball\"\nframes = " + std::to_string(frames) +
                                "\nsize = [64, 32]\n[model]\nconfig = \"wan2.1-t2v-1.3b\"\nweights = \"synthetic\"\n" + tables,
                            "/e.toml");
  }
  const model::Pipeline wan = model::Pipeline::synthetic("wan2.1-t2v-1.3b", 0);
};

TEST_F(Steps, AreLayersBranchesAndTheVelocity) {
  // 2 latent frames of 4 x 8, patches of 2 x 2: 16 tokens of 64 output channels, 30 layers, two calls a step.
  const auto attention = [](Partition p, int64_t rank) { return attention_bytes(p, Numerics::f32, 16, 12, 128, 3, rank); };
  const std::vector<std::uint64_t> sent = denoise_bytes(shot("[sampler]\nsteps = 7\n"), wan, 3, 7);
  for (int64_t r = 0; r < 3; ++r) {
    const std::uint64_t own = r == 0 ? 6 : 5;
    EXPECT_EQ(sent[static_cast<std::size_t>(r)], 7 * 2 * (30 * attention(Partition::heads, r) + 4 * own * 64 * 2)) << r;
  }
  EXPECT_EQ(denoise_bytes(shot("[sampler]\nsteps = 7\n"), wan, 3, 2)[1], sent[1] / 7 * 2) << "the last sitting";
  EXPECT_EQ(denoise_bytes(shot("[sampler]\nsteps = 7\nguidance = 1.0\n"), wan, 3, 7)[1], sent[1] / 2) << "one branch";
  const Experiment stream = shot("[sampler]\nsteps = 1\nguidance = 1.0\n[run]\npartition = \"stream\"\n");
  EXPECT_EQ(denoise_bytes(stream, wan, 3, 1)[2], 30 * attention(Partition::stream, 2) + 4 * 5 * 64 * 2);
  EXPECT_EQ(denoise_bytes(shot(""), wan, 1, 50), (std::vector<std::uint64_t>{0}));
}

TEST_F(Steps, InBf16SendHalfOfTheAttention) {
  const model::Pipeline half = model::Pipeline::synthetic("wan2.1-t2v-1.3b", 0, Numerics::bf16);
  const Experiment e = shot("[sampler]\nsteps = 1\nguidance = 1.0\n");
  const std::uint64_t attention = 30 * attention_bytes(Partition::heads, Numerics::f32, 16, 12, 128, 2, 0), velocity = 4 * 8 * 64;
  EXPECT_EQ(denoise_bytes(e, wan, 2, 1)[0], attention + velocity);
  EXPECT_EQ(denoise_bytes(e, half, 2, 1)[0], attention / 2 + velocity) << "the velocity stays f32";
}

TEST_F(Steps, OfTwoGroupsEachHasOneBranch) {
  // 3 ranks: two for the prompt, one for the negative; the first of each sends its velocity [16, 2, 4, 8] to both others.
  const std::vector<std::uint64_t> sent = denoise_bytes(shot("[sampler]\nsteps = 1\n[run]\nguidance_groups = 2\n"), wan, 3, 1);
  const std::uint64_t velocity = 4 * 16 * 2 * 4 * 8;
  const auto pair = [](int64_t rank) { return 30 * attention_bytes(Partition::heads, Numerics::f32, 16, 12, 128, 2, rank) + 4 * 8 * 64; };
  EXPECT_EQ(sent, (std::vector<std::uint64_t>{pair(0) + 2 * velocity, pair(1), 2 * velocity}));
}

TEST_F(Steps, OfTheLastSegmentsAreSmaller) {
  // 161 frames: segments of 21, 21 and 3 latent frames; the last sitting did the last segment and one step of the one before.
  const Experiment e = shot("[sampler]\nsteps = 4\nguidance = 1.0\n", 161);
  const auto step = [&](int64_t frames) {
    return 30 * attention_bytes(Partition::heads, Numerics::f32, frames * 8, 12, 128, 2, 0) + 4 * static_cast<std::uint64_t>(frames) * 4 * 64;
  };
  EXPECT_EQ(denoise_bytes(e, wan, 2, 5)[0], 4 * step(3) + step(21));
  EXPECT_EQ(denoise_bytes(e, wan, 2, 12)[0], 4 * step(3) + 8 * step(21));
}

LayoutRun run_of(const std::string& task, const std::string& layout, int64_t ranks, int64_t cores, double step_s, double flops) {
  LayoutRun r;
  r.task = task, r.layout = layout, r.ranks = ranks, r.cores = cores, r.step_s = step_s, r.step_flops = flops, r.num_steps = 3;
  r.formula_bytes = r.off_bytes = 0;
  return r;
}

TEST(Scaling, RowsAreMediansAgainstTheFewestCores) {
  std::vector<LayoutRun> runs;
  for (const double s : {10.0, 8.0, 30.0}) runs.push_back(run_of("strong", "1x1", 1, 1, s, 100));  // median 10
  for (const double s : {5.5, 4.0}) runs.push_back(run_of("strong", "2x1", 2, 2, s, 100));         // 4.75
  runs.push_back(run_of("strong", "1x2", 1, 2, 5, 100));
  runs.push_back(run_of("weak", "2x1", 2, 2, 12.5, 210));
  runs.push_back(run_of("weak", "1x2", 1, 2, 21, 210));
  runs.push_back({});  // nothing denoised in its last sitting
  runs[3].comm_share = 0.1, runs[4].comm_share = 0.3, runs[3].off_bytes = 12, runs[4].imbalance = 1.5;
  const std::vector<ScalingRow> rows = scaling_rows(runs);
  ASSERT_EQ(rows.size(), 5u);
  const ScalingRow &one = rows[0], &threads = rows[1], &ranks = rows[2], &slow = rows[3], &weak = rows[4];
  EXPECT_EQ(one.run.layout + threads.run.layout + ranks.run.layout + slow.run.layout + weak.run.layout, "1x11x22x11x22x1");
  EXPECT_EQ(one.num_runs, 3);
  EXPECT_EQ(one.run.step_s, 10);
  EXPECT_EQ(one.low_s, 8);
  EXPECT_EQ(one.high_s, 30);
  EXPECT_EQ(one.speed_up, 1);
  EXPECT_EQ(one.weak_efficiency, 1);
  EXPECT_EQ(threads.speed_up, 2);
  EXPECT_EQ(threads.efficiency, 1);
  EXPECT_DOUBLE_EQ(ranks.speed_up, 10 / 4.75);
  EXPECT_DOUBLE_EQ(ranks.efficiency, 10 / 4.75 / 2);
  EXPECT_DOUBLE_EQ(ranks.run.comm_share, 0.2);
  EXPECT_DOUBLE_EQ(ranks.run.imbalance, 1.25);
  EXPECT_EQ(ranks.run.off_bytes, 12) << "the largest, not the median";
  EXPECT_TRUE(std::isnan(ranks.weak_efficiency)) << "half of the work on each core";
  EXPECT_DOUBLE_EQ(weak.weak_efficiency, (210 / 12.5 / 2) / (100 / 10.0));
  EXPECT_EQ(weak.speed_up, 1) << "the fastest on the fewest cores of its task";
  EXPECT_DOUBLE_EQ(slow.speed_up, 12.5 / 21);
}

TEST(Scaling, WorkOfAnotherModelIsAnother) {
  std::vector<LayoutRun> runs{run_of("a", "1x1", 1, 1, 10, 100), run_of("b", "1x2", 1, 2, 10, 200), run_of("c", "1x4", 1, 4, 10, 400)};
  runs[0].model = "small";
  const std::vector<ScalingRow> rows = scaling_rows(runs);
  EXPECT_EQ(rows[1].weak_efficiency, 1) << "its own base";
  EXPECT_EQ(rows[2].weak_efficiency, 1);
}

TEST(Scaling, TextAndJsonSayWhatIsKnown) {
  std::vector<LayoutRun> runs{run_of("t", "1x1", 1, 1, 10, 100), run_of("t", "2x1", 2, 2, 5, 100), run_of("t", "4x1", 4, 2, 5, 100)};
  EXPECT_EQ(scaling_text(scaling_rows({runs[0], run_of("other", "2x1", 2, 2, 5, 100)})), "") << "no task has two layouts";
  runs[0].what = "shot.size=[32,32]";
  runs[1].off_bytes = 8;
  runs[2].off_bytes = runs[2].formula_bytes = std::nan("");
  runs[2].oversubscribed = true;
  const std::string text = scaling_text(scaling_rows(runs));
  for (const char* part : {"task t  shot.size=[32,32]", "equal", "off 8 B", "unknown", "4x1 *", "* more threads than cores"}) expect_contains(text, part);
  const nlohmann::json j = nlohmann::json::parse(scaling_json(scaling_rows(runs)));
  EXPECT_EQ(j[1]["speed_up"], 2);
  EXPECT_EQ(j[1]["off_bytes"], 8);
  EXPECT_TRUE(j[2]["formula_bytes"].is_null());
}

}  // namespace
}  // namespace reel::study
