// Kernels of one row: norms, rotary embedding, gates, activations, the final division.
#include <bit>
#include <cmath>
#include <functional>

#include "tests/kernels/support.hpp"

namespace reel::test {
namespace {

constexpr int64_t max_width = 70;
constexpr float guard = 12345.0f;
// Every width up to 70, then the widths of the published models and one past them.
std::vector<int64_t> widths() {
  std::vector<int64_t> w;
  for (int64_t i = 1; i <= max_width; ++i) w.push_back(i);
  for (const int64_t i : {96, 384, 1536, 5120, 5121}) w.push_back(i);
  return w;
}

double lanes_roundings(int64_t n) { return static_cast<double>((n + 15) / 16 + 4); }  // a lane's chain, then the tree

/// Runs `row(table, in, out)` on all ISAs: same bits as the scalar one, nothing beyond n, and in place if promised.
Floats same_on_all(const char* what, const Floats& x, bool in_place,
                   const std::function<void(const Table&, const float*, float*)>& row) {
  const std::size_t n = x.size();
  Floats want(n + 1, guard);
  row(scalar(), x.data(), want.data());
  EXPECT_EQ(want[n], guard) << what << ": scalar wrote beyond width " << n;
  for (const Table* t : kernels::available()) {
    Floats got(n + 1, guard);
    row(*t, x.data(), got.data());
    EXPECT_TRUE(same_bits(got, want)) << what << ": " << t->name << " width " << n;
    if (in_place) {
      Floats mine = x;
      mine.push_back(guard);
      row(*t, mine.data(), mine.data());
      EXPECT_TRUE(same_bits(mine, want)) << what << " in place: " << t->name << " width " << n;
    }
  }
  want.pop_back();
  return want;
}

// mean: n/16 lane additions, 4 of the tree, 1 division, so |dm| <= gamma(L + 1) mean|x|, L = lanes_roundings.
// d_i = fl(x_i - m): |error of d_i| <= h_i = |dm| + unit (|c_i| + |dm|), c_i = x_i - mean.
// variance: |dv| <= sum(2|c_i| h_i + h_i^2)/n + gamma(L + 1) sum((|c_i| + h_i)^2)/n.
// t = v + eps: relative error r = (|dv| + unit (t + |dv|)) / t; 1/sqrt of it: s = (1 - r)^-1/2 (1 + gamma(2)) - 1.
// y: one rounding for the product with the scale, one for the fused multiply-add with mul and add.
TEST(LayerNorm, StaysWithinTheDerivedBoundAndKeepsItsBits) {
  const float eps = 1e-6f;
  double worst = 0;
  for (const int64_t n : widths())
    for (const float offset : {0.0f, 3.0f, 100.0f}) {
      Draws draws(static_cast<std::uint64_t>(n) * 7);
      const Floats x = draws.uniforms(n, 2.0f, offset), mul = draws.uniforms(n, 2.0f), add = draws.uniforms(n, 2.0f);
      double mean = 0, mean_abs = 0;
      for (const float v : x) mean += v, mean_abs += std::fabs(v);
      mean /= static_cast<double>(n), mean_abs /= static_cast<double>(n);
      const double roundings = lanes_roundings(n) + 1, dm = gamma(roundings) * mean_abs;
      double variance = 0, dv = 0;
      for (const float v : x) {
        const double c = std::fabs(v - mean), h = dm + unit * (c + dm);
        variance += c * c;
        dv += 2 * c * h + h * h + gamma(roundings) * (c + h) * (c + h);
      }
      variance /= static_cast<double>(n), dv /= static_cast<double>(n);
      const double t = variance + static_cast<double>(eps), r = (dv + unit * (t + dv)) / t;
      const double scale = 1 / std::sqrt(t), s = r < 1 ? (1 + gamma(2)) / std::sqrt(1 - r) - 1 : INFINITY;
      for (int which = 0; which < 4; ++which) {
        const float *m = which & 1 ? mul.data() : nullptr, *a = which & 2 ? add.data() : nullptr;
        const Floats y = same_on_all("layer_norm", x, true, [&](const Table& k, const float* in, float* out) {
          k.layer_norm(in, n, eps, m, a, out);
        });
        if (!std::isfinite(s)) continue;  // n so small and the offset so large that no bound holds
        for (std::size_t i = 0; i < y.size(); ++i) {
          const double c = std::fabs(x[i] - mean), h = dm + unit * (c + dm);
          const double factor = m ? static_cast<double>(m[i]) : 1, term = a ? static_cast<double>(a[i]) : 0;
          const double want = (x[i] - mean) * scale * factor + term;
          const double dy = scale * ((c + h) * (1 + s) * (1 + unit) - c) * std::fabs(factor);
          const double bound = dy * (1 + unit) + unit * std::fabs(want) + underflow;
          worst = std::max(worst, std::fabs(y[i] - want) / bound);
          ASSERT_LE(std::fabs(y[i] - want), bound) << "width " << n << " offset " << offset << " at " << i;
        }
      }
    }
  std::printf("worst error / bound: %.3f\n", worst);
}

// All terms of the sum are positive, so it has the relative error gamma(L), half of it after the square root.
// rms: mean 1, eps 1, sqrt 1, 1/x 1, x*scale 1, *weight 1.
TEST(RmsNorm, StaysWithinTheDerivedBoundAndKeepsItsBits) {
  const float eps = 1e-6f;
  double worst = 0;
  for (const int64_t n : widths()) {
    Draws draws(static_cast<std::uint64_t>(n) * 11);
    const Floats x = draws.spreads(n), weight = draws.spreads(n);
    double squares = 0;
    for (const float v : x) squares += static_cast<double>(v) * static_cast<double>(v);
    const double scale = 1 / std::sqrt(squares / static_cast<double>(n) + static_cast<double>(eps));
    const double relative = 0.5 * gamma(lanes_roundings(n) + 2) * (1 + 1e-3) + gamma(4);
    const Floats y = same_on_all("rms_norm", x, true, [&](const Table& k, const float* in, float* out) {
      k.rms_norm(in, n, eps, weight.data(), out);
    });
    for (std::size_t i = 0; i < y.size(); ++i) {
      const double want = static_cast<double>(x[i]) * scale * static_cast<double>(weight[i]);
      worst = std::max(worst, std::fabs(y[i] - want) / (relative * std::fabs(want) + underflow));
      ASSERT_LE(std::fabs(y[i] - want), relative * std::fabs(want) + underflow) << "width " << n << " at " << i;
    }
  }
  std::printf("worst error / bound: %.3f\n", worst);
}

// norm: gamma(L)/2 + 1 (sqrt); then x / norm 1, sqrt(C) 1, its product 1, * gamma 1; then the activation.
TEST(L2Norm, StaysWithinTheDerivedBoundAndKeepsItsBits) {
  double worst = 0;
  for (const int64_t n : widths()) {
    Draws draws(static_cast<std::uint64_t>(n) * 13);
    const Floats x = draws.spreads(n), weight = draws.uniforms(n);
    double squares = 0;
    for (const float v : x) squares += static_cast<double>(v) * static_cast<double>(v);
    const double scale = std::sqrt(static_cast<double>(n) / squares);
    const double relative = 0.5 * gamma(lanes_roundings(n)) * (1 + 1e-3) + gamma(5);
    for (const Activation activation : all_activations) {
      const Floats y = same_on_all("l2_norm", x, true, [&](const Table& k, const float* in, float* out) {
        k.l2_norm(in, n, weight.data(), activation, out);
      });
      for (std::size_t i = 0; i < y.size(); ++i) {
        const double v = static_cast<double>(x[i]) * scale * static_cast<double>(weight[i]);
        const double bound =
            max_slope * relative * std::fabs(v) + activation_error(v, activation) * (1 + 1e-5) + underflow;
        worst = std::max(worst, std::fabs(y[i] - exact_activation(v, activation)) / bound);
        ASSERT_LE(std::fabs(y[i] - exact_activation(v, activation)), bound) << "width " << n << " at " << i;
      }
    }
    const Floats zero = same_on_all(
        "l2_norm of zero", Floats(x.size()), true,
        [&](const Table& k, const float* in, float* out) { k.l2_norm(in, n, weight.data(), Activation::none, out); });
    for (const float v : zero) ASSERT_EQ(v, 0.0f) << "0 / 1e-12";
  }
  std::printf("worst error / bound: %.3f\n", worst);
}

// x0 c - x1 s: one product rounded, then one fused multiply-add: |error| <= gamma(2) |x0 c| + unit |x1 s|.
// Both errors of a pair are at most gamma(2) (|x0| + |x1|) <= 2 gamma(2) |pair| / sqrt 2 each, so the length of a pair
// moves by at most 2 gamma(2) |pair|, plus that of the rounded (c, s).
TEST(Rotate, TurnsPairsAndKeepsTheirLength) {
  for (int64_t d = 2; d <= 130; d += 2) {
    const int64_t heads = 3, n = heads * d;
    Draws draws(static_cast<std::uint64_t>(d));
    const Floats x = draws.spreads(n);
    Floats cosine(static_cast<std::size_t>(d)), sine(cosine.size());
    for (std::size_t j = 0; j < cosine.size(); j += 2) {
      const double angle = static_cast<double>(draws.uniform()) * 10;
      cosine[j] = cosine[j + 1] = static_cast<float>(std::cos(angle));
      sine[j + 1] = static_cast<float>(std::sin(angle));
      sine[j] = -sine[j + 1];
    }
    const Floats y = same_on_all("rotate", x, true, [&](const Table& k, const float* in, float* out) {
      if (in != out) std::copy_n(in, n, out);
      k.rotate(out, n, d, cosine.data(), sine.data());
    });
    for (std::size_t i = 0; i < y.size(); i += 2) {
      const double c = cosine[i % cosine.size()], s = sine[i % cosine.size() + 1], x0 = x[i], x1 = x[i + 1];
      ASSERT_LE(std::fabs(y[i] - (x0 * c - x1 * s)),
                gamma(2) * std::fabs(x0 * c) + gamma(1) * std::fabs(x1 * s) + underflow);
      ASSERT_LE(std::fabs(y[i + 1] - (x1 * c + x0 * s)),
                gamma(2) * std::fabs(x1 * c) + gamma(1) * std::fabs(x0 * s) + underflow);
      const double before = std::hypot(x0, x1),
                   after = std::hypot(static_cast<double>(y[i]), static_cast<double>(y[i + 1]));
      ASSERT_LE(std::fabs(after - before), (2 * gamma(2) + 2 * unit) * before + underflow) << "head width " << d;
    }
  }
}

TEST(GatedAdd, IsOneFusedMultiplyAdd) {
  for (const int64_t n : widths()) {
    Draws draws(static_cast<std::uint64_t>(n) * 17);
    const Floats y = draws.spreads(n), gate = draws.spreads(n), x = draws.spreads(n);
    const Floats got = same_on_all("gated_add", x, true, [&](const Table& k, const float* in, float* out) {
      if (in != out) std::copy_n(in, n, out);
      k.gated_add(y.data(), gate.data(), n, out);
    });
    for (std::size_t i = 0; i < got.size(); ++i) ASSERT_EQ(got[i], std::fma(y[i], gate[i], x[i]));
  }
}

TEST(Divide, IsOneRounding) {
  for (const int64_t n : widths()) {
    Draws draws(static_cast<std::uint64_t>(n) * 19);
    const Floats x = draws.spreads(n);
    const float by = std::fabs(draws.spread()) + 0.125f;
    const Floats got =
        same_on_all("divide", x, false, [&](const Table& k, const float* in, float* out) { k.divide(in, n, by, false, out); });
    const Floats round =
        same_on_all("divide and round", x, false, [&](const Table& k, const float* in, float* out) { k.divide(in, n, by, true, out); });
    std::vector<kernels::Bf16> halves(got.size());
    scalar().round_to_bf16(got.data(), n, halves.data());
    for (std::size_t i = 0; i < got.size(); ++i) {
      ASSERT_EQ(got[i], x[i] / by);
      ASSERT_EQ(round[i], std::bit_cast<float>(static_cast<std::uint32_t>(halves[i]) << 16));
    }
  }
}

TEST(Activate, StaysWithinTheDerivedBoundAndKeepsItsBits) {
  for (const int64_t n : widths()) {
    Draws draws(static_cast<std::uint64_t>(n) * 23);
    const Floats x = draws.spreads(n);
    for (const Activation activation : all_activations) {
      const Floats y = same_on_all("activate", x, true, [&](const Table& k, const float* in, float* out) {
        k.activate(in, n, activation, out);
      });
      for (std::size_t i = 0; i < y.size(); ++i)
        ASSERT_LE(std::fabs(y[i] - exact_activation(x[i], activation)), activation_error(x[i], activation) + underflow)
            << x[i];
    }
  }
}

}  // namespace
}  // namespace reel::test
