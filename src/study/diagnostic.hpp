#pragma once
// What is wrong with a text file that a person wrote: place, source line, caret and advice, all findings at once.
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.hpp"
#include "core/nearest.hpp"

namespace reel::study {

/// One finding. `line` and `column` count from 1, in characters; `length` is the width of the underlined part.
struct Diagnostic {
  std::string message;  ///< "unknown key 'sampler.step'"
  std::string file;
  std::size_t line = 0, column = 0, length = 1;
  std::string source_line;  ///< the line as it stands in the file
  std::string note;         ///< "did you mean 'steps'?   known keys: ..."
};

/// All findings in a file, in the order of their lines. Exit::usage. `what()`, `where()` and `hint()` tell the first
/// one.
class DiagnosticError : public Error {
 public:
  /// `diagnostics` must not be empty.
  explicit DiagnosticError(std::vector<Diagnostic> diagnostics);
  const std::vector<Diagnostic>& diagnostics() const noexcept { return diagnostics_; }
  /// The text for the terminal: one block per finding.
  ///     error: unknown key 'sampler.step' (exit 2)
  ///       --> establishing.toml:18:1
  ///        18 | step = 50
  ///           | ^^^^ did you mean 'steps'?   known keys: name, steps, guidance, shift
  std::string rendered() const;

 private:
  std::vector<Diagnostic> diagnostics_;
};

/// One line for a terminal: control characters become '?', and what is longer than `max_bytes` is cut.
std::string plain(std::string_view text, std::size_t max_bytes = 400);

}  // namespace reel::study
