#include "cost/shot.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.hpp"

namespace reel::cost {
namespace {

// One draw: value(j) is number j.
template <class Values>
double line_cost(const Line& line, const Values& value) {
  const double cost = product(line.factor, line.times, line.over, value);
  return line.fringe ? cost * (1 + value(*line.fringe)) : cost;
}

template <class Values>
double sum(const std::vector<Line>& lines, const Values& value, bool generation_only = false) {
  double total = 0;
  for (const Line& line : lines)
    if (!generation_only || line.generation) total += line_cost(line, value);
  return total;
}

template <class Values>
double with_surcharges(const std::vector<Surcharge>& surcharges, const Values& value) {
  double factor = 1;
  for (const Surcharge& s : surcharges) factor *= 1 + s.sign * value(s.share);
  return factor;
}

template <class Values>
TakeCosts costs_of(const Alternative& a, const Values& value, double fallback) {
  const double factor = with_surcharges(a.surcharges, value);
  return {factor * sum(a.setup, value), factor * sum(a.attempt, value), factor * sum(a.post, value), fallback, a.cap};
}

void visit(const Shot& shot, std::size_t i, std::vector<int>& state, std::vector<std::size_t>& path, std::vector<std::size_t>& order) {
  if (state[i] == 2) return;
  path.push_back(i);
  if (state[i] == 1) {
    std::string cycle;
    for (std::size_t k : path) cycle += (cycle.empty() ? "" : " -> ") + shot.alternatives[k].name;
    throw Error(Exit::input, fmt::format("alternatives depend on each other in a cycle: {}", cycle), shot.name,
                "let one of them fall back on, or be a part of, something that stands alone");
  }
  state[i] = 1;
  const Alternative& a = shot.alternatives[i];
  if (a.part_of) visit(shot, a.part_of->alternative, state, path, order);
  if (a.fallback) visit(shot, *a.fallback, state, path, order);
  state[i] = 2;
  path.pop_back();
  order.push_back(i);
}

}  // namespace

std::vector<std::size_t> order_of(const Shot& shot) {
  std::vector<int> state(shot.alternatives.size(), 0);
  std::vector<std::size_t> order, path;
  for (std::size_t i = 0; i < shot.alternatives.size(); ++i) visit(shot, i, state, path, order);
  return order;
}

std::vector<Input> inputs_of(const Shot& shot) {
  std::vector<Input> inputs;
  for (const Number& n : shot.numbers) {
    try {
      inputs.push_back({n.id, n.beta ? Quantile::beta(n.beta->a, n.beta->b) : Quantile::of(n.spread, n.floor), n.tier, true});
    } catch (const Error& e) {
      throw Error(e.exit(), e.what(), n.id, e.hint());
    }
  }
  for (const Alternative& a : shot.alternatives)
    if (a.generated()) inputs.push_back({"luck of " + a.name, Quantile::uniform(0, 1), 0, false});
  return inputs;
}

Evaluate evaluator(const Shot& shot) {
  std::vector<std::size_t> luck;  // input of each alternative, as inputs_of orders them
  std::size_t next = shot.numbers.size();
  for (const Alternative& a : shot.alternatives) luck.push_back(a.generated() ? next++ : 0);
  return [shot, order = order_of(shot), luck = std::move(luck)](std::size_t n, std::span<const double> x, std::span<double> y) {
    REEL_CHECK(y.size() == n * shot.alternatives.size() * num_outputs);
    for (std::size_t i = 0; i < n; ++i) {
      const auto value = [&](std::size_t j) { return x[j * n + i]; };
      const auto out = [&](std::size_t k, Output o) -> double& { return y[(k * num_outputs + o) * n + i]; };
      for (std::size_t k : order) {
        const Alternative& a = shot.alternatives[k];
        double all = 0, all_realised = 0, per_take = 0, making = 0, mean = 0;
        double kwh = sum(a.energy, value), kg = sum(a.carbon, value);
        if (a.generated()) {
          const double fallback = a.fallback ? out(*a.fallback, expected) : 0;
          const TakeCosts costs = costs_of(a, value, fallback);
          const double p = std::clamp(value(a.acceptance), 0.0, 1.0);
          const double failed = 1 - success(p, a.cap);
          mean = mean_takes(p, a.cap);
          all = expected_cost(costs, p);
          TakeCosts lucky = costs;
          lucky.fallback = a.fallback ? out(*a.fallback, realised) : 0;
          all_realised = realised_cost(lucky, drawn_takes(p, value(luck[k])));
          per_take = costs.attempt;
          making = mean * with_surcharges(a.surcharges, value) * sum(a.attempt, value, true);
          kwh = mean * kwh + (a.fallback ? failed * out(*a.fallback, energy_kwh) : 0);
          kg = mean * kg + (a.fallback ? failed * out(*a.fallback, carbon_kg) : 0);
        } else {
          all = with_surcharges(a.surcharges, value) * sum(a.setup, value);
          all_realised = all;
          if (a.part_of) {
            const double scale = scale_of(*a.part_of, value);
            all += scale * out(a.part_of->alternative, expected);
            all_realised += scale * out(a.part_of->alternative, realised);
            kwh += scale * out(a.part_of->alternative, energy_kwh);
            kg += scale * out(a.part_of->alternative, carbon_kg);
          }
        }
        out(k, realised) = all_realised;
        out(k, expected) = all;
        out(k, attempt) = per_take;
        out(k, generation) = making;
        out(k, takes) = mean;
        out(k, energy_kwh) = kwh;
        out(k, carbon_kg) = kg;
      }
    }
  };
}

TakeCosts take_costs(const Shot& shot, std::size_t alternative, const std::vector<double>& values, double fallback) {
  REEL_CHECK(alternative < shot.alternatives.size() && values.size() >= shot.numbers.size());
  return costs_of(shot.alternatives[alternative], [&](std::size_t j) { return values[j]; }, fallback);
}

std::vector<double> typical_values(const Shot& shot) {
  std::vector<double> values;
  for (const Number& n : shot.numbers) values.push_back(n.spread.typical);
  return values;
}

std::vector<double> typical_outputs(const Shot& shot) {
  std::vector<double> x = typical_values(shot), y(shot.alternatives.size() * num_outputs);
  x.resize(x.size() + shot.alternatives.size(), 0.5);  // a luck for each that needs one, at least
  evaluator(shot)(1, x, y);
  return y;
}

}  // namespace reel::cost
