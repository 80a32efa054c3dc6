#pragma once
// Threads. Work is split over outputs only: there is no parallel reduction here, by design.
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
void parallel_for(std::int64_t n, void* context, void (*body)(void*, std::int64_t));
}

/// Calls body(i) for i in [0, n), each exactly once, in any order on any thread. The first exception is rethrown. Within
/// another parallel_for it runs on the calling thread.
template <class Body>
void parallel_for(std::int64_t n, Body&& body) {
  detail::parallel_for(n, const_cast<void*>(static_cast<const void*>(std::addressof(body))),
                       [](void* context, std::int64_t i) { (*static_cast<std::remove_reference_t<Body>*>(context))(i); });
}

/// While it lives, the thread that made it calls poll() after each item of its loops: so it can compute and drive an exchange
/// with other ranks. Of several the last made one is called. Destroyed by the same thread, last made first.
class Polling {
 public:
  explicit Polling(std::function<void()> poll);
  ~Polling();
  Polling(const Polling&) = delete;
  Polling& operator=(const Polling&) = delete;

 private:
  std::function<void()> poll_;
  const std::function<void()>* before_;
};

}  // namespace reel
