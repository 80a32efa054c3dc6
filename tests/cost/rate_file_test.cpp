// The reader of rate cards: every finding has its place, and hostile cards do no harm.
#include "study/rate_file.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>

#include "core/digest.hpp"
#include "study/diagnostic.hpp"
#include "tests/cost/told.hpp"

namespace reel::cost {
namespace {

namespace fs = std::filesystem;

/// A folder that is removed again.
class Folder {
 public:
  Folder() {
    static int count = 0;
    path_ = fs::temp_directory_path() /
            fmt::format("reel_rates_{}_{}", std::chrono::steady_clock::now().time_since_epoch().count(), count++);
    fs::create_directories(path_);
  }
  ~Folder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  fs::path write(const std::string& name, const std::string& text) const {
    std::ofstream(path_ / name, std::ios::binary) << text;
    return path_ / name;
  }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

const std::string head = "rates = 1\nname = \"test\"\n[defaults]\nread = 2026-11-22\nyear = 2025\n";  // 5 lines
const std::string fringe_row =
    "[[rate]]\nid = \"f.a\"\nitem = \"f\"\nvalue = 30\nunit = \"%\"\nsource = \"s\"\nconfidence = \"M\"\n";
// Lines 1 ... 12 of a row: [[rate]] id item low typical high unit source confidence fringe valid_from valid_to
const std::vector<std::string> good_lines = {
    "[[rate]]", "id = \"a.b\"",       "item = \"x\"",   "low = 1",           "typical = 2",
    "high = 4", "unit = \"USD/day\"", "source = \"s\"", "confidence = \"M\""};

/// `good_lines` with line `index` replaced ("" leaves it out) and `more` behind.
std::string row_with(std::size_t index, const std::string& line, const std::string& more = "") {
  std::string text;
  for (std::size_t i = 0; i < good_lines.size(); ++i) {
    const std::string& kept = i == index ? line : good_lines[i];
    if (!kept.empty()) text += kept + "\n";
  }
  return text + more;
}
constexpr std::size_t nothing = 99;

RateBook read(const std::string& text) {
  const Folder folder;
  return study::read_rates({folder.write("card.toml", text)});
}

/// Findings in `head` + `text`; every one has its place in the card.
std::string findings(const std::string& text, const std::string& before = head) {
  try {
    read(before + text);
    return "";
  } catch (const study::DiagnosticError& error) {
    for (const study::Diagnostic& d : error.diagnostics()) {
      EXPECT_EQ(fs::path(d.file).filename(), "card.toml");
      EXPECT_GE(d.line, 1u);
      EXPECT_FALSE(d.note.empty() && d.message.find("TOML") == std::string::npos &&
                   d.message.find("must be a") == std::string::npos)
          << d.message;
    }
    return error.rendered();
  }
}

/// The one finding in line `line` after `head`.
void expect_finding(const std::string& row, std::size_t line, const std::string& part, std::size_t count = 1) {
  const std::string text = findings(row);
  expect_part(text, part);
  expect_part(text, fmt::format("card.toml:{}:", 5 + line));
  std::size_t errors = 0;
  for (std::size_t at = text.find("error: "); at != std::string::npos; at = text.find("error: ", at + 1)) ++errors;
  EXPECT_EQ(errors, count) << text;
}

TEST(Card, Good) {
  const RateBook book =
      read(head + fringe_row +
           row_with(nothing, "",
                    "fringe = \"f.a\"\naccount = \"3300\"\ntier = -0.5\nspread = \"lognormal\"\nregion = \"US-CA\"\n"
                    "union = \"union\"\nvalid_from = 2025-01-01\nvalid_to = 2025-12-31\nread = 2026-01-02\nyear = "
                    "2024\nnote = \"n\"\n") +
           "[[exchange]]\ncode = \"GBP\"\nyear = 2024\nusd = 1.25\nsource = \"s\"\nconfidence = \"M\"\n"
           "[[price_level]]\nyear = 2024\nlevel = 300\nsource = \"none\"\nconfidence = \"U\"\n");
  const Rate& r = book.at("a.b", "2025-06-01");
  EXPECT_EQ(r.item, "x");
  EXPECT_EQ(r.spread.low, 1);
  EXPECT_EQ(r.spread.typical, 2);
  EXPECT_EQ(r.spread.high, 4);
  EXPECT_EQ(r.spread.shape, Spread::Shape::lognormal);
  EXPECT_EQ(r.unit.text(), "USD/day");
  EXPECT_EQ(r.year, 2024);
  EXPECT_EQ(r.region, "US-CA");
  EXPECT_EQ(r.union_status, "union");
  EXPECT_EQ(r.source.text, "s");
  EXPECT_EQ(r.source.confidence, "M");
  EXPECT_EQ(r.source.read, "2026-01-02");
  EXPECT_TRUE(r.source.sourced());
  EXPECT_EQ(r.account, "3300");
  EXPECT_EQ(r.fringe, "f.a");
  EXPECT_EQ(r.tier, -0.5);
  EXPECT_EQ(r.valid_from, "2025-01-01");
  EXPECT_EQ(r.valid_to, "2025-12-31");
  EXPECT_EQ(r.note, "n");
  EXPECT_EQ(fs::path(r.file).filename(), "card.toml");
  EXPECT_EQ(r.line, 13u);
  const Rate& f = book.at("f.a", "2025-06-01");
  EXPECT_TRUE(f.spread.constant());
  EXPECT_EQ(f.spread.typical, 30);
  EXPECT_EQ(f.spread.shape, Spread::Shape::pert);
  EXPECT_EQ(f.year, 2025);
  EXPECT_EQ(f.region, "any");
  EXPECT_EQ(f.union_status, "any");
  EXPECT_EQ(f.source.read, "2026-11-22");
  EXPECT_EQ(book.prices.factor({"GBP", 2024}, {"USD", 2024}), 1.25);
  EXPECT_EQ(book.prices.factor({"USD", 2024}, {"USD", 2025}), 1) << "the nearest known level";
}

TEST(Card, Numbers) {
  for (const char* value : {"nan", "inf", "-inf", "-1", "-0.001", "1e300"})
    expect_finding(row_with(3, fmt::format("low = {}", value)), 4, "'rate.low' is");
  expect_finding(row_with(3, "low = \"1\""), 4, "must be a number");
  expect_finding(row_with(3, "low = 3"), 4, "low 3 is above typical 2");
  expect_finding(row_with(4, "typical = 5"), 5, "typical 5 is above high 4");
  expect_finding(row_with(4, ""), 1, "'rate.typical' is missing");
  expect_finding(row_with(nothing, "", "value = 2\n"), 10, "stands beside");
  expect_finding("[[rate]]\nid = \"a.b\"\nitem = \"x\"\nunit = \"1\"\nsource = \"s\"\nconfidence = \"M\"\n", 1,
                 "'rate.value' is missing");
  expect_finding(row_with(3, "low = 0", "spread = \"lognormal\"\n"), 10, "lognormal needs low above 0");
  expect_finding(row_with(nothing, "", "spread = \"beta\"\n"), 10, "beta needs 0 < low and high < 1");
  expect_finding(row_with(nothing, "", "spread = \"normal\"\n"), 10,
                 "choose from: pert, triangular, lognormal, beta, discrete");
  expect_finding(row_with(nothing, "", "tier = 1.5\n"), 10, "'rate.tier' is 1.5");
}

TEST(Card, UnitsAndCurrencies) {
  expect_finding(row_with(6, ""), 1, "'rate.unit' is missing");
  expect_finding(row_with(6, "unit = \"USD/dya\""), 7, "did you mean 'day'?");
  expect_finding(row_with(6, "unit = \"USX/day\""), 7, "unknown currency 'USX'");
  expect_finding(row_with(6, "unit = \"USD/(day\""), 7, "a ')' is missing");
  for (const char* unit : {"1/USD", "USD*USD", "USD/EUR", "h*USD*EUR"})
    expect_finding(row_with(6, fmt::format("unit = \"{}\"", unit)), 7, "is no price");
  EXPECT_EQ(findings(row_with(6, "unit = \"h\"")), "");
}

TEST(Card, Sources) {
  expect_finding(row_with(7, ""), 1, "'rate.source' is missing");
  expect_finding(row_with(7, "source = \" \""), 8, "the source is empty");
  expect_finding(row_with(8, ""), 1, "'rate.confidence' is missing");
  expect_finding(row_with(8, "confidence = \"X\""), 9, "choose from: H, M, L, U, D");
  expect_finding(row_with(7, "source = \"none\""), 9, "confidence M without a source");
  expect_finding(row_with(8, "confidence = \"D\""), 9, "confidence D without the arithmetic");
  EXPECT_EQ(findings(row_with(8, "confidence = \"D\"", "note = \"2 x 3\"\n")), "");
  EXPECT_EQ(
      findings(
          "[[rate]]\nid = \"a.b\"\nitem = \"x\"\nvalue = 1\nunit = \"1\"\nsource = \"none\"\nconfidence = \"U\"\n"),
      "");
  const std::string no_defaults = "rates = 1\nname = \"test\"\n\n\n\n";
  const std::string text = findings(row_with(nothing, ""), no_defaults);
  expect_part(text, "'rate.year' is missing");
  expect_part(text, "'rate.read' is missing");
  expect_part(text, "card.toml:6:");
}

TEST(Card, IdsAndDates) {
  for (const char* id : {"", ".", "A.b", "a..b", ".a", "a.", "a b", "a-b", "\\u00e4"})
    expect_finding(row_with(1, fmt::format("id = \"{}\"", id)), 2, "is no id");
  expect_finding(row_with(1, fmt::format("id = \"{}\"", std::string(81, 'a'))), 2, "is no id");
  expect_finding(row_with(1, ""), 1, "'rate.id' is missing");
  expect_finding(row_with(2, ""), 1, "'rate.item' is missing");
  for (const char* account : {"", "12", "1234567", "33a0"})
    expect_finding(row_with(nothing, "", fmt::format("account = \"{}\"\n", account)), 10, "is no account");
  expect_finding(row_with(nothing, "", "valid_from = 2026-02-30\n"), 10, "not valid TOML");
  expect_finding(row_with(nothing, "", "valid_from = \"2026-02-01\"\n"), 10, "without quotes");
  expect_finding(row_with(nothing, "", "valid_from = 2026-02-01T00:00:00\n"), 10, "must be a day");
  expect_finding(row_with(nothing, "", "valid_from = 2026-02-02\nvalid_to = 2026-02-01\n"), 10,
                 "valid from 2026-02-02 to 2026-02-01");
  expect_finding(row_with(nothing, "", "year = 20025\n"), 10, "must be from 1900 to 2100");
  expect_finding(row_with(nothing, "", "union = \"guild\"\n"), 10, "choose from: union, non-union, any");
  expect_finding(row_with(nothing, "", "lwo = 3\n"), 10, "did you mean 'low'?");
}

TEST(Card, Fringes) {
  expect_finding(row_with(nothing, "", "fringe = \"f.b\"\n") + fringe_row, 10, "did you mean 'f.a'?");
  expect_finding(row_with(nothing, "", "fringe = \"a.b\"\n"), 10, "'a.b' is no fringe: its unit is 'USD/day'",
                 2);  // and has one
  // A cycle: each is a fringe and has one.
  const auto share = [](const std::string& id, const std::string& fringe) {
    return fmt::format(
        "[[rate]]\nid = \"{}\"\nitem = \"f\"\nvalue = 30\nunit = \"%\"\nsource = \"s\"\nconfidence = \"M\"\nfringe = "
        "\"{}\"\n",
        id, fringe);
  };
  const std::string cycle = findings(share("f.a", "f.b") + share("f.b", "f.a"));
  expect_part(cycle, "'f.a' is a fringe of 'f.b'");
  expect_part(cycle, "'f.b' is a fringe of 'f.a'");
  expect_part(cycle, "card.toml:13:");
  expect_part(cycle, "card.toml:21:");
  expect_finding(share("f.a", "f.a"), 8, "cannot have a fringe itself");
}

TEST(Card, MoneyRows) {
  const std::string sourced = "source = \"s\"\nconfidence = \"M\"\n";
  expect_finding("[[exchange]]\ncode = \"XYZ\"\nusd = 1\n" + sourced, 2, "unknown currency 'XYZ'");
  expect_finding("[[exchange]]\ncode = \"USD\"\nusd = 1\n" + sourced, 2, "USD needs no exchange rate");
  expect_finding("[[exchange]]\ncode = \"GBP\"\nusd = 0\n" + sourced, 3, "must be above 0");
  expect_finding("[[exchange]]\ncode = \"GBP\"\n" + sourced, 1, "'exchange.usd' is missing");
  expect_finding("[[exchange]]\ncode = \"GBP\"\nusd = 1\n", 1, "is missing", 2);  // source and confidence
  expect_finding("[[price_level]]\nyear = 2024\nlevel = -1\n" + sourced, 3, "must be above 0");
  expect_finding("[[price_level]]\nlevel = 1\n" + sourced, 1, "'price_level.year' is missing");
  const std::string pound = "[[exchange]]\ncode = \"GBP\"\nusd = 1.2\n" + sourced;
  const std::string twice = findings(pound + pound);
  expect_part(twice, "the exchange rate of GBP in 2025 is given twice");
  expect_part(twice, "card.toml:6");
  expect_part(twice, "card.toml:11");
}

TEST(Card, Heads) {
  expect_part(findings("", ""), "'rates' is missing");
  expect_part(findings("", ""), "card.toml:1:1");
  expect_part(findings("rates = 2\nname = \"x\"\n", ""), "must be from 1 to 1");
  expect_part(findings("", head), "the card has no rows");
  expect_part(findings("rates = 1\nname = \"x\"\nrate = 3\n", ""), "'rate' must be a list of tables");
  expect_part(findings("rates = 1\nname = \"x\"\nrate = [1, {}]\n", ""), "begin each with [[rate]]");
  expect_part(findings("rates = 1\nname = \"x\"\n[rate]\nid = \"a\"\n", ""), "begin each with [[rate]]");
  expect_part(findings(row_with(nothing, "") + "[[rates]]\n"), "not valid TOML");
  expect_part(findings(row_with(nothing, "") + "[[exchanges]]\n"), "did you mean 'exchange'?");
}

TEST(Card, FindingsAreCounted) {
  std::string many;
  for (int i = 0; i < 100; ++i) many += row_with(1, fmt::format("id = \"a.b{}\"", i), "lwo = 1\nnote = 2\n");
  const std::string text = findings(many);
  expect_part(text, "(and 180 more)");
  std::size_t errors = 0;
  for (std::size_t at = text.find("error: "); at != std::string::npos; at = text.find("error: ", at + 1)) ++errors;
  EXPECT_EQ(errors, 20u);
}

TEST(Cards, TwoCards) {
  const Folder folder;
  const fs::path a = folder.write("a.toml", head + row_with(nothing, "", "valid_to = 2025-12-31\nfringe = \"f.a\"\n"));
  const fs::path b = folder.write("b.toml", head + fringe_row + row_with(nothing, "", "valid_from = 2026-01-01\n"));
  folder.write("README.md", "no card");
  const RateBook book = study::read_rates({folder.path()});
  EXPECT_EQ(fs::path(book.at("a.b", "2025-12-31").file).filename(), "a.toml");
  EXPECT_EQ(fs::path(book.at("a.b", "2026-01-01").file).filename(), "b.toml");
  EXPECT_EQ(study::read_rates({b, a}).sha256, book.sha256) << "the order of reading does not count";
  const auto bytes = [](const fs::path& file) {
    std::ifstream stream(file, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(stream), {});
  };
  EXPECT_EQ(book.sha256,
            sha256_hex(fmt::format("{}  a.toml\n{}  b.toml\n", sha256_hex(bytes(a)), sha256_hex(bytes(b)))));

  folder.write("c.toml", head + "\n" + row_with(nothing, "", "valid_from = 2026-06-01\n"));
  const std::string error = told([&] { study::read_rates({folder.path()}); }, Exit::usage);
  expect_part(error, "'a.b' is valid twice");
  expect_part(error, "b.toml:13 (from 2026-01-01)");
  expect_part(error, "c.toml:7 (from 2026-06-01)");
  expect_part(error, "c.toml:8:6");
  expect_part(told([&] { study::read_rates({a}); }, Exit::usage), "unknown fringe 'f.a'");
}

TEST(Cards, WhatCannotBeRead) {
  const Folder folder;
  expect_part(told([] { study::read_rates({}); }), "no rate card was given");
  expect_part(told([&] { study::read_rates({folder.path() / "none.toml"}); }), "none.toml");
  folder.write("README.md", "no card");
  expect_part(told([&] { study::read_rates({folder.path()}); }), "no rate card in this folder");
  fs::create_directory(folder.path() / "x.toml");
  expect_part(told([&] { study::read_rates({folder.path()}); }), "x.toml");
  std::string bytes;
  for (int i = 0; i < 4096; ++i) bytes += static_cast<char>((i * 37) % 256);
  expect_part(findings(bytes, ""), "not valid TOML");
  expect_part(findings(std::string(100, '\0'), ""), "not valid TOML");
  expect_part(findings("note = \"\xff\xfe\"\n"), "not valid TOML");
  expect_part(findings("a = " + std::string(4000, '['), ""), "not valid TOML");
  const auto dots = [](std::size_t count) {
    std::string text = "rates = 1\n";
    for (std::size_t i = 0; i < count; ++i) text += "a.";
    return text + "a = 1\n";
  };
  expect_part(findings(dots(15), ""), "unknown key 'a'");
  expect_part(findings(dots(2'000'000), ""), "a key of more than 16 parts");
  expect_part(findings(dots(2'000'000), ""), "card.toml:2:1");
}

double seconds_of(const std::function<void()>& action) {
  const auto start = std::chrono::steady_clock::now();
  action();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

TEST(Cards, AMillionRowsAreRefused) {
  const Folder folder;
  std::string large = head, small = head, inlined = "rates = 1\nname = \"x\"\nrate = [";
  for (int i = 0; i < 1'000'000; ++i) {
    large += row_with(nothing, "");
    small += "[[a]]\n";
    inlined += "{},";
  }
  inlined += "{}]\n";
  const fs::path a = folder.write("a.toml", large), b = folder.write("b.toml", small),
                 c = folder.write("c.toml", inlined);
  EXPECT_LT(seconds_of([&] { expect_part(told([&] { study::read_rates({a}); }), "larger than 8 MiB"); }), 1);
  EXPECT_LT(seconds_of([&] { expect_part(told([&] { study::read_rates({b}); }), "1000000 rows, at most 50000"); }), 1);
  EXPECT_LT(seconds_of([&] { expect_part(told([&] { study::read_rates({c}); }), "1000001 rows, at most 50000"); }), 1);
  std::string most = head;  // 50,000 rows, one id, a period each, backwards
  for (int i = 49'999; i >= 0; --i) {
    const std::string day = fmt::format("{:04}-{:02}-{:02}", 1 + i / 336, 1 + i / 28 % 12, 1 + i % 28);
    most += fmt::format(
        "[[rate]]\nid=\"a\"\nitem=\"x\"\nvalue=1\nunit=\"1\"\nsource=\"s\"\nconfidence=\"M\"\nvalid_from={}\nvalid_to={"
        "}\n",
        day, day);
  }
  EXPECT_EQ(read(most).rates().at({"a", "any"}).size(), 50'000u);
}

}  // namespace
}  // namespace reel::cost
