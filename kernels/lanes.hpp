#pragma once
// Sixteen virtual f32 lanes, the only place that knows SIMD. Each translation unit defines REEL_LANES_AVX512,
// REEL_LANES_AVX2 or REEL_LANES_SCALAR and REEL_ISA (its namespace) before it includes this file. All three give
// equal bits because every operation here is either exact IEEE (+ - * / fma max) or built from such.
//
// Why not the library's names: xsimd::fma is two roundings on AVX-512 in xsimd 8.1, xsimd::exp is built on it, and
// horizontal sums depend on the register width. So fma is the intrinsic, exp is ours, and sums use one tree.
#include <immintrin.h>

#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(REEL_LANES_AVX512) || defined(REEL_LANES_AVX2)
#include <xsimd/xsimd.hpp>
#endif

#define REEL_INLINE __attribute__((always_inline)) inline
#define REEL_INLINED __attribute__((always_inline))  // of lambdas

namespace reel::kernels::REEL_ISA {

inline constexpr int num_lanes = 16;

#if defined(REEL_LANES_AVX512)

using Part = xsimd::batch<float, xsimd::avx512f>;
using IntPart = xsimd::batch<std::int32_t, xsimd::avx512f>;
inline constexpr int num_parts = 1;
REEL_INLINE Part part_fma(Part a, Part b, Part c) { return _mm512_fmadd_ps(a, b, c); }
REEL_INLINE Part part_swap_pairs(Part a) { return _mm512_permute_ps(a, 0xB1); }
REEL_INLINE Part part_zero_below(Part x, Part limit, Part y) {
  return _mm512_mask_mov_ps(_mm512_setzero_ps(), _mm512_cmp_ps_mask(x, limit, _CMP_GE_OQ), y);
}
REEL_INLINE Part part_max(Part a, Part b) { return _mm512_max_ps(a, b); }
REEL_INLINE Part part_scale_exponent(Part y, Part magic) {
  return _mm512_castsi512_ps(
      _mm512_add_epi32(_mm512_castps_si512(y), _mm512_slli_epi32(_mm512_castps_si512(magic), 23)));
}

#elif defined(REEL_LANES_AVX2)

using Part = xsimd::batch<float, xsimd::fma3<xsimd::avx2>>;
inline constexpr int num_parts = 2;
REEL_INLINE Part part_fma(Part a, Part b, Part c) { return _mm256_fmadd_ps(a, b, c); }
REEL_INLINE Part part_swap_pairs(Part a) { return _mm256_permute_ps(a, 0xB1); }
REEL_INLINE Part part_zero_below(Part x, Part limit, Part y) {
  return _mm256_and_ps(_mm256_cmp_ps(x, limit, _CMP_GE_OQ), y);
}
REEL_INLINE Part part_max(Part a, Part b) { return _mm256_max_ps(a, b); }
REEL_INLINE Part part_scale_exponent(Part y, Part magic) {
  return _mm256_castsi256_ps(
      _mm256_add_epi32(_mm256_castps_si256(y), _mm256_slli_epi32(_mm256_castps_si256(magic), 23)));
}

#else  // scalar reference: loops a mathematician can sign

struct Part {
  float lane[num_lanes];
  static Part load_unaligned(const float* p) {
    Part r;
    std::memcpy(r.lane, p, sizeof r.lane);
    return r;
  }
  void store_unaligned(float* p) const { std::memcpy(p, lane, sizeof lane); }
  Part() = default;
  explicit Part(float x) {
    for (float& l : lane) l = x;
  }
  template <class F>
  static Part each(F f) {
    Part r;
    for (int i = 0; i < num_lanes; ++i) r.lane[i] = f(i);
    return r;
  }
  friend Part operator+(const Part& a, const Part& b) { return each([&](int i) { return a.lane[i] + b.lane[i]; }); }
  friend Part operator-(const Part& a, const Part& b) { return each([&](int i) { return a.lane[i] - b.lane[i]; }); }
  friend Part operator*(const Part& a, const Part& b) { return each([&](int i) { return a.lane[i] * b.lane[i]; }); }
  friend Part operator/(const Part& a, const Part& b) { return each([&](int i) { return a.lane[i] / b.lane[i]; }); }
};
inline constexpr int num_parts = 1;
REEL_INLINE Part part_fma(const Part& a, const Part& b, const Part& c) {
  return Part::each([&](int i) { return std::fma(a.lane[i], b.lane[i], c.lane[i]); });
}
REEL_INLINE Part part_swap_pairs(const Part& a) {
  return Part::each([&](int i) { return a.lane[i ^ 1]; });
}
REEL_INLINE Part part_zero_below(const Part& x, const Part& limit, const Part& y) {
  return Part::each([&](int i) { return x.lane[i] >= limit.lane[i] ? y.lane[i] : 0.0f; });
}
// x86 semantics: the second operand where the comparison is false (also for NaN).
REEL_INLINE Part part_max(const Part& a, const Part& b) {
  return Part::each([&](int i) { return a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i]; });
}
REEL_INLINE Part part_scale_exponent(const Part& y, const Part& magic) {
  return Part::each([&](int i) {
    std::uint32_t bits, n;
    std::memcpy(&bits, &y.lane[i], 4);
    std::memcpy(&n, &magic.lane[i], 4);
    bits += n << 23;
    float r;
    std::memcpy(&r, &bits, 4);
    return r;
  });
}

#endif

/// Chunks of sixteen f32 lanes, side by side: several chains of operations hide each other's latency.
template <int Chunks>
struct Lanes {
  static constexpr int size = Chunks * num_parts, part_lanes = num_lanes / num_parts;
  Part part[size];

  template <class F>
  static REEL_INLINE Lanes each(F f) {
    Lanes r;
    for (int i = 0; i < size; ++i) r.part[i] = f(i);
    return r;
  }
  static REEL_INLINE Lanes load(const float* p) {
    return each([&](int i) { return Part::load_unaligned(p + i * part_lanes); });
  }
  static REEL_INLINE Lanes set(float x) {
    return each([&](int) { return Part(x); });
  }
  /// The first n lanes from p, `fill` in the others.
  static REEL_INLINE Lanes load_first(const float* p, std::int64_t n, float fill = 0.0f) {
    alignas(64) float t[Chunks * num_lanes];
    for (int i = 0; i < Chunks * num_lanes; ++i) t[i] = i < n ? p[i] : fill;
    return load(t);
  }
  REEL_INLINE void store(float* p) const {
    for (int i = 0; i < size; ++i) part[i].store_unaligned(p + i * part_lanes);
  }
  REEL_INLINE void store_first(float* p, std::int64_t n) const {
    alignas(64) float t[Chunks * num_lanes];
    store(t);
    for (int i = 0; i < Chunks * num_lanes && i < n; ++i) p[i] = t[i];
  }
  REEL_INLINE Lanes<1> chunk(int c) const {
    return Lanes<1>::each([&](int i) { return part[c * num_parts + i]; });
  }
  friend REEL_INLINE Lanes operator+(const Lanes& a, const Lanes& b) {
    return each([&](int i) { return a.part[i] + b.part[i]; });
  }
  friend REEL_INLINE Lanes operator-(const Lanes& a, const Lanes& b) {
    return each([&](int i) { return a.part[i] - b.part[i]; });
  }
  friend REEL_INLINE Lanes operator*(const Lanes& a, const Lanes& b) {
    return each([&](int i) { return a.part[i] * b.part[i]; });
  }
  friend REEL_INLINE Lanes operator/(const Lanes& a, const Lanes& b) {
    return each([&](int i) { return a.part[i] / b.part[i]; });
  }
};
using F32x16 = Lanes<1>;

/// a*b + c with one rounding.
template <int Chunks>
REEL_INLINE Lanes<Chunks> fma(const Lanes<Chunks>& a, const Lanes<Chunks>& b, const Lanes<Chunks>& c) {
  return Lanes<Chunks>::each([&](int i) { return part_fma(a.part[i], b.part[i], c.part[i]); });
}
template <int Chunks>
REEL_INLINE Lanes<Chunks> max(const Lanes<Chunks>& a, const Lanes<Chunks>& b) {
  return Lanes<Chunks>::each([&](int i) { return part_max(a.part[i], b.part[i]); });
}

/// Asks for a line that will be read, or written; any address will do.
REEL_INLINE void fetch([[maybe_unused]] const void* p) {
#if !defined(REEL_LANES_SCALAR)
  __builtin_prefetch(p, 0, 3);
#endif
}
REEL_INLINE void fetch_to_write([[maybe_unused]] const void* p) {
#if !defined(REEL_LANES_SCALAR)
  __builtin_prefetch(p, 1, 3);
#endif
}
#if defined(REEL_LANES_AVX512)
/// Bits of the lanes whose upper halves are rounded to bf16, nearest even, if they are zero or normal or, OfAny, whatever they are:
/// NaN stays NaN.
template <bool OfAny>
REEL_INLINE __m512i upper_rounded(__m512 x) {
  const __m512i bits = _mm512_castps_si512(x), odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
  return OfAny ? _mm512_mask_or_epi32(rounded, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), bits, _mm512_set1_epi32(0x400000)) : rounded;
}
#else
template <bool OfAny>
REEL_INLINE std::uint32_t upper_rounded(std::uint32_t bits) {
  const bool nan = OfAny && (bits & 0x7fffffffu) > 0x7f800000u;
  return nan ? bits | 0x400000u : bits + 0x7fffu + (bits >> 16 & 1u);
}
#endif
/// to[i] = lane i rounded to bf16.
template <bool OfAny = true>
REEL_INLINE void store_rounded(const F32x16& a, std::uint16_t* to) {
#if defined(__AVX512BF16__)
  if (!OfAny) {
    const __m256bh rounded = _mm512_cvtneps_pbh(a.part[0]);
    std::memcpy(to, &rounded, sizeof rounded);
    return;
  }
#endif
#if defined(REEL_LANES_AVX512)
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtepi32_epi16(_mm512_srli_epi32(upper_rounded<OfAny>(a.part[0]), 16)));
#else
  alignas(64) float lanes[num_lanes];
  std::uint32_t bits[num_lanes];
  a.store(lanes);
  std::memcpy(bits, lanes, sizeof bits);
  for (int i = 0; i < num_lanes; ++i) to[i] = static_cast<std::uint16_t>(upper_rounded<OfAny>(bits[i]) >> 16);
#endif
}
/// The same as f32.
REEL_INLINE F32x16 rounded(const F32x16& a) {
#if defined(REEL_LANES_AVX512)
  return {{_mm512_castsi512_ps(_mm512_and_si512(upper_rounded<true>(a.part[0]), _mm512_set1_epi32(static_cast<int>(0xffff0000u))))}};
#else
  alignas(64) float lanes[num_lanes];
  a.store(lanes);
  for (float& lane : lanes) {
    std::uint32_t bits;
    std::memcpy(&bits, &lane, sizeof bits);
    bits = upper_rounded<true>(bits) & 0xffff0000u;
    std::memcpy(&lane, &bits, sizeof bits);
  }
  return F32x16::load(lanes);
#endif
}
/// (x1, x0, x3, x2, ...)
REEL_INLINE F32x16 swap_pairs(const F32x16& a) {
  return F32x16::each([&](int i) { return part_swap_pairs(a.part[i]); });
}

/// One tree over the 16 lanes: i and i+8, then i and i+4, i+2, i+1.
template <class Combine>
REEL_INLINE float fold_lanes(const F32x16& a, Combine combine) {
#if defined(REEL_LANES_SCALAR)
  float t[num_lanes];
  a.store(t);
  for (int half = 8; half >= 1; half /= 2)
    for (int i = 0; i < half; ++i) t[i] = combine(t[i], t[i + half]);
  return t[0];
#else
#if defined(REEL_LANES_AVX512)
  const __m512 all = a.part[0];
  const __m256 eight = combine(_mm512_castps512_ps256(all), _mm512_extractf32x8_ps(all, 1));
#else
  const __m256 eight = combine(__m256(a.part[0]), __m256(a.part[1]));
#endif
  const __m128 four = combine(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = combine(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(combine(two, _mm_movehdup_ps(two)));
#endif
}
struct Sum {
  REEL_INLINE float operator()(float a, float b) const { return a + b; }
  REEL_INLINE __m128 operator()(__m128 a, __m128 b) const { return _mm_add_ps(a, b); }
  REEL_INLINE __m256 operator()(__m256 a, __m256 b) const { return _mm256_add_ps(a, b); }
};
struct Larger {
  REEL_INLINE float operator()(float a, float b) const { return a > b ? a : b; }
  REEL_INLINE __m128 operator()(__m128 a, __m128 b) const { return _mm_max_ps(a, b); }
  REEL_INLINE __m256 operator()(__m256 a, __m256 b) const { return _mm256_max_ps(a, b); }
};
REEL_INLINE float sum_lanes(const F32x16& a) { return fold_lanes(a, Sum{}); }
REEL_INLINE float max_lanes(const F32x16& a) { return fold_lanes(a, Larger{}); }

/// e^x for x <= 88.3. Max error 1.26 ULP from -87.3 on (every float tried); exactly 0 below, for -inf and for NaN.
/// Cody-Waite reduction x = n ln2 + r with |r| <= ln2/2, then a degree-6 polynomial (Cephes expf coefficients).
template <int Chunks>
REEL_INLINE Lanes<Chunks> exp(const Lanes<Chunks>& x) {
  using L = Lanes<Chunks>;
#if defined(REEL_NEGATIVE_LIBM)  // negative control of the bits matrix: the C library's exp must change the digest
  alignas(64) float t[Chunks * num_lanes];
  x.store(t);
  for (float& v : t) v = v < -87.3f ? 0.0f : std::exp(v);
  return L::load(t);
#else
  // Adding 1.5 * 2^23 rounds to the nearest integer and leaves n in the low bits of the sum.
  const L round = L::set(12582912.0f);
  const L magic = fma(x, L::set(1.44269504088896341f), round);
  const L n = magic - round;
  L r = fma(n, L::set(-0.693359375f), x);
  r = fma(n, L::set(2.12194440e-4f), r);
  L p = L::set(1.9875691500e-4f);
  p = fma(p, r, L::set(1.3981999507e-3f));
  p = fma(p, r, L::set(8.3334519073e-3f));
  p = fma(p, r, L::set(4.1665795894e-2f));
  p = fma(p, r, L::set(1.6666665459e-1f));
  p = fma(p, r, L::set(5.0000001201e-1f));
  p = fma(p, r * r, r + L::set(1.0f));
  const L lowest = L::set(-87.3f);  // what comes of less, and may be anything, becomes 0
  return L::each([&](int i) { return part_zero_below(x.part[i], lowest.part[i], part_scale_exponent(p.part[i], magic.part[i])); });
#endif
}

/// x / (1 + e^-x). Max error 3.10 ULP on [-88.3, inf]; -4e-37 below. NaN stays NaN.
REEL_INLINE F32x16 silu(const F32x16& x) {
  const F32x16 bounded = max(F32x16::set(-88.3f), x);  // beyond, the quotient would grow with x
  return bounded / (F32x16::set(1.0f) + exp(F32x16::set(0.0f) - bounded));
}

/// 0.5 x (1 + tanh(u)), u = sqrt(2/pi) (x + 0.044715 x^3), as x / (1 + e^-2u): the same value without cancellation.
/// Max error 2.57 ULP on [-1, inf]; relative error (4 + 6|2u|) 2^-24 on [-10, -1], because e^-2u multiplies the
/// roundings of u; -1.2e-37 below. NaN stays NaN.
REEL_INLINE F32x16 gelu_tanh(const F32x16& x) {
  const F32x16 bounded = max(F32x16::set(-10.0f), x);
  const F32x16 cubic = fma(bounded * bounded * bounded, F32x16::set(0.044715f), bounded);
  return bounded / (F32x16::set(1.0f) + exp(cubic * F32x16::set(-1.5957691216057308f)));
}

/// The bf16 instructions take subnormal operands for zero and give zero for what is subnormal after rounding: in this scope
/// all arithmetic does. It must lie in functions that are not inlined, so that none of it moves out of the scope.
class FlushSubnormals {
 public:
  FlushSubnormals() : before_(_mm_getcsr()) { _mm_setcsr(before_ | 0x8040); }
  ~FlushSubnormals() { _mm_setcsr(before_); }
  FlushSubnormals(const FlushSubnormals&) = delete;
  FlushSubnormals& operator=(const FlushSubnormals&) = delete;

 private:
  unsigned before_;
};

}  // namespace reel::kernels::REEL_ISA
