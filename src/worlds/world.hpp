#pragma once
// The backlot: small scenes with exact ground truth. Every scene is a function of (world, seed, spec) alone.
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/tensor.hpp"

namespace reel::worlds {

/// How to film a scene. The scene itself is chosen by the seed; `set` overrides single draws.
struct Spec {
  std::int64_t width_px = 64, height_px = 64;  ///< 8 to 4096 each
  std::int64_t num_frames = 33;                ///< at least 1; a longer clip continues a shorter one, same pixels
  double fps = 16;                             ///< frames per second, 1 to 1000; frame f is the instant f / fps
  std::map<std::string, std::string> set;      ///< overrides, e.g. {"speed", "2.5"}; unknown keys are refused
};

/// Where one object truly is in every frame. Metres: x to the right, y up. Pixels: x to the right, y down, from the
/// top left corner of the frame, so the centre of the first pixel is (0.5, 0.5). Speeds are those of the object, not
/// of its picture. The point is the centroid of the drawn silhouette.
struct Track {
  std::string name;
  std::vector<double> x_m, y_m, vx_m_per_s, vy_m_per_s, x_px, y_px;
  std::vector<bool> visible;                   ///< wholly inside the frame
  double half_width_m = 0, half_height_m = 0;  ///< half the bounding box, upright; the radius of a ball
};

/// Camera of every frame. A still point seen at p in frame 0 is seen at c + zoom (p - c - (x_px, y_px)),
/// c being the middle of the frame. All zeros and ones for a camera that is locked off.
struct CameraPath {
  std::vector<double> x_px, y_px, zoom;
};

/// A film, the caption a viewer might write, and the truth behind it.
struct Clip {
  Film film;
  std::string world, caption;
  std::uint64_t seed = 0;
  double px_per_m = 0;  ///< at zoom 1
  std::vector<Track> objects;
  CameraPath camera;
  std::map<std::string, double> facts;            ///< numbers with their unit in the name: gravity_m_per_s2
  std::map<std::string, std::string> attributes;  ///< words of the caption: {"wall", "white"}
};

/// Names of all scenes, sorted.
std::vector<std::string> names();

/// Makes the scene `world` ("mix" picks one by the seed). Same arguments, same bytes, on any machine.
/// Throws Error(Exit::usage) for an unknown world or key, a value out of range, or an absurd size.
Clip make(std::string_view world, std::uint64_t seed, const Spec& spec = {});

/// The scene that "mix" films for this seed: house 30 %, fall 30 %, parabola 15 %, collision 15 %, uniform 10 %.
std::string mix_world(std::uint64_t seed);

/// Everything but the pixels, as JSON: tracks, camera, facts, caption.
std::string truth_json(const Clip& clip);
/// The clip, without pixels, that `truth_json` wrote; `name` is the file, for messages. Throws Error (Exit::input).
Clip read_truth(std::string_view text, const std::string& name);

/// Every caption the grammar can produce for one world (or "mix": for all), without repeats, in a fixed order.
/// Meant for training a tokenizer. Throws Error(Exit::usage) for an unknown world.
std::vector<std::string> captions(std::string_view world);

}  // namespace reel::worlds
