#include "model/ops.hpp"

#include <algorithm>
#include <limits>

namespace reel::model {
namespace {

using kernels::panel_width;
// Rows of one task: the tile of 96 x 64 sums stays in L1, and each weight panel is read once per 96 rows.
constexpr std::int64_t row_chunk = 96;
// Depth of one pass over a panel: 512 x 64 weights (128 KiB) stay in L2 while the rows go by. The chain of sums is
// carried through, so this number changes no bit.
constexpr std::int64_t depth_chunk = 512;

// The same for bf16: its product is so much faster that a panel must serve more rows, which lie in L2.
constexpr std::int64_t row_chunk_bf16 = 384;

}  // namespace

kernels::MultiplyBf16 multiply_bf16(Numerics numerics) {
  REEL_CHECK(numerics != Numerics::f32, "no bf16 product in profile f32");
  return numerics == Numerics::bf16 ? kernels::table().multiply_pairs : kernels::table().multiply_blocks;
}

void Operand::resize(Numerics numerics, std::int64_t rows, std::int64_t width) {
  half_ = numerics != Numerics::f32;
  width_ = width;
  stride_ = half_ ? kernels::padded_depth(width) : width;
  if (half_)
    halves_.resize(static_cast<std::size_t>(rows * stride_));
  else
    floats_.resize(static_cast<std::size_t>(rows * stride_));
}

void Operand::put(std::int64_t i, const float* x, float scale) {
  if (!half_) {
    float* to = floats_.data() + i * stride_;
    for (std::int64_t j = 0; j < width_; ++j) to[j] = x[j] * scale;
    return;
  }
  kernels::Bf16* to = halves_.data() + i * stride_;
  constexpr std::int64_t piece = 256;
  float scaled[piece];
  for (std::int64_t first = 0; first < width_; first += piece) {
    const std::int64_t n = std::min(piece, width_ - first);
    for (std::int64_t j = 0; j < n; ++j) scaled[j] = x[first + j] * scale;
    kernels::table().round_to_bf16(scaled, n, to + first);
  }
  std::fill(to + width_, to + stride_, kernels::Bf16{0});
}

void multiply(const Linear& w, const float* x, std::int64_t x_stride, std::int64_t rows, Activation activation, float* y,
              std::int64_t y_stride) {
  const kernels::Table& k = kernels::table();
  const std::int64_t panels = (w.out + panel_width - 1) / panel_width;
  const auto finish = [&](const float* sums, std::int64_t first, std::int64_t n, std::int64_t column, std::int64_t columns) {
    k.finish_panel(sums, panel_width, n, columns, w.bias ? w.bias + column : nullptr, activation, y + first * y_stride + column, y_stride);
  };
  if (w.numerics == Numerics::f32) {
    const std::int64_t chunks = (rows + row_chunk - 1) / row_chunk;
    parallel_for(chunks * panels, [&](std::int64_t task) {
      const std::int64_t first = task / panels * row_chunk, n = std::min(row_chunk, rows - first);
      const std::int64_t p = task % panels, column = p * panel_width;
      const std::int64_t columns = std::min(panel_width, w.out - column);
      alignas(64) float sums[row_chunk * panel_width];
      for (std::int64_t d = 0; d < w.in; d += depth_chunk)
        k.multiply_panel(x + first * x_stride + d, x_stride, n, std::min(depth_chunk, w.in - d),
                         w.packed + (p * w.in + d) * panel_width, columns, sums, panel_width, d > 0);
      finish(sums, first, n, column, columns);
    });
    return;
  }
  thread_local Operand operand;  // keeps its memory from call to call
  Operand& a = operand;
  a.resize(w.numerics, rows, w.in);
  for_rows(rows, [&](std::int64_t i) { a.put(i, x + i * x_stride, 1.0f); });
  const kernels::MultiplyBf16 product = multiply_bf16(w.numerics);
  const std::int64_t depth = a.stride(), chunks = (rows + row_chunk_bf16 - 1) / row_chunk_bf16;
  parallel_for(chunks * panels, [&](std::int64_t task) {
    const std::int64_t first = task / panels * row_chunk_bf16, n = std::min(row_chunk_bf16, rows - first);
    const std::int64_t p = task % panels, column = p * panel_width;
    const std::int64_t columns = std::min(panel_width, w.out - column);
    alignas(64) float sums[row_chunk_bf16 * panel_width];
    for (std::int64_t d = 0; d < depth; d += depth_chunk)
      product(a.bf16(first) + d, depth, n, std::min(depth_chunk, depth - d), w.packed_bf16 + (p * depth + d) * panel_width, columns, sums,
              panel_width, d > 0);
    finish(sums, first, n, column, columns);
  });
}

void PackedHead::pack(Numerics numerics, const float* keys, std::int64_t key_stride, const float* values, std::int64_t value_stride,
                      std::int64_t num_keys, std::int64_t key_dim, std::int64_t value_dim) {
  const bool half = numerics != Numerics::f32;
  numerics_ = numerics;
  num_keys_ = num_keys;
  key_dim_ = half ? kernels::padded_depth(key_dim) : key_dim;
  value_panels_ = (value_dim + panel_width - 1) / panel_width;
  const std::int64_t padded = (num_keys + panel_width - 1) / panel_width * panel_width;
  const auto key_size = static_cast<std::size_t>(padded * key_dim_), value_size = static_cast<std::size_t>(padded * value_panels_ * panel_width);
  keys_.resize(half ? 0 : key_size), values_.resize(half ? 0 : value_size);
  keys_bf16_.resize(half ? key_size : 0), values_bf16_.resize(half ? value_size : 0);
  for (std::int64_t first = 0; first < padded; first += panel_width) {
    const std::int64_t n = std::min(panel_width, num_keys - first);
    if (half)
      kernels::pack_panel(keys + first * key_stride, n, key_dim, key_stride, keys_bf16_.data() + first * key_dim_);
    else
      kernels::pack_panel(keys + first * key_stride, n, key_dim, key_stride, keys_.data() + first * key_dim_);
  }
  for (std::int64_t b = 0; b < num_blocks(); ++b) {
    const std::int64_t first = b * kernels::key_block, n = std::min(kernels::key_block, padded - first);
    for (std::int64_t p = 0; p < value_panels_; ++p)
      for (std::int64_t i = 0; i < n; ++i) {
        const std::int64_t column = p * panel_width, row = first * value_panels_ + p * n;
        const std::int64_t count = first + i < num_keys ? std::min(panel_width, value_dim - column) : 0;
        const float* from = values + (first + i) * value_stride + column;
        if (!half) {
          float* to = values_.data() + (row + i) * panel_width;
          std::copy_n(from, count, to);
          std::fill(to + count, to + panel_width, 0.0f);
          continue;
        }
        kernels::Bf16 rounded[panel_width];
        kernels::table().round_to_bf16(from, count, rounded);
        std::fill(rounded + count, rounded + panel_width, kernels::Bf16{0});
        kernels::Bf16* to = values_bf16_.data() + (row + i / 2 * 2) * panel_width + i % 2;
        for (std::int64_t j = 0; j < panel_width; ++j) to[2 * j] = rounded[j];
      }
  }
}

void PackedHead::attend_block(std::int64_t block, const Operand& q, std::int64_t first_row, std::int64_t rows, const float* bias,
                              std::int64_t bias_stride, kernels::SoftmaxState* state, float* out) const {
  const std::int64_t first = block * kernels::key_block, keys = std::min(kernels::key_block, num_keys_ - first);
  const std::int64_t key_at = first * key_dim_, value_at = first * value_panels_ * panel_width;
  const float* bias_here = bias ? bias + first : nullptr;
  if (numerics_ == Numerics::f32) {
    alignas(64) float scratch[kernels::attention_scratch];
    kernels::table().attention_block(q.f32(first_row), q.stride(), rows, key_dim_, keys_.data() + key_at, values_.data() + value_at, value_panels_,
                                     keys, bias_here, bias_stride, state, out, value_panels_ * panel_width, scratch);
  } else {
    kernels::table().attention_block_bf16(multiply_bf16(numerics_), q.bf16(first_row), q.stride(), rows, key_dim_, keys_bf16_.data() + key_at,
                                          values_bf16_.data() + value_at, value_panels_, keys, bias_here, bias_stride, state, out,
                                          value_panels_ * panel_width);
  }
}

void attend(const PackedHead& head, const float* q, std::int64_t q_stride, std::int64_t rows, std::int64_t key_dim,
            std::int64_t value_dim, float scale, const float* bias, std::int64_t bias_stride, float* out,
            std::int64_t out_stride) {
  REEL_CHECK(rows <= attention_chunk);
  thread_local FloatBuffer sums;
  thread_local Operand scaled;
  const std::int64_t width = head.value_panels() * panel_width;
  sums.assign(static_cast<std::size_t>(attention_chunk * width), 0.0f);
  scaled.resize(head.numerics(), attention_chunk, key_dim);
  for (std::int64_t i = 0; i < rows; ++i) scaled.put(i, q + i * q_stride, scale);
  kernels::SoftmaxState state[attention_chunk];
  std::fill_n(state, rows, kernels::SoftmaxState{-std::numeric_limits<float>::infinity(), 0.0f});
  for (std::int64_t b = 0; b < head.num_blocks(); ++b) head.attend_block(b, scaled, 0, rows, bias, bias_stride, state, sums.data());
  for (std::int64_t i = 0; i < rows; ++i)
    kernels::table().divide(sums.data() + i * width, value_dim, state[i].sum, out + i * out_stride);
}

}  // namespace reel::model
