#include "model/prompt.hpp"

#include <utf8proc.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <utility>

#include "core/error.hpp"
#include "model/html.hpp"

namespace reel::model {
namespace {

using Text = std::u32string;
using View = std::u32string_view;

// ---- UTF-8

Text decode(std::string_view utf8) {
  Text out;
  out.reserve(utf8.size());
  for (std::size_t i = 0; i < utf8.size();) {
    utf8proc_int32_t c = 0;
    const auto* bytes = reinterpret_cast<const utf8proc_uint8_t*>(utf8.data()) + i;
    const utf8proc_ssize_t n = utf8proc_iterate(bytes, static_cast<utf8proc_ssize_t>(utf8.size() - i), &c);
    if (n <= 0)
      throw Error(Exit::usage, fmt::format("not UTF-8: byte 0x{:02x} at offset {}", bytes[0], i), "prompt",
                  "save the prompt as UTF-8");
    out += static_cast<char32_t>(c);
    i += static_cast<std::size_t>(n);
  }
  return out;
}

std::string encode(View text) {
  std::string out;
  for (const char32_t c : text) {
    utf8proc_uint8_t bytes[4];
    const auto n = utf8proc_encode_char(static_cast<utf8proc_int32_t>(c), bytes);
    out.append(reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(n));
  }
  return out;
}

/// NFC, or NFKC with `options` UTF8PROC_COMPAT.
Text normalised(View text, int options = 0) {
  const std::string utf8 = encode(text);
  utf8proc_uint8_t* result = nullptr;
  const utf8proc_ssize_t n =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(utf8.data()), static_cast<utf8proc_ssize_t>(utf8.size()),
                   &result, static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE | options));
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(result, &std::free);
  REEL_CHECK(n >= 0, "{}", utf8proc_errmsg(n));
  return decode({reinterpret_cast<const char*>(result), static_cast<std::size_t>(n)});
}

/// What Python's \s matches.
bool is_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

// ---- repair

/// Ligature or digraph of Latin letters c, taken apart; empty for other characters.
View ligature(char32_t c) {
  static constexpr std::pair<char32_t, View> table[] = {
      {0x0132, U"IJ"},      {0x0133, U"ij"}, {0x0149, U"\u02BCn"}, {0x01C4, U"D\u017D"}, {0x01C5, U"D\u017E"},
      {0x01C6, U"d\u017E"}, {0x01C7, U"LJ"}, {0x01C8, U"Lj"},      {0x01C9, U"lj"},      {0x01CA, U"NJ"},
      {0x01CB, U"Nj"},      {0x01CC, U"nj"}, {0x01F1, U"DZ"},      {0x01F2, U"Dz"},      {0x01F3, U"dz"},
      {0xFB00, U"ff"},      {0xFB01, U"fi"}, {0xFB02, U"fl"},      {0xFB03, U"ffi"},     {0xFB04, U"ffl"},
      {0xFB05, U"\u017Ft"}, {0xFB06, U"st"}};
  const auto found = std::find_if(std::begin(table), std::end(table), [&](const auto& l) { return l.first == c; });
  return found == std::end(table) ? View() : found->second;
}

char32_t straight_quote(char32_t c) {
  if (c == 0x02BC || (c >= 0x2018 && c <= 0x201B)) return U'\'';
  return c >= 0x201C && c <= 0x201F ? U'"' : c;
}

bool is_unwanted(char32_t c) {
  return c <= 8 || c == 0x0B || (c >= 0x0E && c <= 0x1F) || c == 0x7F || (c >= 0x206A && c <= 0x206F) || c == 0xFEFF ||
         (c >= 0xFFF9 && c <= 0xFFFC);
}

/// Controls of Windows-1252, ligatures, widths, quotation marks and line breaks.
Text replace_characters(View text) {
  Text out;
  for (char32_t c : text) {
    c = html::windows_1252(c);
    if (const View letters = ligature(c); !letters.empty()) {
      for (const char32_t letter : letters) out += straight_quote(letter);
    } else if (c == 0x3000) {
      out += U' ';
    } else if (c >= 0xFF01 && c <= 0xFFEF) {
      out += normalised(View(&c, 1), UTF8PROC_COMPAT);
    } else if (c == U'\n' && out.ends_with(U'\r')) {
      out.back() = U'\n';
    } else {
      out += straight_quote(c);
    }
  }
  for (char32_t& c : out)
    if (c == U'\r' || c == 0x2028 || c == 0x2029) c = U'\n';
  return out;
}

bool is_ascii_letter(char32_t c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

/// Without ESC [ digits and semicolons letter, then without control characters.
Text remove_controls(View text) {
  Text out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text.substr(i).starts_with(U"\x1B[")) {
      std::size_t end = i + 2;
      const auto digit = [](char32_t c) {
        return utf8proc_category(static_cast<utf8proc_int32_t>(c)) == UTF8PROC_CATEGORY_ND;
      };
      while (end < text.size() && (text[end] == U';' || digit(text[end]))) ++end;
      if (end < text.size() && is_ascii_letter(text[end])) {
        i = end;
        continue;
      }
    }
    if (!is_unwanted(text[i])) out += text[i];
  }
  return out;
}

/// See clean_prompt.
Text repair(View text) {
  Text out;
  bool tags = false;
  while (!text.empty()) {
    const std::size_t length = std::min(text.find(U'\n'), text.size() - 1) + 1;
    Text line(text.substr(0, length)), before;
    text.remove_prefix(length);
    tags = tags || line.find(U'<') != Text::npos;
    do {
      before = line;
      if (!tags) line = html::unescape_closed(line);
      line = normalised(remove_controls(replace_characters(line)));
    } while (line != before);
    out += line;
  }
  return out;
}

}  // namespace

std::string clean_prompt(std::string_view text) {
  Text out;
  for (const char32_t c : html::unescape(html::unescape(repair(decode(text))))) {
    if (!is_space(c))
      out += c;
    else if (!out.empty() && out.back() != U' ')
      out += U' ';
  }
  if (out.ends_with(U' ')) out.pop_back();
  return encode(out);
}

}  // namespace reel::model
