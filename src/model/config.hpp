#pragma once
// Shapes of the models, read from the config.json files of a diffusers pipeline folder or by published name.
#include <cstdint>
#include <string>
#include <vector>

#include "core/tensor.hpp"

namespace reel::model {

/// WanTransformer3DModel. D = num_heads * head_dim.
struct TransformerConfig {
  std::int64_t patch_t = 1, patch_h = 2, patch_w = 2;
  std::int64_t num_heads = 40, head_dim = 128, in_channels = 16, out_channels = 16;
  std::int64_t text_dim = 4096, freq_dim = 256, ffn_dim = 13824, num_layers = 40, rope_max_seq_len = 1024;
  bool cross_attn_norm = true;
  double eps = 1e-6;
  std::int64_t width() const noexcept { return num_heads * head_dim; }
  std::int64_t patch_size() const noexcept { return patch_t * patch_h * patch_w; }
};

/// AutoencoderKLWan: Wan 2.1 structure, or Wan 2.2 (is_residual: shortcuts around every change of size).
struct VaeConfig {
  bool is_residual = false;
  std::int64_t base_dim = 96, decoder_base_dim = 96, z_dim = 16, num_res_blocks = 2, in_channels = 3, out_channels = 3;
  std::int64_t patch_size = 1, scale_factor_temporal = 4, scale_factor_spatial = 8;
  std::vector<std::int64_t> dim_mult{1, 2, 4, 4};
  std::vector<bool> temporal_downsample{false, true, true};
  std::vector<float> latents_mean, latents_std;
};

/// UMT5EncoderModel.
struct TextEncoderConfig {
  std::int64_t vocab_size = 256384, d_model = 4096, d_kv = 64, d_ff = 10240, num_layers = 24, num_heads = 64;
  std::int64_t num_buckets = 32, max_distance = 128;
  double eps = 1e-6;
};

/// Each takes the JSON text and the name of its file for messages. Throws Error (input) on what Reel does not render.
TransformerConfig parse_transformer(const std::string& json, const std::string& file);
VaeConfig parse_vae(const std::string& json, const std::string& file);
TextEncoderConfig parse_text_encoder(const std::string& json, const std::string& file);

/// A published shape by name ("wan2.1-t2v-1.3b", "wan2.1-t2v-14b", "wan2.2-ti2v-5b").
struct Published {
  TransformerConfig transformer;
  VaeConfig vae;
  TextEncoderConfig text_encoder;
  double flow_shift = 3.0;
  bool expand_timesteps = false;
};
Published published(const std::string& name);
std::vector<std::string> published_names();

/// Number of weights, by the tensors of wan-architecture (checked against the published counts in a test). With `num_nodes`
/// that share out the blocks (run.shard_weights): in memory on the first of them, which has the most.
std::int64_t num_parameters(const TransformerConfig& config, std::int64_t num_nodes = 1);
/// Of one block.
std::int64_t num_block_parameters(const TransformerConfig& config);

}  // namespace reel::model
