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
/// Scratch that `attention_block` needs, in floats.
inline constexpr std::int64_t attention_scratch = 6 * key_block;

enum class Activation { none, gelu_tanh, silu };

/// Running state of an attention row: maximum score and sum of exponentials.
struct SoftmaxState {
  float max;
  float sum;
};

struct Table {
  std::string_view name;  ///< "scalar", "avx2", "avx512"

  /// c[rows, columns] (+)= a[rows, K] * panel[K, 64], columns <= 64 and rounded up to 16 in c. Each output is one chain
  /// of fused multiply-adds over k = 0..K-1 that starts at 0, or at c when `accumulate`, so cutting K into several calls
  /// changes no bit. Row i of `a` starts at a + i*a_stride (rows may overlap: convolutions use that).
  /// |error| <= K eps sum|a||b|.
  void (*multiply_panel)(const float* a, std::int64_t a_stride, std::int64_t rows, std::int64_t depth,
                         const float* panel, std::int64_t columns, float* c, std::int64_t c_stride, bool accumulate);

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
                          std::int64_t out_stride, float* scratch);

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
  /// out[i] = x[i] / divisor: finishes an attention row with its sum of exponentials.
  void (*divide)(const float* x, std::int64_t n, float divisor, float* out);
};

/// The tables this CPU can run, best first: a subset of avx512, avx2, scalar.
std::vector<const Table*> available();

/// The table in use: REEL_ISA=scalar|avx2|avx512 forces one, else the best. Null if the forced one is unknown or
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

}  // namespace reel::kernels
