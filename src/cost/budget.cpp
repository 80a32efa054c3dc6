#include "cost/budget.hpp"

#include <algorithm>

#include "core/error.hpp"

namespace reel::cost {

std::vector<BudgetLine> budget(const Shot& shot, std::size_t alternative) {
  REEL_CHECK(alternative < shot.alternatives.size());
  order_of(shot);  // no cycles
  const Alternative& a = shot.alternatives[alternative];
  const std::vector<double> values = typical_values(shot);
  std::vector<BudgetLine> lines;
  const auto add = [&](const std::string& account, const std::string& item, Effect effect, double amount) {
    const Money money = Money(amount, shot.currency).to_cents();
    if (money.micros() != 0) lines.push_back({account, item, effect, money});
  };
  const auto add_lines = [&](const std::vector<Line>& from, double times) {
    for (const Line& line : from) {
      const double bare = times * product(line.factor, line.times, line.over, [&](std::size_t j) { return values[j]; });
      add(line.account, line.item, line.effect, bare);
      if (line.fringe) add(line.account, line.item + ", fringes", line.effect, bare * values[*line.fringe]);
    }
  };
  double usable = 1;
  if (a.generated()) {
    const double p = std::clamp(values[a.acceptance], 0.0, 1.0);
    usable = success(p, a.cap);
    add_lines(a.setup, 1);
    add_lines(a.attempt, mean_takes(p, a.cap));
    add_lines(a.post, usable);
  } else {
    add_lines(a.setup, 1);
  }
  const Effect effect = a.generated() ? Effect::added : Effect::displaced;
  for (const Surcharge& s : a.surcharges)
    add(s.account, s.item, effect, s.sign * values[s.share] * total(lines, shot.currency).units());
  // What other alternatives contribute carries their own surcharges.
  if (a.part_of) {
    const double own = total(lines, shot.currency).units();
    add("", "share of " + shot.alternatives[a.part_of->alternative].title, effect,
        typical_outputs(shot)[alternative * num_outputs + expected] - own);
  }
  if (a.fallback && usable < 1)
    add("", "fallback: " + shot.alternatives[*a.fallback].title, Effect::left,
        (1 - usable) * total(budget(shot, *a.fallback), shot.currency).units());
  return lines;
}

Money total(const std::vector<BudgetLine>& lines, const Currency& currency) {
  Money sum(0, currency);
  for (const BudgetLine& line : lines) sum = sum + line.amount;
  return sum;
}

}  // namespace reel::cost
