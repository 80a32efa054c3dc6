#pragma once
// safetensors: reader (memory map, one file or a sharded folder) and writer.
// Format: u64 header length (little-endian), JSON header, data buffer to the end of the file.
// Source: huggingface/safetensors; every check of its reference reader is made here, and a few more.
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/tensor.hpp"

namespace reel::io {

/// Element types that Reel reads. BF16: the upper half of an IEEE binary32.
enum class Dtype : std::uint8_t { f64, f32, f16, bf16, i64, i32, u8, boolean };

/// Bytes per element.
std::size_t dtype_bytes(Dtype dtype) noexcept;
/// Name in the file: "F32", "BF16", "BOOL", ...
std::string_view dtype_name(Dtype dtype) noexcept;

/// One tensor of an open file. `data` lies in the memory map: it may be unaligned, and lives as long as any copy of the
/// `Safetensors` it came from. Use `read_f32` and `read_i64`.
struct TensorInfo {
  std::string name;
  Dtype dtype = Dtype::f32;
  Shape shape;  ///< row-major; empty for a scalar
  const std::byte* data = nullptr;
  std::size_t bytes = 0;
  std::string file;  ///< path of the file or shard that holds it
};

/// All tensors of a file or of a sharded folder, by name. Copies share the memory maps. Reading is thread-safe.
class Safetensors {
 public:
  /// Opens `file_or_dir`. A folder is searched for `<stem>.safetensors.index.json`, then `<stem>.safetensors`
  /// (stem: "diffusion_pytorch_model" for diffusers components, "model" for transformers components).
  /// The whole header is checked: sizes without overflow, no hole, no overlap, no trailing byte, no duplicate name,
  /// shard names without folders. Throws Error (Exit::input) naming the file and the tensor.
  static Safetensors open(const std::filesystem::path& file_or_dir,
                          const std::string& stem = "diffusion_pytorch_model");

  /// The tensor called `name`, or null.
  const TensorInfo* find(std::string_view name) const noexcept;
  /// The tensor called `name`; throws Error (Exit::input) with the nearest names when it is missing.
  const TensorInfo& at(std::string_view name) const;
  /// All names in byte order.
  std::vector<std::string> names() const;
  /// All tensors in byte order of their names.
  const std::map<std::string, TensorInfo, std::less<>>& tensors() const noexcept { return tensors_; }
  std::uint64_t total_bytes() const noexcept;
  /// `__metadata__` of the file (of all shards together; the first shard wins).
  const std::map<std::string, std::string>& metadata() const noexcept { return metadata_; }
  /// The path that was opened.
  const std::string& path() const noexcept { return path_; }

 private:
  struct Map;
  void add_file(const std::filesystem::path& file);
  void add_shards(const std::filesystem::path& index_file);
  std::string path_;
  std::vector<std::shared_ptr<const Map>> maps_;
  std::map<std::string, TensorInfo, std::less<>> tensors_;
  std::map<std::string, std::string> metadata_;
};

/// out[i] = element `first + i` for i < count, as f32: exact for F32, F16, BF16 (NaN payloads kept); F64 is rounded to
/// nearest even. Throws Error (Exit::input) for integer types and Exit::bug for a range outside the tensor.
void read_f32(const TensorInfo& tensor, std::int64_t first, std::int64_t count, float* out);
/// The same for I64, I32, U8 and BOOL.
void read_i64(const TensorInfo& tensor, std::int64_t first, std::int64_t count, std::int64_t* out);

/// SHA-256 (hex) over name, dtype, shape and little-endian bytes of one tensor, so ranks can share the work.
std::string tensor_digest(const TensorInfo& tensor);
/// SHA-256 (hex) over (name, tensor digest) pairs in byte order of the names: the order given does not matter.
/// The name may carry a component in front ("vae/decoder.conv_in.weight"); it is hashed as given here.
std::string weights_digest(std::vector<std::pair<std::string, std::string>> name_and_digest);
/// The same over all tensors of one file or folder, on this thread.
std::string weights_digest(const Safetensors& file);

/// One tensor to be written; `bytes` are little-endian and row-major.
struct TensorBytes {
  std::string name;
  Shape shape;
  Dtype dtype = Dtype::f32;
  std::span<const std::byte> bytes;
};
/// What `weights_digest` tells of a file that holds `tensors`.
std::string weights_digest(const std::vector<TensorBytes>& tensors);

/// Writes a safetensors file (tensors by falling element size, then name; header padded to 8 bytes), whole or not at
/// all. Same arguments give the same bytes. Throws Error: Exit::write on a failed write, Exit::bug on wrong sizes or
/// names.
void write_safetensors(const std::filesystem::path& path, std::vector<TensorBytes> tensors,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace reel::io
