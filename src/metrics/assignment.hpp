#pragma once
// Who belongs to whom, at least cost.
#include <cstddef>
#include <span>
#include <vector>

namespace reel::metrics {

/// Pairs rows with columns of `cost` [rows, columns], row-major, so that the sum is least: for every row its column.
/// Hungarian method by shortest augmenting paths, O(rows^2 columns); of equal solutions always the same one. Throws
/// Error (bug) for more rows than columns; costs must be finite.
std::vector<int> assign(std::span<const double> cost, std::size_t rows, std::size_t columns);

}  // namespace reel::metrics
