#pragma once
// A priced shot in a producer's words: what it must be, and every way to get it.
//
// clang-format off
// | key                        | type, range              | default     | meaning                                                    |
// |----------------------------|--------------------------|-------------|------------------------------------------------------------|
// | shot                       | 1                        | required    | version of this format                                     |
// | name, title                | text                     | required    | a word for --shot; a line for people                       |
// | class                      | text                     | ""          | establishing, stunt, dialogue, crowd, vehicle, ...         |
// | region                     | text                     | ""          | where it would be shot                                     |
// | currency, year             | text, 1990 ... 2100      | USD, 2026   | all money is brought to these                              |
// | date                       | date                     | required    | of the prices: rows must be valid on it                    |
// | specification.duration     | "5 s"                    | required    | of the used shot                                           |
// | specification.fps          | above 0                  | 24          |                                                            |
// | specification.size         | [width, height]          | required    | pixels                                                     |
// | [[number]]                 | a row as in rate_file.hpp| -           | quantities of this shot: id, item, low typical high, unit,  |
// |                            |                          |             | spread, tier, year, account, fringe, source, confidence;   |
// |                            |                          |             | `year` is the file's, also when another one is asked for   |
// | generate.ways              | path                     | none        | a file (ways = 1) of [[number]] and [[alternative]] that   |
// |                            |                          |             | shots share, beside this one                               |
// | generate.acceptance, .cap, .fallback | as of an alternative | with ways | for generated alternatives that do not say them          |
// | [[generate.setup]], .attempt, .post; in the ways file [[setup]], [[attempt]], [[post]] | lines | - | of all its alternatives |
// | [[alternative]]            |                          | at least 1  | one way to get the shot                                    |
// |   name, title              | text                     | required    |                                                            |
// |   kind                     | shoot licence vfx generated | required |                                                            |
// |   condition                | text                     | ""          | when it can be had at all                                  |
// |   unmet                    | text                     | ""          | why it does not meet the specification                     |
// |   gives                    | { size, duration } or "measured" | the specification | what a take is, when not what is asked for   |
// |   surcharges               | ids                      | []          | shares of the sum so far: contingency, bond                |
// |   credit                   | id                       | none        | a tax credit: a share that is subtracted                   |
// |   part_of                  | name                     | none        | of that alternative's cost ...                             |
// |   times, over              | ids                      | []          | ... times these, divided by these                          |
// |   days                     | { setups, replaced, per_day } ids | none | ... times the whole days saved                           |
// |   acceptance               | ids, first known one     | generated   | probability that a take is usable: 0 < low < high < 1      |
// |   cap                      | 1 ... 1e6                | generated   | takes before the fallback                                  |
// |   fallback                 | name                     | generated   | what is done then                                          |
// | [[alternative.line]]       |                          |             | shoot, licence, vfx: the budget; generated: setup, attempt, post |
// |   item, account            | text, 3 ... 6 digits     | the rate's  |                                                            |
// |   rate                     | id                       | required    | row of a card, or a number of this shot                    |
// |   quantity                 | number, "6 h" or id      | 1           | a bare number counts what the rate is paid for             |
// |   times, over              | ids                      | []          | further factors and divisors (counts, never below 1)       |
// |   fringe                   | id or "none"             | the rate's  |                                                            |
// |   effect                   | displaced left added     | displaced (generated: added) | what generating does to the line          |
// |   generation               | true false               | false       | the making of pictures itself                              |
// | [[alternative.energy]], [[alternative.carbon]] | lines | -          | in units of energy, of CO2e; of an attempt when generated  |
// |   energy_of                | name of one above        | none        | the same energy and carbon                                 |
// clang-format on
// An id is looked up among the shot's numbers, then among what was measured, then in the cards. An alternative that needs
// something measured ("measured.core_h") when nothing was is dropped, and says so.
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "cost/shot.hpp"

namespace reel::study {

/// What results tell about generating with Reel itself. Ids begin with "measured.".
struct Measured {
  std::vector<cost::Number> numbers;
  std::optional<cost::Specification> gives;  ///< what the rendered takes are
};

struct ShotOptions {
  std::string currency, date, region;  ///< override the file's; "" leaves them
  int year = 0;
  std::vector<std::string> without;  ///< names of alternatives that cannot be had
};

/// Throws DiagnosticError with all findings (unknown ids and names with the nearest known one, wrong units, cycles, keys
/// of another kind of alternative), those in the file of ways only when the shot's own has none; Error (Exit::usage) for
/// wrong options; Error (Exit::input) when a file cannot be read.
cost::Shot read_shot(const std::filesystem::path& file, const cost::RateBook& rates, const Measured& measured = {},
                     const ShotOptions& options = {});

}  // namespace reel::study
