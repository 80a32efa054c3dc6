#include "metrics/wobble.hpp"

#include "core/error.hpp"

namespace reel::metrics {

void Wobble::add(const Frame& frame, const CameraTracker& camera) {
  rigid_.add(camera);
  boil_.add(camera);
  flicker_.add(frame, camera);
  warping_.add(flicker_.small_rgb(), camera.grey().height_px, camera.grey().width_px, frame.time_s);
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
