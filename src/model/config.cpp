#include "model/config.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>

#include "core/error.hpp"

namespace reel::model {
namespace {

using nlohmann::json;

// A value for a message; not what is nested, which may be deeper than the stack.
std::string shown(const json& value) { return value.is_structured() ? std::string(value.type_name()) : value.dump(); }

// Reads keys of one config object; a missing or null key keeps the default, a wrong type is an error with the file.
class Reader {
 public:
  Reader(const std::string& text, const std::string& file, const std::string& class_name) : file_(file) {
    try {
      object_ = json::parse(text);
    } catch (const json::exception& e) {
      throw Error(Exit::input, fmt::format("not valid JSON: {}", e.what()), file, "download the file again");
    }
    if (!object_.is_object()) throw Error(Exit::input, "the config is not a JSON object", file, "download the file again");
    if (const auto it = object_.find("_class_name"); it != object_.end() && *it != class_name)
      throw Error(Exit::input, fmt::format("class {} is not supported here", shown(*it)), file,
                  fmt::format("Reel expects {}", class_name));
  }

  template <class T>
  void get(const char* key, T& value) const {
    const auto it = object_.find(key);
    if (it == object_.end() || it->is_null()) return;
    try {
      value = it->get<T>();
    } catch (const json::exception&) {
      throw Error(Exit::input, fmt::format("key '{}' has the unusable value {}", key, shown(*it)), file_,
                  "restore the published config.json");
    }
  }
  void positive(const char* key, std::int64_t& value) const {
    get(key, value);
    if (value < 1 || value > (std::int64_t{1} << 24))
      throw Error(Exit::input, fmt::format("key '{}' = {} is out of range", key, value), file_,
                  "restore the published config.json");
  }
  void refuse(bool condition, const std::string& what) const {
    if (condition) throw Error(Exit::input, what, file_, "this model is outside what Reel renders");
  }
  bool null(const char* key) const {
    const auto it = object_.find(key);
    return it == object_.end() || it->is_null();
  }
  const std::string& file() const { return file_; }

 private:
  json object_;
  std::string file_;
};

const std::vector<float> wan21_mean{-0.7571f, -0.7089f, -0.9113f, 0.1075f, -0.1745f, 0.9653f, -0.1517f, 1.5508f,
                                    0.4134f,  -0.0715f, 0.5517f,  -0.3632f, -0.1922f, -0.9497f, 0.2503f, -0.2921f};
const std::vector<float> wan21_std{2.8184f, 1.4541f, 2.3275f, 2.6558f, 1.2196f, 1.7708f, 2.6052f, 2.0743f,
                                   3.2687f, 2.1526f, 2.8652f, 1.5579f, 1.6382f, 1.1253f, 2.8251f, 1.9160f};

}  // namespace

TransformerConfig parse_transformer(const std::string& text, const std::string& file) {
  const Reader r(text, file, "WanTransformer3DModel");
  TransformerConfig c;
  std::vector<std::int64_t> patch{1, 2, 2};
  r.get("patch_size", patch);
  r.refuse(patch.size() != 3 || std::any_of(patch.begin(), patch.end(), [](std::int64_t p) { return p < 1 || p > 64; }),
           "patch_size must be three positive numbers");
  c.patch_t = patch[0];
  c.patch_h = patch[1];
  c.patch_w = patch[2];
  r.positive("num_attention_heads", c.num_heads);
  r.positive("attention_head_dim", c.head_dim);
  r.positive("in_channels", c.in_channels);
  c.out_channels = c.in_channels;
  if (!r.null("out_channels")) r.positive("out_channels", c.out_channels);
  r.positive("text_dim", c.text_dim);
  r.positive("freq_dim", c.freq_dim);
  r.positive("ffn_dim", c.ffn_dim);
  r.positive("num_layers", c.num_layers);
  r.positive("rope_max_seq_len", c.rope_max_seq_len);
  r.get("cross_attn_norm", c.cross_attn_norm);
  r.get("eps", c.eps);
  r.refuse(!r.null("image_dim") || !r.null("added_kv_proj_dim"),
           "image conditioning by CLIP (image_dim, added_kv_proj_dim) is not rendered");
  r.refuse(c.head_dim % 2 != 0 || c.head_dim > 1024, "attention_head_dim must be even and at most 1024");
  r.refuse(c.freq_dim % 2 != 0, "freq_dim must be even");
  return c;
}

VaeConfig parse_vae(const std::string& text, const std::string& file) {
  const Reader r(text, file, "AutoencoderKLWan");
  VaeConfig c;
  r.positive("base_dim", c.base_dim);
  c.decoder_base_dim = c.base_dim;
  if (!r.null("decoder_base_dim")) r.positive("decoder_base_dim", c.decoder_base_dim);
  r.positive("z_dim", c.z_dim);
  r.get("dim_mult", c.dim_mult);
  r.positive("num_res_blocks", c.num_res_blocks);
  r.get("temperal_downsample", c.temporal_downsample);
  r.positive("in_channels", c.in_channels);
  r.positive("out_channels", c.out_channels);
  if (!r.null("patch_size")) r.positive("patch_size", c.patch_size);
  r.positive("scale_factor_temporal", c.scale_factor_temporal);
  r.positive("scale_factor_spatial", c.scale_factor_spatial);
  r.get("is_residual", c.is_residual);
  std::vector<double> scales;
  r.get("attn_scales", scales);
  r.refuse(!scales.empty(), "attn_scales must be empty");
  r.refuse(c.dim_mult.empty() || c.dim_mult.size() > 8 || c.temporal_downsample.size() + 1 != c.dim_mult.size(),
           "temperal_downsample must have one entry less than dim_mult");
  for (std::int64_t m : c.dim_mult) r.refuse(m < 1 || m > 64, "dim_mult must hold positive numbers");
  c.latents_mean = wan21_mean;
  c.latents_std = wan21_std;
  r.get("latents_mean", c.latents_mean);
  r.get("latents_std", c.latents_std);
  r.refuse(c.latents_mean.size() != static_cast<std::size_t>(c.z_dim) || c.latents_std.size() != c.latents_mean.size(),
           fmt::format("latents_mean and latents_std must hold z_dim = {} numbers", c.z_dim));
  std::int64_t spatial = c.patch_size, temporal = 1;
  for (bool t : c.temporal_downsample) {
    spatial *= 2;
    temporal *= t ? 2 : 1;
  }
  r.refuse(spatial != c.scale_factor_spatial || temporal != c.scale_factor_temporal,
           fmt::format("scale factors {} (space) and {} (time) do not follow from dim_mult, patch_size and "
                       "temperal_downsample, which give {} and {}",
                       c.scale_factor_spatial, c.scale_factor_temporal, spatial, temporal));
  const std::int64_t patch_area = c.patch_size * c.patch_size;
  r.refuse(c.in_channels != 3 * patch_area || c.out_channels != 3 * patch_area,
           fmt::format("in_channels and out_channels must be 3 x patch_size^2 = {}", 3 * patch_area));
  return c;
}

TextEncoderConfig parse_text_encoder(const std::string& text, const std::string& file) {
  const Reader r(text, file, "UMT5EncoderModel");
  TextEncoderConfig c;
  r.positive("vocab_size", c.vocab_size);
  r.positive("d_model", c.d_model);
  r.positive("d_kv", c.d_kv);
  r.positive("d_ff", c.d_ff);
  r.positive("num_layers", c.num_layers);
  r.positive("num_heads", c.num_heads);
  r.positive("relative_attention_num_buckets", c.num_buckets);
  r.positive("relative_attention_max_distance", c.max_distance);
  r.get("layer_norm_epsilon", c.eps);
  std::string projection = "gated-gelu";
  r.get("feed_forward_proj", projection);
  r.refuse(projection != "gated-gelu", fmt::format("feed_forward_proj '{}' is not umT5's gated-gelu", projection));
  r.refuse(c.num_buckets != 32 || c.max_distance != 128, "relative attention must have 32 buckets up to distance 128");
  return c;
}

std::vector<std::string> published_names() { return {"wan2.1-t2v-1.3b", "wan2.1-t2v-14b", "wan2.2-ti2v-5b"}; }

Published published(const std::string& name) {
  Published p;
  TransformerConfig& t = p.transformer;
  p.vae.latents_mean = wan21_mean;
  p.vae.latents_std = wan21_std;
  if (name == "wan2.1-t2v-1.3b") {
    t.num_heads = 12;
    t.ffn_dim = 8960;
    t.num_layers = 30;
  } else if (name == "wan2.1-t2v-14b") {
    // the defaults of the class
  } else if (name == "wan2.2-ti2v-5b") {
    t.num_heads = 24;
    t.ffn_dim = 14336;
    t.num_layers = 30;
    t.in_channels = t.out_channels = 48;
    p.flow_shift = 5.0;
    p.expand_timesteps = true;
    p.vae.is_residual = true;
    p.vae.base_dim = 160;
    p.vae.decoder_base_dim = 256;
    p.vae.z_dim = 48;
    p.vae.patch_size = 2;
    p.vae.in_channels = p.vae.out_channels = 12;
    p.vae.scale_factor_spatial = 16;
    // The published statistics are in its config file; with synthetic weights they have no meaning.
    p.vae.latents_mean.assign(48, 0.0f);
    p.vae.latents_std.assign(48, 1.0f);
  } else {
    std::string known;
    for (const std::string& n : published_names()) known += (known.empty() ? "" : ", ") + n;
    throw Error(Exit::usage, fmt::format("unknown model '{}'", name), "model.config", "known models: " + known);
  }
  return p;
}

std::int64_t num_block_parameters(const TransformerConfig& c) {
  const std::int64_t d = c.width(), attention = 4 * (d * d + d) + 2 * d;
  return 6 * d + 2 * attention + (c.cross_attn_norm ? 2 * d : 0) + 2 * d * c.ffn_dim + c.ffn_dim + d;
}

std::int64_t num_parameters(const TransformerConfig& c, std::int64_t num_nodes) {
  const std::int64_t d = c.width(), p = c.patch_size();
  const std::int64_t condition = d * c.freq_dim + d + d * d + d + 6 * (d * d + d) + d * c.text_dim + d + d * d + d;
  const std::int64_t here = (c.num_layers + num_nodes - 1) / num_nodes + std::min<std::int64_t>(2, num_nodes - 1);  // as SharedBlocks
  return d * c.in_channels * p + d + condition + here * num_block_parameters(c) + 2 * d + c.out_channels * p * (d + 1);
}

}  // namespace reel::model
