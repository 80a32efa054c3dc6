// Element conversion, digests and the writer; the reader of headers is in safetensors.cpp.
#include <algorithm>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>
#include <tuple>

#include "core/digest.hpp"
#include "io/atomic_file.hpp"
#include "io/safetensors.hpp"

namespace reel::io {
namespace {

namespace fs = std::filesystem;
static_assert(std::endian::native == std::endian::little, "safetensors data is little-endian");

float half_to_float(std::uint16_t half) noexcept {
  const std::uint32_t sign = static_cast<std::uint32_t>(half & 0x8000u) << 16;
  const std::uint32_t exponent = (half >> 10) & 31u, fraction = half & 0x3ffu;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000u | fraction << 13);
  if (exponent == 0) {  // zero or subnormal: fraction * 2^-24 is exact in f32
    const float magnitude = static_cast<float>(fraction) * 0x1p-24f;
    return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(magnitude));
  }
  return std::bit_cast<float>(sign | (exponent + 112u) << 23 | fraction << 13);
}

template <class Stored, class Out, class Convert>
void convert_run(const TensorInfo& tensor, std::int64_t first, std::int64_t count, Out* out, Convert convert) {
  const std::byte* from = tensor.data + static_cast<std::size_t>(first) * sizeof(Stored);
  for (std::int64_t i = 0; i < count; ++i) {
    Stored stored;
    std::memcpy(&stored, from + static_cast<std::size_t>(i) * sizeof(Stored), sizeof(Stored));
    out[i] = convert(stored);
  }
}

void check_range(const TensorInfo& tensor, std::int64_t first, std::int64_t count) {
  const std::int64_t size = num_elements(tensor.shape);
  REEL_CHECK(first >= 0 && count >= 0 && first <= size && count <= size - first, "{}: [{}, +{}) of {}", tensor.name,
             first, count, size);
}

}  // namespace

void read_f32(const TensorInfo& tensor, std::int64_t first, std::int64_t count, float* out) {
  check_range(tensor, first, count);
  switch (tensor.dtype) {
    case Dtype::f32:
      if (count > 0)
        std::memcpy(out, tensor.data + static_cast<std::size_t>(first) * 4, static_cast<std::size_t>(count) * 4);
      return;
    case Dtype::bf16:
      return convert_run<std::uint16_t>(tensor, first, count, out, [](std::uint16_t bits) {
        return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
      });
    case Dtype::f16:
      return convert_run<std::uint16_t>(tensor, first, count, out, half_to_float);
    case Dtype::f64:
      return convert_run<double>(tensor, first, count, out, [](double value) { return static_cast<float>(value); });
    default:
      throw Error(Exit::input,
                  fmt::format("tensor '{}' is {}, floats are needed", tensor.name, dtype_name(tensor.dtype)),
                  tensor.file, "quantised weights are not read: use F32, F16 or BF16");
  }
}

void read_i64(const TensorInfo& tensor, std::int64_t first, std::int64_t count, std::int64_t* out) {
  check_range(tensor, first, count);
  const auto widen = [](auto value) { return static_cast<std::int64_t>(value); };
  switch (tensor.dtype) {
    case Dtype::i64:
      return convert_run<std::int64_t>(tensor, first, count, out, widen);
    case Dtype::i32:
      return convert_run<std::int32_t>(tensor, first, count, out, widen);
    case Dtype::u8:
      return convert_run<std::uint8_t>(tensor, first, count, out, widen);
    case Dtype::boolean:
      return convert_run<std::uint8_t>(tensor, first, count, out, widen);
    default:
      throw Error(Exit::input,
                  fmt::format("tensor '{}' is {}, integers are needed", tensor.name, dtype_name(tensor.dtype)),
                  tensor.file, "store it as I64 or I32");
  }
}

std::string tensor_digest(const TensorInfo& tensor) {
  Sha256 hash;
  hash.update(
      fmt::format("{} {} {} {}\n", tensor.name.size(), tensor.name, dtype_name(tensor.dtype), to_string(tensor.shape)));
  hash.update(tensor.data, tensor.bytes);
  return hash.hex();
}

std::string weights_digest(std::vector<std::pair<std::string, std::string>> name_and_digest) {
  std::sort(name_and_digest.begin(), name_and_digest.end());
  Sha256 hash;
  for (const auto& [name, digest] : name_and_digest) hash.update(fmt::format("{} {} {}\n", name.size(), name, digest));
  return hash.hex();
}

std::string weights_digest(const Safetensors& file) {
  std::vector<std::pair<std::string, std::string>> digests;
  for (const auto& [name, tensor] : file.tensors()) digests.emplace_back(name, tensor_digest(tensor));
  return weights_digest(std::move(digests));
}

std::string weights_digest(const std::vector<TensorBytes>& tensors) {
  std::vector<std::pair<std::string, std::string>> digests;
  for (const TensorBytes& t : tensors)
    digests.emplace_back(t.name, tensor_digest({t.name, t.dtype, t.shape, t.bytes.data(), t.bytes.size(), {}}));
  return weights_digest(std::move(digests));
}

void write_safetensors(const fs::path& path, std::vector<TensorBytes> tensors,
                       const std::map<std::string, std::string>& metadata) {
  std::sort(tensors.begin(), tensors.end(), [](const TensorBytes& a, const TensorBytes& b) {
    const std::size_t width_a = dtype_bytes(a.dtype), width_b = dtype_bytes(b.dtype);
    return std::tie(width_b, a.name) < std::tie(width_a, b.name);
  });
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::uint64_t at = 0;
  for (const TensorBytes& tensor : tensors) {
    REEL_CHECK(tensor.name != "__metadata__" && !header.contains(tensor.name), "tensor name '{}'", tensor.name);
    REEL_CHECK(tensor.bytes.size() == static_cast<std::size_t>(num_elements(tensor.shape)) * dtype_bytes(tensor.dtype),
               "{}: {} bytes for {} {}", tensor.name, tensor.bytes.size(), dtype_name(tensor.dtype),
               to_string(tensor.shape));
    header[tensor.name] = {
        {"dtype", dtype_name(tensor.dtype)}, {"shape", tensor.shape}, {"data_offsets", {at, at + tensor.bytes.size()}}};
    at += tensor.bytes.size();
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const std::uint64_t header_bytes = text.size(), needed_bytes = 8 + header_bytes + at;
  REEL_CHECK(header_bytes <= 100'000'000);
  AtomicFile file(path);
  file.write(&header_bytes, sizeof header_bytes, needed_bytes);
  file.write(text.data(), text.size(), needed_bytes);
  for (const TensorBytes& tensor : tensors) file.write(tensor.bytes.data(), tensor.bytes.size(), needed_bytes);
  file.commit();
}

}  // namespace reel::io
