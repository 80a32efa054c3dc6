#include "model/transformer.hpp"

#include <algorithm>
#include <cmath>

#include "kernels/exact_math.hpp"

namespace reel::model {
namespace {

using std::int64_t;

struct Attention {
  Linear q, k, v, out;
  const float *norm_q, *norm_k;
};

struct Block {
  const float* scale_shift_table;  // [6, D]
  Attention self, cross;
  const float *norm2_weight, *norm2_bias;  // null without cross_attn_norm
  Linear ffn_in, ffn_out;
};

Attention bind_attention(Binder& b, const std::string& name, int64_t d) {
  Attention a;
  a.q = b.linear(name + ".to_q", d, d);
  a.k = b.linear(name + ".to_k", d, d);
  a.v = b.linear(name + ".to_v", d, d);
  a.out = b.linear(name + ".to_out.0", d, d);
  a.norm_q = b.vector(name + ".norm_q.weight", {d});
  a.norm_k = b.vector(name + ".norm_k.weight", {d});
  return a;
}

// Rows of the feed-forward that are in memory at a time: bounds the hidden activations [rows, F].
constexpr int64_t ffn_rows = 1536;

}  // namespace

struct Transformer::Weights {
  Linear patch, time_1, time_2, time_proj, text_1, text_2, proj_out;
  const float* scale_shift_table;  // [2, D]
  std::vector<Block> blocks;
};

// Scale and shift of every distinct timestep and which of them each token uses.
struct Transformer::Modulation {
  std::vector<float> distinct;
  std::vector<std::int32_t> row;  // [n]
  Tensor temb;                    // [R, D]
  Tensor projection;              // [R, 6 D]
};

Transformer::Transformer(const TransformerConfig& config, const TensorSource& source, const Comm& node, Numerics numerics, const Nodes& nodes)
    : config_(config), numerics_(numerics) {
  const int64_t d = config.width(), f = config.ffn_dim;
  const auto bind_ends = [&](Binder& b) {
    Weights w;
    w.patch = b.linear_f32("patch_embedding", Shape{d, config.in_channels, config.patch_t, config.patch_h, config.patch_w});
    w.time_1 = b.linear_f32("condition_embedder.time_embedder.linear_1", {d, config.freq_dim});
    w.time_2 = b.linear_f32("condition_embedder.time_embedder.linear_2", {d, d});
    w.time_proj = b.linear_f32("condition_embedder.time_proj", {6 * d, d});
    w.text_1 = b.linear_f32("condition_embedder.text_embedder.linear_1", {d, config.text_dim});
    w.text_2 = b.linear_f32("condition_embedder.text_embedder.linear_2", {d, d});
    w.scale_shift_table = b.vector("scale_shift_table", {1, 2, d});
    w.proj_out = b.linear_f32("proj_out", {config.out_channels * config.patch_size(), d});
    return w;
  };
  const auto bind_block = [&](Binder& b, int64_t i) {
    const std::string name = fmt::format("blocks.{}", i);
    Block block{};
    block.scale_shift_table = b.vector(name + ".scale_shift_table", {1, 6, d});
    block.self = bind_attention(b, name + ".attn1", d);
    block.cross = bind_attention(b, name + ".attn2", d);
    if (config.cross_attn_norm) {
      block.norm2_weight = b.vector(name + ".norm2.weight", {d});
      block.norm2_bias = b.vector(name + ".norm2.bias", {d});
    }
    block.ffn_in = b.linear(name + ".ffn.net.0.proj", f, d);
    block.ffn_out = b.linear(name + ".ffn.net.2", d, f);
    return block;
  };
  node.together([&] {
    Binder all(source, numerics, nullptr);
    bind_ends(all);
    for (int64_t i = 0; i < config.num_layers; ++i) bind_block(all, i);
    all.expect_all_used();
  });
  weights_ = std::make_unique<Weights>(load_weights(source, numerics, node, store_, bind_ends, Completeness::partial));
  weights_->blocks = load_blocks(source, numerics, node, nodes, config.num_layers, blocks_, bind_block);
}
Transformer::~Transformer() = default;
Transformer::Transformer(Transformer&&) noexcept = default;

void timestep_embedding(float timestep, std::int64_t freq_dim, float* out) {
  const int64_t half = freq_dim / 2;
  for (int64_t k = 0; k < half; ++k) {
    // The exponent, the frequency and the angle are each rounded to f32, as the reference computes them.
    const float exponent = (-9.210340371976184f * static_cast<float>(k)) / static_cast<float>(half);
    const auto frequency = static_cast<float>(exact::exp(static_cast<double>(exponent)));
    const float angle = timestep * frequency;
    const exact::SinCos turn = exact::sincos(static_cast<double>(angle));
    out[k] = static_cast<float>(turn.cos);
    out[half + k] = static_cast<float>(turn.sin);
  }
}

RotaryAxis rotary_axis(std::int64_t width, std::int64_t positions) {
  RotaryAxis axis{width / 2, {}, {}};
  for (int64_t p = 0; p < positions; ++p)
    for (int64_t k = 0; k < axis.pairs; ++k) {
      const double frequency =
          exact::exp(-9.2103403719761836 * (2.0 * static_cast<double>(k) / static_cast<double>(width)));
      const exact::SinCos turn = exact::sincos(static_cast<double>(p) * frequency);
      axis.cos.push_back(static_cast<float>(turn.cos));
      axis.sin.push_back(static_cast<float>(turn.sin));
    }
  return axis;
}

Context Transformer::encode_context(const Tensor& text) const {
  const int64_t s = text.dim(0), d = config_.width(), heads = config_.num_heads, width = config_.head_dim;
  REEL_CHECK(text.shape().size() == 2 && text.dim(1) == config_.text_dim, "text {}", to_string(text.shape()));
  Tensor hidden({s, d}), ctx({s, d}), k({s, d}), v({s, d});
  multiply(weights_->text_1, text.data(), s, hidden.data(), Activation::gelu_tanh);
  multiply(weights_->text_2, hidden.data(), s, ctx.data());
  if (probe_) probe_(probe_context_, "text_embedder", -1, ctx.data(), s, d);
  Context context;
  BlockPass pass(blocks_);
  for (const Block& block : weights_->blocks) {
    pass.next();
    multiply(block.cross.k, ctx.data(), s, k.data());
    multiply(block.cross.v, ctx.data(), s, v.data());
    for_rows(s, [&](int64_t i) {
      kernels::table().rms_norm(k.row(i), d, static_cast<float>(config_.eps), block.cross.norm_k, k.row(i));
    });
    std::vector<PackedHead>& packed = context.heads.emplace_back(static_cast<std::size_t>(heads));
    parallel_for(heads, [&](int64_t h) {
      packed[static_cast<std::size_t>(h)].pack(numerics_, k.data() + h * width, d, v.data() + h * width, d, s, width, width);
    });
  }
  return context;
}

std::int64_t num_tokens(const TransformerConfig& c, const Shape& latents) {
  REEL_CHECK(latents.size() == 4 && latents[0] == c.in_channels, "latents {}", to_string(latents));
  if (latents[1] % c.patch_t || latents[2] % c.patch_h || latents[3] % c.patch_w)
    throw Error(Exit::usage,
                fmt::format("latents of {} x {} x {} (frames, rows, columns) cannot be cut into patches of {} x {} x {}",
                            latents[1], latents[2], latents[3], c.patch_t, c.patch_h, c.patch_w),
                "shot.size", "choose a width and height that are multiples of 16");
  const Shape grid{latents[1] / c.patch_t, latents[2] / c.patch_h, latents[3] / c.patch_w};
  for (int64_t g : grid)
    if (g < 1 || g > c.rope_max_seq_len)
      throw Error(Exit::usage, fmt::format("the token grid {} exceeds the model's {} positions per axis", to_string(grid), c.rope_max_seq_len),
                  "shot", "use fewer frames or a smaller size");
  return num_elements(grid);
}

Tensor Transformer::forward(const Comm& comm, Partition partition, const Tensor& latents,
                            std::span<const float> timesteps, const Context& context) const {
  const TransformerConfig& c = config_;
  const kernels::Table& kernel = kernels::table();
  const int64_t total = num_tokens(latents.shape()), d = c.width(), p = c.patch_size();
  const int64_t grid_t = latents.dim(1) / c.patch_t, grid_h = latents.dim(2) / c.patch_h, grid_w = latents.dim(3) / c.patch_w;
  REEL_CHECK(static_cast<int64_t>(timesteps.size()) == 1 || static_cast<int64_t>(timesteps.size()) == total,
             "{} timesteps for {} tokens", timesteps.size(), total);
  const Interval mine = slice(total, comm.size(), comm.rank());
  const int64_t n = mine.size();
  const auto eps = static_cast<float>(c.eps);
  BlockPass pass(blocks_);
  const auto probe = [&](const char* name, int64_t layer, const Tensor& rows) {
    if (probe_) probe_(probe_context_, name, layer, rows.data(), rows.dim(0), rows.size() / rows.dim(0));
  };
  struct Place {
    int64_t t, h, w;
  };
  const auto place = [&](int64_t token) {
    return Place{token / (grid_h * grid_w), token / grid_w % grid_h, token % grid_w};
  };
  // Element (channel, dt, dh, dw) of a token's patch in a [C, T, H, W] array.
  const auto element = [&](int64_t channel, const Place& at, int64_t dt, int64_t dh, int64_t dw) {
    return ((channel * latents.dim(1) + at.t * c.patch_t + dt) * latents.dim(2) + at.h * c.patch_h + dh) * latents.dim(3) +
           at.w * c.patch_w + dw;
  };

  // Patches: channel slowest on the way in.
  Tensor x({n, d});
  {
    Tensor patches({n, c.in_channels * p});
    for_rows(n, [&](int64_t i) {
      const Place at = place(mine.begin + i);
      float* to = patches.row(i);
      for (int64_t ch = 0; ch < c.in_channels; ++ch)
        for (int64_t dt = 0; dt < c.patch_t; ++dt)
          for (int64_t dh = 0; dh < c.patch_h; ++dh)
            for (int64_t dw = 0; dw < c.patch_w; ++dw) *to++ = latents[element(ch, at, dt, dh, dw)];
    });
    multiply(weights_->patch, patches.data(), n, x.data());
  }
  probe("patch_embedding", -1, x);

  // Timesteps: only distinct values are embedded.
  Modulation modulation;
  for (int64_t i = 0; i < n; ++i) {
    const float t = timesteps.size() == 1 ? timesteps[0] : timesteps[static_cast<std::size_t>(mine.begin + i)];
    auto it = std::find(modulation.distinct.begin(), modulation.distinct.end(), t);
    if (it == modulation.distinct.end()) it = modulation.distinct.insert(it, t);
    modulation.row.push_back(static_cast<std::int32_t>(it - modulation.distinct.begin()));
  }
  const auto num_distinct = static_cast<int64_t>(modulation.distinct.size());
  {
    Tensor wave({num_distinct, c.freq_dim}), hidden({num_distinct, d});
    modulation.temb = Tensor({num_distinct, d});
    modulation.projection = Tensor({num_distinct, 6 * d});
    for (int64_t r = 0; r < num_distinct; ++r)
      timestep_embedding(modulation.distinct[static_cast<std::size_t>(r)], c.freq_dim, wave.row(r));
    multiply(weights_->time_1, wave.data(), num_distinct, hidden.data(), Activation::silu);
    multiply(weights_->time_2, hidden.data(), num_distinct, modulation.temb.data());
    kernel.activate(modulation.temb.data(), modulation.temb.size(), Activation::silu, hidden.data());
    multiply(weights_->time_proj, hidden.data(), num_distinct, modulation.projection.data());
    probe("temb", -1, modulation.temb);
    probe("timestep_proj", -1, modulation.projection);
  }

  const int64_t side = 2 * (c.head_dim / 6);
  const RotaryAxis axis_t = rotary_axis(c.head_dim - 2 * side, grid_t), axis_h = rotary_axis(side, grid_h),
                   axis_w = rotary_axis(side, grid_w);
  Tensor turn_cos({n, c.head_dim}), turn_sin({n, c.head_dim});
  for_rows(n, [&](int64_t i) {
    const Place at = place(mine.begin + i);
    float *cos = turn_cos.row(i), *sin = turn_sin.row(i);
    const auto axis = [&](const RotaryAxis& a, int64_t position) {
      for (int64_t k = 0; k < a.pairs; ++k) {
        const auto j = static_cast<std::size_t>(position * a.pairs + k);
        *cos++ = a.cos[j];
        *cos++ = a.cos[j];
        *sin++ = -a.sin[j];
        *sin++ = a.sin[j];
      }
    };
    axis(axis_t, at.t);
    axis(axis_h, at.h);
    axis(axis_w, at.w);
  });

  Tensor q({n, d}), k({n, d}), v({n, d}), attended({n, d});
  Operand u, hidden;  // what products read; u is filled with as many rows as one product takes
  u.resize(numerics_, n, d);
  hidden.resize(numerics_, std::min(n, ffn_rows), c.ffn_dim);
  const std::unique_ptr<SelfAttention> attention = SelfAttention::make(comm, partition, numerics_, total, c.num_heads, c.head_dim);
  // Rows of (table + projection) for one block: shift, scale, gate, twice; scales become 1 + scale.
  Tensor mods({num_distinct, 6 * d});
  const auto mod = [&](int64_t token, int64_t which) {
    return mods.row(modulation.row[static_cast<std::size_t>(token)]) + which * d;
  };
  const auto gate = [&](int64_t which) { return Gates{mods.data() + which * d, modulation.row.data(), 6 * d}; };
  for (int64_t layer = 0; layer < c.num_layers; ++layer) {
    pass.next();
    const Block& block = weights_->blocks[static_cast<std::size_t>(layer)];
    for (int64_t r = 0; r < num_distinct; ++r)
      for (int64_t j = 0; j < 6 * d; ++j) {
        const float sum = block.scale_shift_table[j] + modulation.projection.row(r)[j];
        mods.row(r)[j] = j / d % 3 == 1 ? 1.0f + sum : sum;
      }

    for_rows(n, [&](int64_t i) { u.fill(i, [&](float* row) { kernel.layer_norm(x.row(i), d, eps, mod(i, 1), mod(i, 0), row); }); });
    if (probe_) {
      for_rows(n, [&](int64_t i) { kernel.layer_norm(x.row(i), d, eps, mod(i, 1), mod(i, 0), q.row(i)); });
      probe("norm1", layer, q);
    }
    const auto turned = [&](const Linear& w, const float* norm, Tensor& to) {
      multiply(w, u, n, to.data());
      for_rows(n, [&](int64_t i) {
        kernel.rms_norm(to.row(i), d, eps, norm, to.row(i));
        kernel.rotate(to.row(i), d, c.head_dim, turn_cos.row(i), turn_sin.row(i));
      });
    };
    // Values travel while queries are computed, and those while keys are.
    multiply(block.self.v, u, n, v.data());
    attention->values(v.data());
    turned(block.self.q, block.self.norm_q, q);
    attention->queries(q.data());
    turned(block.self.k, block.self.norm_k, k);
    attention->keys(k.data());
    probe("attn1.q_rotary", layer, q);
    probe("attn1.k_rotary", layer, k);
    attention->attend(attended.data());
    if (probe_) {
      multiply(block.self.out, attended.data(), n, q.data());
      probe("attn1", layer, q);
    }
    multiply_add(block.self.out, attended.data(), n, gate(2), x.data());

    for_rows(n, [&](int64_t i) {
      if (c.cross_attn_norm)
        u.fill(i, [&](float* row) { kernel.layer_norm(x.row(i), d, eps, block.norm2_weight, block.norm2_bias, row); });
      else
        u.put(i, x.row(i), 1.0f);
    });
    multiply(block.cross.q, u, n, q.data());
    for_rows(n, [&](int64_t i) { kernel.rms_norm(q.row(i), d, eps, block.cross.norm_q, q.row(i)); });
    attend_to(context.heads[static_cast<std::size_t>(layer)], c.head_dim, q.data(), n, attended.data());
    multiply_add(block.cross.out, attended.data(), n, {}, x.data());

    for (int64_t first = 0; first < n; first += ffn_rows) {
      const int64_t rows = std::min(ffn_rows, n - first);
      for_rows(rows, [&](int64_t i) {
        const int64_t token = first + i;
        u.fill(i, [&](float* row) { kernel.layer_norm(x.row(token), d, eps, mod(token, 4), mod(token, 3), row); });
      });
      multiply(block.ffn_in, u, rows, Activation::gelu_tanh, hidden);
      Gates gates = gate(5);
      gates.row_of += first;
      multiply_add(block.ffn_out, hidden, rows, gates, x.row(first));
    }
    probe("block", layer, x);
  }

  // Head: shift and scale come from temb itself.
  for (int64_t r = 0; r < num_distinct; ++r)
    for (int64_t j = 0; j < 2 * d; ++j) {
      const float sum = weights_->scale_shift_table[j] + modulation.temb.row(r)[j % d];
      mods.row(r)[j] = j < d ? sum : 1.0f + sum;
    }
  for_rows(n, [&](int64_t i) { kernel.layer_norm(x.row(i), d, eps, mod(i, 1), mod(i, 0), q.row(i)); });
  probe("norm_out", -1, q);
  Tensor patches({n, c.out_channels * p}), all({total, c.out_channels * p});
  multiply(weights_->proj_out, q.data(), n, patches.data());
  probe("proj_out", -1, patches);
  std::vector<std::size_t> counts;
  for (int r = 0; r < comm.size(); ++r)
    counts.push_back(static_cast<std::size_t>(slice(total, comm.size(), r).size() * c.out_channels * p) * sizeof(float));
  comm.all_gather(patches.data(), all.data(), counts);

  // Patches again, channel fastest on the way out.
  Tensor velocity({c.out_channels, latents.dim(1), latents.dim(2), latents.dim(3)});
  for_rows(total, [&](int64_t token) {
    const Place at = place(token);
    const float* from = all.row(token);
    for (int64_t dt = 0; dt < c.patch_t; ++dt)
      for (int64_t dh = 0; dh < c.patch_h; ++dh)
        for (int64_t dw = 0; dw < c.patch_w; ++dw)
          for (int64_t ch = 0; ch < c.out_channels; ++ch) velocity[element(ch, at, dt, dh, dw)] = *from++;
  });
  return velocity;
}

TransformerFlops transformer_flops(const TransformerConfig& c, std::int64_t num_tokens, std::int64_t context_length) {
  const auto n = static_cast<double>(num_tokens), d = static_cast<double>(c.width()), f = static_cast<double>(c.ffn_dim),
             layers = static_cast<double>(c.num_layers), s = static_cast<double>(context_length);
  const double ends = 2.0 * n * d * static_cast<double>((c.in_channels + c.out_channels) * c.patch_size());
  return {.products = layers * (12.0 * n * d * d + 4.0 * n * d * f) + ends,
          .self_attention = layers * 4.0 * n * n * d,
          .cross_attention = layers * 4.0 * n * s * d};
}

}  // namespace reel::model
