#include <algorithm>
#include <fstream>
#include <limits>

#include "io/record.hpp"
#include "io/results.hpp"
#include "io/results_hdf5.hpp"

namespace reel::io {
namespace {

namespace fs = std::filesystem;

/// True when the file ends with a seal that does not match the bytes before it.
bool seal_is_broken(const fs::path& path) {
  std::ifstream stream(path, std::ios::binary | std::ios::ate);
  const std::size_t seal_bytes = seal_text(std::string(64, '0')).size();
  const auto size = static_cast<std::size_t>(std::max<std::streamoff>(0, stream.tellg()));
  if (!stream || size < seal_bytes) return false;
  std::string seal(seal_bytes, '\0');
  stream.seekg(static_cast<std::streamoff>(size - seal_bytes));
  stream.read(seal.data(), static_cast<std::streamsize>(seal_bytes));
  if (!seal.starts_with(seal_text("").substr(0, seal_text("").size() - 1))) return false;
  stream.seekg(0);
  Sha256 hash;
  std::vector<char> block(std::size_t{1} << 20);
  for (std::size_t left = size - seal_bytes; left > 0 && stream;) {
    stream.read(block.data(), static_cast<std::streamsize>(std::min(left, block.size())));
    hash.update(block.data(), static_cast<std::size_t>(stream.gcount()));
    left -= static_cast<std::size_t>(stream.gcount());
  }
  return seal != seal_text(hash.hex());
}

constexpr int max_depth = 8;
constexpr std::size_t max_objects = 10'000;

/// Opens one file without locks and walks it. Strangers' files are expected: sizes are checked before memory is taken.
class Reader {
 public:
  explicit Reader(const fs::path& path) : context_{path, Exit::input} {
    std::error_code ignored;
    if (!fs::is_regular_file(path, ignored)) {
      throw Error(Exit::input, "cannot open the result file: no such file", path.string(), "check the path");
    }
    if (seal_is_broken(path)) context_.fail("its bytes have changed since it was written");
    Handle access(H5Pcreate(H5P_FILE_ACCESS));
    check(H5Pset_file_locking(access.id(), false, true), "locking");
    file_ = Handle(check(H5Fopen(path.c_str(), H5F_ACC_RDONLY, access.id()), "cannot open as HDF5"));
  }

  /// Every dataset in creation order (by name where none was kept); values only when `with_values`.
  /// Everything but values; these of the datasets in `groups` only ("/": of all).
  Record structure(const std::vector<std::string>& groups) {
    Record record;
    groups_ = groups;
    walk("", record, 0);
    return record;
  }

  /// Values of `dataset`, read and checked. Throws Error on a failed checksum.
  void read_values(Dataset& dataset) const {
    Handle handle(check(H5Dopen2(file_.id(), dataset.path.c_str(), H5P_DEFAULT), dataset.path));
    const auto count = static_cast<std::size_t>(num_elements(dataset.shape));
    std::visit([&](auto& values) { read_into(handle.id(), dataset.path, count, values); }, dataset.data);
  }

 private:
  template <class T>
  T check(T returned, const std::string& what) const {
    return context_.check(returned, what);
  }

  static herr_t collect_name(hid_t, const char* name, const H5L_info_t* info, void* out) {
    // Only what is really in this file: soft and external links are not followed.
    if (info->type == H5L_TYPE_HARD) static_cast<std::vector<std::string>*>(out)->emplace_back(name);
    return 0;
  }
  static herr_t collect_attribute(hid_t, const char* name, const H5A_info_t*, void* out) {
    static_cast<std::vector<std::string>*>(out)->emplace_back(name);
    return 0;
  }

  void walk(const std::string& path, Record& record, int depth) {
    const std::string shown = path.empty() ? "/" : path;
    if (depth > max_depth) context_.fail(fmt::format("group '{}' is nested too deeply", shown));
    Handle group(check(H5Gopen2(file_.id(), shown.c_str(), H5P_DEFAULT), shown));
    record.groups[shown] = read_attributes(group.id(), shown);
    std::vector<std::string> names;
    if (H5Literate(group.id(), H5_INDEX_CRT_ORDER, H5_ITER_INC, nullptr, collect_name, &names) < 0) {
      names.clear();
      check(H5Literate(group.id(), H5_INDEX_NAME, H5_ITER_INC, nullptr, collect_name, &names), shown);
    }
    for (const std::string& name : names) {
      if (++num_objects_ > max_objects) context_.fail("holds too many objects");
      const std::string child = path + "/" + name;
      Handle object(check(H5Oopen(file_.id(), child.c_str(), H5P_DEFAULT), child));
      const H5I_type_t type = H5Iget_type(object.id());
      if (type == H5I_GROUP) walk(child, record, depth + 1);
      if (type == H5I_DATASET) record.datasets.push_back(read_dataset(object.id(), child));
    }
  }

  Dataset read_dataset(hid_t id, const std::string& path) {
    Dataset dataset;
    dataset.path = path;
    Handle space(check(H5Dget_space(id), path)), type(check(H5Dget_type(id), path));
    const int rank = check(H5Sget_simple_extent_ndims(space.id()), path);
    std::vector<hsize_t> extent(static_cast<std::size_t>(rank));
    check(H5Sget_simple_extent_dims(space.id(), extent.data(), nullptr), path);
    std::uint64_t bytes = H5Tget_size(type.id());
    for (const hsize_t n : extent) {
      if (n > static_cast<hsize_t>(std::numeric_limits<std::int64_t>::max()) ||
          __builtin_mul_overflow(bytes, n, &bytes)) {
        context_.fail(fmt::format("dataset '{}' has an impossible size", path));
      }
      dataset.shape.push_back(static_cast<std::int64_t>(n));
    }
    // gzip shrinks at most 1032 times: a claim beyond that is a lie, and is found before memory is taken.
    if (bytes / 1040 > H5Dget_storage_size(id) + 4096) {
      context_.fail(fmt::format("dataset '{}' claims {} bytes but stores {}", path, bytes, H5Dget_storage_size(id)));
    }
    dataset.data = empty_values(type.id(), path);
    dataset.attributes = read_attributes(id, path);
    take_text(dataset.attributes, "units", dataset.unit);
    take_text(dataset.attributes, "long_name", dataset.long_name);
    for (const char* name : {"CLASS", "NAME", "_Netcdf4Dimid"}) dataset.attributes.erase(name);
    for (int axis = 0; axis < rank; ++axis) dataset.dims.push_back(dimension_name(id, path, axis));
    if (std::any_of(groups_.begin(), groups_.end(), [&](const std::string& g) { return g == "/" || dataset.path.starts_with(g + "/"); }))
      read_values(dataset);
    return dataset;
  }

  Data empty_values(hid_t type, const std::string& path) const {
    const std::size_t size = H5Tget_size(type);
    switch (H5Tget_class(type)) {
      case H5T_STRING:
        return std::vector<std::string>();
      case H5T_FLOAT:
        if (size == 4) return std::vector<float>();
        if (size == 8) return std::vector<double>();
        break;
      case H5T_INTEGER:
        if (size == 1 && H5Tget_sign(type) == H5T_SGN_NONE) return std::vector<std::uint8_t>();
        if (size == 4 && H5Tget_sign(type) == H5T_SGN_2) return std::vector<std::int32_t>();
        if (size == 8 && H5Tget_sign(type) == H5T_SGN_2) return std::vector<std::int64_t>();
        break;
      default:
        break;
    }
    context_.fail(fmt::format("dataset '{}' has a type that Reel does not write", path));
  }

  template <class T>
  void read_into(hid_t id, const std::string& path, std::size_t count, std::vector<T>& values) const {
    values.resize(count);
    if (count == 0) return;
    if constexpr (std::is_same_v<T, std::string>) {
      Handle space(check(H5Dget_space(id), path)), type(check(H5Dget_type(id), path));
      read_texts(type.id(), space.id(), path, count, values,
                 [&](hid_t memory, void* out) { return H5Dread(id, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, out); });
    } else {
      const hid_t memory = std::is_same_v<T, std::uint8_t>   ? H5T_NATIVE_UINT8
                           : std::is_same_v<T, std::int32_t> ? H5T_NATIVE_INT32
                           : std::is_same_v<T, std::int64_t> ? H5T_NATIVE_INT64
                           : std::is_same_v<T, float>        ? H5T_NATIVE_FLOAT
                                                             : H5T_NATIVE_DOUBLE;
      check(H5Dread(id, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()), fmt::format("dataset '{}'", path));
    }
  }

  /// Strings of fixed or variable length; `read(memory_type, out)` does the reading.
  template <class Read>
  void read_texts(hid_t type, hid_t space, const std::string& path, std::size_t count, std::vector<std::string>& out,
                  Read read) const {
    Handle memory(check(H5Tcopy(type), path));
    out.assign(count, {});
    if (check(H5Tis_variable_str(type), path) > 0) {
      std::vector<char*> pointers(count, nullptr);
      check(read(memory.id(), pointers.data()), path);
      for (std::size_t i = 0; i < count; ++i) out[i] = pointers[i] != nullptr ? pointers[i] : "";
      H5Dvlen_reclaim(memory.id(), space, H5P_DEFAULT, pointers.data());
      return;
    }
    const std::size_t size = H5Tget_size(type);
    std::string block(size * count, '\0');
    check(read(memory.id(), block.data()), path);
    for (std::size_t i = 0; i < count; ++i) {
      out[i] = block.substr(i * size, size);
      out[i].resize(std::min(out[i].find('\0'), out[i].size()));
    }
  }

  /// Scalar texts and numbers; anything else (lists, references) is HDF5's or another program's own.
  Attributes read_attributes(hid_t object, const std::string& path) const {
    std::vector<std::string> names;
    check(H5Aiterate2(object, H5_INDEX_NAME, H5_ITER_INC, nullptr, collect_attribute, &names), path);
    Attributes attributes;
    for (const std::string& name : names) {
      Handle attribute(check(H5Aopen(object, name.c_str(), H5P_DEFAULT), path));
      Handle space(check(H5Aget_space(attribute.id()), path)), type(check(H5Aget_type(attribute.id()), path));
      if (H5Sget_simple_extent_npoints(space.id()) != 1) continue;
      const H5T_class_t kind = H5Tget_class(type.id());
      if (kind == H5T_STRING) {
        std::vector<std::string> text;
        read_texts(type.id(), space.id(), path, 1, text,
                   [&](hid_t memory, void* out) { return H5Aread(attribute.id(), memory, out); });
        attributes[name] = text[0];
      } else if (kind == H5T_INTEGER) {
        std::int64_t value = 0;
        check(H5Aread(attribute.id(), H5T_NATIVE_INT64, &value), path);
        attributes[name] = value;
      } else if (kind == H5T_FLOAT) {
        double value = 0;
        check(H5Aread(attribute.id(), H5T_NATIVE_DOUBLE, &value), path);
        attributes[name] = value;
      }
    }
    return attributes;
  }

  static void take_text(Attributes& attributes, const char* name, std::string& out) {
    const auto found = attributes.find(name);
    if (found == attributes.end()) return;
    if (const auto* text = std::get_if<std::string>(&found->second)) out = *text;
    attributes.erase(found);
  }

  std::string dimension_name(hid_t id, const std::string& path, int axis) const {
    const auto last_part = [](const std::string& text) { return text.substr(text.rfind('/') + 1); };
    if (H5DSis_scale(id) > 0) return last_part(path);
    std::string name;
    const auto visit = [](hid_t, unsigned, hid_t scale, void* out) -> herr_t {
      std::string text(256, '\0');
      const ssize_t length = H5Iget_name(scale, text.data(), text.size());
      if (length > 0)
        static_cast<std::string*>(out)->assign(text, 0, std::min<std::size_t>(255, static_cast<std::size_t>(length)));
      return 1;
    };
    if (H5DSget_num_scales(id, static_cast<unsigned>(axis)) > 0) {
      H5DSiterate_scales(id, static_cast<unsigned>(axis), nullptr, visit, &name);
    }
    return last_part(name);
  }

  Hdf5File context_;
  Handle file_;
  std::vector<std::string> groups_;
  std::size_t num_objects_ = 0;
};

}  // namespace

Record read_record(const fs::path& path) {
  const QuietHdf5 quiet;
  return Reader(path).structure({"/"});
}

Record read_groups(const fs::path& path, const std::vector<std::string>& groups) {
  const QuietHdf5 quiet;
  return Reader(path).structure(groups);
}

Verification verify(const fs::path& path) {
  const QuietHdf5 quiet;
  Verification found;
  std::error_code ignored;
  if (fs::is_regular_file(path, ignored) && seal_is_broken(path)) {
    found.damaged.push_back("the file as a whole");
    return found;
  }
  Reader reader(path);
  Record record = reader.structure({});
  found.recorded = record.text("/", "result_digest");
  if (found.recorded.empty()) {
    throw Error(Exit::input, "is not a Reel result: it has no result_digest", path.string(),
                "give a file that `reel run` wrote");
  }
  std::sort(record.datasets.begin(), record.datasets.end(),
            [](const Dataset& a, const Dataset& b) { return a.path < b.path; });
  Sha256 hash;
  for (Dataset& dataset : record.datasets) {
    try {
      reader.read_values(dataset);
    } catch (const Error&) {
      found.damaged.push_back(dataset.path);
    }
    if (dataset.path.starts_with("/result/")) hash_dataset(hash, dataset);
    dataset.data = std::vector<std::uint8_t>();
  }
  if (found.damaged.empty()) found.computed = hash.hex();
  return found;
}

}  // namespace reel::io
