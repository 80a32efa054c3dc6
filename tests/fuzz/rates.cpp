// Rate cards and priced shots: the same bytes to both readers, and what is accepted can be priced.
#include "cost/budget.hpp"
#include "fuzzed_file.hpp"
#include "study/diagnostic.hpp"
#include "study/pricing.hpp"
#include "study/rate_file.hpp"

namespace {

using namespace reel;

template <class Action>
void run(Action&& action) {
  try {
    action();
  } catch (const study::DiagnosticError& error) {
    if (error.exit() != Exit::usage || error.rendered().empty()) __builtin_trap();
  } catch (const Error& error) {
    if (error.exit() != Exit::input && error.exit() != Exit::nonfinite) __builtin_trap();
  }
}

// Measured as of a result of Reel: alternatives that need it are read too.
study::Measured measured() {
  study::Measured m;
  for (const char* id : {"measured.core_h", "measured.energy", "measured.acceptance"}) {
    cost::Number n;
    n.id = n.item = id;
    n.spread = {0.25, 0.5, 0.75};
    n.unit = cost::Unit::parse(std::string(id) == "measured.core_h" ? "core*h/take" : std::string(id) == "measured.energy" ? "kWh/take" : "1");
    m.numbers.push_back(n);
  }
  m.gives = cost::Specification{2, 16, 64, 64};
  return m;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const cost::RateBook rates = study::read_rates({study::datasets() / "rates"});
  static const study::Measured from_takes = measured();
  const FuzzedFile file(data, size, ".toml");
  run([&] { study::read_rates({file.path}); });
  run([&] {
    const cost::Shot shot = study::read_shot(file.path, rates, from_takes);
    const std::size_t outputs = shot.alternatives.size() * cost::num_outputs;
    cost::draw(cost::inputs_of(shot), cost::evaluator(shot), outputs, 64, 1);
    for (std::size_t k = 0; k < shot.alternatives.size(); ++k) cost::total(cost::budget(shot, k), shot.currency);
  });
  return 0;
}
