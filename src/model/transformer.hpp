#pragma once
// WanTransformer3DModel: predicts the flow velocity of video latents. Tokens are split over ranks in contiguous slices;
// weights are shared by the ranks of a node, and blocks of them may lie on other nodes.
// Legend: N tokens of all ranks, n of this one, D = heads * d, S context length, P patch size.
#include <memory>
#include <span>
#include <vector>

#include "core/comm.hpp"
#include "core/tensor.hpp"
#include "model/config.hpp"
#include "model/self_attention.hpp"
#include "model/weights.hpp"

namespace reel::model {

/// What one prompt contributes to every step: keys and values of the cross-attention, per block and head.
struct Context {
  std::vector<std::vector<PackedHead>> heads;  ///< [layer][head]
};

/// Receives named intermediate results of a forward call (tests compare them with diffusers): rows [n, width].
using Probe = void (*)(void* context, const char* name, std::int64_t layer, const float* rows, std::int64_t num_rows,
                       std::int64_t width);

/// Number of tokens of latents [C, T, H, W]. Throws Error (usage) if the patch does not divide them or if an axis has
/// more positions than the model knows.
std::int64_t num_tokens(const TransformerConfig& config, const Shape& latents);

class Transformer {
 public:
  /// Collective over `node`. Throws Error (input) when the weights do not fit the config. With more than one of `nodes` each
  /// of them holds its share of the blocks; then the calls below are collective over all ranks of all nodes.
  Transformer(const TransformerConfig& config, const TensorSource& source, const Comm& node, Numerics numerics = Numerics::f32, const Nodes& nodes = {});
  ~Transformer();
  Transformer(Transformer&&) noexcept;

  const TransformerConfig& config() const noexcept { return config_; }

  /// text [S, text_dim]: all S rows are attended, padding included. Replicated on every rank; local when one node holds all blocks.
  Context encode_context(const Tensor& text) const;

  /// Velocity [C_out, T, H, W] of `latents` [C_in, T, H, W], the same on every rank. `timesteps` holds one value, or one
  /// per token (expand_timesteps). T, H, W must be multiples of the patch. Collective over `comm`.
  Tensor forward(const Comm& comm, Partition partition, const Tensor& latents, std::span<const float> timesteps,
                 const Context& context) const;

  /// Floats of weights in memory on this node.
  std::int64_t num_floats_here() const noexcept { return store_.size() + blocks_.num_floats(); }
  /// Bytes of weights that this rank sends to other nodes in each call of encode_context and forward.
  std::int64_t weight_bytes_sent() const noexcept { return blocks_.pass_bytes(); }

  std::int64_t num_tokens(const Shape& latents) const { return model::num_tokens(config_, latents); }

  void set_probe(Probe probe, void* context) {
    probe_ = probe;
    probe_context_ = context;
  }

 private:
  struct Weights;
  struct Modulation;
  TransformerConfig config_;
  Numerics numerics_;
  SharedFloats store_;
  SharedBlocks blocks_;
  std::unique_ptr<Weights> weights_;
  Probe probe_ = nullptr;
  void* probe_context_ = nullptr;
};

/// Sinusoidal embedding of a timestep: [cos(t f_0) ..., sin(t f_0) ...], f_k = 10000^(-k/half), all f32. out[freq_dim].
void timestep_embedding(float timestep, std::int64_t freq_dim, float* out);

/// Rotary angles of one axis of width m: cos and sin of position * 10000^(-2k/m), k < m/2, rounded from double.
struct RotaryAxis {
  std::int64_t pairs;
  std::vector<float> cos, sin;  ///< [positions, pairs]
};
RotaryAxis rotary_axis(std::int64_t width, std::int64_t positions);

/// Floating-point operations (2 per multiply-add) of one forward call, by kind.
struct TransformerFlops {
  double products, self_attention, cross_attention;
  double total() const noexcept { return products + self_attention + cross_attention; }
};
TransformerFlops transformer_flops(const TransformerConfig& config, std::int64_t num_tokens, std::int64_t context_length);

}  // namespace reel::model
