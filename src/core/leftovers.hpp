#pragma once
// Files that must not outlive the process when a signal ends it: destructors do not run then.
#include <string>

namespace reel {

/// Notes `path` for removal. Its owner removes the file itself in the usual case, then calls `forget_leftover`.
void note_leftover(const std::string& path);
void forget_leftover(const std::string& path);
/// Removes all noted files. For signal handlers: async-signal-safe.
void remove_leftovers() noexcept;

}  // namespace reel
