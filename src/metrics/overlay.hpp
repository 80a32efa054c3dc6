#pragma once
// Why a number is what it is, drawn on the film: tracks, camera, events.
#include "metrics/measure.hpp"

namespace reel::metrics {

/// Draws what was measured of `shot` on its frame number `f` (from 0). Small films should be enlarged first: `zoom` is
/// the factor between the measured film and `frame`. Tracks: a cross and a tail of one second; camera: the outline of
/// the shot's first picture; events: a ring and their id for half a second.
void draw_overlay(Frame& frame, const ShotReport& shot, std::int64_t f, int zoom = 1);

/// The frame `zoom` times as large, pixels repeated.
Frame enlarged(const Frame& frame, int zoom);

}  // namespace reel::metrics
