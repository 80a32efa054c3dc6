#pragma once
// A whole forward of the transformer, a decode of the autoencoder or a prompt through the text encoder, measured.
#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "core/comm.hpp"
#include "model/generate.hpp"

namespace reel::bench {

struct Options {
  std::string model = "wan2.1-t2v-1.3b", part = "transformer", profile = "f32", partition = "heads";
  std::int64_t frames = 17, width = 832, height = 480, repeats = 3, layers = 0;
  int threads = 0;
  bool shard_weights = false;
  std::FILE* out = stdout;  ///< where rank 0 tells what it measured
};

/// What the options ask for: threads, ranks in a team, a model with synthetic weights.
struct Stage {
  int threads;
  model::Numerics numerics;
  model::Partition partition;
  model::Team team;
  model::Pipeline pipeline;
  /// Collective over `world`; sets the number of threads.
  Stage(const Comm& world, const Options& o);
};

/// Largest memory of every rank, summed; pages that ranks share are counted for each. Collective.
double memory_gb(const Comm& world);

/// What the repeats gave, side by side.
struct Repeats {
  std::vector<double> seconds, of_peak, predicted_s;
  /// Of three numbers the second, of two the larger.
  static double median(std::vector<double> v) {
    std::sort(v.begin(), v.end());
    return v[v.size() / 2];
  }
  void print(std::FILE* out) const {
    const auto range = [](const std::vector<double>& v) { return fmt::format("{:.3f} to {:.3f}", *std::min_element(v.begin(), v.end()), *std::max_element(v.begin(), v.end())); };
    const double took = median(seconds), told = median(predicted_s);
    std::fprintf(out, "seconds  %.3f (median of %zu; %s)\n", took, seconds.size(), range(seconds).c_str());
    std::fprintf(out, "told     %.3f by kernels timed before each repeat (%s): %+.1f %%\n", told, range(predicted_s).c_str(), 100 * (told / took - 1));
    std::fprintf(out, "of peak  %.3f (median; %s)\n", median(of_peak), range(of_peak).c_str());
  }
};

/// Medians of the repeats; filled on rank 0.
struct Measured {
  double seconds = 0, of_peak = 0, gflops = 0, memory_gb = 0;
  std::string digest;
};

/// Collective over `world`.
Measured measure_transformer(const Comm& world, const Options& o);
Measured measure_vae(const Comm& world, const Options& o);
Measured measure_text(const Comm& world, const Options& o);

/// Runs what `--benchmark_...` arguments ask for, as Google Benchmark does, in one process: wan_1.3b_step/PROFILE/TOKENS as
/// peers/torch_wan_step.py names them, and vae_decode/PROFILE/FRAMESxROWSxCOLUMNS.
int run_as_benchmark(int argc, char** argv);

}  // namespace reel::bench
