#pragma once
// What a run will need, before it runs: memory, disk, operations, time.
#include <cstdint>

#include "model/pipeline.hpp"
#include "study/experiment.hpp"

namespace reel::study {

/// Of the profile's peak that whole phases reach on shapes of published models, by which times are told ahead: `bench/step` on
/// Emerald Rapids, 1.3B, 1,560 tokens and 9 frames of 832 x 480.
struct PeakShares {
  double denoise, decode;
};
constexpr PeakShares peak_shares(model::Numerics numerics) {
  switch (numerics) {
    case model::Numerics::bf16: return {0.47, 0.45};
    case model::Numerics::bf16_amx: return {0.28, 0.35};
    default: return {0.75, 0.75};
  }
}

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
