#include "io/safetensors.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <tuple>

namespace reel::io {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::uint64_t max_header_bytes = 100'000'000;  // limit of the reference reader
constexpr std::array<std::pair<std::string_view, std::size_t>, 8> dtypes{
    {{"F64", 8}, {"F32", 4}, {"F16", 2}, {"BF16", 2}, {"I64", 8}, {"I32", 4}, {"U8", 1}, {"BOOL", 1}}};

constexpr const char* copy_again = "the file is damaged or was written wrongly: copy or download it again";

[[noreturn]] void bad_file(const fs::path& file, const std::string& what, const std::string& hint = copy_again) {
  throw Error(Exit::input, what, file.string(), hint);
}

/// Names come from strangers: no control bytes on the user's terminal, no endless lines.
std::string shown(std::string_view name) {
  std::string text = "'";
  for (const char c : name.substr(0, 120)) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      text += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    } else {
      text += c;
    }
  }
  return text + (name.size() > 120 ? "...'" : "'");
}

/// Strict JSON: an object at the top, no key twice in any object.
json parse_object(const fs::path& file, std::string_view text, const char* part) {
  std::vector<std::set<std::string>> keys;
  const auto no_duplicates = [&](int depth, json::parse_event_t event, json& value) {
    const auto level = static_cast<std::size_t>(depth);
    if (keys.size() < level + 2) keys.resize(level + 2);
    if (event == json::parse_event_t::object_start) keys[level + 1].clear();
    if (event == json::parse_event_t::key && !keys[level].insert(value.get<std::string>()).second) {
      bad_file(file, fmt::format("{} names {} twice", part, shown(value.get<std::string>())));
    }
    return true;
  };
  try {
    json object = json::parse(text.begin(), text.end(), no_duplicates);
    if (!object.is_object()) bad_file(file, fmt::format("{} is not a JSON object", part));
    return object;
  } catch (const json::exception& error) {
    bad_file(file, fmt::format("{} is not valid JSON ({})", part, error.what()));
  }
}

std::uint64_t element_count(const fs::path& file, const std::string& name, const Shape& shape) {
  std::int64_t count = 1;  // as an array counts
  for (const std::int64_t extent : shape) {
    if (__builtin_mul_overflow(count, extent, &count)) {
      bad_file(file, fmt::format("tensor {}: shape {} overflows", shown(name), to_string(shape)));
    }
  }
  return static_cast<std::uint64_t>(count);
}

struct Entry {
  TensorInfo tensor;
  std::uint64_t begin = 0, end = 0;
};

Entry parse_entry(const fs::path& file, const std::string& name, const json& value) {
  const auto bad = [&](const std::string& what) { bad_file(file, fmt::format("tensor {}: {}", shown(name), what)); };
  if (!value.is_object()) bad("its header entry is not an object");
  for (const char* key : {"dtype", "shape", "data_offsets"}) {
    if (!value.contains(key)) bad(fmt::format("its header entry lacks '{}'", key));
  }
  Entry entry;
  entry.tensor.name = name;
  entry.tensor.file = file.string();
  if (!value["dtype"].is_string()) bad("dtype is not a string");
  const auto dtype = value["dtype"].get<std::string>();
  const auto* const known = std::find_if(dtypes.begin(), dtypes.end(), [&](const auto& d) { return d.first == dtype; });
  if (known == dtypes.end()) {
    bad_file(file, fmt::format("tensor {}: dtype {} is not supported", shown(name), shown(dtype)),
             "use weights stored as F32, F16 or BF16 (quantised weights are not read)");
  }
  entry.tensor.dtype = static_cast<Dtype>(known - dtypes.begin());
  const json& shape = value["shape"];
  if (!shape.is_array() || shape.size() > 16) bad("shape is not a list of at most 16 sizes");
  for (const json& extent : shape) {
    constexpr auto limit = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
    if (!extent.is_number_unsigned() || extent.get<std::uint64_t>() > limit)
      bad("shape holds something that is not a size");
    entry.tensor.shape.push_back(extent.get<std::int64_t>());
  }
  const json& offsets = value["data_offsets"];
  if (!offsets.is_array() || offsets.size() != 2 || !offsets[0].is_number_unsigned() ||
      !offsets[1].is_number_unsigned()) {
    bad("data_offsets is not a pair of sizes");
  }
  entry.begin = offsets[0].get<std::uint64_t>();
  entry.end = offsets[1].get<std::uint64_t>();
  if (entry.end < entry.begin) bad("data_offsets run backwards");
  std::uint64_t bytes = 0;
  if (__builtin_mul_overflow(element_count(file, name, entry.tensor.shape), known->second, &bytes)) {
    bad(fmt::format("shape {} overflows", to_string(entry.tensor.shape)));
  }
  if (entry.end - entry.begin != bytes) {
    bad(fmt::format("{} {} takes {} bytes, but its data_offsets span {}", dtype, to_string(entry.tensor.shape), bytes,
                    entry.end - entry.begin));
  }
  entry.tensor.bytes = bytes;
  return entry;
}

}  // namespace

std::size_t dtype_bytes(Dtype dtype) noexcept { return dtypes[static_cast<std::size_t>(dtype)].second; }
std::string_view dtype_name(Dtype dtype) noexcept { return dtypes[static_cast<std::size_t>(dtype)].first; }

struct Safetensors::Map {
  const std::byte* data = nullptr;
  std::size_t bytes = 0;

  explicit Map(const fs::path& file) {
    const int fd = ::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
      bad_file(file, fmt::format("cannot open weights: {}", std::strerror(errno)), "check the path of the model");
    struct stat info {};
    const bool regular = ::fstat(fd, &info) == 0 && S_ISREG(info.st_mode);
    bytes = regular ? static_cast<std::size_t>(info.st_size) : 0;
    void* map = bytes > 0 ? ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;
    const int error_number = errno;
    ::close(fd);
    if (!regular) bad_file(file, "is not a regular file", "give a .safetensors file or the folder that holds it");
    if (bytes == 0) bad_file(file, "is too short: it is empty");
    if (map == MAP_FAILED)
      bad_file(file, fmt::format("cannot map weights: {}", std::strerror(error_number)), "free memory");
    data = static_cast<const std::byte*>(map);
  }
  ~Map() {
    if (data != nullptr) ::munmap(const_cast<std::byte*>(data), bytes);
  }
  Map(const Map&) = delete;
  Map& operator=(const Map&) = delete;
};

Safetensors Safetensors::open(const fs::path& file_or_dir, const std::string& stem) {
  Safetensors result;
  result.path_ = file_or_dir.string();
  std::error_code ignored;
  if (!fs::is_directory(file_or_dir, ignored)) {
    if (file_or_dir.extension() == ".json") {
      result.add_shards(file_or_dir);
    } else {
      result.add_file(file_or_dir);
    }
    return result;
  }
  const fs::path index_file = file_or_dir / (stem + ".safetensors.index.json");
  const fs::path single = file_or_dir / (stem + ".safetensors");
  if (fs::exists(index_file, ignored)) {
    result.add_shards(index_file);
  } else if (fs::exists(single, ignored)) {
    result.add_file(single);
  } else {
    bad_file(file_or_dir, fmt::format("holds neither '{0}.safetensors.index.json' nor '{0}.safetensors'", stem),
             "give a folder in diffusers layout with plain safetensors weights");
  }
  return result;
}

void Safetensors::add_file(const fs::path& file) {
  auto map = std::make_shared<Map>(file);
  if (map->bytes < 10) bad_file(file, fmt::format("is too short for safetensors ({} bytes)", map->bytes));
  std::uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, map->data, sizeof header_bytes);
  if (header_bytes > max_header_bytes) bad_file(file, fmt::format("its header claims {} bytes", header_bytes));
  if (header_bytes > map->bytes - 8) {
    bad_file(file, fmt::format("is cut off: its header claims {} bytes, the file has {}", header_bytes, map->bytes));
  }
  const std::string_view text(reinterpret_cast<const char*>(map->data) + 8, header_bytes);
  if (text.empty() || text.front() != '{') bad_file(file, "its header does not start with '{'");
  const json header = parse_object(file, text, "its header");

  const std::uint64_t data_bytes = map->bytes - 8 - header_bytes;
  const std::byte* data = map->data + 8 + header_bytes;
  std::vector<Entry> entries;
  for (const auto& [name, value] : header.items()) {
    if (name == "__metadata__") {
      if (!value.is_object()) bad_file(file, "__metadata__ is not an object");
      for (const auto& [key, text_value] : value.items()) {
        if (!text_value.is_string()) bad_file(file, fmt::format("__metadata__ {} is not a string", shown(key)));
        metadata_.emplace(key, text_value.get<std::string>());
      }
      continue;
    }
    entries.push_back(parse_entry(file, name, value));
  }
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return std::tie(a.begin, a.end) < std::tie(b.begin, b.end); });
  std::uint64_t at = 0;
  for (Entry& entry : entries) {
    if (entry.begin != at) {
      bad_file(file, fmt::format("tensor {}: data begin at {}, {} the bytes before, which end at {}",
                                 shown(entry.tensor.name), entry.begin,
                                 entry.begin > at ? "leaving a hole after" : "overlapping", at));
    }
    if (entry.end > data_bytes) {
      bad_file(file, fmt::format("is cut off: tensor {} ends at byte {} of {} data bytes", shown(entry.tensor.name),
                                 entry.end, data_bytes));
    }
    at = entry.end;
    entry.tensor.data = data + entry.begin;
    if (!tensors_.emplace(entry.tensor.name, entry.tensor).second) {
      bad_file(file, fmt::format("tensor {} is also in another shard", shown(entry.tensor.name)));
    }
  }
  if (at != data_bytes) bad_file(file, fmt::format("holds {} bytes after its last tensor", data_bytes - at));
  maps_.push_back(std::move(map));
}

void Safetensors::add_shards(const fs::path& index_file) {
  json weight_map;
  {
    const Map map(index_file);
    if (map.bytes > max_header_bytes)
      bad_file(index_file, fmt::format("is too large for an index ({} bytes)", map.bytes));
    const json index = parse_object(index_file, {reinterpret_cast<const char*>(map.data), map.bytes}, "the index");
    if (!index.contains("weight_map") || !index["weight_map"].is_object())
      bad_file(index_file, "has no 'weight_map' object");
    weight_map = index["weight_map"];
  }
  std::map<std::string, std::size_t> listed_tensors;  // shard -> tensors that the index puts there
  for (const auto& [name, shard] : weight_map.items()) {
    if (!shard.is_string()) bad_file(index_file, fmt::format("tensor {}: its shard is not a string", shown(name)));
    const auto text = shard.get<std::string>();
    if (text.empty() || text.find_first_of(std::string_view("/\\\0", 3)) != std::string::npos ||
        text.find("..") != std::string::npos) {
      bad_file(index_file, fmt::format("tensor {}: shard name {} leaves the folder", shown(name), shown(text)));
    }
    ++listed_tensors[text];
  }
  for (const auto& [shard, num_listed] : listed_tensors) {
    const std::size_t before = tensors_.size();
    const fs::path file = index_file.parent_path() / shard;
    add_file(file);
    if (tensors_.size() - before != num_listed) {
      bad_file(file,
               fmt::format("holds {} tensors, but the index lists {} here", tensors_.size() - before, num_listed));
    }
  }
  for (const auto& [name, shard] : weight_map.items()) {
    const TensorInfo* tensor = find(name);
    if (tensor == nullptr || fs::path(tensor->file).filename() != shard.get<std::string>()) {
      bad_file(index_file,
               fmt::format("tensor {} is not in its shard {}", shown(name), shown(shard.get<std::string>())));
    }
  }
}

const TensorInfo* Safetensors::find(std::string_view name) const noexcept {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : &found->second;
}

const TensorInfo& Safetensors::at(std::string_view name) const {
  if (const TensorInfo* tensor = find(name)) return *tensor;
  std::string near;  // names around the place where it would stand
  auto next = tensors_.lower_bound(name);
  if (next != tensors_.begin()) near = shown(std::prev(next)->first);
  if (next != tensors_.end()) near += (near.empty() ? "" : " and ") + shown(next->first);
  throw Error(Exit::input, fmt::format("tensor {} is missing", shown(name)), path_,
              fmt::format("the file holds {} tensors{}: is it the right component?", tensors_.size(),
                          near.empty() ? "" : ", nearest " + near));
}

std::vector<std::string> Safetensors::names() const {
  std::vector<std::string> result;
  for (const auto& [name, tensor] : tensors_) result.push_back(name);
  return result;
}

std::uint64_t Safetensors::total_bytes() const noexcept {
  std::uint64_t bytes = 0;
  for (const auto& [name, tensor] : tensors_) bytes += tensor.bytes;
  return bytes;
}

}  // namespace reel::io
