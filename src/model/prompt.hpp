#pragma once
// What happens to a prompt before it is cut into tokens.
#include <string>
#include <string_view>

namespace reel::model {

/// The prompt as the Wan pipelines of diffusers clean it: repair, HTML unescape twice, every run of Unicode whitespace
/// to one space, no whitespace at the ends. Plain ASCII without `&` changes in its whitespace only.
///
/// Repair is what ftfy 6.3 does to ordinary text, line by line until nothing changes:
///  - HTML references that end in `;`, also in capitals (`&EACUTE;`), unless this line or one before it has a `<`;
///  - C1 controls U+0080-009F to what Windows-1252 means by them;
///  - Latin ligatures and digraphs apart (U+FB01 to "fi", U+0132 to "IJ", ...);
///  - U+FF01-FFEF to their NFKC form, U+3000 to space;
///  - curly quotation marks to straight ones, line breaks (CR, CR LF, U+2028, U+2029) to LF;
///  - ANSI colour sequences, control characters, U+206A-206F, U+FEFF and U+FFF9-FFFC away; then NFC.
/// Left out of ftfy: the search for mojibake (text decoded with the wrong encoding stays as it is), and the
/// names of HTML 5 that model/html.hpp does not know.
///
/// Throws Error (usage) with the byte offset when `text` is not UTF-8. Source: diffusers pipeline_wan.py
/// (prompt_clean), ftfy fixes.py, html.unescape of Python.
std::string clean_prompt(std::string_view text);

}  // namespace reel::model
