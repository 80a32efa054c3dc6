// A film that somebody sends: read it twice, as measuring does.
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <string>

#include "core/error.hpp"
#include "io/video.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::string path = (std::filesystem::temp_directory_path() / ("reel-fuzz-" + std::to_string(getpid()) + ".mp4")).string();
  std::FILE* file = std::fopen(path.c_str(), "wb");
  if (file == nullptr) __builtin_trap();
  std::fwrite(data, 1, size, file);
  std::fclose(file);
  try {
    const auto film = reel::io::open_video(path);
    reel::Frame frame;
    for (int pass = 0; pass < 2; ++pass) {
      double last_s = -1e300;
      for (int f = 0; f < 100 && film->next(frame); ++f) {
        if (frame.rgb.size() != static_cast<std::size_t>(frame.width_px * frame.height_px * 3) || !(frame.time_s > last_s)) __builtin_trap();
        last_s = frame.time_s;
      }
      film->rewind();
    }
  } catch (const reel::Error&) {
  }
  std::filesystem::remove(path);
  return 0;
}
