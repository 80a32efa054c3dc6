#pragma once
// Input bytes as a file, for what reads files; gone when it goes out of scope.
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <string>

struct FuzzedFile {
  const std::string path;
  FuzzedFile(const std::uint8_t* data, std::size_t size, const std::string& extension)
      : path((std::filesystem::temp_directory_path() / ("reel-fuzz-" + std::to_string(getpid()) + extension)).string()) {
    std::FILE* file = std::fopen(path.c_str(), "wb");
    if (file == nullptr) __builtin_trap();
    std::fwrite(data, 1, size, file);
    std::fclose(file);
  }
  ~FuzzedFile() { std::filesystem::remove(path); }
};
