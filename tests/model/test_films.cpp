// Whole films against diffusers' WanPipeline: tokens, text features, every step, latents, pixels.
#include "golden.hpp"

#include "model/generate.hpp"
#include "model/noise.hpp"

namespace reel::model {
namespace {

using golden::distance;
using std::int64_t;

constexpr double film_bound = 1e-4;

class FilmParity : public testing::TestWithParam<std::string> {};

TEST_P(FilmParity, EveryStepAndTheFilm) {
  const auto c = golden::find_case(GetParam());
  const auto& p = c["parameters"];
  const Pipeline pipeline = Pipeline::open(golden::fixtures + c["folder"].get<std::string>());
  const Team team;
  Observer silent;
  Sampling sampling;
  sampling.num_steps = p["num_inference_steps"];
  sampling.guidance_scale = p["guidance_scale"];
  const bool guided = sampling.guidance_scale > 1;
  const auto in = golden::open(GetParam() + ".in"), out = golden::open(GetParam() + ".out");
  std::vector<std::string> prompts{p["prompt"].get<std::string>()};
  if (guided) prompts.push_back(p.value("negative_prompt", std::string()));
  const std::vector<Tensor> features = encode_prompts(pipeline, team, prompts, silent);
  const Transformer transformer(pipeline.transformer(), *pipeline.weights(Pipeline::Part::transformer), team.node);
  const Vae vae(pipeline.vae(), *pipeline.weights(Pipeline::Part::vae), team.node);
  const Tensor noise = golden::item(golden::tensor(in, "latents"), 0);
  if (p.contains("seed")) {
    Tensor drawn(noise.shape());
    torch_normal(p["seed"].get<std::uint64_t>(), drawn.size(), drawn.data());
    EXPECT_LE(distance(drawn, noise), 1e-6);
  }
  Tensor clean;
  if (in.find("frames")) {
    clean = vae.normalise(vae.encode(team.world, golden::item(golden::tensor(in, "frames"), 0)));
    EXPECT_LE(distance(clean, golden::item(golden::tensor(in, "condition"), 0)), 1e-5);
  }
  const Context prompt = transformer.encode_context(features[0]);
  const Context negative = guided ? transformer.encode_context(features[1]) : Context{};
  std::vector<Tensor> steps;
  const Tensor latents = denoise(team, transformer, pipeline.scheduler(), sampling, prompt, negative, noise, clean, silent,
                                 [&](const DenoiseState& now) { steps.push_back(now.sample); });
  if (GetParam() != "pipeline_long_prompt") {
    const Tensor want = golden::tensor(golden::open(GetParam() + ".mid"), "steps");
    ASSERT_EQ(static_cast<int64_t>(steps.size()), want.dim(0));
    for (int64_t k = 0; k < want.dim(0); ++k)
      EXPECT_LE(distance(steps[static_cast<std::size_t>(k)], golden::item(want, k)), film_bound) << "step " << k;
  }
  EXPECT_LE(distance(latents, golden::item(golden::tensor(out, "latents"), 0)), film_bound);

  const Tensor want = golden::tensor(out, "video");  // [F, H, W, 3] in [0, 1]
  Tensor video(want.shape());
  vae.decode(team.world, vae.denormalise(latents), [&](int64_t first, const Tensor& frames) {
    for (int64_t i = 0; i < frames.size(); ++i)
      video.row(first)[i] = std::min(1.0f, std::max(0.0f, frames[i] * 0.5f + 0.5f));
  });
  EXPECT_LE(distance(video, want), film_bound);
  RecordProperty("video_distance", std::to_string(distance(video, want)));
}
INSTANTIATE_TEST_SUITE_P(Cases, FilmParity, testing::ValuesIn(golden::cases("pipeline")),
                         [](const auto& info) { return info.param; });

TEST(Segments, CoverTheShotAndOverlap) {
  for (int64_t frames : {1, 8, 9, 10, 11, 17, 40, 61})
    for (int64_t overlap : {1, 2, 8}) {
      const auto segments = plan_segments(frames, 9, overlap);
      EXPECT_EQ(segments.front().begin, 0);
      EXPECT_EQ(segments.back().end, frames);
      for (std::size_t i = 0; i < segments.size(); ++i) {
        EXPECT_LE(segments[i].end - segments[i].begin, 9);
        if (i == 0) continue;
        EXPECT_EQ(segments[i].begin, segments[i - 1].end - overlap);
        EXPECT_GT(segments[i].end, segments[i - 1].end);
      }
    }
  EXPECT_THROW(plan_segments(10, 9, 0), Error);
  EXPECT_THROW(plan_segments(10, 9, 9), Error);
}

}  // namespace
}  // namespace reel::model
