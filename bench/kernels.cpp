// Kernels at the shapes of Wan: GFLOP/s or bytes/s, and the share of the peak measured beside each of them. Every benchmark
// first checks bits, of the scalar reference or of one thread; a wrong kernel prints no number.
#include "bench.hpp"

int main(int argc, char** argv) {
  reel::bench::add_products();
  reel::bench::add_attention();
  reel::bench::add_convolutions();
  reel::bench::add_rows();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
