// The denoising loss against the sum rebuilt with plain loops, and the properties that pairs of films rest on.
#include "core/parallel.hpp"
#include "golden.hpp"
#include "model/denoising_loss.hpp"
#include "model/noise.hpp"

namespace reel::model {
namespace {

using std::int64_t;

struct DenoisingLoss : testing::Test {
  Pipeline pipeline = Pipeline::open(golden::fixtures + "pipeline_expand");
  Team team;
  Transformer transformer{load_transformer(pipeline, team)};
  Context prompt = [&] {
    Observer silent;
    return transformer.encode_context(encode_prompts(pipeline, team, {"a red ball"}, silent)[0]);
  }();
  Tensor latents = [] {
    Tensor t({16, 3, 2, 4});
    philox_normal(5, "test", 0, t.size(), t.data());
    return t;
  }();

  std::vector<double> loss(std::vector<double> sigmas, int64_t num_clean = 0, std::uint64_t seed = 7) {
    return denoising_loss(team, transformer, pipeline.scheduler(), prompt, latents, num_clean, seed, sigmas);
  }
  /// Straight from the formula: index by index, clean frames judged too when `count_clean`.
  double oracle(float sigma, const std::string& stream, int64_t num_clean, bool count_clean = false) {
    Tensor noise({16, 3, 2, 4}), x({16, 3, 2, 4});
    philox_normal(7, stream, 0, noise.size(), noise.data());
    std::vector<float> timesteps;  // 2 x 2 patches: 1 x 2 tokens in each frame
    for (int64_t t = 0; t < 3; ++t) timesteps.insert(timesteps.end(), 2, t < num_clean ? 0.0f : 1000 * sigma);
    const auto at = [](int64_t c, int64_t t, int64_t y, int64_t z) { return ((c * 3 + t) * 2 + y) * 4 + z; };
    const auto each = [&](auto body) {
      for (int64_t c = 0; c < 16; ++c)
        for (int64_t t = 0; t < 3; ++t)
          for (int64_t y = 0; y < 2; ++y)
            for (int64_t z = 0; z < 4; ++z) body(t, at(c, t, y, z));
    };
    each(
        [&](int64_t t, int64_t i) { x[i] = t < num_clean ? latents[i] : (1 - sigma) * latents[i] + sigma * noise[i]; });
    const Tensor v = transformer.forward(team.branch, team.partition, x, timesteps, prompt);
    double sum = 0;
    int count = 0;
    each([&](int64_t t, int64_t i) {
      if (t < num_clean && !count_clean) return;
      sum += std::pow(double{v[i]} - (double{noise[i]} - double{latents[i]}), 2);
      ++count;
    });
    return sum / count;
  }
};

TEST_F(DenoisingLoss, IsTheMeanSquareThatItSays) {
  const std::vector<double> all = loss({0.25, 0.9});
  ASSERT_EQ(all.size(), 2u);
  EXPECT_NEAR(all[0], oracle(0.25f, "denoising_loss/0.25", 0), 1e-6 * all[0]);
  EXPECT_NEAR(all[1], oracle(0.9f, "denoising_loss/0.9", 0), 1e-6 * all[1]);
  for (const int64_t num_clean : {1, 2}) {
    const double some = loss({0.5}, num_clean)[0];
    EXPECT_NEAR(some, oracle(0.5f, "denoising_loss/0.5", num_clean), 1e-6 * some);
    // Controls: what it would be with the clean frames counted, or with them noisy.
    EXPECT_GT(std::abs(some - oracle(0.5f, "denoising_loss/0.5", num_clean, true)), 1e-3 * some);
    EXPECT_GT(std::abs(some - oracle(0.5f, "denoising_loss/0.5", 0)), 1e-3 * some);
  }
  EXPECT_GT(std::abs(all[0] - oracle(0.25f, "denoising_loss/0.9", 0)), 1e-3 * all[0]);
}

TEST_F(DenoisingLoss, LevelsDoNotDependOnEachOther) {
  const std::vector<double> three = loss({0.1, 0.5, 1.0}, 1), other = loss({1.0, 0.1}, 1);
  EXPECT_EQ(three[0], other[1]);
  EXPECT_EQ(three[2], other[0]);
  EXPECT_NE(loss({0.5}, 0, 7), loss({0.5}, 0, 8));
  EXPECT_TRUE(loss({}).empty());
}

TEST_F(DenoisingLoss, SameBitsOnAnyThreads) {
  const std::vector<double> one = loss({0.3, 0.7}, 1);
  set_num_threads(3);
  const std::vector<double> three = loss({0.3, 0.7}, 1);
  set_num_threads(1);
  EXPECT_EQ(one, three);
}

TEST_F(DenoisingLoss, RefusesWhatCannotBe) {
  const auto refused = [&](std::vector<double> sigmas, int64_t num_clean) {
    try {
      loss(std::move(sigmas), num_clean);
      return false;
    } catch (const Error& e) {
      return e.exit() == Exit::usage;
    }
  };
  EXPECT_TRUE(refused({0.0}, 0));
  EXPECT_TRUE(refused({1.5}, 0));
  EXPECT_TRUE(refused({std::nan("")}, 0));
  EXPECT_TRUE(refused({0.5}, 3));
  EXPECT_TRUE(refused({0.5}, -1));
  latents = Tensor::zeros({8, 3, 2, 4});
  EXPECT_TRUE(refused({0.5}, 0));
  latents = Tensor::zeros({16, 3, 2, 4});
  latents[0] = std::nanf("");
  EXPECT_THROW(loss({0.5}), Error);
}

}  // namespace
}  // namespace reel::model
