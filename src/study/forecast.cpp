#include "study/forecast.hpp"

#include <algorithm>
#include <map>

#include "core/parallel.hpp"
#include "core/partition.hpp"
#include "model/generate.hpp"
#include "model/rehearsal.hpp"
#include "model/transformer.hpp"
#include "model/vae.hpp"
#include "model/weights.hpp"
#include "study/scaling.hpp"

namespace reel::study {

using std::int64_t;
namespace {

double weight_bytes(const model::Pipeline& pipeline, int64_t parameters) {
  return (pipeline.numerics() == model::Numerics::f32 ? 4.0 : 2.0) * static_cast<double>(parameters);
}

// Nodes among which the transformer's blocks are shared out.
int64_t num_sharing(const Run& run, int64_t num_ranks, int64_t ranks_on_node) {
  return run.shard_weights ? (num_ranks + ranks_on_node - 1) / ranks_on_node : 1;
}

}  // namespace

Forecast forecast(const Experiment& e, const model::Pipeline& pipeline, int64_t num_ranks, int64_t ranks_on_node) {
  Forecast f;
  const double weights = weight_bytes(pipeline, model::num_parameters(pipeline.transformer(), num_sharing(e.run, num_ranks, ranks_on_node)));
  const model::TransformerConfig& t = pipeline.transformer();
  const model::VaeConfig& v = pipeline.vae();
  const int64_t latent_frames = 1 + (e.shot.num_frames - 1) / v.scale_factor_temporal;
  const int64_t height = e.shot.height_px / v.scale_factor_spatial, width = e.shot.width_px / v.scale_factor_spatial;
  const double area_px = static_cast<double>(e.shot.width_px) * static_cast<double>(e.shot.height_px);
  const auto area = static_cast<double>(height * width);
  const double tokens = static_cast<double>(std::min(latent_frames, pipeline.trained_latent_frames()) / t.patch_t) * area /
                        static_cast<double>(t.patch_h * t.patch_w);
  const double share = static_cast<double>(ranks_on_node) / static_cast<double>(num_ranks);  // of the work that is split
  // About ten arrays [N, D] live through a block; the latents are on every rank.
  const double latents = 4.0 * static_cast<double>(latent_frames * v.z_dim) * area;
  const double denoise = share * 4.0 * 10.0 * tokens * static_cast<double>(t.width());
  // Arrays [px, C] of the autoencoder's last level: what it keeps for the next frames and works on. Measured: 57 where
  // this says 32. Then the film, once more for the result.
  const double last_level = share * 4.0 * static_cast<double>(8 * (v.num_res_blocks + 1) + 16) * area_px /
                            static_cast<double>(v.patch_size * v.patch_size) *
                            static_cast<double>(v.decoder_base_dim * v.dim_mult.front());
  const double pixels = 3.0 * area_px * static_cast<double>(e.shot.num_frames);
  f.memory_bytes = weights + latents * static_cast<double>(ranks_on_node) + std::max(denoise, last_level + (e.output.pixels ? 2.0 : 1.0) * pixels);
  f.disk_bytes = (e.output.pixels ? pixels : 0) + (e.output.latents ? latents : 0) + 0.02 * pixels;
  f.checkpoint_bytes = 2 * std::max(4 * latents, latents + pixels);  // two generations

  const bool guided = e.sampler.guidance_scale > 1;
  for (const model::Segment& s : model::plan_segments(latent_frames, pipeline.trained_latent_frames(), e.sampler.segment_overlap)) {
    const int64_t n = (s.end - s.begin) / t.patch_t * (height / t.patch_h) * (width / t.patch_w);
    f.denoise_flops += model::transformer_flops(t, n, model::context_length).total() * static_cast<double>(e.sampler.num_steps) * (guided ? 2 : 1);
  }
  f.decode_flops = model::vae_decode_flops(v, latent_frames, height, width).total();
  return f;
}

double Prediction::last_steps_s(int64_t num_steps, int64_t steps_per_segment) const {
  double seconds = 0;
  for (auto s = step_s.rbegin(); s != step_s.rend() && num_steps > 0; ++s) {
    const int64_t here = std::min(num_steps, steps_per_segment);
    seconds += *s * static_cast<double>(here);
    num_steps -= here;
  }
  return seconds;
}

Prediction predict(const Experiment& e, const model::Pipeline& pipeline, int64_t num_ranks, int64_t ranks_on_node, int64_t num_threads,
                   const Network& network) {
  const model::TransformerConfig& t = pipeline.transformer();
  const model::VaeConfig& v = pipeline.vae();
  const int64_t latent_frames = 1 + (e.shot.num_frames - 1) / v.scale_factor_temporal;
  const int64_t height = e.shot.height_px / v.scale_factor_spatial, width = e.shot.width_px / v.scale_factor_spatial;
  const Run run = choose_partition(e, pipeline, num_ranks);
  const bool groups = run.guidance_groups == 2;
  const int64_t branch = groups ? slice(num_ranks, 2, 0).size() : num_ranks;  // ranks of a forward call
  const int64_t calls = e.sampler.guidance_scale > 1 && !groups ? 2 : 1;
  // What leaves a node: of the messages to all other ranks those to other nodes, and all of its ranks share its network.
  const auto far = static_cast<double>(num_ranks - std::min(num_ranks, ranks_on_node)) / static_cast<double>(std::max<int64_t>(1, num_ranks - 1));
  // In each call a node sends its blocks to all others.
  const int64_t sharing = num_sharing(run, num_ranks, ranks_on_node), blocks = (t.num_layers + sharing - 1) / sharing;
  const double call_weights = weight_bytes(pipeline, blocks * (sharing - 1) * model::num_block_parameters(t));
  const double slower = static_cast<double>(reel::num_threads()) / static_cast<double>(num_threads);
  Prediction p;
  std::map<int64_t, double> forward_s;  // by frames
  for (const model::Segment& s : model::plan_segments(latent_frames, pipeline.trained_latent_frames(), e.sampler.segment_overlap)) {
    const int64_t frames = s.end - s.begin, num_tokens = frames * height * width / t.patch_size();
    const auto [at, is_new] = forward_s.try_emplace(frames, 0);
    if (is_new) at->second = slower * model::rehearse_forward(t, pipeline.numerics(), num_tokens, branch);
    double step = static_cast<double>(calls) * at->second;
    if (far > 0 && network.bytes_per_s > 0) {
      Experiment one = e;
      one.run = run;
      one.shot.num_frames = 1 + (frames - 1) * v.scale_factor_temporal;
      const std::vector<std::uint64_t> sent = denoise_bytes(one, pipeline, num_ranks, 1);
      const double node_bytes = static_cast<double>(*std::max_element(sent.begin(), sent.end())) * static_cast<double>(ranks_on_node) * far +
                                static_cast<double>(calls) * call_weights;
      // Values, queries, keys and results: four waits in a block.
      const double waits = 4 * static_cast<double>(calls * t.num_layers) * network.latency_s;
      step = std::max(step, node_bytes / network.bytes_per_s) + waits;
    }
    p.step_s.push_back(step);
  }
  p.decode_s = slower * model::rehearse_decode(v, pipeline.numerics(), latent_frames, height, width, num_ranks);
  return p;
}

}  // namespace reel::study
