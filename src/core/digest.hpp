#pragma once
// SHA-256, the one digest of Reel: results, weights, experiment files.
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

namespace reel {

/// Streaming SHA-256 (FIPS 180-4). Feed bytes in any split: only their concatenation counts.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;

  /// Appends `num_bytes` bytes. Must not be called after `hex()`.
  void update(const void* data, std::size_t num_bytes);
  void update(std::string_view text) { update(text.data(), text.size()); }

  /// Ends the stream and returns 64 lower-case hex digits. May be called once.
  std::string hex();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// SHA-256 of one block of bytes as 64 lower-case hex digits.
std::string sha256_hex(const void* data, std::size_t num_bytes);
inline std::string sha256_hex(std::string_view text) { return sha256_hex(text.data(), text.size()); }

}  // namespace reel
