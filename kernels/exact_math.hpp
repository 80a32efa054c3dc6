#pragma once
// Elementary functions in double for tables, schedules and noise. The C library's differ in their last bits from
// machine to machine; these are built from + - * / and std::fma alone, so they do not. Max error 2 ULP in the stated
// range (tested against long double).
#include <cstdint>

namespace reel::exact {

/// e^x for |x| <= 700.
double exp(double x);
/// e^x - 1 for |x| <= 700, without cancellation near 0.
double expm1(double x);
/// Natural logarithm of a positive normal number.
double log(double x);
/// Sine and cosine for |x| <= 1e5 [rad].
struct SinCos {
  double sin, cos;
};
SinCos sincos(double x);

}  // namespace reel::exact
