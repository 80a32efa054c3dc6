#pragma once
// Text features kept between runs, by content: umT5-xxl takes minutes, and the runs of a sweep share their prompts.
// One file a prompt, "<key>.safetensors": `features` F32 [S, d_model], valid tokens only, and in its metadata the key and the
// SHA-256 of the rows. A file holds the very bits that the text encoder gives, so whether it is there changes no film.
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "core/comm.hpp"
#include "core/tensor.hpp"
#include "model/config.hpp"
#include "model/weights.hpp"

namespace reel::model {

/// SHA-256 of all that determines the features of `ids`: format, weights (their digest), config, profile. No paths, no time.
std::string text_key(const TextEncoderConfig& config, const std::string& weights_digest, Numerics numerics,
                     const std::vector<std::int64_t>& ids);

class TextCache {
 public:
  /// Files lie in `folder`, which is made when there is something to keep; only rank 0 touches it. `tell` hears what went wrong,
  /// on rank 0.
  TextCache(std::filesystem::path folder, std::function<void(const std::string&)> tell = {});

  /// Features of each key, [S, d_model] as in `shapes`, the same on every rank; empty where there are none. A file that is
  /// damaged or holds something else is told and counts as missing. Collective over `comm`.
  std::vector<Tensor> load(const Comm& comm, const std::vector<std::string>& keys, const std::vector<Shape>& shapes);
  /// Keeps features; called on rank 0. What cannot be written is told once, and nothing more is tried. Several processes may
  /// keep the same key at once: files appear whole, all with the same bytes.
  void save(const std::string& key, const Tensor& features);

  std::filesystem::path file_of(const std::string& key) const { return folder_ / (key + ".safetensors"); }
  /// Prompts whose features were read so far.
  std::int64_t num_read() const noexcept { return num_read_; }

 private:
  void tell(const std::string& line) const;
  std::filesystem::path folder_;
  std::function<void(const std::string&)> tell_;
  std::int64_t num_read_ = 0;
  bool writable_ = true;
};

}  // namespace reel::model
