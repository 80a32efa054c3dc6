// A tokenizer folder with this spiece.model, or, when it begins as JSON does, with a good one and this tokenizer.json.
#include <cstdlib>
#include <fstream>

#include "core/error.hpp"
#include "model/tokenizer.hpp"

namespace fs = std::filesystem;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const fs::path folder = [] {
    std::string name = (fs::temp_directory_path() / "reel-fuzz-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) __builtin_trap();
    std::atexit([] { fs::remove_all(folder); });
    return fs::path(name);
  }();
  const bool is_json = size > 0 && data[0] == '{';
  std::ofstream(folder / (is_json ? "tokenizer.json" : "spiece.model"), std::ios::binary).write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(size));
  if (is_json)
    fs::copy_file(REEL_GOOD_TOKENIZER, folder / "spiece.model", fs::copy_options::overwrite_existing);
  else
    fs::remove(folder / "tokenizer.json");
  try {
    const auto tokenizer = reel::model::Tokenizer::open(folder);
    for (const std::int64_t id : tokenizer.encode("a red ball, falling <extra_id_0> caf\u00e9 \xff", 16))
      if (id < 0 || id >= tokenizer.vocab_size()) __builtin_trap();
  } catch (const reel::Error&) {
  }
  return 0;
}
