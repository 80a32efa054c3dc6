// The JSON files of a pipeline folder: whatever is accepted has sizes one can compute with.
#include "core/error.hpp"
#include "model/config.hpp"
#include "model/scheduler.hpp"

namespace {

template <class Parse>
void accept_or_refuse(Parse parse) {
  try {
    parse();
  } catch (const reel::Error&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace reel::model;
  const std::string text(reinterpret_cast<const char*>(data), size);
  accept_or_refuse([&] {
    const TransformerConfig c = parse_transformer(text, "config.json");
    if (c.num_layers < 1 || c.width() < 1 || c.patch_size() < 1 || num_parameters(c) < 1) __builtin_trap();
  });
  accept_or_refuse([&] {
    const VaeConfig c = parse_vae(text, "config.json");
    if (c.z_dim < 1 || c.latents_mean.size() != static_cast<std::size_t>(c.z_dim) || c.latents_std.size() != c.latents_mean.size()) __builtin_trap();
  });
  accept_or_refuse([&] { parse_text_encoder(text, "config.json"); });
  accept_or_refuse([&] { parse_scheduler(text, "scheduler_config.json"); });
  return 0;
}
