#pragma once
// How badly a model denoises a given film: the loss it was trained with, and so a bound on how unlikely it finds the
// film.
#include <cstdint>
#include <span>
#include <vector>

#include "core/tensor.hpp"
#include "model/generate.hpp"

namespace reel::model {

/// Flow-matching loss of normalised latents [C, T, h, w] at each noise level of `sigmas`, in their order:
///   x = (1 - sigma) latents + sigma noise,
///   mean over elements of (velocity(x, num_train_timesteps sigma) - (noise - latents))^2.
/// The first `num_clean` latent frames are given: they stay clean, carry timestep 0 and do not count. The noise is
/// Philox of (seed, "denoising_loss/<sigma>", element): that of one level depends neither on the film nor on the other
/// levels, so the losses of two films of one shape can be subtracted. x and target in f32, the squares and their sum
/// over the elements, in order, in double. 0 for a model that knows film and noise; a model that always answers 0 has
/// the mean of latents^2, plus about 1. Collective over `team.branch`, the same bits on any ranks and threads. Lipman
/// et al. 2023. Throws Error: usage for latents of the wrong shape, a sigma outside (0, 1], clean frames that leave
/// nothing to judge or are no multiple of the patch; launch for more ranks than tokens; nonfinite. Whether the model
/// can be given clean frames (Pipeline::expand_timesteps) is for the caller to check.
std::vector<double> denoising_loss(const Team& team, const Transformer& transformer, const SchedulerConfig& scheduler,
                                   const Context& prompt, const Tensor& latents, std::int64_t num_clean,
                                   std::uint64_t seed, std::span<const double> sigmas);

}  // namespace reel::model
