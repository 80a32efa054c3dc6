// The record as values: completion, checks and digest. HDF5 itself is in results_write.cpp and results_read.cpp.
#include "io/record.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <numeric>
#include <set>

#include "core/digest.hpp"

namespace reel::io {
namespace {

constexpr std::array<const char*, 6> type_names{"u1", "i4", "i8", "f4", "f8", "str"};

std::string leaf(const std::string& path) { return path.substr(path.rfind('/') + 1); }

bool is_name(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(),
                                      [](unsigned char c) { return c < 0x80 && (std::isalnum(c) != 0 || c == '_'); });
}

bool is_path(std::string_view path) {
  if (path.empty() || path.front() != '/') return false;
  while (!path.empty()) {
    const auto end = std::min(path.find('/', 1), path.size());
    if (!is_name(path.substr(1, end - 1))) return false;
    path.remove_prefix(end);
  }
  return true;
}

void check_dataset(const Dataset& d) {
  REEL_CHECK(is_path(d.path) && d.path.rfind('/') > 0, "dataset path '{}'", d.path);
  REEL_CHECK(d.dims.size() == d.shape.size(), "{}: {} dimension names for shape {}", d.path, d.dims.size(),
             to_string(d.shape));
  for (std::size_t i = 0; i < d.dims.size(); ++i) {
    REEL_CHECK(is_name(d.dims[i]) && d.shape[i] >= 0, "{}: dimension '{}' of {}", d.path, d.dims[i], d.shape[i]);
  }
  const std::size_t count = std::visit([](const auto& values) { return values.size(); }, d.data);
  REEL_CHECK(count == static_cast<std::size_t>(num_elements(d.shape)), "{}: {} values for shape {}", d.path, count,
             to_string(d.shape));
  const auto* texts = std::get_if<std::vector<std::string>>(&d.data);
  REEL_CHECK(!d.long_name.empty() && (texts != nullptr || !d.unit.empty()), "{}: no long_name or units", d.path);
  if (texts == nullptr) return;
  for (const std::string& text : *texts)
    REEL_CHECK(text.find('\0') == std::string::npos, "{}: NUL in a string", d.path);
}

}  // namespace

const Dataset* Record::find(std::string_view path) const noexcept {
  for (const Dataset& dataset : datasets) {
    if (dataset.path == path) return &dataset;
  }
  return nullptr;
}

const Dataset& Record::at(std::string_view path) const {
  if (const Dataset* dataset = find(path)) return *dataset;
  throw Error(Exit::input, fmt::format("dataset '{}' is missing", path));
}

std::string Record::text(const std::string& group, const std::string& name) const {
  const auto found = groups.find(group);
  if (found == groups.end() || !found->second.contains(name)) return {};
  const auto* value = std::get_if<std::string>(&found->second.at(name));
  return value != nullptr ? *value : std::string();
}

std::string type_name(const Data& data) { return type_names[data.index()]; }

bool is_coordinate(const Dataset& dataset) { return dataset.dims.size() == 1 && leaf(dataset.path) == dataset.dims[0]; }

std::string group_of(const std::string& path) { return path.substr(0, path.rfind('/')); }

std::vector<Dataset> missing_coordinates(const Record& record) {
  std::map<std::string, std::int64_t> extents;  // path of the coordinate -> extent
  std::set<std::string> paths, present;
  for (const Dataset& dataset : record.datasets) {
    check_dataset(dataset);
    REEL_CHECK(paths.insert(dataset.path).second, "dataset '{}' is there twice", dataset.path);
    if (is_coordinate(dataset)) present.insert(dataset.path);
    for (std::size_t i = 0; i < dataset.dims.size(); ++i) {
      const std::string coordinate = group_of(dataset.path) + "/" + dataset.dims[i];
      const auto [at, is_new] = extents.emplace(coordinate, dataset.shape[i]);
      REEL_CHECK(at->second == dataset.shape[i], "{}: dimension '{}' is {} here and {} elsewhere", dataset.path,
                 dataset.dims[i], dataset.shape[i], at->second);
    }
  }
  std::vector<Dataset> missing;
  for (const auto& [path, extent] : extents) {
    if (present.contains(path)) continue;
    REEL_CHECK(!paths.contains(path), "'{}' is a dimension and a dataset of another shape", path);
    std::vector<std::int32_t> index(static_cast<std::size_t>(extent));
    std::iota(index.begin(), index.end(), 0);
    missing.push_back({path, "1", "index along " + leaf(path), {extent}, {leaf(path)}, std::move(index), {}});
  }
  return missing;
}

void hash_dataset(Sha256& hash, const Dataset& dataset) {
  // Lengths in front of free text: no two records give the same stream.
  hash.update(fmt::format("{} {} {} {} {}\n", dataset.path, type_name(dataset.data), to_string(dataset.shape),
                          dataset.unit.size(), dataset.unit));
  std::visit(
      [&](const auto& values) {
        using Value = typename std::decay_t<decltype(values)>::value_type;
        if constexpr (std::is_same_v<Value, std::string>) {
          for (const std::string& text : values) hash.update(fmt::format("{} {}\n", text.size(), text));
        } else {
          hash.update(values.data(), values.size() * sizeof(Value));
        }
      },
      dataset.data);
}

std::string result_digest(const Record& record) {
  const std::vector<Dataset> extra = missing_coordinates(record);
  std::map<std::string, const Dataset*> in_order;
  for (const auto* list : {&record.datasets, &extra}) {
    for (const Dataset& dataset : *list) {
      if (dataset.path.starts_with("/result/")) in_order[dataset.path] = &dataset;
    }
  }
  Sha256 hash;
  for (const auto& [path, dataset] : in_order) hash_dataset(hash, *dataset);
  return hash.hex();
}

}  // namespace reel::io
