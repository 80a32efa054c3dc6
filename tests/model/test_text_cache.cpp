// Text features from files: the bits of the text encoder, or they are computed anew.
#include "model/text_cache.hpp"

#include <cmath>
#include <cstring>
#include <set>

#include "../io/temp_dir.hpp"
#include "core/digest.hpp"
#include "golden.hpp"
#include "model/generate.hpp"

namespace reel::model {
namespace {

namespace fs = std::filesystem;
using std::int64_t;
using test::expect_contains;

bool same(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && std::memcmp(a.data(), b.data(), static_cast<std::size_t>(a.size()) * sizeof(float)) == 0;
}

class TextFeatures : public test::TempDir {
 protected:
  void SetUp() override {
    TempDir::SetUp();
    folder = dir / "text_features";
  }
  TextCache cache() {
    return TextCache(folder, [this](const std::string& line) { told.push_back(line); });
  }
  std::vector<Tensor> encode(const Pipeline& pipeline, const std::vector<std::string>& prompts, TextCache* cache = nullptr) {
    Observer silent;
    return encode_prompts(pipeline, Team{}, prompts, silent, cache);
  }
  std::vector<fs::path> files() const {
    std::vector<fs::path> found;
    for (const auto& entry : fs::directory_iterator(folder)) found.push_back(entry.path());
    std::sort(found.begin(), found.end());
    return found;
  }
  static Pipeline tiny(Numerics numerics = Numerics::f32) { return Pipeline::open(golden::fixtures + "pipeline_tiny", numerics); }

  fs::path folder;
  std::vector<std::string> told;
};

TEST_F(TextFeatures, AreTheSameBitsReadOrComputed) {
  const std::vector<std::string> prompts{"a ball falls", "blurry", ""};
  std::size_t num_files = 0;
  for (const Numerics numerics : {Numerics::f32, Numerics::bf16, Numerics::bf16_amx}) {
    const Pipeline pipeline = tiny(numerics);
    const std::vector<Tensor> without = encode(pipeline, prompts);
    TextCache one = cache(), all = cache();
    encode(pipeline, {prompts[1]}, &one);
    EXPECT_EQ(files().size(), num_files + 1);
    const std::vector<Tensor> mixed = encode(pipeline, prompts, &one), read = encode(pipeline, prompts, &all);
    EXPECT_EQ(one.num_read(), 1);
    EXPECT_EQ(all.num_read(), 3);
    EXPECT_EQ(files().size(), num_files += 3) << profile_name(numerics) << ": features of another profile were taken";
    for (std::size_t i = 0; i < prompts.size(); ++i) {
      EXPECT_TRUE(same(without[i], mixed[i])) << prompts[i];
      EXPECT_TRUE(same(without[i], read[i])) << prompts[i];
    }
  }
  EXPECT_EQ(told, std::vector<std::string>{});
}

TEST_F(TextFeatures, KeysTellAllThatDeterminesThem) {
  const TextEncoderConfig config;
  const std::string weights(64, 'a');
  const std::vector<int64_t> ids{5, 17, 1};
  std::set<std::string> keys{text_key(config, weights, Numerics::f32, ids)};
  std::size_t num = 1;
  const auto add = [&](const std::string& key, const char* what) {
    EXPECT_TRUE(keys.insert(key).second) << what;
    EXPECT_EQ(keys.size(), ++num);
  };
  add(text_key(config, std::string(64, 'b'), Numerics::f32, ids), "weights");
  add(text_key(config, weights, Numerics::bf16, ids), "bf16");
  add(text_key(config, weights, Numerics::bf16_amx, ids), "bf16-amx");
  for (const std::vector<int64_t>& other : {std::vector<int64_t>{5, 17}, {17, 5, 1}, {5, 1, 7, 1}, {51, 7, 1}, {}}) add(text_key(config, weights, Numerics::f32, other), "ids");
  for (int64_t TextEncoderConfig::*field :
       {&TextEncoderConfig::vocab_size, &TextEncoderConfig::d_model, &TextEncoderConfig::d_kv, &TextEncoderConfig::d_ff, &TextEncoderConfig::num_layers,
        &TextEncoderConfig::num_heads, &TextEncoderConfig::num_buckets, &TextEncoderConfig::max_distance}) {
    TextEncoderConfig other;
    ++(other.*field);
    add(text_key(other, weights, Numerics::f32, ids), "config");
  }
  TextEncoderConfig other;
  other.eps = std::nextafter(other.eps, 1.0);
  add(text_key(other, weights, Numerics::f32, ids), "eps");
  EXPECT_EQ(text_key(config, weights, Numerics::f32, ids), text_key(config, weights, Numerics::f32, ids));
  // The model of another seed, and the weights of a folder.
  const auto weights_of = [](const Pipeline& p) { return p.digest(Pipeline::Part::text_encoder, Comm::solo()); };
  EXPECT_NE(weights_of(Pipeline::synthetic("wan2.1-t2v-1.3b", 1)), weights_of(Pipeline::synthetic("wan2.1-t2v-1.3b", 2)));
  EXPECT_EQ(weights_of(tiny()), io::weights_digest(io::Safetensors::open(golden::fixtures + "pipeline_tiny/text_encoder", "model")));
}

// Where this fails on purpose, raise the number in `format` (text_cache.cpp): features that were kept before are others.
TEST_F(TextFeatures, OldFilesStayValidOrTheFormatIsRaised) {
  for (const auto& [numerics, key, digest] : {std::tuple{Numerics::f32, "aa2982569ad29ac1", "c343d74f72dea222"}, {Numerics::bf16, "6d12ac3427423f39", "9238bf069f164412"}}) {
    const Pipeline pipeline = tiny(numerics);
    const Tensor features = encode(pipeline, {"a ball falls"})[0];
    EXPECT_EQ(text_key(pipeline.text_encoder(), pipeline.digest(Pipeline::Part::text_encoder, Comm::solo()), numerics, pipeline.tokenize("a ball falls")).substr(0, 16), key);
    EXPECT_EQ(sha256_hex(features.data(), static_cast<std::size_t>(features.size()) * sizeof(float)).substr(0, 16), digest);
  }
}

TEST_F(TextFeatures, DamagedFilesAreToldAndReplaced) {
  const Pipeline pipeline = tiny();
  TextCache first = cache();
  const Tensor features = encode(pipeline, {"a ball falls"}, &first)[0];
  const fs::path file = files().at(0);
  const std::string good = get(file);
  const auto expect_anew = [&](const std::string& why) {
    told.clear();
    TextCache again = cache();
    EXPECT_TRUE(same(encode(pipeline, {"a ball falls"}, &again)[0], features)) << why;
    EXPECT_EQ(again.num_read(), 0) << why;
    ASSERT_EQ(told.size(), 1u) << why;
    expect_contains(told[0], "left out: " + file.string() + ": ");
    expect_contains(told[0], "; the features are computed anew");
    EXPECT_EQ(get(file), good) << why;
  };
  for (std::size_t length = 0; length < good.size(); length += length < 16 ? 1 : 97) {
    put("text_features/" + file.filename().string(), good.substr(0, length));
    expect_anew(fmt::format("cut to {} bytes", length));
  }
  put("text_features/" + file.filename().string(), good + "x");
  expect_anew("a byte more");
  put("text_features/" + file.filename().string(), "this is no file of ours");
  expect_anew("text");
  encode(pipeline, {"blurry"}, &first);
  for (const fs::path& other : files())
    if (other != file) fs::copy_file(other, file, fs::copy_options::overwrite_existing);
  expect_anew("another prompt");
  expect_contains(told[0], "holds the text features of another prompt or encoder");

  // Each byte in turn: only the cache is asked, which is faster.
  const std::string key = file.stem().string();
  const Shape shape{static_cast<int64_t>(pipeline.tokenize("a ball falls").size()), pipeline.text_encoder().d_model};
  for (std::size_t i = 0; i < good.size(); ++i) {
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ (1 << i % 8));
    put("text_features/" + file.filename().string(), bad);
    told.clear();
    TextCache again = cache();
    EXPECT_TRUE(again.load(Comm::solo(), {key}, {shape})[0].empty()) << "byte " << i;
    EXPECT_EQ(told.size(), 1u) << "byte " << i;
  }
  put("text_features/" + file.filename().string(), good);
  told.clear();
  TextCache last = cache();
  EXPECT_FALSE(last.load(Comm::solo(), {key}, {shape})[0].empty());
  EXPECT_EQ(told.size(), 0u);
}

TEST_F(TextFeatures, AFolderThatCannotBeWrittenIsToldOnce) {
  const Pipeline pipeline = tiny();
  const std::vector<Tensor> without = encode(pipeline, {"a ball falls", "blurry"});
  put("file", "");
  folder = dir / "file" / "text_features";
  TextCache in_file = cache();
  const std::vector<Tensor> features = encode(pipeline, {"a ball falls", "blurry"}, &in_file);
  EXPECT_TRUE(same(features[0], without[0]) && same(features[1], without[1]));
  ASSERT_EQ(told.size(), 1u);
  expect_contains(told[0], "text features are not kept in " + folder.string() + ": the folder cannot be made");

  // A folder where the file should be: told when it is read and when it is written.
  told.clear();
  folder = dir / "text_features";
  TextCache good = cache();
  encode(pipeline, {"a ball falls"}, &good);
  const fs::path file = files().at(0);
  fs::remove(file);
  fs::create_directory(file);
  TextCache blocked = cache();
  EXPECT_TRUE(same(encode(pipeline, {"a ball falls"}, &blocked)[0], without[0]));
  ASSERT_EQ(told.size(), 2u);
  expect_contains(told[0], "left out: " + file.string());
  expect_contains(told[1], "text features are not kept in " + folder.string());
}

TEST_F(TextFeatures, NeedNoWeightsWhenTheyAreThere) {
  fs::copy(golden::fixtures + "pipeline_tiny", dir / "model", fs::copy_options::recursive);
  const Pipeline pipeline = Pipeline::open(dir / "model");
  TextCache first = cache(), second = cache();
  const std::vector<Tensor> features = encode(pipeline, {"a ball falls", "blurry"}, &first);
  for (const auto& entry : fs::directory_iterator(dir / "model/text_encoder"))
    if (entry.path().extension() == ".safetensors") fs::remove(entry.path());
  const std::vector<Tensor> read = encode(pipeline, {"a ball falls", "blurry"}, &second);
  EXPECT_TRUE(same(features[0], read[0]) && same(features[1], read[1]));
  EXPECT_EQ(second.num_read(), 2);
  EXPECT_EQ(test::error_of([&] { encode(pipeline, {"a ball falls", "another"}, &second); }).exit(), Exit::input) << "control";
}

}  // namespace
}  // namespace reel::model
