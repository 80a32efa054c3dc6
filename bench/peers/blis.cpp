// Products of BLIS in f32; it has no bf16.
#include <blis.h>

#include "peer.hpp"

int main(int argc, char** argv) {
  using peers::Product;
  // BLIS knows an AVX-512 CPU by its brand, which virtual machines hide. It chooses at its first call.
  if (__builtin_cpu_supports("avx512vl") && __builtin_cpu_is("intel"))
    setenv("BLIS_ARCH_TYPE", std::to_string(BLIS_ARCH_SKX).c_str(), 0);
  bli_init();  // must come before any question about the CPU
  peers::add_products("f32", [](benchmark::State& state, const Product& p, int threads) {
    bli_thread_set_num_threads(threads);
    peers::run_product<float>(state, p, [](const Product& s, const float* x, const float* w, float* y) {
      float one = 1, zero = 0;
      // No const in its interface; x and W are only read.
      bli_sgemm(BLIS_NO_TRANSPOSE, BLIS_TRANSPOSE, s.m, s.n, s.k, &one, const_cast<float*>(x), s.k, 1,
                const_cast<float*>(w), s.k, 1, &zero, y, s.n, 1);
    });
  });
  return peers::run(
      argc, argv,
      std::string("BLIS ") + bli_info_get_version_str() + " (" + bli_arch_string(bli_arch_query_id()) + ")");
}
