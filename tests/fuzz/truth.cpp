// A world's truth file.
#include "core/error.hpp"
#include "worlds/world.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const reel::worlds::Clip clip = reel::worlds::read_truth({reinterpret_cast<const char*>(data), size}, "fuzzed");
    // What is accepted must be usable: every track as long as the film.
    for (const reel::worlds::Track& t : clip.objects)
      if (t.x_px.size() < static_cast<std::size_t>(clip.film.num_frames) || t.visible.size() != t.x_px.size()) __builtin_trap();
  } catch (const reel::Error& error) {
    if (error.exit() != reel::Exit::input) __builtin_trap();
  }
  return 0;
}
