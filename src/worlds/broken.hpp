#pragma once
// Broken clips: a clip of a world, and the same clip with exactly one law broken by a stated amount after its first
// frames. Both look alike, cost the same to draw and carry the same caption; a model that knows the law should tell
// them apart (LikePhys, Yuan et al., arXiv 2510.11512). Unlike the lab's clips these are the very scenes that the
// models saw.
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "worlds/world.hpp"

namespace reel::worlds {

/// One way to break a law. `amount` is the usual one.
struct Break {
  std::string name, law, unit;
  double amount = 0;
  std::vector<std::string> scenes;  ///< where it can be
};

// clang-format off
/// | name    | scenes         | what happens from the event frame on                     | amount      | clean |
/// |---------|----------------|----------------------------------------------------------|-------------|-------|
/// | freeze  | all four       | everything stands still, then goes on as it was          | frames, 4   | 0     |
/// | skip    | all four       | everything jumps ahead along its path                    | frames, 4   | 0     |
/// | vanish  | all four       | nothing but the still background, then as if there       | frames, 4   | 0     |
/// | gravity | parabola, fall | gravity is `amount` times what it was; -1: falls up      | factor, -1  | 1     |
/// | pass    | collision      | the balls go on as if they had not met                   | none, 1     | 0     |
// clang-format on
///
/// There is no reversal of time: a parabola filmed backwards obeys the same law, and so does uniform motion, which has
/// no gravity to turn round either.
const std::vector<Break>& breaks();

/// Frames at the start that are always those of the valid clip: two latent frames.
inline constexpr std::int64_t num_kept_frames = 5;

/// `worlds::make(scene, seed, spec)` with the law broken: same appearance, caption and facts, and the facts
/// "event_frame" (the first frame that can differ) and "amount". The tracks are those of the broken clip, not visible
/// where vanished. The event of freeze, skip, vanish and gravity is drawn from the seed among the frames where
/// everything is in motion and wholly visible and no impact happens, from three frames before the event until the
/// effect of four frames (of `amount` frames, if more) is over; that of pass is the impact. Nothing when no frame from
/// number 5 to the middle of the clip (pass: to its end) will do. Throws Error (Exit::usage) for an unknown scene or
/// break, a break that the scene does not know, an amount out of range (frames: whole, 0 to 1000; factor: -10 to 10;
/// pass: 0 or 1), and as `make` does.
std::optional<Clip> make_broken(std::string_view scene, std::string_view name, double amount, std::uint64_t seed,
                                const Spec& spec = {});

}  // namespace reel::worlds
