// The numerical engine of the cost model: drawn inputs per second, milliseconds per analysis. Every benchmark first
// checks that its output has the bits of one thread; a wrong one prints no number.
#include <benchmark/benchmark.h>

#include <algorithm>

#include "core/parallel.hpp"
#include "cost/sensitivity.hpp"

namespace reel::cost {
namespace {

using std::int64_t;

// As many inputs as a comparison of two alternatives has: rates with a tier, hours, prices, shares.
std::vector<Input> sixty_inputs() {
  using Shape = Spread::Shape;
  std::vector<Input> inputs;
  for (int j = 0; j < 60; ++j) {
    const Spread spread =
        j % 4 == 3 ? Spread{0.05, 0.1, 0.3, Shape::beta} : Spread{100.0 + j, 150.0 + j, 400, static_cast<Shape>(j % 4)};
    inputs.push_back({"input " + std::to_string(j), Quantile::of(spread), j % 3 == 0 ? 0.6 : 0.0});
  }
  return inputs;
}

// A sum of products, two outputs: cheaper than any budget.
void products(std::size_t n, std::span<const double> x, std::span<double> y) {
  std::ranges::fill(y, 0.0);
  for (std::size_t j = 0; j + 1 < x.size() / n; j += 2)
    for (std::size_t i = 0; i < n; ++i) {
      y[i] += x[j * n + i] * x[(j + 1) * n + i];
      y[n + i] += x[j * n + i];
    }
}

void draw_60_inputs(benchmark::State& state) {
  const int64_t num = state.range(0);
  const std::vector<Input> inputs = sixty_inputs();
  set_num_threads(1);
  const Draws want = draw(inputs, products, 2, 20000, 1);
  set_num_threads(static_cast<int>(state.range(1)));
  if (draw(inputs, products, 2, 20000, 1).values != want.values) {
    state.SkipWithError("bits differ from one thread's");
    return;
  }
  for (auto _ : state) benchmark::DoNotOptimize(draw(inputs, products, 2, num, 1));
  state.counters["inputs/s"] =
      benchmark::Counter(static_cast<double>(num) * 60, benchmark::Counter::kIsIterationInvariantRate);
}
BENCHMARK(draw_60_inputs)
    ->ArgNames({"draws", "threads"})
    ->Args({100000, 1})
    ->Args({1000000, 1})
    ->Args({1000000, 2})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

void sobol_60_inputs(benchmark::State& state) {
  const int base = static_cast<int>(state.range(0));
  const std::vector<Input> inputs = sixty_inputs();
  const auto totals = [&](int log2_base) {
    std::vector<double> out;
    for (const SobolIndex& index : sobol(inputs, products, 2, 0, log2_base, 1)) out.push_back(index.total);
    return out;
  };
  set_num_threads(1);
  const std::vector<double> want = totals(10);
  set_num_threads(static_cast<int>(state.range(1)));
  if (totals(10) != want) {
    state.SkipWithError("bits differ from one thread's");
    return;
  }
  for (auto _ : state) benchmark::DoNotOptimize(sobol(inputs, products, 2, 0, base, 1));
}
BENCHMARK(sobol_60_inputs)
    ->ArgNames({"log2_base", "threads"})
    ->Args({13, 1})
    ->Args({13, 2})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

void summary_of_draws(benchmark::State& state) {
  std::vector<double> values(static_cast<std::size_t>(state.range(0)));
  normals(1, "summary", 0, values);
  for (auto _ : state) benchmark::DoNotOptimize(summarise(values));
}
BENCHMARK(summary_of_draws)->ArgName("draws")->Arg(1000000)->Unit(benchmark::kMillisecond);

void pert_table(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(Quantile::of({1, 2, 6}));
}
BENCHMARK(pert_table)->Unit(benchmark::kMillisecond);

void labels(benchmark::State& state) {
  set_num_threads(1);
  const auto cost = [](double p) { return 20 / std::max(p, 0.01); };
  for (auto _ : state) benchmark::DoNotOptimize(value_of_labels(1.5, 15, cost, 300, state.range(0)));
}
BENCHMARK(labels)->ArgName("n")->Arg(10)->Arg(1000)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace reel::cost
