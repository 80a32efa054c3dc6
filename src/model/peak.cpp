#include "model/peak.hpp"

#include <algorithm>
#include <chrono>

#include "core/tensor.hpp"
#include "kernels/kernels.hpp"

namespace reel::model {

double measured_peak_flops() {
  // 6 rows x 64 columns of sums stay in registers; 64 x 64 weights (16 KiB) and the rows stay in L1.
  constexpr std::int64_t rows = 6, depth = 64, repeats = 1000;
  FloatBuffer a(rows * depth, 0.5f), panel(depth * kernels::panel_width, 0.25f), c(rows * kernels::panel_width);
  const kernels::Table& kernel = kernels::table();
  double best = 0;
  for (int attempt = 0; attempt < 10; ++attempt) {
    const auto begin = std::chrono::steady_clock::now();
    for (std::int64_t i = 0; i < repeats; ++i)
      kernel.multiply_panel(a.data(), depth, rows, depth, panel.data(), kernels::panel_width, c.data(), kernels::panel_width, false);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    best = std::max(best, 2.0 * rows * depth * kernels::panel_width * repeats / seconds);
  }
  return best;
}

}  // namespace reel::model
