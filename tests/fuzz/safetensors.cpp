// A weight file. Every tensor that the header lists must be readable to its last byte.
#include "core/error.hpp"
#include "fuzzed_file.hpp"
#include "io/safetensors.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const FuzzedFile file(data, size, ".safetensors");
  try {
    const auto tensors = reel::io::Safetensors::open(file.path);
    for (const auto& [name, info] : tensors.tensors()) reel::io::tensor_digest(info);
  } catch (const reel::Error&) {
  }
  return 0;
}
