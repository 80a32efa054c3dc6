#pragma once
// The maths of the model on raw pointers: one thread, no allocation, no error handling (callers check shapes).
// Every function gives the same bits on every ISA; the order of each sum is stated and depends on shapes alone.
//
// Legend: D inner width, K summed dimension, C channels, d head width. All arrays are row-major f32.
#include <cstdint>
#include <string_view>
#include <vector>

namespace reel::kernels {

/// Columns of a packed panel, keys of a packed key panel.
inline constexpr std::int64_t panel_width = 64;
/// Keys per attention block: part of the definition of the result, never tuned.
inline constexpr std::int64_t key_block = 256;
/// Rows that an attention block takes at a time; no bit depends on it.
inline constexpr std::int64_t attention_rows = 96;

/// A bf16 number: the upper half of an f32.
using Bf16 = std::uint16_t;
/// Products of bf16 operands take K in steps of this many; operands are filled with zeros up to a multiple.
inline constexpr std::int64_t bf16_step = 32;
constexpr std::int64_t padded_depth(std::int64_t k) { return (k + bf16_step - 1) / bf16_step * bf16_step; }

/// What a caller will read and write next. A product asks for it while it computes, so that nothing waits for it; no bit depends
/// on it.
struct Ahead {
  const void* read = nullptr;  ///< `parts` of `part_bytes` each, `part_stride` bytes apart, asked for in even shares as rows pass
  std::int64_t part_bytes = 0, parts = 1, part_stride = 0;
  float* written = nullptr;  ///< [rows, 64]: where the sums go in the end
  std::int64_t written_stride = 0;
};

/// Columns of a packed bf16 panel that lie together: a panel is [4][K/2][16][2] and holds (w[j, 2p], w[j, 2p+1]) side by side.
inline constexpr std::int64_t group_width = 16;

/// c[rows, columns] (+)= a[rows, K] * panel, summed in f32; K a multiple of 32, columns as in `multiply_panel`. Element k of
/// row i of `a` is a[i*a_stride + k/32*a_step + k%32]: a_step = 32 for rows that lie in one piece, a_stride = 32 for a tile of
/// AMX in one piece. The groups of the panel are `group_stride` elements apart (16 times the depth it was packed with). What is asked
/// for ahead, pairs by the instruction alone fetch.
using MultiplyBf16 = void (*)(const Bf16* a, std::int64_t a_stride, std::int64_t a_step, std::int64_t rows, std::int64_t depth,
                              const Bf16* panel, std::int64_t group_stride, std::int64_t columns, float* c, std::int64_t c_stride, bool accumulate,
                              const Ahead& ahead);

enum class Activation { none, gelu_tanh, silu };

/// Running state of an attention row: maximum score and sum of exponentials.
struct SoftmaxState {
  float max;
  float sum;
};

struct Table {
  std::string_view name;  ///< "scalar", "avx2", "avx512", "avx512bf16", "amx"

  /// c[rows, columns] (+)= a[rows, K] * panel[K, 64], columns <= 64 and rounded up to 16 in c. Each output is one chain
  /// of fused multiply-adds over k = 0..K-1 that starts at 0, or at c when `accumulate`, so cutting K into several calls
  /// changes no bit. Row i of `a` starts at a + i*a_stride (rows may overlap: convolutions use that).
  /// |error| <= K eps sum|a||b|.
  void (*multiply_panel)(const float* a, std::int64_t a_stride, std::int64_t rows, std::int64_t depth,
                         const float* panel, std::int64_t columns, float* c, std::int64_t c_stride, bool accumulate, const Ahead& ahead);

  /// y[rows, columns] = activation(c[rows, 64] + bias[columns]); bias may be null. columns <= 64.
  void (*finish_panel)(const float* c, std::int64_t c_stride, std::int64_t rows, std::int64_t columns,
                       const float* bias, Activation activation, float* y, std::int64_t y_stride);

  /// One block of at most 256 keys for `rows` query rows: scores = q K^T (+ bias), running max and sum, weighted values.
  /// q [rows, d] already scaled; keys: panels [num_panels][d][64]; values: panels [ceil(d_v/64)][64*num_panels][64],
  /// zero beyond num_keys. out [rows, value_stride] holds the unnormalised sum in its first 64*ceil(d_v/64) columns;
  /// state [rows] starts as (-inf, 0) and out as 0. bias [rows, bias_stride] is added to the scores, or null.
  /// Order: keys ascending; the sum of exponentials runs over 16 lanes, then one tree.
  void (*attention_block)(const float* q, std::int64_t q_stride, std::int64_t rows, std::int64_t head_dim,
                          const float* keys, const float* values, std::int64_t value_panels, std::int64_t num_keys,
                          const float* bias, std::int64_t bias_stride, SoftmaxState* state, float* out,
                          std::int64_t out_stride);

  /// y = (x - mean) / sqrt(var + eps) * mul + add over D, biased variance, two passes. mul, add [D] or null (1, 0).
  /// Sums: 16 lanes, then one tree. May run in place.
  void (*layer_norm)(const float* x, std::int64_t width, float eps, const float* mul, const float* add, float* y);

  /// y = x / sqrt(mean(x^2) + eps) * weight over D. May run in place.
  void (*rms_norm)(const float* x, std::int64_t width, float eps, const float* weight, float* y);

  /// y = activation(x / max(|x|_2, 1e-12) * sqrt(C) * gamma) over C channels. May run in place.
  void (*l2_norm)(const float* x, std::int64_t channels, const float* gamma, Activation activation, float* y);

  /// Rotary embedding of x [D] in place: pairs (x0, x1) of every head of width d turn by the angle of pair j:
  /// x0 c - x1 s, x1 c + x0 s. cos_twice [d] = (c0, c0, c1, c1, ...), sin_signed [d] = (-s0, s0, -s1, s1, ...).
  void (*rotate)(float* x, std::int64_t width, std::int64_t head_dim, const float* cos_twice, const float* sin_signed);

  /// x += y * gate (one fused multiply-add each).
  void (*gated_add)(const float* y, const float* gate, std::int64_t n, float* x);
  /// y = activation(x). May run in place.
  void (*activate)(const float* x, std::int64_t n, Activation activation, float* y);
  /// out[i] = x[i] / divisor, rounded to bf16 if `round`: finishes an attention row with its sum of exponentials.
  void (*divide)(const float* x, std::int64_t n, float divisor, bool round, float* out);

  /// y[i] = x[i] rounded to nearest even; NaN stays NaN.
  void (*round_to_bf16)(const float* x, std::int64_t n, Bf16* y);
  /// y[i/32*step + i%32] = scale*x[i] rounded in the same way; the last 32 are filled up with zeros.
  void (*round_row)(const float* x, float scale, std::int64_t n, Bf16* y, std::int64_t step);
  /// The order of AVX512-BF16 (vdpbf16ps): for each pair two fused multiply-adds into one chain, the odd element first.
  /// Subnormal operands and results are zero. On Intel the instruction is slower than its parts, on AMD twice as fast.
  MultiplyBf16 multiply_pairs;
  /// The order of AMX (tdpbf16ps): for each 32 of K one chain of fused multiply-adds over the even elements and one over
  /// the odd ones, both from 0; c += even + odd. Subnormal operands and results are zero.
  MultiplyBf16 multiply_blocks;
  /// `attention_block` with bf16 operands: q [rows, d] scaled and rounded, laid out as operands of `MultiplyBf16`; keys:
  /// num_panels panels of depth d; values: ceil(d_v/64) panels of depth 64*num_panels; d a multiple of 32. Scores and softmax
  /// are f32, the exponentials are rounded before they meet the values (their sum is not). `multiply` is one of the two above.
  void (*attention_block_bf16)(MultiplyBf16 multiply, const Bf16* q, std::int64_t q_stride, std::int64_t q_step, std::int64_t rows,
                               std::int64_t head_dim, const Bf16* keys, const Bf16* values, std::int64_t value_panels, std::int64_t num_keys,
                               const float* bias, std::int64_t bias_stride, SoftmaxState* state, float* out, std::int64_t out_stride);
};

/// The tables this CPU can run, best first: a subset of amx, avx512bf16, avx512, avx2, scalar. The first two have
/// `multiply_blocks` or `multiply_pairs` by the instruction; they are left out where it gives other bits than stated here.
const std::vector<const Table*>& available();

/// The table in use: REEL_ISA=scalar|avx2|avx512|avx512bf16|amx forces one, else the best. Null if the forced one is unknown or
/// the CPU cannot run it (callers turn that into an error).
const Table* choose(std::string_view forced);

/// The process-wide table, set once by `use` before any kernel runs (the best one by default).
const Table& table();
void use(const Table& table);

/// Floats of packed weights [N, K]: ceil(N/64) panels of K x 64.
constexpr std::int64_t packed_size(std::int64_t n, std::int64_t k) {
  return (n + panel_width - 1) / panel_width * panel_width * k;
}

/// Packs min(n, 64) rows of w [n, k] (row stride `stride`) into one panel [k][64]; missing columns are zero. Exact copy.
void pack_panel(const float* w, std::int64_t n, std::int64_t k, std::int64_t stride, float* packed);
/// The same, rounded to bf16, as [4][padded_depth(k)/2][16][2].
void pack_panel(const float* w, std::int64_t n, std::int64_t k, std::int64_t stride, Bf16* packed);

}  // namespace reel::kernels
