#include "cost/budget.hpp"

#include <algorithm>

#include "core/error.hpp"

namespace reel::cost {
namespace {

double worth(const Line& line, const std::vector<double>& values) {
  double amount = line.factor;
  for (std::size_t j : line.times) amount *= values[j];
  for (std::size_t j : line.over) amount /= values[j];
  return amount;
}

}  // namespace

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
      const double bare = times * worth(line, values);
      add(line.account, line.item, line.effect, bare);
      if (line.fringe) add(line.account, line.item + ", fringes", line.effect, bare * values[*line.fringe]);
    }
  };
  double usable = 1;
  if (a.kind == Alternative::Kind::generated) {
    const double p = std::clamp(values[a.acceptance], 0.0, 1.0);
    usable = success(p, a.cap);
    add_lines(a.setup, 1);
    add_lines(a.attempt, mean_takes(p, a.cap));
    add_lines(a.post, usable);
  } else {
    add_lines(a.setup, 1);
  }
  const Effect effect = a.kind == Alternative::Kind::generated ? Effect::added : Effect::displaced;
  for (const Surcharge& s : a.surcharges)
    add(s.account, s.item, effect, s.sign * values[s.share] * total(lines, shot.currency).units());
  // What other alternatives contribute carries their own surcharges.
  if (a.part_of) {
    std::vector<double> x = values, y(shot.alternatives.size() * num_outputs);
    x.resize(inputs_of(shot).size(), 0.5);
    evaluator(shot)(1, x, y);
    double own = 0;
    for (const BudgetLine& line : lines) own += line.amount.units();
    add("", "share of " + shot.alternatives[a.part_of->alternative].title, effect, y[alternative * num_outputs + expected] - own);
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
