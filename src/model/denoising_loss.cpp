#include "model/denoising_loss.hpp"

#include <algorithm>
#include <cmath>

#include "model/noise.hpp"

namespace reel::model {

using std::int64_t;

std::vector<double> denoising_loss(const Team& team, const Transformer& transformer, const SchedulerConfig& scheduler,
                                   const Context& prompt, const Tensor& latents, int64_t num_clean, std::uint64_t seed,
                                   std::span<const double> sigmas) {
  const TransformerConfig& c = transformer.config();
  if (latents.shape().size() != 4 || latents.dim(0) != c.in_channels || c.in_channels != c.out_channels)
    throw Error(Exit::usage,
                fmt::format("latents {} for a model of {} channels", to_string(latents.shape()), c.in_channels),
                "denoising loss", "encode the film with the model's own autoencoder");
  const int64_t num_tokens = transformer.num_tokens(latents.shape()), num_frames = latents.dim(1);
  if (num_clean < 0 || num_clean >= num_frames || num_clean % c.patch_t != 0)
    throw Error(Exit::usage, fmt::format("{} clean latent frames of {}", num_clean, num_frames), "denoising loss",
                fmt::format("use fewer than {}, a multiple of {}", num_frames, c.patch_t));
  for (const double sigma : sigmas)
    if (!(sigma > 0 && sigma <= 1))
      throw Error(Exit::usage, fmt::format("a noise level of {}", sigma), "denoising loss",
                  "use levels above 0, up to 1");
  if (num_tokens < team.branch.size())
    throw Error(Exit::launch,
                fmt::format("{} ranks for {} tokens: some would have none", team.branch.size(), num_tokens),
                "run.ranks", fmt::format("start at most {} ranks", num_tokens));

  const int64_t area = latents.dim(2) * latents.dim(3);
  const int64_t clean_tokens = num_tokens / (num_frames / c.patch_t) * (num_clean / c.patch_t);
  const auto is_clean = [&](int64_t element) { return element / area % num_frames < num_clean; };
  Tensor noise(latents.shape()), input(latents.shape());
  std::vector<double> losses;
  for (const double level : sigmas) {
    philox_normal(seed, fmt::format("denoising_loss/{}", level), 0, noise.size(), noise.data());
    const auto sigma = static_cast<float>(level);
    for (int64_t i = 0; i < input.size(); ++i)
      input[i] = is_clean(i) ? latents[i] : (1 - sigma) * latents[i] + sigma * noise[i];
    // As in `denoise`: one timestep for all tokens, or one for each.
    std::vector<float> timesteps(num_clean > 0 ? static_cast<std::size_t>(num_tokens) : 1,
                                 static_cast<float>(scheduler.num_train_timesteps) * sigma);
    std::fill_n(timesteps.begin(), clean_tokens, 0.0f);
    const Tensor velocity = transformer.forward(team.branch, team.partition, input, timesteps, prompt);
    double sum = 0;
    for (int64_t i = 0; i < velocity.size(); ++i) {
      if (is_clean(i)) continue;
      const double error = static_cast<double>(velocity[i]) - static_cast<double>(noise[i] - latents[i]);
      sum += error * error;
    }
    losses.push_back(sum / static_cast<double>(latents.dim(0) * (num_frames - num_clean) * area));
    if (!std::isfinite(losses.back()))
      throw Error(Exit::nonfinite, "the loss is not finite", fmt::format("denoising loss at noise level {}", level),
                  "compare the weights with their source (reel info --digest)");
  }
  return losses;
}

}  // namespace reel::model
