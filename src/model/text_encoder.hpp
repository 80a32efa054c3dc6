#pragma once
// UMT5EncoderModel: token ids to text features. Layers are loaded, used for all prompts and dropped one by one, so the
// largest encoder needs the memory of one layer. Every rank computes the same; the ranks of a node share the weights.
#include <cstdint>
#include <vector>

#include "core/comm.hpp"
#include "core/tensor.hpp"
#include "model/config.hpp"
#include "model/weights.hpp"

namespace reel::model {

/// Hidden states [len, d_model] of each prompt's ids (valid tokens only: padding never reaches them). Collective over
/// `node`. Throws Error (input) for ids outside the vocabulary and for weights that do not fit.
std::vector<Tensor> encode_text(const TextEncoderConfig& config, const TensorSource& source, const Comm& node,
                                const std::vector<std::vector<std::int64_t>>& prompts, Numerics numerics = Numerics::f32);

/// Bucket of the distance key - query: 16 for positive distances, plus 0..7 for |distance| < 8, then logarithmic.
std::int64_t relative_bucket(std::int64_t distance);

/// Floating-point operations of encoding `length` tokens.
double text_encoder_flops(const TextEncoderConfig& config, std::int64_t length);

}  // namespace reel::model
