// Balls on a white ground, after PhyWorld (arXiv 2411.02385): a world of 10 x 10 m fills the frame; radii and speeds
// come from the bands that were trained on ("in") or from outside them ("ood").
#include <box2d/box2d.h>

#include <algorithm>
#include <cmath>

#include "core/error.hpp"
#include "worlds/scene.hpp"

namespace reel::worlds {
namespace {

constexpr double world_m = 10;
constexpr double planned_s = 33 / 16.0;  // scenes are laid out so that a standard clip shows what matters
constexpr Color white{255, 255, 255};

Color ball_color(const std::string& name) {
  if (name == "red") return {222, 52, 48};
  if (name == "green") return {46, 158, 84};
  if (name == "orange") return {247, 148, 30};
  if (name == "purple") return {140, 82, 190};
  if (name == "blue") return {44, 102, 204};
  broken_promise("known ball colour", __FILE__, __LINE__, name);
}

/// PhyWorld's bands: speed 1 to 4 m/s, radius 0.7 to 1.4 m (one ball) or 0.5 to 1.5 m (two); beyond them 0 to 0.8 and
/// 4.5 to 6 m/s, 0.3 to 0.6 and 1.5 to 2 m.
struct Bands {
  bool wild_speed, wild_size;
  Bands(Knobs& knobs) {
    const std::string band = knobs_band(knobs);
    wild_speed = band == "ood" || band == "ood_speed";
    wild_size = band == "ood" || band == "ood_size";
  }
  static std::string knobs_band(Knobs& knobs) {
    return knobs.given("band") ? knobs.word("band", {"in", "ood", "ood_speed", "ood_size"}) : "in";
  }
  double speed(const Draws& draws, const std::string& key) const {
    if (!wild_speed) return draws.between(1, 4, key);
    return draws.pick(2, key + " band") ? draws.between(4.5, 6, key) : draws.between(0, 0.8, key);
  }
  double radius(const Draws& draws, const std::string& key, double low, double high) const {
    if (!wild_size) return draws.between(low, high, key);
    return draws.pick(2, key + " band") ? draws.between(1.5, 2, key) : draws.between(0.3, 0.6, key);
  }
};

std::string pace(double speed) { return speed < 2 ? "slowly" : speed <= 3 ? "at medium speed" : "fast"; }
std::string size(double radius) { return radius < 0.9 ? "small" : radius <= 1.15 ? "medium" : "large"; }

struct Ball {
  Track track;
  double radius;
  Color color;
};

/// The pictures: only the balls are redrawn.
void draw(Clip& clip, Canvas& canvas, const Canvas& background, const Pen& pen, std::vector<Ball>& balls, const Flaw& flaw) {
  for (std::int64_t f = 0; f < clip.film.num_frames; ++f) {
    const auto i = static_cast<std::size_t>(f);
    canvas.restore(background);
    for (const Ball& ball : balls) {
      if (flaw.empty) break;
      pen.add_disc({ball.track.x_m[i], ball.track.y_m[i]}, ball.radius);
      pen.fill(ball.color);
    }
    canvas.store_changed(clip.film.frame(f));
  }
  for (Ball& ball : balls) clip.objects.push_back(std::move(ball.track));
}

struct Stage {
  Clip clip;
  Canvas canvas;
  Canvas background;
  Pen pen;
  Stage(std::string_view world, std::uint64_t seed, const Spec& spec)
      : clip(blank_clip(world, seed, spec, static_cast<double>(std::min(spec.width_px, spec.height_px)) / world_m)),
        canvas(static_cast<int>(spec.width_px), static_cast<int>(spec.height_px)),
        background(canvas),
        pen{canvas, {world_m / 2, world_m / 2}, clip.px_per_m} {
    background.clear(white);
    canvas.clear(white);
    canvas.restore(background);
    std::fill(clip.film.rgb.begin(), clip.film.rgb.end(), std::uint8_t{255});
  }
};

}  // namespace

Clip make_ball(std::string_view world, std::uint64_t seed, const Spec& spec, const Flaw& flaw) {
  const Draws draws(seed, world);
  Knobs knobs(spec, draws);
  const bool thrown = world == "parabola";
  const double gravity = thrown ? 2.5 : 0;
  const Bands bands(knobs);
  const double v = knobs.number("speed", bands.speed(draws, "speed"), 0, 20);
  const double r = knobs.number("radius", bands.radius(draws, "radius", 0.7, 1.4), 0.1, 4);
  const std::string name(world), color = knobs.word("color", slot_words(name, "color"));
  const std::string direction = knobs.word("direction", slot_words(name, "direction"));
  knobs.refuse_others(world);

  // Start so far back that three quarters of a standard clip fit into the frame, if they can.
  const double room = std::max(0.0, world_m - 2 * r - v * 0.75 * planned_s);
  const double from_edge = r + room * draws.unit("start");
  const double x0 = direction == "right" ? from_edge : world_m - from_edge;
  const double y0 = thrown ? world_m - r - draws.unit("height") : draws.between(r, world_m - r, "height");
  const double vx = side(direction) * v;

  Stage stage(world, seed, spec);
  std::vector<Ball> balls(1);
  balls[0] = {{}, r, ball_color(color)};
  Track& track = balls[0].track;
  track.name = "ball";
  track.half_width_m = track.half_height_m = r;
  for (std::int64_t f = 0; f < spec.num_frames; ++f) {
    const double t = static_cast<double>(f) / spec.fps;
    const double late = std::max(0.0, t - flaw.from_s), less = gravity * (1 - flaw.gravity_factor);
    append(track, stage.pen, {x0 + vx * t, y0 - 0.5 * gravity * t * t + 0.5 * less * late * late},
           {vx, -gravity * t + less * late}, r, r);
  }
  stage.clip.attributes = {{"size", size(r)}, {"color", color}, {"pace", pace(v)}, {"direction", direction}};
  stage.clip.caption = caption(name, draws, stage.clip.attributes);
  stage.clip.facts = {{"gravity_m_per_s2", gravity}, {"speed_m_per_s", v}, {"radius_m", r}};
  draw(stage.clip, stage.canvas, stage.background, stage.pen, balls, flaw);
  return std::move(stage.clip);
}

Clip make_collision(std::uint64_t seed, const Spec& spec, const Flaw& flaw) {
  const Draws draws(seed, "collision");
  Knobs knobs(spec, draws);
  const Bands bands(knobs);
  const double v1 = knobs.number("speed", bands.speed(draws, "speed"), 0, 20);
  const double v2 = knobs.number("other_speed", bands.speed(draws, "other_speed"), 0, 20);
  const double r1 = knobs.number("radius", bands.radius(draws, "radius", 0.5, 1.5), 0.1, 2.4);
  const double r2 = knobs.number("other_radius", bands.radius(draws, "other_radius", 0.5, 1.5), 0.1, 2.4);
  const std::string color = knobs.word("color", slot_words("collision", "color"));
  knobs.refuse_others("collision");

  // They meet after at least half a second where both still fit into the frame at the start.
  const double closing = std::max(v1 + v2, 1e-6), room = world_m - 2 * r1 - 2 * r2;
  const double latest = std::min(0.6 * planned_s, room / closing);
  const double meet_s = draws.between(std::min(0.5, latest), latest, "meet");
  const double spare = room - (v1 + v2) * meet_s;
  const double x1 = r1 + spare * draws.unit("start");
  const double x2 = x1 + r1 + r2 + (v1 + v2) * meet_s;
  const double big = std::max(r1, r2), y = draws.between(big, world_m - big, "height");

  Stage stage("collision", seed, spec);
  std::vector<Ball> balls = {{{}, r1, ball_color(color)}, {{}, r2, ball_color("blue")}};
  balls[0].track.name = "ball";
  balls[1].track.name = "blue ball";

  b2World world({0.0f, 0.0f});
  b2Body* bodies[2];
  for (int i = 0; i < 2; ++i) {
    b2BodyDef body;
    body.type = b2_dynamicBody;
    body.bullet = true;  // time of impact is solved for, not stepped over
    body.allowSleep = false;
    body.position = {static_cast<float>(i ? x2 : x1), static_cast<float>(y)};
    body.linearVelocity = {static_cast<float>(i ? -v2 : v1), 0.0f};
    bodies[i] = world.CreateBody(&body);
    b2CircleShape circle;
    circle.m_radius = static_cast<float>(i ? r2 : r1);
    b2FixtureDef fixture;
    fixture.shape = &circle;
    fixture.density = 1.0f;  // mass grows as r^2
    fixture.friction = 0.0f;
    fixture.restitution = 1.0f;
    fixture.restitutionThreshold = 0.0f;  // slow contacts bounce too
    if (!flaw.collide) fixture.filter.maskBits = 0;
    bodies[i]->CreateFixture(&fixture);
  }
  const int steps = static_cast<int>(std::ceil(128 / spec.fps));  // per frame, each at most 1/128 s
  const float dt = static_cast<float>(1 / (spec.fps * steps));
  for (std::int64_t f = 0; f < spec.num_frames; ++f) {
    for (std::size_t i = 0; i < 2; ++i) {
      const b2Vec2 p = bodies[i]->GetPosition(), v = bodies[i]->GetLinearVelocity();
      append(balls[i].track, stage.pen, {p.x, p.y}, {v.x, v.y}, balls[i].radius, balls[i].radius);
    }
    for (int s = 0; s < steps; ++s) world.Step(dt, 8, 3);
  }
  for (Ball& ball : balls) ball.track.half_width_m = ball.track.half_height_m = ball.radius;
  stage.clip.attributes = {
      {"size", size(r1)}, {"other_size", size(r2)}, {"color", color}, {"pace", pace(v1)}, {"other_pace", pace(v2)}};
  stage.clip.caption = caption("collision", draws, stage.clip.attributes);
  stage.clip.facts = {{"gravity_m_per_s2", 0},
                      {"restitution", 1},
                      {"speed_m_per_s", v1},
                      {"other_speed_m_per_s", v2},
                      {"radius_m", r1},
                      {"other_radius_m", r2},
                      {"mass_kg", bodies[0]->GetMass()},
                      {"other_mass_kg", bodies[1]->GetMass()}};
  draw(stage.clip, stage.canvas, stage.background, stage.pen, balls, flaw);
  return std::move(stage.clip);
}

}  // namespace reel::worlds
