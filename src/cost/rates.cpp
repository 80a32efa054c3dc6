#include "cost/rates.hpp"

#include <algorithm>
#include <chrono>

#include "core/error.hpp"
#include "core/nearest.hpp"

namespace reel::cost {
namespace {

bool holds(const Rate& rate, const std::string& date) {
  return (rate.valid_from.empty() || rate.valid_from <= date) && (rate.valid_to.empty() || date <= rate.valid_to);
}

/// Of two periods, `a` the one that starts first.
bool overlap(const Rate& a, const Rate& b) { return a.valid_to.empty() || b.valid_from <= a.valid_to; }

std::string place(const Rate& rate) { return fmt::format("{}:{}", rate.file, rate.line); }

std::string period(const Rate& rate) {
  if (rate.valid_from.empty() && rate.valid_to.empty()) return "always";
  if (rate.valid_to.empty()) return "from " + rate.valid_from;
  return rate.valid_from.empty() ? "until " + rate.valid_to : rate.valid_from + " to " + rate.valid_to;
}

/// How well a row of one region serves another.
int fit(std::string_view row, std::string_view wanted) {
  if (row == wanted) return 3;
  if (!row.empty() && wanted.size() > row.size() && wanted.substr(0, row.size()) == row && wanted[row.size()] == '-') return 2;
  return row == "any" ? 1 : 0;
}

}  // namespace

bool is_date(std::string_view text) noexcept {
  if (text.size() != 10 || text[4] != '-' || text[7] != '-') return false;
  const auto number = [&](std::size_t begin, std::size_t count) {
    int value = 0;
    for (const char c : text.substr(begin, count))
      value = c >= '0' && c <= '9' && value >= 0 ? 10 * value + (c - '0') : -1;
    return value;
  };
  const int year = number(0, 4), month = number(5, 2), day = number(8, 2);
  return year > 0 && month > 0 && day > 0 &&
         std::chrono::year_month_day(std::chrono::year(year), std::chrono::month(static_cast<unsigned>(month)),
                                     std::chrono::day(static_cast<unsigned>(day)))
             .ok();
}

void RateBook::add(Rate rate) {
  std::vector<Rate>& periods = rates_[{rate.id, rate.region}];
  if (periods.empty()) regions_[rate.id].push_back(rate.region);
  const auto after = std::upper_bound(periods.begin(), periods.end(), rate,
                                      [](const Rate& a, const Rate& b) { return a.valid_from < b.valid_from; });
  const Rate* other = nullptr;
  if (after != periods.begin() && overlap(*std::prev(after), rate)) other = &*std::prev(after);
  if (other == nullptr && after != periods.end() && overlap(rate, *after)) other = &*after;
  if (other != nullptr) {
    throw Error(Exit::input,
                fmt::format("'{}' is valid twice on the same days in one region: {} ({}) and {} ({})", rate.id, place(rate),
                            period(rate), place(*other), period(*other)),
                place(rate), "give it another id or region, or end the older row with valid_to");
  }
  periods.insert(after, std::move(rate));
}

const Rate* RateBook::find(const std::string& id, const std::string& date, std::string_view region) const noexcept {
  const auto known = regions_.find(id);
  if (known == regions_.end()) return nullptr;
  const Rate* best = nullptr;
  int best_fit = -1;
  for (const std::string& other : known->second) {
    if (fit(other, region) <= best_fit) continue;
    for (const Rate& rate : rates_.at({id, other}))
      if (holds(rate, date)) best = &rate, best_fit = fit(other, region);
  }
  return best;
}

const Rate& RateBook::at(const std::string& id, const std::string& date, std::string_view region) const {
  if (!is_date(date))
    throw Error(Exit::input, fmt::format("'{}' is not a date", date), "", "write for example 2026-11-22");
  if (const Rate* const rate = find(id, date, region)) return *rate;
  const auto known = regions_.find(id);
  if (known == regions_.end()) {
    std::vector<std::string> ids;
    for (const auto& [other, regions] : regions_) ids.push_back(other);
    const std::string near = nearest(id, ids);
    throw Error(Exit::input, fmt::format("no rate '{}' in the cards", id), "",
                near.empty() ? "add a row with this id to a card" : fmt::format("did you mean '{}'?", near));
  }
  std::string periods, first;
  for (const std::string& other : known->second)
    for (const Rate& rate : rates_.at({id, other})) {
      if (first.empty()) first = place(rate);
      periods += fmt::format("{}{} ({})", periods.empty() ? "" : "; ", period(rate), place(rate));
    }
  throw Error(Exit::input, fmt::format("the rate '{}' is not valid on {}", id, date), first, fmt::format("it is valid {}", periods));
}

}  // namespace reel::cost
