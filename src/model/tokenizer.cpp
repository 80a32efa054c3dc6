#include "model/tokenizer.hpp"

#include <sentencepiece_processor.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/error.hpp"

namespace reel::model {
namespace {

using nlohmann::json;
using Path = std::filesystem::path;

constexpr std::uintmax_t max_file_bytes = std::uintmax_t{256} << 20;  // umT5's tokenizer.json has 17 MB
constexpr std::string_view metaspace = "\u2581";                      // how SentencePiece writes a space

[[noreturn]] void refuse(const Path& file, const std::string& what) {
  throw Error(Exit::input, what, file.string(), "fetch the tokenizer folder of the model again");
}

std::string read(const Path& file) {
  std::error_code error;
  const std::uintmax_t size = std::filesystem::file_size(file, error);
  if (error) refuse(file, "cannot read the file: " + error.message());
  if (size > max_file_bytes) refuse(file, fmt::format("{} bytes: too large for a tokenizer", size));
  std::string bytes(static_cast<std::size_t>(size), '\0');
  std::ifstream stream(file, std::ios::binary);
  if (!stream.read(bytes.data(), static_cast<std::streamsize>(size))) refuse(file, "cannot read the file");
  return bytes;
}

// ---- what SentencePiece does not check in its model (protobuf wire format)

/// One field of a message: a number, or bytes.
struct Field {
  std::uint64_t number = 0, value = 0;
  std::string_view bytes;
};

/// Base-128 varint at the front of `message`, which is shortened by it.
std::optional<std::uint64_t> take_varint(std::string_view& message) {
  std::uint64_t value = 0;
  for (int shift = 0; shift < 64 && !message.empty(); shift += 7) {
    const auto byte = static_cast<std::uint8_t>(message.front());
    message.remove_prefix(1);
    value |= std::uint64_t{byte & 0x7Fu} << shift;
    if (byte < 0x80) return value;
  }
  return std::nullopt;
}

/// The next field of `message`, which is shortened by it; nothing when it is damaged.
std::optional<Field> take_field(std::string_view& message) {
  const auto tag = take_varint(message);
  if (!tag) return std::nullopt;
  Field field;
  field.number = *tag >> 3;
  std::uint64_t size = 0;
  switch (*tag & 7) {
    case 0:
    case 2: {
      const auto value = take_varint(message);
      if (!value) return std::nullopt;
      field.value = *value;
      if ((*tag & 7) == 2) size = *value;
      break;
    }
    case 1:
      size = 8;
      break;
    case 5:
      size = 4;
      break;
    default:
      return std::nullopt;
  }
  if (size > message.size()) return std::nullopt;
  field.bytes = message.substr(0, static_cast<std::size_t>(size));
  message.remove_prefix(static_cast<std::size_t>(size));
  return field;
}

/// Whether every walk through the character map stays inside it: u32 size of the trie, trie (double array of u32 units:
/// label and leaf bits, jump), replacements that end with NUL. Source: darts-clone.
bool is_safe_charsmap(std::string_view blob) {
  const auto u32 = [&](std::size_t at) {
    std::uint32_t value = 0;
    std::memcpy(&value, blob.data() + at, 4);
    return value;
  };
  if (blob.empty()) return true;
  if (blob.size() < 9 || blob.back() != '\0') return false;
  const std::size_t trie_bytes = u32(0), num_units = trie_bytes / 4;
  if (trie_bytes % 4 != 0 || num_units == 0 || trie_bytes > blob.size() - 5) return false;
  const std::size_t text_bytes = blob.size() - 4 - trie_bytes;
  for (std::size_t i = 0; i < num_units; ++i) {
    const std::uint32_t unit = u32(4 + 4 * i);
    if (unit >> 31) continue;  // a value; no walk passes through it
    const std::size_t to = i ^ ((unit >> 10) << ((unit & 512) >> 6));
    if ((to | 0xFF) >= num_units) return false;
    if ((unit & 256) && (u32(4 + 4 * to) & 0x7FFFFFFF) >= text_bytes) return false;
  }
  return true;
}

/// Throws unless `bytes` is a Unigram ModelProto with trainer and normaliser settings and a safe character map.
/// A file cut between two pieces is still good protobuf, so the settings, which follow the pieces, must be there.
void check_model(std::string_view bytes, const Path& file) {
  bool has_trainer = false, has_normaliser = false;
  while (!bytes.empty()) {
    const auto field = take_field(bytes);
    if (!field) refuse(file, "not a SentencePiece model: the file is damaged or cut short");
    std::string_view inner = field->bytes;
    has_trainer |= field->number == 2;
    has_normaliser |= field->number == 3;
    while (!inner.empty() && (field->number == 2 || field->number == 3)) {
      const auto setting = take_field(inner);
      if (!setting) refuse(file, "not a SentencePiece model: damaged settings");
      if (field->number == 2 && setting->number == 3 && setting->value != 1)
        refuse(file, fmt::format("a SentencePiece model of type {}, not 1 (Unigram)", setting->value));
      if (field->number == 3 && setting->number == 2 && !is_safe_charsmap(setting->bytes))
        refuse(file, "the character map of the SentencePiece model is damaged");
    }
  }
  if (!has_trainer || !has_normaliser) refuse(file, "not a whole SentencePiece model: the file is cut short");
}

// ---- added tokens

struct AddedToken {
  std::string text;
  std::int64_t id = 0;
};

/// {"content": "<extra_id_0>", "id": 256299, "single_word": false, ...}; `id` given apart in tokenizer_config.json.
AddedToken added_token(const json& token, const json& id, const Path& file) {
  const bool good = token.is_object() && token.value("content", json()).is_string() && id.is_number_integer();
  if (!good || token["content"] == "" || id < 0 || id > std::numeric_limits<std::int32_t>::max())
    refuse(file, "an added token without text or id: " + token.dump());
  if (token.value("single_word", json(false)) != false)
    refuse(file, "an added token with single_word, which Reel does not read: " + token.dump());
  return {token["content"].get<std::string>(), id.get<std::int64_t>()};
}

/// From tokenizer.json, else from tokenizer_config.json, else none.
std::vector<AddedToken> added_tokens(const Path& folder) {
  std::vector<AddedToken> out;
  for (const char* name : {"tokenizer.json", "tokenizer_config.json"}) {
    const Path file = folder / name;
    if (!std::filesystem::exists(file)) continue;
    const auto keep = [](int depth, json::parse_event_t event, json& key) {  // without the vocabulary
      return !(depth == 1 && event == json::parse_event_t::key && key == "model");
    };
    const json tokenizer = json::parse(read(file), keep, false);
    if (!tokenizer.is_object()) refuse(file, "not a JSON object");
    const json list = tokenizer.value("added_tokens", json::array());
    const json map = tokenizer.value("added_tokens_decoder", json::object());
    if (!list.is_array() || !map.is_object()) refuse(file, "added_tokens have another form than transformers writes");
    for (const json& token : list)
      out.push_back(added_token(token, token.is_object() ? token.value("id", json()) : json(), file));
    for (const auto& [id, token] : map.items())
      out.push_back(added_token(token, json::parse(id, nullptr, false), file));
    break;
  }
  return out;
}

}  // namespace

struct Tokenizer::Model {
  sentencepiece::SentencePieceProcessor pieces;
  std::vector<AddedToken> added;  ///< longest first
  std::string first_bytes;        ///< of the added tokens
  std::int64_t vocab_size = 0;

  /// The added token that starts at the front of `text`, the longest one, or null.
  const AddedToken* added_at(std::string_view text) const {
    if (first_bytes.find(text.front()) == std::string::npos) return nullptr;
    const auto found =
        std::find_if(added.begin(), added.end(), [&](const AddedToken& t) { return text.starts_with(t.text); });
    return found == added.end() ? nullptr : &*found;
  }

  /// Appends the ids of a stretch without added tokens.
  void split(std::string_view text, std::vector<std::int64_t>& ids) const {
    // A word that brings its own leading metaspace gets no second one.
    if (text.starts_with(metaspace) && text.size() > metaspace.size() && text[metaspace.size()] != ' ')
      text.remove_prefix(metaspace.size());
    std::vector<int> raw;
    const auto status = pieces.Encode(text, &raw);
    if (!status.ok()) throw Error(Exit::input, "SentencePiece cannot split the prompt: " + status.ToString(), "prompt");
    bool after_unknown = false;
    for (const int id : raw) {
      const bool unknown = pieces.IsUnknown(id) || pieces.IsByte(id);
      if (!(unknown && after_unknown)) ids.push_back(unknown ? unk_id : id);
      after_unknown = unknown;
    }
  }
};

Tokenizer Tokenizer::open(const Path& folder) {
  const Path file = folder / "spiece.model";
  const std::string bytes = read(file);
  check_model(bytes, file);
  auto model = std::make_shared<Model>();
  try {
    const auto status = model->pieces.LoadFromSerializedProto(bytes);
    if (!status.ok()) refuse(file, "not a SentencePiece model: " + status.ToString());
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const Error&) {
    throw;
  } catch (const std::exception& e) {  // Darts throws when it cannot index the pieces
    refuse(file, std::string("not a SentencePiece model: ") + e.what());
  }
  const auto& pieces = model->pieces;
  if (pieces.pad_id() != pad_id || pieces.eos_id() != eos_id || pieces.bos_id() != bos_id || pieces.unk_id() != unk_id)
    throw Error(Exit::input,
                fmt::format("special ids are pad {}, eos {}, bos {}, unk {}; umT5 has pad 0, eos 1, bos 2, unk 3",
                            pieces.pad_id(), pieces.eos_id(), pieces.bos_id(), pieces.unk_id()),
                file.string(), "use the tokenizer folder of umT5 (T5 and mT5 have other ids)");

  model->added = added_tokens(folder);
  if (model->added.empty())
    for (const int id : {0, 1, 2, 3}) model->added.push_back({pieces.IdToPiece(id), id});
  std::stable_sort(model->added.begin(), model->added.end(),
                   [](const auto& a, const auto& b) { return a.text.size() > b.text.size(); });
  model->vocab_size = pieces.GetPieceSize();
  for (const AddedToken& token : model->added) {
    model->vocab_size = std::max(model->vocab_size, token.id + 1);
    if (model->first_bytes.find(token.text[0]) == std::string::npos) model->first_bytes += token.text[0];
  }
  Tokenizer out;
  out.model_ = std::move(model);
  return out;
}

std::vector<std::int64_t> Tokenizer::encode(std::string_view cleaned, std::int64_t max_length) const {
  REEL_CHECK(max_length >= 1, "max_length {}", max_length);
  std::vector<std::int64_t> ids;
  std::size_t begin = 0;
  for (std::size_t i = 0; i < cleaned.size();) {
    const AddedToken* token = model_->added_at(cleaned.substr(i));
    if (!token) {
      ++i;
      continue;
    }
    model_->split(cleaned.substr(begin, i - begin), ids);
    ids.push_back(token->id);
    begin = i += token->text.size();
  }
  model_->split(cleaned.substr(begin), ids);
  if (std::ssize(ids) > max_length - 1) ids.resize(static_cast<std::size_t>(max_length - 1));
  ids.push_back(eos_id);
  return ids;
}

std::int64_t Tokenizer::vocab_size() const noexcept { return model_->vocab_size; }

}  // namespace reel::model
