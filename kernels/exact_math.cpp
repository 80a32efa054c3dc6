#include "kernels/exact_math.hpp"

#include <array>
#include <bit>
#include <cmath>

namespace reel::exact {
namespace {

// Adding 1.5 * 2^52 rounds a double to the nearest integer (|x| < 2^51), without a rounding-mode call.
constexpr double round_shift = 6755399441055744.0;
constexpr double ln2_high = 0x1.62e42fee00000p-1, ln2_low = 0x1.a39ef35793c76p-33;

// 1 / n!; the factorials are exact up to 18!.
constexpr auto inverse_factorial = [] {
  std::array<double, 19> table{};
  double factorial = 1.0;
  for (int n = 0; n < 19; ++n) {
    if (n > 1) factorial *= n;
    table[static_cast<std::size_t>(n)] = 1.0 / factorial;
  }
  return table;
}();

// sum of z^i / (first + i step)!, up to the term 1 / last!: Horner from the smallest.
double factorial_series(double z, std::size_t first, std::size_t last, std::size_t step = 1) {
  double sum = 0.0;
  for (std::size_t n = last; n >= first; n -= step) sum = std::fma(sum, z, inverse_factorial[n]);
  return sum;
}

}  // namespace

double exp(double x) {
  const double n = (std::fma(x, 1.4426950408889634, round_shift)) - round_shift;
  double r = std::fma(-n, ln2_high, x);
  r = std::fma(-n, ln2_low, r);
  const double tail = factorial_series(r, 2, 15);
  const double y = 1.0 + std::fma(r * r, tail, r);
  // Two factors, so that subnormal and huge results keep a normal scale.
  const auto k = static_cast<std::int64_t>(n), half = k / 2;
  const double a = std::bit_cast<double>(static_cast<std::uint64_t>(1023 + half) << 52);
  const double b = std::bit_cast<double>(static_cast<std::uint64_t>(1023 + (k - half)) << 52);
  return y * a * b;
}

double expm1(double x) {
  if (std::fabs(x) > 0.5) return exp(x) - 1.0;
  return std::fma(x * x, factorial_series(x, 2, 18), x);
}

double log(double x) {
  auto bits = std::bit_cast<std::uint64_t>(x);
  auto e = static_cast<std::int64_t>(bits >> 52) - 1023;
  double m = std::bit_cast<double>((bits & 0x000FFFFFFFFFFFFFULL) | 0x3FF0000000000000ULL);
  if (m > 1.4142135623730951) {
    m *= 0.5;
    e += 1;
  }
  // log m = 2 atanh(s) = f - s (f - 2 s^2 (1/3 + s^2/5 + ...)), s = f / (2 + f), f = m - 1 exact.
  const double f = m - 1.0, s = f / (2.0 + f), z = s * s;
  double tail = 0.0;
  for (int n = 25; n >= 3; n -= 2) tail = std::fma(tail, z, 1.0 / n);
  const double correction = s * (f - 2.0 * z * tail);
  const double k = static_cast<double>(e);
  return std::fma(k, ln2_high, f - (correction - k * ln2_low));
}

SinCos sincos(double x) {
  const double n = std::fma(x, 0.63661977236758134, round_shift) - round_shift;
  // pi/2 in three pieces: near its multiples up to 1e5 all digits of the first and many of the second cancel.
  double r = std::fma(-n, 0x1.921fb54442d18p+0, x);
  r = std::fma(-n, 0x1.1a62633145c07p-54, r);
  r = std::fma(-n, -0x1.f1976b7ed8fbcp-110, r);
  const double z = r * r;
  const double s = factorial_series(-z, 3, 17, 2), c = factorial_series(-z, 4, 18, 2);
  const double sine = std::fma(-r * z, s, r);
  const double cosine = std::fma(z * z, c, 1.0 - 0.5 * z);
  switch (static_cast<std::int64_t>(n) & 3) {
    case 0: return {sine, cosine};
    case 1: return {cosine, -sine};
    case 2: return {-sine, -cosine};
    default: return {-cosine, sine};
  }
}

}  // namespace reel::exact
