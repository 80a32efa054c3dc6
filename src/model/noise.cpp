#include "model/noise.hpp"

#include <Random123/philox.h>

#include <array>
#include <cmath>
#include <random>

#include "kernels/exact_math.hpp"

namespace reel::model {
namespace {

constexpr double two_pi = 6.283185307179586;

// FNV-1a, 64 bit: names a stream in the upper half of the counter.
std::uint64_t hash_name(std::string_view name) {
  std::uint64_t h = 14695981039346656037ULL;
  for (char c : name) h = (h ^ static_cast<unsigned char>(c)) * 1099511628211ULL;
  return h;
}

std::array<std::uint32_t, 4> philox(std::uint64_t seed, std::uint64_t stream, std::uint64_t counter) {
  using Generator = r123::Philox4x32;
  const Generator::ctr_type c{{static_cast<std::uint32_t>(counter), static_cast<std::uint32_t>(counter >> 32),
                               static_cast<std::uint32_t>(stream), static_cast<std::uint32_t>(stream >> 32)}};
  const Generator::key_type k{{static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)}};
  const auto r = Generator{}(c, k);
  return {r[0], r[1], r[2], r[3]};
}

// Calls write(index, block) for the four values of each counter that [first, first + count) touches.
template <class Make>
void each_element(std::uint64_t seed, std::string_view stream, std::int64_t first, std::int64_t count, float* out,
                  Make make) {
  const std::uint64_t name = hash_name(stream);
  std::int64_t i = 0;
  while (i < count) {
    const std::int64_t element = first + i, lane = element % 4;
    const std::array<float, 4> values = make(philox(seed, name, static_cast<std::uint64_t>(element / 4)));
    for (std::int64_t j = lane; j < 4 && i < count; ++j, ++i) out[i] = values[static_cast<std::size_t>(j)];
  }
}

}  // namespace

void philox_uniform(std::uint64_t seed, std::string_view stream, std::int64_t first, std::int64_t count, float* out) {
  each_element(seed, stream, first, count, out, [](const std::array<std::uint32_t, 4>& r) {
    std::array<float, 4> u{};
    for (std::size_t i = 0; i < 4; ++i) u[i] = static_cast<float>(r[i] >> 8) * 0x1p-24f;
    return u;
  });
}

void philox_normal(std::uint64_t seed, std::string_view stream, std::int64_t first, std::int64_t count, float* out) {
  each_element(seed, stream, first, count, out, [](const std::array<std::uint32_t, 4>& r) {
    std::array<float, 4> z{};
    for (std::size_t i = 0; i < 4; i += 2) {
      const double u1 = (static_cast<double>(r[i]) + 1.0) * 0x1p-32;  // (0, 1]: the logarithm is finite
      const double radius = std::sqrt(-2.0 * exact::log(u1));
      const exact::SinCos turn = exact::sincos(two_pi * (static_cast<double>(r[i + 1]) * 0x1p-32));
      z[i] = static_cast<float>(radius * turn.cos);
      z[i + 1] = static_cast<float>(radius * turn.sin);
    }
    return z;
  });
}

void torch_normal(std::uint64_t seed, std::int64_t count, float* out) {
  std::mt19937 engine(static_cast<std::uint32_t>(seed));
  if (count < 16) {  // scalar path: pairs of doubles, the second kept for the next call
    bool cached = false;
    double next = 0.0;
    const auto uniform = [&] {
      const std::uint64_t high = engine(), low = engine();
      return static_cast<double>((high << 32 | low) & ((std::uint64_t{1} << 53) - 1)) * 0x1p-53;
    };
    for (std::int64_t i = 0; i < count; ++i) {
      if (cached) {
        out[i] = static_cast<float>(next);
        cached = false;
        continue;
      }
      const double u1 = uniform(), u2 = uniform();
      const double radius = std::sqrt(-2.0 * exact::log(1.0 - u2));
      const exact::SinCos turn = exact::sincos(two_pi * u1);
      out[i] = static_cast<float>(radius * turn.cos);
      next = radius * turn.sin;
      cached = true;
    }
    return;
  }
  const auto draw = [&](float* d, std::int64_t n) {
    for (std::int64_t i = 0; i < n; ++i) d[i] = static_cast<float>(engine() & 0xFFFFFF) * 0x1p-24f;
  };
  const auto transform = [](float* d) {
    for (int j = 0; j < 8; ++j) {
      const double radius = std::sqrt(-2.0 * exact::log(static_cast<double>(1.0f - d[j])));
      const float angle = static_cast<float>(two_pi) * d[j + 8];
      const exact::SinCos turn = exact::sincos(static_cast<double>(angle));
      d[j] = static_cast<float>(radius * turn.cos);
      d[j + 8] = static_cast<float>(radius * turn.sin);
    }
  };
  draw(out, count);
  for (std::int64_t i = 0; i + 16 <= count; i += 16) transform(out + i);
  if (count % 16 != 0) {  // the last 16 elements are drawn again, also those already done
    draw(out + count - 16, 16);
    transform(out + count - 16);
  }
}

}  // namespace reel::model
