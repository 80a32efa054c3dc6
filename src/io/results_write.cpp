#include <algorithm>
#include <bit>
#include <set>

#include "io/atomic_file.hpp"
#include "io/record.hpp"
#include "io/results.hpp"
#include "io/results_hdf5.hpp"

namespace reel::io {
namespace {

namespace fs = std::filesystem;
static_assert(std::endian::native == std::endian::little, "the digest is over little-endian values");

constexpr unsigned gzip_level = 4;
constexpr std::uint64_t chunk_bytes = 1 << 20;
const std::set<std::string> kept_names{"units", "long_name", "CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST"};

hid_t stored_type(const Data& data) {
  const hid_t types[] = {H5T_STD_U8LE, H5T_STD_I32LE, H5T_STD_I64LE, H5T_IEEE_F32LE, H5T_IEEE_F64LE};
  return types[data.index()];
}

std::uint64_t element_bytes(const Data& data) {
  const std::uint64_t bytes[] = {1, 4, 8, 4, 8, 16};
  return bytes[data.index()];
}

/// Writes one record into an HDF5 file in memory, so that only our own `write` calls can meet a full disk.
class Writer {
 public:
  explicit Writer(const fs::path& path) : context_{path, Exit::bug} {
    Handle access(H5Pcreate(H5P_FILE_ACCESS)), creation(H5Pcreate(H5P_FILE_CREATE));
    check(H5Pset_fapl_core(access.id(), std::size_t{16} << 20, false), "core driver");
    check(H5Pset_libver_bounds(access.id(), H5F_LIBVER_EARLIEST, H5F_LIBVER_V18), "format bounds");
    check(H5Pset_obj_track_times(creation.id(), false), "track times");
    check(H5Pset_link_creation_order(creation.id(), H5P_CRT_ORDER_TRACKED | H5P_CRT_ORDER_INDEXED), "link order");
    check(H5Pset_attr_creation_order(creation.id(), H5P_CRT_ORDER_TRACKED | H5P_CRT_ORDER_INDEXED), "attribute order");
    // The name is never opened: the file lives in memory.
    file_ = Handle(check(H5Fcreate("reel-in-memory", H5F_ACC_TRUNC, creation.id(), access.id()), "create"));
    text_type_ = Handle(check(H5Tcopy(H5T_C_S1), "text type"));
    check(H5Tset_size(text_type_.id(), H5T_VARIABLE), "text type");
    check(H5Tset_cset(text_type_.id(), H5T_CSET_UTF8), "text type");
  }

  void write(const Record& record, const std::vector<Dataset>& coordinates) {
    make_group("/");
    for (const auto& [path, attributes] : record.groups) make_group(path);
    for (const auto* list : {&record.datasets, &coordinates}) {
      for (const Dataset& dataset : *list) make_group(group_of(dataset.path));
    }
    for (const auto& [path, attributes] : record.groups) {
      Handle group(check(H5Oopen(file_.id(), path.c_str(), H5P_DEFAULT), path));
      for (const auto& [name, value] : attributes) write_attribute(group.id(), path, name, value);
    }
    for (const auto* list : {&coordinates, &record.datasets}) {
      for (const Dataset& dataset : *list) {
        if (is_coordinate(dataset)) write_dataset(dataset);
      }
    }
    for (const Dataset& dataset : record.datasets) {
      if (!is_coordinate(dataset)) write_dataset(dataset);
    }
  }

  std::vector<std::byte> image() {
    check(H5Fflush(file_.id(), H5F_SCOPE_GLOBAL), "flush");
    const ssize_t size = check(H5Fget_file_image(file_.id(), nullptr, 0), "image");
    std::vector<std::byte> bytes(static_cast<std::size_t>(size));
    check(H5Fget_file_image(file_.id(), bytes.data(), bytes.size()), "image");
    return bytes;
  }

 private:
  template <class T>
  T check(T returned, const std::string& what) const {
    return context_.check(returned, what);
  }

  void make_group(const std::string& path) {
    if (path.empty() || !groups_.insert(path).second || path == "/") return;
    make_group(group_of(path));
    Handle creation(H5Pcreate(H5P_GROUP_CREATE));
    check(H5Pset_obj_track_times(creation.id(), false), path);
    check(H5Pset_link_creation_order(creation.id(), H5P_CRT_ORDER_TRACKED | H5P_CRT_ORDER_INDEXED), path);
    check(H5Pset_attr_creation_order(creation.id(), H5P_CRT_ORDER_TRACKED | H5P_CRT_ORDER_INDEXED), path);
    Handle group(check(H5Gcreate2(file_.id(), path.c_str(), H5P_DEFAULT, creation.id(), H5P_DEFAULT), path));
  }

  void write_attribute(hid_t object, const std::string& path, const std::string& name, const Attribute& value) {
    Handle scalar(H5Screate(H5S_SCALAR));
    const hid_t types[] = {text_type_.id(), H5T_STD_I64LE, H5T_IEEE_F64LE};
    Handle attribute(
        check(H5Acreate2(object, name.c_str(), types[value.index()], scalar.id(), H5P_DEFAULT, H5P_DEFAULT),
              fmt::format("{} attribute '{}'", path, name)));
    std::visit(
        [&](const auto& v) {
          if constexpr (std::is_same_v<std::decay_t<decltype(v)>, std::string>) {
            REEL_CHECK(v.find('\0') == std::string::npos, "{} attribute '{}' holds NUL", path, name);
            const char* text = v.c_str();
            check(H5Awrite(attribute.id(), text_type_.id(), &text), path);
          } else {
            check(H5Awrite(attribute.id(), types[value.index()], &v), path);
          }
        },
        value);
  }

  Handle creation_properties(const Dataset& dataset) {
    Handle creation(H5Pcreate(H5P_DATASET_CREATE));
    check(H5Pset_obj_track_times(creation.id(), false), dataset.path);
    check(H5Pset_attr_creation_order(creation.id(), H5P_CRT_ORDER_TRACKED | H5P_CRT_ORDER_INDEXED), dataset.path);
    const std::uint64_t bytes = static_cast<std::uint64_t>(num_elements(dataset.shape)) * element_bytes(dataset.data);
    if (dataset.shape.empty() || bytes < 1024 || std::holds_alternative<std::vector<std::string>>(dataset.data)) {
      return creation;
    }
    // One frame (one entry of the first axis) per chunk; short rows are gathered to about 1 MiB.
    std::vector<hsize_t> chunk(dataset.shape.begin(), dataset.shape.end());
    const std::uint64_t row_bytes = bytes / chunk[0];
    chunk[0] = dataset.shape.size() >= 3 ? 1 : std::clamp<std::uint64_t>(chunk_bytes / row_bytes, 1, chunk[0]);
    check(H5Pset_chunk(creation.id(), static_cast<int>(chunk.size()), chunk.data()), dataset.path);
    check(H5Pset_shuffle(creation.id()), dataset.path);
    check(H5Pset_deflate(creation.id(), gzip_level), dataset.path);
    check(H5Pset_fletcher32(creation.id()), dataset.path);
    return creation;
  }

  void write_dataset(const Dataset& dataset) {
    const std::vector<hsize_t> extent(dataset.shape.begin(), dataset.shape.end());
    Handle space(dataset.shape.empty() ? H5Screate(H5S_SCALAR)
                                       : H5Screate_simple(static_cast<int>(extent.size()), extent.data(), nullptr));
    check(space.id(), dataset.path);
    const auto* texts = std::get_if<std::vector<std::string>>(&dataset.data);
    const hid_t type = texts != nullptr ? text_type_.id() : stored_type(dataset.data);
    Handle creation = creation_properties(dataset);
    Handle handle(
        check(H5Dcreate2(file_.id(), dataset.path.c_str(), type, space.id(), H5P_DEFAULT, creation.id(), H5P_DEFAULT),
              dataset.path));
    if (num_elements(dataset.shape) > 0) {
      std::vector<const char*> pointers;
      const void* values = std::visit([](const auto& v) { return static_cast<const void*>(v.data()); }, dataset.data);
      if (texts != nullptr) {
        for (const std::string& text : *texts) pointers.push_back(text.c_str());
        values = pointers.data();
      }
      check(H5Dwrite(handle.id(), type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values), dataset.path);
    }
    if (!dataset.unit.empty()) write_attribute(handle.id(), dataset.path, "units", dataset.unit);
    write_attribute(handle.id(), dataset.path, "long_name", dataset.long_name);
    for (const auto& [name, value] : dataset.attributes) {
      REEL_CHECK(!kept_names.contains(name), "{}: attribute '{}' is set by Reel", dataset.path, name);
      write_attribute(handle.id(), dataset.path, name, value);
    }
    if (is_coordinate(dataset)) {
      check(H5DSset_scale(handle.id(), dataset.dims[0].c_str()), dataset.path);
      return;
    }
    for (std::size_t axis = 0; axis < dataset.dims.size(); ++axis) {
      const std::string path = group_of(dataset.path) + "/" + dataset.dims[axis];
      Handle scale(check(H5Dopen2(file_.id(), path.c_str(), H5P_DEFAULT), path));
      check(H5DSattach_scale(handle.id(), scale.id(), static_cast<unsigned>(axis)), dataset.path);
    }
  }

  Hdf5File context_;
  Handle file_, text_type_;
  std::set<std::string> groups_;
};

}  // namespace

std::string write_record(const fs::path& path, Record record) {
  const QuietHdf5 quiet;
  const std::vector<Dataset> coordinates = missing_coordinates(record);
  const std::string digest = result_digest(record);
  Attributes& root = record.groups["/"];
  root["Conventions"] = "CF-1.10 Reel-1.0";
  root["reel_schema"] = "1.0.0";
  root["result_digest"] = digest;

  std::vector<std::byte> image;
  {
    Writer writer(path);
    writer.write(record, coordinates);
    image = writer.image();
  }
  const std::string seal = seal_text(sha256_hex(image.data(), image.size()));
  const std::uint64_t needed_bytes = image.size() + seal.size();
  AtomicFile file(path);
  file.write(image.data(), image.size(), needed_bytes);
  file.write(seal.data(), seal.size(), needed_bytes);
  file.sync();
  image = {};
  Verification found;
  try {
    found = verify(file.temporary());
  } catch (const Error& error) {
    throw Error(Exit::write, fmt::format("the file just written cannot be read back: {}", error.what()), path.string(),
                "check the file system and the memory of this machine");
  }
  if (!found.good() || found.recorded != digest) {
    throw Error(Exit::write, "the file just written reads back with another digest", path.string(),
                "check the file system and the memory of this machine");
  }
  file.commit();
  return digest;
}

}  // namespace reel::io
