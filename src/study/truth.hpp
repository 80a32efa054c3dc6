#pragma once
// What a world's truth is good for when a film is measured: how to look, and how far off the film is.
#include <cstdint>
#include <filesystem>

#include "metrics/measure.hpp"
#include "worlds/world.hpp"

namespace reel::study {

/// The truth in a file that `reel world` wrote. Throws Error (Exit::input).
worlds::Clip load_truth(const std::filesystem::path& path);

/// How to look at a film of this world: objects by their colours, scale, gravity, whether the camera stands. A scale that
/// is already there stays.
void look_for(const worlds::Clip& truth, metrics::MeasureOptions& options);

/// How far a measured film is from the truth: PhyWorld's numbers, and beside "PW.velocity" the same for two other ways to
/// go on after the first `num_given` frames, which are not judged: "PW.velocity_copy", nothing moves any more, and
/// "PW.velocity_law", the scene's exact law of motion, begun from what the film shows in the given frames (from two on).
/// A jumper is judged until the landing. Nothing for a scene without objects.
metrics::Findings against_truth(const metrics::FilmReport& film, const worlds::Clip& truth, std::int64_t num_given);

/// A film measured as one of this world, and against it.
struct Judged {
  metrics::FilmReport film;
  metrics::Findings paired;
};
Judged judge(const Film& film, const worlds::Clip& truth, std::int64_t num_given);

}  // namespace reel::study
