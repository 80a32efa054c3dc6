#include "model/peak.hpp"

#include <algorithm>
#include <chrono>

#include "core/tensor.hpp"
#include "kernels/kernels.hpp"
#include "model/ops.hpp"

namespace reel::model {
namespace {

template <class Body>
double best_rate(double flops, Body body) {
  constexpr int repeats = 500;
  double best = 0;
  for (int attempt = 0; attempt < 10; ++attempt) {
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < repeats; ++i) body();
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    best = std::max(best, flops * repeats / seconds);
  }
  return best;
}

// 6 rows x 64 columns of sums stay in registers; 96 x 64 weights (24 KiB) and the rows stay in L1.
double peak_f32() {
  constexpr std::int64_t rows = 6, depth = 96, columns = kernels::panel_width;
  FloatBuffer a(rows * depth, 0.5f), panel(depth * columns, 0.25f), c(rows * columns);
  return best_rate(2.0 * rows * depth * columns, [&] {
    kernels::table().multiply_panel(a.data(), depth, rows, depth, panel.data(), columns, c.data(), columns, false, {});
  });
}

// 32 columns: a whole step of tiles; half of a panel of 256 x 64 (16 KiB) and 32 rows (16 KiB) stay in L1.
double peak_bf16(Numerics numerics) {
  constexpr std::int64_t rows = 32, depth = 256, columns = 32, width = kernels::panel_width;
  constexpr kernels::Bf16 half = 0x3f00;
  HalfBuffer a(rows * depth, half), panel(depth * width, half);
  FloatBuffer c(rows * width);
  const kernels::MultiplyBf16 product = multiply_bf16(numerics);
  return best_rate(2.0 * rows * depth * columns,
                   [&] { product(a.data(), depth, kernels::bf16_step, rows, depth, panel.data(), depth * kernels::group_width, columns, c.data(), width, false); });
}

}  // namespace

double measured_peak_flops(Numerics numerics) {
  const double f32 = peak_f32();
  return numerics == Numerics::f32 ? f32 : std::max(f32, peak_bf16(numerics));
}

}  // namespace reel::model
