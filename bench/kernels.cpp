// Kernels at the shapes of Wan: GFLOP/s, share of the peak measured in the same run. Every benchmark first checks that
// its output has the bits of the scalar reference; a wrong kernel prints no number. Names: kernel/profile/shape.
#include <benchmark/benchmark.h>

#include <cstring>

#include "core/parallel.hpp"
#include "model/noise.hpp"
#include "model/ops.hpp"
#include "model/peak.hpp"

namespace reel::model {
namespace {

using std::int64_t;

FloatBuffer random_floats(int64_t n, const char* stream) {
  FloatBuffer x(static_cast<std::size_t>(n));
  philox_uniform(1, stream, 0, n, x.data());
  for (float& v : x) v -= 0.5f;
  return x;
}

void report(benchmark::State& state, double flops, Numerics numerics, int64_t threads) {
  state.counters["GFLOP/s"] = benchmark::Counter(flops * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
  static double peaks[3] = {};
  double& peak = peaks[static_cast<int>(numerics)];
  if (peak == 0) peak = measured_peak_flops(numerics);
  state.counters["of_peak"] = benchmark::Counter(flops / peak / static_cast<double>(threads), benchmark::Counter::kIsIterationInvariantRate);
}

// Runs `body` with the scalar table and with the best one; false if any bit differs.
template <class Body>
bool same_bits(const FloatBuffer& out, Body body) {
  const kernels::Table* best = kernels::choose({});
  kernels::use(*kernels::choose("scalar"));
  body();
  const FloatBuffer want = out;
  kernels::use(*best);
  body();
  return std::memcmp(want.data(), out.data(), out.size() * sizeof(float)) == 0;
}

// Weights [N, K] as a model has them.
struct PackedWeights {
  Linear linear;
  FloatBuffer f32;
  HalfBuffer bf16;

  PackedWeights(Numerics numerics, int64_t n, int64_t k) : linear{k, n, nullptr, nullptr, numerics, nullptr} {
    const FloatBuffer w = random_floats(n * k, "w");
    const bool half = numerics != Numerics::f32;
    const int64_t depth = half ? kernels::padded_depth(k) : k;
    f32.resize(static_cast<std::size_t>(half ? 0 : kernels::packed_size(n, k)));
    bf16.resize(static_cast<std::size_t>(half ? kernels::packed_size(n, depth) : 0));
    for (int64_t first = 0; first < n; first += kernels::panel_width) {
      const int64_t count = std::min(kernels::panel_width, n - first);
      if (half)
        kernels::pack_panel(w.data() + first * k, count, k, k, bf16.data() + first * depth);
      else
        kernels::pack_panel(w.data() + first * k, count, k, k, f32.data() + first * depth);
    }
    linear.packed = f32.data();
    linear.packed_bf16 = bf16.data();
  }
};

// y[M, N] = x[M, K] W[N, K]^T, weights packed.
void matrix_product(benchmark::State& state, Numerics numerics) {
  const int64_t m = state.range(0), k = state.range(1), n = state.range(2), threads = state.range(3);
  set_num_threads(static_cast<int>(threads));
  const FloatBuffer x = random_floats(m * k, "x");
  FloatBuffer y(static_cast<std::size_t>(m * n)), part(static_cast<std::size_t>(12 * n));
  const PackedWeights weights(numerics, n, k);
  if (!same_bits(part, [&] { multiply(weights.linear, x.data(), 12, part.data()); })) {
    state.SkipWithError("bits differ from the scalar reference");
    return;
  }
  for (auto _ : state) multiply(weights.linear, x.data(), m, y.data());
  report(state, 2.0 * static_cast<double>(m) * static_cast<double>(k) * static_cast<double>(n), numerics, threads);
}

void wan_shapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"M", "K", "N", "threads"})->UseRealTime()->Unit(benchmark::kMillisecond);
  for (const auto& [k, n] : {std::pair{1536, 1536}, {1536, 8960}, {8960, 1536}, {5120, 5120}, {5120, 13824}})
    for (const int threads : {1, 2}) b->Args({1560, k, n, threads});
  for (const int threads : {1, 2}) b->Args({8190, 1536, 1536, threads});
  b->Args({32760, 1536, 1536, 2});
}
BENCHMARK_CAPTURE(matrix_product, f32, Numerics::f32)->Apply(wan_shapes);
BENCHMARK_CAPTURE(matrix_product, bf16, Numerics::bf16)->Apply(wan_shapes);
BENCHMARK_CAPTURE(matrix_product, bf16_amx, Numerics::bf16_amx)->Apply(wan_shapes);

// One head of attention, 128 wide: `tokens` queries against `keys` keys, packing included.
void attention(benchmark::State& state, Numerics numerics) {
  const int64_t tokens = state.range(0), keys = state.range(1), d = 128;
  set_num_threads(1);
  const FloatBuffer q = random_floats(tokens * d, "q"), k = random_floats(keys * d, "k"), v = random_floats(keys * d, "v");
  FloatBuffer out(static_cast<std::size_t>(tokens * d)), part(static_cast<std::size_t>(12 * d));
  PackedHead head;
  const auto pack = [&] { head.pack(numerics, k.data(), d, v.data(), d, keys, d, d); };
  pack();
  if (!same_bits(part, [&] { attend(head, q.data(), d, 12, d, d, 0.0883883476f, nullptr, 0, part.data(), d); })) {
    state.SkipWithError("bits differ from the scalar reference");
    return;
  }
  for (auto _ : state) {
    pack();
    for (int64_t i = 0; i < tokens; i += attention_chunk)
      attend(head, q.data() + i * d, d, std::min(attention_chunk, tokens - i), d, d, 0.0883883476f, nullptr, 0,
             out.data() + i * d, d);
  }
  report(state, 4.0 * static_cast<double>(tokens) * static_cast<double>(keys) * static_cast<double>(d), numerics, 1);
}
void attention_shapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"tokens", "keys"})->UseRealTime()->Unit(benchmark::kMillisecond);
  b->Args({1560, 1560})->Args({8190, 8190})->Args({1560, 512});
}
BENCHMARK_CAPTURE(attention, f32, Numerics::f32)->Apply(attention_shapes);
BENCHMARK_CAPTURE(attention, bf16, Numerics::bf16)->Apply(attention_shapes);
BENCHMARK_CAPTURE(attention, bf16_amx, Numerics::bf16_amx)->Apply(attention_shapes);

}  // namespace
}  // namespace reel::model

BENCHMARK_MAIN();
