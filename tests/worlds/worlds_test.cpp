// What holds for every scene: determinism, bad input, captions, truth that agrees with the pixels.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <string>
#include <tuple>

#include "core/error.hpp"
#include "worlds/world.hpp"

namespace reel::worlds {
namespace {

template <class Bytes>
std::uint64_t digest(const Bytes& bytes) {  // FNV-1a
  std::uint64_t h = 14695981039346656037ull;
  for (auto b : bytes) h = (h ^ static_cast<std::uint8_t>(b)) * 1099511628211ull;
  return h;
}

TEST(Worlds, SameArgumentsSameBytes) {
  for (const auto& name : names()) {
    const Clip a = make(name, 5), b = make(name, 5), c = make(name, 6);
    EXPECT_EQ(a.film.rgb, b.film.rgb) << name;
    EXPECT_EQ(truth_json(a), truth_json(b)) << name;
    EXPECT_NE(a.film.rgb, c.film.rgb) << name;
    EXPECT_EQ(a.film.rgb.size(), 33u * 64 * 64 * 3);
  }
}

TEST(Worlds, ALongerClipContinuesAShorterOne) {
  Spec longer;
  longer.num_frames = 65;
  for (const auto& name : names())
    for (std::uint64_t seed = 0; seed < 4; ++seed) {
      const Clip a = make(name, seed), b = make(name, seed, longer);
      EXPECT_TRUE(std::equal(a.film.rgb.begin(), a.film.rgb.end(), b.film.rgb.begin())) << name;
      EXPECT_EQ(a.caption, b.caption);
    }
}

TEST(Worlds, PicturesAndCaptionsStayWhatModelsWereTrainedOn) {
  // Models were trained on exactly these pictures and words: a change here makes their weights worthless.
  // Collision also pins Box2D 2.4.1.
  const std::pair<const char*, std::uint64_t> pictures[] = {{"collision", 16151481202998680372u},
                                                            {"fall", 11480163261681990137u},
                                                            {"house", 5965359620896229474u},
                                                            {"parabola", 7665629214119606634u},
                                                            {"uniform", 14153648673487207565u}};
  for (const auto& [name, expected] : pictures) EXPECT_EQ(digest(make(name, 1).film.rgb), expected) << name;
  std::string text;
  for (const auto& line : captions("mix")) text += line + "\n";
  EXPECT_EQ(digest(text), 639485526576307917u);
}

TEST(Worlds, MixIsTheSceneItNames) {
  std::map<std::string, int> count;
  for (std::uint64_t seed = 0; seed < 2000; ++seed) ++count[mix_world(seed)];
  const std::map<std::string, int> share = {
      {"house", 30}, {"fall", 30}, {"parabola", 15}, {"collision", 15}, {"uniform", 10}};
  for (const auto& [name, percent] : share) EXPECT_NEAR(count[name], 20 * percent, 100) << name;
  const Clip mix = make("mix", 17);
  EXPECT_EQ(mix.world, mix_world(17));
  EXPECT_EQ(mix.film.rgb, make(mix.world, 17).film.rgb);
}

TEST(Worlds, CaptionsComeFromASmallGrammar) {
  const auto all = captions("mix");
  const std::set<std::string> known(all.begin(), all.end());
  EXPECT_EQ(known.size(), all.size());
  std::set<std::string> words;
  for (const auto& text : all) {
    std::istringstream in(text);
    for (std::string word; in >> word;) words.insert(word.substr(0, word.find_last_not_of(",:") + 1));
    EXPECT_TRUE(std::all_of(text.begin(), text.end(), [](char c) {
      return (c >= 'a' && c <= 'z') || c == ' ' || c == ',' || c == ':';
    })) << text;
    EXPECT_EQ((" " + text).find(" a orange"), std::string::npos) << text;
  }
  EXPECT_LT(words.size(), 150u);
  std::set<std::string> seen;
  Spec tiny;
  tiny.num_frames = 1, tiny.width_px = tiny.height_px = 8;
  for (std::uint64_t seed = 0; seed < 500; ++seed) {
    const Clip clip = make("mix", seed, tiny);
    EXPECT_TRUE(known.contains(clip.caption)) << clip.caption;
    seen.insert(clip.caption);
  }
  EXPECT_GT(seen.size(), 200u);
}

TEST(Worlds, CaptionsSayWhatWasSet) {
  Spec spec;
  spec.num_frames = 1;
  spec.set = {{"wall", "white"}, {"roof", "red"}, {"time", "at dusk"}, {"camera", "slow pan to the right"}};
  std::set<std::string> said;
  for (std::uint64_t seed = 0; seed < 40; ++seed) said.insert(make("house", seed, spec).caption);
  EXPECT_TRUE(said.contains("a white house with a red roof on a green meadow at dusk, slow pan to the right"));
  EXPECT_EQ(said.size(), 4u);  // one per template
}

TEST(Worlds, TruthJsonHoldsEveryFrame) {
  for (const auto& name : names()) {
    const Clip clip = make(name, 3);
    const auto truth = nlohmann::json::parse(truth_json(clip));
    EXPECT_EQ(truth["world"], name);
    EXPECT_EQ(truth["caption"], clip.caption);
    EXPECT_EQ(truth["camera"]["zoom"].size(), 33u);
    ASSERT_EQ(truth["objects"].size(), clip.objects.size());
    for (const auto& object : truth["objects"])
      for (const char* key : {"x_m", "y_m", "vx_m_per_s", "vy_m_per_s", "x_px", "y_px", "visible"})
        EXPECT_EQ(object[key].size(), 33u) << key;
  }
}

void expect_refused(const std::string& world, const Spec& spec, const std::string& says) {
  try {
    make(world, 0, spec);
    ADD_FAILURE() << world << " was accepted; expected: " << says;
  } catch (const Error& e) {
    EXPECT_EQ(e.exit(), Exit::usage);
    EXPECT_NE((e.what() + (" " + e.where()) + " " + e.hint()).find(says), std::string::npos)
        << e.what() << " " << e.hint();
  }
}

TEST(Worlds, TruthComesBackAsItWasWritten) {
  for (const auto& name : names()) {
    Clip clip = make(name, 11);
    clip.film.rgb.clear();
    EXPECT_EQ(truth_json(read_truth(truth_json(clip), "a")), truth_json(clip)) << name;
  }
  const std::string text = truth_json(make("fall", 1));
  for (std::size_t n = 0; n < text.size(); n += 97) {
    try {
      read_truth(text.substr(0, n), "cut.json");
      ADD_FAILURE() << n << " bytes";
    } catch (const Error& error) {
      EXPECT_EQ(error.exit(), Exit::input);
      EXPECT_EQ(error.where(), "cut.json");
    }
  }
  std::string other = text;
  other.replace(other.find("\"frames\": 33"), 12, "\"frames\": 34");
  EXPECT_THROW(read_truth(other, "a"), Error);
}

TEST(Worlds, BadInputIsRefusedWithHelp) {
  expect_refused("hause", {}, "did you mean 'house'?");
  expect_refused("ocean", {}, "collision, fall, house, parabola, uniform, mix");
  expect_refused("", {}, "unknown world ''");
  EXPECT_THROW(captions("hause"), Error);
  Spec spec;
  spec.num_frames = 0;
  expect_refused("fall", spec, "0 frames");
  spec.num_frames = -3;
  expect_refused("fall", spec, "-3 frames");
  spec = {};
  spec.width_px = 1 << 20;
  expect_refused("house", spec, "8 to 4096");
  spec.width_px = 0;
  expect_refused("house", spec, "8 to 4096");
  spec = {};
  spec.width_px = spec.height_px = 4096, spec.num_frames = 1000;
  expect_refused("house", spec, "4 GiB");
  spec = {};
  spec.fps = std::nan("");
  expect_refused("uniform", spec, "frames per second");
  spec.fps = 0;
  expect_refused("uniform", spec, "frames per second");
  for (const auto& name : names()) {
    spec = {};
    spec.set["colour of the moon"] = "green";
    expect_refused(name, spec, "has no setting 'colour of the moon'");
  }
  const std::tuple<const char*, const char*, const char*, const char*> bad[] = {
      {"uniform", "speed", "quick", "not a number"}, {"uniform", "speed", "-1", "not a number from 0"},
      {"uniform", "speed", "nan", "not a number"},   {"uniform", "speed", "2x", "not a number"},
      {"uniform", "speed", "", "not a number"},      {"fall", "storeys", "forty", "three, four, five, six"},
      {"house", "roof", "pink", "red, brown"},       {"collision", "band", "out", "in, ood"}};
  for (const auto& [world, key, value, says] : bad) {
    spec = {};
    spec.set[key] = value;
    expect_refused(world, spec, says);
  }
}

TEST(Worlds, OtherSizesAndRatesShowTheSameScene) {
  for (const auto& name : names()) {
    Spec wide, quick;
    wide.width_px = 96, wide.height_px = 40, wide.num_frames = 9;
    const Clip a = make(name, 2, wide);
    EXPECT_EQ(a.film.rgb.size(), 9u * 96 * 40 * 3);
    EXPECT_EQ(a.caption, make(name, 2).caption);
    quick.fps = 32;
    const Clip b = make(name, 2, quick), c = make(name, 2);
    for (std::size_t f = 0; f < 16; ++f) {  // collision steps in f32, the others are exact
      EXPECT_NEAR(b.objects[0].x_m[2 * f], c.objects[0].x_m[f], name == "collision" ? 1e-4 : 1e-12) << name;
      EXPECT_NEAR(b.objects[0].y_px[2 * f], c.objects[0].y_px[f], name == "collision" ? 1e-3 : 1e-10) << name;
    }
  }
}

}  // namespace
}  // namespace reel::worlds
