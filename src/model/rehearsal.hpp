#pragma once
// How long a forward call or a decode will take: every kernel timed now, on a piece of the run's own shape, times the work that
// the formulas count. The first of a shape costs about what one block of the transformer does.
#include <cstdint>

#include "model/config.hpp"
#include "model/weights.hpp"

namespace reel::model {

/// Seconds of one forward call on a rank that has the first of `ranks` shares of `num_tokens` tokens, with this process's threads.
/// Left out: communication, and what happens once a call (embeddings of time, patches).
double rehearse_forward(const TransformerConfig& config, Numerics numerics, std::int64_t num_tokens, std::int64_t ranks);

/// Seconds of decoding T latent frames of height x width latent pixels on one of `ranks` ranks, without communication.
double rehearse_decode(const VaeConfig& config, Numerics numerics, std::int64_t latent_frames, std::int64_t height, std::int64_t width, std::int64_t ranks);

}  // namespace reel::model
