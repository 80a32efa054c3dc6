#pragma once
// Threads. Work is split over outputs only: there is no parallel reduction here, by design.
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <type_traits>

namespace reel {

/// Number of threads of this process for `parallel_for`; call once before the first one. Throws on n < 1.
void set_num_threads(int n);
int num_threads();
/// Cores this process may run on (its affinity mask).
int num_cores();

namespace detail {
void poll();
void parallel_for(std::int64_t n, void* context, void (*body)(void*, std::int64_t));
}

/// Calls body(i) for i in [0, n), each exactly once, in any order on any thread. The first exception is rethrown. Within
/// another parallel_for it runs on the calling thread.
template <class Body>
void parallel_for(std::int64_t n, Body&& body) {
  detail::parallel_for(n, const_cast<void*>(static_cast<const void*>(std::addressof(body))),
                       [](void* context, std::int64_t i) { (*static_cast<std::remove_reference_t<Body>*>(context))(i); });
}

/// While it lives, the thread that made it calls poll() between the items of its loops, at most every `period_s`: so it can
/// compute and drive an exchange with other ranks. Of several each is called, the last made one first, which tells
/// the period. Destroyed by the same thread, last made first.
class Polling {
 public:
  explicit Polling(std::function<void()> poll, double period_s = 1e-4);
  ~Polling();
  Polling(const Polling&) = delete;
  Polling& operator=(const Polling&) = delete;

 private:
  friend void detail::poll();
  std::function<void()> poll_;
  std::chrono::steady_clock::duration period_;
  std::chrono::steady_clock::time_point next_{};
  Polling* before_;
};

}  // namespace reel
