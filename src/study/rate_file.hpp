#pragma once
// Rate cards: TOML files with one row per price, wage, share or duration, each with its source.
// datasets/rates/README.md tells how to write one.
//
// clang-format off
// | key                        | type, range               | default           | meaning                                    |
// |----------------------------|---------------------------|-------------------|--------------------------------------------|
// | rates                      | 1                         | required          | version of this format                     |
// | name                       | text                      | required          | for people                                 |
// | defaults.region            | text                      | "any"             | for rows that do not say it themselves     |
// | defaults.union             | union, non-union, any     | "any"             | the same                                   |
// | defaults.read              | day                       | none              | the same                                   |
// | defaults.year              | 1900 ... 2100             | none              | the same                                   |
// | rate.id                    | a.b_2.c, at most 80 char. | required          | words of a-z 0-9 _ joined by dots          |
// | rate.item                  | text                      | required          | for people                                 |
// | rate.value                 | 0 ... 1e15                | this or the three | shorthand for low = typical = high         |
// | rate.low, .typical, .high  | 0 ... 1e15                | this or value     | 10 % quantile, mode, 90 % quantile         |
// | rate.unit                  | see cost/unit.hpp         | required          | of the value                               |
// | rate.spread                | pert, triangular,         | pert              | shape of the distribution; lognormal needs |
// |                            | lognormal, beta, discrete |                   | low > 0, beta 0 < low and high < 1         |
// | rate.year                  | 1900 ... 2100             | [defaults]        | price year                                 |
// | rate.region                | text                      | [defaults]        | "US-CA", "GB"                              |
// | rate.union                 | union, non-union, any     | [defaults]        | union status                               |
// | rate.account               | 3 ... 6 digits            | ""                | code of the chart of accounts              |
// | rate.fringe                | id                        | ""                | the row that is paid on top: a ratio, and  |
// |                            |                           |                   | itself without a fringe                    |
// | rate.tier                  | -1 ... 1                  | 0                 | how far it moves with the production       |
// | rate.valid_from, .valid_to | day                       | open              | first and last day on which it holds       |
// | rate.source                | text, or none             | required          | who says so; none: nobody                  |
// | rate.confidence            | H, M, L, U, D             | required          | none: U, or D with the arithmetic in note  |
// | rate.read                  | day                       | [defaults]        | when the source was read                   |
// | rate.note                  | text                      | ""                | arithmetic, limits, what else was seen     |
// | exchange.code, .year, .usd | ISO 4217, year, above 0   | required          | one unit was worth `usd` US dollars then   |
// | price_level.year, .level   | year, above 0             | required          | US price level, any base                   |
// | source, confidence, read, note of both                 | as of a rate      |                                            |
// | account.code, .name        | digits, text              | required          | one line of the chart of accounts          |
// | account.section            | above_line, production,   | required          | where a top sheet puts it                  |
// |                            | post, other               |                   |                                            |
// clang-format on
// Days are written without quotes. Arrays are [[rate]], [[exchange]], [[price_level]], [[account]].
#include <filesystem>
#include <vector>

#include "cost/rates.hpp"

namespace reel::study {

/// Reads cards: each path is a file, or a folder of which all *.toml are read in the order of their names. Later cards
/// add rows; nothing replaces anything. Throws DiagnosticError (Exit::usage) with the findings of the first card that
/// has any: wrong keys and values, an id that is valid twice on the same day (naming both places), an unknown fringe,
/// one that is no ratio, one that has a fringe itself. Throws Error (Exit::input) for what cannot be read, a folder
/// without cards, and a card above 8 MiB or 50,000 rows (found before it is parsed).
cost::RateBook read_rates(const std::vector<std::filesystem::path>& cards);

}  // namespace reel::study
