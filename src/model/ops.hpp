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

/// The product of bf16 operands that a profile wants (not f32).
kernels::MultiplyBf16 multiply_bf16(Numerics numerics);

/// Rows of an operand, scaled and, in the bf16 profiles, rounded and filled up with zeros: what products read.
class Operand {
 public:
  /// Space for `rows` rows of `width`.
  void resize(Numerics numerics, std::int64_t rows, std::int64_t width);
  /// Row i = scale * x. Threads may put different rows.
  void put(std::int64_t i, const float* x, float scale);
  const float* f32(std::int64_t i) const { return floats_.data() + i * stride_; }
  const kernels::Bf16* bf16(std::int64_t i) const { return halves_.data() + i * stride_; }
  std::int64_t stride() const noexcept { return stride_; }

 private:
  bool half_ = false;
  std::int64_t width_ = 0, stride_ = 0;
  FloatBuffer floats_;
  HalfBuffer halves_;
};

/// y[rows, out] = activation(x[rows, in] W^T + b). Each output is one sum over `in` in the order of the weights' profile, then
/// the bias.
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
  /// keys [num_keys, key_dim], values [num_keys, value_dim] with the given row strides. Exact copies in f32, rounded in bf16.
  void pack(Numerics numerics, const float* keys, std::int64_t key_stride, const float* values, std::int64_t value_stride,
            std::int64_t num_keys, std::int64_t key_dim, std::int64_t value_dim);
  Numerics numerics() const noexcept { return numerics_; }
  std::int64_t num_blocks() const noexcept { return (num_keys_ + kernels::key_block - 1) / kernels::key_block; }
  std::int64_t num_keys() const noexcept { return num_keys_; }
  std::int64_t value_panels() const noexcept { return value_panels_; }
  /// One block for rows [first, first + rows) of q (see kernels::Table::attention_block).
  void attend_block(std::int64_t block, const Operand& q, std::int64_t first, std::int64_t rows, const float* bias,
                    std::int64_t bias_stride, kernels::SoftmaxState* state, float* out) const;

 private:
  Numerics numerics_ = Numerics::f32;
  std::int64_t num_keys_ = 0, key_dim_ = 0, value_panels_ = 0;  // key_dim_ as packed
  FloatBuffer keys_, values_;
  HalfBuffer keys_bf16_, values_bf16_;
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
