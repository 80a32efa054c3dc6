#pragma once
// What a run will need, before it runs: memory, disk, operations, time.
#include <cstdint>
#include <vector>

#include "model/pipeline.hpp"
#include "study/experiment.hpp"

namespace reel::study {

struct Forecast {
  double memory_bytes = 0;   ///< of a node: weights, latents, and the larger of denoising and decoding. A lower bound
  double disk_bytes = 0;     ///< of the result and its film, about; the checkpoint comes and goes on top
  double checkpoint_bytes = 0;
  double denoise_flops = 0, decode_flops = 0;  ///< of all ranks, two per multiply-add
};

/// `num_ranks` in all, `ranks_on_node` of them on a node.
Forecast forecast(const Experiment& experiment, const model::Pipeline& pipeline, std::int64_t num_ranks, std::int64_t ranks_on_node);

/// What moves messages between nodes: `latency_s` each, and the rate of a node [byte/s]; 0: not known, and counted as nothing.
struct Network {
  double latency_s = 0, bytes_per_s = 0;
};

/// Times of the long phases from kernels timed now at the run's own shapes (see model/rehearsal.hpp), with all threads of this
/// process: a rank with other `num_threads` is so much slower or faster. Messages travel while kernels run: a step takes the
/// longer of the two, and latencies.
struct Prediction {
  std::vector<double> step_s;  ///< a step of each segment, in order
  double decode_s = 0;         ///< of all latent frames
  /// The last `num_steps` steps of all.
  double last_steps_s(std::int64_t num_steps, std::int64_t steps_per_segment) const;
};
Prediction predict(const Experiment& experiment, const model::Pipeline& pipeline, std::int64_t num_ranks, std::int64_t ranks_on_node,
                   std::int64_t num_threads, const Network& network = {});

}  // namespace reel::study
