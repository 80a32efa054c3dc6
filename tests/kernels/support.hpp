#pragma once
// What the kernel tests share: numbers that need no library, comparison of bits, and the unit of the error bounds.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "kernels/kernels.hpp"

namespace reel::test {

using kernels::Activation;
using kernels::Table;
using std::int64_t;
using Floats = std::vector<float>;

inline constexpr Activation all_activations[] = {Activation::none, Activation::gelu_tanh, Activation::silu};
inline constexpr float infinity = std::numeric_limits<float>::infinity();

/// Unit roundoff of f32: fl(a op b) = (a op b)(1 + d), |d| <= unit, away from underflow.
inline constexpr double unit = 0x1p-24;
/// n roundings in a row: (1 + d1)...(1 + dn) = 1 + t, |t| <= gamma(n).
inline double gamma(double n) { return n * unit / (1 - n * unit); }
/// Relative error of the kernels' exp: 1.26 ULP, at most 2 units (elementary_test.cpp).
inline constexpr double exp_error = 2.01 * unit;
/// What underflow may add to any result here: some hundred subnormal roundings.
inline constexpr double underflow = 1e-42;

/// Draws that are the same on every machine: splitmix64 and exact conversions.
class Draws {
 public:
  explicit Draws(std::uint64_t seed) : state_(seed * 0x9E3779B97F4A7C15ULL + 1) {}
  std::uint64_t bits() {
    std::uint64_t z = state_ += 0x9E3779B97F4A7C15ULL;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    return z ^ (z >> 31);
  }
  /// Uniform in [-1, 1), 24 bits.
  float uniform() { return static_cast<float>(static_cast<std::int64_t>(bits() >> 40) - (1 << 23)) * 0x1p-23f; }
  /// Sign and mantissa at random, magnitudes over 2^-6..2^6: sums cancel and absorb.
  float spread() {
    const float mantissa = uniform();  // one statement per draw: arguments have no order
    return std::ldexp(mantissa, static_cast<int>(bits() % 13) - 6);
  }
  Floats uniforms(int64_t n, float scale = 1, float offset = 0) {
    Floats v(static_cast<std::size_t>(n));
    for (float& x : v) x = uniform() * scale + offset;
    return v;
  }
  Floats spreads(int64_t n) {
    Floats v(static_cast<std::size_t>(n));
    for (float& x : v) x = spread();
    return v;
  }

 private:
  std::uint64_t state_;
};

inline const Table& scalar() { return *kernels::choose("scalar"); }

inline bool same_bits(const float* a, const float* b, int64_t n) {
  return std::memcmp(a, b, static_cast<std::size_t>(n) * sizeof(float)) == 0;
}
inline bool same_bits(const Floats& a, const Floats& b) {
  return a.size() == b.size() && same_bits(a.data(), b.data(), static_cast<int64_t>(a.size()));
}

/// Exact x / (1 + e^-x) and 0.5 x (1 + tanh(sqrt(2/pi)(x + 0.044715 x^3))), in double.
inline double exact_activation(double x, Activation activation) {
  switch (activation) {
    case Activation::silu:
      return x / (1 + std::exp(-x));
    case Activation::gelu_tanh:
      return x / (1 + std::exp(-2 * std::sqrt(2 / 3.14159265358979323846) * (x + 0.044715 * x * x * x)));
    default:
      return x;
  }
}

/// Bound on |kernel - exact| for an argument without error. With w the argument of exp, e = e^w has the relative error
/// exp_error + |dw|; 1 + e then has sigma(w) = e / (1 + e) times that plus one rounding, the division one more.
///   silu: w = -x is exact.  gelu: w = -2 sqrt(2/pi) (x + 0.044715 x^3) has 6 roundings (x x x: 2, both constants: 2,
///   fma: 1, product: 1), so |dw| <= gamma(6) |w|.
/// Below x = -88.3 (silu) and -10 (gelu) the result stays at its value there, less than 5e-37.
inline double activation_error(double x, Activation activation) {
  if (activation == Activation::none) return 0;
  const bool gelu = activation == Activation::gelu_tanh;
  const double w = gelu ? -1.5957691216057308 * (x + 0.044715 * x * x * x) : -x;
  const double dw = gelu ? std::expm1(std::min(gamma(6) * std::fabs(w), 1.0)) : 0;
  const double sigma = w > 700 ? 1 : std::exp(w) / (1 + std::exp(w));
  const double relative = (exp_error + dw) * sigma * (1 + 1e-5) + gamma(2);
  return std::fabs(exact_activation(x, activation)) * relative + 5e-37;
}

/// Largest slope of an activation: an error of the argument grows by no more (silu 1.0999, gelu 1.1290).
inline constexpr double max_slope = 1.13;

}  // namespace reel::test
