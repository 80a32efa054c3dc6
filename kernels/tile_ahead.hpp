#pragma once
// What a register tile asks for while it computes.
#include <cstdint>

#include "kernels/kernels.hpp"

namespace reel::kernels {

/// One line at each step of a tile, in sixteen turns. The first turns are for the rows of the next tile, the others for what the
/// caller reads next. Addresses, not pointers: some lie beyond their array.
struct TileAhead {
  static constexpr std::int64_t turns = 16, line = 64;
  std::uintptr_t at[turns];
  std::int64_t tile_rows, rows_step, read_step;  // bytes from tile to tile
  float* written;
  std::int64_t written_stride;

  /// Tiles of `tile_rows` rows that are `row_bytes` apart, of `rows` in all; a tile takes `steps`, sixteen to a line.
  TileAhead(const void* a, std::int64_t row_bytes, std::int64_t rows_of_tile, std::int64_t rows, std::int64_t steps, const Ahead& asked)
      : tile_rows(rows_of_tile), rows_step(tile_rows * row_bytes), read_step((asked.part_bytes * tile_rows + rows - 1) / rows), written(asked.written),
        written_stride(asked.written_stride) {
    const std::int64_t piece = steps * (line / turns), pieces = (read_step + piece - 1) / piece, places = pieces * asked.parts;
    for (std::int64_t t = 0; t < turns; ++t) {
      const std::int64_t place = places > 0 ? (t - tile_rows) % places : 0;
      at[t] = t < tile_rows ? address(a) + static_cast<std::uintptr_t>(rows_step + t * row_bytes)
              : places > 0  ? address(asked.read) + static_cast<std::uintptr_t>(place % asked.parts * asked.part_stride + place / asked.parts * piece)
                            : at[t - tile_rows];
    }
  }
  void next_tile() {
    for (std::int64_t t = 0; t < turns; ++t) at[t] += static_cast<std::uintptr_t>(t < tile_rows ? rows_step : read_step);
    if (written) written += tile_rows * written_stride;
  }

 private:
  static std::uintptr_t address(const void* p) { return reinterpret_cast<std::uintptr_t>(p); }
};

/// For tiles that ask for nothing.
struct NothingAhead {};

}  // namespace reel::kernels
