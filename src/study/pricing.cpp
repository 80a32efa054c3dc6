#include "study/pricing.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <span>

#include "core/parallel.hpp"
#include "study/experiment_tables.hpp"
#include "study/rate_file.hpp"

namespace reel::study {
namespace {

namespace fs = std::filesystem;
using cost::Alternative;
using std::int64_t;

auto at(const std::vector<double>& values) {
  return [&values](std::size_t j) { return values[j]; };
}

// What the takes tell the shot file.
Measured measured_of(const std::vector<Take>& takes, const Acceptance& acceptance) {
  Measured m;
  if (takes.empty()) return m;
  const auto add = [&](const std::string& id, const std::string& item, const std::string& unit, double low, double typical, double high) {
    cost::Number n;
    n.id = id;
    n.item = item;
    n.spread = {low, typical, high, cost::Spread::Shape::pert};
    n.unit = cost::Unit::parse(unit);
    n.source = {"measured by Reel", "H", ""};
    m.numbers.push_back(std::move(n));
  };
  // Takes of one shot differ in time by noise alone: the mean, and the smallest and largest as P10 and P90.
  const auto add_measured = [&](const std::string& id, const std::string& item, const std::string& unit, auto&& get) {
    double low = std::numeric_limits<double>::infinity(), high = 0, sum = 0;
    for (const Take& t : takes) {
      const double v = get(t);
      low = std::min(low, v), high = std::max(high, v), sum += v;
    }
    add(id, item, unit, low, std::clamp(sum / static_cast<double>(takes.size()), low, high), high);
  };
  add_measured("measured.core_h", "Core-hours of one take", "core*h/take", [](const Take& t) { return t.core_h; });
  add_measured("measured.node_h", "Node-hours of one take", "node*h/take", [](const Take& t) { return t.node_h; });
  if (std::all_of(takes.begin(), takes.end(), [](const Take& t) { return t.energy_kwh.has_value(); }))
    add_measured("measured.energy", "Energy of one take", "kWh/take", [](const Take& t) { return *t.energy_kwh; });
  if (!acceptance.method.empty()) {
    const double mean = acceptance.beta.mean();
    add("measured.acceptance", fmt::format("Acceptance by {}", acceptance.method), "1", mean, mean, mean);
    m.numbers.back().beta = acceptance.beta;
  }
  if (acceptance.method == "gates") {
    const double passing = cost::labelled(acceptance.num_passed, acceptance.num_takes).mean(), reviews = passing / acceptance.beta.mean();
    add("measured.reviews", "Takes that the gates leave to be seen for each usable one", "1", reviews, reviews, reviews);
  }
  const Take& t = takes.front();
  m.gives = cost::Specification{static_cast<double>(t.num_frames) / t.fps, t.fps, t.width_px, t.height_px};
  return m;
}

fs::path shot_path(const PriceTask& task) {
  if (task.shot.ends_with(".toml")) return resolved_path(task.base / "x", task.shot);
  fs::path path = datasets() / "shots" / (task.shot + ".toml");
  if (fs::exists(path)) return path;
  std::vector<std::string> names;
  std::error_code ec;
  for (const auto& entry : fs::directory_iterator(datasets() / "shots", ec))
    if (entry.path().extension() == ".toml") names.push_back(entry.path().stem().string());
  std::sort(names.begin(), names.end());
  const std::string near = nearest(task.shot, names);
  throw Error(Exit::input, fmt::format("no shot '{}'", task.shot), path.string(),
              near.empty() ? fmt::format("known: {}; or give a path to a .toml file", fmt::join(names, ", ")) : fmt::format("did you mean '{}'?", near));
}

// Typical cost of an alternative's lines, and what of it uses a number nobody stands behind.
struct Resting {
  double all = 0, unsourced = 0;
};
Resting resting(const cost::Shot& shot, const Alternative& a, const std::vector<double>& typical, double takes) {
  Resting sum;
  const auto sourced = [&](const std::vector<std::size_t>& ids) { return std::all_of(ids.begin(), ids.end(), [&](std::size_t j) { return shot.numbers[j].source.sourced(); }); };
  const auto add = [&](const std::vector<cost::Line>& lines, double times) {
    for (const cost::Line& l : lines) {
      double value = cost::product(l.factor * times, l.times, l.over, at(typical));
      if (l.fringe) value *= 1 + typical[*l.fringe];
      sum.all += value;
      if (!sourced(l.times) || !sourced(l.over) || (l.fringe && !sourced({*l.fringe}))) sum.unsourced += value;
    }
  };
  add(a.setup, 1);
  add(a.attempt, takes);
  add(a.post, 1);
  if (a.part_of) {
    const double scale = scale_of(*a.part_of, at(typical));
    const Resting whole = resting(shot, shot.alternatives[a.part_of->alternative], typical, takes);
    const auto& days = a.part_of->days;
    const bool known = sourced(a.part_of->times) && sourced(a.part_of->over) && (!days || sourced({days->setups, days->replaced, days->per_day}));
    sum.all += scale * whole.all;
    sum.unsourced += scale * (known ? whole.unsourced : whole.all);
  }
  return sum;
}

double unsourced(const cost::Shot& shot, const Alternative& a, const std::vector<double>& typical, double takes) {
  const Resting sum = resting(shot, a, typical, takes);
  return sum.all > 0 ? sum.unsourced / sum.all : 0;
}

// Paid days of people: lines with fringes are wages, and a rate a day times its quantity is so many days.
double person_days(const cost::Shot& shot, const Alternative& a, const std::vector<double>& typical) {
  double days = 0;
  for (const cost::Line& l : a.setup) {
    if (!l.fringe || l.times.empty() || shot.numbers[l.times.front()].unit.power("day") != -1) continue;
    // Days: all but the first number, the wage of one.
    days += cost::product(l.factor / l.exchange, std::span(l.times).subspan(1), l.over, at(typical));
  }
  if (a.part_of)  // of the whole day, as much as of its money
    days += scale_of(*a.part_of, at(typical)) * person_days(shot, shot.alternatives[a.part_of->alternative], typical);
  return days;
}

// The beta of an acceptance, counted or from its quantiles.
cost::BetaShape beta_of(const cost::Number& n) { return n.beta ? *n.beta : cost::beta_from_quantiles(n.spread.low, n.spread.high); }

// `other`: mean cost of the comparator.
void against(PricedAlternative& p, const cost::Shot& shot, std::size_t comparator, double other, const cost::Draws& draws) {
  const Alternative& a = shot.alternatives[p.index];
  const auto realised = [&](std::size_t k) -> const std::vector<double>& { return draws.values[k * cost::num_outputs + cost::realised]; };
  const std::vector<double>& mine = realised(p.index);
  for (std::size_t k = 0; k < shot.alternatives.size(); ++k) {
    int64_t cheaper = 0;
    for (std::size_t i = 0; i < mine.size(); ++i) cheaper += mine[i] < realised(k)[i];
    p.cheaper.push_back(static_cast<double>(cheaper) / static_cast<double>(mine.size()));
  }
  std::vector<double> difference(mine.size()), lost(mine.size());
  for (std::size_t i = 0; i < mine.size(); ++i) {
    difference[i] = mine[i] - realised(comparator)[i];
    lost[i] = std::max(0.0, difference[i]);
  }
  p.difference = cost::summarise(difference);
  p.regret = cost::mean(lost);
  // Decision rules at the numbers' typical values, against the comparator's mean.
  const cost::TakeCosts costs = cost::take_costs(shot, p.index, cost::typical_values(shot), 0);
  p.break_even_acceptance = cost::break_even_acceptance(costs, other);
  p.break_even_takes = cost::break_even_takes(costs, other);
  p.stop = cost::stop_after(beta_of(shot.numbers[a.acceptance]), costs.attempt, costs.post, other);
  p.used_share = shot.specification.duration_s / (p.takes.mean * a.generated_s);
  p.per_used_second = p.expected.mean / shot.specification.duration_s;
}

// Two outputs behind the shot's own: headline - comparator, and the logarithm of their ratio. Costs below a hundredth of
// `small` count as that: the logarithm of a free setup would say nothing about the others.
cost::Evaluate with_comparison(const cost::Shot& shot, std::size_t headline, std::size_t comparator, double small) {
  return [evaluate = cost::evaluator(shot), headline, comparator, least = 0.01 * small, outputs = shot.alternatives.size() * cost::num_outputs](
             std::size_t n, std::span<const double> x, std::span<double> y) {
    evaluate(n, x, y.first(n * outputs));
    for (std::size_t i = 0; i < n; ++i) {
      const double h = y[(headline * cost::num_outputs + cost::expected) * n + i], c = y[(comparator * cost::num_outputs + cost::expected) * n + i];
      y[outputs * n + i] = h - c;
      y[(outputs + 1) * n + i] = std::log(std::max(h, least) / std::max(c, least));
    }
  };
}

// Mean cost of a generated alternative at acceptance p, over everything else, as a function of p: what decisions about
// labels and sequences need.
class CostAt {
 public:
  CostAt(const cost::Shot& shot, std::size_t alternative, const std::vector<cost::Input>& inputs, std::uint64_t seed) {
    const std::size_t column = shot.alternatives[alternative].acceptance;
    const cost::BetaShape beta = beta_of(shot.numbers[column]);
    const cost::Quantile quantile = cost::Quantile::beta(beta.a, beta.b);
    constexpr int half = 24;
    for (int i = -half; i <= half; ++i) p_.push_back(std::clamp(quantile(i / 6.0), 1e-9, 1.0));  // scores -4 ... 4
    p_.insert(p_.begin(), 0.0);
    p_.push_back(1.0);
    const std::size_t outputs = shot.alternatives.size() * cost::num_outputs;
    const cost::Evaluate at_all_p = [&, evaluate = cost::evaluator(shot)](std::size_t n, std::span<const double> x, std::span<double> y) {
      std::vector<double> changed(x.begin(), x.end()), all(n * outputs);
      for (std::size_t k = 0; k < p_.size(); ++k) {
        std::fill_n(changed.begin() + static_cast<std::ptrdiff_t>(column * n), n, p_[k]);
        evaluate(n, changed, all);
        std::copy_n(all.begin() + static_cast<std::ptrdiff_t>((alternative * cost::num_outputs + cost::expected) * n), n,
                    y.begin() + static_cast<std::ptrdiff_t>(k * n));
      }
    };
    constexpr int64_t num_draws = 1 << 13;  // common to all p, so the curve is smooth
    for (const std::vector<double>& v : cost::draw(inputs, at_all_p, p_.size(), num_draws, seed).values) cost_.push_back(cost::mean(v));
  }

  double operator()(double p) const {
    const auto above = std::upper_bound(p_.begin(), p_.end(), p);
    if (above == p_.begin()) return cost_.front();
    if (above == p_.end()) return cost_.back();
    const auto k = static_cast<std::size_t>(above - p_.begin());
    const double share = (p - p_[k - 1]) / (p_[k] - p_[k - 1]);
    return cost_[k - 1] + share * (cost_[k] - cost_[k - 1]);
  }

 private:
  std::vector<double> p_, cost_;
};

// What it is worth to know the headline's acceptance better before choosing between it and the comparator, and what a
// sequence costs. The comparator's cost does not depend on the acceptance.
void about_acceptance(Priced& priced, const PriceTask& task, const std::vector<cost::Input>& inputs) {
  const std::size_t h = *priced.headline;
  const cost::BetaShape beta = beta_of(priced.shot.numbers[priced.shot.alternatives[h].acceptance]);
  const CostAt cost_at(priced.shot, h, inputs, task.seed);
  const double other = priced.alternatives[priced.comparator].expected.mean;
  const cost::Quantile quantile = cost::Quantile::beta(beta.a, beta.b);
  constexpr int points = 4096;
  std::vector<double> mine(points), best(points), sequence(points);
  for (int i = 0; i < points; ++i) {
    const double p = quantile(cost::normal_score((i + 0.5) / points));
    const auto at = static_cast<std::size_t>(i);
    mine[at] = cost_at(p);
    best[at] = std::min(mine[at], other);
    sequence[at] = mine[at] + static_cast<double>(task.sequence_shots - 1) * cost_at(p * task.continuity);
  }
  priced.value_of_knowing_p = std::max(0.0, std::min(cost::mean(mine), other) - cost::mean(best));
  for (const int64_t n : {10, 30, 100}) priced.value_of_labels.emplace_back(n, cost::value_of_labels(beta.a, beta.b, cost_at, other, n));
  if (task.sequence_shots > 0) priced.sequence = cost::mean(sequence);
}

}  // namespace

Priced price(const PriceTask& task, const std::vector<fs::path>& results) {
  Priced priced;
  for (const fs::path& result : results) priced.takes.push_back(read_take(result, task));
  std::sort(priced.takes.begin(), priced.takes.end(), [](const Take& a, const Take& b) { return std::tie(a.seed, a.run_id) < std::tie(b.seed, b.run_id); });
  // Layouts and repeats of one task are one film.
  priced.takes.erase(std::unique(priced.takes.begin(), priced.takes.end(), [](const Take& a, const Take& b) { return a.task_id == b.task_id; }), priced.takes.end());
  priced.acceptance = acceptance_of(priced.takes, task);
  std::vector<fs::path> cards{datasets() / "rates"};
  cards.insert(cards.end(), task.cards.begin(), task.cards.end());
  const cost::RateBook rates = read_rates(cards);
  priced.cards_sha256 = rates.sha256;
  priced.accounts = rates.accounts;
  priced.shot = read_shot(shot_path(task), rates, measured_of(priced.takes, priced.acceptance), task.options);
  priced.seed = task.seed;
  priced.num_draws = task.num_draws;
  priced.claim = task.claim;
  const cost::Shot& shot = priced.shot;

  const std::vector<cost::Input> inputs = cost::inputs_of(shot);
  const std::size_t outputs = shot.alternatives.size() * cost::num_outputs;
  const cost::Draws draws = cost::draw(inputs, cost::evaluator(shot), outputs, task.num_draws, task.seed);
  const std::vector<double> typical = cost::typical_values(shot);
  const std::vector<double> y = cost::typical_outputs(shot);
  std::vector<cost::Summary> summaries(outputs);
  parallel_for(static_cast<int64_t>(outputs), [&](int64_t i) { summaries[static_cast<std::size_t>(i)] = cost::summarise(draws.values[static_cast<std::size_t>(i)]); });
  priced.num_first_draws = std::min<int64_t>(task.num_draws, 4096);  // enough for a picture
  std::optional<std::size_t> comparator;
  for (std::size_t k = 0; k < shot.alternatives.size(); ++k) {
    const auto of = [&](cost::Output o) { return summaries[k * cost::num_outputs + o]; };
    PricedAlternative p;
    p.index = k;
    p.realised = of(cost::realised);
    p.expected = of(cost::expected);
    p.attempt = of(cost::attempt);
    p.takes = of(cost::takes);
    p.energy_kwh = of(cost::energy_kwh);
    p.carbon_kg = of(cost::carbon_kg);
    p.generation_share = p.expected.mean > 0 ? of(cost::generation).mean / p.expected.mean : 0;
    p.typical = y[k * cost::num_outputs + cost::expected];
    const std::vector<double>& all = draws.values[k * cost::num_outputs + cost::realised];
    priced.first_draws.insert(priced.first_draws.end(), all.begin(), all.begin() + priced.num_first_draws);
    if (task.claim) {
      p.within_claim = static_cast<double>(std::count_if(all.begin(), all.end(), [&](double c) { return c <= *task.claim; })) / static_cast<double>(all.size());
    }
    p.person_days = person_days(shot, shot.alternatives[k], typical);
    p.unsourced_share = unsourced(shot, shot.alternatives[k], typical, y[k * cost::num_outputs + cost::takes]);
    const Alternative& a = shot.alternatives[k];
    if (!a.generated() && a.unmet.empty() && (!comparator || p.expected.mean < priced.alternatives[*comparator].expected.mean)) comparator = k;
    if (a.generated() && a.unmet.empty() && a.condition.empty() &&
        (!priced.headline || p.expected.mean < priced.alternatives[*priced.headline].expected.mean))
      priced.headline = k;
    priced.alternatives.push_back(std::move(p));
  }
  if (!comparator)
    throw Error(Exit::input, "no conventional alternative meets the specification", shot.name, "a comparison needs at least one that does not generate");
  priced.comparator = *comparator;
  parallel_for(static_cast<int64_t>(priced.alternatives.size()), [&](int64_t k) {
    PricedAlternative& p = priced.alternatives[static_cast<std::size_t>(k)];
    if (shot.alternatives[p.index].generated()) against(p, shot, *comparator, priced.alternatives[*comparator].expected.mean, draws);
  });
  if (priced.headline) {
    const cost::Evaluate comparison = with_comparison(shot, *priced.headline, *comparator, priced.alternatives[*comparator].expected.mean);
    priced.sobol = cost::sobol(inputs, comparison, outputs + 2, outputs + 1, task.sobol_log2, task.seed);
    priced.tornado = cost::tornado(inputs, comparison, outputs + 2, outputs);
    about_acceptance(priced, task, inputs);
  }
  return priced;
}

}  // namespace reel::study
