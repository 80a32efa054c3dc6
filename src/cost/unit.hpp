#pragma once
// Units of prices and quantities: "USD/day", "min/take", "kWh", "gCO2e/kWh", "USD/(node*h)", "%".
//
//   unit = part { ("*" | "/") part } ; part = name | "1" | "(" unit ")"
//
// Read from the left: "a/b*c" is (a/b)*c. Spaces do not count.
//
// clang-format off
// | base            | names (factor to the first)                                                                          |
// |-----------------|------------------------------------------------------------------------------------------------------|
// | clock time      | s, min 60, h 3600                                                                                    |
// | energy          | J, kJ 1e3, MJ 1e6, Wh 3600, kWh 3.6e6; power W, kW is energy per time                                |
// | climate         | gCO2e, kgCO2e 1e3, tCO2e 1e6                                                                         |
// | ratio           | 1, % 0.01                                                                                            |
// | money           | three capital letters (ISO 4217); each currency is a base of its own: see Prices in money.hpp        |
// | counted things  | day week month year take shot scene setup clip permit location side (of a street) head node socket   |
// |                 | core gpu page word script film episode performance spot (one commercial)                             |
// | film time       | film_s (a second of film, not of clock), film_min 60, film_h 3600                                    |
// clang-format on
// A working day is a counted thing: it does not convert to hours.
#include <map>
#include <string>
#include <string_view>

namespace reel::cost {

/// A product of powers of base things with a factor to the base units.
class Unit {
 public:
  Unit() = default;  ///< a number without unit
  /// Throws Error (Exit::input) for an unknown name (with the nearest known one), bad syntax, more than 200 characters,
  /// or a power beyond 9.
  static Unit parse(std::string_view text);

  /// As written; of products and quotients the names in the order of the alphabet: "USD/(h*node)".
  const std::string& text() const noexcept { return text_; }
  double factor() const noexcept { return factor_; }
  /// Same powers of the same bases; factors may differ.
  bool same_kind(const Unit& other) const noexcept { return powers_ == other.powers_; }
  /// The currency when the unit is one currency to the power 1 and anything else; "" otherwise.
  std::string currency() const;
  /// Power of a base or currency: powers("USD") is 1 in "USD/day".
  int power(std::string_view base) const noexcept;

  /// Only counted things and seconds of film, and those below the line: what a bare number may count.
  bool per_things() const noexcept;

  friend Unit operator*(const Unit& a, const Unit& b);
  friend Unit operator/(const Unit& a, const Unit& b);

 private:
  friend class UnitParser;
  using Powers = std::map<std::string, int, std::less<>>;  // no zeros
  static Unit combined(Unit a, const Unit& b, int sign);   // a * b or, with -1, a / b

  std::string text_ = "1";  // as written, or from `names_` when the unit was calculated
  double factor_ = 1;
  Powers names_;   // "min": 1
  Powers powers_;  // "s": 1
};

/// What a value in `from` is multiplied with to be in `to`. Throws Error (Exit::input) when they are of another kind.
double conversion(const Unit& from, const Unit& to);

/// Three capital letters that ISO 4217 lists as money in use.
bool is_currency(std::string_view code) noexcept;

}  // namespace reel::cost
