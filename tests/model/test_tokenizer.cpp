#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "model/tokenizer.hpp"
#include "tests/io/temp_dir.hpp"

namespace reel::model {
namespace {

using Ids = std::vector<std::int64_t>;
using nlohmann::json;

const std::string fixtures = REEL_SOURCE_DIR "/tests/oracle/fixtures/";
const std::filesystem::path tiny = fixtures + "pipeline_tiny/tokenizer";

struct TokenizerTest : test::TempDir {
  std::string model = get(tiny / "spiece.model");

  /// Replaces `from`, which must be there, by `to` in the model file.
  std::string model_with(const std::string& from, const std::string& to) const {
    std::string out = model;
    const std::size_t at = out.find(from);
    EXPECT_NE(at, std::string::npos);
    return out.replace(at, from.size(), to);
  }
  /// Expects that `file` is refused, by name and with `part` in the message.
  void expect_refused(const std::string& file, const std::string& part) const {
    const Error error = test::error_of([&] { Tokenizer::open(dir); });
    EXPECT_EQ(error.exit(), Exit::input);
    EXPECT_EQ(error.where(), (dir / file).string());
    EXPECT_FALSE(error.hint().empty());
    test::expect_contains(error.what(), part);
  }
};

TEST_F(TokenizerTest, AgreesWithTransformers) {
  const json oracle = json::parse(get(fixtures + "tokenizer.json"));
  const auto max_length = oracle.at("max_length").get<std::int64_t>();
  const Tokenizer tokenizer = Tokenizer::open(tiny);
  for (const auto& prompt : oracle.at("cases")) {
    const std::string name = prompt.at("name"), cleaned = prompt.at("cleaned"), raw = prompt.at("text");
    EXPECT_EQ(tokenizer.encode(cleaned, max_length), prompt.at("ids").get<Ids>()) << name;
    if (name == "combining_stack") continue;  // raw only: SentencePiece maps characters, transformers whole clusters
    EXPECT_EQ(tokenizer.encode(raw, max_length), prompt.at("raw_ids").get<Ids>()) << name;
  }
  EXPECT_EQ(tokenizer.vocab_size(), 296);
}

TEST_F(TokenizerTest, Lengths) {
  const Tokenizer tokenizer = Tokenizer::open(tiny);
  EXPECT_EQ(tokenizer.encode(""), Ids{1});
  EXPECT_EQ(tokenizer.encode("ball", 1), Ids{1});
  EXPECT_EQ(tokenizer.encode("ball rolls", 2), (Ids{46, 1}));
  std::string text;
  for (int i = 0; i < 600; ++i) text += "ball ";
  const Ids ids = tokenizer.encode(text);
  EXPECT_EQ(ids.size(), 512u);
  EXPECT_EQ(ids[510], 46);
  EXPECT_EQ(ids[511], 1);
  EXPECT_EQ(test::error_of([&] { tokenizer.encode("ball", 0); }).exit(), Exit::bug);
}

TEST_F(TokenizerTest, AddedTokens) {
  put("spiece.model", model);
  const std::string text = "ball<extra_id_0></s>";
  EXPECT_EQ(Tokenizer::open(tiny).encode(text), (Ids{46, 295, 1, 1}));

  const Ids plain = Tokenizer::open(dir).encode(text);  // no JSON file: only the special pieces
  EXPECT_EQ(plain.size() > 4, true);
  EXPECT_EQ(plain[plain.size() - 2], 1);
  EXPECT_EQ(Tokenizer::open(dir).vocab_size(), 288);

  put("tokenizer_config.json", get(tiny / "tokenizer_config.json"));
  EXPECT_EQ(Tokenizer::open(dir).encode(text), (Ids{46, 295, 1, 1}));

  put("tokenizer.json", R"({"model": {"vocab": [["a", -1]]}, "added_tokens": [{"id": 300, "content": "<x>"},
                           {"id": 301, "content": "<x>>"}, {"id": 302, "content": "x>>"}]})");
  EXPECT_EQ(Tokenizer::open(dir).encode("<x>>>"), (Ids{301, 4, 3, 1}));  // leftmost, longest
  EXPECT_EQ(Tokenizer::open(dir).vocab_size(), 303);
}

TEST_F(TokenizerTest, RefusesBadAddedTokens) {
  put("spiece.model", model);
  for (const char* token : {R"({"id": -1, "content": "<x>"})", R"({"id": 3e9, "content": "<x>"})",
                            R"({"id": 9999999999, "content": "<x>"})", R"({"id": 5})", R"({"id": 5, "content": ""})",
                            R"({"content": "<x>"})", R"({"id": 5, "content": 7})", "5", "null",
                            R"({"id": 5, "content": "<x>", "single_word": true})"}) {
    put("tokenizer.json", fmt::format(R"({{"added_tokens": [{}]}})", token));
    expect_refused("tokenizer.json", "an added token");
  }
  for (const char* text : {"", "{", "[]", R"({"added_tokens": 5})"}) {
    put("tokenizer.json", text);
    expect_refused("tokenizer.json", "");
  }
}

TEST_F(TokenizerTest, RefusesBadModels) {
  expect_refused("spiece.model", "cannot read");
  for (const std::string& bytes : {std::string(), std::string("hello"), std::string(1000, '\0'), model.substr(5)}) {
    put("spiece.model", bytes);
    expect_refused("spiece.model", "SentencePiece model");
  }
  put("spiece.model", model_with("<pad>", "<pid>"));
  expect_refused("spiece.model", "pad -1, eos 1, bos 2, unk 3; umT5 has pad 0");
  std::filesystem::remove(dir / "spiece.model");
  std::filesystem::create_directory(dir / "spiece.model");
  expect_refused("spiece.model", "");
}

/// No cut and no changed byte may crash, hang, or print; a model that still opens must still encode.
TEST_F(TokenizerTest, SurvivesDamage) {
  const auto load = [&](const std::string& bytes) {
    put("spiece.model", bytes);
    try {
      const Tokenizer tokenizer = Tokenizer::open(dir);
      const Ids ids = tokenizer.encode("A \xEF\xAC\x81rst ball \xE2\x98\x83 \xE3\x80\x80 caf\xC3\xA9 e\xCC\x81.", 20);
      EXPECT_LE(ids.size(), 20u);
      for (const std::int64_t id : ids) EXPECT_TRUE(id >= 0 && id < tokenizer.vocab_size()) << id;
      return true;
    } catch (const Error& error) {
      EXPECT_EQ(error.exit(), Exit::input);
      return false;
    }
  };
  testing::internal::CaptureStderr();
  testing::internal::CaptureStdout();
  EXPECT_TRUE(load(model));
  std::size_t cuts = 0;
  for (std::size_t n = 0; n < model.size(); n += 61) cuts += load(model.substr(0, n));
  EXPECT_EQ(cuts, 0u);
  for (std::size_t i = 0; i < model.size(); i += 31)
    for (const unsigned flip : {0x01u, 0x80u, 0xFFu}) {
      std::string damaged = model;
      damaged[i] = static_cast<char>(static_cast<unsigned char>(damaged[i]) ^ flip);
      load(damaged);
    }
  EXPECT_EQ(testing::internal::GetCapturedStdout(), "");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

}  // namespace
}  // namespace reel::model
