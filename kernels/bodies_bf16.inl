// Products of bf16 operands, summed in f32; part of bodies.inl. The order and the rounding are those of two instructions
// of x86 (see kernels.hpp), here from fused multiply-adds, so that a CPU without them gives the same bits.

inline constexpr int64_t flat_depth = 256, flat_rows = 48;  // what is widened to f32 at a time; no bit depends on it

REEL_INLINE float widen(std::uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}
REEL_INLINE std::uint32_t pair_at(const Bf16* p) {
  std::uint32_t pair;
  std::memcpy(&pair, p, sizeof pair);
  return pair;
}

// Where element 2p (Odd = 0) or 2p + 1 of a row goes: the f32 kernel takes its sums in the order of k.
template <bool Blocks, int Odd>
REEL_INLINE int64_t place_of(int64_t p) {
  return Blocks ? p / 16 * 32 + Odd * 16 + p % 16 : 2 * p + 1 - Odd;
}

template <bool Blocks>
REEL_INLINE void widen_rows(const Bf16* a, int64_t a_stride, int64_t a_step, int64_t rows, int64_t depth, float* to) {
  for (int64_t i = 0; i < rows; ++i, a += a_stride, to += flat_depth)
    for (int64_t p = 0; p < depth / 2; ++p) {
      const std::uint32_t pair = pair_at(a + p / 16 * a_step + p % 16 * 2);
      to[place_of<Blocks, 0>(p)] = widen(pair << 16);
      to[place_of<Blocks, 1>(p)] = widen(pair & 0xffff0000u);
    }
}

template <bool Blocks>
REEL_INLINE void widen_panel(const Bf16* panel, int64_t group_stride, int64_t depth, float* to) {
  for (int64_t g = 0; g < panel_width; g += group_width, panel += group_stride)
    for (int64_t p = 0; p < depth / 2; ++p) {
      const Bf16* row = panel + p * 2 * group_width;
      float *even = to + place_of<Blocks, 0>(p) * panel_width + g, *odd = to + place_of<Blocks, 1>(p) * panel_width + g;
      for (int64_t j = 0; j < group_width; ++j) {
        const std::uint32_t pair = pair_at(row + 2 * j);
        even[j] = widen(pair << 16);
        odd[j] = widen(pair & 0xffff0000u);
      }
    }
}

__attribute__((noinline)) void multiply_flat_pairs(const float* a, int64_t rows, int64_t depth, const float* panel, int64_t columns,
                                                   float* c, int64_t c_stride, bool accumulate) {
  multiply_panel(a, flat_depth, rows, depth, panel, columns, c, c_stride, accumulate, {});
}

__attribute__((noinline)) void multiply_flat_blocks(const float* a, int64_t rows, int64_t depth, const float* panel, int64_t columns,
                                                    float* c, int64_t c_stride, bool accumulate) {
  alignas(64) float even[tile_rows * panel_width], odd[tile_rows * panel_width];
  for (int64_t i = 0; i < rows; i += tile_rows) {
    const int64_t n = rows - i < tile_rows ? rows - i : tile_rows;
    for (int64_t k = 0; k < depth; k += bf16_step) {
      const float* x = a + i * flat_depth + k;
      multiply_panel(x, flat_depth, n, bf16_step / 2, panel + k * panel_width, columns, even, panel_width, false, {});
      multiply_panel(x + bf16_step / 2, flat_depth, n, bf16_step / 2, panel + (k + bf16_step / 2) * panel_width, columns, odd,
                     panel_width, false, {});
      for (int64_t r = 0; r < n; ++r)
        for (int64_t j = 0; j < columns; j += num_lanes) {
          float* to = c + (i + r) * c_stride + j;
          const F32x16 before = accumulate || k > 0 ? F32x16::load(to) : F32x16::set(0.0f);
          (before + (F32x16::load(even + r * panel_width + j) + F32x16::load(odd + r * panel_width + j))).store(to);
        }
    }
  }
}

template <bool Blocks>
REEL_INLINE void multiply_widened(const Bf16* a, int64_t a_stride, int64_t a_step, int64_t rows, int64_t depth, const Bf16* panel,
                                  int64_t group_stride, int64_t columns, float* c, int64_t c_stride, bool accumulate) {
  alignas(64) float flat_a[flat_rows * flat_depth], flat_panel[flat_depth * panel_width];
  for (int64_t d = 0; d < depth; d += flat_depth) {
    const int64_t n = depth - d < flat_depth ? depth - d : flat_depth;
    widen_panel<Blocks>(panel + d * group_width, group_stride, n, flat_panel);
    for (int64_t i = 0; i < rows; i += flat_rows) {
      const int64_t m = rows - i < flat_rows ? rows - i : flat_rows;
      widen_rows<Blocks>(a + i * a_stride + d / bf16_step * a_step, a_stride, a_step, m, n, flat_a);
      const FlushSubnormals scope;
      (Blocks ? multiply_flat_blocks : multiply_flat_pairs)(flat_a, m, n, flat_panel, columns, c + i * c_stride, c_stride,
                                                            accumulate || d > 0);
    }
  }
}

#if !defined(REEL_PAIRS_BY_INSTRUCTION)
void multiply_pairs(const Bf16* a, int64_t a_stride, int64_t a_step, int64_t rows, int64_t depth, const Bf16* panel, int64_t group_stride,
                    int64_t columns, float* c, int64_t c_stride, bool accumulate, const Ahead&) {
  multiply_widened<false>(a, a_stride, a_step, rows, depth, panel, group_stride, columns, c, c_stride, accumulate);
}
#endif

void multiply_blocks(const Bf16* a, int64_t a_stride, int64_t a_step, int64_t rows, int64_t depth, const Bf16* panel, int64_t group_stride,
                     int64_t columns, float* c, int64_t c_stride, bool accumulate, const Ahead&) {
  multiply_widened<true>(a, a_stride, a_step, rows, depth, panel, group_stride, columns, c, c_stride, accumulate);
}

void round_to_bf16(const float* x, int64_t n, Bf16* y) {
  int64_t i = 0;
  for (; i + num_lanes <= n; i += num_lanes) store_rounded(F32x16::load(x + i), y + i);
  Bf16 rest[num_lanes];
  if (i < n) store_rounded(F32x16::load_first(x + i, n - i), rest);
  for (int64_t j = i; j < n; ++j) y[j] = rest[j - i];
}

void round_row(const float* x, float scale, int64_t n, Bf16* y, int64_t step) {
  const F32x16 by = F32x16::set(scale);
  for (; n > 0; n -= bf16_step, x += bf16_step, y += step)
    for (int64_t i = 0; i < bf16_step; i += num_lanes)
      store_rounded(n - i >= num_lanes ? F32x16::load(x + i) * by : F32x16::load_first(x + i, n - i) * by, y + i);
}

void attention_block_bf16(MultiplyBf16 multiply, const Bf16* q, int64_t q_stride, int64_t q_step, int64_t rows, int64_t head_dim, const Bf16* keys,
                          const Bf16* values, int64_t value_panels, int64_t num_keys, const float* bias, int64_t bias_stride,
                          SoftmaxState* state, float* out, int64_t out_stride) {
  alignas(64) float scores[attention_rows * key_block];
  alignas(64) Bf16 weights[attention_rows * key_block];
  constexpr int64_t half_bytes = sizeof(Bf16);
  const KeyBlock block(num_keys);
  const int64_t key_panel = head_dim * panel_width, value_panel = block.packed * panel_width;
  for (int64_t i0 = 0; i0 < rows; i0 += attention_rows) {
    const int64_t n = rows - i0 < attention_rows ? rows - i0 : attention_rows;
    for (int64_t p = 0; p * panel_width < num_keys; ++p)
      multiply(q + i0 * q_stride, q_stride, q_step, n, head_dim, keys + p * key_panel, head_dim * group_width, block.columns(p),
               scores + p * panel_width, key_block, false, {.read = keys + (p + 1) * key_panel, .part_bytes = key_panel * half_bytes});
    soften(scores, weights, n, num_keys, block.used, bias ? bias + i0 * bias_stride : nullptr, bias_stride, state + i0, out + i0 * out_stride, out_stride,
           value_panels * panel_width);
    for (int64_t p = 0; p < value_panels; ++p)
      multiply(weights, key_block, bf16_step, n, block.used, values + p * value_panel, block.packed * group_width, panel_width,
               out + i0 * out_stride + p * panel_width, out_stride, true, {.read = values + (p + 1) * value_panel, .part_bytes = value_panel * half_bytes});
  }
}
