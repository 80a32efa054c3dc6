#pragma once
// Errors at the border: what is wrong, where, and what to do; with the exit code the program ends with.
#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace reel {

/// Exit codes of the `reel` program (documented in README; stable).
enum class Exit : int {
  ok = 0,          ///< success
  differ = 1,      ///< compared things differ
  usage = 2,       ///< command line or experiment file is wrong
  input = 3,       ///< an input is missing, corrupt or has the wrong hash
  resources = 4,   ///< not enough memory or disk, found before the start
  launch = 5,      ///< wrong launch: singletons, rank count, mixed builds
  nonfinite = 6,   ///< NaN or Inf appeared
  write = 7,       ///< a write failed (no space, quota, I/O error)
  bug = 70,        ///< a promise inside Reel was broken
  stopped = 75,    ///< stopped early with a good checkpoint: run again
};

/// Bad input or a failing machine. Thrown at the border, before the first exchange between ranks.
/// `what()` says what is wrong, `where` names the file, key or tensor, `hint` says what to do.
class Error : public std::runtime_error {
 public:
  Error(Exit exit, const std::string& what, std::string where = {}, std::string hint = {})
      : std::runtime_error(what), exit_(exit), where_(std::move(where)), hint_(std::move(hint)) {}
  Exit exit() const noexcept { return exit_; }
  const std::string& where() const noexcept { return where_; }
  const std::string& hint() const noexcept { return hint_; }

 private:
  Exit exit_;
  std::string where_, hint_;
};

/// A broken promise inside Reel (exit code 70): always checked at function entry.
[[noreturn]] inline void broken_promise(const char* condition, const char* file, int line, const std::string& detail) {
  throw Error(Exit::bug, fmt::format("broken promise: {}{}{}", condition, detail.empty() ? "" : ": ", detail),
              fmt::format("{}:{}", file, line), "this is a bug in Reel: please report it with the experiment file");
}

}  // namespace reel

#define REEL_CHECK(condition, ...)                                                                              \
  do {                                                                                                          \
    if (!(condition)) [[unlikely]]                                                                              \
      ::reel::broken_promise(#condition, __FILE__, __LINE__, std::string(__VA_OPT__(fmt::format(__VA_ARGS__)))); \
  } while (false)
