// attention_block, called block by block as the model does.
#include <algorithm>

#include "tests/kernels/support.hpp"

namespace reel::test {
namespace {

using kernels::key_block;
using kernels::panel_width;
using kernels::SoftmaxState;

struct Block {
  Floats keys, values;
  int64_t first, num_keys;
};

/// A whole attention problem and its packed blocks. `pad_key` and `pad_value` fill what lies beyond the last key.
struct Problem {
  int64_t rows, keys, d, d_v, value_panels;
  Floats q, k, v, bias;
  std::vector<Block> blocks;

  Problem(std::uint64_t seed, int64_t rows, int64_t keys, int64_t d, int64_t d_v, float query_scale = 1,
          bool with_bias = false)
      : rows(rows), keys(keys), d(d), d_v(d_v), value_panels((d_v + panel_width - 1) / panel_width) {
    Draws draws(seed);
    q = draws.uniforms(rows * d, query_scale);
    k = draws.uniforms(keys * d, 2);
    v = draws.uniforms(keys * d_v, 3);
    if (with_bias) bias = draws.uniforms(rows * keys, 4);
    pack(0, 0);
  }

  void pack(float pad_key, float pad_value) {
    blocks.clear();
    for (int64_t first = 0; first < keys; first += key_block) {
      const int64_t n = std::min(key_block, keys - first), padded = (n + panel_width - 1) / panel_width * panel_width;
      Block b{Floats(static_cast<std::size_t>(padded * d), pad_key),
              Floats(static_cast<std::size_t>(padded * value_panels * panel_width), pad_value), first, n};
      for (int64_t i = 0; i < n; ++i) {
        for (int64_t j = 0; j < d; ++j)
          b.keys[static_cast<std::size_t>((i / panel_width * d + j) * panel_width + i % panel_width)] =
              k[static_cast<std::size_t>((first + i) * d + j)];
        for (int64_t j = 0; j < value_panels * panel_width; ++j)
          b.values[static_cast<std::size_t>((j / panel_width * padded + i) * panel_width + j % panel_width)] =
              j < d_v ? v[static_cast<std::size_t>((first + i) * d_v + j)] : 0.0f;
      }
      blocks.push_back(std::move(b));
    }
  }

  /// All rows, `group` of them per call. Returns out [rows, d_v], divided by the sums.
  Floats run(const Table& t, int64_t group) const {
    const int64_t stride = value_panels * panel_width;
    Floats sums(static_cast<std::size_t>(rows * stride), 0.0f), out;
    std::vector<SoftmaxState> state(static_cast<std::size_t>(rows), SoftmaxState{-infinity, 0});
    for (const Block& b : blocks)
      for (int64_t i = 0; i < rows; i += group)
        t.attention_block(q.data() + i * d, d, std::min(group, rows - i), d, b.keys.data(), b.values.data(),
                          value_panels, b.num_keys, bias.empty() ? nullptr : bias.data() + i * keys + b.first, keys,
                          state.data() + i, sums.data() + i * stride, stride);
    out.resize(static_cast<std::size_t>(rows * d_v));
    for (int64_t i = 0; i < rows; ++i)
      t.divide(sums.data() + i * stride, d_v, state[static_cast<std::size_t>(i)].sum, false, out.data() + i * d_v);
    return out;
  }
};

// Score: |ds| <= gamma(d) sum|q||k| + unit |s + bias|. A weight relative to the final maximum M is a product of at most
// 1 + F exps (its own, and the fade of each of the F later blocks), whose arguments are differences of rounded scores:
// each is rounded once, and they add up to s - M, so the roundings are at most unit |s - M| together. The rounding of M
// itself cancels, because it is the same in numerator and denominator. So a weight has the relative error
//   A = exp(2 ds + unit |s - M|) (1 + exp_error)^(1 + F) - 1,
// the sum of the weights adds gamma(16 + 4 + F) (lane chain of a block, tree, one fused multiply-add per block), a
// weighted value gamma(N + F) (one chain over all padded keys, one product per fade). A weight below e^-87.3 is
// dropped.
double check(const Problem& p, const Floats& got) {
  double worst = 0;
  const auto blocks = static_cast<double>(p.blocks.size());
  for (int64_t i = 0; i < p.rows; ++i) {
    std::vector<double> score(static_cast<std::size_t>(p.keys)), error(score.size());
    for (int64_t j = 0; j < p.keys; ++j) {
      double s = 0, sum = 0;
      for (int64_t c = 0; c < p.d; ++c) {
        const double term = static_cast<double>(p.q[static_cast<std::size_t>(i * p.d + c)]) *
                            static_cast<double>(p.k[static_cast<std::size_t>(j * p.d + c)]);
        s += term, sum += std::fabs(term);
      }
      if (!p.bias.empty()) s += static_cast<double>(p.bias[static_cast<std::size_t>(i * p.keys + j)]);
      score[static_cast<std::size_t>(j)] = s;
      error[static_cast<std::size_t>(j)] = gamma(static_cast<double>(p.d)) * sum + unit * std::fabs(s) * 1.001;
    }
    const double top = *std::max_element(score.begin(), score.end());
    const double top_error = *std::max_element(error.begin(), error.end());
    double sum = 0, sum_error = 0;
    std::vector<double> weight(score.size()), value_error(score.size());
    for (std::size_t j = 0; j < score.size(); ++j) {
      weight[j] = std::exp(score[j] - top);
      const double argument = 2 * error[j] + unit * (top - score[j] + 2 * top_error);
      const double a = std::exp(argument) * std::pow(1 + exp_error, 1 + blocks);
      sum += weight[j];
      sum_error += weight[j] * (a * (1 + gamma(20 + blocks)) - 1) + 1.3e-38;
      value_error[j] = weight[j] * (a * (1 + gamma(static_cast<double>(p.keys + panel_width) + blocks)) - 1) + 1.3e-38;
    }
    for (int64_t c = 0; c < p.d_v; ++c) {
      double want = 0, numerator_error = 0;
      for (std::size_t j = 0; j < score.size(); ++j) {
        const double v = p.v[j * static_cast<std::size_t>(p.d_v) + static_cast<std::size_t>(c)];
        want += weight[j] * v;
        numerator_error += value_error[j] * std::fabs(v);
      }
      want /= sum;
      const double e = sum_error / sum;
      const double bound =
          (numerator_error / sum + std::fabs(want) * e) / (1 - e) * (1 + unit) + unit * std::fabs(want) + underflow;
      const double off = std::fabs(got[static_cast<std::size_t>(i * p.d_v + c)] - want);
      worst = std::max(worst, off / bound);
      EXPECT_LE(off, bound) << "row " << i << " column " << c << " of " << p.keys << " keys, d " << p.d << ", d_v "
                            << p.d_v;
    }
  }
  return worst;
}

TEST(AttentionBlock, BlockByBlockStaysWithinTheDerivedBound) {
  double worst = 0;
  for (const Table* t : kernels::available())
    for (const int64_t keys : {1, 5, 64, 100, 256, 257, 700})
      for (const int64_t d : {1, 12, 128})
        for (const bool with_bias : {false, true})
          for (const float scale : {0.2f, 2.0f}) {
            const Problem p(static_cast<std::uint64_t>(keys + d), 7, keys, d, d == 12 ? 70 : d, scale, with_bias);
            worst = std::max(worst, check(p, p.run(*t, 7)));
          }
  std::printf("worst error / bound: %.3f\n", worst);
}

TEST(AttentionBlock, BitsDependOnNeitherIsaNorGroupingOfRows) {
  const auto expect_same = [](const Problem& p, std::initializer_list<int64_t> groups) {
    const Floats want = p.run(scalar(), p.rows);
    for (const Table* t : kernels::available())
      for (const int64_t group : groups)
        ASSERT_TRUE(same_bits(p.run(*t, group), want)) << t->name << ": " << p.keys << " keys, d " << p.d << ", d_v "
                                                       << p.d_v << ", " << group << " rows per call";
  };
  for (int64_t d = 1; d <= 70; ++d) expect_same(Problem(static_cast<std::uint64_t>(d), 13, 75, d, 70, 1, true), {13});
  for (int64_t d_v = 1; d_v <= 130; d_v += 3)
    expect_same(Problem(static_cast<std::uint64_t>(d_v), 13, 75, 5, d_v), {13});
  for (int64_t keys = 1; keys <= 300; ++keys)
    expect_same(Problem(static_cast<std::uint64_t>(keys), 3, keys, 5, 9, 3), {3});
  for (int64_t rows = 1; rows <= 13; ++rows)
    expect_same(Problem(static_cast<std::uint64_t>(rows), rows, 70, 12, 12), {rows, 1});
  expect_same(Problem(1, 13, 600, 20, 20, 2, true), {13, 1, 2, 5, 6, 7});
}

TEST(AttentionBlock, PaddedKeysHaveExactlyNoWeight) {
  for (const int64_t keys : {1, 63, 65, 200, 257, 300}) {
    Problem p(static_cast<std::uint64_t>(keys), 7, keys, 12, 20);
    const Floats want = p.run(scalar(), 7);
    for (const float pad_key : {1e3f, infinity, std::numeric_limits<float>::quiet_NaN()}) {
      p.pack(pad_key, 3e38f);  // any weight above 0 would show
      for (const Table* t : kernels::available()) ASSERT_TRUE(same_bits(p.run(*t, 7), want)) << t->name << " " << keys;
    }
  }
}

TEST(AttentionBlock, HugeScoresDoNotOverflow) {
  for (const float scale : {1e4f, 1e20f, 5e36f}) {
    const Problem p(3, 7, 300, 12, 20, scale);
    const Floats want = p.run(scalar(), 7);
    const float largest = 3.0f;  // of the values: a weighted mean stays below it, but for rounding
    for (const float x : want) ASSERT_LE(std::fabs(x), largest * 1.00001f) << scale;
    for (const Table* t : kernels::available()) ASSERT_TRUE(same_bits(p.run(*t, 7), want)) << t->name << " " << scale;
    if (scale > 1e19f) {  // one key takes all: its value comes out exactly
      for (int64_t i = 0; i < p.rows; ++i) {
        int64_t best = 0;
        double top = -1e300;
        for (int64_t j = 0; j < p.keys; ++j) {
          double s = 0;
          for (int64_t c = 0; c < p.d; ++c)
            s += static_cast<double>(p.q[static_cast<std::size_t>(i * p.d + c)]) *
                 static_cast<double>(p.k[static_cast<std::size_t>(j * p.d + c)]);
          if (s > top) top = s, best = j;
        }
        ASSERT_TRUE(same_bits(want.data() + i * p.d_v, p.v.data() + best * p.d_v, p.d_v)) << "row " << i;
      }
    }
  }
}

// The bias -inf masks a key; a block with nothing but masked keys must leave the state as it was, also at the start.
TEST(AttentionBlock, MaskedKeysAndMaskedBlocksHaveNoWeight) {
  for (const bool first_block : {true, false}) {
    Problem p(4, 7, 512, 12, 20, 1, true), live(4, 7, 512, 12, 20, 1, true);
    const int64_t begin = first_block ? 0 : 256;
    for (int64_t i = 0; i < p.rows; ++i)
      for (int64_t j = begin; j < begin + 256; ++j) p.bias[static_cast<std::size_t>(i * p.keys + j)] = -infinity;
    live.blocks.erase(live.blocks.begin() + (first_block ? 0 : 1));
    for (const Table* t : kernels::available()) {
      const Floats got = p.run(*t, 7);
      EXPECT_TRUE(same_bits(got, live.run(*t, 7))) << t->name;
      EXPECT_TRUE(same_bits(got, p.run(scalar(), 7))) << t->name;
    }
  }
}

// A NaN in a query row spoils that row, and no other.
TEST(AttentionBlock, NanInAQueryComesOutInItsRowOnly) {
  Problem p(5, 7, 300, 12, 20);
  const Floats clean = p.run(scalar(), 7);
  p.q[3 * 12 + 5] = std::numeric_limits<float>::quiet_NaN();
  for (const Table* t : kernels::available()) {
    const Floats got = p.run(*t, 7);
    for (int64_t i = 0; i < p.rows; ++i)
      for (int64_t c = 0; c < p.d_v; ++c) {
        const auto at = static_cast<std::size_t>(i * p.d_v + c);
        if (i == 3)
          ASSERT_TRUE(std::isnan(got[at])) << t->name;
        else
          ASSERT_EQ(got[at], clean[at]) << t->name;
      }
  }
}

// One query 1 and the identity as values: the block returns the bits of exp(key) for keys <= 0, the first key being 0.
TEST(AttentionBlock, ExpOfEveryIsaHasTheSameBits) {
  Floats identity(panel_width * panel_width, 0.0f);
  for (std::size_t i = 0; i < panel_width; ++i) identity[i * panel_width + i] = 1;
  const float one = 1;
  Draws draws(6);
  for (int round = 0; round < 4000; ++round) {
    Floats keys(panel_width, 0.0f);
    for (std::size_t i = 1; i < panel_width; ++i) {
      const float x = -std::fabs(draws.uniform());
      keys[i] = round % 2 ? x * 90 : std::ldexp(x, static_cast<int>(draws.bits() % 140) - 133);
    }
    keys[1] = -infinity, keys[2] = -87.3f, keys[3] = -1e-45f, keys[4] = -3e38f;
    Floats want;
    for (const Table* t : kernels::available()) {
      Floats out(panel_width, 0.0f);
      SoftmaxState state{-infinity, 0};
      t->attention_block(&one, 1, 1, 1, keys.data(), identity.data(), 1, panel_width, nullptr, 0, &state, out.data(),
                         panel_width);
      if (want.empty()) want = out;
      ASSERT_TRUE(same_bits(out, want)) << t->name;
      ASSERT_EQ(out[0], 1.0f);
      ASSERT_EQ(out[1], 0.0f);
      ASSERT_EQ(out[4], 0.0f);
    }
    for (std::size_t i = 5; i < panel_width; ++i) {
      const double e = std::exp(static_cast<double>(keys[i]));
      ASSERT_LE(std::fabs(want[i] - e), keys[i] < -87.3f ? e : exp_error * e) << keys[i];
    }
  }
}

}  // namespace
}  // namespace reel::test
