// A checkpoint. Input beginning with "{" is the place of a file whose seal is right, so that the reader gets behind it;
// everything else is the file itself.
#include <span>
#include <vector>

#include "core/error.hpp"
#include "fuzzed_file.hpp"
#include "io/safetensors.hpp"
#include "study/checkpoint.hpp"

namespace {

const std::string owner = "task";

void seal(const std::string& path, const std::string& place) {
  static const std::vector<std::byte> zeros(4 * 3 * 2 * 2 * sizeof(float));
  const std::span all(zeros);
  const std::vector<reel::io::TensorBytes> tensors{{"film", {1, 4, 4, 3}, reel::io::Dtype::u8, all.first(48)},
                                                   {"history.0", {4, 1}, reel::io::Dtype::f32, all.first(16)},
                                                   {"latents", {4, 3, 2, 2}, reel::io::Dtype::f32, all},
                                                   {"sample", {4, 1}, reel::io::Dtype::f32, all.first(16)}};
  reel::io::write_safetensors(path, tensors, {{"reel_checkpoint", "1"}, {"owner", owner}, {"place", place},
                                              {"sha256", reel::study::checkpoint_seal(owner, place, reel::io::weights_digest(tensors))}});
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const FuzzedFile file(data, size, ".checkpoint");
  const std::string text(reinterpret_cast<const char*>(data), size);
  try {
    if (text.starts_with('{')) seal(file.path, text);
  } catch (const std::exception&) {
    return 0;  // no text that a header can hold
  }
  try {
    reel::study::read_checkpoint(file.path, owner);
  } catch (const reel::Error& e) {
    if (e.exit() == reel::Exit::bug) __builtin_trap();
  }
  return 0;
}
