#include "model/text_cache.hpp"

#include "core/digest.hpp"
#include "io/atomic_file.hpp"
#include "io/safetensors.hpp"

namespace reel::model {
namespace {

namespace fs = std::filesystem;

// Raised whenever a bit of the features changes for the same weights, or the meaning of a file.
constexpr const char* format = "reel text features 1";

std::string rows_digest(const void* rows, const Shape& shape) {
  return sha256_hex(rows, static_cast<std::size_t>(num_elements(shape)) * sizeof(float));
}

Tensor read_features(const fs::path& path, const std::string& key, const Shape& shape) {
  const io::Safetensors file = io::Safetensors::open(path);
  const auto is = [&](const char* name, const std::string& wanted) {
    const auto found = file.metadata().find(name);
    return found != file.metadata().end() && found->second == wanted;
  };
  if (!is("format", format)) throw Error(Exit::input, "holds no text features");
  if (!is("key", key)) throw Error(Exit::input, "holds the text features of another prompt or encoder");
  const io::TensorInfo* rows = file.find("features");
  if (rows == nullptr || file.tensors().size() != 1 || rows->dtype != io::Dtype::f32 || rows->shape != shape)
    throw Error(Exit::input, "holds text features of another size");
  if (!is("sha256", rows_digest(rows->data, shape))) throw Error(Exit::input, "is damaged: its digest is another");
  Tensor features(shape);
  io::read_f32(*rows, 0, features.size(), features.data());
  return features;
}

}  // namespace

std::string text_key(const TextEncoderConfig& c, const std::string& weights_digest, Numerics numerics,
                     const std::vector<std::int64_t>& ids) {
  static_assert(sizeof c == 9 * 8, "a new field of the config belongs into the key");
  return sha256_hex(fmt::format("{}\nweights {}\nprofile {}\nconfig {} {} {} {} {} {} {} {} {}\nids {}\n", format, weights_digest, profile_name(numerics),
                                c.vocab_size, c.d_model, c.d_kv, c.d_ff, c.num_layers, c.num_heads, c.num_buckets, c.max_distance, c.eps,
                                fmt::join(ids, " ")));
}

TextCache::TextCache(fs::path folder, std::function<void(const std::string&)> tell) : folder_(std::move(folder)), tell_(std::move(tell)) {}

void TextCache::tell(const std::string& line) const {
  if (tell_) tell_(line);
}

std::vector<Tensor> TextCache::load(const Comm& comm, const std::vector<std::string>& keys, const std::vector<Shape>& shapes) {
  std::vector<Tensor> features(keys.size());
  std::string found(keys.size(), '0');
  comm.together([&] {
    for (std::size_t i = 0; comm.rank() == 0 && i < keys.size(); ++i) {
      const fs::path path = file_of(keys[i]);
      std::error_code ignored;
      if (!fs::exists(path, ignored)) continue;
      try {
        features[i] = read_features(path, keys[i], shapes[i]);
        found[i] = '1';
      } catch (const Error& e) {
        tell(fmt::format("left out: {}: {}; the features are computed anew", path.string(), e.what()));
      }
    }
  });
  found = comm.broadcast(found, 0);
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (found[i] != '1') continue;
    ++num_read_;
    if (comm.rank() != 0) features[i] = Tensor(shapes[i]);
    comm.broadcast(features[i].data(), static_cast<std::size_t>(features[i].size()) * sizeof(float), 0);
  }
  return features;
}

void TextCache::save(const std::string& key, const Tensor& features) {
  if (!writable_) return;
  const std::span<const float> rows(features.data(), static_cast<std::size_t>(features.size()));
  try {
    std::error_code failed;
    fs::create_directories(folder_, failed);
    if (failed) throw Error(Exit::write, "the folder cannot be made: " + failed.message());
    io::remove_leftovers_of_the_dead(folder_);
    io::write_safetensors(file_of(key), {{"features", features.shape(), io::Dtype::f32, std::as_bytes(rows)}},
                          {{"format", format}, {"key", key}, {"sha256", rows_digest(features.data(), features.shape())}});
  } catch (const Error& e) {
    if (e.exit() != Exit::write) throw;
    writable_ = false;
    tell(fmt::format("text features are not kept in {}: {}", folder_.string(), e.what()));
  }
}

}  // namespace reel::model
