#pragma once
// Cleaned prompt -> token ids of umT5.
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace reel::model {

/// The SentencePiece Unigram model `spiece.model` of a `tokenizer/` folder, used as T5TokenizerFast uses its
/// tokenizer.json: added tokens are cut out first (exact text, leftmost, longest), every stretch between them gets a
/// leading space and is split by Viterbi, each run of characters outside the vocabulary becomes one `unk`, never bytes.
/// Copies share the model; encoding is thread-safe. Source: transformers T5TokenizerFast, sentencepiece.
///
/// Differs from T5TokenizerFast only in corners: SentencePiece adds scores in f32 (a near tie may split elsewhere),
/// replaces the longest entry of its character map instead of the first that fits a grapheme cluster (stacked combining
/// marks), reads a first U+2581 that stands alone as a second one, and does not read "<0x41>" in a prompt as the byte
/// piece of that name.
class Tokenizer {
 public:
  static constexpr std::int64_t pad_id = 0, eos_id = 1, bos_id = 2, unk_id = 3;

  /// Reads spiece.model in `folder`, and the added tokens from tokenizer.json, or else from tokenizer_config.json;
  /// without both only <pad>, </s>, <s> and <unk> are cut out. Throws Error (input) naming the file when one is
  /// missing, damaged, not a Unigram model or has other special ids than the four above (umT5's). Prints nothing.
  static Tokenizer open(const std::filesystem::path& folder);

  /// Ids of `cleaned` (see clean_prompt), the first max_length - 1 of them, then eos_id. No padding. max_length >= 1.
  std::vector<std::int64_t> encode(std::string_view cleaned, std::int64_t max_length = 512) const;

  /// Every id is below this: the text encoder's vocabulary must be at least as large.
  std::int64_t vocab_size() const noexcept;

 private:
  struct Model;
  std::shared_ptr<const Model> model_;
};

}  // namespace reel::model
