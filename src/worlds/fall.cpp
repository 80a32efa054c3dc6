// The stunt: a jumper leaves the roof of a building and lands on an air cushion. Free fall in closed form, no drag
// (at most two seconds of fall: drag would change the height by a few per cent, and the truth must stay exact).
#include <algorithm>
#include <array>
#include <cmath>

#include "core/error.hpp"
#include "worlds/scene.hpp"

namespace reel::worlds {
namespace {

constexpr double gravity_m_per_s2 = 9.81, storey_m = 3, ground_m = 0.9, air_m = 2.4;
constexpr double cushion_m = 1.2, cushion_half_m = 2.1, lying_half_m = 0.3;
constexpr double building_share = 0.37;  // of the frame's width

Color suit_color(const std::string& name) {
  if (name == "red") return {226, 44, 48};
  if (name == "orange") return {250, 132, 24};
  if (name == "yellow") return {252, 214, 44};
  if (name == "green") return {24, 150, 70};
  broken_promise("known suit colour", __FILE__, __LINE__, name);
}

Color wall_color(const std::string& name) {
  if (name == "grey") return {142, 148, 160};
  if (name == "brown") return {156, 104, 84};
  if (name == "white") return {236, 230, 218};
  broken_promise("known wall colour", __FILE__, __LINE__, name);
}

/// A person of 1.8 m seen from the front, feet at -0.9 m. Limbs are the right ones; the left ones mirror them. Parts
/// touch but do not overlap, so that the centroid of the silhouette is the mean of the parts weighted by area.
struct Pose {
  std::array<Point, 4> arm, leg;
};
constexpr Pose standing = {{{{0.3, 0.5}, {0.48, 0.42}, {0.54, -0.12}, {0.32, -0.12}}},
                           {{{0.0, -0.1}, {0.3, -0.1}, {0.32, -0.9}, {0.04, -0.9}}}};
constexpr Pose spread = {{{{0.3, 0.16}, {0.8, 0.56}, {0.62, 0.82}, {0.3, 0.5}}},
                         {{{0.0, -0.1}, {0.3, -0.1}, {0.6, -0.9}, {0.26, -0.9}}}};
constexpr double torso_half_m = 0.3, torso_low_m = -0.1, torso_high_m = 0.5, head_m = 0.69, head_radius_m = 0.21;

/// Height of the silhouette's centroid above the middle of the body.
double centroid_m(const Pose& pose) {
  double area = 0, moment = 0;
  const auto weigh = [&](double a, double y) { area += a, moment += a * y; };
  weigh(2 * torso_half_m * (torso_high_m - torso_low_m), 0.5 * (torso_high_m + torso_low_m));
  weigh(3.14159265358979323846 * head_radius_m * head_radius_m, head_m);
  for (const auto& limb : {pose.arm, pose.leg})
    for (std::size_t i = 1; i + 1 < limb.size(); ++i) {  // triangles from the first corner
      const Point a = limb[0], b = limb[i], c = limb[i + 1];
      const double twice = std::abs((b.x - a.x) * (c.y - a.y) - (c.x - a.x) * (b.y - a.y));
      weigh(twice, (a.y + b.y + c.y) / 3);  // half of twice, but two limbs
    }
  return moment / area;
}

/// Draws the person with its centroid at `at`, turned by 2 atan(half_turn): rational in half_turn, hence the same bits
/// everywhere.
void draw_person(const Pen& pen, const Pose& pose, Point at, double half_turn, Color suit) {
  const double c = (1 - half_turn * half_turn) / (1 + half_turn * half_turn);
  const double s = 2 * half_turn / (1 + half_turn * half_turn), middle = centroid_m(pose);
  const auto place = [&](double x, double y) -> Point {
    y -= middle;
    return {at.x + x * c - y * s, at.y + x * s + y * c};
  };
  pen.add({place(-torso_half_m, torso_low_m), place(torso_half_m, torso_low_m), place(torso_half_m, torso_high_m),
           place(-torso_half_m, torso_high_m)});
  for (const auto& limb : {pose.arm, pose.leg})
    for (double m : {-1.0, 1.0})
      pen.add({place(m * limb[0].x, limb[0].y), place(m * limb[1].x, limb[1].y), place(m * limb[2].x, limb[2].y),
               place(m * limb[3].x, limb[3].y)});
  pen.fill(suit);
  pen.add_disc(place(0, head_m), head_radius_m);
  pen.fill({244, 200, 164});
}

/// Everything that does not move. Drawn for a jump to the right; `side` mirrors it.
void draw_set(const Pen& pen, const Draws& draws, double side, int storeys, Color wall, double cushion_x) {
  const double roof = storeys * storey_m, view = roof + ground_m + air_m;
  const auto rect = [&](double x0, double y0, double x1, double y1, Color color, float opacity = 1) {
    pen.rect(side * x0, y0, side * x1, y1, color, opacity);
  };
  const double far = std::max(std::abs(pen.left_m()), std::abs(pen.right_m())) + 1;
  pen.sky(0, roof + air_m, {190, 224, 242}, {138, 192, 232}, {86, 152, 214});
  for (int i = 0; i < 3; ++i) {  // clouds
    const double x = side * view * (0.24 + 0.16 * i + 0.1 * draws.unit("cloud x", i));
    const double y = view * draws.between(0.62, 0.9, "cloud y", i), w = view * draws.between(0.05, 0.09, "cloud", i);
    pen.add_ellipse({x, y}, w, 0.3 * w);
    pen.add_ellipse({x - 0.3 * w, y + 0.2 * w}, 0.4 * w, 0.34 * w);
    pen.add_ellipse({x + 0.25 * w, y + 0.3 * w}, 0.45 * w, 0.42 * w);
    pen.fill({236, 245, 252}, 0.6f);
  }
  for (int i = 0; i * 1.5 < far; ++i) {  // the town far away, pale
    const double h = view * draws.between(0.06, 0.2, "skyline", i);
    rect(i * 1.5, 0, i * 1.5 + 1.5, h, {160, 192, 218});
  }
  pen.rect(-far, -far - ground_m, far, 0, {116, 120, 128});
  pen.rect(-far, -0.3, far, 0, {176, 176, 172});
  rect(-far, 0, 0, roof, wall);
  rect(-0.35, 0, 0, roof, {0, 0, 0}, 0.16f);  // the corner's shade
  for (int k = 0; k < storeys; ++k) {
    const double floor = k * storey_m;
    for (int i = 0; 1.0 + 2.1 * i < far; ++i) {
      const double x = -1.05 - 2.1 * i;
      const bool bright = draws.pick(4, "window", 64 * k + i) == 0;
      rect(x - 1.15, floor + 0.85, x, floor + 2.4, bright ? Color{255, 226, 150} : Color{62, 84, 118});
    }
    rect(-far, floor + storey_m - 0.22, 0, floor + storey_m, mixed(wall, {40, 36, 44}, 0.42f));
  }
  rect(-far, roof - 0.35, 0.12, roof, mixed(wall, {40, 36, 44}, 0.6f));  // the roof's edge
  const double c0 = cushion_x - cushion_half_m, c1 = cushion_x + cushion_half_m;
  rect(c0, 0, c1, cushion_m, {38, 66, 158});
  rect(c0, cushion_m - 0.35, c1, cushion_m, {250, 250, 250});
  rect(c0 + 0.12, 0.0, c1 - 0.12, 0.18, {24, 42, 110});
}

/// When a drop of `drop_m` from rest ends, as seen from the leap; `fall_s` when gravity stays what it is. From `from_s` on
/// it is `weight_m_per_s2`: infinity when the jumper never comes down.
double landing_s(double drop_m, double fall_s, double from_s, double weight_m_per_s2) {
  if (from_s >= fall_s || weight_m_per_s2 == gravity_m_per_s2) return fall_s;
  const double begin_s = std::max(0.0, from_s), v = gravity_m_per_s2 * begin_s;
  const double left_m = drop_m - 0.5 * v * begin_s, root = v * v + 2 * weight_m_per_s2 * left_m;
  if (root < 0 || v + std::sqrt(root) <= 0) return std::numeric_limits<double>::infinity();
  return begin_s + 2 * left_m / (v + std::sqrt(root));
}

}  // namespace

Clip make_fall(std::uint64_t seed, const Spec& spec, const Flaw& flaw) {
  const Draws draws(seed, "fall");
  Knobs knobs(spec, draws);
  const Words& counts = slot_words("fall", "storeys");
  const std::string suit = knobs.word("suit", slot_words("fall", "suit")),
                    wall = knobs.word("wall", slot_words("fall", "wall"));
  const std::string direction = knobs.word("direction", slot_words("fall", "direction"));
  const std::string count = knobs.word("storeys", counts);
  const int storeys = 3 + static_cast<int>(std::find(counts.begin(), counts.end(), count) - counts.begin());
  // Trained on: leaps of 1 to 3 m/s. Beyond: 0.5 to 0.8 and 3.4 to 4 m/s.
  const bool wild = knobs.given("band") && knobs.word("band", {"in", "ood"}) == "ood";
  const double leap = !wild ? draws.between(1, 3, "speed")
                      : draws.pick(2, "speed band") ? draws.between(3.4, 4, "speed") : draws.between(0.5, 0.8, "speed");
  const double speed = knobs.number("speed", leap, 0.5, 4);
  const double wait_s = knobs.number("wait_s", draws.between(0.1, 0.5, "wait_s"), 0, 60);
  knobs.refuse_others("fall");

  const double roof = storeys * storey_m, view = roof + ground_m + air_m, way = side(direction);
  const Point start = {way * 0.05, roof + 0.9 + centroid_m(standing)};
  const double y_land = cushion_m + lying_half_m;
  const double fall_s = std::sqrt(2 * (start.y - y_land) / gravity_m_per_s2);
  const double cushion_x = std::max(std::abs(start.x) + speed * fall_s, cushion_half_m + 0.35);

  Clip clip = blank_clip("fall", seed, spec, static_cast<double>(std::min(spec.width_px, spec.height_px)) / view);
  Canvas background(static_cast<int>(spec.width_px), static_cast<int>(spec.height_px)), canvas = background;
  const Point look_at = {way * (0.5 - building_share) * view, 0.5 * view - ground_m};
  const Pen pen{canvas, look_at, clip.px_per_m};
  draw_set({background, look_at, clip.px_per_m}, draws, way, storeys, wall_color(wall), cushion_x);
  canvas.clear({});
  canvas.restore(background);
  std::vector<std::uint8_t> still(static_cast<std::size_t>(clip.film.frame_bytes()));
  background.store(still.data());

  const double weight = gravity_m_per_s2 * flaw.gravity_factor;
  const double from_s = flaw.from_s - wait_s, land_s = landing_s(start.y - y_land, fall_s, from_s, weight);
  Track track;
  track.name = "person";
  track.half_width_m = 0.54;
  track.half_height_m = 0.9;
  for (std::int64_t f = 0; f < spec.num_frames; ++f) {
    const double t = static_cast<double>(f) / spec.fps - wait_s;
    const double flown = std::clamp(t, 0.0, land_s), late = std::max(0.0, flown - from_s);
    const bool waits = t < 0, lies = t >= land_s;
    const double less = gravity_m_per_s2 - weight;
    const double y = start.y - 0.5 * gravity_m_per_s2 * flown * flown + 0.5 * less * late * late;
    const Point at = {start.x + way * speed * flown, lies ? y_land : y};
    const Point v = waits || lies ? Point{0, 0} : Point{way * speed, -gravity_m_per_s2 * flown + less * late};
    append(track, pen, at, v, 0.9, 0.9);
    std::copy(still.begin(), still.end(), clip.film.frame(f));
    canvas.restore(background);
    // In the air the jumper turns onto the back, feet first: evenly in the tangent of half the angle, 0 to 90 degrees.
    const double turned = way * std::min(flown, fall_s) / fall_s;
    if (!flaw.empty) draw_person(pen, waits || lies ? standing : spread, at, turned, suit_color(suit));
    canvas.store_changed(clip.film.frame(f));
  }
  clip.objects.push_back(std::move(track));
  clip.attributes = {{"suit", suit}, {"wall", wall}, {"storeys", count}, {"direction", direction}};
  clip.caption = caption("fall", draws, clip.attributes);
  clip.facts = {{"gravity_m_per_s2", gravity_m_per_s2},
                {"num_storeys", storeys},
                {"roof_m", roof},
                {"wait_s", wait_s},
                {"fall_s", fall_s},
                {"drop_m", start.y - y_land},
                {"speed_m_per_s", speed},
                {"person_m", 1.8},
                {"cushion_top_m", cushion_m},
                {"cushion_x_m", way * cushion_x}};
  return clip;
}

}  // namespace reel::worlds
