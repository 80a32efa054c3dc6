#include "study/toml_reader.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>
#include <sstream>
#include <tuple>

#include "study/deep_key.hpp"

namespace reel::study {
namespace {

using nlohmann::json;

std::vector<std::string> split_lines(std::string_view text) {
  std::vector<std::string> lines(1);
  for (const char c : text) {
    if (c == '\n') {
      lines.emplace_back();
    } else if (c != '\r') {
      lines.back() += c;
    }
  }
  return lines;
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

std::string_view type_name(const toml::node& node) {
  switch (node.type()) {
    case toml::node_type::table:
      return "a table";
    case toml::node_type::array:
      return "a list";
    case toml::node_type::string:
      return "a string";
    case toml::node_type::integer:
      return "an integer";
    case toml::node_type::floating_point:
      return "a number";
    case toml::node_type::boolean:
      return "true or false";
    default:
      return "a date or time";
  }
}

json to_json(const toml::node& node) {
  if (const auto* table = node.as_table()) {
    json object = json::object();
    for (const auto& [key, value] : *table) object[std::string(key.str())] = to_json(value);
    return object;
  }
  if (const auto* array = node.as_array()) {
    json list = json::array();
    for (const auto& value : *array) list.push_back(to_json(value));
    return list;
  }
  if (const auto value = node.value_exact<std::string>()) return *value;
  if (const auto value = node.value_exact<std::int64_t>()) return *value;
  if (const auto value = node.value_exact<double>()) return *value;
  if (const auto value = node.value_exact<bool>()) return *value;
  std::ostringstream date;
  node.visit([&](const auto& leaf) {
    if constexpr (toml::is_date<decltype(leaf)> || toml::is_time<decltype(leaf)> ||
                  toml::is_date_time<decltype(leaf)>) {
      date << leaf.get();
    }
  });
  return date.str();
}

/// Puts `from` over `into`: tables merge, anything else replaces. Nodes are moved, because copies forget their place.
void merge(toml::table& into, toml::table&& from) {
  for (auto&& [key, value] : from) {
    auto* const old_table = into.contains(key) ? into.get(key)->as_table() : nullptr;
    if (old_table != nullptr && value.is_table()) {
      merge(*old_table, std::move(*value.as_table()));
    } else {
      into.insert_or_assign(key, std::move(value));
    }
  }
}

constexpr std::size_t max_findings = 20;

}  // namespace

TomlDocument::TomlDocument(std::string_view text, const std::string& file, const std::vector<std::string>& overrides)
    : file_(file) {
  sources_[file] = split_lines(text);
  refuse_deep_keys(text, file);
  try {
    root_ = toml::parse(text, std::string_view(file));
  } catch (const toml::parse_error& error) {
    report(error.source(), fmt::format("not valid TOML: {}", error.description()), "");
    throw DiagnosticError(std::move(diagnostics_));
  }
  for (const std::string& override_text : overrides) {
    const std::string source = "--set";
    sources_[source] = {override_text};
    refuse_deep_keys(override_text, source);
    const auto equals = override_text.find('=');
    toml::table table;
    try {
      table = toml::parse(override_text, std::string_view(source));
    } catch (const toml::parse_error& error) {
      try {  // a bare word: --set sampler.name=euler
        if (equals == std::string::npos) throw;
        const json word = override_text.substr(equals + 1);
        table = toml::parse(override_text.substr(0, equals + 1) + word.dump(), std::string_view(source));
      } catch (const std::exception&) {
        report(error.source(), fmt::format("not valid TOML: {}", error.description()), "write --set table.key=value");
        throw DiagnosticError(std::move(diagnostics_));
      }
    }
    merge(root_, std::move(table));
  }
}

void TomlDocument::refuse_deep_keys(std::string_view text, const std::string& source) {
  const auto line = static_cast<toml::source_index>(line_of_deep_key(text));
  if (line == 0) return;
  report({{line, 1}, {line, 1}, std::make_shared<const std::string>(source)},
         fmt::format("a key of more than {} parts", max_key_parts), "no key of Reel has more than a few");
  throw DiagnosticError(std::move(diagnostics_));
}

TableReader TomlDocument::root() { return TableReader(*this, "", &root_); }

void TomlDocument::report(const toml::source_region& region, std::string message, std::string note) {
  if (diagnostics_.size() >= max_findings) {
    ++num_more_;
    return;
  }
  Diagnostic d;
  d.message = std::move(message);
  d.note = std::move(note);
  d.file = region.path ? *region.path : file_;
  d.line = std::max<std::size_t>(1, region.begin.line);
  d.column = std::max<std::size_t>(1, region.begin.column);
  const auto& lines = sources_[d.file];
  if (d.line <= lines.size()) d.source_line = lines[d.line - 1];
  const auto end = region.end.line == region.begin.line ? region.end.column : d.source_line.size() + 1;
  d.length = end > d.column ? end - d.column : 1;
  diagnostics_.push_back(std::move(d));
}

void TomlDocument::report_unknown(const std::string& path, const toml::table& table) {
  const std::vector<std::string>& known = known_[path];
  for (const auto& [key, value] : table) {
    const std::string word(key.str());
    if (std::find(known.begin(), known.end(), word) != known.end()) continue;
    if (diagnostics_.size() >= max_findings) {  // no advice that nobody sees: there may be a million
      ++num_more_;
      continue;
    }
    std::string advice;
    if (const std::string near = nearest(word, known); !near.empty()) {
      advice = fmt::format("did you mean '{}'?   ", near);
    } else {
      for (const auto& [other, keys] : known_) {
        if (std::find(keys.begin(), keys.end(), word) == keys.end()) continue;
        advice = other.empty() ? "it belongs before the first [table]   " : fmt::format("it belongs in [{}]   ", other);
        break;
      }
    }
    std::vector<std::string> sorted = known;
    report(key.source(), fmt::format("unknown key '{}'", path.empty() ? word : path + "." + word),
           fmt::format("{}known keys: {}", advice, joined(sorted)));
  }
}

void TomlDocument::finish() {
  for (const auto& [path, tables] : tables_)
    for (const toml::table* table : tables) report_unknown(path, *table);
  if (diagnostics_.empty()) return;
  if (num_more_ > 0) {
    Diagnostic& last = *std::max_element(diagnostics_.begin(), diagnostics_.end(), [](const auto& a, const auto& b) {
      return std::tie(a.line, a.column) < std::tie(b.line, b.column);
    });
    last.note = fmt::format("(and {} more)   {}", num_more_, last.note);
  }
  throw DiagnosticError(std::move(diagnostics_));
}

TableReader::TableReader(TomlDocument& document, std::string path, const toml::table* table)
    : document_(document), path_(std::move(path)), table_(table) {
  if (table != nullptr && document_.read_.insert(table).second) document_.tables_[path_].push_back(table);
}

const toml::node* TableReader::know(const std::string& key) {
  auto& known = document_.known_[path_];
  if (std::find(known.begin(), known.end(), key) == known.end()) known.push_back(key);
  return has(key) ? table_->get(key) : nullptr;
}

void TableReader::wrong_type(const std::string& key, std::string_view wanted, const toml::node& node) {
  error(key, fmt::format("'{}' must be {}, not {}", name(key), wanted, type_name(node)));
}

std::string TableReader::text(const std::string& key, std::string fallback) {
  const toml::node* node = know(key);
  if (node == nullptr) return fallback;
  const auto value = node->value_exact<std::string>();
  if (!value) {
    wrong_type(key, "a string", *node);
    return fallback;
  }
  for (const char c : *value) {
    if ((static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t' && c != '\r') || c == 0x7f) {
      error(key, fmt::format("'{}' holds the control character {:#04x}", name(key), static_cast<unsigned char>(c)),
            "plain text only");
      return fallback;
    }
  }
  return *value;
}

std::string TableReader::choice(const std::string& key, const std::string& fallback,
                                const std::vector<std::string>& choices) {
  const toml::node* node = know(key);
  if (node == nullptr) return fallback;
  if (!node->is_string()) {
    wrong_type(key, "a string", *node);
    return fallback;
  }
  const std::string value = text(key, fallback);
  if (std::find(choices.begin(), choices.end(), value) != choices.end()) return value;
  const std::string near = nearest(value, choices);
  error(key, fmt::format("'{}' cannot be '{}'", name(key), value),
        fmt::format("{}choose from: {}", near.empty() ? "" : fmt::format("did you mean '{}'?   ", near),
                    joined(choices)));
  return fallback;
}

std::int64_t TableReader::integer(const std::string& key, std::int64_t fallback, std::int64_t min, std::int64_t max) {
  const toml::node* node = know(key);
  if (node == nullptr) return fallback;
  const auto value = node->value_exact<std::int64_t>();
  if (!value) {
    wrong_type(key, "an integer", *node);
    return fallback;
  }
  if (*value >= min && *value <= max) return *value;
  error(key, fmt::format("'{}' is {}", name(key), *value),
        max == std::numeric_limits<std::int64_t>::max() ? fmt::format("must be {} or more", min)
                                                        : fmt::format("must be from {} to {}", min, max));
  return fallback;
}

double TableReader::number(const std::string& key, double fallback, double min, double max, bool above) {
  const toml::node* node = know(key);
  if (node == nullptr) return fallback;
  if (!node->is_number()) {
    wrong_type(key, "a number", *node);
    return fallback;
  }
  const double value = *node->value<double>();
  if (std::isfinite(value) && (above ? value > min : value >= min) && value <= max) return value;
  error(key, fmt::format("'{}' is {}", name(key), value),
        fmt::format("must be {} {} and at most {}", above ? "above" : "at least", min, max));
  return fallback;
}

std::optional<double> parse_seconds(std::string_view text) {
  double amount = 0;
  const char* const last = text.data() + text.size();
  const auto [next, failure] = std::from_chars(text.data(), last, amount);
  std::string_view unit(next, static_cast<std::size_t>(last - next));
  if (unit.starts_with(' ')) unit.remove_prefix(1);
  const std::map<std::string_view, double> units{{"ms", 1e-3}, {"s", 1.0}, {"min", 60.0}, {"h", 3600.0}};
  const auto scale = units.find(unit);
  if (failure != std::errc() || scale == units.end() || !std::isfinite(amount) || amount <= 0) return {};
  return amount * scale->second;
}

double TableReader::seconds(const std::string& key, double fallback) {
  const toml::node* node = know(key);
  if (node == nullptr) return fallback;
  if (const auto value = node->value_exact<std::string>())
    if (const auto found = parse_seconds(*value)) return *found;
  error(key, fmt::format("'{}' must be a positive time with its unit", name(key)),
        "write for example \"2.5 s\"   units: ms, s, min, h");
  return fallback;
}

bool TableReader::flag(const std::string& key, bool fallback) {
  const toml::node* node = know(key);
  if (node == nullptr) return fallback;
  if (const auto value = node->value_exact<bool>()) return *value;
  wrong_type(key, "true or false", *node);
  return fallback;
}

std::vector<std::int64_t> TableReader::integers(const std::string& key, std::size_t count, std::int64_t min,
                                                std::int64_t max) {
  const toml::node* node = know(key);
  if (node == nullptr) return {};
  const toml::array* array = node->as_array();
  if (array == nullptr || array->empty() || (count > 0 && array->size() != count) || !array->is_homogeneous(toml::node_type::integer)) {
    error(key, count > 0 ? fmt::format("'{}' must be a list of {} integers", name(key), count) : fmt::format("'{}' must be a list of integers", name(key)));
    return {};
  }
  std::vector<std::int64_t> values;
  for (const auto& element : *array) {
    values.push_back(*element.value<std::int64_t>());
    if (values.back() >= min && values.back() <= max) continue;
    error(key, fmt::format("'{}' holds {}", name(key), values.back()),
          fmt::format("each must be from {} to {}", min, max));
    return {};
  }
  return values;
}

std::vector<std::string> TableReader::texts(const std::string& key, std::vector<std::string> fallback,
                                            const std::vector<std::string>& choices, bool may_be_empty) {
  const toml::node* node = know(key);
  if (node == nullptr) return fallback;
  const toml::array* array = node->as_array();
  if (may_be_empty && array != nullptr && array->empty()) return {};
  if (array == nullptr || array->empty() || !array->is_homogeneous(toml::node_type::string)) {
    error(key, fmt::format("'{}' must be a list of texts", name(key)));
    return fallback;
  }
  std::vector<std::string> values;
  for (const auto& element : *array) {
    const std::string value = *element.value<std::string>();
    const bool allowed = choices.empty() || std::find(choices.begin(), choices.end(), value) != choices.end();
    const bool twice = std::find(values.begin(), values.end(), value) != values.end();
    if (!allowed || twice) {
      const std::string guess = allowed ? "" : nearest(value, choices);
      error(key, fmt::format("'{}' holds '{}'{}", name(key), plain(value), twice ? " twice" : ""),
            twice ? "name each once" : (guess.empty() ? "" : fmt::format("did you mean '{}'?   ", guess)) + fmt::format("allowed: {}", fmt::join(choices, ", ")));
      return fallback;
    }
    values.push_back(value);
  }
  return values;
}

TableReader TableReader::table(const std::string& key) {
  const toml::node* node = know(key);
  document_.known_[name(key)];
  if (node != nullptr && !node->is_table()) wrong_type(key, "a table", *node);
  return TableReader(document_, name(key), node != nullptr ? node->as_table() : nullptr);
}

std::string TableReader::date(const std::string& key, std::string fallback) {
  const toml::node* node = know(key);
  if (node == nullptr) return fallback;
  if (const auto day = node->value_exact<toml::date>())
    return fmt::format("{:04}-{:02}-{:02}", day->year, day->month, day->day);
  error(key, fmt::format("'{}' must be a day", name(key)),
        fmt::format("write for example {} = 2026-11-22, without quotes", key));
  return fallback;
}

std::vector<TableReader> TableReader::tables(const std::string& key) {
  const toml::node* node = know(key);
  document_.known_[name(key)];
  if (node == nullptr) return {};
  const toml::array* array = node->as_array();
  if (array == nullptr || (!array->empty() && !array->is_homogeneous(toml::node_type::table))) {
    error(key, fmt::format("'{}' must be a list of tables", name(key)),
          fmt::format("begin each with [[{}]]", name(key)));
    return {};
  }
  std::vector<TableReader> readers;
  for (const auto& element : *array) readers.push_back(TableReader(document_, name(key), element.as_table()));
  return readers;
}

std::string TableReader::kept_table(const std::string& key) {
  const toml::node* node = know(key);
  if (node == nullptr) return "{}";
  if (!node->is_table()) wrong_type(key, "a table", *node);
  return to_json(*node).dump();
}

std::string TableReader::kept_list(const std::string& key) {
  const toml::node* node = know(key);
  if (node == nullptr) return "[]";
  if (!node->is_array_of_tables()) {
    wrong_type(key, "a list of tables", *node);
    return "[]";
  }
  return to_json(*node).dump();
}

void TableReader::error(const std::string& key, std::string message, std::string note) {
  const toml::node* node = has(key) ? table_->get(key) : nullptr;
  if (node == nullptr) node = table_ != nullptr ? table_ : &document_.root_;
  document_.report(node->source(), std::move(message), std::move(note));
}

void TableReader::require(const std::string& key, std::string note) {
  if (!has(key)) error(key, fmt::format("'{}' is missing", name(key)), std::move(note));
}

}  // namespace reel::study
