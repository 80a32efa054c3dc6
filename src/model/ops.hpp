#pragma once
// The model's operations on whole arrays: kernels spread over threads. No operation here sums across threads.
#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/parallel.hpp"
#include "core/tensor.hpp"
#include "kernels/kernels.hpp"
#include "model/weights.hpp"

namespace reel::model {

using kernels::Activation;

/// y[rows, out] = activation(x[rows, in] W^T + b). Each output is one chain of fused multiply-adds over `in`, then the bias.
void multiply(const Linear& w, const float* x, std::int64_t x_stride, std::int64_t rows, Activation activation, float* y,
              std::int64_t y_stride);
inline void multiply(const Linear& w, const float* x, std::int64_t rows, float* y,
                     Activation activation = Activation::none) {
  multiply(w, x, w.in, rows, activation, y, w.out);
}

/// Keys and values of one attention head in the layout of `attention_block`, cut into blocks of 256 keys.
class PackedHead {
 public:
  PackedHead() = default;
  /// keys [num_keys, key_dim], values [num_keys, value_dim] with the given row strides. Exact copies.
  void pack(const float* keys, std::int64_t key_stride, const float* values, std::int64_t value_stride,
            std::int64_t num_keys, std::int64_t key_dim, std::int64_t value_dim);
  std::int64_t num_blocks() const noexcept { return (num_keys_ + kernels::key_block - 1) / kernels::key_block; }
  std::int64_t num_keys() const noexcept { return num_keys_; }
  std::int64_t value_panels() const noexcept { return value_panels_; }
  /// One block for `rows` query rows (see kernels::Table::attention_block).
  void attend_block(std::int64_t block, const float* q, std::int64_t q_stride, std::int64_t rows, const float* bias,
                    std::int64_t bias_stride, kernels::SoftmaxState* state, float* out, float* scratch) const;

 private:
  std::int64_t num_keys_ = 0, key_dim_ = 0, value_dim_ = 0, value_panels_ = 0;
  FloatBuffer keys_, values_;
};

/// Query rows one thread handles at a time in attention; no bit depends on it.
inline constexpr std::int64_t attention_chunk = 96;

/// out[rows, value_dim] = softmax(scale q K^T + bias) V over all keys of the head, on this thread. rows <= 96.
void attend(const PackedHead& head, const float* q, std::int64_t q_stride, std::int64_t rows, std::int64_t key_dim,
            std::int64_t value_dim, float scale, const float* bias, std::int64_t bias_stride, float* out,
            std::int64_t out_stride);

/// Calls body(row) for every row, in slices over threads.
template <class Body>
void for_rows(std::int64_t rows, Body body) {
  constexpr std::int64_t grain = 32;  // rows are cheap: a task takes several
  parallel_for((rows + grain - 1) / grain, [&](std::int64_t chunk) {
    for (std::int64_t i = chunk * grain; i < std::min(rows, (chunk + 1) * grain); ++i) body(i);
  });
}

}  // namespace reel::model
