// What a person types after --scale and --object.
#include <cmath>

#include "core/error.hpp"
#include "study/measure_films.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  try {
    const reel::metrics::Scale scale = reel::study::parse_scale(text);
    if (!(scale.m_per_px > 0) || !std::isfinite(scale.m_per_px)) __builtin_trap();
  } catch (const reel::Error&) {
  }
  try {
    const reel::metrics::Box box = reel::study::parse_box(text);
    if (!(box.width_px > 0) || !std::isfinite(box.x_px)) __builtin_trap();
  } catch (const reel::Error&) {
  }
  return 0;
}
