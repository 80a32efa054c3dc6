// Kernels at the shapes of Wan: GFLOP/s, share of the peak measured in the same run. Every benchmark first checks that
// its output has the bits of the scalar reference; a wrong kernel prints no number.
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

void report(benchmark::State& state, double flops) {
  state.counters["GFLOP/s"] = benchmark::Counter(flops * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
  static const double peak = measured_peak_flops();
  state.counters["of_peak"] = benchmark::Counter(flops / peak, benchmark::Counter::kIsIterationInvariantRate);
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

// y[M, N] = x[M, K] W[N, K]^T, weights packed.
void matrix_product(benchmark::State& state) {
  const int64_t m = state.range(0), k = state.range(1), n = state.range(2);
  set_num_threads(static_cast<int>(state.range(3)));
  const FloatBuffer x = random_floats(m * k, "x"), w = random_floats(n * k, "w");
  FloatBuffer packed(static_cast<std::size_t>(kernels::packed_size(n, k))), y(static_cast<std::size_t>(m * n));
  for (int64_t p = 0; p * kernels::panel_width < n; ++p)
    kernels::pack_panel(w.data() + p * kernels::panel_width * k, std::min(kernels::panel_width, n - p * kernels::panel_width),
                        k, k, packed.data() + p * kernels::panel_width * k);
  const Linear linear{k, n, packed.data(), nullptr};
  FloatBuffer part(static_cast<std::size_t>(12 * n));
  if (!same_bits(part, [&] { multiply(linear, x.data(), 12, part.data()); })) {
    state.SkipWithError("bits differ from the scalar reference");
    return;
  }
  for (auto _ : state) multiply(linear, x.data(), m, y.data());
  report(state, 2.0 * static_cast<double>(m) * static_cast<double>(k) * static_cast<double>(n));
}
BENCHMARK(matrix_product)
    ->ArgNames({"M", "K", "N", "threads"})
    ->Args({1560, 1536, 1536, 1})
    ->Args({1560, 1536, 1536, 2})
    ->Args({1560, 1536, 8960, 1})
    ->Args({1560, 8960, 1536, 1})
    ->Args({1560, 5120, 5120, 1})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

// One head of self-attention, 128 wide: queries against all keys.
void attention(benchmark::State& state) {
  const int64_t tokens = state.range(0), d = 128;
  set_num_threads(1);
  const FloatBuffer q = random_floats(tokens * d, "q"), k = random_floats(tokens * d, "k"), v = random_floats(tokens * d, "v");
  FloatBuffer out(static_cast<std::size_t>(tokens * d));
  PackedHead head;
  head.pack(Numerics::f32, k.data(), d, v.data(), d, tokens, d, d);
  FloatBuffer part(static_cast<std::size_t>(12 * d));
  if (!same_bits(part, [&] { attend(head, q.data(), d, 12, d, d, 0.0883883476f, nullptr, 0, part.data(), d); })) {
    state.SkipWithError("bits differ from the scalar reference");
    return;
  }
  for (auto _ : state) {
    head.pack(Numerics::f32, k.data(), d, v.data(), d, tokens, d, d);
    for (int64_t i = 0; i < tokens; i += attention_chunk)
      attend(head, q.data() + i * d, d, std::min(attention_chunk, tokens - i), d, d, 0.0883883476f, nullptr, 0,
             out.data() + i * d, d);
  }
  report(state, 4.0 * static_cast<double>(tokens) * static_cast<double>(tokens) * static_cast<double>(d));
}
BENCHMARK(attention)->ArgName("tokens")->Arg(1560)->Arg(8190)->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace reel::model

BENCHMARK_MAIN();
