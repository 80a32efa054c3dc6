#pragma once
// Character references of HTML ("&eacute;", "&#233;", "&#xE9;") in a prompt.
// Known names: those of HTML 4, and of HTML 5 the ones for ASCII, Latin Extended-A and fractions. Others stay.
#include <string>
#include <string_view>

namespace reel::model::html {

/// html.unescape of Python: with and without semicolons, the longest known name first. Numbers 128-159 mean
/// Windows-1252, numbers of no character U+FFFD, numbers of controls and noncharacters nothing.
std::u32string unescape(std::u32string_view text);

/// unescape_html of ftfy: only whole references closed by a semicolon, also with the name in capitals ("&EACUTE;").
std::u32string unescape_closed(std::u32string_view text);

/// U+0080-009F as Windows-1252 reads these bytes; the five it leaves open, and all other characters, stay.
char32_t windows_1252(char32_t c);

}  // namespace reel::model::html
