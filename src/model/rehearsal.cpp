#include "model/rehearsal.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

#include "core/partition.hpp"
#include "model/generate.hpp"
#include "model/noise.hpp"
#include "model/ops.hpp"
#include "model/self_attention_parts.hpp"
#include "model/vae.hpp"
#include "model/vae_stream.hpp"

namespace reel::model {
namespace {

using std::int64_t;

// Mean seconds of `body` after a first call that touches memory: at least two calls and 20 ms. Of long ones the first will do.
template <class Body>
double seconds_of(Body body) {
  using Clock = std::chrono::steady_clock;
  auto begin = Clock::now();
  const auto seconds = [&] { return std::chrono::duration<double>(Clock::now() - begin).count(); };
  body();
  if (const double first = seconds(); first > 1) return first;
  begin = Clock::now();
  for (int64_t calls = 1;; ++calls) {
    body();
    if (const double all = seconds(); calls >= 2 && all > 0.02) return all / static_cast<double>(calls);
  }
}

FloatBuffer some_floats(int64_t n) {
  FloatBuffer x(static_cast<std::size_t>(n));
  philox_normal(1, "rehearsal", 0, n, x.data());
  return x;
}

struct Layer {
  SharedFloats store;
  Linear linear;
  Layer(Numerics numerics, int64_t out, int64_t in)
      : linear(load_weights(*synthetic_weights(1, "rehearsal"), numerics, Comm::solo(), store, [&](Binder& b) { return b.linear("linear", out, in); })) {}
};

// Seconds per query row of one head over `num_keys` keys.
double seconds_per_query(Numerics numerics, int64_t num_keys, int64_t head_dim) {
  const FloatBuffer rows = some_floats(std::max(num_keys, attention_chunk) * head_dim);
  PackedHead head;
  head.pack(numerics, rows.data(), head_dim, rows.data(), head_dim, num_keys, head_dim, head_dim);
  const int64_t chunks = 4 * num_threads();
  FloatBuffer out(static_cast<std::size_t>(chunks * attention_chunk * head_dim));
  const double seconds = seconds_of([&] {
    parallel_for(chunks, [&](int64_t i) {
      attend(head, rows.data(), head_dim, attention_chunk, head_dim, head_dim, attention::score_scale(head_dim), nullptr, 0,
             out.data() + i * attention_chunk * head_dim, head_dim);
    });
  });
  return seconds / static_cast<double>(chunks * attention_chunk);
}

// Seconds per key and head of packing keys and values.
double seconds_per_key(Numerics numerics, int64_t num_keys, int64_t head_dim, int64_t width) {
  const int64_t keys = std::min(num_keys, attention::part_keys), heads = 4 * num_threads();
  const FloatBuffer rows = some_floats(keys * width);
  std::vector<PackedHead> packed(static_cast<std::size_t>(heads));
  const double seconds = seconds_of([&] {
    parallel_for(heads, [&](int64_t h) {
      const float* from = rows.data() + h * head_dim % width;
      packed[static_cast<std::size_t>(h)].pack(numerics, from, width, from, width, keys, head_dim, head_dim);
    });
  });
  return seconds / static_cast<double>(heads * keys);
}

}  // namespace

double rehearse_forward(const TransformerConfig& c, Numerics numerics, int64_t num_tokens, int64_t ranks) {
  const kernels::Table& kernel = kernels::table();
  const int64_t d = c.width(), f = c.ffn_dim, n = slice(num_tokens, ranks, 0).size(), heads = c.num_heads;
  const int64_t rows = std::min<int64_t>(n, 1536);  // more make no call faster
  const FloatBuffer x = some_floats(rows * d), scales = some_floats(d);
  FloatBuffer y(static_cast<std::size_t>(rows * d)), z = some_floats(rows * d);
  Operand u, hidden;
  u.resize(numerics, rows, d);
  hidden.resize(numerics, rows, f);
  const auto eps = static_cast<float>(c.eps);

  // Of a block on `rows` rows: the norms before products, those of queries and keys and their rotation; the products.
  double seconds = seconds_of([&] {
    for (int i = 0; i < 3; ++i)
      for_rows(rows, [&](int64_t r) { u.fill(r, [&](float* row) { kernel.layer_norm(x.data() + r * d, d, eps, scales.data(), scales.data(), row); }); });
    for (int i = 0; i < 3; ++i)
      for_rows(rows, [&](int64_t r) {
        kernel.rms_norm(x.data() + r * d, d, eps, scales.data(), y.data() + r * d);
        if (i < 2) kernel.rotate(y.data() + r * d, d, c.head_dim, scales.data(), scales.data());
      });
  });
  {
    const Layer square(numerics, d, d);
    seconds += 4 * seconds_of([&] { multiply(square.linear, u, rows, y.data()); });
    seconds += 2 * seconds_of([&] { multiply_add(square.linear, x.data(), rows, {}, z.data()); });
  }
  {
    const Layer in(numerics, f, d);
    seconds += seconds_of([&] { multiply(in.linear, u, rows, Activation::gelu_tanh, hidden); });
  }
  {
    const Layer out(numerics, d, f);
    seconds += seconds_of([&] { multiply_add(out.linear, hidden, rows, {}, z.data()); });
  }
  seconds *= static_cast<double>(n) / static_cast<double>(rows);
  // A rank works on heads * n (head, query) pairs, and packs the heads that they touch.
  const auto queries = static_cast<double>(heads * n);
  const double packs = ranks == 1 ? static_cast<double>(heads) : std::ceil(static_cast<double>(heads) / static_cast<double>(ranks));
  seconds += queries * (seconds_per_query(numerics, num_tokens, c.head_dim) + seconds_per_query(numerics, context_length, c.head_dim));
  seconds += packs * static_cast<double>(num_tokens) * seconds_per_key(numerics, num_tokens, c.head_dim, d);
  return static_cast<double>(c.num_layers) * seconds;
}

double rehearse_decode(const VaeConfig& c, Numerics numerics, int64_t latent_frames, int64_t height, int64_t width, int64_t ranks) {
  const VaeFlops work = vae_decode_flops(c, latent_frames, height, width);
  const int64_t workers = std::min(ranks, height);
  double seconds = 0;
  int64_t scale = 1;
  for (std::size_t i = 0; i < c.dim_mult.size(); ++i, scale *= 2) {
    // Residual blocks, on a strip of the level's width.
    const int64_t channels = c.decoder_base_dim * c.dim_mult[c.dim_mult.size() - 1 - i];
    const int64_t level_rows = slice(height, workers, 0).size() * scale, level_width = width * scale;
    const auto flops_of_row = 2.0 * 27 * static_cast<double>(level_width * channels * channels);
    const int64_t rows = std::clamp<int64_t>(static_cast<int64_t>(4e9 * num_threads() / flops_of_row), std::min<int64_t>(4, level_rows), level_rows);
    const bool last = i + 1 == c.dim_mult.size();
    SharedFloats store;
    struct Weights {
      ResidualBlock block;
      Conv out;
    };
    const Weights w = load_weights(*synthetic_weights(1, "rehearsal"), numerics, Comm::solo(), store, [&](Binder& b) {
      Weights all{};
      all.block.norm1 = all.block.norm2 = b.vector("gamma", {channels});
      all.block.conv1 = b.conv("conv1", {channels, channels, 3, 3, 3});
      all.block.conv2 = b.conv("conv2", {channels, channels, 3, 3, 3});
      if (last) all.out = b.conv("out", {c.out_channels, channels, 3, 3, 3});
      return all;
    });
    Band x(1, rows, level_width, channels);
    x.data = some_floats(rows * level_width * channels);
    VaeStream stream(Comm::solo(), rows);
    const auto next_frame = [&] { x = stream.residual(w.block, std::move(x)); };  // a copy would be timed as well
    for (int frame = 0; frame < 2; ++frame) next_frame();  // the next one has two before it
    const double per_flop = seconds_of(next_frame) / (2 * flops_of_row * static_cast<double>(rows));
    seconds += work.levels[i] * per_flop;
    if (!last) continue;
    for (int frame = 0; frame < 2; ++frame) stream.convolve_normalised(w.out, w.block.norm1, x);
    const double area = static_cast<double>(height * scale) * static_cast<double>(level_width), frames = static_cast<double>(1 + (latent_frames - 1) * c.scale_factor_temporal);
    seconds += seconds_of([&] { stream.convolve_normalised(w.out, w.block.norm1, x); }) / static_cast<double>(rows * level_width) * area * frames;
  }
  // The busiest rank has the first share of the latent rows.
  return seconds * static_cast<double>(slice(height, workers, 0).size()) / static_cast<double>(height);
}

}  // namespace reel::model
