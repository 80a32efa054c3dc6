// Products of bf16 operands: each table against the order that kernels.hpp states, computed in 113 bits.
#include "tests/kernels/support.hpp"

namespace reel::test {
namespace {

using kernels::Bf16;
using kernels::bf16_step;
using kernels::group_width;
using kernels::panel_width;
using Halves = std::vector<Bf16>;
using Quad = __float128;

float widened(Bf16 half) {
  const std::uint32_t bits = std::uint32_t{half} << 16;
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}
Bf16 upper_half(float x) {
  std::uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return static_cast<Bf16>(bits >> 16);
}
float without_subnormals(float x) { return std::fabs(x) < 0x1p-126f ? std::copysign(0.0f, x) : x; }

// Nearest even with 24 bits and any exponent, then zero for what is below the normal numbers.
float rounded(Quad exact, float sign_of_zero) {
  if (exact == 0) return sign_of_zero;
  const bool small = exact < 0x1p-100 && exact > -0x1p-100;
  const float scaled = static_cast<float>(small ? exact * static_cast<Quad>(0x1p100) : exact);
  if (!small) return scaled;
  return std::fabs(scaled) < 0x1p-26f ? std::copysign(0.0f, scaled) : scaled * 0x1p-100f;
}
float fused(float a, float b, float c) {
  a = without_subnormals(a), b = without_subnormals(b), c = without_subnormals(c);
  return rounded(static_cast<Quad>(a) * static_cast<Quad>(b) + static_cast<Quad>(c), a * b + c);
}
// Where element k of column j lies in a panel of that depth.
std::size_t in_panel(int64_t k, int64_t j, int64_t depth) {
  return static_cast<std::size_t>(j / group_width * group_width * depth + k / 2 * 2 * group_width + j % group_width * 2 + k % 2);
}
float sum(float a, float b) { return fused(1.0f, a, b); }

enum class Order { pairs, blocks };
constexpr Order orders[] = {Order::pairs, Order::blocks};
kernels::MultiplyBf16 multiply_of(const Table& t, Order order) { return order == Order::pairs ? t.multiply_pairs : t.multiply_blocks; }

struct Problem {
  int64_t rows, depth;
  Halves a, panel;
  Floats c;

  Problem(std::uint64_t seed, int64_t rows, int64_t depth, int exponent_a, int exponent_b, int exponent_c) : rows(rows), depth(depth) {
    Draws draws(seed);
    const auto draw = [&](int exponent) {
      const float mantissa = draws.uniform();
      return std::ldexp(mantissa, exponent + static_cast<int>(draws.bits() % 9) - 4);
    };
    for (int64_t i = 0; i < rows * depth; ++i) a.push_back(upper_half(draw(exponent_a)));
    for (int64_t i = 0; i < depth * panel_width; ++i) panel.push_back(upper_half(draw(exponent_b)));
    for (int64_t i = 0; i < rows * panel_width; ++i) c.push_back(draw(exponent_c));
  }
  float at(int64_t i, int64_t k) const { return widened(a[static_cast<std::size_t>(i * depth + k)]); }
  float weight(int64_t k, int64_t j) const { return widened(panel[in_panel(k, j, depth)]); }

  float oracle(Order order, int64_t i, int64_t j, bool accumulate) const {
    float s = accumulate ? c[static_cast<std::size_t>(i * panel_width + j)] : 0.0f;
    for (int64_t k = 0; order == Order::pairs && k < depth; k += 2)
      s = fused(at(i, k), weight(k, j), fused(at(i, k + 1), weight(k + 1, j), s));
    for (int64_t b = 0; order == Order::blocks && b < depth; b += bf16_step) {
      float even = 0, odd = 0;
      for (int64_t k = b; k < b + bf16_step; k += 2) {
        even = fused(at(i, k), weight(k, j), even);
        odd = fused(at(i, k + 1), weight(k + 1, j), odd);
      }
      s = sum(s, sum(even, odd));
    }
    return s;
  }
  Floats result(const Table& t, Order order, bool accumulate, const kernels::Ahead& ahead = {}) const {
    Floats out = c;
    multiply_of(t, order)(a.data(), depth, bf16_step, rows, depth, panel.data(), depth * group_width, panel_width, out.data(), panel_width, accumulate,
                          ahead);
    return out;
  }
};

TEST(Bf16Product, HasTheStatedOrderAndRounding) {
  struct Window {
    int a, b, c;
  };
  // Ordinary sizes; products and sums about the smallest normal number; sums that cancel or absorb; subnormal operands.
  const Window windows[] = {{0, 0, 0}, {-62, -64, -126}, {-70, -74, -124}, {8, 8, 16}, {-126, 10, -120}};
  for (const Window& w : windows)
    for (const Order order : orders)
      for (const bool accumulate : {false, true}) {
        const Problem p(static_cast<std::uint64_t>(w.a + 200), 5, 96, w.a, w.b, w.c);
        for (const Table* t : kernels::available()) {
          const Floats got = p.result(*t, order, accumulate);
          for (int64_t i = 0; i < p.rows; ++i)
            for (int64_t j = 0; j < panel_width; ++j) {
              const float want = p.oracle(order, i, j, accumulate), have = got[static_cast<std::size_t>(i * panel_width + j)];
              ASSERT_TRUE(same_bits(&want, &have, 1)) << t->name << " order " << static_cast<int>(order) << " exponents " << w.a << " at "
                                                      << i << ", " << j << ": " << have << ", not " << want;
            }
        }
      }
}

// 2^-126 - 2^-150 lies between two f32 and rounds up to a normal number with subnormals, down to what is flushed without.
TEST(Bf16Product, FlushesAfterRounding) {
  for (const Table* t : kernels::available())
    for (const Order order : orders) {
      Problem p(1, 1, 32, 0, 0, 0);
      std::fill(p.a.begin(), p.a.end(), Bf16{0});
      std::fill(p.c.begin(), p.c.end(), 0x1p-126f);
      p.a[2] = upper_half(0x1p-60f), p.a[0] = upper_half(0x1p-70f);
      for (int64_t j = 0; j < panel_width; ++j) {
        p.panel[in_panel(2, j, 32)] = upper_half(order == Order::pairs ? 0.0f : 0x1p-66f);
        p.panel[in_panel(0, j, 32)] = upper_half(-0x1p-80f);
      }
      const Floats got = p.result(*t, order, order == Order::pairs);
      for (int64_t j = 0; j < panel_width; ++j) ASSERT_EQ(got[static_cast<std::size_t>(j)], order == Order::pairs ? 0.0f : 0x1p-126f) << t->name;
      if (order == Order::blocks) {  // the chain meets them the other way round
        std::swap(p.a[0], p.a[2]);
        for (int64_t j = 0; j < panel_width; ++j)
          std::swap(p.panel[in_panel(2, j, 32)], p.panel[in_panel(0, j, 32)]);
        for (const float x : p.result(*t, order, false)) ASSERT_EQ(x, 0.0f) << t->name;
      }
    }
}

TEST(Bf16Product, BitsDependOnNeitherTableNorRowsNorColumns) {
  constexpr int64_t max_rows = 67;
  constexpr float guard = 12345.0f;
  for (const int64_t depth : {int64_t{32}, int64_t{96}, int64_t{544}}) {
    const Problem p(static_cast<std::uint64_t>(depth), max_rows, depth, 0, 0, 2);
    for (const Order order : orders)
      for (const bool accumulate : {false, true}) {
        const Floats want = p.result(scalar(), order, accumulate);
        Floats start = p.c, got;
        start.resize(static_cast<std::size_t>((max_rows + 1) * panel_width), guard);
        for (const Table* t : kernels::available())
          for (const int64_t rows : {1, 5, 6, 7, 15, 16, 17, 31, 32, 33, 47, 48, 49, 67})
            for (const int64_t columns : {1, 16, 17, 32, 33, 48, 49, 64}) {
              got = start;
              multiply_of(*t, order)(p.a.data(), depth, bf16_step, rows, depth, p.panel.data(), depth * group_width, columns, got.data(), panel_width, accumulate, {});
              for (int64_t i = 0; i <= max_rows; ++i) {
                const int64_t n = i < rows ? (columns + 15) / 16 * 16 : 0, at = i * panel_width;
                ASSERT_TRUE(same_bits(got.data() + at, want.data() + at, n)) << t->name << " rows " << rows << " columns " << columns;
                ASSERT_TRUE(same_bits(got.data() + at + n, start.data() + at + n, panel_width - n)) << t->name << " wrote beyond its tile";
              }
            }
      }
  }
}

// Of any address, the end of the memory and none at all included.
TEST(Bf16Product, WhatIsAskedForAheadChangesNeitherBitsNorMemory) {
  constexpr float guard = 12345.0f;
  const Problem p(9, 31, 160, 0, 0, 0);
  Floats other(4096, guard);
  for (const Table* t : kernels::available())
    for (const Order order : orders) {
      const Floats want = p.result(*t, order, true);
      for (const int64_t bytes : {0, 1, 130, 4096, 1 << 20})
        for (const int64_t parts : {1, 3, 4})
          for (float* at : {static_cast<float*>(nullptr), other.data(), other.data() + other.size()}) {
            const kernels::Ahead ahead{.read = at, .part_bytes = bytes, .parts = parts, .part_stride = 8 * bytes, .written = at, .written_stride = bytes};
            ASSERT_TRUE(same_bits(want, p.result(*t, order, true, ahead))) << t->name;
            ASSERT_TRUE(std::all_of(other.begin(), other.end(), [](float x) { return x == guard; })) << t->name;
          }
    }
}

TEST(Bf16Product, CuttingTheDepthChangesNoBitAndRowsMayOverlap) {
  const int64_t depth = 288;
  const Problem p(7, 40, depth, 0, 0, 0);
  for (const Table* t : kernels::available())
    for (const Order order : orders) {
      const Floats whole = p.result(*t, order, false);
      for (const int64_t piece : {32, 64, 160}) {
        Floats cut = p.c;
        for (int64_t k = 0; k < depth; k += piece)
          multiply_of(*t, order)(p.a.data() + k, depth, bf16_step, p.rows, std::min(piece, depth - k), p.panel.data() + k * group_width, depth * group_width, panel_width,
                                 cut.data(), panel_width, k > 0, {});
        ASSERT_TRUE(same_bits(whole, cut)) << t->name << " pieces of " << piece;
      }
      const int64_t stride = 96, rows = (p.rows * depth - depth) / stride + 1;
      Floats overlapped(static_cast<std::size_t>(rows * panel_width)), single(static_cast<std::size_t>(panel_width));
      multiply_of(*t, order)(p.a.data(), stride, bf16_step, rows, depth, p.panel.data(), depth * group_width, panel_width, overlapped.data(), panel_width, false, {});
      for (int64_t i = 0; i < rows; ++i) {
        const Halves copy(p.a.begin() + i * stride, p.a.begin() + i * stride + depth);
        multiply_of(scalar(), order)(copy.data(), depth, bf16_step, 1, depth, p.panel.data(), depth * group_width, panel_width, single.data(), panel_width, false, {});
        ASSERT_TRUE(same_bits(single.data(), overlapped.data() + i * panel_width, panel_width)) << t->name << " row " << i;
      }
    }
}

// Negative control: with the two elements of a pair exchanged the bits differ, so equal bits mean something.
TEST(Bf16Product, TheOrderOfAPairMatters) {
  Problem p(3, 6, 96, 0, 0, 0);
  const Floats want = p.result(scalar(), Order::pairs, false);
  for (std::size_t i = 0; i < p.a.size(); i += 2) std::swap(p.a[i], p.a[i + 1]);
  for (std::size_t i = 0; i < p.panel.size(); i += 2) std::swap(p.panel[i], p.panel[i + 1]);
  EXPECT_FALSE(same_bits(want, p.result(scalar(), Order::pairs, false)));
  EXPECT_FALSE(same_bits(want, p.result(scalar(), Order::blocks, false)));
}

TEST(RoundToBf16, NearestEven) {
  for (const Table* t : kernels::available()) {
    Floats x;
    for (std::uint32_t half = 0; half < 0x10000; ++half)  // each bf16, what lies just above it, and about the middle to the next
      for (const std::uint32_t low : {0u, 1u, 0x7fffu, 0x8000u, 0x8001u, 0xffffu}) {
        const std::uint32_t bits = half << 16 | low;
        float v;
        std::memcpy(&v, &bits, sizeof v);
        x.push_back(v);
      }
    Halves got(x.size());
    t->round_to_bf16(x.data(), static_cast<int64_t>(x.size()), got.data());
    for (std::size_t i = 0; i < x.size(); ++i) {
      const float below = widened(upper_half(x[i])), have = widened(got[i]);
      if (std::isnan(x[i])) {
        ASSERT_TRUE(std::isnan(have)) << t->name;
        continue;
      }
      const float above = widened(static_cast<Bf16>(upper_half(x[i]) + 1));  // away from zero
      const std::size_t kind = i % 6;
      const bool even = upper_half(x[i]) % 2 == 0;
      const float want = kind < 3 || (kind == 3 && even) ? below : above;
      ASSERT_TRUE(same_bits(&want, &have, 1)) << t->name << " " << x[i] << " becomes " << have;
    }
  }
}

TEST(PackPanel, OfBf16LaysPairsSideBySide) {
  Draws draws(9);
  for (const int64_t n : {1, 17, 64, 70})
    for (const int64_t k : {1, 32, 300}) {
      const int64_t stride = k + 3, count = std::min(n, panel_width), padded = kernels::padded_depth(k);
      const Floats w = draws.uniforms(n * stride);
      Halves packed(static_cast<std::size_t>(padded * panel_width), Bf16{77});
      kernels::pack_panel(w.data(), n, k, stride, packed.data());
      for (int64_t i = 0; i < padded; ++i)
        for (int64_t j = 0; j < panel_width; ++j) {
          Bf16 want = 0;
          if (j < count && i < k) scalar().round_to_bf16(w.data() + j * stride + i, 1, &want);
          ASSERT_EQ(packed[in_panel(i, j, padded)], want);
        }
    }
}

// Softmax attention in double on the rounded operands. Scores err by d roundings, weights by 2^-9 when they are rounded.
TEST(Bf16Attention, AgreesWithDoubleAndHasOneSetOfBits) {
  const int64_t d = 64, rows = 41, value_panels = 2, blocks = 2;
  for (const int64_t last : {kernels::key_block, int64_t{211}})
    for (const Order order : orders) {
      Draws draws(static_cast<std::uint64_t>(last));
      Halves q, keys, values;
      const auto halves = [&](int64_t n, float scale) {
        Halves v;
        for (int64_t i = 0; i < n; ++i) v.push_back(upper_half(draws.uniform() * scale));
        return v;
      };
      q = halves(rows * d, 0.4f);
      const int64_t block = kernels::key_block;
      keys = halves(blocks * block * d, 2);
      values = halves(blocks * block * value_panels * panel_width, 1);
      const Floats bias = draws.uniforms(rows * blocks * block);
      Floats first;
      for (const Table* t : kernels::available()) {
        Floats out(static_cast<std::size_t>(rows * value_panels * panel_width), 0.0f);
        std::vector<kernels::SoftmaxState> state(static_cast<std::size_t>(rows), {-infinity, 0.0f});
        for (int64_t b = 0; b < blocks; ++b) {
          const int64_t num = b + 1 < blocks ? block : last;
          t->attention_block_bf16(multiply_of(*t, order), q.data(), d, bf16_step, rows, d, keys.data() + b * block * d,
                                  values.data() + b * block * value_panels * panel_width, value_panels, num, bias.data() + b * block,
                                  blocks * block, state.data(), out.data(), value_panels * panel_width);
        }
        for (const auto& s : state) out.push_back(s.max), out.push_back(s.sum);
        if (first.empty()) first = out;
        ASSERT_TRUE(same_bits(first, out)) << t->name;
        if (t != kernels::available().front()) continue;
        const int64_t num_keys = block + last, padded = (last + panel_width - 1) / panel_width * panel_width;
        for (int64_t i = 0; i < rows; ++i) {
          std::vector<double> weight;
          double top = -1e30, total = 0;
          for (int64_t k = 0; k < num_keys; ++k) {
            const int64_t in = k % block;
            const Bf16* panel = keys.data() + k / block * block * d + in / panel_width * d * panel_width;
            double score = bias[static_cast<std::size_t>(i * blocks * block + k)];
            for (int64_t c = 0; c < d; ++c)
              score += static_cast<double>(widened(q[static_cast<std::size_t>(i * d + c)])) *
                       static_cast<double>(widened(panel[in_panel(c, in % panel_width, d)]));
            weight.push_back(score);
            top = std::max(top, score);
          }
          for (double& w : weight) total += w = std::exp(w - top);
          for (int64_t v = 0; v < value_panels * panel_width; ++v) {
            double want = 0, size = 0;
            for (int64_t k = 0; k < num_keys; ++k) {
              const int64_t in = k % block, keys_here = k < block ? block : padded;
              const Bf16* panel = values.data() + k / block * block * value_panels * panel_width + v / panel_width * keys_here * panel_width;
              const double x = widened(panel[in_panel(in, v % panel_width, keys_here)]);
              want += weight[static_cast<std::size_t>(k)] * x, size += weight[static_cast<std::size_t>(k)] * std::fabs(x);
            }
            const double got = static_cast<double>(out[static_cast<std::size_t>(i * value_panels * panel_width + v)]) /
                               static_cast<double>(state[static_cast<std::size_t>(i)].sum);
            ASSERT_NEAR(got, want / total, (0x1p-9 + 1e-4) * size / total);
          }
        }
      }
    }
}

}  // namespace
}  // namespace reel::test
