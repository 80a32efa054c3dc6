// The establishing shot: a house on a meadow, with a camera that stands, pans or pushes in. Nothing in the scene moves,
// so the camera path is the whole truth. A pan is a shift without parallax, as of a camera that turns on its stand.
#include <algorithm>
#include <cmath>

#include "core/error.hpp"
#include "worlds/scene.hpp"

namespace reel::worlds {
namespace {

constexpr double view_m = 12, look_y_m = 3, horizon_m = 1.5;

/// Light of one time of day.
struct Light {
  Color low, middle, high;  ///< sky
  Color tint;               ///< factor on everything the light falls on
  Color cloud, disc;        ///< clouds; sun or moon
  double disc_y_m, disc_radius_m;
  bool lamps, stars;
};

Light light_at(const std::string& time) {
  if (time == "at dawn")
    return {{255, 214, 170},
            {248, 190, 190},
            {150, 176, 220},
            {1.0f, 0.9f, 0.86f},
            {255, 226, 214},
            {255, 240, 190},
            2.3,
            0.95,
            false,
            false};
  if (time == "at noon")
    return {{206, 234, 248},
            {134, 196, 238},
            {70, 150, 220},
            {1, 1, 1},
            {252, 253, 255},
            {255, 240, 150},
            7.9,
            0.75,
            false,
            false};
  if (time == "at dusk")
    return {{255, 158, 84},
            {226, 100, 104},
            {92, 70, 140},
            {0.92f, 0.74f, 0.72f},
            {246, 140, 126},
            {255, 196, 92},
            2.1,
            1.05,
            true,
            false};
  if (time == "at night")
    return {{52, 70, 122}, {30, 42, 92}, {14, 20, 56}, {0.42f, 0.46f, 0.66f}, {54, 66, 116}, {244, 240, 214}, 7.5,
            0.7,           true,         true};
  broken_promise("known time of day", __FILE__, __LINE__, time);
}

Color wall_color(const std::string& name) {
  if (name == "white") return {246, 240, 230};
  if (name == "yellow") return {246, 206, 92};
  if (name == "red") return {186, 66, 54};
  if (name == "blue") return {98, 150, 206};
  if (name == "grey") return {146, 150, 160};
  broken_promise("known wall colour", __FILE__, __LINE__, name);
}

Color roof_color(const std::string& name) {
  if (name == "red") return {206, 62, 44};
  if (name == "brown") return {126, 82, 56};
  if (name == "dark") return {62, 64, 78};
  if (name == "green") return {50, 116, 96};
  broken_promise("known roof colour", __FILE__, __LINE__, name);
}

struct House {
  double half_m, wall_m, rise_m, chimney_x_m;
  bool gable;
  Color wall, roof;
};

void draw_sky(const Pen& pen, const Draws& draws, const Light& light, double disc_x) {
  pen.sky(horizon_m, 9, light.low, light.middle, light.high);
  // Cells of the world, not of the frame: what a pan reveals is where it was.
  const auto cells = [&](double size, double margin, auto&& body) {
    const auto first = static_cast<std::int64_t>(std::floor((pen.left_m() - margin) / size));
    const auto last = static_cast<std::int64_t>(std::floor((pen.right_m() + margin) / size));
    for (std::int64_t i = first; i <= last; ++i) body(i, static_cast<double>(i) * size);
  };
  if (light.stars)
    cells(1.3, 0.2, [&](std::int64_t i, double x) {
      pen.add_disc({x + 1.3 * draws.unit("star x", i), draws.between(3.5, 9.5, "star y", i)},
                   draws.between(0.06, 0.12, "star", i));
    });
  if (light.stars) pen.fill({236, 238, 250});
  pen.add_disc({disc_x, light.disc_y_m}, 1.6 * light.disc_radius_m);
  pen.fill(light.disc, 0.22f);
  pen.add_disc({disc_x, light.disc_y_m}, light.disc_radius_m);
  pen.fill(light.disc);
  cells(6, 3, [&](std::int64_t i, double left) {
    const double x = left + 6 * draws.unit("cloud x", i), y = draws.between(5.6, 8.4, "cloud y", i);
    const double w = draws.between(0.8, 1.5, "cloud", i);
    pen.add_ellipse({x, y}, w, 0.26 * w);
    pen.add_ellipse({x - 0.35 * w, y + 0.16 * w}, 0.4 * w, 0.3 * w);
    pen.add_ellipse({x + 0.2 * w, y + 0.24 * w}, 0.48 * w, 0.4 * w);
    pen.fill(light.cloud, 0.8f);
  });
  cells(7, 7, [&](std::int64_t i, double left) {  // far hills take half of the sky's colour
    pen.add_ellipse({left + 7 * draws.unit("hill x", i), horizon_m}, draws.between(4, 6.5, "hill", i),
                    draws.between(0.7, 1.5, "hill y", i));
    pen.fill(mixed(Color{96, 142, 110} * light.tint, light.low, 0.4f));
  });
}

void draw_tree(const Pen& pen, const Light& light, double x, double base, double height, bool pointed) {
  pen.rect(x - 0.13, base, x + 0.13, base + 0.4 * height, Color{104, 74, 54} * light.tint);
  const Color dark = Color{44, 104, 70} * light.tint, bright = Color{72, 138, 80} * light.tint;
  if (pointed) {
    for (int k = 0; k < 3; ++k) {
      const double low = base + height * (0.18 + 0.24 * k), half = height * (0.26 - 0.06 * k);
      pen.add({{x - half, low}, {x + half, low}, {x, low + 0.4 * height}});
    }
    pen.fill(dark);
  } else {
    const double r = 0.3 * height;
    pen.add_disc({x, base + 0.68 * height}, r);
    pen.add_disc({x - 0.6 * r, base + 0.5 * height}, 0.7 * r);
    pen.add_disc({x + 0.6 * r, base + 0.52 * height}, 0.72 * r);
    pen.fill(dark);
    pen.add_disc({x - 0.3 * r, base + 0.75 * height}, 0.55 * r);
    pen.fill(bright);
  }
}

void draw_meadow(const Pen& pen, const Draws& draws, const Light& light, const House& house) {
  const double left = pen.left_m() - 1, right = pen.right_m() + 1;
  pen.rect(left, -20, right, horizon_m, Color{122, 172, 92} * light.tint);
  pen.rect(left, -20, right, 0.25, Color{104, 158, 80} * light.tint);
  pen.rect(left, -20, right, -1.7, Color{88, 142, 72} * light.tint);
  for (auto i = static_cast<std::int64_t>(std::floor(left / 3.2)) - 1; static_cast<double>(i) * 3.2 < right + 2; ++i) {
    const double x = static_cast<double>(i) * 3.2 + 3.2 * draws.unit("tree x", i);
    const double height = draws.between(2.4, 4.4, "tree", i);
    if (draws.pick(10, "tree here", i) < 6 && std::abs(x) > house.half_m + 0.35 * height + 0.5)
      draw_tree(pen, light, x, draws.between(0.5, 1.1, "tree y", i), height, draws.pick(3, "tree kind", i) == 0);
  }
  for (auto i = static_cast<std::int64_t>(std::floor(left / 0.9)) - 1; static_cast<double>(i) * 0.9 < right; ++i)
    pen.add_disc(
        {static_cast<double>(i) * 0.9 + 0.9 * draws.unit("flower x", i), draws.between(-2.9, -1.2, "flower", i)}, 0.1);
  pen.fill(Color{252, 236, 160} * light.tint);
}

void draw_house(const Pen& pen, const Light& light, const House& h) {
  const Color wall = h.wall * light.tint, roof = h.roof * light.tint, white = Color{250, 246, 238} * light.tint;
  const Color shade{24, 20, 40};
  const double top = h.wall_m + h.rise_m, eaves = h.half_m + 0.45;
  pen.add({{-0.5, 0}, {0.5, 0}, {1.1, -3.2}, {-1.1, -3.2}});
  pen.fill(Color{214, 190, 150} * light.tint);
  pen.rect(h.chimney_x_m - 0.3, h.wall_m, h.chimney_x_m + 0.3, top + 0.25, Color{150, 84, 70} * light.tint);
  pen.rect(h.chimney_x_m - 0.38, top + 0.05, h.chimney_x_m + 0.38, top + 0.3, Color{110, 62, 56} * light.tint);
  pen.rect(-h.half_m, 0, h.half_m, h.wall_m, wall);
  pen.rect(-h.half_m, 0, h.half_m, 0.28, shade, 0.25f);
  if (h.gable) {
    pen.add({{-h.half_m, h.wall_m}, {h.half_m, h.wall_m}, {0, top}});
    pen.fill(wall);
    const double t = 0.42;  // thickness of the roof's two slopes
    pen.add({{-eaves, h.wall_m - 0.25}, {0, top}, {0, top + 1.3 * t}, {-eaves - 0.1, h.wall_m - 0.25 + t}});
    pen.add({{eaves, h.wall_m - 0.25}, {0, top}, {0, top + 1.3 * t}, {eaves + 0.1, h.wall_m - 0.25 + t}});
    pen.fill(roof);
  } else {
    pen.rect(-h.half_m, h.wall_m - 0.25, h.half_m, h.wall_m, shade, 0.22f);
    pen.add({{-eaves, h.wall_m}, {eaves, h.wall_m}, {0.62 * h.half_m, top}, {-0.62 * h.half_m, top}});
    pen.fill(roof);
    pen.rect(-eaves, h.wall_m - 0.02, eaves, h.wall_m + 0.2, mixed(roof, shade, 0.3f));
  }
  const Color glass = light.lamps ? Color{255, 214, 116} : Color{112, 164, 198} * light.tint;
  const auto window = [&](double x, double y, double half_w, double half_h) {
    if (light.lamps) {
      pen.add_ellipse({x, y}, 2.2 * half_w, 2 * half_h);
      pen.fill({255, 206, 110}, 0.2f);
    }
    pen.rect(x - half_w - 0.13, y - half_h - 0.13, x + half_w + 0.13, y + half_h + 0.13, white);
    pen.rect(x - half_w, y - half_h, x + half_w, y + half_h, glass);
    pen.rect(x - 0.05, y - half_h, x + 0.05, y + half_h, white);
  };
  window(-0.6 * h.half_m, 1.55, 0.52, 0.55);
  window(0.6 * h.half_m, 1.55, 0.52, 0.55);
  if (h.gable) window(0, h.wall_m + 0.32 * h.rise_m, 0.36, 0.36);
  pen.rect(-0.6, 0, 0.6, 2.1, white);
  pen.rect(-0.45, 0, 0.45, 1.95, Color{112, 66, 48} * light.tint);
}

}  // namespace

Clip make_house(std::uint64_t seed, const Spec& spec, const std::function<Shake(std::int64_t frame)>& shake) {
  const Draws draws(seed, "house");
  Knobs knobs(spec, draws);
  const std::string wall = knobs.word("wall", slot_words("house", "wall")),
                    time = knobs.word("time", slot_words("house", "time"));
  std::string roof = knobs.word("roof", slot_words("house", "roof"));
  if (roof == wall && !knobs.given("roof")) roof = "dark";  // a red roof on red walls cannot be told apart
  const std::string camera = knobs.word("camera", slot_words("house", "camera"));
  const double way = camera == "slow pan to the right" ? 1 : camera == "slow pan to the left" ? -1 : 0;
  const bool pushes = camera == "slow push in";
  // A pan crosses the frame's width in 20 to 33 s; a push in comes closer by 2 to 3 % of the distance each second.
  const double pan_m_per_s = way == 0 ? 0 : knobs.number("speed", draws.between(0.03, 0.05, "pan") * view_m, 0, 5);
  const double push_per_s = pushes ? knobs.number("speed", draws.between(0.02, 0.03, "push"), 0, 0.5) : 0;
  knobs.refuse_others("house");

  const House house = {draws.between(2.5, 3.2, "half"),
                       draws.between(2.5, 2.9, "wall height"),
                       draws.between(1.7, 2.3, "rise"),
                       (draws.pick(2, "chimney side") ? 1 : -1) * draws.between(0.9, 1.5, "chimney"),
                       draws.pick(2, "gable") == 0,
                       wall_color(wall),
                       roof_color(roof)};
  const Light light = light_at(time);
  const double start_x = pushes     ? draws.between(-0.3, 0.3, "start")
                         : way == 0 ? draws.between(-0.8, 0.8, "start")
                                    : -way * draws.between(0.8, 2.2, "start");
  const double disc_x = start_x + (draws.pick(2, "disc side") ? 1 : -1) * draws.between(3.6, 5.2, "disc");

  const double px_per_m = static_cast<double>(std::min(spec.width_px, spec.height_px)) / view_m;
  Clip clip = blank_clip("house", seed, spec, px_per_m);
  Canvas canvas(static_cast<int>(spec.width_px), static_cast<int>(spec.height_px));
  Track track;
  track.name = "house";
  track.half_width_m = house.half_m;
  track.half_height_m = 0.5 * (house.wall_m + house.rise_m);
  for (std::int64_t f = 0; f < spec.num_frames; ++f) {
    const auto i = static_cast<std::size_t>(f);
    const double t = static_cast<double>(f) / spec.fps;
    // Pushing in never arrives: after 90 % of the way the camera stops.
    const Shake shaken = shake ? shake(f) : Shake{};
    const double zoom = shaken.zoom / (1 - std::min(push_per_s * t, 0.9)), pan_m = way * pan_m_per_s * t + shaken.x_px / px_per_m;
    const Pen pen{canvas, {start_x + pan_m, look_y_m - shaken.y_px / px_per_m}, px_per_m * zoom};
    append(track, pen, {0, track.half_height_m}, {0, 0}, track.half_width_m, track.half_height_m);
    clip.camera.x_px[i] = pan_m * px_per_m;
    clip.camera.y_px[i] = shaken.y_px;
    clip.camera.zoom[i] = zoom;
    if (f > 0 && way == 0 && !pushes && !shake) {
      std::copy(clip.film.frame(0), clip.film.frame(1), clip.film.frame(f));
      continue;
    }
    draw_sky(pen, draws, light, disc_x);
    draw_meadow(pen, draws, light, house);
    draw_house(pen, light, house);
    canvas.store(clip.film.frame(f));
  }
  clip.objects.push_back(std::move(track));
  clip.attributes = {{"wall", wall}, {"roof", roof}, {"time", time}, {"camera", camera}};
  clip.caption = caption("house", draws, clip.attributes);
  clip.facts = {{"pan_m_per_s", way * pan_m_per_s},
                {"push_per_s", push_per_s},
                {"house_half_width_m", house.half_m},
                {"wall_m", house.wall_m},
                {"roof_m", house.wall_m + house.rise_m}};
  return clip;
}

}  // namespace reel::worlds
