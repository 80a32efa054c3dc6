#include "worlds/lab.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <optional>

#include "core/error.hpp"
#include "worlds/scene.hpp"

namespace reel::worlds {
namespace {

constexpr double view_m = 10, g = 9.81, tau = 2 * std::numbers::pi;
constexpr Color red{222, 52, 48}, blue{44, 102, 204}, white{255, 255, 255};

/// Where a ball is at time t [s], how large, and whether it is there.
struct State {
  Point at_m, v_m_per_s;
  double radius_m;
  bool there = true;
};
struct Actor {
  std::string name;
  Color color;
  std::function<State(std::int64_t frame, double t)> state;
};

/// Films balls on white, over a floor when `floor_m` is given. The world is `view_m` high and wide in the middle.
Clip film_balls(std::string_view name, std::uint64_t seed, const Spec& spec, const std::vector<Actor>& actors,
                std::optional<double> floor_m = {}) {
  Clip clip = blank_clip(name, seed, spec, static_cast<double>(std::min(spec.width_px, spec.height_px)) / view_m);
  Canvas background(static_cast<int>(spec.width_px), static_cast<int>(spec.height_px)), canvas = background;
  const Point middle{view_m / 2, view_m / 2};
  const Pen on_background{background, middle, clip.px_per_m}, pen{canvas, middle, clip.px_per_m};
  background.clear(white);
  if (floor_m) on_background.rect(on_background.left_m() - 1, -50, on_background.right_m() + 1, *floor_m, {120, 120, 120});
  canvas.clear(white);
  canvas.restore(background);
  std::vector<std::uint8_t> still(static_cast<std::size_t>(clip.film.frame_bytes()));
  background.store(still.data());
  for (const Actor& actor : actors) {
    clip.objects.emplace_back();
    clip.objects.back().name = actor.name;
    clip.objects.back().half_width_m = clip.objects.back().half_height_m = actor.state(0, 0).radius_m;
  }
  for (std::int64_t f = 0; f < spec.num_frames; ++f) {
    std::copy(still.begin(), still.end(), clip.film.frame(f));
    canvas.restore(background);
    for (std::size_t i = 0; i < actors.size(); ++i) {
      const State s = actors[i].state(f, static_cast<double>(f) / spec.fps);
      append(clip.objects[i], pen, s.at_m, s.v_m_per_s, s.radius_m, s.radius_m);
      if (!s.there) {
        clip.objects[i].visible.back() = false;
        continue;
      }
      pen.add_disc(s.at_m, s.radius_m);
      pen.fill(actors[i].color);
    }
    canvas.store_changed(clip.film.frame(f));
  }
  return clip;
}

// Two balls of different size dropped from rest at different heights; each with its own gravity.
Clip film_drops(std::string_view name, std::uint64_t seed, const Spec& spec, double g_red, double g_blue) {
  const Draws draws(seed, "lab");
  std::vector<Actor> actors;
  for (int i = 0; i < 2; ++i) {
    const double x = (i == 0 ? 3 : 7) + draws.between(-0.8, 0.8, "x", i), y = 9.8 - draws.between(0.9, 1.6, "y", i);
    const double r = draws.between(0.5, 0.9, "r", i), a = i == 0 ? g_red : g_blue;
    actors.push_back({i == 0 ? "red" : "blue", i == 0 ? red : blue,
                      [=](std::int64_t, double t) -> State { return {{x, y - 0.5 * a * t * t}, {0, -a * t}, r}; }});
  }
  return film_balls(name, seed, spec, actors);
}

Clip film_exponent(std::uint64_t seed, const Spec& spec, double p) {
  const Draws draws(seed, "lab");
  const double x = draws.between(3, 7, "x"), y = 9.8 - draws.between(0.9, 1.4, "y"), r = draws.between(0.5, 0.9, "r");
  // All exponents drop 6 m in the same time, whatever the length of the film.
  const double last_s = 1.1;
  return film_balls("exponent", seed, spec, {{"red", red, [=](std::int64_t, double t) -> State {
    const double s = t / last_s;
    return {{x, y - 6 * std::pow(s, p)}, {0, t > 0 ? -6 * p / last_s * std::pow(s, p - 1) : 0}, r};
  }}});
}

Clip film_bounce(std::uint64_t seed, const Spec& spec, double e) {
  const Draws draws(seed, "lab");
  const double floor = 0.5, x0 = draws.between(1.5, 2.5, "x"), vx = draws.between(1.0, 1.6, "vx");
  // An energetic ball must stay in the picture: with e above 1 it starts lower.
  const double r = 0.6, h0 = (e > 1 ? 7.5 / std::pow(e, 4) : 7.0) * draws.between(0.92, 1, "h");
  return film_balls("bounce", seed, spec, {{"red", red, [=](std::int64_t, double t) -> State {
    double v = std::sqrt(2 * g * h0), begin = v / g, height = h0 - 0.5 * g * t * t, vy = -g * t;
    for (int k = 0; k < 64 && t > begin; ++k) {
      v *= e;
      const double flight = 2 * v / g, s = t - begin;
      height = v * s - 0.5 * g * s * s;
      vy = v - g * s;
      if (flight < 0.02) {  // at rest
        height = vy = 0;
        break;
      }
      begin += flight;
    }
    return {{x0 + vx * t, floor + r + std::max(0.0, height)}, {vx, vy}, r};
  }}}, floor);
}

// Two balls meet in the middle; restitution 1, but the momentum afterwards is (1 + knob) times that before.
Clip film_kick(std::uint64_t seed, const Spec& spec, double knob) {
  const Draws draws(seed, "lab");
  const double r1 = draws.between(0.7, 1.0, "r1"), r2 = draws.between(0.7, 1.0, "r2"), y = draws.between(3, 7, "y");
  const double v1 = draws.between(3, 4, "v1"), v2 = -draws.between(0.5, 1.2, "v2"), meet = 0.75;
  const double m1 = r1 * r1, m2 = r2 * r2, p = m1 * v1 + m2 * v2;
  // The relative speed is turned round, the common speed carries the kick.
  const double common = p * (1 + knob) / (m1 + m2), relative = v1 - v2;
  const double u1 = common - m2 / (m1 + m2) * relative, u2 = common + m1 / (m1 + m2) * relative;
  const double contact = 5 + 0.5 * (r1 - r2);
  const auto ball = [=](double r, double before, double after, double side) {
    return [=](std::int64_t, double t) -> State {
      const double v = t < meet ? before : after;
      return {{contact + side * r + v * (t - meet), y}, {v, 0}, r};
    };
  };
  return film_balls("kick", seed, spec, {{"red", red, ball(r1, v1, u1, -1)}, {"blue", blue, ball(r2, v2, u2, 1)}});
}

// A ball that rolls through the picture, with one flaw.
Clip film_roll(std::string_view name, std::uint64_t seed, const Spec& spec, double knob) {
  const Draws draws(seed, "lab");
  const double seconds = static_cast<double>(spec.num_frames) / spec.fps;
  const double r = draws.between(0.7, 1.1, "r"), y = draws.between(4, 6, "y"), x0 = r + 0.5;
  const double v = (view_m - 2 * r - 1) / std::max(seconds, 1.0), px_per_m = static_cast<double>(std::min(spec.width_px, spec.height_px)) / view_m;
  const auto event = static_cast<std::int64_t>(draws.between(0.35, 0.55, "event") * static_cast<double>(spec.num_frames));
  const auto frames = static_cast<std::int64_t>(knob);
  std::vector<Actor> actors{{"red", red, [=, flaw = std::string(name)](std::int64_t f, double t) -> State {
    State s{{x0 + v * t, y}, {v, 0}, r};
    if (flaw == "teleport" && f >= event) s.at_m.y -= knob / px_per_m;
    if (flaw == "vanish") s.there = f < event || f >= event + frames;
    if (flaw == "size_pulse") s.radius_m *= 1 + knob * std::sin(tau * 2 * t);
    return s;
  }}};
  if (name == "duplicate")
    actors.push_back({"blue", blue, [=](std::int64_t f, double t) -> State {
      return {{x0 + v * t, y > 5 ? y - 3.2 : y + 3.2}, {v, 0}, 0.8 * r, f >= event && f < event + frames};
    }});
  Clip clip = film_balls(name, seed, spec, actors);
  if (name != "size_pulse") clip.facts["event_frame"] = static_cast<double>(event);
  return clip;
}

}  // namespace

const std::vector<Injection>& injections() {
  static const std::vector<Injection> all{
      {"gravity", "change of both gravities", "1", {0, -0.9, -0.6, -0.3, 0.3, 0.6, 1.0}},
      {"heavier", "change of one gravity", "1", {0, -0.5, -0.3, -0.1, 0.1, 0.3, 0.5}},
      {"exponent", "exponent of time", "1", {2, 1.0, 1.25, 1.5, 1.75, 2.5, 3.0}},
      {"slow_motion", "playback speed", "1", {1, 0.35, 0.5, 0.65, 0.8, 1.25}},
      {"bounce", "speed ratio at contact", "1", {0.8, 0.5, 0.65, 0.95, 1.1, 1.2}},
      {"kick", "relative change of momentum", "1", {0, -0.4, -0.2, 0.2, 0.4}},
      {"teleport", "jump across the path", "px", {0, 6, 8, 12, 16}},
      {"vanish", "frames without the ball", "1", {0, 1, 2, 3, 5}},
      {"duplicate", "frames with a second ball", "1", {0, 2, 4, 6, 8}},
      {"size_pulse", "relative change of radius", "1", {0, 0.02, 0.05, 0.1, 0.2}},
      {"jitter", "camera amplitude", "px", {0, 0.5, 1, 2, 3}},
      {"wobble", "displacement, root mean square", "px", {0, 0.3, 0.6, 1.0, 1.5}},
      {"boil", "texture noise, standard deviation", "levels", {0, 2, 4, 8, 12}},
      {"flicker", "brightness amplitude", "levels", {0, 2, 4, 8, 12}},
      {"pan", "times the usual speed", "1", {0, 1, 2}},
      {"push", "times the usual speed", "1", {0, 1, 2}},
  };
  return all;
}

Clip make_injected(std::string_view name, double knob, std::uint64_t seed, const Spec& spec) {
  const auto& all = injections();
  const auto found = std::find_if(all.begin(), all.end(), [&](const Injection& i) { return i.name == name; });
  if (found == all.end())
    throw Error(Exit::usage, fmt::format("unknown injection '{}'", name), "reel measure --calibrate");
  const auto [low, high] = std::minmax_element(found->knobs.begin(), found->knobs.end());
  const double room = *high - *low;
  if (!(knob >= *low - room && knob <= *high + room) || !spec.set.empty())
    throw Error(Exit::usage, fmt::format("{} = {} is out of range", name, knob), "reel measure --calibrate");
  Clip clip = name == "gravity"       ? film_drops(name, seed, spec, g * (1 + knob), g * (1 + knob))
              : name == "heavier"     ? film_drops(name, seed, spec, g, g * (1 + knob))
              : name == "slow_motion" ? film_drops(name, seed, spec, g * knob * knob, g * knob * knob)
              : name == "exponent"    ? film_exponent(seed, spec, knob)
              : name == "bounce"      ? film_bounce(seed, spec, knob)
              : name == "kick"        ? film_kick(seed, spec, knob)
              : name == "teleport" || name == "vanish" || name == "duplicate" || name == "size_pulse"
                  ? film_roll(name, seed, spec, knob)
                  : make_flawed_house(name, knob, seed, spec);
  clip.world = name;
  clip.facts["injected"] = knob;
  return clip;
}

}  // namespace reel::worlds
