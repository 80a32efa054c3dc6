#include "worlds/broken.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "core/error.hpp"
#include "worlds/scene.hpp"

namespace reel::worlds {
namespace {

using std::int64_t;

constexpr int64_t usual_frames = 4;
constexpr int64_t num_free_frames = 3;  // of lawful motion before the event

/// A scene that has been checked, with a flaw.
Clip film(std::string_view scene, std::uint64_t seed, const Spec& spec, const Flaw& flaw) {
  if (scene == "collision") return make_collision(seed, spec, flaw);
  if (scene == "fall") return make_fall(seed, spec, flaw);
  return make_ball(scene, seed, spec, flaw);
}

bool differs(const std::vector<double>& x, std::size_t f, double by) { return std::abs(x[f + 1] - x[f]) > by; }

/// Whether everything moves freely and is wholly visible in frames [first, last].
bool in_flight(const Clip& clip, int64_t first, int64_t last) {
  if (first < 0 || last >= clip.film.num_frames) return false;
  // Between two frames gravity changes a velocity by g / fps; more than that is an impact or a leap.
  const double most = clip.facts.at("gravity_m_per_s2") / clip.film.fps * 1.01 + 1e-3;
  for (const Track& t : clip.objects)
    for (auto f = static_cast<std::size_t>(first); f <= static_cast<std::size_t>(last); ++f) {
      if (!t.visible[f] || (t.vx_m_per_s[f] == 0 && t.vy_m_per_s[f] == 0)) return false;
      if (f == static_cast<std::size_t>(last)) break;
      if (differs(t.vx_m_per_s, f, most) || differs(t.vy_m_per_s, f, most)) return false;
    }
  return true;
}

/// Late events leave little to see: the first half of the clip only.
std::optional<int64_t> draw_event(const Clip& clip, int64_t num_frames, std::uint64_t seed) {
  std::vector<int64_t> candidates;
  for (int64_t e = num_kept_frames; e <= clip.film.num_frames / 2; ++e)
    if (in_flight(clip, e - num_free_frames, e + num_frames)) candidates.push_back(e);
  if (candidates.empty()) return {};
  return candidates[Draws(seed, clip.world).pick(candidates.size(), "event")];
}

/// The first frame that shows another velocity than the frame before.
std::optional<int64_t> find_impact(const Clip& clip) {
  for (int64_t f = 1; f < clip.film.num_frames; ++f)
    if (differs(clip.objects[0].vx_m_per_s, static_cast<std::size_t>(f) - 1, 1e-3))
      return f >= num_kept_frames ? std::optional(f) : std::nullopt;
  return {};
}

void copy_frame(const Film& from, int64_t f, Film& to, int64_t g) {
  std::copy_n(from.frame(f), from.frame_bytes(), to.frame(g));
}

/// Frame g of `clip` shows what `source` shows in frame f: pixels and tracks.
void show(const Clip& source, int64_t f, Clip& clip, int64_t g) {
  copy_frame(source.film, f, clip.film, g);
  const auto i = static_cast<std::size_t>(f), j = static_cast<std::size_t>(g);
  for (std::size_t k = 0; k < clip.objects.size(); ++k) {
    const Track& from = source.objects[k];
    Track& to = clip.objects[k];
    to.x_m[j] = from.x_m[i], to.y_m[j] = from.y_m[i];
    to.vx_m_per_s[j] = from.vx_m_per_s[i], to.vy_m_per_s[j] = from.vy_m_per_s[i];
    to.x_px[j] = from.x_px[i], to.y_px[j] = from.y_px[i];
    to.visible[j] = from.visible[i];
  }
}

void expect_amount(const Break& b, double amount) {
  const bool whole = amount == std::floor(amount);
  const bool good = b.unit == "frames"   ? whole && amount >= 0 && amount <= 1000
                    : b.unit == "factor" ? amount >= -10 && amount <= 10
                                         : amount == 0 || amount == 1;
  if (!good)
    throw Error(Exit::usage, fmt::format("{} cannot be broken by {}", b.law, amount), b.name,
                b.unit == "frames"   ? "use whole frames, 0 to 1000"
                : b.unit == "factor" ? "use a factor from -10 to 10"
                                     : "use 1");
}

}  // namespace

const std::vector<Break>& breaks() {
  static const std::vector<std::string> everywhere{"uniform", "parabola", "collision", "fall"};
  static const std::vector<Break> all{
      {"freeze", "inertia", "frames", usual_frames, everywhere},
      {"skip", "continuity of motion", "frames", usual_frames, everywhere},
      {"vanish", "permanence", "frames", usual_frames, everywhere},
      {"gravity", "gravity", "factor", -1, {"parabola", "fall"}},
      {"pass", "impenetrability", "1", 1, {"collision"}},
  };
  return all;
}

std::optional<Clip> make_broken(std::string_view scene, std::string_view name, double amount, std::uint64_t seed,
                                const Spec& spec) {
  const auto& all = breaks();
  const auto found = std::find_if(all.begin(), all.end(), [&](const Break& b) { return b.name == name; });
  if (found == all.end())
    throw Error(Exit::usage, fmt::format("no law is broken by '{}'", name), "break",
                "use freeze, skip, vanish, gravity or pass");
  if (std::find(found->scenes.begin(), found->scenes.end(), scene) == found->scenes.end())
    throw Error(Exit::usage, fmt::format("'{}' is not for the scene '{}'", name, scene), "break",
                fmt::format("it is for: {}", fmt::join(found->scenes, ", ")));
  expect_amount(*found, amount);

  Clip clip = make(scene, seed, spec);
  const int64_t frames = found->unit == "frames" ? static_cast<int64_t>(amount) : 0, total = clip.film.num_frames;
  const std::optional<int64_t> drawn =
      name == "pass" ? find_impact(clip) : draw_event(clip, std::max(frames, usual_frames), seed);
  if (!drawn) return {};
  const int64_t event = *drawn;
  if (name == "pass") {
    if (amount == 1) clip = film(scene, seed, spec, {.collide = false});
  } else if (name == "gravity") {
    clip = film(scene, seed, spec, {.gravity_factor = amount, .from_s = static_cast<double>(event - 1) / spec.fps});
  } else if (name == "vanish") {
    Spec still = spec;
    still.num_frames = 1;
    const Film background = film(scene, seed, still, {.empty = true}).film;
    for (int64_t f = event; f < std::min(total, event + frames); ++f) {
      copy_frame(background, 0, clip.film, f);
      for (Track& t : clip.objects) t.visible[static_cast<std::size_t>(f)] = false;
    }
  } else {
    Spec longer = spec;
    longer.num_frames += frames;  // the same scene, seen for longer
    const Clip source = make(scene, seed, longer);
    for (int64_t f = event; f < total; ++f)
      show(source, name == "skip" ? f + frames : f < event + frames ? event - 1 : f - frames, clip, f);
  }
  clip.facts["event_frame"] = static_cast<double>(event);
  clip.facts["amount"] = amount;
  return clip;
}

}  // namespace reel::worlds
