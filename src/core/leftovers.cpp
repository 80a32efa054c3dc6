#include "core/leftovers.hpp"

#include <unistd.h>

#include <array>
#include <atomic>
#include <climits>
#include <cstring>

namespace reel {
namespace {

// Fixed memory, because a signal handler reads it. More files than slots: the rest is not noted.
struct Slot {
  std::atomic<bool> taken = false, filled = false;
  std::array<char, PATH_MAX> path{};
};
std::array<Slot, 8> slots;

}  // namespace

void note_leftover(const std::string& path) {
  if (path.size() >= PATH_MAX) return;
  for (Slot& slot : slots) {
    if (slot.taken.exchange(true)) continue;
    std::strcpy(slot.path.data(), path.c_str());
    slot.filled = true;
    return;
  }
}

void forget_leftover(const std::string& path) {
  for (Slot& slot : slots) {
    if (!slot.filled || path != slot.path.data()) continue;
    slot.filled = false;
    slot.taken = false;
  }
}

void remove_leftovers() noexcept {
  for (const Slot& slot : slots)
    if (slot.filled) ::unlink(slot.path.data());
}

}  // namespace reel
