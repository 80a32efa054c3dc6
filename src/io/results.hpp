#pragma once
// The HDF5 result file: built in memory as values, written once, never edited.
//
//   /            attributes: Conventions, reel_schema, result_digest, and what the caller gives (title, task_id, ...)
//   /result      bit-reproducible and hashed       /measured    times, energy: vary from run to run
//   /provenance  where it came from                /log         events
//
// Every dataset has `units` (UDUNITS text) and `long_name`; every axis has a dimension scale. Readable by HDF5 1.8,
// h5py, h5dump, and as netCDF-4 (h5netcdf, xarray). gzip + shuffle + Fletcher-32; no object times, so equal records
// give equal files.
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "core/tensor.hpp"

namespace reel::io {

/// Row-major values of one dataset: u1, i4, i8, f4, f8 or UTF-8 strings.
using Data = std::variant<std::vector<std::uint8_t>, std::vector<std::int32_t>, std::vector<std::int64_t>,
                          std::vector<float>, std::vector<double>, std::vector<std::string>>;
using Attribute = std::variant<std::string, std::int64_t, double>;
using Attributes = std::map<std::string, Attribute>;

/// One dataset. A 1-D dataset whose last path part is its only dimension is the coordinate of that dimension; a
/// dimension without coordinate gets an index 0, 1, 2, ... when the record is written.
struct Dataset {
  std::string path;  ///< "/result/pixels": parts of [A-Za-z0-9_]
  std::string unit;  ///< UDUNITS text, "1" for numbers without unit; may be "" for strings only
  std::string long_name;
  Shape shape;                    ///< empty for a scalar
  std::vector<std::string> dims;  ///< one name per axis, known within the group
  Data data;
  Attributes attributes;  ///< others, for example `better`, `n`, `uncertainty`, `method`
};

struct Record {
  std::map<std::string, Attributes> groups;  ///< attributes of "/", "/measured", ...
  std::vector<Dataset> datasets;

  const Dataset* find(std::string_view path) const noexcept;
  /// The dataset at `path`; throws Error (Exit::input) when it is not there.
  const Dataset& at(std::string_view path) const;
  /// Its values; throws Error (Exit::input) when they have another type.
  template <class T>
  const std::vector<T>& values(std::string_view path) const {
    if (const auto* found = std::get_if<std::vector<T>>(&at(path).data)) return *found;
    throw Error(Exit::input, fmt::format("dataset '{}' has another type", path));
  }
  /// Text attribute of a group, or "".
  std::string text(const std::string& group, const std::string& name) const;
};

/// "u1", "i4", "i8", "f4", "f8" or "str".
std::string type_name(const Data& data);

/// SHA-256 (hex) over /result: for each dataset in byte order of the paths its path, type, shape, units and
/// little-endian values. Independent of chunks, filters, layout, library versions and dates. Index coordinates are
/// included.
std::string result_digest(const Record& record);

/// Writes `record` to `path`: temporary file in the same folder, fsync, reopened and its digest compared, rename, fsync
/// of the folder. Sets Conventions, reel_schema and result_digest. Returns the result digest. Throws Error: Exit::write
/// with needed and free bytes when a write fails (no trace is left), Exit::bug for a bad record.
std::string write_record(const std::filesystem::path& path, Record record);

/// Reads a whole file, without locks. Throws Error (Exit::input) when it cannot be read or is damaged.
Record read_record(const std::filesystem::path& path);
/// The same with the values of `groups` only ("/provenance"): elsewhere `data` is empty but tells the type.
Record read_groups(const std::filesystem::path& path, const std::vector<std::string>& groups);

/// What `verify` found.
struct Verification {
  std::string recorded;              ///< result_digest in the file
  std::string computed;              ///< of the values in the file; "" when some cannot be read
  std::vector<std::string> damaged;  ///< what fails its checksum: datasets, or "the file as a whole" (broken seal)
  bool good() const noexcept { return damaged.empty() && recorded == computed; }
};

/// Rereads every dataset and rehashes /result. Throws Error (Exit::input) when the file cannot be opened as a result
/// file.
Verification verify(const std::filesystem::path& path);

}  // namespace reel::io
