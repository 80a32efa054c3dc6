// Rates by id and day, and the cards that come with Reel.
#include "cost/rates.hpp"

#include <gtest/gtest.h>

#include <filesystem>

#include "study/rate_file.hpp"
#include "tests/cost/told.hpp"

namespace reel::cost {
namespace {

Rate rate(const std::string& id, const std::string& from, const std::string& to, std::size_t line) {
  Rate r;
  r.id = id;
  r.valid_from = from;
  r.valid_to = to;
  r.file = "a.toml";
  r.line = line;
  return r;
}

TEST(Book, Dates) {
  EXPECT_TRUE(is_date("2024-02-29"));
  for (const std::string text : {"2023-02-29", "2026-13-01", "2026-00-10", "2026-1-1", "2026/11/22", "", "2026-11-2x",
                                 "26-11-22", "2026-11-222"})
    EXPECT_FALSE(is_date(text)) << text;
}

TEST(Book, RegionsFitFromNearToFar) {
  RateBook book;
  std::size_t line = 1;
  for (const std::string region : {"US-CA", "any", "US", "PT"}) {
    Rate r = rate("x.day", "", "", line++);
    r.region = region;
    book.add(r);
  }
  const auto taken = [&](std::string_view region) { return book.at("x.day", "2026-11-22", region).region; };
  EXPECT_EQ(taken("PT"), "PT");
  EXPECT_EQ(taken("US-CA"), "US-CA");
  EXPECT_EQ(taken("US-NY"), "US");
  EXPECT_EQ(taken("USA"), "any") << "a country is no prefix of a word";
  EXPECT_EQ(taken("any"), "any");
  Rate again = rate("x.day", "", "", line);
  again.region = "PT";
  expect_part(told([&] { book.add(again); }), "twice");
  RateBook far;
  Rate only = rate("y.day", "", "", 1);
  only.region = "US-CA";
  far.add(only);
  EXPECT_EQ(far.at("y.day", "2026-11-22", "PT").region, "US-CA") << "better than nothing";
}

TEST(Book, Periods) {
  RateBook book;
  book.add(rate("x.day", "2025-07-01", "2026-06-30", 2));
  book.add(rate("x.day", "", "2025-06-30", 1));
  book.add(rate("x.day", "2027-01-01", "", 3));
  EXPECT_EQ(book.at("x.day", "1999-01-01").line, 1u);
  EXPECT_EQ(book.at("x.day", "2025-06-30").line, 1u);
  EXPECT_EQ(book.at("x.day", "2025-07-01").line, 2u);
  EXPECT_EQ(book.at("x.day", "2099-01-01").line, 3u);
  EXPECT_EQ(book.find("x.day", "2026-07-01"), nullptr);
  EXPECT_EQ(book.find("y", "2026-07-01"), nullptr);
  const std::string gap = told([&] { book.at("x.day", "2026-07-01"); });
  for (const char* part : {"'x.day' is not valid on 2026-07-01", "until 2025-06-30", "2025-07-01 to 2026-06-30",
                           "from 2027-01-01", "a.toml:3"})
    expect_part(gap, part);
  expect_part(told([&] { book.at("x.dya", "2026-07-01"); }), "did you mean 'x.day'?");
  expect_part(told([&] { book.at("x.day", "today"); }), "'today' is not a date");
  ASSERT_EQ(book.rates().at({"x.day", ""}).size(), 3u);
  EXPECT_EQ(book.rates().at({"x.day", ""})[0].line, 1u) << "in the order of time";
  for (const auto& [from, to] : std::vector<std::pair<std::string, std::string>>{{"", ""},
                                                                                 {"2026-06-30", "2026-07-01"},
                                                                                 {"2026-12-31", "2027-01-01"},
                                                                                 {"", "2000-01-01"},
                                                                                 {"2025-08-01", "2025-08-01"}}) {
    const std::string error = told([&] { book.add(rate("x.day", from, to, 9)); });
    expect_part(error, "'x.day' is valid twice");
    expect_part(error, "a.toml:9");
  }
  book.add(rate("x.day", "2026-07-01", "2026-12-31", 4));
}

// ---- the cards that come with Reel

const RateBook& shipped() {
  static const RateBook book = study::read_rates({std::filesystem::path(REEL_SOURCE_DIR) / "datasets/rates"});
  return book;
}

TEST(Shipped, EveryRowIsComplete) {
  std::size_t rows = 0, sourced = 0;
  for (const auto& [key, periods] : shipped().rates()) {
    for (const Rate& r : periods) {
      const std::string& id = key.first;
      ++rows;
      sourced += r.source.sourced() ? 1 : 0;
      const std::string where = fmt::format("{}:{} {}", r.file, r.line, id);
      EXPECT_FALSE(r.item.empty()) << where;
      EXPECT_FALSE(r.region.empty()) << where;
      EXPECT_TRUE(r.year >= 2009 && r.year <= 2029) << where;
      EXPECT_TRUE(is_date(r.source.read)) << where;
      EXPECT_FALSE(r.source.text.empty()) << where;
      EXPECT_EQ(r.source.text == "none", r.source.confidence == "U" || r.source.confidence == "D") << where;
      EXPECT_TRUE(r.spread.low >= 0 && r.spread.low <= r.spread.typical && r.spread.typical <= r.spread.high) << where;
      EXPECT_FALSE(!r.unit.currency().empty() && r.spread.constant() && r.tier != 0)
          << where << ": a fixed price has no tier";
      EXPECT_TRUE(r.tier == 0 || !r.account.empty()) << where;
    }
  }
  EXPECT_GE(rows, 300u);
  EXPECT_GE(sourced, rows * 3 / 5);
  EXPECT_LT(sourced, rows) << "rows that nobody stands behind are marked";
}

TEST(Shipped, EveryPriceCanBeHadInDollarsOfToday) {
  for (const auto& [key, periods] : shipped().rates()) {
    for (const Rate& r : periods) {
      const std::string& id = key.first;
      if (const std::string currency = r.unit.currency(); !currency.empty()) {
        const double factor = shipped().prices.factor({currency, r.year}, {"USD", 2026});
        EXPECT_TRUE(factor > 0.8 && factor < 2.5) << id << " " << factor;
      }
    }
  }
}

void expect_rate(const std::string& id, double low, double typical, double high, const std::string& unit,
                 const std::string& confidence, const std::string& date = "2026-11-22") {
  const Rate& r = shipped().at(id, date);
  EXPECT_EQ(r.spread.low, low) << id;
  EXPECT_EQ(r.spread.typical, typical) << id;
  EXPECT_EQ(r.spread.high, high) << id;
  EXPECT_EQ(r.unit.text(), unit) << id;
  EXPECT_EQ(r.source.confidence, confidence) << id;
}

TEST(Shipped, SpotChecks) {
  expect_rate("performer.stunt.day", 1246, 1246, 1246, "USD/day", "H", "2026-06-30");
  expect_rate("performer.stunt.day", 1283, 1283, 1283, "USD/day", "H", "2026-07-01");
  expect_rate("performer.stunt.day", 1402, 1402, 1402, "USD/day", "H", "2030-06-30");
  expect_rate("stunt.adjustment", 100, 1500, 5000, "USD/take", "M");
  expect_rate("stunt.adjustment.high_fall", 500, 2500, 7500, "USD/take", "U");
  expect_rate("fringe.sag", 35, 38, 40, "%", "M");
  expect_rate("crew.dp.day", 500, 1000, 2500, "USD/day", "M");
  expect_rate("location.house_exterior.day", 0, 1500, 5000, "USD/day", "L");
  expect_rate("throughput.setups.indie", 8, 14, 20, "setup/day", "M");
  expect_rate("vfx.face_replacement", 8000, 15000, 25000, "USD/shot", "L");
  expect_rate("api.sora_2", 0.10, 0.10, 0.10, "USD/film_s", "H", "2026-09-23");
  expect_rate("api.kling_4.1080p", 0.235, 0.235, 0.235, "USD/film_s", "H");
  expect_rate("acceptance.stunt", 0.005, 0.03, 0.10, "1", "L");
  expect_rate("node.aws.c7a_48xlarge.spot", 3.414, 3.414, 3.414, "USD/(node*h)", "M");
  expect_rate("academic.wageningen.core", 0.010, 0.015, 0.020, "EUR/(core*h)", "H");
  expect_rate("energy.pue", 1.10, 1.30, 1.54, "1", "H");
  expect_rate("grid.pl", 662, 662, 662, "gCO2e/kWh", "H");
  expect_rate("embodied.node_hour", 0.014, 0.023, 0.036, "kgCO2e/(node*h)", "H");
  EXPECT_EQ(shipped().at("crew.key_grip.day", "2026-11-22").source.text, "an unattributed public rate card");
}

TEST(Shipped, WithdrawnModelIsNotForSale) {
  const std::string error = told([] { shipped().at("api.sora_2", "2026-09-24"); });
  expect_part(error, "not valid on 2026-09-24");
  expect_part(error, "until 2026-09-23");
}

/// The derived rows follow from the rows they are derived from.
TEST(Shipped, ArithmeticOfDerivedRows) {
  const auto typical = [](const std::string& id) { return shipped().at(id, "2026-11-22").spread.typical; };
  EXPECT_NEAR(typical("energy.archer2_node_hour"),
              typical("power.archer2_node") * typical("power.archer2_system") * typical("power.archer2_plant"), 5e-4);
  EXPECT_NEAR(typical("carbon.take.wan_14b"), typical("energy.clip.wan_14b") * 1.54 * typical("grid.us") * 1e-6, 5e-3);
  EXPECT_NEAR(typical("attention.youtube.viewings"),
              typical("attention.youtube.watched") / (typical("attention.youtube.uploaded") * 1440), 20);
  const double department = (typical("stunt.fall.performer_days") * typical("performer.stunt.day") +
                             typical("stunt.fall.performances") * typical("stunt.adjustment.high_fall") +
                             typical("stunt.fall.coordinator_days") * typical("stunt.coordinator.day") +
                             typical("stunt.fall.rigger_days") * typical("stunt.rigger.day")) *
                                (1 + typical("fringe.sag") / 100) +
                            typical("stunt.airbag");
  EXPECT_NEAR(department, typical("bench.fall.department"), 500);
  const double establishing =
      (typical("bench.establishing.labour") * 1.35 + typical("bench.establishing.camera_light") +
       typical("bench.establishing.place") + typical("bench.establishing.other")) *
      1.1;
  EXPECT_NEAR(establishing, typical("bench.establishing.dedicated"), 50);
  EXPECT_NEAR(establishing / typical("throughput.shots_sharing_a_day"), typical("bench.establishing.shared"), 50);
  EXPECT_NEAR(shipped().at("api.sora_plus", "2026-01-01").spread.typical, 20.0 / 60, 5e-3);
}

}  // namespace
}  // namespace reel::cost
