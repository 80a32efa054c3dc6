#pragma once
// Inside src/io only: what results_*.cpp need of the record.
#include "core/digest.hpp"
#include "io/results.hpp"

namespace reel::io {

/// Feeds path, type, shape, units and values of one dataset.
void hash_dataset(Sha256& hash, const Dataset& dataset);
/// A 1-D dataset named after its dimension.
bool is_coordinate(const Dataset& dataset);
/// "/result/time" -> "/result"
std::string group_of(const std::string& path);
/// Checks the whole record (Exit::bug) and makes an index for every dimension without coordinate, in byte order.
std::vector<Dataset> missing_coordinates(const Record& record);

}  // namespace reel::io
