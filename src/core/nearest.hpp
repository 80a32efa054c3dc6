#pragma once
// "Did you mean ...?"
#include <string>
#include <string_view>
#include <vector>

namespace reel {

/// The candidate nearest to `word` by edit distance (swaps of neighbours count once), the first of equals; "" when more
/// than a third of the letters differ from all.
std::string nearest(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace reel
