#include "cost/money.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "core/error.hpp"
#include "cost/unit.hpp"

namespace reel::cost {
namespace {

constexpr std::int64_t max_micros = 9'200'000'000'000'000'000;
constexpr int max_years_away = 3;

[[noreturn]] void too_large(const Currency& currency) {
  throw Error(Exit::input, "an amount of money is too large or not finite", currency.code,
              "amounts reach from -9.2e12 to 9.2e12: look for a wrong quantity or unit");
}

/// n / 2^shift, half to even.
__int128 halved(__int128 n, int shift) {
  if (shift > 126) return 0;  // |n| < 2^125
  const __int128 one = 1, floor = n >> shift, rest = n - (floor << shift), half = shift > 0 ? one << (shift - 1) : 1;
  return floor + (shift > 0 && (rest > half || (rest == half && (floor & 1) != 0)) ? 1 : 0);
}

/// amount * factor from the exact value of both, half to even.
std::int64_t scaled(std::int64_t amount, double factor, const Currency& currency) {
  if (!std::isfinite(factor)) too_large(currency);
  int exponent = 0;
  const double fraction = std::frexp(factor, &exponent);  // factor = fraction * 2^exponent, 0.5 <= |fraction| < 1
  const auto mantissa = static_cast<std::int64_t>(std::ldexp(fraction, 53));
  __int128 product = static_cast<__int128>(amount) * mantissa;  // below 2^(63 + 53)
  for (exponent -= 53; exponent > 0 && product != 0; --exponent) {
    product *= 2;
    if (product > max_micros || product < -max_micros) too_large(currency);
  }
  if (exponent < 0) product = halved(product, -exponent);
  if (product > max_micros || product < -max_micros) too_large(currency);
  return static_cast<std::int64_t>(product);
}

/// The value for `year`, or for the nearest year at most `max_years_away`, the earlier of two; nullptr without.
const double* nearest_year(const std::map<int, double>& by_year, int year) {
  const double* found = nullptr;
  int found_away = max_years_away + 1;
  for (const auto& [known, value] : by_year) {
    if (std::abs(known - year) >= found_away) continue;
    found_away = std::abs(known - year);
    found = &value;
  }
  return found;
}

std::string years_of(const std::map<int, double>& by_year) {
  std::string text;
  for (const auto& [year, value] : by_year) text += fmt::format("{}{}", text.empty() ? "" : ", ", year);
  return text.empty() ? "none" : text;
}

}  // namespace

Money::Money(double units, Currency currency) : currency_(std::move(currency)) {
  micros_ = scaled(1'000'000, units, currency_);
}

Money Money::from_micros(std::int64_t micros, Currency currency) {
  if (micros > max_micros || micros < -max_micros) too_large(currency);
  Money money;
  money.micros_ = micros;
  money.currency_ = std::move(currency);
  return money;
}

Money operator+(const Money& a, const Money& b) {
  REEL_CHECK(a.currency_ == b.currency_, "{} of {} and {} of {}", a.currency_.code, a.currency_.year, b.currency_.code,
             b.currency_.year);
  std::int64_t sum = 0;
  if (__builtin_add_overflow(a.micros_, b.micros_, &sum)) too_large(a.currency_);
  return Money::from_micros(sum, a.currency_);
}

Money operator-(const Money& a, const Money& b) { return a + Money::from_micros(-b.micros_, b.currency_); }

Money operator*(const Money& a, double factor) {
  return Money::from_micros(scaled(a.micros_, factor, a.currency_), a.currency_);
}

Money Money::to_cents() const {
  constexpr std::int64_t cent = 10'000;
  std::int64_t cents = micros_ / cent;  // towards zero
  const std::int64_t rest = std::abs(micros_ % cent);
  if (rest > cent / 2 || (rest == cent / 2 && cents % 2 != 0)) cents += micros_ < 0 ? -1 : 1;
  return from_micros(cents * cent, currency_);
}

std::string Money::digits() const {
  const std::int64_t cents = to_cents().micros_ / 10'000;
  return fmt::format("{}{}.{:02}", cents < 0 ? "-" : "", std::abs(cents / 100), std::abs(cents % 100));
}

std::string Money::text() const { return fmt::format("{} {}", grouped(digits()), currency_.code); }

std::string grouped(std::string digits) {
  const std::size_t begin = digits.starts_with('-') ? 1 : 0;
  for (std::size_t at = std::min(digits.find('.'), digits.size()); at > begin + 3; at -= 3) digits.insert(at - 3, 1, ',');
  return digits;
}

void Prices::set_exchange(const std::string& code, int year, double in_usd) {
  REEL_CHECK(is_currency(code) && code != "USD" && std::isfinite(in_usd) && in_usd > 0, "{} {}: {}", code, year,
             in_usd);
  in_usd_[code][year] = in_usd;
}

void Prices::set_level(int year, double level) {
  REEL_CHECK(std::isfinite(level) && level > 0, "{}: {}", year, level);
  level_[year] = level;
}

double Prices::factor(const Currency& from, const Currency& to) const {
  if (from == to) return 1;
  const auto in_usd = [&](const std::string& code, int year) {
    if (code == "USD") return 1.0;
    const auto at = in_usd_.find(code);
    const double* const found = at == in_usd_.end() ? nullptr : nearest_year(at->second, year);
    if (found != nullptr) return *found;
    throw Error(Exit::input, fmt::format("no exchange rate between {} and USD near {}", code, year),
                fmt::format("years known: {}", at == in_usd_.end() ? "none" : years_of(at->second)),
                fmt::format("add to a rate card: [[exchange]] code = \"{}\" year = {} usd = ...", code, year));
  };
  const auto level = [&](int year) {
    if (const double* const found = nearest_year(level_, year)) return *found;
    throw Error(Exit::input, fmt::format("no price level near {}", year),
                fmt::format("years known: {}", years_of(level_)),
                fmt::format("add to a rate card: [[price_level]] year = {} level = ...", year));
  };
  // Dollars of the year of `from`, dollars of the year of `to`, then `to`: ratios of amounts do not depend on `to`.
  const double levels = from.year == to.year ? 1 : level(to.year) / level(from.year);
  return in_usd(from.code, from.year) * levels / in_usd(to.code, to.year);
}

}  // namespace reel::cost
