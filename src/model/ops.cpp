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

}  // namespace

void multiply(const Linear& w, const float* x, std::int64_t x_stride, std::int64_t rows, Activation activation, float* y,
              std::int64_t y_stride) {
  const kernels::Table& k = kernels::table();
  const std::int64_t panels = (w.out + panel_width - 1) / panel_width;
  const std::int64_t chunks = (rows + row_chunk - 1) / row_chunk;
  parallel_for(chunks * panels, [&](std::int64_t task) {
    const std::int64_t first = task / panels * row_chunk, n = std::min(row_chunk, rows - first);
    const std::int64_t p = task % panels, column = p * panel_width;
    const std::int64_t columns = std::min(panel_width, w.out - column);
    alignas(64) float sums[row_chunk * panel_width];
    for (std::int64_t d = 0; d < w.in; d += depth_chunk)
      k.multiply_panel(x + first * x_stride + d, x_stride, n, std::min(depth_chunk, w.in - d),
                       w.packed + (p * w.in + d) * panel_width, columns, sums, panel_width, d > 0);
    k.finish_panel(sums, panel_width, n, columns, w.bias ? w.bias + column : nullptr,
                   activation, y + first * y_stride + column, y_stride);
  });
}

void PackedHead::pack(const float* keys, std::int64_t key_stride, const float* values, std::int64_t value_stride,
                      std::int64_t num_keys, std::int64_t key_dim, std::int64_t value_dim) {
  num_keys_ = num_keys;
  key_dim_ = key_dim;
  value_dim_ = value_dim;
  value_panels_ = (value_dim + panel_width - 1) / panel_width;
  const std::int64_t padded = (num_keys + panel_width - 1) / panel_width * panel_width;
  keys_.resize(static_cast<std::size_t>(padded * key_dim));
  values_.resize(static_cast<std::size_t>(padded * value_panels_ * panel_width));
  for (std::int64_t first = 0; first < padded; first += panel_width)
    kernels::pack_panel(keys + first * key_stride, std::min(panel_width, num_keys - first), key_dim, key_stride,
                        keys_.data() + first * key_dim);
  for (std::int64_t b = 0; b < num_blocks(); ++b) {
    const std::int64_t first = b * kernels::key_block, n = std::min(kernels::key_block, padded - first);
    float* block = values_.data() + first * value_panels_ * panel_width;
    for (std::int64_t p = 0; p < value_panels_; ++p)
      for (std::int64_t i = 0; i < n; ++i) {
        const std::int64_t column = p * panel_width;
        const std::int64_t count = first + i < num_keys ? std::min(panel_width, value_dim - column) : 0;
        float* to = block + (p * n + i) * panel_width;
        std::copy_n(values + (first + i) * value_stride + column, count, to);
        std::fill(to + count, to + panel_width, 0.0f);
      }
  }
}

void PackedHead::attend_block(std::int64_t block, const float* q, std::int64_t q_stride, std::int64_t rows,
                              const float* bias, std::int64_t bias_stride, kernels::SoftmaxState* state, float* out,
                              float* scratch) const {
  const std::int64_t first = block * kernels::key_block;
  kernels::table().attention_block(q, q_stride, rows, key_dim_, keys_.data() + first * key_dim_,
                                   values_.data() + first * value_panels_ * panel_width, value_panels_,
                                   std::min(kernels::key_block, num_keys_ - first), bias ? bias + first : nullptr,
                                   bias_stride, state, out, value_panels_ * panel_width, scratch);
}

void attend(const PackedHead& head, const float* q, std::int64_t q_stride, std::int64_t rows, std::int64_t key_dim,
            std::int64_t value_dim, float scale, const float* bias, std::int64_t bias_stride, float* out,
            std::int64_t out_stride) {
  REEL_CHECK(rows <= attention_chunk);
  thread_local FloatBuffer buffer;
  const std::int64_t width = head.value_panels() * panel_width;
  buffer.resize(static_cast<std::size_t>(attention_chunk * (key_dim + width) + kernels::attention_scratch));
  float* scaled = buffer.data();
  float* sums = scaled + attention_chunk * key_dim;
  float* scratch = sums + attention_chunk * width;
  for (std::int64_t i = 0; i < rows; ++i)
    for (std::int64_t j = 0; j < key_dim; ++j) scaled[i * key_dim + j] = q[i * q_stride + j] * scale;
  std::fill_n(sums, rows * width, 0.0f);
  kernels::SoftmaxState state[attention_chunk];
  std::fill_n(state, rows, kernels::SoftmaxState{-std::numeric_limits<float>::infinity(), 0.0f});
  for (std::int64_t b = 0; b < head.num_blocks(); ++b)
    head.attend_block(b, scaled, key_dim, rows, bias, bias_stride, state, sums, scratch);
  for (std::int64_t i = 0; i < rows; ++i)
    kernels::table().divide(sums + i * width, value_dim, state[i].sum, out + i * out_stride);
}

}  // namespace reel::model
