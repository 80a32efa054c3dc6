// Which colours to look for: those of our worlds, or those that a film shows.
#include <algorithm>
#include <cmath>

#include "core/error.hpp"
#include "metrics/detect.hpp"

namespace reel::metrics {
namespace {

using Rgb8 = std::array<std::uint8_t, 3>;

// The palette of src/worlds; a test renders the worlds and compares.
const std::map<std::string, Rgb8> ball_colours = {{"red", {222, 52, 48}},
                                                  {"green", {46, 158, 84}},
                                                  {"orange", {247, 148, 30}},
                                                  {"purple", {140, 82, 190}},
                                                  {"blue", {44, 102, 204}}};
const std::map<std::string, Rgb8> suit_colours = {
    {"red", {226, 44, 48}}, {"orange", {250, 132, 24}}, {"yellow", {252, 214, 44}}, {"green", {24, 150, 70}}};
constexpr Rgb8 skin{244, 200, 164};

}  // namespace

std::vector<NamedColour> world_colours(std::string_view world, const std::map<std::string, std::string>& attributes) {
  const auto colour = [&](const std::string& key, const std::map<std::string, Rgb8>& palette) {
    const auto word = attributes.find(key);
    const std::string given = word == attributes.end() ? "" : word->second;
    const auto found = palette.find(given);
    if (found == palette.end())
      throw Error(Exit::input, fmt::format("no {} \"{}\" in the world {}", key, given, world), "attributes",
                  "give the truth file of the same film");
    return found->second;
  };
  if (world == "uniform" || world == "parabola") return {{"ball", colour("color", ball_colours)}};
  if (world == "collision") return {{"ball", colour("color", ball_colours)}, {"blue ball", ball_colours.at("blue")}};
  if (world == "fall") return {{"person", colour("suit", suit_colours)}, {"person", skin}};
  return {};
}

std::vector<NamedColour> find_colours(FrameSource& source, std::size_t most) {
  struct Cell {
    std::int64_t count = 0;
    std::array<std::int64_t, 3> sum{};
  };
  constexpr std::size_t most_frames = 16;
  std::vector<std::vector<Cell>> held;  // per frame used; frames are thinned as in BackgroundMedian
  std::int64_t number = 0, stride = 1, pixels = 0;
  Frame frame;
  source.rewind();
  while (source.next(frame)) {
    if (number++ % stride != 0) continue;
    if (held.size() == most_frames) {
      for (std::size_t i = 0; 2 * i < held.size(); ++i) held[i].swap(held[2 * i]);
      held.resize(most_frames / 2);
      stride *= 2;
      if ((number - 1) % stride != 0) continue;
    }
    std::vector<Cell> cells(16 * 16 * 16);
    const std::int64_t w = frame.width_px, h = frame.height_px;
    pixels = w * h;
    const auto at = [&](std::int64_t x, std::int64_t y) { return frame.rgb.data() + 3 * (y * w + x); };
    const auto apart = [](const std::uint8_t* a, const std::uint8_t* b) {
      return std::max({std::abs(a[0] - b[0]), std::abs(a[1] - b[1]), std::abs(a[2] - b[2])});
    };
    for (std::int64_t y = 1; y + 1 < h; ++y)
      for (std::int64_t x = 1; x + 1 < w; ++x) {
        const std::uint8_t* p = at(x, y);
        if (std::max({p[0], p[1], p[2]}) - std::min({p[0], p[1], p[2]}) <= 60) continue;
        if (std::max({apart(p, at(x - 1, y)), apart(p, at(x + 1, y)), apart(p, at(x, y - 1)), apart(p, at(x, y + 1))}) >
            8)
          continue;
        Cell& cell = cells[static_cast<std::size_t>((p[0] / 16) * 256 + (p[1] / 16) * 16 + p[2] / 16)];
        ++cell.count;
        for (std::size_t c = 0; c < 3; ++c) cell.sum[c] += p[c];
      }
    held.push_back(std::move(cells));
  }
  std::vector<Cell> all(16 * 16 * 16);
  for (const auto& cells : held)
    for (std::size_t i = 0; i < all.size(); ++i) {
      all[i].count += cells[i].count;
      for (std::size_t c = 0; c < 3; ++c) all[i].sum[c] += cells[i].sum[c];
    }
  std::stable_sort(all.begin(), all.end(), [](const Cell& a, const Cell& b) { return a.count > b.count; });
  // Less than a ten-thousandth of the picture, or 4 pixels, per frame is a speck.
  const auto least = std::max<std::int64_t>(4, pixels / 10000) * static_cast<std::int64_t>(held.size());
  std::vector<Cell> found;
  const auto mean = [](const Cell& cell, std::size_t c) {
    return static_cast<double>(cell.sum[c]) / static_cast<double>(cell.count);
  };
  for (const Cell& cell : all) {
    if (cell.count == 0) break;
    const auto near = std::find_if(found.begin(), found.end(), [&](const Cell& other) {
      double sum = 0;
      for (std::size_t c = 0; c < 3; ++c) sum += std::pow(mean(cell, c) - mean(other, c), 2);
      return sum < 60 * 60;
    });
    if (near == found.end()) {
      found.push_back(cell);
      continue;
    }
    near->count += cell.count;
    for (std::size_t c = 0; c < 3; ++c) near->sum[c] += cell.sum[c];
  }
  std::stable_sort(found.begin(), found.end(), [](const Cell& a, const Cell& b) { return a.count > b.count; });
  std::vector<NamedColour> out;
  for (const Cell& cell : found) {
    if (cell.count < least || out.size() == most) break;
    Rgb8 rgb{};
    for (std::size_t c = 0; c < 3; ++c) rgb[c] = static_cast<std::uint8_t>(std::lround(mean(cell, c)));
    out.push_back({std::to_string(out.size() + 1), rgb});
  }
  return out;
}

}  // namespace reel::metrics
