#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "model/prompt.hpp"
#include "tests/io/temp_dir.hpp"

namespace reel::model {
namespace {

/// "\u00e9" of char8_t literals as the bytes they are.
std::string utf8(const char8_t* text) { return reinterpret_cast<const char*>(text); }

TEST(CleanPrompt, AgreesWithDiffusers) {
  std::ifstream stream(REEL_SOURCE_DIR "/tests/oracle/fixtures/tokenizer.json");
  const nlohmann::json oracle = nlohmann::json::parse(stream);
  for (const auto& prompt : oracle.at("cases")) {
    const auto text = prompt.at("text").get<std::string>(), name = prompt.at("name").get<std::string>();
    // Documented: text decoded with the wrong encoding is not looked for.
    const auto cleaned = name == "mojibake" ? text : prompt.at("cleaned").get<std::string>();
    EXPECT_EQ(clean_prompt(text), cleaned) << name;
    EXPECT_EQ(clean_prompt(cleaned), cleaned) << name;
  }
  EXPECT_GE(oracle.at("cases").size(), 40u);
}

TEST(CleanPrompt, Whitespace) {
  EXPECT_EQ(clean_prompt(""), "");
  EXPECT_EQ(clean_prompt(" \t\r\n\f\v"), "");
  EXPECT_EQ(clean_prompt("  a \t b\r\n\r\nc  "), "a b c");
  EXPECT_EQ(clean_prompt(utf8(u8"\u00A0a\u1680\u2003\u2028\u2029\u205F\u3000b\u202F")), "a b");
  EXPECT_EQ(clean_prompt(utf8(u8"a\u200Bb")), utf8(u8"a\u200Bb"));  // zero width is not space
}

/// Expected values from prompt_clean of diffusers 0.37.1 with ftfy 6.3.1.
TEST(CleanPrompt, References) {
  const std::pair<const char*, const char8_t*> cases[] = {
      {"&lt;b&gt; &amp;amp; &quot;x&quot; &#39;y&#x27;", u8"<b> & \"x\" 'y'"},
      {"&amp;amp;amp;amp;amp;", u8"&"},                   // until nothing changes
      {"< &amp;amp;amp;amp;", u8"< &amp;amp;"},           // a tag: the two unescapes of the pipeline only
      {"a <i>\n&amp;amp;amp;amp;", u8"a <i> &amp;amp;"},  // also on later lines
      {"&ldquo;x&rdquo;", u8"\"x\""},
      {"< &ldquo;x&rdquo;", u8"< \u201Cx\u201D"},
      {"caf&eacute CAF&EACUTE; stra&SZLIG;e", u8"caf\u00E9 CAF\u00C9 straSSe"},
      {"&ampx &notit; &hearts &hearts;", u8"&x \u00ACit; &hearts \u2665"},
      {"&nosuch; &; & &# &#x; &#xg;", u8"&nosuch; &; & &# &#x; &#xg;"},
      {"&#59; &#12ab;", u8"; ab;"},
      {"[&#0;&#xD800;&#1114112;&#99999999999999999999;]", u8"[\uFFFD\uFFFD\uFFFD\uFFFD]"},
      {"[&#1;&#xFFFE;&#xFDD0;]", u8"[]"},
      {"&#147;x&#148; &#128;", u8"\"x\" \u20AC"},
      {"&scaron; &frac13; &apos;", u8"\u0161 \u2153 '"},
  };
  for (const auto& [text, cleaned] : cases) EXPECT_EQ(clean_prompt(text), utf8(cleaned)) << text;
}

/// Expected values from prompt_clean of diffusers 0.37.1 with ftfy 6.3.1.
TEST(CleanPrompt, Repair) {
  const std::pair<const char8_t*, const char8_t*> cases[] = {
      {u8"\uFB01sh, \uFB04, \u0132, \u01C5, \u0149", u8"fish, ffl, IJ, D\u017E, 'n"},
      {u8"\uFF21\uFF0C\uFF57\u3000\uFFE5", u8"A,w \u00A5"},
      {u8"\uFF76\uFF9E", u8"\u30AC"},  // half-width ka + voiced mark: one ga
      {u8"\u201Ca\u201D \u2018b\u2019 \u02BC \u2039c\u203A", u8"\"a\" 'b' ' \u2039c\u203A"},
      {u8"a\x1B[1;31mred\x1B[0m\x1B[x \x1B[31", u8"ared [31"},
      {u8"a\x01\x08\x0E\x1F\x7F\u206A\uFEFF\uFFF9\uFFFC"
       u8"b",
       u8"ab"},
      {u8"\u0085\u0093x\u0094\u0081", u8"\u2026\"x\"\u0081"},
      {u8"e\u0301 \u1112\u1161\u11AB \u212B", u8"\u00E9 \uD55C \u00C5"},
      {u8"\u2168 \u00B2", u8"\u2168 \u00B2"},  // compatibility characters stay
  };
  for (const auto& [text, cleaned] : cases) EXPECT_EQ(clean_prompt(utf8(text)), utf8(cleaned)) << utf8(text);
}

TEST(CleanPrompt, RefusesWhatIsNotUtf8) {
  const std::pair<std::string, const char*> cases[] = {
      {"caf\xE9", "byte 0xe9 at offset 3"},            // Latin-1
      {"\xC0\xAF", "byte 0xc0 at offset 0"},           // overlong
      {"ab\xED\xA0\x80", "byte 0xed at offset 2"},     // surrogate
      {"a\xF4\x90\x80\x80", "byte 0xf4 at offset 1"},  // beyond U+10FFFF
      {"a\xE2\x82", "byte 0xe2 at offset 1"},          // cut short
      {"\x80", "byte 0x80 at offset 0"},
      {std::string("\xFF\xFE\0a", 4), "byte 0xff at offset 0"},
  };
  for (const auto& [text, message] : cases) {
    const Error error = test::error_of([&bytes = text] { clean_prompt(bytes); });
    EXPECT_EQ(error.exit(), Exit::usage);
    EXPECT_EQ(error.where(), "prompt");
    test::expect_contains(error.what(), message);
  }
}

}  // namespace
}  // namespace reel::model
