#pragma once
// From a prompt to a film: text features, noise, denoising steps with guidance, decoding.
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/comm.hpp"
#include "core/tensor.hpp"
#include "model/pipeline.hpp"
#include "model/self_attention.hpp"
#include "model/text_cache.hpp"
#include "model/transformer.hpp"
#include "model/vae.hpp"

namespace reel::model {

/// The ranks and how they share the work. Nothing here changes a bit of the film.
struct Team {
  Comm world = Comm::solo();
  Comm node = Comm::solo();    ///< ranks that share memory, and so the weights
  Comm branch = Comm::solo();  ///< ranks that work on the same guidance branch
  Nodes nodes;                 ///< those that share out the transformer's blocks
  Partition partition = Partition::heads;
  int guidance_groups = 1;
  /// Collective over `world`. With 2 guidance groups the first half of the ranks takes the prompt, the second the
  /// negative prompt. With `shard_weights` every node holds a share of the transformer's blocks. Throws Error (launch) for more
  /// groups than ranks.
  static Team make(const Comm& world, Partition partition, int guidance_groups, bool shard_weights = false);
};

/// Weights in place on every node. Collective over `team.world`: all ranks throw when one fails.
Transformer load_transformer(const Pipeline& pipeline, const Team& team);
Vae load_vae(const Pipeline& pipeline, const Team& team);

/// Hears what is going on; called on every rank.
class Observer {
 public:
  virtual ~Observer() = default;
  virtual void begin(const std::string& /*phase*/, std::int64_t /*num_steps*/) {}
  /// `flops`: floating-point operations of all ranks together in this step.
  virtual void step(double /*flops*/) {}
  virtual void end() {}
};

/// Text features of each prompt, [512, text_dim]: valid rows, then zeros. Collective over `team.world`, the same on every
/// rank; the text encoder's weights are in memory only while this runs. With a `cache` only prompts that are not in it are
/// computed, and then kept; when all are there, the weights are opened for nothing but their digest, if that is not known yet.
std::vector<Tensor> encode_prompts(const Pipeline& pipeline, const Team& team, const std::vector<std::string>& prompts,
                                   Observer& observer, TextCache* cache = nullptr);

struct Sampling {
  int num_steps = 50;
  double guidance_scale = 5.0;
  double flow_shift = 0;  ///< 0: the model's own
  /// Kind of scheduler; by default the model's own.
  bool override_kind = false;
  SchedulerConfig::Kind kind = SchedulerConfig::Kind::unipc;
};

/// Where denoising stands between two steps. An empty sample: before the first.
struct DenoiseState {
  Tensor sample;  ///< [C, T, h, w], before given frames are merged in
  Scheduler::State scheduler;
};

/// Latents [C, T, h, w] denoised from `noise`, or on from `state`. `clean` [C, n, h, w], n < T, or empty: the first n latent
/// frames are given; their tokens carry timestep 0 and come out unchanged. `after_step` hears every step's state on every
/// rank, and may throw when all ranks do. Throws Error (nonfinite) naming step and branch. Collective; same result on
/// every rank.
Tensor denoise(const Team& team, const Transformer& transformer, const SchedulerConfig& scheduler, const Sampling& sampling,
               const Context& prompt, const Context& negative, const Tensor& noise, const Tensor& clean, Observer& observer,
               const std::function<void(const DenoiseState&)>& after_step = {}, DenoiseState state = {});

/// Latent frames of each segment of a long shot: the first `overlap` frames of a segment are the last of the one before.
struct Segment {
  std::int64_t begin, end;  ///< latent frames [begin, end)
};
std::vector<Segment> plan_segments(std::int64_t num_latent_frames, std::int64_t trained_latent_frames, std::int64_t overlap);

enum class NoiseKind { philox, torch };

struct Prompts {
  std::string prompt, negative_prompt;
};

struct Shot {
  Prompts prompts;
  std::int64_t num_frames = 33, height_px = 64, width_px = 64;
  std::uint64_t seed = 0;
  NoiseKind noise = NoiseKind::philox;
  std::int64_t segment_overlap = 2;  ///< latent frames
  /// Given first frames as pixels [3, F, H, W] in [-1, 1], F = 1 + 4 (n - 1) for n latent frames; empty: none.
  Tensor first_frames;
};

struct Rendered {
  Tensor latents;  ///< [C, T, h, w], normalised, on every rank
  Film film;       ///< on rank 0
};

/// Where a shot stands: all that is needed to go on, on any ranks. The same on every rank but for the film.
struct RenderState {
  std::int64_t segment = 0;  ///< those before it are denoised
  DenoiseState denoise;      ///< of this segment
  std::int64_t decoded = 0;  ///< latent frames in the film
  Rendered done;             ///< latents of whole segments, decoded frames; zero elsewhere, empty at the very start
};

/// Hears every step and every decoded latent frame, on every rank; may throw when all ranks do.
using Keep = std::function<void(const RenderState&)>;

/// Whether model, shot and ranks fit, before anything is read or allocated. `num_given_frames`: first frames [pixels] that
/// are given, 0 for none. Throws Error (usage, or launch for more ranks than tokens). The same on every rank.
void expect_fit(const Pipeline& pipeline, const Team& team, const Shot& shot, const Sampling& sampling,
                std::int64_t num_given_frames);

/// A model in memory, ready for any number of shots.
class Renderer {
 public:
  /// Loads the weights, one copy per node of `team` or shared out among its nodes. Collective over team.world. `pipeline` must
  /// outlive the renderer.
  Renderer(const Pipeline& pipeline, const Team& team, Observer& observer);
  /// Renders a shot from the text features of its prompt and, when guided, of its negative prompt. Collective over the
  /// ranks of `team`, which may be another than the one that loaded: a rank can render alone what all loaded together, unless
  /// the weights are shared out.
  /// Throws Error (usage) when model and shot do not fit.
  /// Goes on from `state`, which a `keep` of the same shot heard; then `prompt` may be empty when nothing is left to denoise.
  Rendered render(const Team& team, const Shot& shot, const Tensor& prompt, const Tensor& negative, const Sampling& sampling,
                  double fps, Observer& observer, RenderState state = {}, const Keep& keep = {}) const;
  const Transformer& transformer() const noexcept { return transformer_; }
  const Vae& vae() const noexcept { return vae_; }

 private:
  void denoise_segments(const Team& team, const Shot& shot, const std::vector<Segment>& segments, const Tensor& prompt,
                        const Tensor& negative, const Sampling& sampling, Observer& observer, RenderState& state,
                        const Keep& keep) const;
  void decode(const Team& team, const Shot& shot, double fps, Observer& observer, RenderState& state, const Keep& keep) const;
  const Pipeline& pipeline_;
  Transformer transformer_;
  Vae vae_;
};

/// One shot from its prompts: text features, weights, film. Collective over team.world. Throws Error (usage) when model
/// and shot do not fit, Error (input) when `state` is not of this shot.
Rendered render(const Pipeline& pipeline, const Team& team, const Shot& shot, const Sampling& sampling, double fps,
                Observer& observer, RenderState state = {}, const Keep& keep = {}, TextCache* text_cache = nullptr);

/// The first `num_frames` of a film as the autoencoder takes them: pixels [3, F, H, W], byte / 127.5 - 1.
Tensor from_bytes(const Film& film, std::int64_t num_frames);
/// Frames [f, H, W, 3] in [-1, 1] to 8 bits: round(255 * clamp(0.5 x + 0.5)), half to even.
void to_bytes(const Tensor& frames, std::uint8_t* rgb);

}  // namespace reel::model
