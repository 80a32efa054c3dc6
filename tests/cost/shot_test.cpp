// Shots and alternatives: the worked example, parts of days, fallbacks, budgets, and freedom from units.
#include "cost/shot.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "core/error.hpp"
#include "core/parallel.hpp"
#include "cost/budget.hpp"

namespace reel::cost {
namespace {

using Kind = Alternative::Kind;

/// Builds shots a number at a time. `money` and `hours` scale the units that prices and times are given in.
struct Maker {
  Shot shot;
  double money = 1, hours = 1;
  Maker() {
    shot.name = "made";
    shot.specification = {5, 24, 1920, 1080};
    shot.currency = {"USD", 2026};
    shot.date = "2026-11-22";
  }
  std::size_t number(const std::string& id, Spread spread, const std::string& unit = "1") {
    Number n;
    n.id = n.item = id;
    n.spread = spread;
    n.unit = Unit::parse(unit);
    n.source = {"a test", "H", "2026-11-22"};
    shot.numbers.push_back(n);
    return shot.numbers.size() - 1;
  }
  std::size_t constant(const std::string& id, double value) { return number(id, {value, value, value}); }
  Spread scaled(double low, double typical, double high, double by) const { return {low * by, typical * by, high * by}; }
  static Line line(std::vector<std::size_t> times, double factor = 1) {
    Line l;
    l.item = "line";
    l.times = std::move(times);
    l.factor = factor;
    return l;
  }
  Alternative& add(const std::string& name, Kind kind = Kind::shoot) {
    Alternative a;
    a.name = a.title = name;
    a.kind = kind;
    shot.alternatives.push_back(a);
    return shot.alternatives.back();
  }
};

/// House establishing shot: seconds x price of a second, review, acceptance, set-up and post hours.
double house(double seconds, double per_s, double review_min, double wage, double p, double setup_h, double post_h, double* generation = nullptr) {
  Maker m;
  const auto s = m.constant("seconds", seconds), price = m.constant("price", per_s), review = m.constant("review", review_min);
  const auto rate = m.constant("wage", wage), accepted = m.constant("p", p), setup = m.constant("setup", setup_h), post = m.constant("post", post_h);
  m.add("shoot").setup = {Maker::line({rate}, 1e6)};
  Alternative& a = m.add("api", Kind::generated);
  a.attempt = {Maker::line({s, price}), Maker::line({review, rate}, 1.0 / 60)};
  a.attempt[0].generation = true;
  a.setup = {Maker::line({setup, rate})};
  a.post = {Maker::line({post, rate})};
  a.acceptance = accepted;
  a.cap = 100'000;
  a.fallback = 0;
  const std::vector<double> y = typical_outputs(m.shot);
  if (generation) *generation = y[num_outputs + Output::generation];
  return y[num_outputs + expected];
}

TEST(Shot, WorkedExampleOfTheHouse) {
  double generation = 0;
  EXPECT_EQ(std::floor(house(5, 0.05, 3, 40, 0.50, 0.5, 0, &generation)), 24);  // 24.50
  EXPECT_NEAR(generation, 0.5, 1e-9);
  EXPECT_NEAR(house(8, 0.235, 5, 60, 0.10, 2, 4, &generation), 430, 2.5);
  EXPECT_NEAR(generation, 18.8, 1e-9);
  EXPECT_NEAR(house(8, 0.50, 8, 85, 0.0375, 8, 16, &generation), 2450, 2.5);
  EXPECT_NEAR(generation, 4.0 / 0.0375, 1e-9);
}

TEST(Shot, SharedAndMarginalPartsOfADay) {
  Maker m;
  const auto day = m.constant("day", 6000), six = m.constant("shots", 6), setups = m.constant("setups", 141), one = m.constant("replaced", 1),
             per_day = m.constant("per_day", 20), contingency = m.constant("contingency", 0.1), share = m.constant("share", 0.5);
  Alternative& whole = m.add("whole");
  whole.setup = {Maker::line({day})};
  whole.surcharges = {{"", "contingency", contingency, 1}};
  Alternative& shared = m.add("shared");
  shared.part_of = PartOf{0, {}, {six}, {}};
  Alternative& marginal = m.add("marginal");
  marginal.part_of = PartOf{0, {share}, {}, PartOf::Days{setups, one, per_day}};
  std::vector<double> y = typical_outputs(m.shot);
  EXPECT_NEAR(y[0 * num_outputs + expected], 6600, 1e-9);
  EXPECT_NEAR(y[1 * num_outputs + expected], 1100, 1e-9);
  EXPECT_NEAR(y[2 * num_outputs + expected], 3300, 1e-9);  // setup 141 began an eighth day: half of it is avoidable
  m.shot.numbers[setups].spread = {140, 140, 140};
  y = typical_outputs(m.shot);
  EXPECT_EQ(y[2 * num_outputs + expected], 0);             // seven days with it, seven without
}

TEST(Shot, FallbacksAreFollowedAndCyclesNamed) {
  Maker m;
  const auto p = m.constant("p", 0.1), ten = m.constant("ten", 10), shoot = m.constant("shoot", 1000);
  const auto generated = [&](const std::string& name, std::size_t fallback) {
    Alternative& a = m.add(name, Kind::generated);
    a.attempt = {Maker::line({ten})};
    a.acceptance = p;
    a.cap = 2;
    a.fallback = fallback;
  };
  generated("first", 1);
  generated("second", 2);
  m.add("shoot").setup = {Maker::line({shoot})};
  const std::vector<double> y = typical_outputs(m.shot);
  const double second = expected_cost({0, 10, 0, 1000, 2}, 0.1), first = expected_cost({0, 10, 0, second, 2}, 0.1);
  EXPECT_DOUBLE_EQ(y[1 * num_outputs + expected], second);
  EXPECT_DOUBLE_EQ(y[0 * num_outputs + expected], first);
  m.shot.alternatives[1].fallback = 0;
  try {
    order_of(m.shot);
    FAIL() << "no cycle was found";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("first -> second -> first"), std::string::npos) << e.what();
  }
}

/// An uncertain shot in chosen units; factors bring them back.
Shot uncertain(double money, double time) {
  Maker m;
  const auto wage = m.number("wage", m.scaled(40, 60, 85, money / time)), review = m.number("review", m.scaled(0.02, 0.08, 0.15, time)),
             price = m.number("price", m.scaled(1, 2, 4, money)), day = m.number("day", {1900 * money, 10'400 * money, 35'000 * money, Spread::Shape::lognormal}),
             p = m.number("p", {0.05, 0.15, 0.5, Spread::Shape::beta}), shots = m.number("shots", {4, 6, 8, Spread::Shape::discrete});
  m.shot.numbers[shots].floor = 1;
  m.shot.numbers[day].tier = m.shot.numbers[wage].tier = 0.6;
  m.add("day").setup = {Maker::line({day}, 1 / money)};
  m.add("shared").part_of = PartOf{0, {}, {shots}, {}};
  Alternative& a = m.add("api", Kind::generated);
  a.attempt = {Maker::line({price}, 1 / money), Maker::line({review, wage}, 1 / money)};
  a.acceptance = p;
  a.cap = 60;
  a.fallback = 1;
  return m.shot;
}

TEST(Shot, UnitsOfMoneyAndTimeDecideNothing) {
  const auto decisions = [](const Shot& shot) {
    const Draws d = draw(inputs_of(shot), evaluator(shot), shot.alternatives.size() * num_outputs, 20'000, 7);
    std::int64_t cheaper = 0;
    for (std::size_t i = 0; i < 20'000; ++i) cheaper += d.values[2 * num_outputs + realised][i] < d.values[1 * num_outputs + realised][i];
    return std::pair(cheaper, summarise(d.values[2 * num_outputs + realised]).p50);
  };
  const auto plain = decisions(uncertain(1, 1)), scaled = decisions(uncertain(1000, 60));
  EXPECT_EQ(plain.first, scaled.first);
  EXPECT_NEAR(plain.second, scaled.second, 1e-9 * plain.second);
}

TEST(Shot, DrawsAreTheSameOnAnyNumberOfThreads) {
  const Shot shot = uncertain(1, 1);
  std::vector<std::vector<std::vector<double>>> all;
  for (const int threads : {1, 2}) {
    set_num_threads(threads);
    all.push_back(draw(inputs_of(shot), evaluator(shot), shot.alternatives.size() * num_outputs, 5000, 3).values);
  }
  EXPECT_TRUE(all[0] == all[1]);
}

TEST(Shot, MeanOfRealisedCostsIsTheExpectedCost) {
  const Shot shot = uncertain(1, 1);
  const Draws d = draw(inputs_of(shot), evaluator(shot), shot.alternatives.size() * num_outputs, 200'000, 11);
  const Summary lucky = summarise(d.values[2 * num_outputs + realised]), mean = summarise(d.values[2 * num_outputs + expected]);
  EXPECT_NEAR(lucky.mean, mean.mean, 4 * std::hypot(lucky.se_mean, mean.se_mean));
  EXPECT_LT(lucky.se_p50, 0.01 * lucky.p50);
}

TEST(Budget, LinesAddUpToTheCent) {
  Maker m;
  const auto rate = m.constant("rate", 100.005), fringe = m.constant("fringe", 0.333), contingency = m.constant("contingency", 0.1);
  Alternative& a = m.add("shoot");
  for (int i = 0; i < 3; ++i) {
    a.setup.push_back(Maker::line({rate}));
    a.setup.back().account = "3300";
    a.setup.back().fringe = fringe;
  }
  a.surcharges = {{"", "contingency", contingency, 1}};
  const std::vector<BudgetLine> lines = budget(m.shot, 0);
  ASSERT_EQ(lines.size(), 7u);
  EXPECT_EQ(lines[0].amount.micros(), 100'000'000);  // half to even: 100.005 -> 100.00
  EXPECT_EQ(lines[1].amount.micros(), 33'300'000);   // 33.301665
  std::int64_t cents = 0;
  for (const BudgetLine& line : lines) {
    EXPECT_EQ(line.amount.micros() % 10'000, 0);
    cents += line.amount.micros();
  }
  EXPECT_EQ(total(lines, m.shot.currency).micros(), cents);
  EXPECT_EQ(cents, 439'890'000);  // 3 * 133.30 and ten per cent of it
}

TEST(Budget, GeneratedShotsPayForFailedTakesAndTheFallback) {
  Maker m;
  const auto p = m.constant("p", 0.5), take = m.constant("take", 8), shoot = m.constant("shoot", 400);
  m.add("shoot").setup = {Maker::line({shoot})};
  Alternative& a = m.add("api", Kind::generated);
  a.attempt = {Maker::line({take})};
  a.acceptance = p;
  a.cap = 2;
  a.fallback = 0;
  const std::vector<BudgetLine> lines = budget(m.shot, 1);
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0].amount.micros(), 12'000'000);   // 1.5 takes
  EXPECT_EQ(lines[1].amount.micros(), 100'000'000);  // a quarter of the shoot
  EXPECT_NEAR(total(lines, m.shot.currency).units(), typical_outputs(m.shot)[num_outputs + expected], 0.01);
}

}  // namespace
}  // namespace reel::cost
