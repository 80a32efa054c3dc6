#pragma once
// The model's operations on whole arrays: kernels spread over threads. No operation here sums across threads.
#include <algorithm>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "core/parallel.hpp"
#include "core/tensor.hpp"
#include "kernels/kernels.hpp"
#include "model/weights.hpp"

namespace reel::model {

using kernels::Activation;

/// The product of bf16 operands that a profile wants (not f32).
kernels::MultiplyBf16 multiply_bf16(Numerics numerics);

/// Rows that a product reads, as its weights want them: element k of row i is f32[i*stride + k], or in bf16 where
/// `kernels::MultiplyBf16` looks for it. The other pointer is null.
struct OperandRows {
  const float* f32 = nullptr;
  const kernels::Bf16* bf16 = nullptr;
  std::int64_t stride = 0, step = 0;
  /// The same from row i and element k on, a multiple of 32 in bf16.
  OperandRows from(std::int64_t i, std::int64_t k) const {
    if (bf16) return {nullptr, bf16 + i * stride + k / kernels::bf16_step * step, stride, step};
    return {f32 + i * stride + k, nullptr, stride, step};
  }
};

/// Rows of an operand: what products read. In f32 they are as they were put; in the bf16 profiles they are rounded, filled up
/// with zeros to a multiple of 32 and lie in slabs [K/32][rows][32], so that the rows of a tile are one piece of memory.
class Operand {
 public:
  /// Space for `rows` rows of `width`.
  void resize(Numerics numerics, std::int64_t rows, std::int64_t width);
  /// Row i = scale * x. Threads may put different rows.
  void put(std::int64_t i, const float* x, float scale);
  /// Row i = what write(float*) writes. Threads may fill different rows.
  template <class Write>
  void fill(std::int64_t i, Write write) {
    float* const row = half_ ? spare_row() : floats_.data() + i * stride_;
    write(row);
    if (half_) put(i, row, 1.0f);
  }
  float* f32(std::int64_t i) { return floats_.data() + i * stride_; }
  const float* f32(std::int64_t i) const { return floats_.data() + i * stride_; }
  kernels::Bf16* bf16(std::int64_t i) { return halves_.data() + i * stride_; }
  const kernels::Bf16* bf16(std::int64_t i) const { return halves_.data() + i * stride_; }
  /// Elements between rows, and between the pieces of 32 of a row in bf16.
  std::int64_t stride() const noexcept { return stride_; }
  std::int64_t step() const noexcept { return step_; }
  OperandRows rows() const { return half_ ? OperandRows{nullptr, bf16(0), stride_, step_} : OperandRows{f32(0), nullptr, stride_, step_}; }

 private:
  float* spare_row() const;
  bool half_ = false;
  std::int64_t width_ = 0, stride_ = 0, step_ = 0;
  FloatBuffer floats_;
  HalfBuffer halves_;
};

/// The packed panels of weights, whatever their profile.
class Panels {
 public:
  explicit Panels(const Linear& w);
  /// Panels side by side, and elements of K in each.
  std::int64_t count() const noexcept { return count_; }
  std::int64_t depth() const noexcept { return depth_; }
  std::int64_t columns(std::int64_t p) const noexcept { return std::min(kernels::panel_width, w_.out - p * kernels::panel_width); }
  /// c[rows, columns(p)] (+)= x[rows, depth] times elements [k, k + depth) of panel p; c is [rows, 64].
  void multiply(const OperandRows& x, std::int64_t rows, std::int64_t p, std::int64_t k, std::int64_t depth, float* c, bool accumulate,
                const kernels::Ahead& ahead) const {
    constexpr std::int64_t width = kernels::panel_width;
    if (multiply_bf16_)
      multiply_bf16_(x.bf16, x.stride, x.step, rows, depth, bf16(p, k), depth_ * kernels::group_width, columns(p), c, width, accumulate, ahead);
    else
      kernels::table().multiply_panel(x.f32, x.stride, rows, depth, f32(p, k), columns(p), c, width, accumulate, ahead);
  }
  /// What rows [i, i + m) of n ask for of elements [k, k + depth) of panel p.
  kernels::Ahead ask(std::int64_t p, std::int64_t k, std::int64_t depth, std::int64_t i, std::int64_t m, std::int64_t n) const {
    const std::int64_t begin = depth * i / n, size = depth * (i + m) / n - begin;
    if (multiply_bf16_)
      return {.read = bf16(p, k + begin), .part_bytes = size * group_bytes, .parts = kernels::panel_width / kernels::group_width, .part_stride = depth_ * group_bytes};
    return {.read = f32(p, k + begin), .part_bytes = size * kernels::panel_width * static_cast<std::int64_t>(sizeof(float))};
  }

 private:
  static constexpr std::int64_t group_bytes = kernels::group_width * static_cast<std::int64_t>(sizeof(kernels::Bf16));
  const float* f32(std::int64_t p, std::int64_t k) const { return w_.packed + (p * depth_ + k) * kernels::panel_width; }
  const kernels::Bf16* bf16(std::int64_t p, std::int64_t k) const {
    return w_.packed_bf16 + p * depth_ * kernels::panel_width + k * kernels::group_width;
  }
  const Linear& w_;
  kernels::MultiplyBf16 multiply_bf16_;  // null in f32
  std::int64_t depth_, count_;
};

/// y[rows, out] = activation(x[rows, in] W^T + b). Each output is one sum over `in` in the order of the weights' profile, then
/// the bias.
void multiply(const Linear& w, const float* x, std::int64_t x_stride, std::int64_t rows, Activation activation, float* y,
              std::int64_t y_stride);
inline void multiply(const Linear& w, const float* x, std::int64_t rows, float* y,
                     Activation activation = Activation::none) {
  multiply(w, x, w.in, rows, activation, y, w.out);
}
/// The same of the first rows of an operand that was put in the weights' profile, for several products of the same rows.
void multiply(const Linear& w, const Operand& x, std::int64_t rows, float* y);
/// The same, into the operand of the next product: y must have its size.
void multiply(const Linear& w, const Operand& x, std::int64_t rows, Activation activation, Operand& y);

/// The gate of row i: gates + row_of[i] * stride; none at all when null.
struct Gates {
  const float* gates = nullptr;
  const std::int32_t* row_of = nullptr;
  std::int64_t stride = 0;
};
/// y[rows, out] += (x W^T + b) * gate, one fused multiply-add after the bias; without gates y += x W^T + b.
void multiply_add(const Linear& w, const float* x, std::int64_t rows, const Gates& gates, float* y);
void multiply_add(const Linear& w, const Operand& x, std::int64_t rows, const Gates& gates, float* y);

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

/// Calls finish(i, sums, sum) for every row i of softmax(scale q K^T + bias) V, which is sums[0, value_dim) / sum, over the keys of
/// all parts of a head in their order, on this thread. rows <= 96.
template <class Finish>
void attend_parts(std::span<const PackedHead> parts, const float* q, std::int64_t q_stride, std::int64_t rows, std::int64_t key_dim, float scale,
                  const float* bias, std::int64_t bias_stride, Finish finish) {
  REEL_CHECK(rows <= attention_chunk);
  thread_local FloatBuffer sums;
  thread_local Operand scaled;
  const std::int64_t width = parts.front().value_panels() * kernels::panel_width;
  sums.assign(static_cast<std::size_t>(attention_chunk * width), 0.0f);
  scaled.resize(parts.front().numerics(), attention_chunk, key_dim);
  for (std::int64_t i = 0; i < rows; ++i) scaled.put(i, q + i * q_stride, scale);
  kernels::SoftmaxState state[attention_chunk];
  std::fill_n(state, rows, kernels::SoftmaxState{-std::numeric_limits<float>::infinity(), 0.0f});
  for (const PackedHead& part : parts) {
    for (std::int64_t b = 0; b < part.num_blocks(); ++b) part.attend_block(b, scaled, 0, rows, bias, bias_stride, state, sums.data());
    if (bias) bias += part.num_keys();
  }
  for (std::int64_t i = 0; i < rows; ++i) finish(i, sums.data() + i * width, state[i].sum);
}

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
