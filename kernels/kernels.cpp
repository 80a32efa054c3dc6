#include "kernels/kernels.hpp"

namespace reel::kernels {

namespace avx512 {
extern const Table kernel_table;
}
namespace avx2 {
extern const Table kernel_table;
}
namespace scalar {
extern const Table kernel_table;
}

namespace {
const Table* current = nullptr;
}

std::vector<const Table*> available() {
  std::vector<const Table*> tables;
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512cd"))
    tables.push_back(&avx512::kernel_table);
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) tables.push_back(&avx2::kernel_table);
  tables.push_back(&scalar::kernel_table);
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
  const std::int64_t count = n < panel_width ? n : panel_width;
  for (std::int64_t i = 0; i < k; ++i) {
    float* row = packed + i * panel_width;
    for (std::int64_t j = 0; j < count; ++j) row[j] = w[j * stride + i];
    for (std::int64_t j = count; j < panel_width; ++j) row[j] = 0.0f;
  }
}

}  // namespace reel::kernels
