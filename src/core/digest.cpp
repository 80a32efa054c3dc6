#include "core/digest.hpp"

#include <openssl/evp.h>

#include <array>

#include "core/error.hpp"

namespace reel {

struct Sha256::State {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  ~State() { EVP_MD_CTX_free(context); }
};

Sha256::Sha256() : state_(std::make_unique<State>()) {
  REEL_CHECK(state_->context != nullptr && EVP_DigestInit_ex(state_->context, EVP_sha256(), nullptr) == 1,
             "OpenSSL gave no SHA-256");
}
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;

void Sha256::update(const void* data, std::size_t num_bytes) {
  REEL_CHECK(state_ != nullptr, "update after hex");
  if (num_bytes == 0) return;
  REEL_CHECK(EVP_DigestUpdate(state_->context, data, num_bytes) == 1, "SHA-256 update failed");
}

std::string Sha256::hex() {
  REEL_CHECK(state_ != nullptr, "hex was called twice");
  std::array<unsigned char, 32> digest{};
  unsigned length = 0;
  REEL_CHECK(EVP_DigestFinal_ex(state_->context, digest.data(), &length) == 1 && length == digest.size());
  state_.reset();
  static constexpr char digits[] = "0123456789abcdef";
  std::string text;
  text.reserve(64);
  for (const unsigned char byte : digest) {
    text += digits[byte >> 4];
    text += digits[byte & 15];
  }
  return text;
}

std::string sha256_hex(const void* data, std::size_t num_bytes) {
  Sha256 hash;
  hash.update(data, num_bytes);
  return hash.hex();
}

}  // namespace reel
