#pragma once
// A whole forward of the transformer or a decode of the autoencoder, measured.
#include <cstdint>
#include <cstdio>
#include <string>

#include "core/comm.hpp"

namespace reel::bench {

struct Options {
  std::string model = "wan2.1-t2v-1.3b", part = "transformer", profile = "f32", partition = "heads";
  std::int64_t frames = 17, width = 832, height = 480, repeats = 3, layers = 0;
  int threads = 0;
  bool shard_weights = false;
  std::FILE* out = stdout;  ///< where rank 0 tells what it measured
};

/// Medians of the repeats; filled on rank 0.
struct Measured {
  double seconds = 0, of_peak = 0, gflops = 0, memory_gb = 0;
  std::string digest;
};

/// Collective over `world`.
Measured measure_transformer(const Comm& world, const Options& o);
Measured measure_vae(const Comm& world, const Options& o);

/// Runs what `--benchmark_...` arguments ask for, as Google Benchmark does, in one process: wan_1.3b_step/PROFILE/TOKENS as
/// peers/torch_wan_step.py names them, and vae_decode/PROFILE/FRAMESxROWSxCOLUMNS.
int run_as_benchmark(int argc, char** argv);

}  // namespace reel::bench
