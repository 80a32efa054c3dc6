// multiply_blocks by the instruction whose order it has: a tile is 16 rows of 32 bf16 or of 16 f32.
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kernels/kernels.hpp"

namespace reel::kernels::amx {
namespace {

using std::int64_t;

struct alignas(64) Config {
  std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
  std::uint16_t row_bytes[16] = {};
  std::uint8_t rows[16] = {};
};

// Tiles 0 to 3: sums, 2 x 2. 4, 5: rows of a. 6, 7: columns of the panel. The upper tiles have `upper` rows, the lower ones
// `lower`; a thread keeps its shape until it needs another one.
void shape_tiles(int64_t upper, int64_t lower) {
  thread_local int64_t shape = 0;
  if (shape == upper * 64 + lower) return;
  shape = upper * 64 + lower;
  Config config;
  for (const int t : {0, 1, 2, 3, 4, 5, 6, 7}) {
    config.row_bytes[t] = 64;
    config.rows[t] = static_cast<std::uint8_t>(t >= 6 ? 16 : t == 0 || t == 1 || t == 4 ? upper : lower);
  }
  asm volatile("" ::"m"(config));  // GCC 12 thinks that only its first bytes are read
  _tile_loadconfig(&config);
}

// Two rows of tiles when Lower, two columns when Right.
template <bool Lower, bool Right>
void multiply_tiles(const Bf16* a, int64_t a_stride, int64_t a_step, int64_t depth, const Bf16* b, int64_t group_stride, float* c,
                    int64_t c_stride, bool accumulate) {
  constexpr int64_t panel_row = 64;
  const int64_t a_bytes = a_stride * static_cast<int64_t>(sizeof(Bf16)), c_bytes = c_stride * static_cast<int64_t>(sizeof(float));
  float* const c_lower = c + 16 * c_stride;
  if (accumulate) {
    _tile_loadd(0, c, c_bytes);
    if constexpr (Right) _tile_loadd(1, c + 16, c_bytes);
    if constexpr (Lower) _tile_loadd(2, c_lower, c_bytes);
    if constexpr (Lower && Right) _tile_loadd(3, c_lower + 16, c_bytes);
  } else {
    _tile_zero(0);
    if constexpr (Right) _tile_zero(1);
    if constexpr (Lower) _tile_zero(2);
    if constexpr (Lower && Right) _tile_zero(3);
  }
  // All loads before all products: a core whose other thread is busy overlaps the two less.
  for (int64_t k = 0; k < depth; k += bf16_step, a += a_step, b += bf16_step * group_width) {
    _tile_loadd(4, a, a_bytes);
    _tile_loadd(6, b, panel_row);
    if constexpr (Right) _tile_loadd(7, b + group_stride, panel_row);
    if constexpr (Lower) _tile_loadd(5, a + 16 * a_stride, a_bytes);
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (Right) _tile_dpbf16ps(1, 4, 7);
    if constexpr (Lower) _tile_dpbf16ps(2, 5, 6);
    if constexpr (Lower && Right) _tile_dpbf16ps(3, 5, 7);
  }
  _tile_stored(0, c, c_bytes);
  if constexpr (Right) _tile_stored(1, c + 16, c_bytes);
  if constexpr (Lower) _tile_stored(2, c_lower, c_bytes);
  if constexpr (Lower && Right) _tile_stored(3, c_lower + 16, c_bytes);
}

template <bool Lower>
void multiply_rows(const Bf16* a, int64_t a_stride, int64_t a_step, int64_t rows, int64_t depth, const Bf16* panel, int64_t group_stride,
                   int64_t columns, float* c, int64_t c_stride, bool accumulate) {
  // The right half waits until all rows met the left one, which stays in L1.
  for (int64_t j = 0; j < columns; j += 32)
    for (int64_t i = 0; i < rows; i += 32) {
      const auto product = j + 16 < columns ? multiply_tiles<Lower, true> : multiply_tiles<Lower, false>;
      product(a + i * a_stride, a_stride, a_step, depth, panel + j / 16 * group_stride, group_stride, c + i * c_stride + j, c_stride, accumulate);
    }
}

}  // namespace

// The kernel lends tiles to a process that asks (Linux 5.16).
bool ask_for_tiles() {
  constexpr long request = 0x1023, tile_data = 18;
  return syscall(SYS_arch_prctl, request, tile_data) == 0;
}

void multiply_blocks(const Bf16* a, int64_t a_stride, int64_t a_step, int64_t rows, int64_t depth, const Bf16* panel, int64_t group_stride,
                     int64_t columns, float* c, int64_t c_stride, bool accumulate, const Ahead&) {
  const int64_t whole = rows / 32 * 32, rest = rows - whole;
  if (whole > 0) {
    shape_tiles(16, 16);
    multiply_rows<true>(a, a_stride, a_step, whole, depth, panel, group_stride, columns, c, c_stride, accumulate);
    a += whole * a_stride;
    c += whole * c_stride;
  }
  if (rest > 16) {
    shape_tiles(16, rest - 16);
    multiply_rows<true>(a, a_stride, a_step, rest, depth, panel, group_stride, columns, c, c_stride, accumulate);
  } else if (rest > 0) {
    shape_tiles(rest, 16);
    multiply_rows<false>(a, a_stride, a_step, rest, depth, panel, group_stride, columns, c, c_stride, accumulate);
  }
}

}  // namespace reel::kernels::amx
