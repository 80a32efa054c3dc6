#pragma once
// Money that is added exactly and never without its currency and price year.
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace reel::cost {

/// What an amount of money is expressed in.
struct Currency {
  std::string code;  ///< ISO 4217, "USD"
  int year = 0;      ///< price year
  friend bool operator==(const Currency&, const Currency&) = default;
};

/// An exact amount: an integer number of millionths of the currency's unit, |amount| <= 9.2e12 units. Whatever is rounded
/// is rounded once, from its exact value, half to even.
class Money {
 public:
  Money() = default;
  /// Rounds half to even to a millionth. Throws Error (Exit::input) when `units` is not finite or too large.
  Money(double units, Currency currency);
  static Money from_micros(std::int64_t micros, Currency currency);

  std::int64_t micros() const noexcept { return micros_; }
  double units() const noexcept { return static_cast<double>(micros_) * 1e-6; }
  const Currency& currency() const noexcept { return currency_; }

  /// Exact, so the order of a sum does not matter. REEL_CHECK: same currency and year. Throws Error (Exit::input) when the
  /// result is too large.
  friend Money operator+(const Money& a, const Money& b);
  friend Money operator-(const Money& a, const Money& b);
  /// Rounded half to even to a millionth. Throws Error (Exit::input) when `factor` is not finite or the result too large.
  friend Money operator*(const Money& a, double factor);
  /// Rounded half to even to a cent: lines of a budget are rounded before they are added.
  Money to_cents() const;
  /// "2450.00": rounded to cents.
  std::string digits() const;
  /// "2,450.00 USD": rounded to cents; the price year is told once per table, not in each line.
  std::string text() const;

 private:
  std::int64_t micros_ = 0;
  Currency currency_;
};

/// "-12345.60" -> "-12,345.60"
std::string grouped(std::string digits);

/// Exchange rates and price levels, so that amounts of other currencies and years can be brought to one.
class Prices {
 public:
  /// One unit of `code` in `year` was worth `in_usd` US dollars of the same year. REEL_CHECK: a currency but USD, above 0.
  void set_exchange(const std::string& code, int year, double in_usd);
  /// Level of prices in US dollars, any base: factor(year a -> b) = level(b) / level(a). REEL_CHECK: above 0.
  void set_level(int year, double level);
  /// What an amount in `from` is multiplied with to be in `to`: to dollars in the year of `from`, along the US price level,
  /// from dollars in the year of `to`; so no comparison of amounts depends on `to`. Exactly 1 between equals. A missing
  /// year takes the nearest known one at most 3 years away, the earlier of two. Throws Error (Exit::input) naming what is
  /// missing.
  double factor(const Currency& from, const Currency& to) const;

 private:
  std::map<std::string, std::map<int, double>> in_usd_;
  std::map<int, double> level_;
};

}  // namespace reel::cost
