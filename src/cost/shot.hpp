#pragma once
// A shot and every way to get it, as sums of products of uncertain numbers.
//
//   line        = factor * product(times) / product(over) * (1 + fringe)
//   sum         = lines, then surcharges one after the other, each a share of the sum so far
//   shoot       = sum(lines) + scale * (cost of the alternative it is a part of)
//   generated   = takes.hpp with setup, attempt and post, each a sum
//
// All money is in one currency and price year: `Shot::currency`. Factors of lines contain the conversion of units,
// currency and year, so values of numbers stay in the units in which people gave them.
#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "cost/takes.hpp"

namespace reel::cost {

/// An uncertain number that enters a price: a rate, a quantity, a share.
struct Number {
  std::string id, item;
  Spread spread;
  Unit unit;
  double tier = 0;
  Source source;
  double floor = 0;               ///< draws below it become it; 1 for what is divided by
  std::optional<BetaShape> beta;  ///< an acceptance that was counted: drawn from this instead of `spread`
};

/// What generating the shot does to a line of the conventional budget.
enum class Effect { displaced, left, added };

struct Line {
  std::string account, item;
  std::vector<std::size_t> times, over;  ///< numbers
  double factor = 1;                     ///< to the shot's currency (kWh, kgCO2e for energy and carbon)
  std::optional<std::size_t> fringe;     ///< a share that is paid on top
  Effect effect = Effect::displaced;
  bool generation = false;               ///< the making of pictures itself, as against people's time
  double exchange = 1;                   ///< what of `factor` brings the rate's money to the shot's currency and year
};

/// A share of the sum so far: contingency, bond; negative for a tax credit.
struct Surcharge {
  std::string account, item;
  std::size_t share = 0;
  double sign = 1;
};

/// A part of another alternative: its cost times `times`, divided by `over`, times the whole days saved.
struct PartOf {
  std::size_t alternative = 0;
  std::vector<std::size_t> times, over;
  struct Days {
    std::size_t setups = 0, replaced = 0, per_day = 0;  ///< numbers
  };
  std::optional<Days> days;
};

struct Alternative {
  enum class Kind { shoot, licence, vfx, generated };
  std::string name, title;
  Kind kind = Kind::shoot;
  std::string unmet;      ///< why it does not meet the specification; "" when it does
  std::string condition;  ///< when it can be had at all, for people
  std::vector<Line> setup, attempt, post;  ///< only `setup` unless generated
  std::vector<Line> energy, carbon;        ///< kWh and kgCO2e of an attempt (generated) or of the shot
  std::vector<Surcharge> surcharges;       ///< on setup + attempts + post
  std::optional<PartOf> part_of;
  // Generated alone:
  std::size_t acceptance = 0;             ///< a number with unit 1
  std::int64_t cap = 0;                   ///< takes before the fallback
  std::optional<std::size_t> fallback;    ///< alternative
  double generated_s = 0;                 ///< seconds of film that one take gives

  bool generated() const noexcept { return kind == Kind::generated; }
};

/// What the shot must be, whoever makes it.
struct Specification {
  double duration_s = 0, fps = 0;
  std::int64_t width_px = 0, height_px = 0;
};

struct Shot {
  std::string name, title, shot_class, region;
  Specification specification;
  Currency currency;
  std::string date;  ///< of the prices, ISO
  std::vector<Number> numbers;
  std::vector<Alternative> alternatives;
  std::vector<std::string> dropped;  ///< "name: reason" of alternatives that cannot be priced here
};

/// Order in which alternatives can be computed: parts after wholes, fallbacks before what falls back. Throws Error
/// (Exit::input) naming the cycle if there is one.
std::vector<std::size_t> order_of(const Shot& shot);

/// The inputs of `draw` and `sobol`: the shot's numbers in order, then one luck for each generated alternative, in order.
std::vector<Input> inputs_of(const Shot& shot);

/// What `evaluator` computes of each alternative, in this order: output index = alternative * num_outputs + Output.
enum Output : std::size_t {
  realised,    ///< money, with the takes that luck gave
  expected,    ///< money, mean over luck
  attempt,     ///< money of one attempt; 0 unless generated
  generation,  ///< money for generation alone in `expected`
  takes,       ///< mean number of takes; 0 unless generated
  energy_kwh,  ///< of a usable shot, mean over luck
  carbon_kg,
  num_outputs
};
Evaluate evaluator(const Shot& shot);

/// TakeCosts of a generated alternative at given values of the numbers; `fallback` is that alternative's expected cost.
TakeCosts take_costs(const Shot& shot, std::size_t alternative, const std::vector<double>& values, double fallback);
/// Each number at its typical value.
std::vector<double> typical_values(const Shot& shot);
/// What `evaluator` computes there, with middling luck.
std::vector<double> typical_outputs(const Shot& shot);

/// first * product(times) / product(over), one factor after the other; value(j) is number j.
template <class Values>
double product(double first, std::span<const std::size_t> times, std::span<const std::size_t> over, const Values& value) {
  for (std::size_t j : times) first *= value(j);
  for (std::size_t j : over) first /= value(j);
  return first;
}

/// How much of a whole a part is.
template <class Values>
double scale_of(const PartOf& part, const Values& value) {
  double scale = product(1, part.times, part.over, value);
  if (part.days) {
    const double setups = std::max(1.0, value(part.days->setups));
    scale *= days_saved(setups, std::min(value(part.days->replaced), setups), std::max(1.0, value(part.days->per_day)));
  }
  return scale;
}

}  // namespace reel::cost
