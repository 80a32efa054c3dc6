// multiply_pairs by the instruction whose order it has.
#include <immintrin.h>

#include <cstring>

#include "kernels/kernels.hpp"

namespace reel::kernels::avx512bf16 {
namespace {

using std::int64_t;

inline constexpr int tile_rows = 6;

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

template <int Rows, int Vectors>
__attribute__((always_inline)) inline void multiply_tile(const Bf16* a, int64_t a_stride, int64_t a_step, int64_t depth, const Bf16* b,
                                                         int64_t group_stride, float* c, int64_t c_stride, bool accumulate) {
  __m512 sum[Rows][Vectors];
  for (int i = 0; i < Rows; ++i)
    for (int j = 0; j < Vectors; ++j) sum[i][j] = accumulate ? _mm512_loadu_ps(c + i * c_stride + j * 16) : _mm512_setzero_ps();
  for (int64_t d = 0; d < depth; d += bf16_step, a += a_step)
    for (int64_t k = 0; k < bf16_step; k += 2, b += 2 * group_width) {
      __m512bh column[Vectors];
      for (int j = 0; j < Vectors; ++j) column[j] = load(b + j * group_stride);
      for (int i = 0; i < Rows; ++i) {
        const __m512bh x = twice_sixteen(a + i * a_stride + k);
        for (int j = 0; j < Vectors; ++j) sum[i][j] = _mm512_dpbf16_ps(sum[i][j], x, column[j]);
      }
    }
  for (int i = 0; i < Rows; ++i)
    for (int j = 0; j < Vectors; ++j) _mm512_storeu_ps(c + i * c_stride + j * 16, sum[i][j]);
}

template <int Rows>
void multiply_rows(const Bf16* a, int64_t a_stride, int64_t a_step, int64_t depth, const Bf16* panel, int64_t group_stride, int64_t columns,
                   float* c, int64_t c_stride, bool accumulate) {
  switch ((columns + 15) / 16) {
    case 4: return multiply_tile<Rows, 4>(a, a_stride, a_step, depth, panel, group_stride, c, c_stride, accumulate);
    case 3: return multiply_tile<Rows, 3>(a, a_stride, a_step, depth, panel, group_stride, c, c_stride, accumulate);
    case 2: return multiply_tile<Rows, 2>(a, a_stride, a_step, depth, panel, group_stride, c, c_stride, accumulate);
    default: return multiply_tile<Rows, 1>(a, a_stride, a_step, depth, panel, group_stride, c, c_stride, accumulate);
  }
}

}  // namespace

void multiply_pairs(const Bf16* a, int64_t a_stride, int64_t a_step, int64_t rows, int64_t depth, const Bf16* panel, int64_t group_stride,
                    int64_t columns, float* c, int64_t c_stride, bool accumulate) {
  int64_t i = 0;
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

}  // namespace reel::kernels::avx512bf16
