#pragma once
// What the kernel benchmarks share: inputs, the check of bits, and the peak beside which a time is told. Names are those of
// peers/peer.hpp, so that run.py can put two programs side by side.
#include <chrono>
#include <cstring>
#include <map>

#include "core/parallel.hpp"
#include "model/noise.hpp"
#include "model/ops.hpp"
#include "model/peak.hpp"
#include "peers/peer.hpp"

namespace reel::bench {

using model::Numerics;
using std::int64_t;

/// What the profiles are called in names of benchmarks.
inline constexpr std::pair<const char*, Numerics> profiles[] = {{"f32", Numerics::f32}, {"bf16", Numerics::bf16}, {"bf16_amx", Numerics::bf16_amx}};

/// Uniform in [-0.5, 0.5), a function of the name.
inline FloatBuffer random_floats(int64_t n, const char* name) {
  FloatBuffer x(static_cast<std::size_t>(n));
  model::philox_uniform(1, name, 0, n, x.data());
  for (float& v : x) v -= 0.5f;
  return x;
}

/// Checks once for each name, because a benchmark runs several times. An error after the clock stopped takes its number away.
template <class Check>
bool checked(const std::string& name, Check check) {
  static std::map<std::string, bool> done;
  const auto at = done.find(name);
  return at != done.end() ? at->second : (done[name] = check());
}

/// What `body` computes with the scalar table.
template <class Body>
auto by_scalar(Body body) {
  const kernels::Table* best = kernels::choose({});
  kernels::use(*kernels::choose("scalar"));
  auto out = body();
  kernels::use(*best);
  return out;
}

inline bool same_bits(const float* a, const float* b, int64_t n) { return std::memcmp(a, b, static_cast<std::size_t>(n) * sizeof(float)) == 0; }

/// Times `body` between two looks at the peak of one thread, after a first time that touches its memory (peers do the same).
template <class Body>
void time_flops(benchmark::State& state, double flops, Numerics numerics, int threads, Body body) {
  body();
  const double before = model::measured_peak_flops(numerics);
  for (auto _ : state) body();
  const double peak = std::max(before, model::measured_peak_flops(numerics)) * threads;
  peers::set_rate(state, flops);
  state.counters["of_peak"] = benchmark::Counter(flops / peak, benchmark::Counter::kIsIterationInvariantRate);
}

void add_products();
void add_attention();
void add_convolutions();
void add_rows();

}  // namespace reel::bench
