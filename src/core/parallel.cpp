#include "core/parallel.hpp"

#include <sched.h>
#include <tbb/blocked_range.h>
#include <tbb/global_control.h>
#include <tbb/parallel_for.h>
#include <tbb/partitioner.h>

#include <memory>
#include <optional>

#include "core/error.hpp"

namespace reel {
namespace {
int threads = 1;
// Loops within a loop run on the thread that meets them: the outer one has enough work, and a thread that waited for the
// inner one would begin further outer items, one on top of the other.
thread_local bool within = false;

struct Within {
  Within() { within = true; }
  ~Within() { within = false; }
};
std::optional<tbb::global_control> control;

// ThreadSanitizer does not see how oneTBB, which is built without it, hands work from thread to thread: it is told here.
#if defined(__SANITIZE_THREAD__)
extern "C" void __tsan_acquire(void*);
extern "C" void __tsan_release(void*);
#else
void __tsan_acquire(void*) {}
void __tsan_release(void*) {}
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

void detail::parallel_for(std::int64_t n, void* context, void (*body)(void*, std::int64_t)) {
  if (threads == 1 || n <= 1 || within) {
    for (std::int64_t i = 0; i < n; ++i) body(context, i);
    return;
  }
  char handed_out = 0, done = 0;
  __tsan_release(&handed_out);
  tbb::parallel_for(
      tbb::blocked_range<std::int64_t>(0, n, 1),
      [&](const tbb::blocked_range<std::int64_t>& range) {
        __tsan_acquire(&handed_out);
        const Within mark;
        for (std::int64_t i = range.begin(); i < range.end(); ++i) body(context, i);
        __tsan_release(&done);
      },
      tbb::simple_partitioner{});
  __tsan_acquire(&done);
}

}  // namespace reel
