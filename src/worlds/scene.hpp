#pragma once
// What the scenes share: knobs (draws that the caller may override), a pen in metres, and track keeping.
#include <functional>
#include <initializer_list>
#include <limits>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "worlds/canvas.hpp"
#include "worlds/draws.hpp"
#include "worlds/world.hpp"

namespace reel::worlds {

using Words = std::vector<std::string>;

/// Draws one scene's attributes; Spec::set overrides them by name.
class Knobs {
 public:
  Knobs(const Spec& spec, const Draws& draws) : spec_(spec), draws_(draws) {}

  /// `drawn`, or the override, which must lie in [low, high].
  double number(const std::string& key, double drawn, double low, double high);
  /// One of `options` by the seed, or the override, which must be one of them.
  std::string word(const std::string& key, const Words& options);
  /// Whether the caller overrides `key`.
  bool given(const std::string& key) { return find(key) != nullptr; }
  /// Throws Error(Exit::usage) if `set` has a key that the scene did not ask for.
  void refuse_others(std::string_view world) const;

 private:
  const std::string* find(const std::string& key);
  const Spec& spec_;
  const Draws& draws_;
  std::set<std::string> asked_;
};

/// Draws on a canvas in metres, y up. The camera looks at `look_at`, which is the middle of the frame.
struct Pen {
  Canvas& canvas;
  Point look_at;
  double px_per_m;

  Point px(Point m) const {
    return {0.5 * canvas.width_px() + (m.x - look_at.x) * px_per_m,
            0.5 * canvas.height_px() - (m.y - look_at.y) * px_per_m};
  }
  double left_m() const { return look_at.x - 0.5 * canvas.width_px() / px_per_m; }
  double right_m() const { return look_at.x + 0.5 * canvas.width_px() / px_per_m; }

  void add(std::initializer_list<Point> polygon) const;
  void add_rect(double x0, double y0, double x1, double y1) const;
  void add_disc(Point center, double radius) const { canvas.add_disc(px(center), radius * px_per_m); }
  void add_ellipse(Point center, double rx, double ry) const {
    canvas.add_ellipse(px(center), rx * px_per_m, ry * px_per_m);
  }
  void fill(Color color, float opacity = 1) const { canvas.fill(color, opacity); }
  void rect(double x0, double y0, double x1, double y1, Color color, float opacity = 1) const {
    add_rect(x0, y0, x1, y1);
    fill(color, opacity);
  }
  /// Vertical gradient over the whole canvas: `low` at height y0, `middle` half way, `high` at y1, flat beyond.
  void sky(double y0, double y1, Color low, Color middle, Color high) const;
};

/// A clip with its frames allocated, its camera locked off, and no pictures yet.
Clip blank_clip(std::string_view world, std::uint64_t seed, const Spec& spec, double px_per_m);

/// Appends one frame to a track.
void append(Track& track, const Pen& pen, Point at_m, Point velocity_m_per_s, double half_width_m,
            double half_height_m);

/// The side (-1 left, 1 right) named by the attribute "direction".
inline double side(const std::string& direction) { return direction == "left" ? -1 : 1; }

/// Fills the slots of one of the world's caption templates, picked by the seed.
std::string caption(const std::string& world, const Draws& draws, const std::map<std::string, std::string>& attributes);
/// The words that may stand in a slot of a world's captions.
const Words& slot_words(const std::string& world, const std::string& slot);

/// Throws Error(Exit::usage) that names the worlds there are.
[[noreturn]] void refuse_world(std::string_view world);

/// What a broken clip changes of its scene, see broken.hpp; as it stands, nothing.
struct Flaw {
  double gravity_factor = 1;  ///< of the scene's gravity from `from_s` on; uniform has none
  double from_s = std::numeric_limits<double>::infinity();
  bool collide = true;  ///< false: balls pass through each other
  bool empty = false;   ///< nothing is drawn but what stands still; the tracks stay
};

// One function per file: the scenes. `spec` has been checked; `seed` fixes everything else.
Clip make_ball(std::string_view world, std::uint64_t seed, const Spec& spec, const Flaw& flaw = {});  // uniform, parabola
Clip make_collision(std::uint64_t seed, const Spec& spec, const Flaw& flaw = {});
Clip make_fall(std::uint64_t seed, const Spec& spec, const Flaw& flaw = {});
/// What an unsteady camera adds to its path in one frame: pixels of frame 0, and a factor on the zoom.
struct Shake {
  double x_px = 0, y_px = 0, zoom = 1;
};
Clip make_house(std::uint64_t seed, const Spec& spec, const std::function<Shake(std::int64_t frame)>& shake = {});
Clip make_flawed_house(std::string_view injection, double knob, std::uint64_t seed, const Spec& spec);  // for the lab

}  // namespace reel::worlds
