#pragma once
// Rate cards: what things cost, from whom we know it, and how sure we are.
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "cost/money.hpp"
#include "cost/unit.hpp"

namespace reel::cost {

/// Low, typical and high, read as the 10 % quantile, the mode and the 90 % quantile.
struct Spread {
  enum class Shape { pert, triangular, lognormal, beta, discrete };
  double low = 0, typical = 0, high = 0;
  Shape shape = Shape::pert;
  bool constant() const noexcept { return low == high; }
};

/// Where a number comes from.
struct Source {
  std::string text;        ///< "" or "none": nobody stands behind the number
  std::string confidence;  ///< H primary or several agreeing, M one decent, L weak or old, U none, D by arithmetic
  std::string read;        ///< ISO date of reading
  bool sourced() const noexcept { return !text.empty() && text != "none" && confidence != "U"; }
};

/// One row of a card.
struct Rate {
  std::string id;    ///< "performer.stunt.day": lower-case words, digits and _ joined by dots
  std::string item;  ///< for people
  Spread spread;     ///< in `unit`
  Unit unit;
  int year = 0;  ///< price year
  std::string region, union_status;  ///< "US-CA"; "union", "non-union", "any"
  Source source;
  std::string account;               ///< code of the chart of accounts, "" for factors
  std::string fringe;                ///< id of the fringe that is paid on it, "" for none
  std::string valid_from, valid_to;  ///< ISO dates, first and last day, "" for open
  double tier = 0;                   ///< correlation of its normal score with the production's tier, -1 ... 1
  std::string note;                  ///< the arithmetic of a derived number, or what its user should know
  std::string file;                  ///< where it was read
  std::size_t line = 0;
};

/// "2026-11-22": ten characters and a day of the calendar.
bool is_date(std::string_view text) noexcept;

/// One line of the chart of accounts.
struct Account {
  std::string name;
  std::string section;  ///< "above_line", "production", "post", "other"
};

/// All cards together.
class RateBook {
 public:
  /// Throws Error (Exit::input) when a rate with that id and region is already valid on some of the same days; names both
  /// places.
  void add(Rate rate);
  /// The row of `id` that is valid on `date` (ISO) and fits `region` best: the region itself, its country ("US" for
  /// "US-CA"), "any", another region; the first read of equals. Throws Error (Exit::input): no date, unknown (with the
  /// nearest known id), or not valid on that date (with the periods in which it is).
  const Rate& at(const std::string& id, const std::string& date, std::string_view region = "any") const;
  const Rate* find(const std::string& id, const std::string& date, std::string_view region = "any") const noexcept;  ///< the same or nullptr
  using Key = std::pair<std::string, std::string>;  ///< id, region
  /// The periods of each in the order of time.
  const std::map<Key, std::vector<Rate>>& rates() const noexcept { return rates_; }
  Prices prices;
  std::map<std::string, Account> accounts;  ///< by code
  std::string sha256;  ///< of the text that `sha256sum` prints for all cards, in the order of their file names

 private:
  std::map<Key, std::vector<Rate>> rates_;
  std::map<std::string, std::vector<std::string>> regions_;  // of an id, in the order of reading
};

}  // namespace reel::cost
