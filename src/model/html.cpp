#include "model/html.hpp"

#include <utf8proc.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <unordered_map>

#include "model/html_entities.hpp"

namespace reel::model::html {
namespace {

using Text = std::u32string;
using View = std::u32string_view;

bool is_digit(char32_t c) { return c >= '0' && c <= '9'; }
bool is_letter(char32_t c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

/// The character called `name` (no & and ;), or 0. Names of HTML 2 need no semicolon.
char32_t named(View name, bool closed) {
  struct Entity {
    char32_t character;
    bool legacy;
  };
  static const auto table = [] {
    std::unordered_map<Text, Entity> map;
    const auto add = [&](const auto& entities, bool legacy) {
      for (const HtmlEntity& e : entities) map[Text(e.name, e.name + std::strlen(e.name))] = {e.character, legacy};
    };
    add(legacy_entities, true);
    add(strict_entities, false);
    return map;
  }();
  const auto found = table.find(Text(name));
  return found != table.end() && (closed || found->second.legacy) ? found->second.character : 0;
}

/// Reads the number of "&#123" or "&#x1F" that starts at `at`; moves `at` behind its last digit. False: no digits.
bool read_number(View text, std::size_t& at, std::uint32_t& number) {
  std::size_t i = at + 2;
  const bool hex = i < text.size() && (text[i] == 'x' || text[i] == 'X');
  if (hex) ++i;
  const std::size_t first = i;
  for (number = 0; i < text.size(); ++i) {
    const char32_t c = text[i], lower = c | 0x20;
    const bool letter = hex && is_letter(c) && lower <= 'f';
    if (!is_digit(c) && !letter) break;
    number = std::min(number * (hex ? 16u : 10u) + (letter ? lower - 'a' + 10 : c - '0'), 0x110000u);
  }
  if (i == first) return false;
  at = i;
  return true;
}

/// The character with this number; nothing for those HTML forbids.
Text numbered(std::uint32_t n) {
  if (n == 0 || (n >= 0xD800 && n <= 0xDFFF) || n > 0x10FFFF) return U"\uFFFD";
  if (n >= 0x80 && n <= 0x9F) return Text(1, windows_1252(n));
  const bool control = n <= 8 || n == 0x0B || (n >= 0x0E && n <= 0x1F) || n == 0x7F;
  if (control || (n >= 0xFDD0 && n <= 0xFDEF) || (n & 0xFFFE) == 0xFFFE) return {};
  return Text(1, n);
}

/// A closed reference in capitals that HTML does not know, made from one in small letters: &EACUTE; is É.
Text capital_entity(View whole, View name) {
  Text lower(name);
  for (char32_t& c : lower) {
    if (c >= 'a' && c <= 'z') return Text(whole);
    if (is_letter(c)) c |= 0x20;
  }
  const char32_t c = named(lower, true);
  if (c == 0 || unescape(whole) != whole) return Text(whole);
  if (c == 0xDF) return U"SS";
  return Text(1, static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(c))));
}

}  // namespace

char32_t windows_1252(char32_t c) {
  static constexpr char32_t table[32] = {0x20AC, 0x0081, 0x201A, 0x0192, 0x201E, 0x2026, 0x2020, 0x2021,
                                         0x02C6, 0x2030, 0x0160, 0x2039, 0x0152, 0x008D, 0x017D, 0x008F,
                                         0x0090, 0x2018, 0x2019, 0x201C, 0x201D, 0x2022, 0x2013, 0x2014,
                                         0x02DC, 0x2122, 0x0161, 0x203A, 0x0153, 0x009D, 0x017E, 0x0178};
  return c >= 0x80 && c <= 0x9F ? table[c - 0x80] : c;
}

Text unescape(View text) {
  Text out;
  for (std::size_t i = 0; i < text.size();) {
    if (text[i] != '&') {
      out += text[i++];
      continue;
    }
    if (text.substr(i).starts_with(U"&#")) {
      std::uint32_t number = 0;
      if (read_number(text, i, number)) {
        if (i < text.size() && text[i] == ';') ++i;
        out += numbered(number);
      } else {
        out += text[i++];
      }
      continue;
    }
    std::size_t end = i + 1;
    while (end < text.size() && end - i <= 32 && View(U"\t\n\f <&#;").find(text[end]) == View::npos) ++end;
    const View name = text.substr(i + 1, end - i - 1);
    const bool closed = !name.empty() && end < text.size() && text[end] == ';';
    char32_t known = named(name, closed);
    std::size_t stop = known ? end + closed : end;
    while (!known && stop > i + 3) known = named(text.substr(i + 1, --stop - i - 1), false);
    if (known) {
      out += known;
    } else {
      stop = end + closed;
      out += text.substr(i, stop - i);
    }
    i = stop;
  }
  return out;
}

Text unescape_closed(View text) {
  Text out;
  for (std::size_t i = 0; i < text.size();) {
    if (text[i] != '&') {
      out += text[i++];
      continue;
    }
    const bool numeric = text.substr(i).starts_with(U"&#");
    const std::size_t first = i + 1 + numeric;
    std::size_t end = first;
    while (end < text.size() && end - first < 24 && (is_digit(text[end]) || is_letter(text[end]))) ++end;
    const View whole = text.substr(i, end + 1 - i), name = text.substr(first, end - first);
    Text decoded(whole);
    if (!name.empty() && whole.ends_with(U';')) {
      const char32_t known = numeric ? 0 : named(name, true);
      decoded = numeric ? unescape(whole) : known ? Text(1, known) : capital_entity(whole, name);
      if (numeric && decoded.find(U';') != Text::npos) decoded = whole;  // "&#59;", "&#12ab;": leave them
    }
    if (decoded == whole) {
      out += text[i++];
    } else {
      out += decoded;
      i = end + 1;
    }
  }
  return out;
}

}  // namespace reel::model::html
