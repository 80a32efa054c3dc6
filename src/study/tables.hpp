#pragma once
// What writers of tables share. Inside src/study only.
#include <cmath>
#include <nlohmann/json.hpp>
#include <type_traits>
#include <vector>

namespace reel::study {

/// One member of every item, as a column.
template <class Item, class Get>
auto column(const std::vector<Item>& items, Get get) {
  std::vector<std::decay_t<decltype(get(items.front()))>> values;
  for (const Item& item : items) values.push_back(get(item));
  return values;
}

/// JSON knows no NaN: null.
inline nlohmann::ordered_json number(double value) {
  return std::isfinite(value) ? nlohmann::ordered_json(value) : nlohmann::ordered_json(nullptr);
}

}  // namespace reel::study
