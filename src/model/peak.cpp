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
  constexpr double work = 4e8;  // some milliseconds
  const auto repeats = static_cast<std::int64_t>(work / flops);
  double best = 0;
  for (int attempt = 0; attempt < 10; ++attempt) {
    const auto begin = std::chrono::steady_clock::now();
    for (std::int64_t i = 0; i < repeats; ++i) body();
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    best = std::max(best, flops * static_cast<double>(repeats) / seconds);
  }
  return best;
}

// 6 rows x 64 columns of sums stay in registers while they pass over a panel: a short one that stays in L1, a long one for which
// begin and end count for nothing. What comes closer to the limit of this CPU is taken.
double peak_f32(std::int64_t depth) {
  constexpr std::int64_t rows = 6, columns = kernels::panel_width;
  FloatBuffer a(static_cast<std::size_t>(rows * depth), 0.5f), panel(static_cast<std::size_t>(depth * columns), 0.25f), c(rows * columns);
  return best_rate(2.0 * static_cast<double>(rows * depth * columns), [&] {
    kernels::table().multiply_panel(a.data(), depth, rows, depth, panel.data(), columns, c.data(), columns, false, {});
  });
}

// The same with pairs for numbers; with tiles two rows and two columns of them.
double peak_bf16(Numerics numerics, std::int64_t depth) {
  constexpr kernels::Bf16 half = 0x3f00;
  const bool tiles = numerics == Numerics::bf16_amx;
  const std::int64_t rows = tiles ? 32 : 6, width = kernels::panel_width, columns = tiles ? 32 : width;
  HalfBuffer a(static_cast<std::size_t>(rows * depth), half), panel(static_cast<std::size_t>(depth * width), half);
  FloatBuffer c(static_cast<std::size_t>(rows * width));
  const kernels::MultiplyBf16 product = multiply_bf16(numerics);
  return best_rate(2.0 * static_cast<double>(rows * depth * columns), [&] {
    product(a.data(), depth, kernels::bf16_step, rows, depth, panel.data(), depth * kernels::group_width, columns, c.data(), width, false, {});
  });
}

}  // namespace

double measured_peak_flops(Numerics numerics) {
  const double f32 = std::max(peak_f32(96), peak_f32(1024));
  return numerics == Numerics::f32 ? f32 : std::max({f32, peak_bf16(numerics, 256), peak_bf16(numerics, 2048)});
}

}  // namespace reel::model
