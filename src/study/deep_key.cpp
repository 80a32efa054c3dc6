#include "study/deep_key.hpp"

#include <algorithm>

namespace reel::study {
namespace {

/// Behind the string that begins at `text[at]` with a quote, as TOML has it; a string on one line ends with the line.
std::size_t string_end(std::string_view text, std::size_t at) {
  const char quote = text[at];
  const std::string_view three(quote == '"' ? "\"\"\"" : "'''");
  const bool many_lines = text.substr(at, 3) == three;
  for (at += many_lines ? 3 : 1; at < text.size(); ++at) {
    if (quote == '"' && text[at] == '\\') {
      ++at;
    } else if (many_lines && text.substr(at, 3) == three) {
      at += 3;  // up to two more quotes are still inside
      for (int more = 0; more < 2 && at < text.size() && text[at] == quote; ++more) ++at;
      return at;
    } else if (!many_lines && (text[at] == quote || text[at] == '\n')) {
      return text[at] == quote ? at + 1 : at;
    }
  }
  return text.size();
}

}  // namespace

std::size_t line_of_deep_key(std::string_view text) {
  std::size_t line = 1, dots = 0;
  bool is_value = false;
  for (std::size_t at = 0; at < text.size();) {
    const char c = text[at];
    if (c == '"' || c == '\'') {
      const std::size_t end = std::min(string_end(text, at), text.size());
      for (; at < end; ++at) line += text[at] == '\n';
      continue;
    }
    if (c == '#') {
      at = std::min(text.find('\n', at), text.size());
      continue;
    }
    if (c == '.' && !is_value && ++dots >= max_key_parts) return line;
    if (c == '=') is_value = true;
    if (std::string_view(",[]{}\n").find(c) != std::string_view::npos) dots = 0, is_value = false;
    line += c == '\n';
    ++at;
  }
  return 0;
}

}  // namespace reel::study
