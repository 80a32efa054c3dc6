#pragma once
// The numbers of a shot by their ids: its own, measured ones, and rows of cards as they are asked for. Inside src/study only.
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "study/rate_row.hpp"
#include "study/shot_file.hpp"

namespace reel::study {

/// Adds to `shot.numbers` what is asked for. Findings go to the document of the table that asks.
class ShotNumbers {
 public:
  ShotNumbers(cost::Shot& shot, const cost::RateBook& rates, const Measured& measured) : shot_(shot), rates_(rates), measured_(measured) {}

  /// A row of [[number]]; `year`: price year when it says none.
  void read(TableReader& row, const std::filesystem::path& file, int year);
  /// Index of a number; nothing when the id is unknown, or when no result tells it: `missing` is then the id.
  std::optional<std::size_t> find(TableReader& t, const std::string& key, const std::string& id);
  std::vector<std::size_t> find_all(TableReader& t, const std::string& key);
  /// The numbers in `over`: each at least 1.
  std::vector<std::size_t> find_divisors(TableReader& t);
  /// A number that is a ratio.
  std::optional<std::size_t> share(TableReader& t, const std::string& key, const std::string& id);
  /// The row that a number comes from; nullptr for measured ones.
  const cost::Rate* row_of(const std::string& id) const;

  std::string missing;  ///< what was asked for that results could tell, and none here does; the asker clears it

 private:
  std::size_t add(cost::Number number);
  std::string nearest_id(const std::string& id);

  cost::Shot& shot_;
  const cost::RateBook& rates_;
  const Measured& measured_;
  std::map<std::string, std::size_t> index_;
  std::map<std::string, cost::Rate> own_;  // rows of [[number]]
  std::map<std::string, const cost::Rate*> rows_;
  int num_hints_ = 0;
};

}  // namespace reel::study
