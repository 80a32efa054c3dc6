// What a run will need, against values worked out by hand from published shapes.
#include "study/forecast.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "study/scaling.hpp"

namespace reel::study {
namespace {

// Wan 2.1 1.3B: D = 1536, ffn F = 8960, 30 layers, 12 heads of 128, 1,418,996,800 parameters.
constexpr double parameters = 1'418'996'800;

Experiment shot(const std::string& tables = "", std::int64_t frames = 81) {
  return parse_experiment("reel = 1\n[shot]\nprompt = \"a ball\"\nframes = " + std::to_string(frames) +
                              "\nsize = [832, 480]\n[model]\nconfig = \"wan2.1-t2v-1.3b\"\nweights = \"synthetic\"\n" + tables,
                          "/e.toml");
}

const model::Pipeline& wan() {
  static const model::Pipeline pipeline = model::Pipeline::synthetic("wan2.1-t2v-1.3b", 0);
  return pipeline;
}

TEST(Forecast, OperationsOfAPublishedShot) {
  // 21 latent frames of 60 x 104, patches of 1 x 2 x 2: N = 32,760 tokens. A call is
  //   products         30 (12 N D^2 + 4 N D F) + 2 N D (16 + 16) 4  =  81,940,850,933,760
  //   self-attention   30 * 4 N^2 D                                 = 197,815,468,032,000
  //   cross-attention  30 * 4 N * 512 D                             =   3,091,621,478,400
  // and 50 steps with guidance are a hundred calls: 28.3 PFLOP.
  const Forecast f = forecast(shot(), wan(), 1, 1);
  EXPECT_DOUBLE_EQ(f.denoise_flops, 100 * 282'847'940'444'160.0);
  EXPECT_DOUBLE_EQ(f.decode_flops, 271'313'775'083'520.0);
  EXPECT_DOUBLE_EQ(forecast(shot("[sampler]\nguidance = 1.0\n"), wan(), 1, 1).denoise_flops, 50 * 282'847'940'444'160.0);
  EXPECT_DOUBLE_EQ(forecast(shot("[sampler]\nsteps = 4\n"), wan(), 1, 1).denoise_flops, 8 * 282'847'940'444'160.0);
  EXPECT_DOUBLE_EQ(forecast(shot(), wan(), 64, 2).denoise_flops, f.denoise_flops) << "of all ranks, however many";
}

TEST(Forecast, LongShotsAreSegments) {
  // 161 frames are 41 latent ones: [0, 21) [19, 40) [38, 41), overlapping by two. The last has N = 3 * 1560 = 4,680 tokens:
  //   30 (12 N D^2 + 4 N D F) + 2 N D 128 + 30 * 4 N^2 D + 30 * 4 N * 512 D  =  16,184,546,426,880
  constexpr double n = 4680, d = 1536, ffn = 8960;
  constexpr double last = 30 * (12 * n * d * d + 4 * n * d * ffn) + 2 * n * d * 128 + 30 * 4 * n * n * d + 30 * 4 * n * 512 * d;
  static_assert(last == 16'184'546'426'880.0);
  EXPECT_DOUBLE_EQ(forecast(shot("", 161), wan(), 1, 1).denoise_flops, 100 * (2 * 282'847'940'444'160.0 + last));
}

TEST(Forecast, MemoryOfANode) {
  // f32 weights once; latents 4 * 16 * 21 * 60 * 104 on every rank; then the larger of
  //   denoising  ten arrays [N, D]                                     40 * 32,760 * 1536       =  2,012,774,400
  //   decoding   40 arrays [px, 96] of the last level, and the film    4 * 40 * 399,360 * 96    =  6,134,169,600
  constexpr double weights = 4 * parameters, latents = 8'386'560, decoding = 6'134'169'600, film = 3.0 * 832 * 480 * 81;
  EXPECT_DOUBLE_EQ(forecast(shot(), wan(), 1, 1).memory_bytes, weights + latents + decoding + 2 * film);
  EXPECT_DOUBLE_EQ(forecast(shot("[output]\npixels = false\n"), wan(), 1, 1).memory_bytes, weights + latents + decoding + film);
  // Two of four ranks: half of the work, the weights once, the latents twice.
  EXPECT_DOUBLE_EQ(forecast(shot(), wan(), 4, 2).memory_bytes, weights + 2 * latents + decoding / 2 + 2 * film);
}

TEST(Forecast, DiskOfAResult) {
  constexpr double latents = 8'386'560, film = 3.0 * 832 * 480 * 81;
  const Forecast f = forecast(shot(), wan(), 1, 1);
  EXPECT_DOUBLE_EQ(f.disk_bytes, film + latents + 0.02 * film);
  EXPECT_DOUBLE_EQ(f.checkpoint_bytes, 2 * (latents + film)) << "two generations; the film outweighs the solver's history";
  EXPECT_DOUBLE_EQ(forecast(shot("[output]\npixels = false\nlatents = false\n"), wan(), 1, 1).disk_bytes, 0.02 * film);
}

TEST(Prediction, StepsAreCountedFromTheEnd) {
  const Prediction p{{1, 10, 100}, 0};  // three segments of two steps
  EXPECT_EQ(p.last_steps_s(0, 2), 0);
  EXPECT_EQ(p.last_steps_s(1, 2), 100);
  EXPECT_EQ(p.last_steps_s(3, 2), 210);
  EXPECT_EQ(p.last_steps_s(6, 2), 222);
}

TEST(Prediction, ASlowNetworkIsWhatAStepTakes) {
  const Experiment e = parse_experiment("reel = 1\n[shot]\nprompt = \"a ball\"\nframes = 5\nsize = [64, 64]\n[model]\npath = \"m\"\n[run]\nranks = 4\n", "/e.toml");
  const model::Pipeline pipeline = model::Pipeline::open(std::filesystem::path(REEL_SOURCE_DIR) / "datasets/models/backlot-1");
  // Four ranks on two nodes: of what a rank sends two of three parts leave the node, whose two ranks share a network of a byte
  // per second. Four waits in each block of both guidance calls.
  const std::vector<std::uint64_t> sent = denoise_bytes(e, pipeline, 4, 1);
  const double busiest = static_cast<double>(*std::max_element(sent.begin(), sent.end()));
  const Prediction far = predict(e, pipeline, 4, 2, 1, {0.5, 1});
  ASSERT_EQ(far.step_s.size(), 1u);
  EXPECT_DOUBLE_EQ(far.step_s[0], busiest * 2 * (2.0 / 3) + 0.5 * 4 * 2 * static_cast<double>(pipeline.transformer().num_layers));
  Experiment shared = e;
  shared.run.shard_weights = true;
  const double blocks = 4.0 * static_cast<double>(model::num_block_parameters(pipeline.transformer())) * std::ceil(static_cast<double>(pipeline.transformer().num_layers) / 2);
  EXPECT_DOUBLE_EQ(predict(shared, pipeline, 4, 2, 1, {0.5, 1}).step_s.at(0), far.step_s[0] + 2 * blocks) << "half of the blocks to the other node, in both calls";
  // On one node there is no network; what is left are kernels of this machine, whose times no test can know.
  for (const Prediction& near : {predict(e, pipeline, 4, 4, 1, {0.5, 1}), predict(e, pipeline, 4, 2, 1)}) {
    EXPECT_GT(near.step_s.at(0), 0);
    EXPECT_LT(near.step_s.at(0), busiest);
    EXPECT_GT(near.decode_s, 0);
  }
}

}  // namespace
}  // namespace reel::study
