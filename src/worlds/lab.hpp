#pragma once
// The lab: clips with one law broken by a known amount, and clips with a flaw of the picture of a known size. Calibration
// turns the knob and asks the metrics for it back. Unlike the worlds, these clips are not promised to be the same bytes
// with every mathematical library.
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "worlds/world.hpp"

namespace reel::worlds {

/// One knob. `knobs` are the settings that calibration uses; the clean one, if any, comes first.
struct Injection {
  std::string name, knob, unit;
  std::vector<double> knobs;
};

/// | name        | scene                              | knob                                        | clean |
/// |-------------|------------------------------------|---------------------------------------------|-------|
/// | gravity     | two balls dropped side by side     | both fall with 9.81 (1 + knob) m/s2         | 0     |
/// | heavier     | the same                           | one falls with 9.81 (1 + knob) m/s2         | 0     |
/// | exponent    | one ball dropped from rest         | drop grows as t^knob                        | 2     |
/// | slow_motion | two balls dropped side by side     | plays at `knob` times real speed            | 1     |
/// | bounce      | a ball bounces on a floor          | speed after / before contact                | 0.8   |
/// | kick        | two balls collide, restitution 1   | momentum after = (1 + knob) before          | 0     |
/// | teleport    | a ball rolls                       | jumps `knob` pixels across its path         | 0     |
/// | vanish      | a ball rolls                       | is gone for `knob` frames                   | 0     |
/// | duplicate   | a ball rolls                       | a second one is there for `knob` frames     | 0     |
/// | size_pulse  | a ball rolls                       | radius r (1 + knob sin(2 pi 2 Hz t))        | 0     |
/// | jitter      | house, locked off                  | camera moves by `knob` px sin, 3 Hz, in x   | 0     |
/// | wobble      | house, locked off                  | smooth warp of `knob` px RMS, 3 Hz          | 0     |
/// | boil        | house, locked off                  | texture noise of `knob` levels, sigma       | 0     |
/// | flicker     | house, locked off                  | brightness + `knob` levels sin, about 4 Hz  | 0     |
/// | pan, push   | house                              | times the usual speed: nothing is wrong     | 0     |
const std::vector<Injection>& injections();

/// Films one injection. Facts hold "injected" (the knob), and where it applies "event_frame", "floor_m". The scene is
/// drawn from `seed`; `spec.set` must be empty. Throws Error (Exit::usage) for an unknown name or a knob out of range.
Clip make_injected(std::string_view name, double knob, std::uint64_t seed, const Spec& spec);

}  // namespace reel::worlds
