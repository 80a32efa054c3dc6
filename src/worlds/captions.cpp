// The grammar: per world a few templates with {slots}, and the words of each slot. A slot that does not stand in a
// template is simply not said.
#include <algorithm>

#include "core/error.hpp"
#include "worlds/scene.hpp"

namespace reel::worlds {
namespace {

struct Grammar {
  Words templates;
  std::map<std::string, Words> slots;
};

const std::map<std::string, Grammar>& grammars() {
  static const Words sides = {"left", "right"};
  static const Words paces = {"slowly", "at medium speed", "fast"};
  static const Words sizes = {"small", "medium", "large"};
  static const Words colors = {"red", "green", "orange", "purple"};
  static const std::map<std::string, Grammar> all = {
      {"uniform",
       {{"a {size} {color} ball moves {pace} to the {direction} on a white ground",
         "a {color} ball moves {pace} to the {direction}", "a {color} ball moves to the {direction}",
         "on a white ground a {size} {color} ball rolls {pace} to the {direction}"},
        {{"size", sizes}, {"color", colors}, {"pace", paces}, {"direction", sides}}}},
      {"parabola",
       {{"a {size} {color} ball is thrown {pace} to the {direction} and falls in an arc",
         "a {color} ball is thrown to the {direction} and falls down",
         "a {color} ball is thrown {pace} to the {direction}",
         "a {color} ball flies {pace} to the {direction} and falls in an arc on a white ground"},
        {{"size", sizes}, {"color", colors}, {"pace", paces}, {"direction", sides}}}},
      {"collision",
       {{"a {color} ball moving {pace} hits a blue ball moving {other_pace}",
         "a {color} ball and a blue ball collide on a white ground", "a {color} ball hits a blue ball",
         "a {size} {color} ball and a {other_size} blue ball move towards each other and bounce off"},
        {{"size", sizes}, {"other_size", sizes}, {"color", colors}, {"pace", paces}, {"other_pace", paces}}}},
      {"fall",
       {{"a person in a {suit} suit jumps off the roof of a {storeys} storey building and falls onto an air cushion",
         "a stunt: a person in a {suit} suit jumps to the {direction} off a {storeys} storey {wall} building onto an "
         "air "
         "cushion",
         "a person in a {suit} suit jumps off a {wall} building with {storeys} storeys and lands on an air cushion",
         "a person in a {suit} suit jumps off a building"},
        {{"suit", {"red", "orange", "yellow", "green"}},
         {"storeys", {"three", "four", "five", "six"}},
         {"wall", {"grey", "brown", "white"}},
         {"direction", sides}}}},
      {"house",
       {{"a {wall} house with a {roof} roof on a green meadow {time}, {camera}",
         "an establishing shot of a {wall} house with a {roof} roof {time}, {camera}",
         "a house with {wall} walls and a {roof} roof stands on a meadow {time}, {camera}",
         "a {wall} house {time}, {camera}"},
        {{"wall", {"white", "yellow", "red", "blue", "grey"}},
         {"roof", {"red", "brown", "dark", "green"}},
         {"time", {"at dawn", "at noon", "at dusk", "at night"}},
         {"camera", {"static camera", "slow pan to the left", "slow pan to the right", "slow push in"}}}}}};
  return all;
}

const Grammar& grammar(const std::string& world) {
  const auto it = grammars().find(world);
  REEL_CHECK(it != grammars().end(), "no captions for '{}'", world);
  return it->second;
}

void replace_slot(std::string& text, const std::string& slot, const std::string& word) {
  const std::string mark = "{" + slot + "}";
  const auto at = text.find(mark);
  if (at == std::string::npos) return;
  text.replace(at, mark.size(), word);
  const bool vowel = word.find_first_of("aeiou") == 0, article = at >= 2 && text.compare(at - 2, 2, "a ") == 0;
  if (vowel && article && (at == 2 || text[at - 3] == ' ')) text.insert(at - 1, "n");
}

}  // namespace

const Words& slot_words(const std::string& world, const std::string& slot) { return grammar(world).slots.at(slot); }

std::string caption(const std::string& world, const Draws& draws,
                    const std::map<std::string, std::string>& attributes) {
  const Words& templates = grammar(world).templates;
  std::string text = templates[draws.pick(templates.size(), "caption")];
  for (const auto& [slot, word] : attributes) replace_slot(text, slot, word);
  REEL_CHECK(text.find('{') == std::string::npos, "unfilled caption '{}'", text);
  return text;
}

std::vector<std::string> captions(std::string_view world) {
  std::vector<std::string> out;
  if (world == "mix") {
    for (const auto& name : names()) {
      const auto part = captions(name);
      out.insert(out.end(), part.begin(), part.end());
    }
    return out;
  }
  const auto here = names();
  if (std::find(here.begin(), here.end(), world) == here.end()) refuse_world(world);
  const Grammar& g = grammar(std::string(world));
  for (const std::string& t : g.templates) {
    std::vector<std::string> partial = {t};
    for (const auto& [slot, words] : g.slots) {
      if (t.find("{" + slot + "}") == std::string::npos) continue;
      std::vector<std::string> next;
      for (const auto& text : partial)
        for (const auto& word : words) {
          next.push_back(text);
          replace_slot(next.back(), slot, word);
        }
      partial = std::move(next);
    }
    out.insert(out.end(), partial.begin(), partial.end());
  }
  return out;
}

}  // namespace reel::worlds
