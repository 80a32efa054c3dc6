#include <memory>

#include "bench.hpp"
#include "model/weights.hpp"

namespace reel::bench {
namespace {

using namespace model;

// Weights [N, K] as a model has them.
struct Weights {
  SharedFloats store;
  Linear linear;
  Weights(Numerics numerics, int64_t n, int64_t k)
      : linear(load_weights(*synthetic_weights(1, "bench"), numerics, Comm::solo(), store, [&](Binder& b) { return b.linear("linear", n, k, false); })) {}
};

// y[M, N] = x[M, K] W[N, K]^T, weights packed. The first and the last rows are compared with the scalar reference.
void product(benchmark::State& state, const std::string& name, Numerics numerics, const peers::Product& p, int threads) {
  set_num_threads(threads);
  static std::unique_ptr<Weights> weights;  // of the benchmark before, often the same
  if (!weights || weights->linear.numerics != numerics || weights->linear.in != p.k || weights->linear.out != p.n) {
    weights.reset();
    weights = std::make_unique<Weights>(numerics, p.n, p.k);
  }
  const Linear& linear = weights->linear;
  const FloatBuffer x = random_floats(p.m * p.k, "x");
  Operand operand;  // in the dtype of the profile, as peers have it
  operand.resize(numerics, p.m, p.k);
  for (int64_t i = 0; i < p.m; ++i) operand.put(i, x.data() + i * p.k, 1.0f);
  FloatBuffer y(static_cast<std::size_t>(p.m * p.n));
  time_flops(state, 2.0 * static_cast<double>(p.m) * static_cast<double>(p.k) * static_cast<double>(p.n), numerics, threads,
             [&] { multiply(linear, operand, p.m, y.data()); });
  const bool right = checked(name, [&] {
    constexpr int64_t few = 8;
    for (const int64_t first : {int64_t{0}, p.m - few}) {
      const FloatBuffer want = by_scalar([&] {
        FloatBuffer rows(static_cast<std::size_t>(few * p.n));
        multiply(linear, x.data() + first * p.k, few, rows.data());
        return rows;
      });
      if (!same_bits(want.data(), y.data() + first * p.n, few * p.n)) return false;
    }
    return true;
  });
  if (!right) state.SkipWithError("bits differ from the scalar reference");
}

}  // namespace

// All layers at 1,560 tokens; of the long films the square ones.
void add_products() {
  for (const auto& [profile, numerics] : profiles)
    for (const auto& [k, n] : peers::layers)
      for (const int64_t m : peers::tokens)
        if (m == peers::tokens[0] || (k == 1536 && n == 1536))
          peers::add("product", profile, {m, k, n},
                     [profile = std::string(profile), numerics = numerics, p = peers::Product{m, k, n}](benchmark::State& state, int threads) {
                       product(state, fmt::format("{} {} {} {} {}", profile, p.m, p.k, p.n, threads), numerics, p, threads);
                     });
}

}  // namespace reel::bench
