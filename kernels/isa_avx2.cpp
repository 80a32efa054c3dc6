#define REEL_LANES_AVX2
#define REEL_ISA avx2
#define REEL_ISA_NAME "avx2"
#include "kernels/bodies.inl"

namespace reel::kernels::avx2 {

// to[i * to_stride + j] = w[j * stride + i], for panels of any table: every build needs AVX2. Whole lines of w at a time: rows a power of
// two apart would push each other out of the cache. A number may be a pair of bf16.
void transpose_16x16(const float* w, std::int64_t stride, float* to, std::int64_t to_stride) {
  for (const int i0 : {0, 8})
    for (const int j0 : {0, 8}) {
      __m256 r[8], pairs[8], fours[8];
      for (int j = 0; j < 8; ++j) r[j] = _mm256_loadu_ps(w + (j0 + j) * stride + i0);
      for (int j = 0; j < 8; j += 2) pairs[j] = _mm256_unpacklo_ps(r[j], r[j + 1]), pairs[j + 1] = _mm256_unpackhi_ps(r[j], r[j + 1]);
      for (int j = 0; j < 8; j += 4)
        for (int i = 0; i < 2; ++i) {
          fours[j + 2 * i] = _mm256_shuffle_ps(pairs[j + i], pairs[j + 2 + i], 0x44);
          fours[j + 2 * i + 1] = _mm256_shuffle_ps(pairs[j + i], pairs[j + 2 + i], 0xee);
        }
      float* const at = to + i0 * to_stride + j0;
      for (int i = 0; i < 4; ++i) {
        _mm256_storeu_ps(at + i * to_stride, _mm256_permute2f128_ps(fours[i], fours[i + 4], 0x20));
        _mm256_storeu_ps(at + (i + 4) * to_stride, _mm256_permute2f128_ps(fours[i], fours[i + 4], 0x31));
      }
    }
}

}  // namespace reel::kernels::avx2
