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

std::string place(const Diagnostic& d) { return fmt::format("{}:{}:{}", d.file, d.line, d.column); }

/// Optimal string alignment distance.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::vector<std::size_t>> d(a.size() + 1, std::vector<std::size_t>(b.size() + 1));
  for (std::size_t i = 0; i <= a.size(); ++i) d[i][0] = i;
  for (std::size_t j = 0; j <= b.size(); ++j) d[0][j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t change = a[i - 1] == b[j - 1] ? 0 : 1;
      d[i][j] = std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + change});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
      }
    }
  }
  return d[a.size()][b.size()];
}

}  // namespace

DiagnosticError::DiagnosticError(std::vector<Diagnostic> diagnostics)
    : Error(Exit::usage, in_order(diagnostics).front().message, place(in_order(diagnostics).front()),
            in_order(diagnostics).front().note),
      diagnostics_(in_order(std::move(diagnostics))) {}

std::string DiagnosticError::rendered() const {
  std::string text;
  for (const Diagnostic& d : diagnostics_) {
    if (!text.empty()) text += "\n";
    text += fmt::format("error: {} (exit {})\n  --> {}\n", d.message, static_cast<int>(exit()), place(d));
    std::string line = d.source_line;
    std::replace(line.begin(), line.end(), '\t', ' ');
    const std::string number = std::to_string(d.line);
    const std::size_t width = std::max<std::size_t>(5, number.size() + 1);
    text += fmt::format("{:>{}} | {}\n", number, width, line);
    text += fmt::format("{:>{}} | {:>{}}{}{}{}\n", "", width, "", d.column - 1, std::string(d.length, '^'),
                        d.note.empty() ? "" : " ", d.note);
  }
  return text;
}

std::string nearest(std::string_view word, const std::vector<std::string>& candidates) {
  std::string best;
  std::size_t best_distance = std::max<std::size_t>(1, word.size() / 3) + 1;
  for (const std::string& candidate : candidates) {
    // A long way to walk for a hostile key: do not start.
    if (word.size() > candidate.size() + best_distance || candidate.size() > word.size() + best_distance) continue;
    const std::size_t distance = edit_distance(word, candidate);
    if (distance < best_distance) std::tie(best, best_distance) = std::make_pair(candidate, distance);
  }
  return best;
}

}  // namespace reel::study
