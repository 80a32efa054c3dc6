#pragma once
// What a run will need, before it runs: memory, disk, operations, time.
#include <cstdint>

#include "model/pipeline.hpp"
#include "study/experiment.hpp"

namespace reel::study {

/// Of peak that whole phases reach on shapes of published models, by which times are told ahead.
inline constexpr double denoise_share = 0.90, decode_share = 0.65;

struct Forecast {
  double memory_bytes = 0;   ///< of a node: weights, latents, and the larger of denoising and decoding. A lower bound
  double disk_bytes = 0;     ///< of the result and its film, about; the checkpoint comes and goes on top
  double checkpoint_bytes = 0;
  double denoise_flops = 0, decode_flops = 0;  ///< of all ranks, two per multiply-add
  double seconds = 0;        ///< of both phases; loading, text and measuring not counted
};

/// `num_ranks` in all, `ranks_on_node` of them on a node; `peak_flops`: of all threads of all ranks [flop/s], 0: no time.
Forecast forecast(const Experiment& experiment, const model::Pipeline& pipeline, std::int64_t num_ranks, std::int64_t ranks_on_node, double peak_flops);

}  // namespace reel::study
