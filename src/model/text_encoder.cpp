#include "model/text_encoder.hpp"

#include <algorithm>
#include <array>

#include "model/ops.hpp"

namespace reel::model {
namespace {

using std::int64_t;

struct Layer {
  const float *norm_attention, *norm_ffn, *relative_bias;  // [d_model], [d_model], [32, heads]
  Linear q, k, v, o, gate, up, down;
};

}  // namespace

std::int64_t relative_bucket(std::int64_t distance) {
  // First |distance| of buckets 9..15; a table, because the reference's f32 logarithm is not ours to repeat.
  constexpr std::array<int64_t, 7> first{12, 16, 23, 32, 46, 64, 91};
  const int64_t n = distance < 0 ? -distance : distance;
  int64_t bucket = std::min<int64_t>(n, 8);
  for (int64_t f : first) bucket += n >= f ? 1 : 0;
  return bucket + (distance > 0 ? 16 : 0);
}

std::vector<Tensor> encode_text(const TextEncoderConfig& c, const TensorSource& source, const Comm& node,
                                const std::vector<std::vector<std::int64_t>>& prompts, Numerics numerics) {
  const int64_t inner = c.num_heads * c.d_kv;
  const auto eps = static_cast<float>(c.eps);
  const kernels::Table& kernel = kernels::table();
  const std::string table = source.has("shared.weight") ? "shared.weight" : "encoder.embed_tokens.weight";
  std::vector<Tensor> states;
  node.together([&] {
    const Shape shape{c.vocab_size, c.d_model};
    source.expect(table, shape);
    for (const auto& ids : prompts) {
      Tensor& x = states.emplace_back(Tensor({static_cast<int64_t>(ids.size()), c.d_model}));
      for (std::size_t i = 0; i < ids.size(); ++i) {
        if (ids[i] < 0 || ids[i] >= c.vocab_size)
          throw Error(Exit::input, fmt::format("token id {} is outside the vocabulary of {}", ids[i], c.vocab_size),
                      "text_encoder", "the tokenizer and the text encoder do not belong together");
        source.read(table, shape, ids[i] * c.d_model, c.d_model, x.row(static_cast<int64_t>(i)));
      }
    }
  });

  for (int64_t l = 0; l < c.num_layers; ++l) {
    const std::string name = fmt::format("encoder.block.{}.layer.", l);
    SharedFloats store;
    const Layer layer = load_weights(
        source, numerics, node, store,
        [&](Binder& b) {
          Layer w{};
          w.norm_attention = b.vector(name + "0.layer_norm.weight", {c.d_model});
          w.q = b.linear(name + "0.SelfAttention.q", inner, c.d_model, false);
          w.k = b.linear(name + "0.SelfAttention.k", inner, c.d_model, false);
          w.v = b.linear(name + "0.SelfAttention.v", inner, c.d_model, false);
          w.o = b.linear(name + "0.SelfAttention.o", c.d_model, inner, false);
          w.relative_bias = b.vector(name + "0.SelfAttention.relative_attention_bias.weight", {c.num_buckets, c.num_heads});
          w.norm_ffn = b.vector(name + "1.layer_norm.weight", {c.d_model});
          w.gate = b.linear(name + "1.DenseReluDense.wi_0", c.d_ff, c.d_model, false);
          w.up = b.linear(name + "1.DenseReluDense.wi_1", c.d_ff, c.d_model, false);
          w.down = b.linear(name + "1.DenseReluDense.wo", c.d_model, c.d_ff, false);
          return w;
        },
        Completeness::partial);
    for (Tensor& x : states) {
      const int64_t n = x.dim(0);
      Tensor u({n, c.d_model}), q({n, inner}), k({n, inner}), v({n, inner}), a({n, inner}), gate({n, c.d_ff}), up({n, c.d_ff});
      for_rows(n, [&](int64_t i) { kernel.rms_norm(x.row(i), c.d_model, eps, layer.norm_attention, u.row(i)); });
      multiply(layer.q, u.data(), n, q.data());
      multiply(layer.k, u.data(), n, k.data());
      multiply(layer.v, u.data(), n, v.data());
      parallel_for(c.num_heads, [&](int64_t h) {
        PackedHead head;
        head.pack(numerics, k.data() + h * c.d_kv, inner, v.data() + h * c.d_kv, inner, n, c.d_kv, c.d_kv);
        FloatBuffer bias(static_cast<std::size_t>(attention_chunk * n));
        for (int64_t first = 0; first < n; first += attention_chunk) {
          const int64_t rows = std::min(attention_chunk, n - first);
          for (int64_t i = 0; i < rows; ++i)
            for (int64_t j = 0; j < n; ++j)
              bias[static_cast<std::size_t>(i * n + j)] =
                  layer.relative_bias[relative_bucket(j - (first + i)) * c.num_heads + h];
          // umT5 does not divide the scores by sqrt(d).
          attend(head, q.row(first) + h * c.d_kv, inner, rows, c.d_kv, c.d_kv, 1.0f, bias.data(), n,
                 a.row(first) + h * c.d_kv, inner);
        }
      });
      multiply(layer.o, a.data(), n, u.data());
      for (int64_t i = 0; i < x.size(); ++i) x[i] += u[i];
      for_rows(n, [&](int64_t i) { kernel.rms_norm(x.row(i), c.d_model, eps, layer.norm_ffn, u.row(i)); });
      multiply(layer.gate, u.data(), n, gate.data(), Activation::gelu_tanh);
      multiply(layer.up, u.data(), n, up.data());
      for (int64_t i = 0; i < gate.size(); ++i) gate[i] *= up[i];
      multiply(layer.down, gate.data(), n, u.data());
      for (int64_t i = 0; i < x.size(); ++i) x[i] += u[i];
    }
    node.barrier();  // nobody frees the layer while another rank still reads it
  }
  SharedFloats store;
  const float* weight = load_weights(
      source, numerics, node, store, [&](Binder& b) { return b.vector("encoder.final_layer_norm.weight", {c.d_model}); },
      Completeness::partial);
  for (Tensor& x : states)
    for_rows(x.dim(0), [&](int64_t i) { kernel.rms_norm(x.row(i), c.d_model, eps, weight, x.row(i)); });
  node.barrier();
  return states;
}

double text_encoder_flops(const TextEncoderConfig& c, std::int64_t length) {
  const auto n = static_cast<double>(length), d = static_cast<double>(c.d_model), i = static_cast<double>(c.num_heads * c.d_kv),
             f = static_cast<double>(c.d_ff);
  return static_cast<double>(c.num_layers) * (8.0 * n * d * i + 6.0 * n * d * f + 4.0 * n * n * i);
}

}  // namespace reel::model
