// The reader of priced shots: every finding has its place, what cannot be had is dropped with its reason, and money comes out
// as by hand.
#include "study/shot_file.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "study/diagnostic.hpp"
#include "study/pricing.hpp"
#include "study/rate_file.hpp"
#include "tests/io/temp_dir.hpp"

namespace reel::study {
namespace {

namespace fs = std::filesystem;
using cost::Alternative;
using test::expect_contains;

const std::string card = R"(rates = 1
name = "test"
[defaults]
read = 2026-11-22
year = 2024
[[rate]]
id = "crew.dp.day"
item = "Camera"
low = 100
typical = 200
high = 400
unit = "USD/day"
account = "3300"
fringe = "fringe.crew"
source = "s"
confidence = "M"
[[rate]]
id = "fringe.crew"
item = "Fringe"
value = 20
unit = "%"
source = "s"
confidence = "M"
[[rate]]
id = "contingency"
item = "Contingency"
value = 10
unit = "%"
account = "9000"
source = "s"
confidence = "M"
[[rate]]
id = "police.hour"
item = "Police"
value = 60
unit = "GBP/h"
account = "3600"
source = "s"
confidence = "M"
[[rate]]
id = "clip.price"
item = "Clip"
value = 2
unit = "USD/take"
source = "s"
confidence = "M"
[[rate]]
id = "clip.energy"
item = "Energy of a clip"
value = 500
unit = "Wh/take"
source = "s"
confidence = "M"
[[rate]]
id = "grid"
item = "Grid"
value = 400
unit = "gCO2e/kWh"
source = "s"
confidence = "M"
[[rate]]
id = "shots.of.day"
item = "Shots of a day"
low = 4
typical = 5
high = 8
unit = "1"
spread = "discrete"
source = "s"
confidence = "M"
[[rate]]
id = "few"
item = "Perhaps less than one"
low = 0.5
typical = 2
high = 4
unit = "1"
source = "s"
confidence = "M"
[[rate]]
id = "accept"
item = "Acceptance"
low = 0.1
typical = 0.2
high = 0.4
unit = "1"
spread = "beta"
source = "s"
confidence = "M"
[[rate]]
id = "old"
item = "Withdrawn"
value = 1
unit = "USD"
valid_to = 2020-01-01
source = "s"
confidence = "M"
[[exchange]]
code = "GBP"
year = 2024
usd = 1.25
source = "s"
confidence = "M"
[[exchange]]
code = "GBP"
year = 2026
usd = 1.5
source = "s"
confidence = "M"
[[price_level]]
year = 2024
level = 100
source = "s"
confidence = "M"
[[price_level]]
year = 2026
level = 110
source = "s"
confidence = "M"
)";

const std::string head = R"(shot = 1
name = "s"
title = "A shot"
date = 2026-11-22
[specification]
duration = "5 s"
size = [1280, 720]
)";
const std::string day = R"([[alternative]]
name = "day"
title = "A day"
kind = "shoot"
[[alternative.line]]
rate = "crew.dp.day"
)";
const std::string api = R"([[alternative]]
name = "api"
title = "A service"
kind = "generated"
acceptance = ["accept"]
cap = 10
fallback = "day"
[[alternative.attempt]]
rate = "clip.price"
generation = true
)";
std::string number(const std::string& id, const std::string& values, const std::string& unit = "1") {
  return "[[number]]\nid = \"" + id + "\"\nitem = \"" + id + "\"\n" + values + "\nunit = \"" + unit + "\"\nsource = \"none\"\nconfidence = \"U\"\n";
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const std::size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

ShotOptions in(const std::string& currency, int year = 0) {
  ShotOptions options;
  options.currency = currency;
  options.year = year;
  return options;
}
ShotOptions on(const std::string& date) {
  ShotOptions options;
  options.date = date;
  return options;
}
ShotOptions without(const std::string& name) {
  ShotOptions options;
  options.without = {name};
  return options;
}

class ShotFile : public test::TempDir {
 protected:
  cost::Shot read(const std::string& text, const Measured& measured = {}, const ShotOptions& options = {}) const {
    const cost::RateBook rates = read_rates({put("card.toml", card)});
    return read_shot(put("shot.toml", text), rates, measured, options);
  }
  std::string findings(const std::string& text, std::size_t count = 1) const {
    try {
      read(text);
    } catch (const DiagnosticError& e) {
      EXPECT_EQ(e.exit(), Exit::usage);
      EXPECT_EQ(e.diagnostics().size(), count) << e.rendered();
      return e.rendered();
    }
    ADD_FAILURE() << "nothing was found in\n" << text;
    return "";
  }
  /// `count` findings; one says `part`, and stands in the last line of `text` that holds `place`.
  void expect_finding(const std::string& text, const std::string& place, const std::string& part, std::size_t count = 1) const {
    const std::size_t at = text.rfind(place);
    ASSERT_NE(at, std::string::npos) << place;
    const auto line = 1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(at), '\n');
    const std::string told = findings(text, count);
    expect_contains(told, part);
    expect_contains(told, fmt::format("shot.toml:{}:", line));
  }
  /// `more` follows a good shot of a day and a service.
  void expect_wrong(const std::string& more, const std::string& place, const std::string& part, std::size_t count = 1) const {
    expect_finding(head + day + api + more, place, part, count);
  }
};

std::string way(const std::string& name, const std::string& rest, const std::string& kind = "shoot") {
  return "[[alternative]]\nname = \"" + name + "\"\ntitle = \"t\"\nkind = \"" + kind + "\"\n" + rest;
}
std::string line(const std::string& rest) { return way("w", "[[alternative.line]]\n" + rest); }

Measured measured(std::vector<std::string> ids) {
  Measured m;
  for (const std::string& id : ids) {
    cost::Number n;
    n.id = n.item = id;
    n.spread = {0.25, 0.5, 0.75};
    n.unit = cost::Unit::parse(id == "measured.core_h" ? "core*h/take" : id == "measured.energy" ? "kWh/take" : "1");
    m.numbers.push_back(n);
  }
  m.gives = cost::Specification{2, 16, 64, 64};
  return m;
}

// The typical value of a line.
double worth(const cost::Shot& shot, const cost::Line& line) {
  double value = line.factor;
  for (std::size_t j : line.times) value *= shot.numbers[j].spread.typical;
  for (std::size_t j : line.over) value /= shot.numbers[j].spread.typical;
  return line.fringe ? value * (1 + shot.numbers[*line.fringe].spread.typical) : value;
}

TEST_F(ShotFile, GoodOneIsReadWhole) {
  const cost::Shot shot = read(head + day + api);
  EXPECT_EQ(shot.name, "s");
  EXPECT_EQ(shot.currency, (cost::Currency{"USD", 2026}));
  EXPECT_EQ(shot.specification.duration_s, 5);
  EXPECT_EQ(shot.specification.fps, 24);
  ASSERT_EQ(shot.alternatives.size(), 2u);
  const cost::Line& l = shot.alternatives[0].setup.at(0);
  EXPECT_EQ(l.item, "Camera");
  EXPECT_EQ(l.account, "3300");
  EXPECT_EQ(l.effect, cost::Effect::displaced);
  ASSERT_TRUE(l.fringe);
  EXPECT_EQ(shot.numbers[*l.fringe].spread.typical, 0.2) << "per cent become shares";
  EXPECT_NEAR(worth(shot, l), 200 * 1.1 * 1.2, 1e-9);
  const Alternative& a = shot.alternatives[1];
  EXPECT_EQ(a.kind, Alternative::Kind::generated);
  EXPECT_EQ(shot.numbers[a.acceptance].id, "accept");
  EXPECT_EQ(a.cap, 10);
  EXPECT_EQ(a.fallback, 0u);
  EXPECT_EQ(a.attempt.at(0).effect, cost::Effect::added);
  EXPECT_TRUE(a.attempt[0].generation);
  EXPECT_EQ(a.generated_s, 5);
  EXPECT_TRUE(shot.dropped.empty());
}

TEST_F(ShotFile, LinesByHand) {
  const auto of = [&](const std::string& rest, const ShotOptions& options = {}) {
    const cost::Shot shot = read(head + number("heads", "value = 3") + number("fee", "value = 1000", "USD/shot") + number("hours", "value = 6", "h") +
                                     number("old.fee", "value = 1000\nyear = 2024", "USD/shot") + line(rest), {}, options);
    return worth(shot, shot.alternatives.at(0).setup.at(0));
  };
  const std::string no_fringe = "fringe = \"none\"\n";
  EXPECT_NEAR(of("rate = \"crew.dp.day\"\n" + no_fringe), 200 * 1.1, 1e-9);
  EXPECT_NEAR(of("rate = \"crew.dp.day\"\nquantity = 2.5\ntimes = [\"heads\"]\n" + no_fringe), 200 * 1.1 * 7.5, 1e-9);
  EXPECT_NEAR(of("rate = \"crew.dp.day\"\nover = [\"shots.of.day\"]\n" + no_fringe), 200 * 1.1 / 5, 1e-9);
  EXPECT_NEAR(of("rate = \"crew.dp.day\"\nfringe = \"contingency\"\n"), 200 * 1.1 * 1.1, 1e-9);
  EXPECT_EQ(of("rate = \"crew.dp.day\"\nquantity = 0\n"), 0);
  // Pounds of 2024 are dollars of 2024, then of 2026.
  EXPECT_NEAR(of("rate = \"police.hour\"\nquantity = \"6 h\"\n"), 60 * 6 * 1.25 * 1.1, 1e-9);
  EXPECT_NEAR(of("rate = \"police.hour\"\nquantity = \"90 min\"\n"), 60 * 1.5 * 1.25 * 1.1, 1e-9);
  EXPECT_NEAR(of("rate = \"police.hour\"\nquantity = \"0.5e1 h\"\n"), 60 * 5 * 1.25 * 1.1, 1e-9);
  EXPECT_NEAR(of("rate = \"police.hour\"\nquantity = \"hours\"\n"), 60 * 6 * 1.25 * 1.1, 1e-9);
  EXPECT_NEAR(of("rate = \"police.hour\"\nquantity = \"6 h\"\n", in("GBP")), 60 * 6 * 1.25 * 1.1 / 1.5, 1e-9);
  EXPECT_NEAR(of("rate = \"police.hour\"\nquantity = \"6 h\"\n", in("GBP", 2024)), 60 * 6, 1e-9);
  EXPECT_NEAR(of("rate = \"police.hour\"\nquantity = \"6 h\"\n", in("USD", 2024)), 60 * 6 * 1.25, 1e-9);
  // Numbers of the shot itself are of its year, whatever year is asked for; and of their own, if they tell it.
  EXPECT_NEAR(of("rate = \"fee\"\n"), 1000, 1e-9);
  EXPECT_NEAR(of("rate = \"fee\"\n", in("", 2024)), 1000 / 1.1, 1e-9);
  EXPECT_NEAR(of("rate = \"fee\"\n", in("GBP")), 1000 / 1.5, 1e-9);
  EXPECT_NEAR(of("rate = \"old.fee\"\n"), 1100, 1e-9);
  EXPECT_NEAR(of("rate = \"contingency\"\nquantity = \"fee\"\n", in("GBP")), 100 / 1.5, 1e-9) << "money in the quantity";
}

TEST_F(ShotFile, EnergyAndCarbonByHand) {
  const cost::Shot shot = read(head + day + api + "[[alternative.energy]]\nrate = \"clip.energy\"\n[[alternative.carbon]]\nrate = \"grid\"\nquantity = \"0.5 kWh\"\n");
  EXPECT_NEAR(worth(shot, shot.alternatives[1].energy.at(0)), 0.5, 1e-12);
  EXPECT_NEAR(worth(shot, shot.alternatives[1].carbon.at(0)), 0.2, 1e-12);
  expect_wrong("[[alternative.energy]]\nrate = \"grid\"\n", "rate = \"grid\"", "the line comes to gCO2e/kWh, not to kWh");
  expect_wrong("[[alternative.carbon]]\nrate = \"clip.price\"\n", "rate = \"clip.price\"", "the line comes to USD/take, not to kgCO2e");
}

TEST_F(ShotFile, RowsOfNumbersAreRowsOfCards) {
  const cost::Shot shot = read(head + number("car", "value = 50\naccount = \"3500\"\nfringe = \"fringe.crew\"", "USD/day") + line("rate = \"car\"\n"));
  const cost::Line& l = shot.alternatives.at(0).setup.at(0);
  EXPECT_EQ(l.account, "3500");
  EXPECT_NEAR(worth(shot, l), 60, 1e-9);
}

TEST_F(ShotFile, UnknownIds) {
  expect_wrong(line("rate = \"crew.dp.dya\"\n"), "crew.dp.dya", "did you mean 'crew.dp.day'?");
  expect_wrong(line("rate = \"crew.dp.day\"\nquantity = \"zzzz\"\n"), "zzzz", "no rate 'zzzz' in the cards");
  expect_wrong(line("rate = \"crew.dp.day\"\ntimes = [\"shots.of.dya\"]\n"), "shots.of.dya", "did you mean 'shots.of.day'?");
  expect_wrong(line("rate = \"crew.dp.day\"\nfringe = \"fringe.crwe\"\n"), "fringe.crwe", "did you mean 'fringe.crew'?");
  expect_wrong(way("w", "surcharges = [\"contingenzy\"]\n[[alternative.line]]\nrate = \"clip.price\"\n"), "contingenzy", "did you mean 'contingency'?");
  expect_wrong(line("rate = \"old\"\n"), "\"old\"", "the rate 'old' is not valid on 2026-11-22");
  expect_contains(findings(head + line("rate = \"old\"\n")), "it is valid until 2020-01-01");
  // The nearest is looked for among the shot's own numbers and all rows: a number that is further away does not win.
  expect_finding(head + number("crew.dpx.doy", "value = 1", "USD") + line("rate = \"crew.dp.dya\"\n"), "crew.dp.dya", "did you mean 'crew.dp.day'?");
  expect_finding(head + number("my.fee", "value = 1", "USD") + line("rate = \"my.fea\"\n"), "my.fea", "did you mean 'my.fee'?");
  expect_wrong(line("rate = \"measured.cores\"\n"), "measured.cores", "nothing measures 'measured.cores'");
}

TEST_F(ShotFile, UnknownAlternatives) {
  expect_wrong(way("w", "part_of = \"dya\"\n"), "part_of", "did you mean 'day'?");
  expect_wrong(way("w", "part_of = \"nothing\"\n"), "part_of", "there are: day, api, w");
  expect_finding(head + day + replaced(api, "fallback = \"day\"", "fallback = \"dya\""), "fallback", "did you mean 'day'?");
  expect_wrong(way("w", "energy_of = \"qqqqqq\"\n[[alternative.line]]\nrate = \"clip.price\"\n"), "energy_of", "no alternative 'qqqqqq'");
}

TEST_F(ShotFile, LinesThatAreNoMoney) {
  expect_wrong(line("rate = \"shots.of.day\"\n"), "rate = \"shots", "the line comes to 1, not to money");
  expect_wrong(line("rate = \"police.hour\"\n"), "rate = \"police.hour\"", "the line comes to GBP/h, not to money");
  expect_wrong(line("rate = \"police.hour\"\nquantity = 6\n"), "quantity", "the line comes to GBP/h, not to money");
  expect_wrong(line("rate = \"crew.dp.day\"\nquantity = \"6 h\"\n"), "quantity", "not to money");
  expect_wrong(line("rate = \"crew.dp.day\"\ntimes = [\"clip.price\"]\n"), "rate = \"crew", "not to money");
  expect_wrong(line("rate = \"shots.of.day\"\nquantity = \"5 EUR\"\n"), "rate = \"shots", "no exchange rate between EUR and USD");
}

TEST_F(ShotFile, FringesAndSurchargesAreShares) {
  expect_wrong(line("rate = \"crew.dp.day\"\nfringe = \"clip.price\"\n"), "fringe", "'clip.price' is in USD/take, a share is needed");
  expect_wrong(way("w", "surcharges = [\"clip.price\"]\n[[alternative.line]]\nrate = \"clip.price\"\n"), "surcharges", "a share is needed");
  expect_wrong(way("w", "credit = \"clip.price\"\n[[alternative.line]]\nrate = \"clip.price\"\n"), "credit", "a share is needed");
  const cost::Shot shot = read(head + way("w", "surcharges = [\"contingency\"]\ncredit = \"fringe.crew\"\n[[alternative.line]]\nrate = \"clip.price\"\n"));
  const auto& surcharges = shot.alternatives[0].surcharges;
  ASSERT_EQ(surcharges.size(), 2u);
  EXPECT_EQ(surcharges[0].account, "9000");
  EXPECT_EQ(surcharges[0].sign, 1);
  EXPECT_EQ(surcharges[1].sign, -1);
}

TEST_F(ShotFile, Acceptances) {
  const auto with = [&](const std::string& values, const std::string& unit = "1") {
    return head + number("p", values, unit) + day + replaced(api, "\"accept\"", "\"p\"");
  };
  EXPECT_EQ(read(with("low = 0.1\ntypical = 0.2\nhigh = 0.3")).alternatives.size(), 2u);
  EXPECT_EQ(read(with("low = 10\ntypical = 20\nhigh = 30", "%")).alternatives.size(), 2u);
  for (const char* values : {"value = 0.5", "low = 0\ntypical = 0.1\nhigh = 0.2", "low = 0.5\ntypical = 0.6\nhigh = 1", "low = 2\ntypical = 3\nhigh = 4"})
    expect_finding(with(values), "acceptance", "'p' is no uncertain probability");
  expect_finding(with("value = 0.5", "USD"), "acceptance", "a share is needed");
  expect_finding(head + day + replaced(api, "\"accept\"", "\"acept\""), "acceptance", "did you mean 'accept'?");
  // The first that is known; what only results tell may be missing.
  const std::string two = head + day + replaced(api, "[\"accept\"]", "[\"measured.acceptance\", \"accept\"]");
  const cost::Shot none = read(two), with_it = read(two, measured({"measured.acceptance"}));
  EXPECT_EQ(none.numbers[none.alternatives.at(1).acceptance].id, "accept");
  EXPECT_EQ(with_it.numbers[with_it.alternatives.at(1).acceptance].id, "measured.acceptance");
}

TEST_F(ShotFile, CyclesAreNamed) {
  const std::string second = replaced(replaced(api, "\"api\"", "\"other\""), "\"day\"", "\"api\"");
  expect_finding(head + day + replaced(api, "fallback = \"day\"", "fallback = \"other\"") + second, "name = \"day\"", "api -> other -> api");
  expect_finding(head + way("self", "part_of = \"self\"\n"), "name = \"self\"", "self -> self");
  EXPECT_EQ(read(head + day + api + second).alternatives[2].fallback, 1u) << "a chain is no cycle";
}

TEST_F(ShotFile, PartsOfOthers) {
  const cost::Shot shot = read(head + day + way("part", "part_of = \"day\"\ntimes = [\"contingency\"]\nover = [\"shots.of.day\"]\n") +
                               way("last", "part_of = \"day\"\ndays = { setups = \"shots.of.day\", replaced = \"few\", per_day = \"few\" }\n"));
  const auto& part = shot.alternatives[1].part_of;
  ASSERT_TRUE(part);
  EXPECT_EQ(part->alternative, 0u);
  EXPECT_EQ(shot.numbers[part->times.at(0)].spread.typical, 0.1);
  EXPECT_EQ(shot.numbers[part->over.at(0)].floor, 1);
  ASSERT_TRUE(shot.alternatives[2].part_of->days);
  EXPECT_EQ(shot.numbers[shot.alternatives[2].part_of->days->replaced].id, "few");
  expect_wrong(way("part", "part_of = \"day\"\nover = [\"few\"]\n"), "over", "'few' may be 0.5: what is divided by is a count, at least 1");
  expect_wrong(line("rate = \"crew.dp.day\"\nover = [\"few\"]\n"), "over", "'few' may be 0.5");
  expect_wrong(line("rate = \"crew.dp.day\"\nover = [\"contingency\"]\n"), "over", "'contingency' may be 0.1");
  expect_wrong(way("part", "part_of = \"day\"\ndays = { setups = \"few\", replaced = \"few\" }\n"), "days", "'alternative.days.per_day' is missing", 2);
}

TEST_F(ShotFile, MissingKeys) {
  for (const char* key : {"shot = 1", "name = \"s\"", "title = \"A shot\"", "date = 2026-11-22", "duration = \"5 s\"", "size = [1280, 720]"}) {
    const std::string told = findings(replaced(head, key, "") + day, std::string_view(key).starts_with("date") ? 2 : 1);  // no row holds on no day
    expect_contains(told, fmt::format("{}' is missing", std::string(key).substr(0, std::string(key).find(' '))));
  }
  for (const char* key : {"name = \"day\"", "title = \"A day\"", "kind = \"shoot\""}) {
    const std::string text = head + replaced(day, key, "");
    expect_finding(text, "[[alternative]]", fmt::format("'alternative.{}' is missing", std::string(key).substr(0, std::string(key).find(' '))));
  }
  for (const char* key : {"acceptance", "cap", "fallback"}) {
    const std::size_t at = api.find(key);
    const std::string text = head + day + api.substr(0, at) + api.substr(api.find('\n', at) + 1);
    expect_contains(findings(text, std::string(key) == "fallback" ? 2 : 1), fmt::format("'alternative.{}' is missing", key));
  }
  expect_finding(head + "[[alternative]]\nname = \"w\"\ntitle = \"t\"\nkind = \"shoot\"\n", "[[alternative]]", "no [[alternative.line]] and no part_of");
  expect_finding(head + day + api.substr(0, api.find("[[alternative.attempt]]")), "[[alternative]]", "no [[alternative.attempt]]");
  expect_wrong(line("quantity = 2\n"), "[[alternative.line]]", "'alternative.line.rate' is missing");
  expect_contains(findings(head), "no [[alternative]] in this file");
  EXPECT_EQ(findings(head).find("exit 3"), std::string::npos);
}

TEST_F(ShotFile, UnknownAndMisplacedKeys) {
  expect_finding("titel = \"x\"\n" + head + day, "titel", "did you mean 'title'?");
  expect_wrong(way("w", "conditions = \"x\"\n[[alternative.line]]\nrate = \"clip.price\"\n"), "conditions", "did you mean 'condition'?");
  // In any line of any alternative, not only in the last one.
  const std::string early = replaced(day, "rate = ", "qantity = 2\nrate = ");
  expect_finding(head + early + way("w", "[[alternative.line]]\nrate = \"clip.price\"\n"), "qantity", "unknown key 'alternative.line.qantity'");
  expect_finding(head + replaced(number("n", "value = 1"), "item", "itme") + day, "itme", "did you mean 'item'?", 2);
  expect_finding(replaced(head, "size", "fpz = 3\nsize") + day, "fpz", "did you mean 'fps'?");
  const std::string days = "part_of = \"day\"\ndays = { setups = \"few\", replaced = \"few\", per_day = \"few\", more = 1 }\n";
  expect_wrong(way("w", days) + way("v", "part_of = \"day\"\ndays = { setups = \"few\", replaced = \"few\", per_day = \"few\" }\n"), "more", "unknown key 'alternative.days.more'");
  // What a kind has no use for would be left out of the price.
  expect_finding(head + day + api + "[[alternative.line]]\nrate = \"clip.price\"\n", "[[alternative.line]]", "'alternative.line' belongs to what is not generated");
  expect_finding(head + day + replaced(api, "cap", "part_of = \"day\"\ncap"), "part_of", "belongs to what is not generated");
  expect_wrong(way("w", "[[alternative.line]]\nrate = \"clip.price\"\n[[alternative.post]]\nrate = \"clip.price\"\n"), "[[alternative.post]]", "'alternative.post' belongs to what is generated");
  expect_wrong(way("w", "cap = 3\n[[alternative.line]]\nrate = \"clip.price\"\n"), "cap = 3", "'alternative.cap' belongs to what is generated");
  expect_wrong(way("w", "over = [\"shots.of.day\"]\n[[alternative.line]]\nrate = \"clip.price\"\n"), "over", "belongs to a part of another alternative", 2);
}

TEST_F(ShotFile, Quantities) {
  for (const char* bad : {"-1", "nan", "-nan", "inf", "1e13", "true", "\"\""})
    expect_wrong(line(fmt::format("rate = \"crew.dp.day\"\nquantity = {}\n", bad)), "quantity", "'alternative.line.quantity'");
  for (const char* bad : {"-6 h", "nan h", "inf h", " h", "0x10 h", "6h h", "1e13 h", "six h", "1,5 h", "+6 h", "1e999 h"}) {
    const std::string text = head + day + line(fmt::format("rate = \"police.hour\"\nquantity = \"{}\"\n", bad));
    expect_finding(text, "quantity", fmt::format("'{}' is no quantity", bad), 2);  // and the line is no money then
  }
  expect_wrong(line("rate = \"police.hour\"\nquantity = \"6 hrs\"\n"), "quantity", "hrs", 2);
  expect_wrong(line("rate = \"police.hour\"\nquantity = \"6 \"\n"), "quantity", "", 2);
  expect_wrong(line("rate = \"police.hour\"\nquantity = \"6h\"\n"), "quantity", "no rate '6h' in the cards", 2);
}

TEST_F(ShotFile, ValuesOutOfRange) {
  expect_finding(replaced(head, "shot = 1", "shot = 2") + day, "shot = 2", "'shot' is 2");
  expect_finding("year = 1900\n" + head + day, "year", "'year' is 1900");
  expect_finding("currency = \"XYZ\"\n" + head + day, "currency", "unknown currency 'XYZ'", 2);  // and the line's exchange
  expect_finding(replaced(head, "\"5 s\"", "\"-5 s\"") + day, "duration", "must be a positive time");
  expect_finding(replaced(head, "[1280, 720]", "[0, 720]") + day, "size", "holds 0");
  expect_finding(replaced(head, "2026-11-22", "\"2026-11-22\"") + day, "date", "without quotes", 2);
  expect_finding(head + day + replaced(api, "cap = 10", "cap = 0"), "cap", "'alternative.cap' is 0");
  expect_finding(head + replaced(day, "\"shoot\"", "\"shot\""), "kind", "did you mean 'shoot'?");
  for (const char* account : {"", "12", "1234567", "33,00", "33\\n00"})
    expect_wrong(line(fmt::format("rate = \"crew.dp.day\"\naccount = \"{}\"\n", account)), "account", "is no account");
  expect_wrong(line("rate = \"crew.dp.day\"\neffect = \"gone\"\n"), "effect", "choose from: displaced, left, added");
  expect_wrong(line("rate = \"crew.dp.day\"\ntimes = [\"few\", \"few\"]\n"), "times", "twice");
  expect_finding(head + number("n", "low = 3\ntypical = 2\nhigh = 4") + day, "low = 3", "low 3 is above typical 2");
  expect_finding(head + number("n", "value = nan") + day, "value", "'number.value' is nan");
  expect_finding(head + number("n", "value = -1") + day, "value", "'number.value' is -1");
  expect_contains(findings("\x01\xff"), "not valid TOML");
}

TEST_F(ShotFile, NamesAreThereOnce) {
  expect_finding(head + day + day, "name = \"day\"", "alternative 'day' is there twice");
  expect_finding(head + number("n", "value = 1") + number("n", "value = 2") + day, "id = \"n\"", "number 'n' is there twice");
  expect_finding(head + replaced(day, "\"day\"", "\"\""), "name = \"\"", "the name is empty");
}

TEST_F(ShotFile, EnergyOfAnother) {
  const std::string energy = "[[alternative.energy]]\nrate = \"clip.energy\"\n";
  const std::string of_api = replaced(replaced(api, "\"api\"", "\"low\""), "cap = 10", "cap = 10\nenergy_of = \"api\"");
  const cost::Shot shot = read(head + day + api + energy + of_api);
  EXPECT_EQ(shot.alternatives[2].energy.size(), 1u);
  EXPECT_NEAR(worth(shot, shot.alternatives[2].energy[0]), 0.5, 1e-12);
  expect_finding(head + day + of_api + api, "energy_of", "'api' comes later");
  expect_finding(head + day + replaced(api, "cap", "energy_of = \"api\"\ncap"), "energy_of", "'api' comes later");
}

TEST_F(ShotFile, WhatNoResultTellsIsDroppedWithWhatNeedsIt) {
  const std::string own = replaced(replaced(api, "\"api\"", "\"own\""), "\"clip.price\"\n", "\"clip.price\"\ntimes = [\"measured.acceptance\"]\n");
  const std::string behind = replaced(replaced(api, "\"api\"", "\"behind\""), "fallback = \"day\"", "fallback = \"own\"");
  const std::string third = replaced(replaced(api, "\"api\"", "\"third\""), "fallback = \"day\"", "fallback = \"behind\"");
  const std::string text = head + day + third + behind + own + api;
  const cost::Shot shot = read(text);
  ASSERT_EQ(shot.alternatives.size(), 2u);
  EXPECT_EQ(shot.alternatives[1].name, "api");
  EXPECT_EQ(shot.alternatives[1].fallback, 0u) << "indices are those of what is left";
  EXPECT_EQ(shot.dropped, (std::vector<std::string>{"third: needs 'behind', which is not there", "behind: needs 'own', which is not there",
                                                    "own: needs measured.acceptance, which no result here tells"}));
  EXPECT_EQ(read(text, measured({"measured.acceptance"})).alternatives.size(), 5u);
  // Energy that nobody measured, and who refers to it.
  const std::string with_energy = replaced(api, "\"api\"", "\"metered\"") + "[[alternative.energy]]\nrate = \"measured.energy\"\n";
  const std::string of_it = replaced(replaced(api, "\"api\"", "\"like\""), "cap = 10", "cap = 10\nenergy_of = \"metered\"");
  const std::string of_that = replaced(replaced(api, "\"api\"", "\"like2\""), "cap = 10", "cap = 10\nenergy_of = \"like\"");
  const cost::Shot unmetered = read(head + day + with_energy + of_it + of_that);
  EXPECT_EQ(unmetered.alternatives.size(), 1u);
  EXPECT_EQ(unmetered.dropped.at(2), "like2: needs measured.energy, which no result here tells");
  EXPECT_EQ(read(head + day + with_energy + of_it + of_that, measured({"measured.energy"})).alternatives.size(), 4u);
}

TEST_F(ShotFile, WhatATakeGives) {
  const std::string own = replaced(api, "cap = 10", "cap = 10\ngives = \"measured\"");
  EXPECT_EQ(read(head + day + own).dropped.at(0), "api: needs a rendered take, which no result here tells");
  const cost::Shot shot = read(head + day + own, measured({}));
  EXPECT_EQ(shot.alternatives[1].unmet, "64 x 64 pixels instead of 1280 x 720; 2 s instead of 5 s");
  EXPECT_EQ(shot.alternatives[1].generated_s, 2);
  const cost::Shot longer = read(head + day + replaced(api, "cap = 10", "cap = 10\ngives = { duration = \"8 s\", size = [1920, 1080] }"));
  EXPECT_EQ(longer.alternatives[1].unmet, "");
  EXPECT_EQ(longer.alternatives[1].generated_s, 8);
  expect_finding(head + day + replaced(api, "cap = 10", "cap = 10\ngives = \"guessed\""), "gives", "cannot be 'guessed'");
}

TEST_F(ShotFile, LeftOutAsAsked) {
  const cost::Shot shot = read(head + day + api + line("rate = \"clip.price\"\n"), {}, without("day"));
  ASSERT_EQ(shot.alternatives.size(), 1u);
  EXPECT_EQ(shot.alternatives[0].name, "w");
  EXPECT_EQ(shot.dropped, (std::vector<std::string>{"day: left out as asked", "api: needs 'day', which is not there"}));
  const Error e = test::error_of([&] { read(head + day, {}, without("nights")); });
  EXPECT_EQ(e.exit(), Exit::usage);
  expect_contains(e.what(), "no alternative 'nights'");
  expect_contains(e.hint(), "it has: day");
}

TEST_F(ShotFile, OptionsOverrideAndAreChecked) {
  ShotOptions options = in("GBP", 2025);
  options.date = "2025-01-01";
  options.region = "PT";
  const cost::Shot shot = read(head + day, {}, options);
  EXPECT_EQ(shot.currency, (cost::Currency{"GBP", 2025}));
  EXPECT_EQ(shot.date, "2025-01-01");
  EXPECT_EQ(shot.region, "PT");
  for (const ShotOptions& bad : {in("usd"), in("XYZ"), on("22.11.2026"), on("2026-02-30")}) {
    const Error e = test::error_of([&] { read(head + day, {}, bad); });
    EXPECT_EQ(e.exit(), Exit::usage);
    expect_contains(e.where(), bad.currency.empty() ? "cost.date" : "cost.currency");
  }
}

TEST_F(ShotFile, SharedWays) {
  const std::string generate = "[generate]\nways = \"ways.toml\"\nacceptance = [\"accept\"]\ncap = 7\nfallback = \"day\"\n";
  const std::string ways = "ways = 1\n[[attempt]]\nrate = \"clip.price\"\n[[setup]]\nrate = \"clip.price\"\n" + way("a", "[[alternative.attempt]]\nrate = \"clip.price\"\n", "generated") +
                           way("b", "cap = 9\n", "generated");
  put("ways.toml", ways);
  const cost::Shot shot = read(head + generate + "[[generate.post]]\nrate = \"clip.price\"\n" + day);
  ASSERT_EQ(shot.alternatives.size(), 3u);
  EXPECT_EQ(shot.alternatives[1].attempt.size(), 2u);
  EXPECT_EQ(shot.alternatives[1].cap, 7);
  EXPECT_EQ(shot.alternatives[2].attempt.size(), 1u);
  EXPECT_EQ(shot.alternatives[2].cap, 9);
  EXPECT_EQ(shot.alternatives[2].setup.size() + shot.alternatives[2].post.size(), 2u);
  EXPECT_EQ(shot.alternatives[2].fallback, 0u);
  // Gates screen the shared part of a take, where a result tells of gates.
  put("ways.toml", replaced(ways, "cap = 9", "cap = 9\nscreened = [\"measured.acceptance\", \"measured.reviews\"]"));
  EXPECT_EQ(read(head + generate + day, measured({"measured.acceptance"})).alternatives[2].attempt.at(0).times.size(), 1u);
  const cost::Shot screened = read(head + generate + day, measured({"measured.acceptance", "measured.reviews"}));
  EXPECT_EQ(screened.alternatives[2].attempt.at(0).times.size(), 3u);
  EXPECT_EQ(screened.alternatives[1].attempt.at(0).times.size(), 1u);
  EXPECT_EQ(screened.alternatives[2].setup.at(0).times.size(), 1u);
  put("ways.toml", replaced(ways, "cap = 9", "cap = 9\nscreened = [\"measured.gates\"]"));
  expect_contains(findings(head + generate + day), "nothing measures 'measured.gates'");
  // A finding in the shared file has its place there.
  put("ways.toml", replaced(ways, "cap = 9", "cpa = 9"));
  std::string told = findings(head + generate + day);
  expect_contains(told, "did you mean 'cap'?");
  expect_contains(told, "ways.toml:16:");
  // What all ways need and no result tells drops all of them: nothing is priced without it.
  put("ways.toml", replaced(ways, "[[setup]]", "times = [\"measured.acceptance\"]\n[[setup]]"));
  EXPECT_EQ(read(head + generate + day).alternatives.size(), 1u);
  EXPECT_EQ(read(head + generate + day).dropped.at(1), "b: needs measured.acceptance, which no result here tells");
  EXPECT_EQ(read(head + generate + day, measured({"measured.acceptance"})).alternatives.size(), 3u);
  put("ways.toml", number("n", "value = 1") + ways);
  expect_contains(findings(head + generate + day, 2), "ways.toml");
  fs::remove(dir / "ways.toml");
  const Error e = test::error_of([&] { read(head + generate + day); });
  EXPECT_EQ(e.exit(), Exit::input);
  expect_contains(e.where(), "ways.toml");
  for (const char* key : {"ways", "acceptance", "cap", "fallback"}) {
    put("ways.toml", ways);
    const std::size_t at = generate.find(std::string("\n") + key) + 1;
    const std::string text = head + generate.substr(0, at) + generate.substr(generate.find('\n', at) + 1) + day;
    expect_contains(test::error_of([&] { read(text); }).what(), fmt::format("'generate.{}' is missing", key));
  }
}

TEST_F(ShotFile, WhatCannotBeRead) {
  const cost::RateBook rates = read_rates({put("card.toml", card)});
  const Error e = test::error_of([&] { read_shot(dir / "none.toml", rates); });
  EXPECT_EQ(e.exit(), Exit::input);
  expect_contains(e.where(), "none.toml");
  EXPECT_EQ(test::error_of([&] { read_shot(dir, rates); }).exit(), Exit::input);
}

TEST_F(ShotFile, KeysWithoutEndAreRefusedBeforeTheyAreNested) {
  const auto dots = [](std::size_t count) {
    std::string text;
    for (std::size_t i = 0; i < count; ++i) text += "a.";
    return text;
  };
  const std::string refused = "a key of more than 16 parts";
  expect_finding(head + dots(2'000'000) + "a = 1\n" + day, "a.a.", refused);
  expect_finding(head + day + "[[" + dots(16) + "a]]\n", "a.a.", refused);
  expect_contains(findings(head + day + dots(15) + "a = 1\n"), "unknown key");  // 16 parts: read
  // Tables within lists within tables: each adds to the depth.
  std::string nested = "x = ";
  for (int i = 0; i < 120; ++i) nested += "[\n{" + dots(1000) + "a = ";
  nested += "1";
  for (int i = 0; i < 120; ++i) nested += "}\n]";
  expect_contains(findings(head + nested + "\n"), refused);
  // Quotes and comments hide nothing and are no keys themselves.
  for (const std::string& before : {std::string("x = \"\"\"a\"\"\"\"\"\n"), std::string("x = '''a''''\n"), std::string("x = \"\\\"\" # \"\n"), std::string("x = '\\'\n"), std::string("# '''\n")})
    expect_contains(findings(head + before + dots(20) + "a = 1\n"), refused);
  expect_contains(findings(head + "x = { y = \"\"\"z\"\"\"\", " + dots(20) + "a = 1 }\n"), refused);
  expect_contains(findings(head + "\"a\".'b'.\"c\"." + dots(20) + "a = 1\n"), refused);
  const std::string prose = "One. Two. Three. Four. Five. Six. Seven. Eight. Nine. Ten. 11. 12. 13. 14. 15. 16. 17. 18.";
  EXPECT_EQ(read(replaced(head, "A shot", prose) + day).title, prose);
  EXPECT_EQ(read("# " + prose + "\n" + replaced(head, "\"A shot\"", "\"\"\"\n" + prose + "\n\"\"\"") + day).title, prose + "\n");
}

TEST(Shots, ThatComeWithReelAreReadForEveryRegionAndCurrency) {
  const cost::RateBook rates = read_rates({datasets() / "rates"});
  std::size_t count = 0;
  for (const auto& entry : fs::directory_iterator(datasets() / "shots")) {
    if (entry.path().extension() != ".toml") continue;
    ++count;
    for (const char* currency : {"USD", "EUR", "GBP", "CHF"}) {
      const cost::Shot shot = read_shot(entry.path(), rates, {}, in(currency));
      EXPECT_EQ(shot.name, entry.path().stem().string());
      EXPECT_FALSE(shot.alternatives.empty()) << entry.path();
      for (const std::string& dropped : shot.dropped) EXPECT_TRUE(dropped.starts_with("measured: ")) << dropped;
    }
    Measured all = measured({"measured.core_h", "measured.acceptance"});
    EXPECT_TRUE(read_shot(entry.path(), rates, all).dropped.empty()) << entry.path();
  }
  EXPECT_EQ(count, 6u);
}

}  // namespace
}  // namespace reel::study
