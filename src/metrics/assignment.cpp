#include "metrics/assignment.hpp"

#include <cstdint>
#include <limits>

#include "core/error.hpp"

namespace reel::metrics {

std::vector<int> assign(std::span<const double> cost, std::size_t rows, std::size_t columns) {
  REEL_CHECK(rows <= columns && cost.size() == rows * columns, "{} x {}, {} costs", rows, columns, cost.size());
  // Prices keep every reduced cost at or above 0, and at 0 on the pairs made so far. Column `columns` stands for the
  // row that is looking for a partner.
  constexpr double far = std::numeric_limits<double>::infinity();
  std::vector<double> row_price(rows, 0.0), column_price(columns + 1, 0.0), least(columns + 1);
  std::vector<int> partner(columns + 1, -1);
  std::vector<std::size_t> came_from(columns + 1);
  std::vector<std::uint8_t> reached(columns + 1);
  for (std::size_t row = 0; row < rows; ++row) {
    std::size_t column = columns;
    partner[column] = static_cast<int>(row);
    least.assign(columns + 1, far);
    reached.assign(columns + 1, 0);
    do {
      reached[column] = 1;
      const auto r = static_cast<std::size_t>(partner[column]);
      double step = far;
      std::size_t nearest = columns;
      for (std::size_t c = 0; c < columns; ++c) {
        if (reached[c]) continue;
        const double reduced = cost[r * columns + c] - row_price[r] - column_price[c];
        if (reduced < least[c]) least[c] = reduced, came_from[c] = column;
        if (least[c] < step) step = least[c], nearest = c;
      }
      REEL_CHECK(nearest != columns, "costs must be finite");
      for (std::size_t c = 0; c <= columns; ++c) {
        if (reached[c])
          row_price[static_cast<std::size_t>(partner[c])] += step, column_price[c] -= step;
        else
          least[c] -= step;
      }
      column = nearest;
    } while (partner[column] >= 0);
    for (; column != columns; column = came_from[column]) partner[column] = partner[came_from[column]];
  }
  std::vector<int> out(rows, -1);
  for (std::size_t c = 0; c < columns; ++c)
    if (partner[c] >= 0) out[static_cast<std::size_t>(partner[c])] = static_cast<int>(c);
  return out;
}

}  // namespace reel::metrics
