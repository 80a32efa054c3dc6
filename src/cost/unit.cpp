#include "cost/unit.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>

#include "core/error.hpp"
#include "core/nearest.hpp"

namespace reel::cost {
namespace {

constexpr std::size_t max_characters = 200;
constexpr int max_power = 9;

/// A name that is not money: factor * base / per.
struct Name {
  std::string_view name;
  double factor;
  std::string_view base, per;
};

constexpr std::array names = {
    Name{"1", 1, "", ""},
    Name{"%", 0.01, "", ""},
    Name{"s", 1, "s", ""},
    Name{"min", 60, "s", ""},
    Name{"h", 3600, "s", ""},
    Name{"J", 1, "J", ""},
    Name{"kJ", 1e3, "J", ""},
    Name{"MJ", 1e6, "J", ""},
    Name{"Wh", 3600, "J", ""},
    Name{"kWh", 3.6e6, "J", ""},
    Name{"W", 1, "J", "s"},
    Name{"kW", 1e3, "J", "s"},
    Name{"gCO2e", 1, "gCO2e", ""},
    Name{"kgCO2e", 1e3, "gCO2e", ""},
    Name{"tCO2e", 1e6, "gCO2e", ""},
    Name{"film_s", 1, "film_s", ""},
    Name{"film_min", 60, "film_s", ""},
    Name{"film_h", 3600, "film_s", ""},
};

constexpr std::array<std::string_view, 24> things = {
    "day",  "week", "month",  "year", "take", "shot", "scene", "setup",  "clip", "permit",  "location",    "side",
    "head", "node", "socket", "core", "gpu",  "page", "word",  "script", "film", "episode", "performance", "spot",
};

/// ISO 4217, money in use, by the alphabet.
constexpr std::string_view currencies =
    "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF "
    "CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG "
    "HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA "
    "MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD "
    "RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX "
    "USD UYU UZS VED VES VND VUV WST XAF XCD XOF XPF YER ZAR ZMW ZWG";

bool three_capitals(std::string_view text) {
  return text.size() == 3 && std::all_of(text.begin(), text.end(), [](char c) { return c >= 'A' && c <= 'Z'; });
}

[[noreturn]] void fail(std::string_view text, const std::string& what) {
  throw Error(Exit::input, what, fmt::format("unit '{}'", text.substr(0, max_characters)),
              "write for example \"USD/day\", \"min/take\", \"kWh\", \"USD/(node*h)\" or \"%\"");
}

/// What a name means. Throws for an unknown one.
Name known(std::string_view name, std::string_view text) {
  for (const Name& candidate : names)
    if (candidate.name == name) return candidate;
  for (const std::string_view thing : things)
    if (thing == name) return {thing, 1, thing, ""};
  if (is_currency(name)) return {name, 1, name, ""};
  if (three_capitals(name)) fail(text, fmt::format("unknown currency '{}'", name));
  std::vector<std::string> candidates;
  for (const Name& candidate : names) candidates.emplace_back(candidate.name);
  for (const std::string_view thing : things) candidates.emplace_back(thing);
  const std::string near = nearest(name, candidates);
  fail(text, fmt::format("unknown unit '{}'{}", name, near.empty() ? "" : fmt::format(", did you mean '{}'?", near)));
}

using Powers = std::map<std::string, int, std::less<>>;

void add_power(Powers& powers, std::string_view name, int power) {
  if (name.empty()) return;
  const auto [at, is_new] = powers.try_emplace(std::string(name), power);
  if (!is_new && (at->second += power) == 0) powers.erase(at);
}

/// "a*b/(c*d)", the names in the order of the alphabet; "1" when nothing is left.
std::string text_of(const Powers& names_of) {
  std::string above, below;
  int num_below = 0;
  for (const auto& [name, power] : names_of) {
    for (int i = 0; i < std::abs(power); ++i) {
      std::string& side = power > 0 ? above : below;
      side += (side.empty() ? "" : "*") + name;
      num_below += power < 0 ? 1 : 0;
    }
  }
  if (above.empty()) above.assign(1, '1');
  if (num_below == 0) return above;
  return num_below == 1 ? above + "/" + below : above + "/(" + below + ")";
}

}  // namespace

/// Recursive descent over the text of one unit.
class UnitParser {
 public:
  explicit UnitParser(std::string_view text) : text_(text) {}

  Unit whole() {
    if (text_.size() > max_characters) fail(text_, fmt::format("a unit of {} characters", text_.size()));
    Unit unit = product();
    if (at_ < text_.size()) fail(text_, fmt::format("'{}' is not expected here", text_[at_]));
    unit.text_ = std::string(text_);
    std::erase(unit.text_, ' ');
    return unit;
  }

 private:
  char next() {
    while (at_ < text_.size() && text_[at_] == ' ') ++at_;
    return at_ < text_.size() ? text_[at_] : '\0';
  }

  Unit product() {
    Unit unit = part();
    for (char sign = next(); sign == '*' || sign == '/'; sign = next()) {
      ++at_;
      unit = Unit::combined(std::move(unit), part(), sign == '*' ? 1 : -1);
    }
    return unit;
  }

  Unit part() {
    if (next() == '(') {
      ++at_;
      Unit unit = product();
      if (next() != ')') fail(text_, "a ')' is missing");
      ++at_;
      return unit;
    }
    const std::size_t begin = at_;
    while (at_ < text_.size() && std::string_view("*/() ").find(text_[at_]) == std::string_view::npos) ++at_;
    if (at_ == begin) fail(text_, "the name of a unit is missing");
    const Name name = known(text_.substr(begin, at_ - begin), text_);
    Unit unit;
    unit.factor_ = name.factor;
    add_power(unit.powers_, name.base, 1);
    add_power(unit.powers_, name.per, -1);
    if (name.name != "1") add_power(unit.names_, name.name, 1);
    return unit;
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

Unit Unit::parse(std::string_view text) { return UnitParser(text).whole(); }

std::string Unit::currency() const {
  std::string found;
  for (const auto& [base, power] : powers_) {
    if (!is_currency(base)) continue;
    if (power != 1 || !found.empty()) return "";
    found = base;
  }
  return found;
}

int Unit::power(std::string_view base) const noexcept {
  const auto at = powers_.find(base);
  return at == powers_.end() ? 0 : at->second;
}

Unit Unit::combined(Unit a, const Unit& b, int sign) {
  a.factor_ = sign > 0 ? a.factor_ * b.factor_ : a.factor_ / b.factor_;
  for (const auto& [name, power] : b.powers_) add_power(a.powers_, name, sign * power);
  for (const auto& [name, power] : b.names_) add_power(a.names_, name, sign * power);
  a.text_ = text_of(a.names_);
  for (const auto& [name, power] : a.names_)
    if (std::abs(power) > max_power)
      fail(a.text_, fmt::format("'{}' to the power {}: at most {}", name, power, max_power));
  return a;
}

Unit operator*(const Unit& a, const Unit& b) { return Unit::combined(a, b, 1); }
Unit operator/(const Unit& a, const Unit& b) { return Unit::combined(a, b, -1); }

bool Unit::per_things() const noexcept {
  return std::all_of(powers_.begin(), powers_.end(), [](const auto& p) {
    return p.second < 0 && (p.first == "film_s" || std::find(things.begin(), things.end(), p.first) != things.end());
  });
}

double conversion(const Unit& from, const Unit& to) {
  if (!from.same_kind(to)) {
    throw Error(Exit::input, fmt::format("'{}' cannot be had in '{}'", from.text(), to.text()), "",
                "the units must be of the same things: money of one currency only, a working day is not hours");
  }
  return from.factor() / to.factor();
}

bool is_currency(std::string_view code) noexcept {
  if (!three_capitals(code)) return false;
  for (std::size_t at = 0; at < currencies.size(); at += 4)
    if (currencies.substr(at, 3) == code) return true;
  return false;
}

}  // namespace reel::cost
