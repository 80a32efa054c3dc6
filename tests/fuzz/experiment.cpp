// Experiment files of both kinds.
#include "study/benchmark.hpp"
#include "study/diagnostic.hpp"
#include "study/experiment.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    if (reel::study::is_benchmark(text))
      reel::study::parse_benchmark(text, "/lab/fuzzed.toml");
    else
      reel::study::resolved_json(reel::study::parse_experiment(text, "/lab/fuzzed.toml"));
  } catch (const reel::study::DiagnosticError& error) {
    if (error.exit() != reel::Exit::usage || error.rendered().empty()) __builtin_trap();
  }
  return 0;
}
