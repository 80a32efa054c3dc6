#include "study/rate_file.hpp"

#include <algorithm>
#include <fstream>
#include <memory>
#include <set>
#include <tuple>

#include "core/digest.hpp"
#include "study/rate_row.hpp"

namespace reel::study {
namespace {

namespace fs = std::filesystem;
using cost::Rate;
using cost::RateBook;
using Shape = cost::Spread::Shape;

constexpr std::size_t max_bytes = 8 << 20;
constexpr std::size_t max_rows = 50'000;
constexpr double max_value = 1e15;
const std::vector<std::string> shapes = {"pert", "triangular", "lognormal", "beta",
                                         "discrete"};  // in the order of Shape
const std::vector<std::string> unions = {"union", "non-union", "any"};
const std::vector<std::string> letters = {"H", "M", "L", "U", "D"};

struct Row {
  TableReader table;
  Rate rate;
};

/// A card that is being read. The readers point into the document, so it stays where it is.
struct Card {
  Card(const std::string& file_name, std::string_view text) : file(file_name), document(text, file_name) {}
  std::string file;
  TomlDocument document;
  std::vector<Row> rows;
};

/// Rows in whatever way TOML lets write them: "[[" at the start of a line, or "{".
std::size_t count_tables(std::string_view text) {
  std::size_t count = 0;
  bool line_starts = true;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '{' || (line_starts && text.substr(i, 2) == "[[")) ++count;
    line_starts = c == '\n' || (line_starts && (c == ' ' || c == '\t'));
  }
  return count;
}

std::string read_card(const fs::path& file) {
  std::error_code ignored;
  if (!fs::is_regular_file(file, ignored))
    throw Error(Exit::input, "no such rate card", file.string(), "check the path");
  std::ifstream stream(file, std::ios::binary);
  std::string text(max_bytes + 1, '\0');
  stream.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (!stream.eof() && !stream)
    throw Error(Exit::input, "cannot read the rate card", file.string(), "check its rights");
  text.resize(static_cast<std::size_t>(stream.gcount()));
  if (text.size() > max_bytes) {
    throw Error(Exit::input, fmt::format("the rate card is larger than {} MiB", max_bytes >> 20), file.string(),
                "split it, one subject per card");
  }
  if (const std::size_t rows = count_tables(text); rows > max_rows) {
    throw Error(Exit::input, fmt::format("the rate card has {} rows, at most {}", rows, max_rows), file.string(),
                "split it, one subject per card");
  }
  return text;
}

std::vector<fs::path> files_of(const std::vector<fs::path>& cards) {
  std::vector<fs::path> files;
  std::error_code failure;
  for (const fs::path& card : cards) {
    if (!fs::is_directory(card, failure)) {
      files.push_back(card);
      continue;
    }
    std::vector<fs::path> found;
    for (fs::directory_iterator at(card, failure), end; !failure && at != end; at.increment(failure))
      if (at->path().extension() == ".toml") found.push_back(at->path());
    if (failure) throw Error(Exit::input, "cannot read the folder of rate cards", card.string(), "check its rights");
    if (found.empty()) throw Error(Exit::input, "no rate card in this folder", card.string(), "cards are *.toml files");
    std::sort(found.begin(), found.end());
    files.insert(files.end(), found.begin(), found.end());
  }
  if (files.empty()) throw Error(Exit::input, "no rate card was given", "", "name a card or a folder of cards");
  return files;
}

bool is_id(std::string_view id) {
  char before = '.';
  for (const char c : id) {
    const bool word = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
    if (!word && (c != '.' || before == '.')) return false;
    before = c;
  }
  return before != '.' && id.size() <= 80;
}

int read_year(TableReader& table, int fallback) {
  if (fallback == 0) table.require("year", "the price year; it may also stand in [defaults]");
  return static_cast<int>(table.integer("year", fallback, 1900, 2100));
}

/// source, confidence, read and note of a row: the note is given back in `note`.
cost::Source read_source(TableReader& table, const RowDefaults& defaults, std::string& note) {
  table.require("source", "who says so, in words or as an address; \"none\" when nobody does");
  table.require("confidence", "H primary or several agreeing, M one decent, L weak or old, U nobody, D by arithmetic");
  if (defaults.read.empty())
    table.require("read", "the day on which the source was read; it may also stand in [defaults]");
  cost::Source source{table.text("source"), table.choice("confidence", "", letters), table.date("read", defaults.read)};
  note = table.text("note");
  const std::string& letter = source.confidence;
  if (table.has("source") && source.text.find_first_not_of(" \t\r\n") == std::string::npos)
    table.error("source", "the source is empty", "write who says so, or \"none\"");
  if (source.text == "none" && (letter == "H" || letter == "M" || letter == "L"))
    table.error("confidence", fmt::format("confidence {} without a source", letter),
                "without a source only U, or D with the arithmetic in note");
  if (letter == "D" && note.empty())
    table.error("confidence", "confidence D without the arithmetic", "D is derived: write in note from what and how");
  return source;
}

cost::Spread read_spread(TableReader& table) {
  cost::Spread spread;
  const double value = table.number("value", 0, 0, max_value);
  double low = table.number("low", 0, 0, max_value), typical = table.number("typical", 0, 0, max_value),
         high = table.number("high", 0, 0, max_value);
  const bool three = table.has("low") || table.has("typical") || table.has("high");
  if (!three && !table.has("value"))
    table.error("value", "'rate.value' is missing", "write value, or low, typical and high");
  if (three && table.has("value"))
    table.error("value", "'rate.value' stands beside low, typical or high", "write one or the other");
  if (three) {
    for (const char* key : {"low", "typical", "high"}) table.require(key, "write low, typical and high, or only value");
  } else {
    low = typical = high = value;
  }
  const std::string name = table.choice("spread", "pert", shapes);
  spread = {low, typical, high, static_cast<Shape>(std::find(shapes.begin(), shapes.end(), name) - shapes.begin())};
  const bool complete = !three || (table.has("low") && table.has("typical") && table.has("high"));
  if (complete && low > typical)
    table.error("low", fmt::format("low {} is above typical {}", low, typical), "low <= typical <= high");
  if (complete && typical > high)
    table.error("typical", fmt::format("typical {} is above high {}", typical, high), "low <= typical <= high");
  if (complete && spread.shape == Shape::lognormal && !(low > 0))
    table.error("spread", "lognormal needs low above 0", "take pert when the value can be 0");
  if (complete && spread.shape == Shape::beta && !(low > 0 && high < 1))
    table.error("spread", "beta needs 0 < low and high < 1", "beta is for probabilities with unit \"1\"");
  return spread;
}

/// Is money there, but not exactly once and above the line?
bool odd_money(const cost::Unit& unit) {
  std::string word;
  bool money = false;
  for (const char c : unit.text() + "/") {
    if (std::string_view("*/()").find(c) == std::string_view::npos) {
      word += c;
      continue;
    }
    money = money || (cost::is_currency(word) && unit.power(word) != 0);
    word.clear();
  }
  return money && unit.currency().empty();
}

cost::Unit read_unit(TableReader& table) {
  table.require("unit", "for example \"USD/day\", \"h\", \"%\"; a plain number is \"1\"");
  const std::string text = table.text("unit", "1");
  try {
    const cost::Unit unit = cost::Unit::parse(text);
    if (odd_money(unit))
      table.error("unit", fmt::format("'{}' is no price", text), "money stands once, above the line: \"USD/day\"");
    return unit;
  } catch (const Error& error) {
    table.error("unit", error.what(), error.hint());
    return {};
  }
}

}  // namespace

void check_account(TableReader& table, const std::string& key, const std::string& code) {
  const bool digits = std::all_of(code.begin(), code.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (table.has(key) && (!digits || code.size() < 3 || code.size() > 6))
    table.error(key, fmt::format("'{}' is no account", plain(code, 80)), "3 to 6 digits, such as \"3300\"");
}

Rate read_rate(TableReader& table, const RowDefaults& defaults, const std::string& file) {
  Rate rate;
  rate.file = file;
  rate.line = table.line();
  table.require("id", "for example \"crew.dp.day\"");
  rate.id = table.text("id");
  if (table.has("id") && !is_id(rate.id))
    table.error("id", fmt::format("'{}' is no id", plain(rate.id, 80)),
                "lower-case words, digits and _ joined by dots, at most 80 characters");
  table.require("item", "what it is, for people");
  rate.item = table.text("item");
  rate.spread = read_spread(table);
  rate.unit = read_unit(table);
  rate.year = read_year(table, defaults.year);
  rate.region = table.text("region", defaults.region);
  rate.union_status = table.choice("union", defaults.union_status, unions);
  rate.source = read_source(table, defaults, rate.note);
  rate.account = table.text("account");
  check_account(table, "account", rate.account);
  rate.fringe = table.text("fringe");
  rate.tier = table.number("tier", 0, -1, 1);
  rate.valid_from = table.date("valid_from");
  rate.valid_to = table.date("valid_to");
  if (!rate.valid_from.empty() && !rate.valid_to.empty() && rate.valid_from > rate.valid_to)
    table.error("valid_from", fmt::format("valid from {} to {}", rate.valid_from, rate.valid_to),
                "the first day, then the last");
  return rate;
}

namespace {

using Places = std::map<std::string, std::string>;  // what -> the place where it was first given

void once(TableReader& table, const std::string& key, const std::string& file, const std::string& what, Places& places) {
  const auto [at, is_new] = places.try_emplace(what, fmt::format("{}:{}", file, table.line()));
  if (!is_new)
    table.error(key, fmt::format("{} is given twice: {}:{} and {}", what, file, table.line(), at->second),
                "keep one");
}

void read_exchange(TableReader& table, const RowDefaults& defaults, const std::string& file, RateBook& book,
                   Places& places) {
  table.require("code", "for example \"GBP\"");
  table.require("usd", "US dollars for one unit");
  const std::string code = table.text("code");
  const int year = read_year(table, defaults.year);
  const double usd = table.number("usd", 0, 0, max_value, true);
  std::string note;
  read_source(table, defaults, note);
  if (table.has("code") && !cost::is_currency(code))
    table.error("code", fmt::format("unknown currency '{}'", plain(code, 80)), "three capital letters of ISO 4217");
  if (code == "USD") table.error("code", "USD needs no exchange rate", "give the other currency's");
  if (!cost::is_currency(code) || code == "USD" || year == 0 || !(usd > 0)) return;
  once(table, "year", file, fmt::format("the exchange rate of {} in {}", code, year), places);
  book.prices.set_exchange(code, year, usd);
}

void read_price_level(TableReader& table, const RowDefaults& defaults, const std::string& file, RateBook& book,
                      Places& places) {
  table.require("level", "an index on any base");
  table.require("year", "the year of the level");
  const int year = static_cast<int>(table.integer("year", 0, 1900, 2100));
  const double level = table.number("level", 0, 0, max_value, true);
  std::string note;
  read_source(table, defaults, note);
  if (year == 0 || !(level > 0)) return;
  once(table, "year", file, fmt::format("the price level of {}", year), places);
  book.prices.set_level(year, level);
}

void read_account(TableReader& table, const std::string& file, RateBook& book, Places& places) {
  for (const char* key : {"code", "name", "section"}) table.require(key);
  const std::string code = table.text("code");
  const cost::Account account{table.text("name"), table.choice("section", "", {"above_line", "production", "post", "other"})};
  check_account(table, "code", code);
  once(table, "code", file, "account " + plain(code, 80), places);
  book.accounts[code] = account;
}

void read_tables(Card& card, RateBook& book, Places& places) {
  TableReader root = card.document.root();
  root.require("rates", "begin the card with: rates = 1");
  root.integer("rates", 1, 1, 1);
  root.require("name", "what the card is about, for people");
  root.text("name");
  TableReader table = root.table("defaults");
  RowDefaults defaults;
  defaults.region = table.text("region", defaults.region);
  defaults.union_status = table.choice("union", defaults.union_status, unions);
  defaults.read = table.date("read");
  defaults.year = static_cast<int>(table.integer("year", 0, 1900, 2100));
  for (TableReader& row : root.tables("rate")) card.rows.push_back({row, read_rate(row, defaults, card.file)});
  std::vector<TableReader> exchanges = root.tables("exchange"), levels = root.tables("price_level"),
                           accounts = root.tables("account");
  for (TableReader& row : exchanges) read_exchange(row, defaults, card.file, book, places);
  for (TableReader& row : levels) read_price_level(row, defaults, card.file, book, places);
  for (TableReader& row : accounts) read_account(row, card.file, book, places);
  if (card.rows.empty() && exchanges.empty() && levels.empty() && accounts.empty())
    root.error("rate", "the card has no rows", "add [[rate]] tables");
}

void check_fringes(const std::vector<Row*>& rows) {
  std::map<std::string, Row*> by_id;
  std::vector<std::string> ids;  // of what could be a fringe
  for (Row* row : rows)
    if (by_id.emplace(row->rate.id, row).second && row->rate.unit.same_kind(cost::Unit())) ids.push_back(row->rate.id);
  std::set<const Row*> told;
  for (Row* row : rows) {
    const std::string& id = row->rate.fringe;
    if (id.empty()) continue;
    const auto at = by_id.find(id);
    if (at == by_id.end()) {
      constexpr std::size_t max_hints = 20;  // a search through all ids each
      const std::string near = told.size() < max_hints ? nearest(id, ids) : "";
      told.insert(row);
      row->table.error("fringe", fmt::format("unknown fringe '{}'", plain(id, 80)),
                       near.empty() ? "the id of a row with unit \"%\"" : fmt::format("did you mean '{}'?", near));
      continue;
    }
    Row& fringe = *at->second;
    if (!fringe.rate.unit.same_kind(cost::Unit()))
      row->table.error("fringe",
                       fmt::format("'{}' is no fringe: its unit is '{}' ({}:{})", id, fringe.rate.unit.text(),
                                   fringe.rate.file, fringe.rate.line),
                       "a fringe is a share: unit \"%\" or \"1\"");
    if (!fringe.rate.fringe.empty() && told.insert(&fringe).second)
      fringe.table.error("fringe",
                         fmt::format("'{}' is a fringe of '{}' ({}:{}) and cannot have a fringe itself", id,
                                     row->rate.id, row->rate.file, row->rate.line),
                         "add the two shares to one row");
  }
}

}  // namespace

RateBook read_rates(const std::vector<fs::path>& paths) {
  RateBook book;
  Places places;
  std::vector<std::unique_ptr<Card>> cards;
  std::vector<std::string> lines;  // as sha256sum prints them, turned round to be sorted by name
  for (const fs::path& file : files_of(paths)) {
    const std::string text = read_card(file);
    lines.push_back(file.filename().string() + '\n' + sha256_hex(text));
    cards.push_back(std::make_unique<Card>(file.string(), text));
    read_tables(*cards.back(), book, places);
  }
  std::vector<Row*> rows;
  for (const auto& card : cards)
    for (Row& row : card->rows) rows.push_back(&row);
  check_fringes(rows);
  // In the order of time within an id, so that each is put behind the last one.
  std::stable_sort(rows.begin(), rows.end(), [](const Row* a, const Row* b) {
    return std::tie(a->rate.id, a->rate.valid_from) < std::tie(b->rate.id, b->rate.valid_from);
  });
  for (Row* row : rows) {
    if (!is_id(row->rate.id)) continue;  // it is told already
    try {
      book.add(row->rate);
    } catch (const Error& error) {
      row->table.error("id", error.what(), error.hint());
    }
  }
  for (const auto& card : cards) card->document.finish();

  std::sort(lines.begin(), lines.end());
  Sha256 hash;
  for (const std::string& line : lines) {
    const std::size_t cut = line.rfind('\n');
    hash.update(line.substr(cut + 1) + "  " + line.substr(0, cut) + "\n");
  }
  book.sha256 = hash.hex();
  return book;
}

}  // namespace reel::study
