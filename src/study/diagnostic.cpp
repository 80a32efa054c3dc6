#include "study/diagnostic.hpp"

#include <algorithm>
#include <tuple>

namespace reel::study {
namespace {

std::vector<Diagnostic> in_order(std::vector<Diagnostic> diagnostics) {
  REEL_CHECK(!diagnostics.empty());
  std::stable_sort(diagnostics.begin(), diagnostics.end(), [](const Diagnostic& a, const Diagnostic& b) {
    return std::tie(a.line, a.column) < std::tie(b.line, b.column);
  });
  return diagnostics;
}

bool continues(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }  // inside a UTF-8 character

/// The part of a long line around its caret; `column` is then counted in that part.
std::string around(const std::string& line, std::size_t& column) {
  constexpr std::size_t before = 50, width = 110;
  std::vector<std::size_t> starts;  // of the characters
  for (std::size_t i = 0; i < line.size(); ++i)
    if (!continues(line[i])) starts.push_back(i);
  if (starts.size() <= width) return line;
  const std::size_t first = std::min(column > before ? column - before : 0, starts.size() - 1);
  const std::size_t end = first + width < starts.size() ? starts[first + width] : line.size();
  column = std::min(column - first, width);
  return line.substr(starts[first], end - starts[first]);
}

std::string place(const Diagnostic& d) { return fmt::format("{}:{}:{}", d.file, d.line, d.column); }

/// Optimal string alignment distance.
}  // namespace

DiagnosticError::DiagnosticError(std::vector<Diagnostic> diagnostics)
    : Error(Exit::usage, in_order(diagnostics).front().message, place(in_order(diagnostics).front()),
            in_order(diagnostics).front().note),
      diagnostics_(in_order(std::move(diagnostics))) {}

std::string DiagnosticError::rendered() const {
  std::string text;
  for (const Diagnostic& d : diagnostics_) {
    if (!text.empty()) text += "\n";
    text += fmt::format("error: {} (exit {})\n  --> {}\n", plain(d.message), static_cast<int>(exit()), place(d));
    std::size_t column = d.column;
    std::string line = around(d.source_line, column);
    std::replace(line.begin(), line.end(), '\t', ' ');
    const std::string number = std::to_string(d.line);
    const std::size_t width = std::max<std::size_t>(5, number.size() + 1);
    text += fmt::format("{:>{}} | {}\n", number, width, plain(line, 4 * line.size()));
    text += fmt::format("{:>{}} | {:>{}}{}{}{}\n", "", width, "", column - 1,
                        std::string(std::min<std::size_t>(d.length, 60), '^'), d.note.empty() ? "" : " ", plain(d.note));
  }
  return text;
}

std::string plain(std::string_view text, std::size_t max_bytes) {
  const bool cut = text.size() > max_bytes;
  if (cut) {
    while (max_bytes > 0 && continues(text[max_bytes])) --max_bytes;
    text = text.substr(0, max_bytes);
  }
  std::string line(text);
  std::replace_if(line.begin(), line.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }, '?');
  return line + (cut ? "..." : "");
}

}  // namespace reel::study
