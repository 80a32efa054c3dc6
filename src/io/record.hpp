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

/// The last bytes of a result file, behind everything that HDF5 reads: SHA-256 of all bytes before. HDF5 1.10 may crash
/// on a file with damaged bytes, so the seal is checked before HDF5 sees the file. Other programs that edit a file drop
/// it.
inline std::string seal_text(const std::string& sha256) { return "\nreel-sha256:" + sha256 + "\n"; }

}  // namespace reel::io
