// As isa_avx512.cpp, with multiply_pairs by the instruction whose order it has; weights of attention are rounded by one as well.
#include <immintrin.h>

#include <cstring>
#include <type_traits>

#include "kernels/tile_ahead.hpp"

namespace reel::kernels::avx512bf16::pairs {
namespace {

using std::int64_t;

inline constexpr int tile_rows = 6;
inline constexpr int64_t prefetch_pairs = 8;  // as in bodies.inl: panels come from the second-level cache

inline __m512bh load(const Bf16* p) {
  __m512bh v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
inline __m512bh twice_sixteen(const Bf16* pair) {
  int bits;
  std::memcpy(&bits, pair, sizeof bits);
  return reinterpret_cast<__m512bh>(_mm512_set1_epi32(bits));
}

template <int Rows, int Vectors, class What>
__attribute__((always_inline)) inline void multiply_tile(const Bf16* a, int64_t a_stride, int64_t a_step, int64_t depth, const Bf16* b,
                                                         int64_t group_stride, float* c, int64_t c_stride, bool accumulate,
                                                         [[maybe_unused]] const What& ahead) {
  constexpr bool asks = std::is_same_v<What, TileAhead>;
  if constexpr (asks)
    if (ahead.written)
      for (int i = 0; i < Rows; ++i)
        for (int j = 0; j < Vectors; ++j) __builtin_prefetch(ahead.written + i * ahead.written_stride + j * 16, 1, 3);
  __m512 sum[Rows][Vectors];
  for (int i = 0; i < Rows; ++i)
    for (int j = 0; j < Vectors; ++j) sum[i][j] = accumulate ? _mm512_loadu_ps(c + i * c_stride + j * 16) : _mm512_setzero_ps();
  [[maybe_unused]] int64_t of_rows = 0, of_read = 0;  // bytes from the first step
  for (int64_t d = 0; d < depth; d += bf16_step, a += a_step) {
    for (int64_t k = 0; k < bf16_step; k += 2, b += 2 * group_width) {
      __m512bh column[Vectors];
      for (int j = 0; j < Vectors; ++j) {
        column[j] = load(b + j * group_stride);
        __builtin_prefetch(b + j * group_stride + prefetch_pairs * 2 * group_width, 0, 3);
      }
      if constexpr (asks)
        __builtin_prefetch(reinterpret_cast<const void*>(ahead.at[k / 2] + static_cast<std::uintptr_t>(k / 2 < tile_rows ? of_rows : of_read)), 0, 3);
      for (int i = 0; i < Rows; ++i) {
        const __m512bh x = twice_sixteen(a + i * a_stride + k);
        for (int j = 0; j < Vectors; ++j) sum[i][j] = _mm512_dpbf16_ps(sum[i][j], x, column[j]);
      }
    }
    of_rows += a_step * static_cast<int64_t>(sizeof(Bf16)), of_read += TileAhead::line;
  }
  for (int i = 0; i < Rows; ++i)
    for (int j = 0; j < Vectors; ++j) _mm512_storeu_ps(c + i * c_stride + j * 16, sum[i][j]);
}

template <int Rows>
void multiply_rows(const Bf16* a, int64_t a_stride, int64_t a_step, int64_t depth, const Bf16* panel, int64_t group_stride, int64_t columns,
                   float* c, int64_t c_stride, bool accumulate) {
  constexpr NothingAhead nothing;
  switch ((columns + 15) / 16) {
    case 4: return multiply_tile<Rows, 4>(a, a_stride, a_step, depth, panel, group_stride, c, c_stride, accumulate, nothing);
    case 3: return multiply_tile<Rows, 3>(a, a_stride, a_step, depth, panel, group_stride, c, c_stride, accumulate, nothing);
    case 2: return multiply_tile<Rows, 2>(a, a_stride, a_step, depth, panel, group_stride, c, c_stride, accumulate, nothing);
    default: return multiply_tile<Rows, 1>(a, a_stride, a_step, depth, panel, group_stride, c, c_stride, accumulate, nothing);
  }
}

// Whole tiles that ask for what comes next, as in bodies.inl.
__attribute__((noinline)) void multiply_whole_tiles(const Bf16* a, int64_t a_stride, int64_t a_step, int64_t rows, int64_t depth, const Bf16* panel,
                                                    int64_t group_stride, float* c, int64_t c_stride, bool accumulate, const Ahead& asked) {
  TileAhead ahead(a, a_stride * static_cast<int64_t>(sizeof(Bf16)), tile_rows, rows, depth / 2, asked);
  for (int64_t i = 0; i + tile_rows <= rows; i += tile_rows, ahead.next_tile())
    multiply_tile<tile_rows, 4>(a + i * a_stride, a_stride, a_step, depth, panel, group_stride, c + i * c_stride, c_stride, accumulate, ahead);
}

void multiply(const Bf16* a, int64_t a_stride, int64_t a_step, int64_t rows, int64_t depth, const Bf16* panel, int64_t group_stride, int64_t columns,
              float* c, int64_t c_stride, bool accumulate, const Ahead& asked) {
  int64_t i = 0;
  if (rows >= 2 * tile_rows && columns > panel_width - 16 && depth > 0) {
    multiply_whole_tiles(a, a_stride, a_step, rows, depth, panel, group_stride, c, c_stride, accumulate, asked);
    i = rows / tile_rows * tile_rows;
  }
  for (; i + tile_rows <= rows; i += tile_rows)
    multiply_rows<tile_rows>(a + i * a_stride, a_stride, a_step, depth, panel, group_stride, columns, c + i * c_stride, c_stride, accumulate);
  a += i * a_stride;
  c += i * c_stride;
  switch (rows - i) {
    case 5: return multiply_rows<5>(a, a_stride, a_step, depth, panel, group_stride, columns, c, c_stride, accumulate);
    case 4: return multiply_rows<4>(a, a_stride, a_step, depth, panel, group_stride, columns, c, c_stride, accumulate);
    case 3: return multiply_rows<3>(a, a_stride, a_step, depth, panel, group_stride, columns, c, c_stride, accumulate);
    case 2: return multiply_rows<2>(a, a_stride, a_step, depth, panel, group_stride, columns, c, c_stride, accumulate);
    case 1: return multiply_rows<1>(a, a_stride, a_step, depth, panel, group_stride, columns, c, c_stride, accumulate);
    default: return;
  }
}

}  // namespace
}  // namespace reel::kernels::avx512bf16::pairs

#define REEL_LANES_AVX512
#define REEL_PAIRS_BY_INSTRUCTION
#define REEL_ISA avx512bf16
#define REEL_ISA_NAME "avx512bf16"
#include "kernels/bodies.inl"
