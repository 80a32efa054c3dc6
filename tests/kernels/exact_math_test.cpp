// The double functions of tables and noise against the C library in long double (64 bits of mantissa).
#include "kernels/exact_math.hpp"

#include <algorithm>
#include <bit>
#include <cfloat>
#include <cmath>

#include "tests/kernels/support.hpp"

namespace reel::test {
namespace {

class Ulp {
 public:
  void see(double x, double got, long double want) {
    int e;
    std::frexp(want, &e);
    const auto off = static_cast<double>(std::fabs(got - want) / std::ldexp(1.0L, std::max(e, -1021) - 53));
    ++count_;
    if (!(off <= worst_)) worst_ = off, where_ = x;
  }
  double report(const char* name) const {
    std::printf("%s: %.3f ULP at %.17g (%lld arguments)\n", name, worst_, where_, static_cast<long long>(count_));
    return count_ >= 1'000'000 ? worst_ : INFINITY;
  }

 private:
  double worst_ = 0, where_ = 0;
  std::int64_t count_ = 0;
};

double uniform(Draws& draws) {
  return static_cast<double>(static_cast<std::int64_t>(draws.bits()) >> 11) * 0x1p-52;
}  // [-1, 1)
double magnitude(Draws& draws, int lowest, int highest) {  // exponents at random
  const double mantissa = uniform(draws);
  return std::ldexp(mantissa,
                    lowest + static_cast<int>(draws.bits() % static_cast<std::uint64_t>(highest - lowest + 1)));
}

TEST(ExactMath, ExpWithinTwoUlp) {
  Ulp u;
  Draws draws(1);
  for (int i = 0; i < 600'000; ++i) {
    for (const double x : {uniform(draws) * 700, magnitude(draws, -60, 9)})
      if (std::fabs(x) <= 700) u.see(x, exact::exp(x), std::exp(static_cast<long double>(x)));
  }
  for (const double x : {0.0, -0.0, 700.0, -700.0, DBL_MIN, 4.9e-324, 0.34657359027997264, -0.34657359027997264})
    u.see(x, exact::exp(x), std::exp(static_cast<long double>(x)));
  EXPECT_LE(u.report("exp"), 2.0);
}

TEST(ExactMath, Expm1WithinTwoUlp) {
  Ulp u;
  Draws draws(2);
  for (int i = 0; i < 400'000; ++i) {
    for (const double x : {uniform(draws) * 700, uniform(draws), magnitude(draws, -900, 9)})
      if (std::fabs(x) <= 700) u.see(x, exact::expm1(x), std::expm1(static_cast<long double>(x)));
  }
  for (const double x :
       {0.0, 0.5, -0.5, std::nextafter(0.5, 1), std::nextafter(-0.5, -1), 700.0, -700.0, DBL_MIN, 4.9e-324})
    u.see(x, exact::expm1(x), std::expm1(static_cast<long double>(x)));
  EXPECT_LE(u.report("expm1"), 2.0);
}

TEST(ExactMath, LogWithinTwoUlp) {
  Ulp u;
  Draws draws(3);
  for (int i = 0; i < 400'000; ++i) {
    const std::uint64_t e = 1 + draws.bits() % 2046;
    const double any = std::bit_cast<double>((draws.bits() >> 12) | (e << 52));
    const double near_one = 1 + magnitude(draws, -52, -2);
    const double unit_interval = (static_cast<double>(draws.bits() >> 32) + 0.5) * 0x1p-32;
    for (const double x : {any, near_one, unit_interval})
      u.see(x, exact::log(x), std::log(static_cast<long double>(x)));
  }
  for (const double root : {1.4142135623730951, 0.70710678118654757})
    for (const double x : {root, std::nextafter(root, 0), std::nextafter(root, 2)})
      u.see(x, exact::log(x), std::log(static_cast<long double>(x)));
  for (const double x : {1.0, std::nextafter(1.0, 2), std::nextafter(1.0, 0), 2.0, 0.5, DBL_MIN, DBL_MAX})
    u.see(x, exact::log(x), std::log(static_cast<long double>(x)));
  EXPECT_LE(u.report("log"), 2.0);
  EXPECT_EQ(exact::log(1.0), 0.0);
}

TEST(ExactMath, SineAndCosineWithinTwoUlp) {
  Ulp sine, cosine;
  Draws draws(4);
  const auto see = [&](double x) {
    const exact::SinCos got = exact::sincos(x);
    sine.see(x, got.sin, std::sin(static_cast<long double>(x)));
    cosine.see(x, got.cos, std::cos(static_cast<long double>(x)));
  };
  for (int i = 0; i < 350'000; ++i) {
    see(uniform(draws) * 1e5);
    see(uniform(draws) * 7);
    see(magnitude(draws, -300, 16));
  }
  // The hard ones: the doubles around every multiple of pi/2 in the range, where nearly all digits cancel.
  for (int n = 1; n <= 63661; ++n) {
    const auto x = static_cast<double>(n * 1.57079632679489661923132169163975144L);
    for (const double y : {x, std::nextafter(x, 0), std::nextafter(x, 1e6), -x}) see(y);
  }
  for (const double x : {0.0, -0.0, 1e5, -1e5, DBL_MIN, 4.9e-324, 0.78539816339744828, 0.78539816339744839}) see(x);
  EXPECT_LE(sine.report("sin"), 2.0);
  EXPECT_LE(cosine.report("cos"), 2.0);
}

}  // namespace
}  // namespace reel::test
