#include "study/shot_numbers.hpp"

#include <algorithm>

namespace reel::study {

using cost::Number;
using cost::Unit;

namespace {

Number to_number(const cost::Rate& rate) { return {rate.id, rate.item, rate.spread, rate.unit, rate.tier, rate.source, 0, {}}; }

}  // namespace

void ShotNumbers::read(TableReader& row, const std::filesystem::path& file, int year) {
  const cost::Rate rate = read_rate(row, {.read = shot_.date, .year = year}, file.string());
  if (index_.contains(rate.id)) row.error("id", fmt::format("number '{}' is there twice", rate.id), "give each its own id");
  rows_[rate.id] = &own_.emplace(rate.id, rate).first->second;
  add(to_number(rate));
}

std::size_t ShotNumbers::add(Number number) {
  if (number.unit.same_kind(Unit()) && number.unit.factor() != 1) {  // per cent: shares are kept as shares
    const double f = number.unit.factor();
    number.spread.low *= f, number.spread.typical *= f, number.spread.high *= f;
    number.unit = Unit();
  }
  index_[number.id] = shot_.numbers.size();
  shot_.numbers.push_back(std::move(number));
  return shot_.numbers.size() - 1;
}

std::optional<std::size_t> ShotNumbers::find(TableReader& t, const std::string& key, const std::string& id) {
  if (const auto it = index_.find(id); it != index_.end()) return it->second;
  if (id.starts_with("measured.")) {
    for (const Number& n : measured_.numbers)
      if (n.id == id) return add(n);
    static const std::vector<std::string> known{"measured.core_h", "measured.node_h", "measured.energy", "measured.acceptance",
                                                "measured.reviews"};
    if (std::find(known.begin(), known.end(), id) != known.end()) {
      missing = id;
      return std::nullopt;
    }
    t.error(key, fmt::format("nothing measures '{}'", id), fmt::format("known: {}", fmt::join(known, ", ")));
    return std::nullopt;
  }
  try {
    const cost::Rate& rate = rates_.at(id, shot_.date, shot_.region);
    rows_[id] = &rate;
    return add(to_number(rate));
  } catch (const Error& e) {
    const std::string near = nearest_id(id);
    t.error(key, e.what(), near.empty() ? e.hint() : fmt::format("did you mean '{}'?", near));
    return std::nullopt;
  }
}

// "" also when the id itself is known, on other days.
std::string ShotNumbers::nearest_id(const std::string& id) {
  constexpr int max_hints = 20;  // a search through all ids each
  if (num_hints_++ >= max_hints) return "";
  std::vector<std::string> ids;
  for (const auto& [known, index] : index_) ids.push_back(known);
  for (const auto& [known, periods] : rates_.rates()) ids.push_back(known.first);
  const std::string near = nearest(id, ids);
  return near == id ? "" : near;
}

std::vector<std::size_t> ShotNumbers::find_all(TableReader& t, const std::string& key) {
  std::vector<std::size_t> found;
  if (!t.has(key)) return found;
  for (const std::string& id : t.texts(key, {}))
    if (const auto j = find(t, key, id)) found.push_back(*j);
  return found;
}

std::vector<std::size_t> ShotNumbers::find_divisors(TableReader& t) {
  std::vector<std::size_t> found = find_all(t, "over");
  for (std::size_t j : found) {
    Number& n = shot_.numbers[j];
    if (n.spread.low < 1)
      t.error("over", fmt::format("'{}' may be {}: what is divided by is a count, at least 1", n.id, n.spread.low), "take 'times' with a share, or a low of 1");
    n.floor = 1;
  }
  return found;
}

std::optional<std::size_t> ShotNumbers::share(TableReader& t, const std::string& key, const std::string& id) {
  const auto j = find(t, key, id);
  if (j && !shot_.numbers[*j].unit.same_kind(Unit())) {
    t.error(key, fmt::format("'{}' is in {}, a share is needed", id, shot_.numbers[*j].unit.text()), "a row with unit \"%\" or \"1\"");
    return std::nullopt;
  }
  return j;
}

const cost::Rate* ShotNumbers::row_of(const std::string& id) const {
  const auto at = rows_.find(id);
  return at == rows_.end() ? nullptr : at->second;
}

}  // namespace reel::study
