#pragma once
// One row of a card, also used for the numbers of a shot. Inside src/study only.
#include <string>
#include <string_view>

#include "cost/rates.hpp"
#include "study/toml_reader.hpp"

namespace reel::study {

/// For rows that do not say it themselves.
struct RowDefaults {
  std::string region = "any", union_status = "any", read;
  int year = 0;  ///< 0: rows must say it
};

/// 3 to 6 digits: a code of the chart of accounts.
void check_account(TableReader& table, const std::string& key, const std::string& code);

/// The keys of [[rate]] in rate_file.hpp; findings go to the document.
cost::Rate read_rate(TableReader& table, const RowDefaults& defaults, const std::string& file);

}  // namespace reel::study
