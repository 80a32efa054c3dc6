// exp, silu and gelu of the 16 lanes against the C library in double: dense sweeps and the edges.
// A sweep over every float (2.2e9 arguments, minutes) found exp 1.26 ULP and 2.0 units, silu 3.10 ULP on [-88.3, 1e4],
// gelu 2.57 ULP on [-1, 100]; these sweeps take one float in a thousand.
#define REEL_LANES_SCALAR
#define REEL_ISA probe
#include <algorithm>
#include <bit>
#include <functional>

#include "kernels/lanes.hpp"
#include "tests/kernels/support.hpp"

namespace reel::test {
namespace {

using Lanes = kernels::probe::F32x16;
using Function = Lanes (*)(const Lanes&);
Lanes lane_exp(const Lanes& x) { return kernels::probe::exp(x); }
Lanes lane_silu(const Lanes& x) { return kernels::probe::silu(x); }
Lanes lane_gelu(const Lanes& x) { return kernels::probe::gelu_tanh(x); }

float at(Function f, float x) {
  Floats y(16);
  f(Lanes::set(x)).store(y.data());
  return y[0];
}

double ulp(double want) {
  int e;
  std::frexp(want, &e);
  return std::ldexp(1.0, std::max(e, -125) - 24);
}

// Calls visit(x, f(x)) for floats of both signs in [low, high], every `step`-th bit pattern from the smallest
// subnormal.
void sweep(Function f, float low, float high, std::uint32_t step, const std::function<void(float, float)>& visit) {
  Floats x, y(16);
  const auto flush = [&] {
    x.resize(16, 0.0f);
    f(Lanes::load(x.data())).store(y.data());
    for (std::size_t i = 0; i < 16; ++i) visit(x[i], y[i]);
    x.clear();
  };
  const auto add = [&](float v) {
    if (v < low || v > high) return;
    x.push_back(v);
    if (x.size() == 16) flush();
  };
  for (std::uint32_t bits = 0; bits < 0x7f800000u; bits += step)
    for (const std::uint32_t sign : {0u, 0x80000000u}) add(std::bit_cast<float>(bits | sign));
  for (const float edge : {low, high}) add(edge);
  if (!x.empty()) flush();
}

double worst_ulp(const char* name, Function f, double (*exact)(double), float low, float high) {
  double worst = 0;
  float where = 0;
  std::int64_t count = 0;
  sweep(f, low, high, 983, [&](float x, float y) {
    const double want = exact(x), off = std::fabs(y - want) / ulp(want);
    ++count;
    if (!(off <= worst)) worst = off, where = x;
  });
  std::printf("%s on [%g, %g]: %.3f ULP at %.9g (%lld arguments)\n", name, low, high, worst, where,
              static_cast<long long>(count));
  return worst;
}
double exact_exp(double x) { return std::exp(x); }
double exact_silu(double x) { return exact_activation(x, Activation::silu); }
double exact_gelu(double x) { return exact_activation(x, Activation::gelu_tanh); }

TEST(Elementary, ErrorsInUlp) {
  EXPECT_LE(worst_ulp("exp", lane_exp, exact_exp, -87.3f, 88.3f), 1.26);
  EXPECT_LE(worst_ulp("silu", lane_silu, exact_silu, -88.3f, 1e4f), 3.10);
  EXPECT_LE(worst_ulp("gelu", lane_gelu, exact_gelu, -1.0f, 1e4f), 2.57);
}

TEST(Elementary, ExpHasTheRelativeErrorThatOtherBoundsUse) {
  double worst = 0;
  sweep(lane_exp, -87.3f, 88.3f, 2011, [&](float x, float y) {
    const double want = std::exp(static_cast<double>(x));
    worst = std::max(worst, std::fabs(y - want) / want);
  });
  EXPECT_LE(worst, exp_error);
}

TEST(Elementary, ActivationsStayWithinTheDerivedBoundForEveryFiniteArgument) {
  for (const Activation a : {Activation::silu, Activation::gelu_tanh}) {
    double worst = 0;
    float where = 0;
    sweep(a == Activation::silu ? lane_silu : lane_gelu, -3.4e38f, 3.4e38f, 3001, [&](float x, float y) {
      const double off = std::fabs(y - exact_activation(x, a)) / (activation_error(x, a) + underflow);
      if (!(off <= worst)) worst = off, where = x;
    });
    EXPECT_LE(worst, 1) << "of the bound, at " << where;
    std::printf("%s: worst error / bound %.3f at %g\n", a == Activation::silu ? "silu" : "gelu", worst, where);
  }
}

TEST(Elementary, Edges) {
  EXPECT_EQ(at(lane_exp, 0.0f), 1.0f);
  EXPECT_EQ(at(lane_exp, -0.0f), 1.0f);
  for (const float tiny : {1e-45f, -1e-45f, 1e-38f, -1e-38f}) EXPECT_EQ(at(lane_exp, tiny), 1.0f);
  EXPECT_EQ(at(lane_exp, -infinity), 0.0f);
  EXPECT_EQ(at(lane_exp, -100.0f), 0.0f);
  EXPECT_EQ(at(lane_exp, std::nextafter(-87.3f, -infinity)), 0.0f);
  EXPECT_GT(at(lane_exp, -87.3f), 0.0f);
  EXPECT_EQ(at(lane_exp, std::numeric_limits<float>::quiet_NaN()), 0.0f);
  EXPECT_NEAR(at(lane_exp, 88.0f), std::exp(88.0), exp_error * std::exp(88.0));
  for (const Function f : {lane_silu, lane_gelu}) {
    EXPECT_EQ(at(f, 0.0f), 0.0f);
    EXPECT_EQ(at(f, 1e-45f), 0.0f) << "half of the smallest number, to even";
    EXPECT_EQ(at(f, 2e-38f), 1e-38f);
    EXPECT_EQ(at(f, 88.0f), 88.0f);
    EXPECT_EQ(at(f, 3e38f), 3e38f);
    EXPECT_EQ(at(f, infinity), infinity);
    EXPECT_TRUE(std::isnan(at(f, std::numeric_limits<float>::quiet_NaN())));
    for (const float low : {-100.0f, -1e30f, -3.4e38f, -infinity}) {
      EXPECT_LE(at(f, low), 0.0f);
      EXPECT_GE(at(f, low), -5e-37f) << low;
    }
  }
}

// Bits of silu and gelu on every ISA, over the same sweep, infinities included.
TEST(Elementary, EveryIsaHasTheSameBits) {
  Floats x;
  for (std::uint32_t bits = 0; bits <= 0x7f800000u; bits += 4096)
    for (const std::uint32_t sign : {0u, 0x80000000u}) x.push_back(std::bit_cast<float>(bits | sign));
  for (const Activation a : {Activation::silu, Activation::gelu_tanh}) {
    Floats want(x.size()), got(x.size());
    scalar().activate(x.data(), static_cast<int64_t>(x.size()), a, want.data());
    for (const Table* t : kernels::available()) {
      t->activate(x.data(), static_cast<int64_t>(x.size()), a, got.data());
      EXPECT_TRUE(same_bits(got, want)) << t->name;
    }
  }
}

}  // namespace
}  // namespace reel::test
