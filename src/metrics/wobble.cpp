#include "metrics/wobble.hpp"

#include "core/error.hpp"
#include "core/parallel.hpp"

namespace reel::metrics {

void Wobble::add(const Frame& frame, const CameraTracker& camera) {
  const std::vector<std::uint8_t> small = reduced_rgb(frame, camera.factor());
  // None of the parts knows the others; the longest first.
  parallel_for(3, [&](std::int64_t part) {
    if (part == 0) flicker_.add(frame, camera, small);
    if (part == 1) warping_.add(small, camera.grey().height_px, camera.grey().width_px, frame.time_s);
    if (part == 2) rigid_.add(camera), boil_.add(camera);
  });
}

Findings Wobble::finish(const CameraTracker& camera) {
  Findings out = path_jitter(camera.path());
  for (Findings part : {rigid_.finish(), boil_.finish(), flicker_.finish(), warping_.finish()}) {
    for (Metric& m : part.metrics) out.metrics.push_back(std::move(m));
    for (Trace& t : part.traces) out.traces.push_back(std::move(t));
    for (Event& e : part.events) out.events.push_back(std::move(e));
  }
  return out;
}

}  // namespace reel::metrics
