#pragma once
// Random draws with names. Each draw is Philox of (seed, world, name, index): no draw depends on how many were made
// before it, so a new attribute never changes the old ones.
#include <Random123/philox.h>

#include <cstdint>
#include <string_view>

namespace reel::worlds {

class Draws {
 public:
  Draws(std::uint64_t seed, std::string_view world)
      : key_{{static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)}}, world_(hash(world)) {}

  /// 32 uniform random bits.
  std::uint32_t bits(std::string_view name, std::int64_t index = 0) const {
    const auto i = static_cast<std::uint64_t>(index);
    return r123::Philox4x32()(
        {{hash(name), world_, static_cast<std::uint32_t>(i), static_cast<std::uint32_t>(i >> 32)}}, key_)[0];
  }
  /// Uniform in (0, 1), never an end point.
  double unit(std::string_view name, std::int64_t index = 0) const {
    return (static_cast<double>(bits(name, index)) + 0.5) / 4294967296.0;
  }
  /// Uniform in (low, high).
  double between(double low, double high, std::string_view name, std::int64_t index = 0) const {
    return low + (high - low) * unit(name, index);
  }
  /// Uniform in 0 .. count-1.
  std::size_t pick(std::size_t count, std::string_view name, std::int64_t index = 0) const {
    return static_cast<std::size_t>((static_cast<std::uint64_t>(bits(name, index)) * count) >> 32);
  }

 private:
  static constexpr std::uint32_t hash(std::string_view text) {  // FNV-1a
    std::uint32_t h = 2166136261u;
    for (char c : text) h = (h ^ static_cast<std::uint8_t>(c)) * 16777619u;
    return h;
  }
  r123::Philox4x32::key_type key_;
  std::uint32_t world_;
};

}  // namespace reel::worlds
