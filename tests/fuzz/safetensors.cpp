// A weight file. Every tensor that the header lists must be readable to its last byte.
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <string>

#include "core/error.hpp"
#include "io/safetensors.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::string path = (std::filesystem::temp_directory_path() / ("reel-fuzz-" + std::to_string(getpid()) + ".safetensors")).string();
  std::FILE* file = std::fopen(path.c_str(), "wb");
  if (file == nullptr) __builtin_trap();
  std::fwrite(data, 1, size, file);
  std::fclose(file);
  try {
    const auto tensors = reel::io::Safetensors::open(path);
    for (const auto& [name, info] : tensors.tensors()) reel::io::tensor_digest(info);
  } catch (const reel::Error&) {
  }
  std::filesystem::remove(path);
  return 0;
}
