#include "worlds/world.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "core/error.hpp"
#include "worlds/scene.hpp"

namespace reel::worlds {
namespace {

/// Letters to insert, delete or change to get from a to b.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t changed = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({changed, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row.back();
}

void check(const Spec& spec) {
  const auto refuse = [](const std::string& what, const std::string& where) { throw Error(Exit::usage, what, where); };
  if (spec.width_px < 8 || spec.width_px > 4096 || spec.height_px < 8 || spec.height_px > 4096)
    refuse(fmt::format("a frame of {} x {} pixels; 8 to 4096 each are possible", spec.width_px, spec.height_px),
           "size");
  if (spec.num_frames < 1 || spec.num_frames > 1000000)
    refuse(fmt::format("{} frames; 1 to 1000000 are possible", spec.num_frames), "frames");
  if (!(spec.fps >= 1 && spec.fps <= 1000))
    refuse(fmt::format("{} frames per second; 1 to 1000 are possible", spec.fps), "fps");
  if (spec.num_frames * spec.width_px * spec.height_px * 3 > (std::int64_t{4} << 30))
    refuse(
        fmt::format("{} frames of {} x {} pixels are more than 4 GiB", spec.num_frames, spec.width_px, spec.height_px),
        "frames");
}

}  // namespace

void refuse_world(std::string_view world) {
  std::vector<std::string> all = names();
  all.push_back("mix");
  const auto nearest = *std::min_element(all.begin(), all.end(), [&](const auto& a, const auto& b) {
    return edit_distance(world, a) < edit_distance(world, b);
  });
  std::string hint = fmt::format("worlds: {}", fmt::join(all, ", "));
  if (edit_distance(world, nearest) <= 2) hint = fmt::format("did you mean '{}'? {}", nearest, hint);
  throw Error(Exit::usage, fmt::format("unknown world '{}'", world), "reel world", hint);
}

std::vector<std::string> names() { return {"collision", "fall", "house", "parabola", "uniform"}; }

std::string mix_world(std::uint64_t seed) {
  const std::size_t percent = Draws(seed, "mix").pick(100, "world");
  return percent < 30   ? "house"
         : percent < 60 ? "fall"
         : percent < 75 ? "parabola"
         : percent < 90 ? "collision"
                        : "uniform";
}

Clip make(std::string_view world, std::uint64_t seed, const Spec& spec) {
  check(spec);
  const std::string name = world == "mix" ? mix_world(seed) : std::string(world);
  if (name == "uniform" || name == "parabola") return make_ball(name, seed, spec);
  if (name == "collision") return make_collision(seed, spec);
  if (name == "fall") return make_fall(seed, spec);
  if (name == "house") return make_house(seed, spec);
  refuse_world(world);
}

}  // namespace reel::worlds
