// A film that somebody sends: read it twice, as measuring does.
#include "core/error.hpp"
#include "fuzzed_file.hpp"
#include "io/video.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const FuzzedFile file(data, size, ".mp4");
  try {
    const auto film = reel::io::open_video(file.path);
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
  return 0;
}
