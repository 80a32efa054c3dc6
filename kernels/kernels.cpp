#include "kernels/kernels.hpp"

#include <cpuid.h>

#include <algorithm>
#include <cstring>

namespace reel::kernels {

namespace avx512 {
extern const Table kernel_table;
}
namespace avx2 {
extern const Table kernel_table;
void transpose_16x16(const float* w, std::int64_t stride, float* to, std::int64_t to_stride);
}
namespace scalar {
extern const Table kernel_table;
}
namespace avx512bf16 {
extern const Table kernel_table;
}
namespace amx {
bool ask_for_tiles();
void multiply_blocks(const Bf16*, std::int64_t, std::int64_t, std::int64_t, std::int64_t, const Bf16*, std::int64_t, std::int64_t, float*,
                     std::int64_t, bool, const Ahead&);
}

namespace {
const Table* current = nullptr;

bool has_amx_bf16() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  constexpr unsigned bf16 = 1u << 22, tile = 1u << 24;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (d & bf16) != 0 && (d & tile) != 0 && amx::ask_for_tiles();
}

// What an instruction does with subnormals, ties and the order of sums is written down nowhere as law. So it is asked, here and
// on every machine, and does not run where it answers with other bits than ours.
bool same_bits(MultiplyBf16 instruction, MultiplyBf16 ours) {
  constexpr std::int64_t rows = 21, depth = 96;
  Bf16 a[rows * depth], panel[depth * panel_width];
  float start[rows * panel_width], x[rows * panel_width], y[rows * panel_width];
  std::uint64_t random = 1;
  const auto draw = [&](int lowest, int span) {  // exponents from a window
    random = random * 6364136223846793005u + 1442695040888963407u;
    const auto bits = static_cast<std::uint32_t>(random >> 32);
    return (bits & 0x807fffffu) | static_cast<std::uint32_t>(lowest + static_cast<int>(bits >> 23 & 0xff) % span) << 23;
  };
  // Exponents of a, of the panel, of the sums before: ordinary sizes; products and sums near the smallest normal number;
  // subnormal operands; sums that cancel.
  constexpr int windows[][6] = {{117, 16, 117, 16, 110, 30}, {60, 6, 60, 8, 0, 14}, {0, 3, 120, 100, 0, 3}, {126, 2, 126, 2, 133, 2}};
  for (const auto& w : windows) {
    for (Bf16& v : a) v = static_cast<Bf16>(draw(w[0], w[1]) >> 16);
    for (Bf16& v : panel) v = static_cast<Bf16>(draw(w[2], w[3]) >> 16);
    for (float& v : start) {
      const std::uint32_t bits = draw(w[4], w[5]);
      std::memcpy(&v, &bits, sizeof v);
    }
    std::memcpy(x, start, sizeof x);
    std::memcpy(y, start, sizeof y);
    instruction(a, depth, bf16_step, rows, depth, panel, depth * group_width, panel_width, x, panel_width, true, {});
    ours(a, depth, bf16_step, rows, depth, panel, depth * group_width, panel_width, y, panel_width, true, {});
    if (std::memcmp(x, y, sizeof x) != 0) return false;
  }
  return true;
}

std::vector<const Table*> find_tables() {
  static Table with_tiles;
  std::vector<const Table*> tables;
  const Table& avx512 = avx512::kernel_table;
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512cd")) {
    const bool pairs = __builtin_cpu_supports("avx512bf16") && same_bits(avx512bf16::kernel_table.multiply_pairs, avx512.multiply_pairs);
    if (has_amx_bf16() && same_bits(amx::multiply_blocks, avx512.multiply_blocks)) {
      with_tiles = pairs ? avx512bf16::kernel_table : avx512;
      with_tiles.multiply_pairs = avx512.multiply_pairs;  // faster than the instruction where tiles are
      with_tiles.name = "amx";
      with_tiles.multiply_blocks = amx::multiply_blocks;
      tables.push_back(&with_tiles);
    }
    if (pairs) tables.push_back(&avx512bf16::kernel_table);
    tables.push_back(&avx512);
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) tables.push_back(&avx2::kernel_table);
  tables.push_back(&scalar::kernel_table);
  return tables;
}
}  // namespace

const std::vector<const Table*>& available() {
  static const std::vector<const Table*> tables = find_tables();
  return tables;
}

const Table* choose(std::string_view forced) {
  for (const Table* t : available())
    if (forced.empty() || t->name == forced) return t;
  return nullptr;
}

const Table& table() {
  if (!current) current = choose({});
  return *current;
}

void use(const Table& chosen) { current = &chosen; }

void pack_panel(const float* w, std::int64_t n, std::int64_t k, std::int64_t stride, float* packed) {
  const std::int64_t count = n < panel_width ? n : panel_width, whole = count == panel_width ? k / 16 * 16 : 0;
  for (std::int64_t i = 0; i < whole; i += 16)
    for (std::int64_t j = 0; j < panel_width; j += 16) avx2::transpose_16x16(w + j * stride + i, stride, packed + i * panel_width + j, panel_width);
  for (std::int64_t i = whole; i < k; ++i) {
    float* row = packed + i * panel_width;
    for (std::int64_t j = 0; j < count; ++j) row[j] = w[j * stride + i];
    for (std::int64_t j = count; j < panel_width; ++j) row[j] = 0.0f;
  }
}

void pack_panel(const float* w, std::int64_t n, std::int64_t k, std::int64_t stride, Bf16* packed) {
  constexpr std::int64_t piece = 256;
  const std::int64_t depth = padded_depth(k);
  alignas(64) Bf16 rounded[group_width][piece];
  for (std::int64_t group = 0; group < panel_width; group += group_width)
    for (std::int64_t first = 0; first < depth; first += piece) {
      const std::int64_t m = depth - first < piece ? depth - first : piece, given = k - first < m ? k - first : m;
      for (std::int64_t j = 0; j < group_width; ++j) {
        const std::int64_t count = group + j < n ? given : 0;
        table().round_to_bf16(w + (group + j) * stride + first, count, rounded[j]);
        std::fill(rounded[j] + count, rounded[j] + m, Bf16{0});
      }
      for (std::int64_t i = 0; i < m; i += bf16_step)  // as 16 x 16 pairs
        avx2::transpose_16x16(reinterpret_cast<const float*>(rounded[0] + i), piece / 2,
                              reinterpret_cast<float*>(packed + group * depth + (first + i) * group_width), group_width);
    }
}

}  // namespace reel::kernels
