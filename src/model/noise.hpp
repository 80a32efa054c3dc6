#pragma once
// Random numbers as functions of (seed, stream, element): independent of ranks, tiles and restarts.
#include <cstdint>
#include <string_view>

#include "core/tensor.hpp"

namespace reel::model {

/// Uniform numbers in [0, 1) on a grid of 2^-24: elements [first, first + count) of the stream.
/// Philox4x32-10 (Salmon et al. 2011) with key = seed, counter = (element / 4, hash of the stream's name).
void philox_uniform(std::uint64_t seed, std::string_view stream, std::int64_t first, std::int64_t count, float* out);
/// Standard normal numbers by Box-Muller in double, rounded to f32; pairs (0,1), (2,3) of each counter.
void philox_normal(std::uint64_t seed, std::string_view stream, std::int64_t first, std::int64_t count, float* out);

/// torch.randn(shape, dtype=float32) of a CPU generator with manual_seed(seed): MT19937, Box-Muller in blocks of 16.
/// Same uniforms exactly; normals agree to 1e-6 absolute (PyTorch's vector logarithm and sine are approximations).
void torch_normal(std::uint64_t seed, std::int64_t count, float* out);

}  // namespace reel::model
