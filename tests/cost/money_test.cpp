// Units, money, prices.
#include "cost/money.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "cost/unit.hpp"
#include "tests/cost/told.hpp"

namespace reel::cost {
namespace {

std::string unit_error(const std::string& text) {
  return told([&] { Unit::parse(text); });
}

double converted(const std::string& from, const std::string& to) {
  return conversion(Unit::parse(from), Unit::parse(to));
}

TEST(Units, Parse) {
  EXPECT_EQ(Unit().text(), "1");
  EXPECT_EQ(Unit().factor(), 1);
  EXPECT_EQ(Unit::parse("%").factor(), 0.01);
  EXPECT_TRUE(Unit::parse("%").same_kind(Unit()));
  EXPECT_TRUE(Unit::parse("day/day").same_kind(Unit()));
  const Unit node = Unit::parse(" USD / ( node * h ) ");
  EXPECT_EQ(node.text(), "USD/(node*h)");
  EXPECT_EQ(node.factor(), 1.0 / 3600);
  EXPECT_EQ(node.power("USD"), 1);
  EXPECT_EQ(node.power("node"), -1);
  EXPECT_EQ(node.power("s"), -1);
  EXPECT_EQ(node.power("day"), 0);
  EXPECT_EQ(Unit::parse("USD/node/h").power("s"), -1);
  EXPECT_EQ(Unit::parse("USD/node*h").power("s"), 1) << "from the left";
  EXPECT_EQ(Unit::parse("1/h").power("s"), -1);
}

TEST(Units, Currency) {
  EXPECT_EQ(Unit::parse("EUR/(core*h)").currency(), "EUR");
  EXPECT_EQ(Unit::parse("USD").currency(), "USD");
  EXPECT_EQ(Unit::parse("1/USD").currency(), "");
  EXPECT_EQ(Unit::parse("USD*USD").currency(), "");
  EXPECT_EQ(Unit::parse("USD/EUR").currency(), "");
  EXPECT_EQ(Unit::parse("h").currency(), "");
  EXPECT_TRUE(is_currency("SEK"));
  EXPECT_FALSE(is_currency("USX"));
  EXPECT_FALSE(is_currency("ED "));
  EXPECT_FALSE(is_currency("usd"));
}

TEST(Units, Products) {
  const Unit total = Unit::parse("USD/(node*h)") * Unit::parse("h") * Unit::parse("node");
  EXPECT_EQ(total.text(), "USD");
  EXPECT_TRUE(total.same_kind(Unit::parse("USD")));
  EXPECT_DOUBLE_EQ(total.factor(), 1);
  const Unit rate = Unit::parse("USD") / Unit::parse("day") / Unit::parse("head");
  EXPECT_EQ(rate.text(), "USD/(day*head)");
  EXPECT_EQ((Unit::parse("min") / Unit::parse("take")).text(), "min/take");
  EXPECT_EQ((Unit() / Unit::parse("shot")).text(), "1/shot");
  EXPECT_EQ((Unit::parse("take") / Unit::parse("take")).text(), "1");
  EXPECT_TRUE(Unit::parse(rate.text()).same_kind(rate));
}

TEST(Units, Conversion) {
  EXPECT_DOUBLE_EQ(converted("h", "min"), 60);
  EXPECT_DOUBLE_EQ(converted("min/take", "h/take"), 1.0 / 60);
  EXPECT_DOUBLE_EQ(converted("kWh", "MJ"), 3.6);
  EXPECT_DOUBLE_EQ(converted("kW", "J/s"), 1000);
  EXPECT_DOUBLE_EQ(converted("kW*h", "kWh"), 1);
  EXPECT_DOUBLE_EQ(converted("gCO2e/kWh", "kgCO2e/MJ"), 1e-3 / 3.6);
  EXPECT_DOUBLE_EQ(converted("film_min", "film_s"), 60);
  EXPECT_DOUBLE_EQ(converted("%", "1"), 0.01);
  for (const auto& [from, to] : std::vector<std::pair<std::string, std::string>>{
           {"day", "h"}, {"USD", "EUR"}, {"film_s", "s"}, {"USD/day", "USD"}, {"week", "day"}, {"take", "shot"}}) {
    const std::string error = told([&] { converted(from, to); });
    expect_part(error, from);
    expect_part(error, to);
  }
}

TEST(Units, Failures) {
  expect_part(unit_error("USD/dya"), "did you mean 'day'?");
  expect_part(unit_error("USD/dya"), "'USD/dya'");
  expect_part(unit_error("USX/day"), "unknown currency 'USX'");
  expect_part(unit_error("parsec"), "unknown unit 'parsec'");
  for (const std::string text : {"", " ", "/", "USD/", "/day", "*", "()", "USD//day", "USD/*day"})
    expect_part(unit_error(text), "the name of a unit is missing");
  expect_part(unit_error("USD/(node*h"), "a ')' is missing");
  expect_part(unit_error("USD/node)"), "')' is not expected here");
  expect_part(unit_error("USD day"), "'d' is not expected here");
  expect_part(unit_error(std::string(201, '(')), "201 characters");
  expect_part(unit_error(std::string(200, '(')), "name of a unit is missing");
  expect_part(unit_error("h*h*h*h*h*h*h*h*h*h"), "at most 9");
  expect_part(unit_error(std::string("U\0SD", 4)), "unknown unit");
}

const Currency usd{"USD", 2026};

TEST(MoneyTest, SumOfCentsIsExact) {
  const Money cent(0.01, usd);
  Money sum(0, usd);
  double doubles = 0;
  for (int i = 0; i < 100'000; ++i) {
    sum = sum + cent;
    doubles += 0.01;
  }
  EXPECT_EQ(sum.micros(), 1'000'000'000);
  EXPECT_EQ(sum.text(), "1,000.00 USD");
  EXPECT_NE(doubles, 1000.0) << "the control: doubles do not do it";
  for (int i = 0; i < 100'000; ++i) sum = sum - cent;
  EXPECT_EQ(sum.micros(), 0);
}

TEST(MoneyTest, RoundsHalfToEven) {
  EXPECT_EQ(Money(std::ldexp(1, -7), usd).micros(), 7812) << "7812.5 millionths exactly";
  EXPECT_EQ(Money(3 * std::ldexp(1, -7), usd).micros(), 23438) << "23437.5 millionths exactly";
  EXPECT_EQ(Money(-std::ldexp(1, -7), usd).micros(), -7812);
  EXPECT_EQ(Money(std::nextafter(std::ldexp(1, -7), 1.0), usd).micros(), 7813) << "a little above the half";
  EXPECT_EQ(Money(5e-324, usd).micros(), 0);
  EXPECT_EQ(Money(1e-7, usd).micros(), 0);
  EXPECT_EQ((Money::from_micros(1, usd) * 0.5).micros(), 0);
  EXPECT_EQ((Money::from_micros(3, usd) * 0.5).micros(), 2);
  EXPECT_EQ((Money::from_micros(-3, usd) * 0.5).micros(), -2);
  EXPECT_EQ((Money::from_micros(9'007'199'254'740'993, usd) * 1.0).micros(), 9'007'199'254'740'993)
      << "more than a double holds";
  const auto cents = [](std::int64_t micros) { return Money::from_micros(micros, usd).to_cents().micros(); };
  EXPECT_EQ(cents(5'000), 0);
  EXPECT_EQ(cents(5'001), 10'000);
  EXPECT_EQ(cents(15'000), 20'000);
  EXPECT_EQ(cents(25'000), 20'000);
  EXPECT_EQ(cents(-15'000), -20'000);
  EXPECT_EQ(cents(-25'000), -20'000);
  EXPECT_EQ(cents(-25'001), -30'000);
}

TEST(MoneyTest, Overflow) {
  const Money most = Money(9.2e12, usd);
  EXPECT_EQ(most.micros(), 9'200'000'000'000'000'000);
  EXPECT_EQ((most - most).micros(), 0);
  EXPECT_EQ((Money(0, usd) - most).text(), "-9,200,000,000,000.00 USD");
  expect_part(told([&] { most + Money::from_micros(1, usd); }), "too large");
  expect_part(told([&] { most + most; }), "too large");
  expect_part(told([&] { (Money(0, usd) - most) - most; }), "too large");
  expect_part(told([&] { most * 1.001; }), "too large");
  expect_part(told([] { Money(9.3e12, usd); }), "too large");
  expect_part(told([] { Money(1e308, usd); }), "too large");
  expect_part(told([] { Money(-1e308, usd); }), "too large");
  expect_part(told([] { Money(std::numeric_limits<double>::quiet_NaN(), usd); }), "not finite");
  expect_part(told([] { Money(std::numeric_limits<double>::infinity(), usd); }), "not finite");
  expect_part(told([] { Money(1, usd) * std::numeric_limits<double>::quiet_NaN(); }), "not finite");
  expect_part(told([] { Money::from_micros(std::numeric_limits<std::int64_t>::min(), usd); }), "too large");
}

TEST(MoneyTest, NeverMixed) {
  const auto mixed = [](const Currency& other) { return told([&] { Money(1, usd) + Money(1, other); }, Exit::bug); };
  expect_part(mixed({"EUR", 2026}), "broken promise");
  expect_part(mixed({"USD", 2025}), "broken promise");
}

TEST(MoneyTest, Text) {
  EXPECT_EQ(Money(2450, usd).text(), "2,450.00 USD");
  EXPECT_EQ(Money(0, usd).text(), "0.00 USD");
  EXPECT_EQ(Money(999.995, {"GBP", 2024}).text(), "1,000.00 GBP");
  EXPECT_EQ(Money(-0.05, usd).text(), "-0.05 USD");
  EXPECT_EQ(Money(-0.004, usd).text(), "0.00 USD");
  EXPECT_EQ(Money(1234567.891, {"EUR", 2025}).text(), "1,234,567.89 EUR");
}

TEST(PricesTest, ExchangeThenLevel) {
  Prices prices;
  prices.set_exchange("GBP", 2024, 1.25);
  prices.set_exchange("EUR", 2024, 1.10);
  prices.set_level(2024, 300);
  prices.set_level(2026, 330);
  EXPECT_EQ(prices.factor({"USD", 2024}, {"USD", 2024}), 1);
  EXPECT_EQ(prices.factor({"SEK", 1990}, {"SEK", 1990}), 1) << "nothing to look up";
  EXPECT_DOUBLE_EQ(prices.factor({"USD", 2024}, {"USD", 2026}), 1.1);
  EXPECT_DOUBLE_EQ(prices.factor({"USD", 2026}, {"USD", 2024}), 1 / 1.1);
  EXPECT_DOUBLE_EQ(prices.factor({"GBP", 2024}, {"USD", 2024}), 1.25);
  EXPECT_DOUBLE_EQ(prices.factor({"GBP", 2024}, {"USD", 2026}), 1.375) << "650 GBP of 2024 are 893.75 USD of 2026";
  EXPECT_DOUBLE_EQ(prices.factor({"USD", 2024}, {"GBP", 2024}), 0.8);
  EXPECT_DOUBLE_EQ(prices.factor({"EUR", 2024}, {"GBP", 2026}), 1.10 / 1.25 * 1.1);
  EXPECT_DOUBLE_EQ(prices.factor({"GBP", 2024}, {"GBP", 2026}), 1.1);
}

TEST(PricesTest, NoComparisonDependsOnTheMoneyItIsMadeIn) {
  Prices prices;
  prices.set_exchange("GBP", 2019, 1.30);
  prices.set_exchange("GBP", 2026, 1.35);
  for (const int year : {2009, 2019, 2026}) prices.set_level(year, 200 + 5 * (year - 2009));
  const auto ratio = [&](const Currency& in) { return prices.factor({"GBP", 2019}, in) / prices.factor({"USD", 2009}, in); };
  EXPECT_DOUBLE_EQ(ratio({"USD", 2026}), ratio({"GBP", 2026}));
  EXPECT_DOUBLE_EQ(ratio({"USD", 2026}), ratio({"USD", 2009}));
  // 2009 has no pound here, and none is needed: dollars become pounds in the year that is asked for.
  EXPECT_DOUBLE_EQ(prices.factor({"USD", 2009}, {"GBP", 2026}), 285.0 / 200.0 / 1.35);
}

TEST(PricesTest, NearestYearWithinThree) {
  Prices prices;
  prices.set_level(2018, 100);
  prices.set_level(2020, 200);
  prices.set_level(2021, 400);
  EXPECT_DOUBLE_EQ(prices.factor({"USD", 2021}, {"USD", 2024}), 1);
  EXPECT_DOUBLE_EQ(prices.factor({"USD", 2019}, {"USD", 2021}), 4) << "the earlier of two";
  const std::string far = told([&] { prices.factor({"USD", 2021}, {"USD", 2025}); });
  expect_part(far, "no price level near 2025");
  expect_part(far, "2018, 2020, 2021");
  prices.set_exchange("GBP", 2020, 1.3);
  EXPECT_DOUBLE_EQ(prices.factor({"GBP", 2021}, {"USD", 2021}), 1.3);
  const std::string unknown = told([&] { prices.factor({"GBP", 2024}, {"USD", 2024}); });
  expect_part(unknown, "no exchange rate between GBP and USD near 2024");
  expect_part(unknown, "[[exchange]]");
  expect_part(told([&] { prices.factor({"SEK", 2021}, {"USD", 2021}); }), "years known: none");
  expect_part(told([&] { prices.set_level(2020, 0); }, Exit::bug), "broken promise");
  expect_part(told([&] { prices.set_exchange("USD", 2020, 1); }, Exit::bug), "broken promise");
}

}  // namespace
}  // namespace reel::cost
