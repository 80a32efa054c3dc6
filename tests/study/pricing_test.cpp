// Prices of the shots that come with Reel, against benchmarks and against themselves; what is written and read back.
#include "study/pricing.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "core/parallel.hpp"
#include "cost/budget.hpp"
#include "study/rate_file.hpp"
#include "tests/study/made_results.hpp"

namespace reel::study {
namespace {

namespace fs = std::filesystem;
using cost::Alternative;
using test::error_of;
using test::expect_contains;

const std::vector<std::string> shots{"crowd", "dialogue_closeup", "establishing_house", "high_fall", "vehicle"};  // that can be generated

PriceTask task_of(const std::string& shot) {
  PriceTask task;
  task.shot = shot;
  task.num_draws = 4096;
  task.sobol_log2 = 6;
  return task;
}
bool generated(const Alternative& a) { return a.kind == Alternative::Kind::generated; }
const PricedAlternative& by_name(const Priced& p, const std::string& name) {
  for (const PricedAlternative& a : p.alternatives)
    if (p.shot.alternatives[a.index].name == name) return a;
  throw Error(Exit::bug, "no alternative " + name);
}
cost::Spread benchmark(const std::string& id) { return read_rates({datasets() / "rates"}).at(id, "2026-11-22", "US-CA").spread; }

class Pricing : public test::MadeResults {};

TEST_F(Pricing, PercentilesAreInOrderAndTheComparatorIsTheCheapest) {
  for (const std::string& name : shots) {
    const Priced p = price(task_of(name), {});
    ASSERT_TRUE(p.headline) << name;
    EXPECT_EQ(p.num_draws, 4096);
    EXPECT_EQ(p.alternatives.size(), p.shot.alternatives.size());
    const Alternative& comparator = p.shot.alternatives[p.comparator];
    EXPECT_FALSE(generated(comparator));
    EXPECT_EQ(comparator.unmet, "");
    for (const PricedAlternative& a : p.alternatives) {
      const Alternative& is = p.shot.alternatives[a.index];
      for (const cost::Summary* s : {&a.realised, &a.expected, &a.attempt, &a.takes, &a.energy_kwh, &a.carbon_kg}) {
        EXPECT_LE(s->p10, s->p50) << name << " " << is.name;
        EXPECT_LE(s->p50, s->p90) << name << " " << is.name;
      }
      EXPECT_GT(a.realised.mean, 0);
      EXPECT_GE(a.unsourced_share, 0);
      EXPECT_LE(a.unsourced_share, 1);
      EXPECT_FALSE(a.within_claim);
      const bool comparable = is.unmet.empty() && (!generated(is) || is.condition.empty());
      const std::size_t best = generated(is) ? *p.headline : p.comparator;
      EXPECT_TRUE(!comparable || a.expected.mean >= p.alternatives[best].expected.mean) << name << " " << is.name;
      if (!generated(is)) continue;
      EXPECT_EQ(a.cheaper.at(a.index), 0);
      EXPECT_GE(a.takes.mean, 1);
      EXPECT_LE(a.takes.mean, static_cast<double>(is.cap));
      EXPECT_GE(a.regret, std::max(0.0, a.difference.mean));
      EXPECT_GT(a.generation_share, 0);
      EXPECT_LT(a.generation_share, 1);
      EXPECT_NEAR(a.realised.mean, a.expected.mean, 5 * std::hypot(a.realised.se_mean, a.expected.se_mean)) << "luck is fair";
    }
    ASSERT_EQ(p.sobol.size(), p.tornado.size() + 1) << "the tier stands last";
    EXPECT_GE(p.value_of_knowing_p, 0);
    for (const auto& [n, value] : p.value_of_labels) EXPECT_LE(value, p.value_of_knowing_p + 0.02 * p.alternatives[p.comparator].expected.mean) << n;
  }
}

TEST_F(Pricing, IsTheSameOnAnyNumberOfThreads) {
  for (const std::string name : {"establishing_house", "high_fall"}) {
    std::vector<std::string> told;
    for (const int threads : {1, 2}) {
      set_num_threads(threads);
      const Priced p = price(task_of(name), {});
      told.push_back(priced_json(p) + priced_text(p) + top_sheet_csv(p));
    }
    set_num_threads(2);
    EXPECT_FALSE(told[0] != told[1]) << name;
    PriceTask other = task_of(name);
    other.seed = 2;
    EXPECT_TRUE(priced_json(price(other, {})) != told[0].substr(0, told[0].rfind('}') + 1)) << "another seed, other draws";
  }
}

TEST_F(Pricing, CurrencyAndYearDecideNothing) {
  const cost::RateBook rates = read_rates({datasets() / "rates"});
  for (const std::string name : {"dialogue_closeup", "establishing_house"}) {  // the first has money of its own
    const Priced dollars = price(task_of(name), {});
    for (const cost::Currency& to : {cost::Currency{"EUR", 2026}, cost::Currency{"USD", 2020}, cost::Currency{"GBP", 2023}}) {
      PriceTask task = task_of(name);
      task.options.currency = to.code;
      task.options.year = to.year;
      const Priced p = price(task, {});
      const double factor = rates.prices.factor({"USD", 2026}, to);
      const std::string what = fmt::format("{} in {} of {}", name, to.code, to.year);
      EXPECT_NE(factor, 1) << what;
      EXPECT_EQ(p.comparator, dollars.comparator) << what;
      EXPECT_EQ(p.headline, dollars.headline) << what;
      const auto near = [&](double a, double b) { EXPECT_NEAR(a, b, 1e-9 * std::abs(b)) << what; };
      for (std::size_t k = 0; k < p.alternatives.size(); ++k) {
        const PricedAlternative &a = p.alternatives[k], &b = dollars.alternatives[k];
        near(a.realised.p10, factor * b.realised.p10);
        near(a.realised.p50, factor * b.realised.p50);
        near(a.realised.mean, factor * b.realised.mean);
        near(a.typical, factor * b.typical);
        near(a.takes.mean, b.takes.mean);
        near(a.carbon_kg.mean, b.carbon_kg.mean);
        near(a.person_days, b.person_days);
        near(a.unsourced_share, b.unsourced_share);
        EXPECT_EQ(a.stop, b.stop) << what;
        ASSERT_EQ(a.cheaper.size(), b.cheaper.size());
        for (std::size_t i = 0; i < a.cheaper.size(); ++i) EXPECT_NEAR(a.cheaper[i], b.cheaper[i], 1.5 / 4096) << what;  // a tie may round
        ASSERT_EQ(a.break_even_acceptance.has_value(), b.break_even_acceptance.has_value());
        if (a.break_even_acceptance) near(*a.break_even_acceptance, *b.break_even_acceptance);
      }
      for (std::size_t i = 0; i < p.sobol.size(); ++i) EXPECT_NEAR(p.sobol[i].total, dollars.sobol[i].total, 1e-6) << what;
      EXPECT_NEAR(p.value_of_knowing_p, factor * dollars.value_of_knowing_p, 1e-9 * p.alternatives[p.comparator].expected.mean) << what;
    }
  }
}

TEST_F(Pricing, WithinTheClaim) {
  PriceTask task = task_of("establishing_house");
  const Priced p = price(task, {});
  const auto within = [&](double claim) {
    task.claim = claim;
    std::vector<double> all;
    for (const PricedAlternative& a : price(task, {}).alternatives) all.push_back(a.within_claim.value());
    return all;
  };
  const std::size_t h = *p.headline;
  EXPECT_NEAR(within(p.alternatives[h].realised.p50).at(h), 0.5, 1e-3);
  EXPECT_NEAR(within(p.alternatives[h].realised.p90).at(h), 0.9, 1e-3);
  const std::vector<double> nothing = within(1e-6);
  for (std::size_t k = 0; k < nothing.size(); ++k)
    EXPECT_TRUE(nothing[k] == 0 || p.shot.alternatives[k].name == "marginal") << "only a setup on a day that is paid for may be free";
  for (const double x : within(1e12)) EXPECT_EQ(x, 1);
  const std::vector<double> low = within(100), high = within(1000);  // one asks for more than the other
  for (std::size_t k = 0; k < low.size(); ++k) EXPECT_LE(low[k], high[k]);
}

TEST_F(Pricing, SequencesThatMustMatchCostMoreThanTheirShots) {
  PriceTask task = task_of("establishing_house");
  EXPECT_FALSE(price(task, {}).sequence);
  const auto sequence = [&](std::int64_t n, double continuity) {
    task.sequence_shots = n;
    task.continuity = continuity;
    return price(task, {}).sequence.value();
  };
  const double one = sequence(1, 1);
  const Priced p = price(task, {});
  EXPECT_NEAR(one, p.alternatives[*p.headline].expected.mean, 0.03 * one);
  EXPECT_DOUBLE_EQ(sequence(1, 0.3), one) << "the first matches itself";
  EXPECT_NEAR(sequence(4, 1), 4 * one, 1e-9 * one);
  double before = 4 * one;
  for (const double continuity : {0.6, 0.0}) {
    const double now = sequence(4, continuity);
    EXPECT_GT(now, before) << continuity;
    before = now;
  }
}

TEST_F(Pricing, LiesInsideTheBenchmarks) {
  const auto inside = [](double x, const std::string& id) {
    const cost::Spread s = benchmark(id);
    EXPECT_GE(x, s.low) << id;
    EXPECT_LE(x, s.high) << id;
  };
  const Priced house = price(task_of("establishing_house"), {}), fall = price(task_of("high_fall"), {});
  inside(by_name(house, "dedicated").typical, "bench.establishing.dedicated");
  inside(by_name(house, "shared").typical, "bench.establishing.shared");
  inside(by_name(fall, "stunt").typical, "bench.fall.total");
}

TEST_F(Pricing, SmallFeatureSpendsAsRealBudgetsDo) {
  const cost::Shot shot = read_shot(datasets() / "shots" / "small_feature.toml", read_rates({datasets() / "rates"}));
  ASSERT_EQ(shot.alternatives.size(), 1u);
  std::map<std::string, double> section;
  double sum = 0;
  for (const cost::BudgetLine& line : cost::budget(shot, 0)) {
    ASSERT_FALSE(line.account.empty()) << line.item;
    const int account = std::stoi(line.account);
    ASSERT_GE(account, 1100) << line.item;
    section[account < 2000 ? "above_line" : account < 4500 ? "production" : account < 6000 ? "post" : "other"] += line.amount.units();
    sum += line.amount.units();
  }
  for (const char* name : {"above_line", "production", "post", "other"}) {
    const cost::Spread range = benchmark(std::string("budget.share.") + name);
    EXPECT_GE(100 * section[name] / sum, range.low) << name;
    EXPECT_LE(100 * section[name] / sum, range.high) << name;
  }
  const Priced p = price(task_of("small_feature"), {});
  EXPECT_FALSE(p.headline);
  expect_contains(priced_text(p), "The feature");
  EXPECT_TRUE(nlohmann::json::parse(priced_json(p)).at("headline").is_null());
  priced_record(p);
}

TEST_F(Pricing, PeopleAndSourcesOfPartsAreThoseOfTheWhole) {
  const Priced p = price(task_of("establishing_house"), {});
  const PricedAlternative &whole = by_name(p, "dedicated"), &part = by_name(p, "shared");
  const auto& of = p.shot.alternatives[part.index].part_of;
  ASSERT_TRUE(of);
  const double shots_of_day = p.shot.numbers[of->over.at(0)].spread.typical;
  EXPECT_GT(whole.person_days, 4);
  EXPECT_NEAR(part.person_days, whole.person_days / shots_of_day, 1e-9);
  EXPECT_NEAR(part.typical, whole.typical / shots_of_day, 1e-9 * whole.typical);
  EXPECT_EQ(part.unsourced_share, p.shot.numbers[of->over[0]].source.sourced() ? whole.unsourced_share : 1);
}

TEST_F(Pricing, TakesCountOncePerFilm) {
  PriceTask task = task_of("establishing_house");
  task.gates = {{"B1.shift", 0, 1}};
  std::vector<fs::path> results;
  for (const std::uint64_t seed : {3u, 4u, 5u}) {
    Made made;
    made.seed = seed;
    results.push_back(make(made));
    measure(results.back(), {{"B1.shift", seed == 4 ? 2.0 : 0.5}});
  }
  Made again;  // the film of seed 4 once more, on another layout
  again.seed = 4;
  again.run_id = "task4-other-r0";
  results.push_back(make(again));
  measure(results.back(), {{"B1.shift", 2}});
  const Priced p = price(task, results);
  EXPECT_EQ(p.takes.size(), 3u);
  EXPECT_EQ(p.acceptance.num_takes, 3);
  EXPECT_EQ(p.acceptance.num_passed, 2);
  EXPECT_TRUE(p.shot.dropped.empty());
  const PricedAlternative& measured = by_name(p, "measured");
  const Alternative& is = p.shot.alternatives[measured.index];
  EXPECT_EQ(is.unmet, "64 x 48 pixels instead of 1280 x 720; 2.06 s instead of 5 s");
  EXPECT_NEAR(is.generated_s, 33 / 16.0, 1e-12);
  EXPECT_TRUE(p.shot.numbers[is.acceptance].beta) << "counted";
  // People see what the gates let through, so a perfect gate leaves one take to be seen for each usable one.
  const auto review = [](const Priced& of, const std::string& name) {
    const cost::Line& line = of.shot.alternatives[by_name(of, name).index].attempt.at(0);
    EXPECT_EQ(line.item, "Review and selection");
    double value = line.factor;
    for (const std::size_t j : line.times) value *= of.shot.numbers[j].spread.typical;
    return value;
  };
  EXPECT_NEAR(review(p, "measured"), review(p, "api") * 2.5 / 4, 1e-9) << "Jeffreys: 2 of 3 pass";
  PriceTask labels = task;
  labels.gates.clear();
  labels.labels = put("labels.csv", "seed,usable\n3,1\n4,0\n5,1\n");
  const Priced labelled = price(labels, results);
  EXPECT_EQ(review(labelled, "measured"), review(labelled, "api")) << "without gates each take is seen";
  PriceTask leaky = task;
  leaky.miss = 0.3;
  EXPECT_NEAR(review(price(leaky, results), "measured"), review(p, "measured"), 1e-9) << "as many pass, however many of them are good";
  const std::string text = priced_text(p);
  expect_contains(text, "3 rendered, 2 pass the gates");
  expect_contains(text, "B1.shift rejects 1 of 3");
  const auto json = nlohmann::json::parse(priced_json(p));
  EXPECT_EQ(json.at("takes").size(), 3u);
  EXPECT_EQ(json["takes"][1]["failed"][0], "B1.shift = 2");
  EXPECT_EQ(json.at("acceptance").at("method"), "gates");
  const io::Record record = priced_record(p);
  EXPECT_EQ(record.values<std::int32_t>("/result/take_passed"), (std::vector<std::int32_t>{1, 0, 1}));
}

TEST_F(Pricing, NeedsAComparator) {
  PriceTask task = task_of("dialogue_closeup");
  task.options.without = {"setup", "double"};
  const Error e = error_of([&] { price(task, {}); });
  EXPECT_EQ(e.exit(), Exit::input);
  expect_contains(e.what(), "no conventional alternative meets the specification");
  task.options.without = {"setup"};  // what is generated falls back on it
  const Priced p = price(task, {});
  EXPECT_EQ(p.shot.alternatives.size(), 1u);
  EXPECT_FALSE(p.headline);
}

TEST_F(Pricing, ShotsAreFoundByNameOrPath) {
  Error e = error_of([&] { price(task_of("establishing_hose"), {}); });
  EXPECT_EQ(e.exit(), Exit::input);
  expect_contains(e.hint(), "did you mean 'establishing_house'?");
  e = error_of([&] { price(task_of("qqq"), {}); });
  expect_contains(e.hint(), "known: crowd, dialogue_closeup");
  PriceTask task = task_of("mine.toml");
  task.base = dir;
  e = error_of([&] { price(task, {}); });
  EXPECT_EQ(e.exit(), Exit::input);
  EXPECT_EQ(e.where(), (dir / "mine.toml").string());
  task.shot = "establishing_house";
  task.cards = {dir / "none"};
  EXPECT_EQ(error_of([&] { price(task, {}); }).exit(), Exit::input);
}

// ---- what is written

TEST_F(Pricing, RecordIsWrittenAndReadBack) {
  for (const std::string& name : shots) {
    PriceTask task = task_of(name);
    task.claim = 100;
    const Priced p = price(task, {});
    const fs::path path = dir / (name + ".cost.h5");
    const std::string digest = io::write_record(path, priced_record(p));
    const io::Record r = io::read_record(path);
    EXPECT_EQ(r.text("/", "result_digest"), digest);
    EXPECT_TRUE(io::verify(path).good());
    EXPECT_EQ(r.text("/", "shot"), name);
    EXPECT_EQ(r.text("/", "comparator"), p.shot.alternatives[p.comparator].name);
    EXPECT_EQ(r.text("/", "cards_sha256"), p.cards_sha256);
    const io::Dataset& draws = r.at("/result/draws");
    ASSERT_EQ(draws.shape, (Shape{static_cast<std::int64_t>(p.alternatives.size()), 4096}));
    for (std::size_t k = 0; k < p.alternatives.size(); ++k) {  // of this alternative and no other
      const auto begin = std::get<std::vector<float>>(draws.data).begin() + static_cast<std::ptrdiff_t>(k * 4096);
      const double below = static_cast<double>(std::count_if(begin, begin + 4096, [&](float x) { return x <= p.alternatives[k].realised.p50; })) / 4096;
      EXPECT_NEAR(below, 0.5, 0.04) << p.shot.alternatives[k].name;
    }
    const std::size_t inputs = p.shot.numbers.size(), ways = p.alternatives.size();
    for (const io::Dataset& d : r.datasets) {
      if (!d.path.starts_with("/result/") || d.path.starts_with("/result/draw")) continue;
      const std::size_t wanted = d.path.starts_with("/result/input") ? inputs : ways;
      EXPECT_EQ(d.shape, (Shape{static_cast<std::int64_t>(wanted)})) << d.path;
    }
    for (std::size_t k = 0; k < ways; ++k) {
      EXPECT_EQ(r.values<std::string>("/result/alternative_name")[k], p.shot.alternatives[k].name);
      EXPECT_EQ(r.values<double>("/result/alternative_p90")[k], p.alternatives[k].realised.p90);
      EXPECT_EQ(std::isnan(r.values<double>("/result/alternative_cheaper")[k]), !generated(p.shot.alternatives[k]));
    }
    EXPECT_EQ(r.values<std::string>("/result/input_id")[0], p.shot.numbers[0].id);
    EXPECT_EQ(r.values<double>("/result/input_sobol_total")[0], p.sobol[0].total);
  }
}

/// Rows of fields, by RFC 4180.
std::vector<std::vector<std::string>> parsed_csv(const std::string& text) {
  std::vector<std::vector<std::string>> rows(1, std::vector<std::string>(1));
  bool quoted = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted && c == '"' && text[i + 1] == '"')
      rows.back().back() += text[++i];
    else if (c == '"')
      quoted = !quoted;
    else if (!quoted && c == ',')
      rows.back().emplace_back();
    else if (!quoted && c == '\n')
      rows.emplace_back(1);
    else
      rows.back().back() += c;
  }
  EXPECT_FALSE(quoted);
  EXPECT_EQ(rows.back(), (std::vector<std::string>(1))) << "ends with a line";
  rows.pop_back();
  return rows;
}

std::int64_t cents_of(const std::string& amount) {
  const std::size_t point = amount.find('.');
  EXPECT_EQ(amount.size() - point, 3u) << amount;
  const std::string digits = amount.substr(0, point) + amount.substr(point + 1);
  EXPECT_EQ(digits.find_first_not_of("-0123456789"), std::string::npos) << amount;
  return std::stoll(digits);
}

/// Checks that the lines of each alternative add up to its total, as its accounts and its sections do, and returns the
/// totals by name.
std::map<std::string, std::int64_t> totals(const std::string& csv) {
  const auto rows = parsed_csv(csv);
  std::map<std::string, std::size_t> column;
  for (std::size_t c = 0; c < rows.at(0).size(); ++c) column[rows[0][c]] = c;
  std::map<std::string, std::int64_t> total;
  std::map<std::pair<std::string, std::string>, std::int64_t> sums;  // of an alternative, of a kind of row
  for (std::size_t i = 1; i < rows.size(); ++i) {
    EXPECT_EQ(rows[i].size(), rows[0].size()) << i;
    const std::string& name = rows[i].at(column.at("alternative"));
    const std::int64_t cents = cents_of(rows[i].at(column.at("amount")));
    EXPECT_FALSE(total.contains(name)) << "the total stands last: " << name;
    const std::string& kind = rows[i].at(column.at("row"));
    if (kind == "total")
      total[name] = cents;
    else
      sums[{name, kind}] += cents;
  }
  const auto costly = std::count_if(total.begin(), total.end(), [](const auto& t) { return t.second != 0; });
  EXPECT_EQ(sums.size(), 3 * static_cast<std::size_t>(costly)) << "lines, accounts and sections of each that is not free";
  for (const auto& [of, cents] : sums) EXPECT_EQ(cents, total[of.first]) << of.first << ", each " << of.second;
  return total;
}

TEST_F(Pricing, TopSheetAddsUpToTheCent) {
  std::vector<std::string> all = shots;
  all.push_back("small_feature");
  for (const std::string& name : all) {
    const Priced p = price(task_of(name), {});
    const std::map<std::string, std::int64_t> total = totals(top_sheet_csv(p));
    EXPECT_EQ(total.size(), p.alternatives.size()) << name;
    for (const PricedAlternative& a : p.alternatives) {
      const double units = static_cast<double>(total.at(p.shot.alternatives[a.index].name)) / 100;
      EXPECT_NEAR(units, a.typical, 0.01 * static_cast<double>(cost::budget(p.shot, a.index).size() + 2)) << name << " " << p.shot.alternatives[a.index].name;
    }
  }
}

TEST_F(Pricing, HostileNamesDoNotBreakTables) {
  const std::string title = R"(=1+1\n\"}],{\t<b>)";
  put("mine.toml", "shot = 1\nname = \"m\"\ntitle = \"" + title + "\"\ndate = 2026-11-22\n[specification]\nduration = \"5 s\"\nsize = [64, 64]\n" +
                       "[[alternative]]\nname = '''a \"\"quoted\", and,\nbroken 'name\u20ac'''\ntitle = \"" + title + "\"\nkind = \"shoot\"\nsurcharges = [\"budget.contingency\"]\n" +
                       "[[alternative.line]]\nitem = \"" + title + "\"\nrate = \"crew.dp.day\"\n");
  PriceTask task = task_of("mine.toml");
  task.base = dir;
  const Priced p = price(task, {});
  const std::string told = "a \"\"quoted\", and,\nbroken 'name\u20ac";
  EXPECT_EQ(p.shot.alternatives[0].name, told);
  const std::map<std::string, std::int64_t> total = totals(top_sheet_csv(p));
  EXPECT_EQ(total.size(), 1u);
  EXPECT_TRUE(total.contains(told));
  EXPECT_EQ(nlohmann::json::parse(priced_json(p)).at("alternatives").at(0).at("name"), told);
  io::write_record(dir / "m.h5", priced_record(p));
  EXPECT_EQ(io::read_record(dir / "m.h5").values<std::string>("/result/alternative_name")[0], told);
}

}  // namespace
}  // namespace reel::study
