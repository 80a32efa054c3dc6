#include "study/truth.hpp"

#include <algorithm>
#include <array>
#include <fstream>
#include <iterator>
#include <optional>

#include "core/error.hpp"
#include "metrics/detect.hpp"
#include "metrics/phyworld.hpp"

namespace reel::study {
namespace {

using metrics::PhyWorldBall;
using metrics::Track;

/// A true object in the terms of the metrics.
Track true_track(const worlds::Clip& truth, const worlds::Track& object, std::size_t num_frames) {
  Track t;
  t.name = object.name;
  const double area = 3.14159265358979323846 * object.half_width_m * object.half_height_m * truth.px_per_m * truth.px_per_m;
  const auto wait = truth.facts.find("wait_s"), fall = truth.facts.find("fall_s");
  const double end_s = wait != truth.facts.end() && fall != truth.facts.end() ? wait->second + fall->second : 1e300;
  for (std::size_t f = 0; f < num_frames; ++f) {
    t.time_s.push_back(static_cast<double>(f) / truth.film.fps);
    t.x_px.push_back(object.x_px[f]);
    t.y_px.push_back(object.y_px[f]);
    t.whole.push_back(object.visible[f] && t.time_s.back() <= end_s ? 1 : 0);
  }
  t.area_px.assign(num_frames, area);
  t.major_px = t.minor_px = std::vector<double>(num_frames, 0.5 * object.half_width_m * truth.px_per_m);
  t.sigma_px = 0;
  return t;
}

/// The film's track of an object, `num_frames` long, or one that was never seen.
Track find_track(const metrics::FilmReport& film, const std::string& name, const Track& like, std::size_t num_frames) {
  Track found = like;
  bool seen = false;
  if (film.shots.size() == 1)
    for (const Track& t : film.shots[0].tracks)
      if (t.name == name && !seen) {
        found = t;
        seen = true;
      }
  for (auto* list : {&found.x_px, &found.y_px, &found.area_px, &found.major_px, &found.minor_px}) {
    if (!seen) std::fill(list->begin(), list->end(), metrics::nan);
    list->resize(num_frames);
  }
  found.time_s.resize(num_frames);
  if (!seen) std::fill(found.whole.begin(), found.whole.end(), std::uint8_t{0});
  found.whole.resize(num_frames);
  return found;
}

double fact(const worlds::Clip& truth, const char* name, double otherwise) {
  const auto found = truth.facts.find(name);
  return found == truth.facts.end() ? otherwise : found->second;
}

/// The tracks as the scene's law goes on after the given frames of `seen`; none when these do not tell.
std::vector<Track> by_law(const worlds::Clip& truth, std::vector<Track> seen, std::int64_t num_given, double dt_s) {
  const double left_s = fact(truth, "wait_s", -1);  // standing on the roof is no part of the flight
  for (Track& t : seen)
    for (std::size_t f = 0; f < t.time_s.size() && static_cast<double>(f) * dt_s < left_s; ++f) t.x_px[f] = t.y_px[f] = metrics::nan;
  try {
    if (truth.world == "collision" && seen.size() == 2) {
      const double k = truth.px_per_m;
      const std::array<Track, 2> both = metrics::phyworld_extrapolate_impact(
          {seen[0], seen[1]}, num_given, dt_s, {fact(truth, "radius_m", 0) * k, fact(truth, "other_radius_m", 0) * k},
          {fact(truth, "mass_kg", 0), fact(truth, "other_mass_kg", 0)});
      return {both[0], both[1]};
    }
    const double fall = fact(truth, "gravity_m_per_s2", 0) * truth.px_per_m;
    for (Track& t : seen) t = metrics::phyworld_extrapolate(t, num_given, dt_s, {0, fall});
    return seen;
  } catch (const Error&) {  // fewer than two given frames show an object
    return {};
  }
}

}  // namespace

worlds::Clip load_truth(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in || std::filesystem::is_directory(path)) throw Error(Exit::input, "cannot be read", path.string(), "check the path of the truth");
  const std::string text{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  return worlds::read_truth(text, path.string());
}

void look_for(const worlds::Clip& truth, metrics::MeasureOptions& options) {
  options.colours = metrics::world_colours(truth.world, truth.attributes);
  options.still_background = truth.world != "house";
  options.objects = truth.world != "house";
  if (!options.scale.known()) options.scale = {1 / truth.px_per_m, 0};
  if (const double g = fact(truth, "gravity_m_per_s2", 0); g > 0) options.gravity_m_per_s2 = g;
}

metrics::Findings against_truth(const metrics::FilmReport& film, const worlds::Clip& truth, std::int64_t num_given) {
  metrics::Findings findings;
  if (truth.world == "house" || truth.objects.empty()) return findings;
  const auto num_frames = static_cast<std::size_t>(std::min(film.num_frames, truth.film.num_frames));
  metrics::PhyWorldOptions options;
  options.film_m_per_px = options.truth_m_per_px = 1 / truth.px_per_m;
  options.dt_s = 1 / truth.film.fps;
  options.num_given = num_given;
  options.collision = truth.world == "collision";
  std::vector<Track> exact, seen, copied;
  for (const worlds::Track& object : truth.objects) {
    exact.push_back(true_track(truth, object, num_frames));
    seen.push_back(find_track(film, object.name, exact.back(), num_frames));
    copied.push_back(metrics::phyworld_copy_last(exact.back(), num_given));
  }
  const auto judge = [&](const std::vector<Track>& tracks) {
    std::vector<PhyWorldBall> balls;
    for (std::size_t i = 0; i < tracks.size(); ++i) {
      const double radius = truth.objects[i].half_width_m;
      balls.push_back({tracks[i], exact[i], radius * radius});
    }
    return metrics::phyworld_findings(metrics::phyworld(balls, options), options);
  };
  metrics::join(findings, judge(seen));
  const auto beside = [&](const std::vector<Track>& tracks, const char* id, const char* name) {
    if (tracks.empty()) return;
    for (metrics::Metric m : judge(tracks).metrics)
      if (m.id == "PW.velocity") {
        m.id = id;
        m.name = name;
        findings.metrics.push_back(std::move(m));
      }
  };
  beside(copied, "PW.velocity_copy", "the same for a film that stands still after the given frames");
  beside(by_law(truth, seen, num_given, options.dt_s), "PW.velocity_law", "the same for the exact law, begun from the given frames");
  return findings;
}

Judged judge(const Film& film, const worlds::Clip& truth, std::int64_t num_given) {
  metrics::MeasureOptions options;
  look_for(truth, options);
  FilmFrames frames(film);
  Judged judged;
  judged.film = metrics::measure(frames, options);
  judged.paired = against_truth(judged.film, truth, num_given);
  return judged;
}

}  // namespace reel::study
