// The kernel bodies, written once on 16 virtual lanes and compiled once per ISA (isa_*.cpp include this file).
#include <cstring>
#include <limits>

#include "kernels/kernels.hpp"
#include "kernels/lanes.hpp"

namespace reel::kernels::REEL_ISA {
namespace {

using std::int64_t;

inline constexpr int tile_rows = 6;
// Panels come from the second-level cache: rows so far ahead are asked for.
inline constexpr int64_t prefetch_rows = 8;
// A register tile is 6 x 64 on AVX-512 (24 of 32 registers hold sums) and 6 x 16 on AVX2 (12 of 16).

template <int Rows, int Vectors>
REEL_INLINE void multiply_tile(const float* a, int64_t a_stride, int64_t depth, const float* b, float* c,
                               int64_t c_stride, bool accumulate) {
  F32x16 sum[Rows][Vectors];
  for (int i = 0; i < Rows; ++i)
    for (int j = 0; j < Vectors; ++j)
      sum[i][j] = accumulate ? F32x16::load(c + i * c_stride + j * num_lanes) : F32x16::set(0.0f);
#if defined(REEL_NEGATIVE_K_SPLIT)  // negative control of the bits matrix: two partial sums must change the digest
  F32x16 odd[Rows][Vectors];
  for (int i = 0; i < Rows; ++i)
    for (int j = 0; j < Vectors; ++j) odd[i][j] = F32x16::set(0.0f);
#endif
  for (int64_t k = 0; k < depth; ++k, b += panel_width) {
    F32x16 column[Vectors];
    for (int j = 0; j < Vectors; ++j) {
      column[j] = F32x16::load(b + j * num_lanes);
      fetch(b + prefetch_rows * panel_width + j * num_lanes);
    }
    for (int i = 0; i < Rows; ++i) {
      const F32x16 x = F32x16::set(a[i * a_stride + k]);
#if defined(REEL_NEGATIVE_K_SPLIT)
      if (k % 2 == 1) {
        for (int j = 0; j < Vectors; ++j) odd[i][j] = fma(x, column[j], odd[i][j]);
        continue;
      }
#endif
      for (int j = 0; j < Vectors; ++j) sum[i][j] = fma(x, column[j], sum[i][j]);
    }
  }
#if defined(REEL_NEGATIVE_K_SPLIT)
  for (int i = 0; i < Rows; ++i)
    for (int j = 0; j < Vectors; ++j) sum[i][j] = sum[i][j] + odd[i][j];
#endif
  for (int i = 0; i < Rows; ++i)
    for (int j = 0; j < Vectors; ++j) sum[i][j].store(c + i * c_stride + j * num_lanes);
}

// Columns in steps of the register tile, the rest in narrower tiles.
template <int Rows>
REEL_INLINE void multiply_rows(const float* a, int64_t a_stride, int64_t depth, const float* panel, int64_t columns,
                               float* c, int64_t c_stride, bool accumulate) {
#if defined(REEL_LANES_AVX512)
  switch ((columns + num_lanes - 1) / num_lanes) {
    case 4: return multiply_tile<Rows, 4>(a, a_stride, depth, panel, c, c_stride, accumulate);
    case 3: return multiply_tile<Rows, 3>(a, a_stride, depth, panel, c, c_stride, accumulate);
    case 2: return multiply_tile<Rows, 2>(a, a_stride, depth, panel, c, c_stride, accumulate);
    default: return multiply_tile<Rows, 1>(a, a_stride, depth, panel, c, c_stride, accumulate);
  }
#else
  for (int64_t j = 0; j < columns; j += num_lanes)
    multiply_tile<Rows, 1>(a, a_stride, depth, panel + j, c + j, c_stride, accumulate);
#endif
}

void multiply_panel(const float* a, int64_t a_stride, int64_t rows, int64_t depth, const float* panel, int64_t columns,
                    float* c, int64_t c_stride, bool accumulate) {
  int64_t i = 0;
  for (; i + tile_rows <= rows; i += tile_rows)
    multiply_rows<tile_rows>(a + i * a_stride, a_stride, depth, panel, columns, c + i * c_stride, c_stride, accumulate);
  a += i * a_stride;
  c += i * c_stride;
  switch (rows - i) {
    case 5: return multiply_rows<5>(a, a_stride, depth, panel, columns, c, c_stride, accumulate);
    case 4: return multiply_rows<4>(a, a_stride, depth, panel, columns, c, c_stride, accumulate);
    case 3: return multiply_rows<3>(a, a_stride, depth, panel, columns, c, c_stride, accumulate);
    case 2: return multiply_rows<2>(a, a_stride, depth, panel, columns, c, c_stride, accumulate);
    case 1: return multiply_rows<1>(a, a_stride, depth, panel, columns, c, c_stride, accumulate);
    default: return;
  }
}

REEL_INLINE F32x16 apply(const F32x16& x, Activation activation) {
  switch (activation) {
    case Activation::gelu_tanh: return gelu_tanh(x);
    case Activation::silu: return silu(x);
    case Activation::none: break;
  }
  return x;
}

// Calls f(offset, count) for chunks of 16 and once for the rest: every row kernel walks its row like this, so that
// lane i always holds elements i, i+16, i+32, ...
template <class F>
REEL_INLINE void each_chunk(int64_t n, F f) {
  int64_t i = 0;
  for (; i + num_lanes <= n; i += num_lanes) f(i, int64_t{num_lanes});
  if (i < n) f(i, n - i);
}
REEL_INLINE F32x16 load_chunk(const float* p, int64_t count) {
  return count == num_lanes ? F32x16::load(p) : F32x16::load_first(p, count);
}
REEL_INLINE void store_chunk(const F32x16& v, float* p, int64_t count) {
  if (count == num_lanes) {
    v.store(p);
  } else {
    v.store_first(p, count);
  }
}

void finish_panel(const float* c, int64_t c_stride, int64_t rows, int64_t columns, const float* bias,
                  Activation activation, float* y, int64_t y_stride) {
  for (int64_t i = 0; i < rows; ++i, c += c_stride, y += y_stride)
    each_chunk(columns, [&](int64_t j, int64_t n) {
      F32x16 v = load_chunk(c + j, n);
      if (bias) v = v + load_chunk(bias + j, n);
      store_chunk(apply(v, activation), y + j, n);
    });
}

// Scores of one row become weights e^(score - max), and what the row has summed up so far fades to the new maximum.
REEL_INLINE void soften_row(float* score, int64_t num_keys, int64_t padded_keys, const float* bias, SoftmaxState& s, float* out,
                            int64_t out_width) {
  if (bias)
    each_chunk(num_keys, [&](int64_t j, int64_t count) {
      store_chunk(load_chunk(score + j, count) + load_chunk(bias + j, count), score + j, count);
    });
  for (int64_t j = num_keys; j < padded_keys; ++j) score[j] = -std::numeric_limits<float>::infinity();
  F32x16 top = F32x16::set(s.max);
  for (int64_t j = 0; j < padded_keys; j += num_lanes) top = max(top, F32x16::load(score + j));
  const float new_max = max_lanes(top);
  const F32x16 shift = F32x16::set(new_max);
  F32x16 sum = F32x16::set(0.0f);
  for (int64_t j = 0; j < padded_keys; j += num_lanes) {
    const F32x16 e = exp(F32x16::load(score + j) - shift);
    sum = sum + e;
    e.store(score + j);
  }
  const F32x16 fade = exp(F32x16::set(s.max) - shift);
  alignas(64) float fade_lane[num_lanes];
  fade.store(fade_lane);
  s.sum = std::fma(s.sum, fade_lane[0], sum_lanes(sum));
  if (new_max != s.max)  // fade is exactly 1 otherwise
    for (int64_t j = 0; j < out_width; j += num_lanes) (F32x16::load(out + j) * fade).store(out + j);
  s.max = new_max;
}

void attention_block(const float* q, int64_t q_stride, int64_t rows, int64_t head_dim, const float* keys,
                     const float* values, int64_t value_panels, int64_t num_keys, const float* bias,
                     int64_t bias_stride, SoftmaxState* state, float* out, int64_t out_stride, float* scratch) {
  const int64_t num_panels = (num_keys + panel_width - 1) / panel_width;
  const int64_t padded_keys = num_panels * panel_width;
  for (int64_t i0 = 0; i0 < rows; i0 += tile_rows) {
    const int64_t n = rows - i0 < tile_rows ? rows - i0 : tile_rows;
    for (int64_t p = 0; p < num_panels; ++p)
      multiply_panel(q + i0 * q_stride, q_stride, n, head_dim, keys + p * head_dim * panel_width,
                     panel_width, scratch + p * panel_width, key_block, false);
    for (int64_t i = 0; i < n; ++i)
      soften_row(scratch + i * key_block, num_keys, padded_keys, bias ? bias + (i0 + i) * bias_stride : nullptr, state[i0 + i],
                 out + (i0 + i) * out_stride, value_panels * panel_width);
    for (int64_t p = 0; p < value_panels; ++p)
      multiply_panel(scratch, key_block, n, padded_keys, values + p * padded_keys * panel_width,
                     panel_width, out + i0 * out_stride + p * panel_width, out_stride, true);
  }
}

#include "kernels/bodies_bf16.inl"

void layer_norm(const float* x, int64_t width, float eps, const float* mul, const float* add, float* y) {
  F32x16 total = F32x16::set(0.0f);
  each_chunk(width, [&](int64_t j, int64_t n) { total = total + load_chunk(x + j, n); });
  const float mean = sum_lanes(total) / static_cast<float>(width);
  F32x16 squares = F32x16::set(0.0f);
  each_chunk(width, [&](int64_t j, int64_t n) {
    const F32x16 d = (n == num_lanes ? F32x16::load(x + j) : F32x16::load_first(x + j, n, mean)) - F32x16::set(mean);
    squares = fma(d, d, squares);
  });
  const float variance = sum_lanes(squares) / static_cast<float>(width);
  const F32x16 scale = F32x16::set(1.0f / std::sqrt(variance + eps));
  each_chunk(width, [&](int64_t j, int64_t n) {
    F32x16 v = (load_chunk(x + j, n) - F32x16::set(mean)) * scale;
    const F32x16 a = add ? load_chunk(add + j, n) : F32x16::set(0.0f);
    if (mul) {
      v = fma(v, load_chunk(mul + j, n), a);
    } else if (add) {
      v = v + a;
    }
    store_chunk(v, y + j, n);
  });
}

REEL_INLINE float sum_of_squares(const float* x, int64_t n) {
  F32x16 squares = F32x16::set(0.0f);
  each_chunk(n, [&](int64_t j, int64_t count) {
    const F32x16 v = load_chunk(x + j, count);
    squares = fma(v, v, squares);
  });
  return sum_lanes(squares);
}

void rms_norm(const float* x, int64_t width, float eps, const float* weight, float* y) {
  const float mean_square = sum_of_squares(x, width) / static_cast<float>(width);
  const F32x16 scale = F32x16::set(1.0f / std::sqrt(mean_square + eps));
  each_chunk(width, [&](int64_t j, int64_t n) {
    store_chunk(load_chunk(x + j, n) * scale * load_chunk(weight + j, n), y + j, n);
  });
}

void l2_norm(const float* x, int64_t channels, const float* gamma, Activation activation, float* y) {
  const float norm = std::sqrt(sum_of_squares(x, channels));
  const float floor = 1e-12f;
  const F32x16 divisor = F32x16::set(norm > floor ? norm : floor);
  const F32x16 root = F32x16::set(std::sqrt(static_cast<float>(channels)));
  each_chunk(channels, [&](int64_t j, int64_t n) {
    const F32x16 v = load_chunk(x + j, n) / divisor * root * load_chunk(gamma + j, n);
    store_chunk(apply(v, activation), y + j, n);
  });
}

void rotate(float* x, int64_t width, int64_t head_dim, const float* cos_twice, const float* sin_signed) {
  for (int64_t h = 0; h < width; h += head_dim)
    each_chunk(head_dim, [&](int64_t j, int64_t n) {
      const F32x16 v = load_chunk(x + h + j, n);
      const F32x16 turned = fma(swap_pairs(v), load_chunk(sin_signed + j, n), v * load_chunk(cos_twice + j, n));
      store_chunk(turned, x + h + j, n);
    });
}

void gated_add(const float* y, const float* gate, int64_t n, float* x) {
  each_chunk(n, [&](int64_t j, int64_t count) {
    store_chunk(fma(load_chunk(y + j, count), load_chunk(gate + j, count), load_chunk(x + j, count)), x + j, count);
  });
}

void activate(const float* x, int64_t n, Activation activation, float* y) {
  each_chunk(n, [&](int64_t j, int64_t count) { store_chunk(apply(load_chunk(x + j, count), activation), y + j, count); });
}

void divide(const float* x, int64_t n, float divisor, float* out) {
  const F32x16 by = F32x16::set(divisor);
  each_chunk(n, [&](int64_t j, int64_t count) { store_chunk(load_chunk(x + j, count) / by, out + j, count); });
}

}  // namespace

extern const Table kernel_table;
const Table kernel_table{.name = REEL_ISA_NAME,
                         .multiply_panel = multiply_panel,
                         .finish_panel = finish_panel,
                         .attention_block = attention_block,
                         .layer_norm = layer_norm,
                         .rms_norm = rms_norm,
                         .l2_norm = l2_norm,
                         .rotate = rotate,
                         .gated_add = gated_add,
                         .activate = activate,
                         .divide = divide,
                         .round_to_bf16 = round_to_bf16,
                         .round_row = round_row,
                         .multiply_pairs = multiply_pairs,
                         .multiply_blocks = multiply_blocks,
                         .attention_block_bf16 = attention_block_bf16};

}  // namespace reel::kernels::REEL_ISA
