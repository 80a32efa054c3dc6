#pragma once
// A wish to stop, from a signal. Who can stop in order listens; otherwise signals end the process as usual.
#include <csignal>

namespace reel {

/// The signal that asked to stop, 0 for none. Written by signal handlers.
inline volatile std::sig_atomic_t stop_signal = 0;
/// Not 0 while somebody looks at `stop_signal` between two steps: the first signal then only asks.
inline volatile std::sig_atomic_t stop_is_heard = 0;

/// Listens for as long as it lives.
class HearStop {
 public:
  HearStop() { stop_is_heard = 1; }
  ~HearStop() { stop_is_heard = 0; }
  HearStop(const HearStop&) = delete;
  HearStop& operator=(const HearStop&) = delete;
};

}  // namespace reel
