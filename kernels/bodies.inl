// The kernel bodies, written once on 16 virtual lanes and compiled once per ISA (isa_*.cpp include this file).
#include <cstring>
#include <limits>
#include <type_traits>

#include "kernels/kernels.hpp"
#include "kernels/lanes.hpp"
#include "kernels/tile_ahead.hpp"

namespace reel::kernels::REEL_ISA {
namespace {

using std::int64_t;

inline constexpr int tile_rows = 6;
// A register tile is 6 x 64 on AVX-512 (24 of 32 registers hold sums) and 6 x 16 on AVX2 (12 of 16).
// Panels come from the second-level cache: rows so far ahead are asked for.
inline constexpr int64_t prefetch_rows = 8, float_bytes = sizeof(float);

template <int Rows, int Vectors, class What>
REEL_INLINE void multiply_tile(const float* a, int64_t a_stride, int64_t depth, const float* b, float* c, int64_t c_stride, bool accumulate,
                               [[maybe_unused]] const What& ahead) {
  constexpr bool asks = std::is_same_v<What, TileAhead>;
  if constexpr (asks)
    if (ahead.written)
      for (int i = 0; i < Rows; ++i)
        for (int j = 0; j < Vectors; ++j) fetch_to_write(ahead.written + i * ahead.written_stride + j * num_lanes);
  F32x16 sum[Rows][Vectors];
  if (accumulate) {
    for (int i = 0; i < Rows; ++i)
      for (int j = 0; j < Vectors; ++j) sum[i][j] = F32x16::load(c + i * c_stride + j * num_lanes);
  } else {
    for (int i = 0; i < Rows; ++i)
      for (int j = 0; j < Vectors; ++j) sum[i][j] = F32x16::set(0.0f);
  }
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
    if constexpr (asks) fetch(reinterpret_cast<const float*>(ahead.at[k % TileAhead::turns]) + k);
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
    case 4: return multiply_tile<Rows, 4>(a, a_stride, depth, panel, c, c_stride, accumulate, NothingAhead{});
    case 3: return multiply_tile<Rows, 3>(a, a_stride, depth, panel, c, c_stride, accumulate, NothingAhead{});
    case 2: return multiply_tile<Rows, 2>(a, a_stride, depth, panel, c, c_stride, accumulate, NothingAhead{});
    default: return multiply_tile<Rows, 1>(a, a_stride, depth, panel, c, c_stride, accumulate, NothingAhead{});
  }
#else
  for (int64_t j = 0; j < columns; j += num_lanes)
    multiply_tile<Rows, 1>(a, a_stride, depth, panel + j, c + j, c_stride, accumulate, NothingAhead{});
#endif
}

#if defined(REEL_LANES_AVX512)
// Whole tiles that ask for what comes next. A function of its own: in a larger one GCC keeps the sums in memory.
__attribute__((noinline)) void multiply_whole_tiles(const float* a, int64_t a_stride, int64_t rows, int64_t depth, const float* panel, float* c,
                                                    int64_t c_stride, bool accumulate, const Ahead& asked) {
  TileAhead ahead(a, a_stride * float_bytes, tile_rows, rows, depth, asked);
  for (int64_t i = 0; i + tile_rows <= rows; i += tile_rows, ahead.next_tile())
    multiply_tile<tile_rows, panel_width / num_lanes>(a + i * a_stride, a_stride, depth, panel, c + i * c_stride, c_stride, accumulate, ahead);
}
#endif

void multiply_panel(const float* a, int64_t a_stride, int64_t rows, int64_t depth, const float* panel, int64_t columns,
                    float* c, int64_t c_stride, bool accumulate, [[maybe_unused]] const Ahead& asked) {
  int64_t i = 0;
#if defined(REEL_LANES_AVX512)
  if (rows >= 2 * tile_rows && columns > panel_width - num_lanes && depth > 0) {
    multiply_whole_tiles(a, a_stride, rows, depth, panel, c, c_stride, accumulate, asked);
    i = rows / tile_rows * tile_rows;
  }
#endif
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
// lane i always holds elements i, i+16, i+32, ... Without REEL_INLINED GCC makes a call of each chunk.
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
    each_chunk(columns, [&](int64_t j, int64_t n) REEL_INLINED {
      F32x16 v = load_chunk(c + j, n);
      if (bias) v = v + load_chunk(bias + j, n);
      store_chunk(apply(v, activation), y + j, n);
    });
}

#if defined(REEL_LANES_AVX512)
inline constexpr int soften_chunks = 2;
#else
inline constexpr int soften_chunks = 1;
#endif
REEL_INLINE void store_weight(const F32x16& e, float* to) { e.store(to); }
REEL_INLINE void store_weight(const F32x16& e, Bf16* to) { store_rounded<false>(e, to); }

// Scores of at most 16 rows become weights e^(score - max), in place or rounded; what the rows have summed up so far fades to the
// new maximum.
template <class Weight>
REEL_INLINE void soften_rows(float* scores, Weight* weights, int64_t rows, int64_t num_keys, int64_t padded_keys, const float* bias,
                             int64_t bias_stride, SoftmaxState* state, float* out, int64_t out_stride, int64_t out_width) {
  alignas(64) float before[num_lanes] = {}, after[num_lanes] = {}, fade[num_lanes];
  for (int64_t i = 0; i < rows; ++i) {
    float* const score = scores + i * key_block;
    if (bias)
      each_chunk(num_keys, [&](int64_t j, int64_t count) REEL_INLINED {
        store_chunk(load_chunk(score + j, count) + load_chunk(bias + i * bias_stride + j, count), score + j, count);
      });
    for (int64_t j = num_keys; j < padded_keys; ++j) score[j] = -std::numeric_limits<float>::infinity();
    before[i] = state[i].max;
    F32x16 top = F32x16::set(before[i]);
    for (int64_t j = 0; j < padded_keys; j += num_lanes) top = max(top, F32x16::load(score + j));
    after[i] = max_lanes(top);
  }
  exp(F32x16::load(before) - F32x16::load(after)).store(fade);
  for (int64_t i = 0; i < rows; ++i) {
    const auto shift = Lanes<soften_chunks>::set(after[i]);
    F32x16 sum = F32x16::set(0.0f);
    for (int64_t j = i * key_block; j < i * key_block + padded_keys; j += soften_chunks * num_lanes) {
      const auto e = exp(Lanes<soften_chunks>::load(scores + j) - shift);
      for (int c = 0; c < soften_chunks; ++c) {
        sum = sum + e.chunk(c);
        store_weight(e.chunk(c), weights + j + c * num_lanes);
      }
    }
    state[i] = {after[i], std::fma(state[i].sum, fade[i], sum_lanes(sum))};
    if (after[i] != before[i])  // it fades by exactly 1 otherwise
      for (float* to = out + i * out_stride; to < out + i * out_stride + out_width; to += num_lanes) (F32x16::load(to) * F32x16::set(fade[i])).store(to);
  }
}

// The same of any number of rows.
template <class Weight>
REEL_INLINE void soften(float* scores, Weight* weights, int64_t rows, int64_t num_keys, int64_t padded_keys, const float* bias, int64_t bias_stride,
                        SoftmaxState* state, float* out, int64_t out_stride, int64_t out_width) {
  for (int64_t i = 0; i < rows; i += num_lanes)
    soften_rows(scores + i * key_block, weights + i * key_block, rows - i < num_lanes ? rows - i : num_lanes, num_keys, padded_keys, bias ? bias + i * bias_stride : nullptr,
                bias_stride, state + i, out + i * out_stride, out_stride, out_width);
}

// Keys of a block are packed in whole panels; of the last one only those steps are used that hold a key.
struct KeyBlock {
  int64_t packed, used;
  explicit KeyBlock(int64_t num_keys)
      : packed((num_keys + panel_width - 1) / panel_width * panel_width), used((num_keys + bf16_step - 1) / bf16_step * bf16_step) {}
  int64_t columns(int64_t panel) const { return used - panel * panel_width < panel_width ? used - panel * panel_width : panel_width; }
};

void attention_block(const float* q, int64_t q_stride, int64_t rows, int64_t head_dim, const float* keys,
                     const float* values, int64_t value_panels, int64_t num_keys, const float* bias,
                     int64_t bias_stride, SoftmaxState* state, float* out, int64_t out_stride) {
  alignas(64) float scores[attention_rows * key_block];
  const KeyBlock block(num_keys);
  const int64_t key_panel = head_dim * panel_width, value_panel = block.packed * panel_width;
  for (int64_t i0 = 0; i0 < rows; i0 += attention_rows) {
    const int64_t n = rows - i0 < attention_rows ? rows - i0 : attention_rows;
    for (int64_t p = 0; p * panel_width < num_keys; ++p)  // panels lie one behind the other, those of the next block as well
      multiply_panel(q + i0 * q_stride, q_stride, n, head_dim, keys + p * key_panel, block.columns(p), scores + p * panel_width, key_block, false,
                     {.read = keys + (p + 1) * key_panel, .part_bytes = key_panel * float_bytes});
    soften(scores, scores, n, num_keys, block.used, bias ? bias + i0 * bias_stride : nullptr, bias_stride, state + i0, out + i0 * out_stride, out_stride,
           value_panels * panel_width);
    for (int64_t p = 0; p < value_panels; ++p)
      multiply_panel(scores, key_block, n, num_keys, values + p * value_panel, panel_width, out + i0 * out_stride + p * panel_width,
                     out_stride, true, {.read = values + (p + 1) * value_panel, .part_bytes = value_panel * float_bytes});
  }
}

#include "kernels/bodies_bf16.inl"

void layer_norm(const float* x, int64_t width, float eps, const float* mul, const float* add, float* y) {
  F32x16 total = F32x16::set(0.0f);
  each_chunk(width, [&](int64_t j, int64_t n) REEL_INLINED { total = total + load_chunk(x + j, n); });
  const float mean = sum_lanes(total) / static_cast<float>(width);
  F32x16 squares = F32x16::set(0.0f);
  each_chunk(width, [&](int64_t j, int64_t n) REEL_INLINED {
    const F32x16 d = (n == num_lanes ? F32x16::load(x + j) : F32x16::load_first(x + j, n, mean)) - F32x16::set(mean);
    squares = fma(d, d, squares);
  });
  const float variance = sum_lanes(squares) / static_cast<float>(width);
  const F32x16 scale = F32x16::set(1.0f / std::sqrt(variance + eps));
  each_chunk(width, [&](int64_t j, int64_t n) REEL_INLINED {
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
  each_chunk(n, [&](int64_t j, int64_t count) REEL_INLINED {
    const F32x16 v = load_chunk(x + j, count);
    squares = fma(v, v, squares);
  });
  return sum_lanes(squares);
}

void rms_norm(const float* x, int64_t width, float eps, const float* weight, float* y) {
  const float mean_square = sum_of_squares(x, width) / static_cast<float>(width);
  const F32x16 scale = F32x16::set(1.0f / std::sqrt(mean_square + eps));
  each_chunk(width, [&](int64_t j, int64_t n) REEL_INLINED {
    store_chunk(load_chunk(x + j, n) * scale * load_chunk(weight + j, n), y + j, n);
  });
}

void l2_norm(const float* x, int64_t channels, const float* gamma, Activation activation, float* y) {
  const float norm = std::sqrt(sum_of_squares(x, channels));
  const float floor = 1e-12f;
  const F32x16 divisor = F32x16::set(norm > floor ? norm : floor);
  const F32x16 root = F32x16::set(std::sqrt(static_cast<float>(channels)));
  each_chunk(channels, [&](int64_t j, int64_t n) REEL_INLINED {
    const F32x16 v = load_chunk(x + j, n) / divisor * root * load_chunk(gamma + j, n);
    store_chunk(apply(v, activation), y + j, n);
  });
}

void rotate(float* x, int64_t width, int64_t head_dim, const float* cos_twice, const float* sin_signed) {
  for (int64_t h = 0; h < width; h += head_dim)
    each_chunk(head_dim, [&](int64_t j, int64_t n) REEL_INLINED {
      const F32x16 v = load_chunk(x + h + j, n);
      const F32x16 turned = fma(swap_pairs(v), load_chunk(sin_signed + j, n), v * load_chunk(cos_twice + j, n));
      store_chunk(turned, x + h + j, n);
    });
}

void gated_add(const float* y, const float* gate, int64_t n, float* x) {
  each_chunk(n, [&](int64_t j, int64_t count) REEL_INLINED {
    store_chunk(fma(load_chunk(y + j, count), load_chunk(gate + j, count), load_chunk(x + j, count)), x + j, count);
  });
}

void activate(const float* x, int64_t n, Activation activation, float* y) {
  each_chunk(n, [&](int64_t j, int64_t count) REEL_INLINED { store_chunk(apply(load_chunk(x + j, count), activation), y + j, count); });
}

void divide(const float* x, int64_t n, float divisor, bool round, float* out) {
  const F32x16 by = F32x16::set(divisor);
  each_chunk(n, [&](int64_t j, int64_t count) REEL_INLINED {
    const F32x16 quotient = load_chunk(x + j, count) / by;
    store_chunk(round ? rounded(quotient) : quotient, out + j, count);
  });
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
#if defined(REEL_PAIRS_BY_INSTRUCTION)
                         .multiply_pairs = pairs::multiply,
#else
                         .multiply_pairs = multiply_pairs,
#endif
                         .multiply_blocks = multiply_blocks,
                         .attention_block_bf16 = attention_block_bf16};

}  // namespace reel::kernels::REEL_ISA
