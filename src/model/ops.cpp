#include "model/ops.hpp"

#include <algorithm>
#include <limits>

namespace reel::model {
namespace {

using kernels::panel_width;
// Rows of one task. Many, because each weight panel is read once for all of them; fewer where tasks would be too few for the
// threads. Their sums and operands stay in L2.
constexpr std::int64_t most_rows = 384, fewest_rows = 96;
// Depth of one pass over a panel: 512 x 64 weights (128 KiB) stay in L2 while the rows go by. The chain of sums is
// carried through, so neither number changes a bit.
constexpr std::int64_t depth_chunk = 512;

std::int64_t rows_of_a_task(std::int64_t rows, std::int64_t panels) {
  std::int64_t n = most_rows;
  while (n > fewest_rows && (rows + n - 1) / n * panels < 4 * num_threads()) n /= 2;
  return n;
}

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
  const bool half = w.numerics != Numerics::f32;
  thread_local Operand operand;  // keeps its memory from call to call
  Operand& rounded = operand;
  if (half) {
    rounded.resize(w.numerics, rows, w.in);
    for_rows(rows, [&](std::int64_t i) { rounded.put(i, x + i * x_stride, 1.0f); });
  }
  const kernels::MultiplyBf16 product = half ? multiply_bf16(w.numerics) : nullptr;
  const std::int64_t depth = half ? rounded.stride() : w.in, task_rows = rows_of_a_task(rows, panels);
  parallel_for((rows + task_rows - 1) / task_rows * panels, [&](std::int64_t task) {
    const std::int64_t first = task / panels * task_rows, n = std::min(task_rows, rows - first);
    const std::int64_t p = task % panels, column = p * panel_width;
    const std::int64_t columns = std::min(panel_width, w.out - column);
    alignas(64) float sums[most_rows * panel_width];
    for (std::int64_t d = 0; d < depth; d += depth_chunk) {
      const std::int64_t now = std::min(depth_chunk, depth - d);
      if (half)
        product(rounded.bf16(first) + d, depth, n, now, w.packed_bf16 + p * depth * panel_width + d * kernels::group_width,
                depth * kernels::group_width, columns, sums, panel_width, d > 0);
      else
        k.multiply_panel(x + first * x_stride + d, x_stride, n, now, w.packed + (p * depth + d) * panel_width, columns, sums, panel_width, d > 0);
    }
    k.finish_panel(sums, panel_width, n, columns, w.bias ? w.bias + column : nullptr, activation, y + first * y_stride + column, y_stride);
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
        kernels::Bf16* to = values_bf16_.data() + row * panel_width + i / 2 * 2 * kernels::group_width + i % 2;
        for (std::int64_t j = 0; j < panel_width; ++j)
          to[j / kernels::group_width * n * kernels::group_width + j % kernels::group_width * 2] = rounded[j];
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
