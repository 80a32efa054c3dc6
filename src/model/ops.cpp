#include "model/ops.hpp"

#include <algorithm>
#include <cstring>

namespace reel::model {
namespace {

using kernels::panel_width;
// One task takes rows x panels of the output over the whole depth. Its operands pass by in pieces of `depth`, its sums wait in
// L2; those of the last piece are finished after `near_rows`, while they are near. AMX is limited by what comes from L3 or memory
// for each product and wants few bytes; the others are limited by their arithmetic and want long pieces. No bit depends on these
// numbers: a piece goes on with the sums of the one before.
struct Cut {
  std::int64_t rows, panels, depth, whole_rows, near_rows;
};
constexpr Cut most_f32{384, 1, 384, 48, 48}, most_bf16{144, 1, 1536, 48, 48}, most_bf16_amx{512, 4, 256, 32, 512};
constexpr Cut most(Numerics numerics) {
  return numerics == Numerics::f32 ? most_f32 : numerics == Numerics::bf16 ? most_bf16 : most_bf16_amx;
}
constexpr std::int64_t fewest_rows = 96, most_sums = most_bf16_amx.rows * most_bf16_amx.panels * panel_width;

// Smaller tasks where they would be too few for the threads; rows in equal shares of whole tiles.
Cut cut_of(Cut cut, std::int64_t rows, std::int64_t panels) {
  const auto tasks = [&] { return (rows + cut.rows - 1) / cut.rows * ((panels + cut.panels - 1) / cut.panels); };
  while (cut.panels > 1 && tasks() < 4 * num_threads()) cut.panels /= 2;
  while (cut.rows > fewest_rows && tasks() < 4 * num_threads()) cut.rows /= 2;
  const std::int64_t shares = (rows + cut.rows - 1) / cut.rows, share = (rows + shares - 1) / shares;
  cut.rows = (share + cut.whole_rows - 1) / cut.whole_rows * cut.whole_rows;
  return cut;
}

// x itself, or rounded into an operand that keeps its memory from call to call.
OperandRows rows_of(const Linear& w, const float* x, std::int64_t x_stride, std::int64_t rows) {
  if (w.numerics == Numerics::f32) return {x, nullptr, x_stride, 0};
  thread_local Operand operand;
  Operand& rounded = operand;
  rounded.resize(w.numerics, rows, w.in);
  for_rows(rows, [&](std::int64_t i) { rounded.put(i, x + i * x_stride, 1.0f); });
  return rounded.rows();
}

// Where a product goes, if to rows of f32: asked for while it is computed.
struct Place {
  float* at = nullptr;
  std::int64_t stride = 0;
};

// Calls finish(first row, rows, first column, columns, sums [rows, 64]) for every part of x W^T.
template <class Finish>
void product(const Linear& w, const OperandRows& x, std::int64_t rows, const Place& y, Finish finish) {
  const Panels panels(w);
  const std::int64_t depth = panels.depth();
  const Cut cut = cut_of(most(w.numerics), rows, panels.count());
  const std::int64_t across = (panels.count() + cut.panels - 1) / cut.panels;
  parallel_for((rows + cut.rows - 1) / cut.rows * across, [&](std::int64_t task) {
    const std::int64_t first = task / across * cut.rows, n = std::min(cut.rows, rows - first);
    const std::int64_t first_panel = task % across * cut.panels, end_panel = std::min(first_panel + cut.panels, panels.count());
    thread_local FloatBuffer buffer(static_cast<std::size_t>(most_sums));
    for (std::int64_t d = 0; d < depth; d += cut.depth) {
      const std::int64_t now = std::min(cut.depth, depth - d);
      const bool last = d + now == depth;
      const std::int64_t step = last ? cut.near_rows : n;
      for (std::int64_t p = first_panel; p < end_panel; ++p) {
        // After this piece comes the one behind it or, after the last one, the next panel.
        const std::int64_t next_panel = last ? p + 1 : p, next_d = last ? 0 : d + now;
        const std::int64_t next = next_panel < panels.count() ? std::min(cut.depth, depth - next_d) : 0;
        for (std::int64_t i = 0; i < n; i += step) {
          const std::int64_t m = std::min(step, n - i);
          float* const sums = buffer.data() + ((p - first_panel) * cut.rows + i) * panel_width;
          kernels::Ahead ahead = panels.ask(next_panel, next_d, next, i, m, n);
          if (last && y.at) ahead.written = y.at + (first + i) * y.stride + p * panel_width, ahead.written_stride = y.stride;
          panels.multiply(x.from(first + i, d), m, p, d, now, sums, d > 0, ahead);
          if (last) finish(first + i, m, p * panel_width, panels.columns(p), sums);
        }
      }
    }
  });
}

// y = activation(sums + bias) of a part from some column on; y may be the sums.
void finish_part(const Linear& w, std::int64_t column, std::int64_t columns, const float* sums, std::int64_t rows, Activation activation, float* y,
                 std::int64_t y_stride) {
  kernels::table().finish_panel(sums, panel_width, rows, columns, w.bias ? w.bias + column : nullptr, activation, y, y_stride);
}

void store(const Linear& w, const OperandRows& x, std::int64_t rows, Activation activation, float* y, std::int64_t y_stride) {
  product(w, x, rows, {y, y_stride}, [&](std::int64_t first, std::int64_t n, std::int64_t column, std::int64_t columns, const float* sums) {
    finish_part(w, column, columns, sums, n, activation, y + first * y_stride + column, y_stride);
  });
}

void add(const Linear& w, const OperandRows& x, std::int64_t rows, const Gates& gates, float* y) {
  product(w, x, rows, {y, w.out}, [&](std::int64_t first, std::int64_t n, std::int64_t column, std::int64_t columns, float* sums) {
    finish_part(w, column, columns, sums, n, Activation::none, sums, panel_width);
    for (std::int64_t i = 0; i < n; ++i) {
      const float* sum = sums + i * panel_width;
      float* to = y + (first + i) * w.out + column;
      if (gates.gates)
        kernels::table().gated_add(sum, gates.gates + gates.row_of[first + i] * gates.stride + column, columns, to);
      else
        for (std::int64_t j = 0; j < columns; ++j) to[j] += sum[j];
    }
  });
}

}  // namespace

kernels::MultiplyBf16 multiply_bf16(Numerics numerics) {
  REEL_CHECK(numerics != Numerics::f32, "no bf16 product in profile f32");
  return numerics == Numerics::bf16 ? kernels::table().multiply_pairs : kernels::table().multiply_blocks;
}

Panels::Panels(const Linear& w)
    : w_(w), multiply_bf16_(w.numerics == Numerics::f32 ? nullptr : multiply_bf16(w.numerics)),
      depth_(multiply_bf16_ ? kernels::padded_depth(w.in) : w.in), count_((w.out + panel_width - 1) / panel_width) {}

void Operand::resize(Numerics numerics, std::int64_t rows, std::int64_t width) {
  half_ = numerics != Numerics::f32;
  width_ = width;
  stride_ = half_ ? kernels::bf16_step : width;
  step_ = rows * kernels::bf16_step;
  if (half_)
    halves_.resize(static_cast<std::size_t>(rows * kernels::padded_depth(width)));
  else
    floats_.resize(static_cast<std::size_t>(rows * width));
}

void Operand::put(std::int64_t i, const float* x, float scale) {
  if (half_) return kernels::table().round_row(x, scale, width_, bf16(i), step_);
  for (std::int64_t j = 0; j < width_; ++j) f32(i)[j] = x[j] * scale;
}

float* Operand::spare_row() const {
  thread_local FloatBuffer row;
  row.resize(static_cast<std::size_t>(width_));
  return row.data();
}

void multiply(const Linear& w, const float* x, std::int64_t x_stride, std::int64_t rows, Activation activation, float* y,
              std::int64_t y_stride) {
  store(w, rows_of(w, x, x_stride, rows), rows, activation, y, y_stride);
}

void multiply(const Linear& w, const Operand& x, std::int64_t rows, float* y) {
  store(w, x.rows(), rows, Activation::none, y, w.out);
}

void multiply(const Linear& w, const Operand& x, std::int64_t rows, Activation activation, Operand& y) {
  if (w.numerics == Numerics::f32) return store(w, x.rows(), rows, activation, y.f32(0), y.stride());
  product(w, x.rows(), rows, {}, [&](std::int64_t first, std::int64_t n, std::int64_t column, std::int64_t columns, float* sums) {
    finish_part(w, column, columns, sums, n, activation, sums, panel_width);
    for (std::int64_t i = 0; i < n; ++i)
      kernels::table().round_row(sums + i * panel_width, 1.0f, columns, y.bf16(first + i) + column / kernels::bf16_step * y.step(), y.step());
  });
}

void multiply_add(const Linear& w, const float* x, std::int64_t rows, const Gates& gates, float* y) {
  add(w, rows_of(w, x, w.in, rows), rows, gates, y);
}

void multiply_add(const Linear& w, const Operand& x, std::int64_t rows, const Gates& gates, float* y) {
  add(w, x.rows(), rows, gates, y);
}

namespace {

constexpr std::int64_t values_ahead = 16;  // rows of values that are asked for before they are packed

// Asks for rows that will be read soon: those of one head are short and far apart, and no prefetcher of a CPU sees them come.
void fetch_rows(const float* x, std::int64_t stride, std::int64_t first, std::int64_t end, std::int64_t width) {
  for (std::int64_t i = first; i < end; ++i)
    for (std::int64_t j = 0; j < width; j += 16) __builtin_prefetch(x + i * stride + j);
}

// Two rows of at most 64, rounded and filled up with zeros, side by side in the groups of a panel.
void put_pair(const float* x, std::int64_t x_count, const float* y, std::int64_t y_count, kernels::Bf16* to, std::int64_t group_stride) {
  kernels::Bf16 even[panel_width] = {}, odd[panel_width] = {};
  kernels::table().round_to_bf16(x, x_count, even);
  kernels::table().round_to_bf16(y, y_count, odd);
  for (std::int64_t g = 0; g < panel_width; g += kernels::group_width, to += group_stride) {
    std::uint32_t pairs[kernels::group_width];
    for (std::int64_t j = 0; j < kernels::group_width; ++j)
      pairs[j] = even[g + j] | static_cast<std::uint32_t>(odd[g + j]) << 16;
    std::memcpy(to, pairs, sizeof pairs);
  }
}

}  // namespace

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
    fetch_rows(keys, key_stride, first + n, std::min(first + n + panel_width, num_keys), key_dim);
    if (half)
      kernels::pack_panel(keys + first * key_stride, n, key_dim, key_stride, keys_bf16_.data() + first * key_dim_);
    else
      kernels::pack_panel(keys + first * key_stride, n, key_dim, key_stride, keys_.data() + first * key_dim_);
  }
  // Blocks [panel][key][column], the keys in pairs in bf16.
  for (std::int64_t i = 0; i < padded; i += 2) {
    const std::int64_t block = i / kernels::key_block * kernels::key_block, n = std::min(kernels::key_block, padded - block);
    fetch_rows(values, value_stride, i + values_ahead, std::min(i + values_ahead + 2, num_keys), value_dim);
    for (std::int64_t p = 0; p < value_panels_; ++p) {
      const std::int64_t column = p * panel_width, at = (block * value_panels_ + p * n) * panel_width;
      const auto count = [&](std::int64_t key) { return key < num_keys ? std::min(panel_width, value_dim - column) : 0; };
      const auto from = [&](std::int64_t key) { return values + key * value_stride + column; };
      if (half)
        put_pair(from(i), count(i), from(i + 1), count(i + 1), values_bf16_.data() + at + (i - block) * kernels::group_width, n * kernels::group_width);
      else
        for (std::int64_t key = i; key < i + 2; ++key) {
          float* const to = values_.data() + at + (key - block) * panel_width;
          std::fill(std::copy_n(from(key), count(key), to), to + panel_width, 0.0f);
        }
    }
  }
}

void PackedHead::attend_block(std::int64_t block, const Operand& q, std::int64_t first_row, std::int64_t rows, const float* bias,
                              std::int64_t bias_stride, kernels::SoftmaxState* state, float* out) const {
  const std::int64_t first = block * kernels::key_block, keys = std::min(kernels::key_block, num_keys_ - first);
  const std::int64_t key_at = first * key_dim_, value_at = first * value_panels_ * panel_width;
  const float* bias_here = bias ? bias + first : nullptr;
  if (numerics_ == Numerics::f32) {
    kernels::table().attention_block(q.f32(first_row), q.stride(), rows, key_dim_, keys_.data() + key_at, values_.data() + value_at, value_panels_,
                                     keys, bias_here, bias_stride, state, out, value_panels_ * panel_width);
  } else {
    kernels::table().attention_block_bf16(multiply_bf16(numerics_), q.bf16(first_row), q.stride(), q.step(), rows, key_dim_,
                                          keys_bf16_.data() + key_at, values_bf16_.data() + value_at, value_panels_, keys, bias_here, bias_stride, state, out,
                                          value_panels_ * panel_width);
  }
}

void attend(const PackedHead& head, const float* q, std::int64_t q_stride, std::int64_t rows, std::int64_t key_dim,
            std::int64_t value_dim, float scale, const float* bias, std::int64_t bias_stride, float* out,
            std::int64_t out_stride) {
  attend_parts({&head, 1}, q, q_stride, rows, key_dim, scale, bias, bias_stride, [&](std::int64_t i, const float* sums, float sum) {
    kernels::table().divide(sums, value_dim, sum, false, out + i * out_stride);
  });
}

}  // namespace reel::model
