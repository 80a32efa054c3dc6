// Products of OpenBLAS: sgemm, and sbgemm (bf16 operands, f32 sums) where the library has it.
#include <cblas.h>
#include <unistd.h>

#include "peer.hpp"

#pragma weak cblas_sbgemm

int main(int argc, char** argv) {
  using peers::Product;
  const std::string core = openblas_get_corename();
  // A CPU newer than the library is taken for one of 2004. The library chooses as it is loaded, so start again with a
  // better one.
  if (core == "Prescott" && __builtin_cpu_supports("avx2") && !std::getenv("OPENBLAS_CORETYPE")) {
    setenv("OPENBLAS_CORETYPE", __builtin_cpu_supports("avx512vl") ? "SkylakeX" : "Haswell", 1);
    execv("/proc/self/exe", argv);
  }
  peers::add_products("f32", [](benchmark::State& state, const Product& p, int threads) {
    openblas_set_num_threads(threads);
    peers::run_product<float>(state, p, [](const Product& s, const float* x, const float* w, float* y) {
      const auto m = static_cast<blasint>(s.m), k = static_cast<blasint>(s.k), n = static_cast<blasint>(s.n);
      cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, m, n, k, 1, x, k, w, k, 0, y, n);
    });
  });
  if (cblas_sbgemm)
    peers::add_products(
        core == "SAPPHIRERAPIDS" ? "bf16_amx" : "bf16", [](benchmark::State& state, const Product& p, int threads) {
          openblas_set_num_threads(threads);
          peers::run_product<peers::Bf16>(
              state, p, [](const Product& s, const peers::Bf16* x, const peers::Bf16* w, float* y) {
                const auto m = static_cast<blasint>(s.m), k = static_cast<blasint>(s.k), n = static_cast<blasint>(s.n);
                cblas_sbgemm(CblasRowMajor, CblasNoTrans, CblasTrans, m, n, k, 1, x, k, w, k, 0, y, n);
              });
        });
  const std::string config = openblas_get_config();  // "OpenBLAS 0.3.21 DYNAMIC_ARCH ..."
  return peers::run(argc, argv, config.substr(0, config.find(' ', 9)) + " (" + core + ")");
}
