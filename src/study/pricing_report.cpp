// What was priced, for people, scripts and HDF5.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "cost/budget.hpp"
#include "study/pricing.hpp"
#include "study/provenance.hpp"
#include "study/tables.hpp"

namespace reel::study {
namespace {

using cost::Alternative;
using nlohmann::ordered_json;

/// "12,345", "430", "8.40": what a person reads at a glance.
std::string money(double units) {
  if (!std::isfinite(units)) return units > 0 ? "infinite" : "-";
  const std::string digits = fmt::format("{:.{}f}", std::abs(units), std::abs(units) < 100 ? 2 : 0);
  const bool minus = units < 0 && digits.find_first_not_of("0.") != std::string::npos;
  return cost::grouped((minus ? "-" : "") + digits);
}

/// Whole ones of a number that is not negative: "9,203".
std::string count(double n) { return std::isfinite(n) ? cost::grouped(fmt::format("{:.0f}", std::floor(n))) : "infinite"; }

/// Indices of the numbers by their total-order index, largest first; the tier stands behind the numbers.
std::vector<std::size_t> ranking(const Priced& p) {
  std::vector<std::size_t> order(p.sobol.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return p.sobol[a].total > p.sobol[b].total; });
  return order;
}

std::string input_name(const Priced& p, std::size_t j) {
  return j < p.shot.numbers.size() ? p.shot.numbers[j].item : j + 1 == p.sobol.size() ? "tier of the production" : "luck";
}

void takes_text(const Priced& p, std::string& out) {
  if (p.takes.empty()) {
    out += "takes       none rendered: acceptance rests on priors\n";
    return;
  }
  const Acceptance& a = p.acceptance;
  out += fmt::format("takes       {} rendered", a.num_takes);
  if (a.method == "gates") out += fmt::format(", {} pass the gates", a.num_passed);
  if (a.method == "labels") out += fmt::format(", {} of {} labelled ones are usable ({} pass the gates)", a.num_usable, a.num_labelled, a.num_passed);
  if (!a.method.empty()) {
    out += fmt::format("; acceptance {:.3f} by {}", a.beta.mean(), a.method);
    if (a.method == "gates") out += fmt::format(", gates {}", a.screening_method);
  }
  out += "\n";
  std::map<std::string, int> reasons;
  for (const Take& t : p.takes)
    for (const std::string& why : t.failed) ++reasons[why.substr(0, why.find(' '))];
  for (const auto& [metric, count] : reasons) out += fmt::format("            {} rejects {} of {}\n", metric, count, a.num_takes);
}

void headline_text(const Priced& p, std::string& out) {
  const PricedAlternative& h = p.alternatives[*p.headline];
  const cost::Shot& s = p.shot;
  const std::string code = s.currency.code;
  out += fmt::format("\nheadline    {} against {}\n", s.alternatives[h.index].title, s.alternatives[p.comparator].title);
  out += fmt::format("cheaper     in {:.0f} % of draws; difference P10 {}, P50 {}, P90 {} {}; regret {}\n", 100 * h.cheaper[p.comparator], money(h.difference.p10),
                     money(h.difference.p50), money(h.difference.p90), code, money(h.regret));
  std::string others;
  for (const PricedAlternative& a : p.alternatives)
    if (!s.alternatives[a.index].generated() && a.index != p.comparator)
      others += fmt::format("{}{} {:.0f} %", others.empty() ? "" : ", ", s.alternatives[a.index].name, 100 * h.cheaper[a.index]);
  if (!others.empty()) out += fmt::format("            than the others: {}\n", others);
  if (p.claim)
    out += fmt::format("claim       {} {} or less: {:.2g} % of usable shots; an attempt costs {}\n", money(*p.claim), code, 100 * *h.within_claim, money(h.attempt.p50));
  out += "break-even  ";
  if (h.break_even_acceptance)
    out += fmt::format("acceptance {:.2g}, {} takes", *h.break_even_acceptance, count(h.break_even_takes));
  else
    out += "none: set-up and clean-up alone cost more";
  if (!h.stop)
    out += "; no number of failures is a reason to stop";
  else
    out += *h.stop == 0 ? "; do not begin" : fmt::format("; stop after {} failures in a row", *h.stop);
  out += fmt::format("\ngeneration  is {:.1f} % of the cost; {:.0f} % of the generated seconds are used; a used second costs {} {}\n", 100 * h.generation_share,
                     100 * h.used_share, money(h.per_used_second), code);
  if (p.sequence) out += fmt::format("sequence    {} {} for shots that must match\n", money(*p.sequence), code);
  if (h.energy_kwh.mean > 0 || h.carbon_kg.mean > 0)
    out += fmt::format("energy      {:.3g} kWh, {:.3g} kgCO2e per usable shot, by the rows of its [[energy]] and [[carbon]]\n", h.energy_kwh.mean, h.carbon_kg.mean);
  else
    out += "energy      not available\n";
  std::string days;
  for (const PricedAlternative& a : p.alternatives)
    if (a.person_days > 0 && !s.alternatives[a.index].generated()) days += fmt::format("{}{} {:.1f}", days.empty() ? "" : ", ", s.alternatives[a.index].name, a.person_days);
  if (!days.empty()) out += fmt::format("displaced   person-days of paid work, if it replaces: {}\n", days);
  const std::vector<std::size_t> order = ranking(p);
  for (std::size_t i = 0; i < std::min<std::size_t>(3, order.size()); ++i) {
    const std::size_t j = order[i];
    const cost::SobolIndex& x = p.sobol[j];
    out += fmt::format("{:<11} {:<48.48} total Sobol {:.2f} [{:.2f}, {:.2f}]", i == 0 ? "matters" : "", input_name(p, j), x.total, x.total_low, x.total_high);
    if (j < s.numbers.size()) out += fmt::format("  {} ... {}", money(p.tornado[j].low), money(p.tornado[j].high));
    out += "\n";
  }
  out += fmt::format("knowing     the acceptance is worth {} {}; 10 labelled takes {}, 30 {}, 100 {}\n", money(p.value_of_knowing_p), code,
                     money(p.value_of_labels[0].second), money(p.value_of_labels[1].second), money(p.value_of_labels[2].second));
}

}  // namespace

std::string priced_text(const Priced& p) {
  const cost::Shot& s = p.shot;
  std::string out = fmt::format("{}: {:.3g} s, {} x {}, {:.3g} fps; {} of {}, prices of {}\n", s.title, s.specification.duration_s, s.specification.width_px,
                                s.specification.height_px, s.specification.fps, s.currency.code, s.currency.year, s.date);
  takes_text(p, out);
  out += fmt::format("\n{:<44} {:>9} {:>6} {:>9} {:>9} {:>9} {:>9} {:>8} {:>8}\n", "per usable shot", "attempt", "takes", "P10", "P50", "P90", "mean", "cheaper", "no source");
  for (const bool made : {false, true}) {
    for (const PricedAlternative& a : p.alternatives) {
      const Alternative& is = s.alternatives[a.index];
      if (is.generated() != made) continue;
      out += fmt::format("{} {:<42.42} {:>9} {:>6} {:>9} {:>9} {:>9} {:>9} {:>8} {:>7.0f}%\n", a.index == p.comparator ? ">" : p.headline == a.index ? "*" : " ",
                         is.title, made ? money(a.attempt.p50) : "", made ? fmt::format("{:.1f}", a.takes.mean) : "", money(a.realised.p10),
                         money(a.realised.p50), money(a.realised.p90), money(a.realised.mean), made ? fmt::format("{:.0f}%", 100 * a.cheaper[p.comparator]) : "",
                         100 * a.unsourced_share);
      if (!is.unmet.empty()) out += fmt::format("    does not meet the specification: {}\n", is.unmet);
      if (!is.condition.empty()) out += fmt::format("    only if {}\n", is.condition);
    }
  }
  for (const std::string& d : s.dropped) out += fmt::format("  not priced: {}\n", d);
  out += "  > cheapest that meets the specification without generating   * cheapest generated one without a condition\n";
  if (p.headline) headline_text(p, out);
  return out;
}

std::string priced_json(const Priced& p) {
  const cost::Shot& s = p.shot;
  const auto summary = [](const cost::Summary& x) {
    return ordered_json{{"mean", number(x.mean)}, {"p10", number(x.p10)}, {"p50", number(x.p50)}, {"p90", number(x.p90)}, {"se_p50", number(x.se_p50)}};
  };
  ordered_json j{{"shot", s.name}, {"title", s.title}, {"currency", s.currency.code}, {"year", s.currency.year}, {"date", s.date},
                 {"comparator", s.alternatives[p.comparator].name}, {"headline", p.headline ? ordered_json(s.alternatives[*p.headline].name) : ordered_json()},
                 {"cards_sha256", p.cards_sha256}, {"draws", p.num_draws}, {"claim", p.claim ? number(*p.claim) : ordered_json()}, {"seed", p.seed}, {"dropped", s.dropped}};
  j["acceptance"] = {{"method", p.acceptance.method}, {"takes", p.acceptance.num_takes}, {"passed", p.acceptance.num_passed},
                     {"labelled", p.acceptance.num_labelled}, {"usable", p.acceptance.num_usable}, {"miss", p.acceptance.screening.miss},
                     {"false_reject", p.acceptance.screening.false_reject}, {"screening", p.acceptance.screening_method},
                     {"beta", {p.acceptance.beta.a, p.acceptance.beta.b}}};
  j["takes"] = ordered_json::array();
  for (const Take& t : p.takes)
    j["takes"].push_back({{"run_id", t.run_id}, {"seed", t.seed}, {"core_h", t.core_h}, {"node_h", t.node_h},
                          {"energy_kwh", t.energy_kwh ? number(*t.energy_kwh) : ordered_json()}, {"energy_method", t.energy_method}, {"failed", t.failed},
                          {"usable", t.label ? ordered_json(*t.label) : ordered_json()}});
  for (const PricedAlternative& a : p.alternatives) {
    const Alternative& is = s.alternatives[a.index];
    ordered_json one{{"name", is.name}, {"title", is.title}, {"generated", is.generated()}, {"unmet", is.unmet}, {"condition", is.condition},
                     {"cost", summary(a.realised)}, {"typical", number(a.typical)}, {"unsourced_share", number(a.unsourced_share)}, {"person_days", number(a.person_days)},
                     {"energy_kwh", number(a.energy_kwh.mean)}, {"carbon_kg", number(a.carbon_kg.mean)}};
    if (a.within_claim) one["within_claim"] = *a.within_claim;
    if (is.generated()) {
      one["attempt"] = summary(a.attempt);
      one["takes"] = summary(a.takes);
      one["generation_share"] = number(a.generation_share);
      one["cheaper"] = number(a.cheaper[p.comparator]);
      for (const PricedAlternative& b : p.alternatives)
        if (b.index != a.index) one["cheaper_than"][s.alternatives[b.index].name] = number(a.cheaper[b.index]);
      one["difference"] = summary(a.difference);
      one["regret"] = number(a.regret);
      one["break_even_acceptance"] = a.break_even_acceptance ? number(*a.break_even_acceptance) : ordered_json();
      one["break_even_takes"] = number(a.break_even_takes);
      one["stop_after"] = a.stop ? ordered_json(*a.stop) : ordered_json();
      one["used_share"] = number(a.used_share);
      one["per_used_second"] = number(a.per_used_second);
    }
    j["alternatives"].push_back(std::move(one));
  }
  j["sobol"] = ordered_json::array();
  for (const std::size_t i : ranking(p)) {
    const cost::SobolIndex& x = p.sobol[i];
    if (x.total == 0) continue;
    ordered_json one{{"input", i < s.numbers.size() ? s.numbers[i].id : input_name(p, i)}, {"total", x.total}, {"total_interval", {x.total_low, x.total_high}}, {"first", x.first}};
    if (i < p.tornado.size()) one["tornado"] = {p.tornado[i].low, p.tornado[i].high};
    j["sobol"].push_back(std::move(one));
  }
  j["value_of_knowing_acceptance"] = number(p.value_of_knowing_p);
  if (p.sequence) j["sequence"] = number(*p.sequence);
  for (const auto& [n, value] : p.value_of_labels) j["value_of_labels"][fmt::format("{}", n)] = number(value);
  return j.dump(2, ' ', false, ordered_json::error_handler_t::replace);
}

io::Record priced_record(const Priced& p) {
  const cost::Shot& s = p.shot;
  io::Record record;
  record.groups["/"] = {{"title", s.title}, {"shot", s.name}, {"currency", s.currency.code}, {"price_year", std::int64_t{s.currency.year}}, {"price_date", s.date},
                        {"cards_sha256", p.cards_sha256}, {"seed", static_cast<std::int64_t>(p.seed)}, {"draws", p.num_draws}, {"source", program_name()},
                        {"comparator", s.alternatives[p.comparator].name}, {"headline", p.headline ? s.alternatives[*p.headline].name : std::string()}};
  if (!p.takes.empty()) record.groups["/"]["task_id"] = p.takes.front().task_id;
  const auto table = [&](const std::string& dim, std::size_t n, const std::string& name, const std::string& unit, const std::string& long_name, io::Data data) {
    record.datasets.push_back({"/result/" + dim + "_" + name, unit, long_name, {static_cast<std::int64_t>(n)}, {dim}, std::move(data), {}});
  };
  const std::string code = s.currency.code;
  const auto inputs = [&](const std::string& name, const std::string& unit, const std::string& long_name, auto&& get) {
    table("input", s.numbers.size(), name, unit, long_name, column(s.numbers, get));
  };
  inputs("id", "", "id of the number", [](const cost::Number& n) { return n.id; });
  inputs("item", "", "what it is", [](const cost::Number& n) { return n.item; });
  inputs("unit", "", "its unit", [](const cost::Number& n) { return n.unit.text(); });
  inputs("low", "1", "10 % quantile", [](const cost::Number& n) { return n.spread.low; });
  inputs("typical", "1", "mode", [](const cost::Number& n) { return n.spread.typical; });
  inputs("high", "1", "90 % quantile", [](const cost::Number& n) { return n.spread.high; });
  inputs("source", "", "who says so", [](const cost::Number& n) { return n.source.text; });
  inputs("confidence", "", "H, M, L, U, D", [](const cost::Number& n) { return n.source.confidence; });
  if (!p.sobol.empty()) {
    std::vector<double> total, low, high;
    for (std::size_t i = 0; i < s.numbers.size(); ++i) total.push_back(p.sobol[i].total), low.push_back(p.sobol[i].total_low), high.push_back(p.sobol[i].total_high);
    table("input", s.numbers.size(), "sobol_total", "1", "total-order index of log(headline / comparator)", total);
    table("input", s.numbers.size(), "sobol_low", "1", "lower end of its 90 % interval", low);
    table("input", s.numbers.size(), "sobol_high", "1", "upper end of its 90 % interval", high);
  }
  const auto ways = [&](const std::string& name, const std::string& unit, const std::string& long_name, auto&& get) {
    table("alternative", p.alternatives.size(), name, unit, long_name, column(p.alternatives, get));
  };
  using A = PricedAlternative;
  ways("name", "", "alternative", [&](const A& a) { return s.alternatives[a.index].name; });
  ways("title", "", "alternative, for people", [&](const A& a) { return s.alternatives[a.index].title; });
  ways("unmet", "", "why it does not meet the specification", [&](const A& a) { return s.alternatives[a.index].unmet; });
  ways("mean", "1", "mean cost of a usable shot, " + code, [](const A& a) { return a.realised.mean; });
  ways("p10", "1", "P10 of it, " + code, [](const A& a) { return a.realised.p10; });
  ways("p50", "1", "P50 of it, " + code, [](const A& a) { return a.realised.p50; });
  ways("p90", "1", "P90 of it, " + code, [](const A& a) { return a.realised.p90; });
  ways("attempt", "1", "mean cost of an attempt, " + code, [](const A& a) { return a.attempt.mean; });
  ways("takes", "1", "mean number of takes", [](const A& a) { return a.takes.mean; });
  ways("cheaper", "1", "probability of costing less than the comparator", [&](const A& a) { return a.cheaper.empty() ? std::numeric_limits<double>::quiet_NaN() : a.cheaper[p.comparator]; });
  ways("energy", "kW h", "energy of a usable shot", [](const A& a) { return a.energy_kwh.mean; });
  ways("carbon", "kg", "CO2 equivalent of a usable shot", [](const A& a) { return a.carbon_kg.mean; });
  ways("unsourced", "1", "share of the typical cost that rests on rows without source", [](const A& a) { return a.unsourced_share; });
  record.datasets.push_back({"/result/draws", "1", "cost of a usable shot in the first draws, " + code,
                             {static_cast<std::int64_t>(p.alternatives.size()), p.num_first_draws}, {"alternative", "draw"}, p.first_draws, {}});
  if (!p.takes.empty()) {
    const auto takes = [&](const std::string& name, const std::string& unit, const std::string& long_name, auto&& get) {
      table("take", p.takes.size(), name, unit, long_name, column(p.takes, get));
    };
    takes("run_id", "", "result of the take", [](const Take& t) { return t.run_id; });
    takes("seed", "1", "seed of its noise", [](const Take& t) { return static_cast<std::int64_t>(t.seed); });
    takes("core_hours", "h", "cores times hours", [](const Take& t) { return t.core_h; });
    takes("passed", "1", "1: passes all gates", [](const Take& t) { return std::int32_t{t.passed()}; });
    takes("failed", "", "gates that rejected it", [](const Take& t) { return fmt::format("{}", fmt::join(t.failed, "; ")); });
  }
  return record;
}

std::string top_sheet_csv(const Priced& p) {
  const auto quoted = [](std::string text) {
    std::string out = "\"";
    for (const char c : text) out += c == '"' ? "\"\"" : std::string(1, c);
    return out + "\"";
  };
  static const char* effects[] = {"displaced", "left", "added"};
  const auto account_of = [&](const std::string& code) {
    const auto it = p.accounts.find(code);
    return it == p.accounts.end() ? cost::Account{} : it->second;
  };
  std::string out = "alternative,row,section,account,name,item,effect,amount,currency,year\n";
  for (std::size_t k = 0; k < p.shot.alternatives.size(); ++k) {
    std::vector<cost::BudgetLine> lines = cost::budget(p.shot, k);
    std::stable_sort(lines.begin(), lines.end(), [](const auto& a, const auto& b) { return a.account < b.account; });
    const auto row = [&](const char* kind, const std::string& section, const std::string& code, const std::string& item, const char* effect,
                         const cost::Money& amount) {
      out += fmt::format("{},{},{},{},{},{},{},{},{},{}\n", quoted(p.shot.alternatives[k].name), kind, section, code, quoted(account_of(code).name),
                         quoted(item), effect, amount.digits(), p.shot.currency.code, p.shot.currency.year);
    };
    std::map<std::string, std::vector<cost::BudgetLine>> accounts, sections;
    for (const cost::BudgetLine& line : lines) {
      const std::string section = account_of(line.account).section;
      row("detail", section, line.account, line.item, effects[static_cast<int>(line.effect)], line.amount);
      accounts[line.account].push_back(line);
      sections[section].push_back(line);
    }
    for (const auto& [code, of] : accounts) row("account", account_of(code).section, code, "", "", cost::total(of, p.shot.currency));
    for (const auto& [section, of] : sections) row("section", section, "", "", "", cost::total(of, p.shot.currency));
    row("total", "", "", "", "", cost::total(lines, p.shot.currency));
  }
  return out;
}

}  // namespace reel::study
