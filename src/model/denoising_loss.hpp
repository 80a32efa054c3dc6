#pragma once
// How badly a model denoises a given film: the loss that it was trained with, so a bound on how unlikely it finds the film.
#include <cstdint>
#include <span>
#include <vector>

#include "core/tensor.hpp"
#include "model/generate.hpp"

namespace reel::model {

/// Latents [C, T, h, w], normalised, of a film: the mean of the encoder for video [3, F, H, W] in [-1, 1]. Collective.
Tensor encode_film(const Team& team, const Vae& vae, const Tensor& video);

/// Flow-matching loss of `latents` [C, T, h, w] at each noise level of `sigmas`, in their order:
///   x = (1 - sigma) latents + sigma noise;   mean over elements of (velocity(x, 1000 sigma) - (noise - latents))^2,
/// 1000 standing for the scheduler's num_train_timesteps. The first `num_clean` latent frames are given: they stay clean,
/// carry timestep 0 and do not count. The noise is Philox of (seed, "denoising_loss/<sigma>", element): a level's noise
/// depends neither on the film nor on the other levels, so that the losses of two films of one shape can be subtracted.
/// x and the target in f32, the squares and their sum, in element order, in double. Only the model's width of numbers
/// limits the loss from below: 0 for a model that knows film and noise, 2 and more for one that says nothing about
/// latents of unit variance. Collective over `team.branch`, the same bits on any ranks and threads.
/// Throws Error: usage for a sigma outside of (0, 1], for clean frames that leave nothing to judge, are no multiple of
/// the patch or that this model cannot be given (expand_timesteps is the caller's to check), for latents of other
/// channels; launch for more ranks than tokens; nonfinite.
std::vector<double> denoising_loss(const Team& team, const Transformer& transformer, const SchedulerConfig& scheduler,
                                   const Context& prompt, const Tensor& latents, std::int64_t num_clean, std::uint64_t seed,
                                   std::span<const double> sigmas);

}  // namespace reel::model
