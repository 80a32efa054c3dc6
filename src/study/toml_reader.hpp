#pragma once
// Reads TOML into values with checks; collects every finding instead of stopping at the first. Inside src/study only.
#include <toml++/toml.h>

#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "study/diagnostic.hpp"

namespace reel::study {

class TableReader;

/// One TOML file plus overrides such as "sampler.steps=30" (a bare word after '=' is taken as a string).
class TomlDocument {
 public:
  /// Parses; syntax errors, and keys of more than 16 parts ("a.a.a. ..."), throw DiagnosticError at once.
  TomlDocument(std::string_view text, const std::string& file, const std::vector<std::string>& overrides = {});

  /// The top table. Ask for every known key, then call `finish`.
  TableReader root();
  /// Adds unknown keys to the findings and throws DiagnosticError if there are any: the first 20 that were found, and
  /// how many more.
  void finish();

 private:
  friend class TableReader;
  void report(const toml::source_region& region, std::string message, std::string note);
  void report_unknown(const std::string& path, const toml::table& table);
  void refuse_deep_keys(std::string_view text, const std::string& source);

  std::string file_;
  std::map<std::string, std::vector<std::string>> sources_;  // source path -> lines
  toml::table root_;
  std::vector<Diagnostic> diagnostics_;
  std::size_t num_more_ = 0;  // findings beyond those kept
  std::map<std::string, std::vector<std::string>> known_;  // table path -> keys, in the order of asking
  std::map<std::string, std::vector<const toml::table*>> tables_;  // tables that were read; elements share their path
  std::set<const toml::table*> read_;                              // the same, each once
};

/// "2.5 s", "90 min": a positive time with its unit (ms, s, min, h) in seconds; nothing for other texts.
std::optional<double> parse_seconds(std::string_view text);

/// One table of a document. Each getter makes its key known, checks type and range, and gives `fallback` when the key
/// is absent or wrong (the finding is then in the document).
class TableReader {
 public:
  TableReader(TomlDocument& document, std::string path, const toml::table* table);

  bool has(std::string_view key) const { return table_ != nullptr && table_->contains(key); }
  bool present() const noexcept { return table_ != nullptr; }
  bool is_list(std::string_view key) const { return table_ != nullptr && (*table_)[key].is_array(); }
  bool is_text(std::string_view key) const { return table_ != nullptr && (*table_)[key].is_string(); }
  /// Where the table begins, from 1; 0 when it is absent.
  std::size_t line() const noexcept { return table_ != nullptr ? table_->source().begin.line : 0; }

  std::string text(const std::string& key, std::string fallback = {});
  std::string choice(const std::string& key, const std::string& fallback, const std::vector<std::string>& choices);
  std::int64_t integer(const std::string& key, std::int64_t fallback, std::int64_t min,
                       std::int64_t max = std::numeric_limits<std::int64_t>::max());
  /// Finite numbers only; `min` itself is allowed unless `above` is set.
  double number(const std::string& key, double fallback, double min, double max, bool above = false);
  /// A string with a time unit ("1.5 s", "500 ms", "2 min"): seconds.
  double seconds(const std::string& key, double fallback);
  bool flag(const std::string& key, bool fallback);
  /// Of `count` integers; 0: of any number but none.
  std::vector<std::int64_t> integers(const std::string& key, std::size_t count, std::int64_t min, std::int64_t max);
  /// A list of at least one text, unless it `may_be_empty`; each one of `choices` when there are any, none twice.
  std::vector<std::string> texts(const std::string& key, std::vector<std::string> fallback, const std::vector<std::string>& choices = {},
                                 bool may_be_empty = false);
  /// A day without quotes (2026-11-22): "2026-11-22".
  std::string date(const std::string& key, std::string fallback = {});
  TableReader table(const std::string& key);
  /// The elements of [[key]], in order; none when absent. Ask each for the same keys: what one knows, all know.
  std::vector<TableReader> tables(const std::string& key);
  /// Any table, kept as canonical JSON without looking inside; "{}" when absent.
  std::string kept_table(const std::string& key);
  /// The elements of [[key]] in the same way; "[]" when absent.
  std::string kept_list(const std::string& key);

  /// A finding at the value of `key` (at the table when the key is absent).
  void error(const std::string& key, std::string message, std::string note = {});
  /// A finding unless `key` is there.
  void require(const std::string& key, std::string note = {});
  /// "sampler.steps"
  std::string name(const std::string& key) const { return path_.empty() ? key : path_ + "." + key; }

 private:
  const toml::node* know(const std::string& key);
  void wrong_type(const std::string& key, std::string_view wanted, const toml::node& node);
  TomlDocument& document_;
  std::string path_;
  const toml::table* table_;
};

}  // namespace reel::study
