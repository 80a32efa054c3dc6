// multiply_panel, finish_panel and pack_panel.
#include "tests/kernels/support.hpp"

namespace reel::test {
namespace {

using kernels::panel_width;
constexpr int64_t max_rows = 13, max_depth = 70;
constexpr float guard = 12345.0f;

struct Problem {
  Floats a, panel, c;
  int64_t rows, depth;
  Problem(std::uint64_t seed, int64_t rows, int64_t depth) : rows(rows), depth(depth) {
    Draws draws(seed);
    a = draws.spreads(rows * depth);
    panel = draws.spreads(depth * panel_width);
    c = draws.spreads(rows * panel_width);
  }
  Floats result(const Table& t, bool accumulate, const kernels::Ahead& ahead = {}) const {
    Floats out = c;
    t.multiply_panel(a.data(), depth, rows, depth, panel.data(), panel_width, out.data(), panel_width, accumulate, ahead);
    return out;
  }
};

// One chain of K fused multiply-adds is K roundings, and the term that enters at step k passes K - k + 1 of them:
// |error| <= gamma(K) (|c| + sum|a||b|). gamma(K) <= K eps with eps = 2 unit, as the header states.
TEST(MultiplyPanel, StaysWithinTheDerivedBound) {
  double worst = 0;
  for (const Table* t : kernels::available())
    for (const int64_t depth : {int64_t{1}, int64_t{2}, int64_t{17}, max_depth, int64_t{511}, int64_t{8960}})
      for (const bool accumulate : {false, true}) {
        const Problem p(static_cast<std::uint64_t>(depth), 7, depth);
        const Floats got = p.result(*t, accumulate);
        for (int64_t i = 0; i < p.rows; ++i)
          for (int64_t j = 0; j < panel_width; ++j) {
            const auto at = static_cast<std::size_t>(i * panel_width + j);
            double want = accumulate ? p.c[at] : 0, sum = std::fabs(want);
            for (int64_t k = 0; k < depth; ++k) {
              const double term = static_cast<double>(p.a[static_cast<std::size_t>(i * depth + k)]) *
                                  static_cast<double>(p.panel[static_cast<std::size_t>(k * panel_width + j)]);
              want += term, sum += std::fabs(term);
            }
            // The double chain itself errs by at most depth 2^-53 sum.
            const double bound = (gamma(static_cast<double>(depth)) + static_cast<double>(depth) * 0x1p-53) * sum;
            const double error = std::fabs(got[at] - want);
            worst = std::max(worst, error / bound);
            ASSERT_LE(error, bound + underflow) << t->name << " depth " << depth << " at " << i << ", " << j;
          }
      }
  std::printf("worst error / bound: %.3f\n", worst);
}

// Every element must equal the scalar element of the largest problem: one test for ISA, rows, columns and tiles.
TEST(MultiplyPanel, BitsDependOnNeitherIsaNorRowsNorColumns) {
  for (int64_t depth = 1; depth <= max_depth; ++depth) {
    const Problem p(static_cast<std::uint64_t>(1000 + depth), max_rows, depth);
    for (const bool accumulate : {false, true}) {
      const Floats want = p.result(scalar(), accumulate);
      Floats start = p.c, got;
      start.resize(static_cast<std::size_t>((max_rows + 1) * panel_width), guard);
      for (const Table* t : kernels::available())
        for (int64_t rows = 1; rows <= max_rows; ++rows)
          for (int64_t columns = 1; columns <= panel_width; ++columns) {
            got = start;
            t->multiply_panel(p.a.data(), depth, rows, depth, p.panel.data(), columns, got.data(), panel_width,
                              accumulate, {});
            const int64_t written = (columns + 15) / 16 * 16;
            for (int64_t i = 0; i <= max_rows; ++i) {
              const float* row = got.data() + i * panel_width;
              const float* untouched = start.data() + i * panel_width;
              const int64_t n = i < rows ? written : 0;
              ASSERT_TRUE(same_bits(row, want.data() + i * panel_width, n))
                  << t->name << " rows " << rows << " columns " << columns << " depth " << depth << " row " << i;
              ASSERT_TRUE(same_bits(row + n, untouched + n, panel_width - n)) << t->name << " wrote beyond its tile";
            }
          }
    }
  }
}

TEST(MultiplyPanel, CuttingTheDepthChangesNoBit) {
  const int64_t depth = 193;
  const Problem p(7, 13, depth);
  for (const Table* t : kernels::available())
    for (const bool accumulate : {false, true}) {
      const Floats whole = p.result(*t, accumulate);
      for (const int64_t piece : {1, 2, 3, 16, 64, 100, 192}) {
        Floats cut = p.c;
        for (int64_t k = 0; k < depth; k += piece)
          t->multiply_panel(p.a.data() + k, depth, p.rows, std::min(piece, depth - k), p.panel.data() + k * panel_width,
                            panel_width, cut.data(), panel_width, accumulate || k > 0, {});
        ASSERT_TRUE(same_bits(whole, cut)) << t->name << " pieces of " << piece;
      }
    }
}

// Of any address, the end of the memory and none at all included.
TEST(MultiplyPanel, WhatIsAskedForAheadChangesNeitherBitsNorMemory) {
  const Problem p(9, 31, 130);
  Floats other(4096, guard);
  for (const Table* t : kernels::available()) {
    const Floats want = p.result(*t, true);
    for (const int64_t size : {0, 1, 130, 4096, 1 << 20})
      for (float* at : {static_cast<float*>(nullptr), other.data(), other.data() + other.size()})
        for (const int64_t stride : {0, 64, 1536}) {
          ASSERT_TRUE(same_bits(want, p.result(*t, true, {.read = at, .part_bytes = size, .written = at, .written_stride = stride}))) << t->name;
          ASSERT_TRUE(std::all_of(other.begin(), other.end(), [](float x) { return x == guard; })) << t->name;
        }
  }
}

// Convolutions slide one row of memory: row i starts at a + i * stride with stride < depth.
TEST(MultiplyPanel, RowsMayOverlap) {
  const int64_t depth = 48, stride = 16, rows = 11;
  Draws draws(8);
  const Floats a = draws.spreads((rows - 1) * stride + depth), panel = draws.spreads(depth * panel_width);
  for (const Table* t : kernels::available()) {
    Floats overlapped(static_cast<std::size_t>(rows * panel_width)), single(overlapped.size());
    t->multiply_panel(a.data(), stride, rows, depth, panel.data(), panel_width, overlapped.data(), panel_width, false, {});
    for (int64_t i = 0; i < rows; ++i) {
      const Floats copy(a.begin() + i * stride, a.begin() + i * stride + depth);
      scalar().multiply_panel(copy.data(), depth, 1, depth, panel.data(), panel_width, single.data() + i * panel_width,
                              panel_width, false, {});
    }
    EXPECT_TRUE(same_bits(overlapped, single)) << t->name;
  }
}

TEST(PackPanel, CopiesTransposedAndFillsWithZeros) {
  Draws draws(9);
  for (const int64_t n : {1, 17, 63, 64, 70})
    for (const int64_t k : {1, 5, 70}) {
      const int64_t stride = k + 3, count = std::min(n, panel_width);
      const Floats w = draws.uniforms(n * stride);
      Floats packed(static_cast<std::size_t>(k * panel_width), guard);
      kernels::pack_panel(w.data(), n, k, stride, packed.data());
      for (int64_t i = 0; i < k; ++i)
        for (int64_t j = 0; j < panel_width; ++j)
          ASSERT_EQ(packed[static_cast<std::size_t>(i * panel_width + j)],
                    j < count ? w[static_cast<std::size_t>(j * stride + i)] : 0.0f);
    }
  EXPECT_EQ(kernels::packed_size(65, 3), 128 * 3);
  EXPECT_EQ(kernels::packed_size(64, 3), 64 * 3);
}

// One rounding for the bias, then the activation: |error| <= slope unit |c + b| + error of the activation there.
TEST(FinishPanel, BiasAndActivation) {
  Draws draws(10);
  const Floats c = draws.spreads(max_rows * panel_width), bias = draws.spreads(panel_width);
  for (const Activation activation : all_activations)
    for (const bool with_bias : {false, true})
      for (int64_t columns = 1; columns <= panel_width; ++columns) {
        const int64_t stride = columns + 2;
        const auto finish = [&](const Table& t, int64_t rows) {
          Floats y(static_cast<std::size_t>((max_rows + 1) * stride), guard);
          t.finish_panel(c.data(), panel_width, rows, columns, with_bias ? bias.data() : nullptr, activation, y.data(),
                         stride);
          return y;
        };
        const Floats want = finish(scalar(), max_rows);
        for (int64_t i = 0; i < max_rows; ++i)
          for (int64_t j = 0; j < stride; ++j) {
            const float got = want[static_cast<std::size_t>(i * stride + j)];
            if (j >= columns) {
              ASSERT_EQ(got, guard) << "written beyond column " << columns;
              continue;
            }
            const double x = static_cast<double>(c[static_cast<std::size_t>(i * panel_width + j)]) +
                             (with_bias ? bias[static_cast<std::size_t>(j)] : 0.0f);
            const double bound = (with_bias ? max_slope * unit * std::fabs(x) : 0) + activation_error(x, activation);
            ASSERT_LE(std::fabs(got - exact_activation(x, activation)), bound * (1 + 1e-6) + underflow) << x;
          }
        for (const Table* t : kernels::available())
          for (int64_t rows = 1; rows <= max_rows; ++rows) {
            const Floats got = finish(*t, rows);
            ASSERT_TRUE(same_bits(got.data(), want.data(), rows * stride)) << t->name << " columns " << columns;
            for (auto at = static_cast<std::size_t>(rows * stride); at < got.size(); ++at) ASSERT_EQ(got[at], guard);
          }
      }
}

}  // namespace
}  // namespace reel::test
