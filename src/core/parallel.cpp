#include "core/parallel.hpp"

#include <sched.h>
#include <tbb/blocked_range.h>
#include <tbb/global_control.h>
#include <tbb/parallel_for.h>
#include <tbb/partitioner.h>

#include <atomic>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "core/error.hpp"

namespace reel {
namespace {
int threads = 1;
// Loops within a loop run on the thread that meets them: the outer one has enough work, and a thread that waited for the
// inner one would begin further outer items, one on top of the other.
thread_local bool within = false;
thread_local Polling* polling = nullptr;

struct Within {
  Within() { within = true; }
  ~Within() { within = false; }
};
std::optional<tbb::global_control> control;

void run_item(void* context, void (*body)(void*, std::int64_t), std::int64_t i) {
  body(context, i);
  if (polling) detail::poll();
}

#if defined(__SANITIZE_THREAD__)
template <class Body>
void on_threads(std::int64_t n, Body body) {
  std::atomic<std::int64_t> next{0};
  std::mutex mutex;
  std::exception_ptr failure;
  const auto work = [&] {
    try {
      for (std::int64_t i = next++; i < n; i = next++) body(i);
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!failure) failure = std::current_exception();
      next = n;
    }
  };
  {
    std::vector<std::jthread> others;
    for (int i = 1; i < threads; ++i) others.emplace_back(work);
    work();
  }
  if (failure) std::rethrow_exception(failure);
}
#endif
}  // namespace

void set_num_threads(int n) {
  if (n < 1) throw Error(Exit::usage, fmt::format("{} threads asked for", n), "run.threads", "use at least 1");
  threads = n;
  control.emplace(tbb::global_control::max_allowed_parallelism, static_cast<std::size_t>(n));
}

int num_threads() { return threads; }

int num_cores() {
  cpu_set_t mask;
  return sched_getaffinity(0, sizeof mask, &mask) == 0 ? CPU_COUNT(&mask) : 1;
}

void detail::poll() {
  const auto now = std::chrono::steady_clock::now();
  if (now < polling->next_) return;
  for (const Polling* p = polling; p; p = p->before_) p->poll_();
  polling->next_ = now + polling->period_;
}

Polling::Polling(std::function<void()> poll, double period_s)
    : poll_(std::move(poll)), period_(std::chrono::duration_cast<std::chrono::steady_clock::duration>(std::chrono::duration<double>(period_s))),
      before_(polling) {
  polling = this;
}
Polling::~Polling() { polling = before_; }

void detail::parallel_for(std::int64_t n, void* context, void (*body)(void*, std::int64_t)) {
  if (threads == 1 || n <= 1 || within) {
    for (std::int64_t i = 0; i < n; ++i) run_item(context, body, i);
    return;
  }
#if defined(__SANITIZE_THREAD__)  // oneTBB as distributed is built without it, so it would report each hand-over as a race
  on_threads(n, [&](std::int64_t i) {
    const Within mark;
    run_item(context, body, i);
  });
#else
  tbb::parallel_for(
      tbb::blocked_range<std::int64_t>(0, n, 1),
      [&](const tbb::blocked_range<std::int64_t>& range) {
        const Within mark;
        for (std::int64_t i = range.begin(); i < range.end(); ++i) run_item(context, body, i);
      },
      tbb::simple_partitioner{});
#endif
}

}  // namespace reel
