#pragma once
// The budget of an alternative as production accountants write it: a point estimate, line by line, exact to the cent.
#include <map>
#include <string>
#include <vector>

#include "cost/shot.hpp"

namespace reel::cost {

struct BudgetLine {
  std::string account, item;
  Effect effect = Effect::displaced;
  Money amount;  ///< whole cents
};

/// Every line at the typical values of its numbers. Each is rounded to cents before anything is added, so the printed
/// lines add up to the printed total. A generated alternative has its attempts times the mean number of takes and, if
/// takes can fail, its share of the fallback; a part of another alternative has one line for that share.
std::vector<BudgetLine> budget(const Shot& shot, std::size_t alternative);
Money total(const std::vector<BudgetLine>& lines, const Currency& currency);

}  // namespace reel::cost
