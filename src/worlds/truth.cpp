// The truth of a clip as JSON, and back.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "core/error.hpp"
#include "worlds/world.hpp"

namespace reel::worlds {

std::string truth_json(const Clip& clip) {
  // One line per key and per object: short enough to read, and lists of numbers stay on one line.
  std::string out = "{\n";
  const auto line = [&](const char* key, const nlohmann::ordered_json& value) {
    out += fmt::format("  \"{}\": {},\n", key, value.dump());
  };
  line("world", clip.world);
  line("seed", clip.seed);
  line("caption", clip.caption);
  line("frames", clip.film.num_frames);
  line("height_px", clip.film.height_px);
  line("width_px", clip.film.width_px);
  line("fps", clip.film.fps);
  line("px_per_m", clip.px_per_m);
  line("facts", clip.facts);
  line("attributes", clip.attributes);
  line("camera", {{"x_px", clip.camera.x_px}, {"y_px", clip.camera.y_px}, {"zoom", clip.camera.zoom}});
  out += "  \"objects\": [";
  for (const Track& t : clip.objects)
    out += (&t == &clip.objects.front() ? "\n    " : ",\n    ") +
           nlohmann::ordered_json{{"name", t.name},
                                  {"half_width_m", t.half_width_m},
                                  {"half_height_m", t.half_height_m},
                                  {"x_m", t.x_m},
                                  {"y_m", t.y_m},
                                  {"vx_m_per_s", t.vx_m_per_s},
                                  {"vy_m_per_s", t.vy_m_per_s},
                                  {"x_px", t.x_px},
                                  {"y_px", t.y_px},
                                  {"visible", t.visible}}
               .dump();
  return out + "\n  ]\n}\n";
}


Clip read_truth(std::string_view text, const std::string& name) {
  const auto bad = [&](const std::string& what) {
    return Error(Exit::input, what, name, "give the .truth.json that `reel world NAME --out DIR` wrote");
  };
  const nlohmann::json j = nlohmann::json::parse(text, nullptr, false);
  if (j.is_discarded() || !j.is_object()) throw bad("is not a truth file: no JSON object");
  Clip clip;
  try {
    clip.world = j.at("world").get<std::string>();
    clip.seed = j.at("seed").get<std::uint64_t>();
    clip.caption = j.at("caption").get<std::string>();
    clip.film.num_frames = j.at("frames").get<std::int64_t>();
    clip.film.height_px = j.at("height_px").get<std::int64_t>();
    clip.film.width_px = j.at("width_px").get<std::int64_t>();
    clip.film.fps = j.at("fps").get<double>();
    clip.px_per_m = j.at("px_per_m").get<double>();
    j.at("facts").get_to(clip.facts);
    j.at("attributes").get_to(clip.attributes);
    const auto& camera = j.at("camera");
    camera.at("x_px").get_to(clip.camera.x_px);
    camera.at("y_px").get_to(clip.camera.y_px);
    camera.at("zoom").get_to(clip.camera.zoom);
    for (const auto& o : j.at("objects")) {
      Track t;
      t.name = o.at("name").get<std::string>();
      t.half_width_m = o.at("half_width_m").get<double>();
      t.half_height_m = o.at("half_height_m").get<double>();
      o.at("x_m").get_to(t.x_m);
      o.at("y_m").get_to(t.y_m);
      o.at("vx_m_per_s").get_to(t.vx_m_per_s);
      o.at("vy_m_per_s").get_to(t.vy_m_per_s);
      o.at("x_px").get_to(t.x_px);
      o.at("y_px").get_to(t.y_px);
      o.at("visible").get_to(t.visible);
      clip.objects.push_back(std::move(t));
    }
  } catch (const nlohmann::json::exception& e) {
    throw bad(fmt::format("is not a truth file: {}", e.what()));
  }
  const auto frames = static_cast<std::size_t>(clip.film.num_frames);
  bool whole = clip.film.num_frames > 0 && clip.film.fps > 0 && clip.px_per_m > 0;
  whole = whole && clip.camera.x_px.size() == frames && clip.camera.y_px.size() == frames && clip.camera.zoom.size() == frames;
  for (const Track& t : clip.objects) {
    for (const auto* list : {&t.x_m, &t.y_m, &t.vx_m_per_s, &t.vy_m_per_s, &t.x_px, &t.y_px}) whole = whole && list->size() == frames;
    whole = whole && t.visible.size() == frames;
  }
  if (!whole) throw bad("is not a truth file: its lists do not have one entry for every frame");
  return clip;
}

}  // namespace reel::worlds
