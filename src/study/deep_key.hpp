#pragma once
// Keys that would nest tables without end. Inside src/study only.
#include <cstddef>
#include <string_view>

namespace reel::study {

// A dotted key ("a.a.a = 1") nests a table for each of its parts, and nested tables are taken down by a function that
// calls itself. With this, and the 256 lists and inline tables within each other that the parser allows, they take at most
// about 1 MB of stack.
inline constexpr std::size_t max_key_parts = 16;

/// The line, from 1, of the first key of more than `max_key_parts` parts in a TOML text; 0 when there is none. Texts in
/// quotes, comments and what stands behind '=' are no keys.
std::size_t line_of_deep_key(std::string_view text);

}  // namespace reel::study
