#include "model/generate.hpp"

#include <algorithm>
#include <cmath>
#include <optional>

#include "model/noise.hpp"
#include "model/text_encoder.hpp"

namespace reel::model {
namespace {

using std::int64_t;

bool guided(const Sampling& s) { return s.guidance_scale > 1.0; }

void expect_finite(const Tensor& t, int step, const char* branch) {
  for (int64_t i = 0; i < t.size(); ++i)
    if (!std::isfinite(t[i]))
      throw Error(Exit::nonfinite, fmt::format("the velocity is not finite at element {} of {}", i, to_string(t.shape())),
                  fmt::format("denoising step {}, {}", step + 1, branch),
                  "compare the weights with their source (reel info --digest); a guidance_scale far above 10 can also do this");
}

void expect_enough_tokens(const Team& team, int64_t num_tokens) {
  if (num_tokens < team.branch.size())
    throw Error(Exit::launch, fmt::format("{} ranks for {} tokens: some would have none", team.branch.size(), num_tokens),
                "run.ranks", fmt::format("start at most {} ranks", num_tokens * team.guidance_groups));
}

// Copies latent frames [from.begin, from.end) of `source` [C, T, h, w] to frames [at, ...) of `target`.
void copy_frames(const Tensor& source, Interval from, Tensor& target, int64_t at) {
  const int64_t area = source.dim(2) * source.dim(3);
  for (int64_t c = 0; c < source.dim(0); ++c)
    std::copy_n(source.data() + (c * source.dim(1) + from.begin) * area, from.size() * area,
                target.data() + (c * target.dim(1) + at) * area);
}

}  // namespace

Team Team::make(const Comm& world, Partition partition, int guidance_groups, bool shard_weights) {
  if (guidance_groups > world.size())
    throw Error(Exit::launch, fmt::format("{} guidance groups on {} rank(s)", guidance_groups, world.size()),
                "run.guidance_groups", "start at least as many ranks as groups");
  Team team;
  team.world = world;
  team.node = world.split_node();
  if (shard_weights) team.nodes = Nodes::of(world, team.node);
  team.partition = partition;
  team.guidance_groups = guidance_groups;
  const int64_t first_half = slice(world.size(), 2, 0).size();
  team.branch = guidance_groups == 2 ? world.split(world.rank() < first_half ? 0 : 1) : world;
  return team;
}

Transformer load_transformer(const Pipeline& pipeline, const Team& team) {
  const auto source = pipeline.weights(Pipeline::Part::transformer, team.world);
  std::optional<Transformer> transformer;
  team.world.together([&] { transformer.emplace(pipeline.transformer(), *source, team.node, pipeline.numerics(), team.nodes); });
  return std::move(*transformer);
}

Vae load_vae(const Pipeline& pipeline, const Team& team) {
  const auto source = pipeline.weights(Pipeline::Part::vae, team.world);
  std::optional<Vae> vae;
  team.world.together([&] { vae.emplace(pipeline.vae(), *source, team.node, pipeline.numerics()); });
  return std::move(*vae);
}

std::vector<Tensor> encode_prompts(const Pipeline& pipeline, const Team& team, const std::vector<std::string>& prompts,
                                   Observer& observer, TextCache* cache) {
  const TextEncoderConfig& c = pipeline.text_encoder();
  std::vector<std::vector<int64_t>> ids;
  team.world.together([&] {
    for (const std::string& prompt : prompts) ids.push_back(pipeline.tokenize(prompt));
  });
  observer.begin("text", 1);
  std::vector<Tensor> features(ids.size());
  std::vector<std::string> keys;
  if (cache != nullptr) {
    const std::string weights = pipeline.digest(Pipeline::Part::text_encoder, team.world);
    std::vector<Shape> shapes;
    for (const auto& prompt : ids) {
      keys.push_back(text_key(c, weights, pipeline.numerics(), prompt));
      shapes.push_back({static_cast<int64_t>(prompt.size()), c.d_model});
    }
    features = cache->load(team.world, keys, shapes);
  }
  std::vector<std::size_t> missing;  // the same on every rank
  std::vector<std::vector<int64_t>> missing_ids;
  for (std::size_t i = 0; i < ids.size(); ++i)
    if (features[i].empty()) missing.push_back(i), missing_ids.push_back(ids[i]);
  double flops = 0;
  if (!missing.empty()) {
    const auto source = pipeline.weights(Pipeline::Part::text_encoder, team.world);
    team.world.together([&] {
      std::vector<Tensor> computed = encode_text(c, *source, team.node, missing_ids, pipeline.numerics());
      for (std::size_t k = 0; k < missing.size(); ++k) {
        flops += text_encoder_flops(c, computed[k].dim(0)) * team.world.size();
        if (cache != nullptr && team.world.rank() == 0) cache->save(keys[missing[k]], computed[k]);
        features[missing[k]] = std::move(computed[k]);
      }
    });
  }
  for (Tensor& f : features) {
    Tensor padded = Tensor::zeros({context_length, f.dim(1)});
    std::copy(f.begin(), f.end(), padded.begin());
    f = std::move(padded);
  }
  observer.step(flops);
  observer.end();
  return features;
}

Tensor denoise(const Team& team, const Transformer& transformer, const SchedulerConfig& scheduler_config,
               const Sampling& sampling, const Context& prompt, const Context& negative, const Tensor& noise,
               const Tensor& clean, Observer& observer, const std::function<void(const DenoiseState&)>& after_step,
               DenoiseState state) {
  SchedulerConfig config = scheduler_config;
  if (sampling.flow_shift > 0) config.shift = sampling.flow_shift;
  if (sampling.override_kind) config.kind = sampling.kind;
  Scheduler scheduler(config, sampling.num_steps);
  const TransformerConfig& c = transformer.config();
  const int64_t num_tokens = transformer.num_tokens(noise.shape());
  expect_enough_tokens(team, num_tokens);
  const int64_t num_clean = clean.empty() ? 0 : clean.dim(1);
  REEL_CHECK(num_clean < noise.dim(1) && num_clean % c.patch_t == 0, "{} clean frames of {}", num_clean, noise.dim(1));
  const int64_t clean_tokens = num_clean / c.patch_t * (noise.dim(2) / c.patch_h) * (noise.dim(3) / c.patch_w);
  const TransformerFlops flops = transformer_flops(c, num_tokens, context_length);

  if (state.sample.empty()) state.sample = noise;
  REEL_CHECK(state.sample.shape() == noise.shape());
  const int first_step = state.scheduler.step;
  scheduler.set_state(std::move(state.scheduler));
  Tensor& sample = state.sample;
  const auto merge = [&](Tensor& t) {
    if (num_clean) copy_frames(clean, {0, num_clean}, t, 0);
  };
  for (int k = first_step; k < sampling.num_steps; ++k) {
    const float t = scheduler.timesteps()[static_cast<std::size_t>(k)];
    std::vector<float> timesteps(1, t);
    if (num_clean) {
      timesteps.assign(static_cast<std::size_t>(num_tokens), t);
      std::fill_n(timesteps.begin(), clean_tokens, 0.0f);
    }
    Tensor input = sample;
    merge(input);
    const auto velocity_of = [&](const Context& context) {
      return transformer.forward(team.branch, team.partition, input, timesteps, context);
    };
    Tensor velocity;
    if (!guided(sampling)) {
      velocity = velocity_of(prompt);
      expect_finite(velocity, k, "prompt");
    } else {
      Tensor unguided;
      if (team.guidance_groups == 2) {
        // Each half of the ranks computes one branch; then both halves get both.
        const bool first_half = team.world.rank() < slice(team.world.size(), 2, 0).size();
        Tensor mine = velocity_of(first_half ? prompt : negative);
        Tensor other(mine.shape());
        velocity = first_half ? mine : Tensor(mine.shape());
        unguided = first_half ? Tensor(mine.shape()) : mine;
        const auto bytes = static_cast<std::size_t>(mine.size()) * sizeof(float);
        team.world.broadcast(velocity.data(), bytes, 0);
        team.world.broadcast(unguided.data(), bytes, static_cast<int>(slice(team.world.size(), 2, 1).begin));
      } else {
        velocity = velocity_of(prompt);
        unguided = velocity_of(negative);
      }
      expect_finite(velocity, k, "prompt");
      expect_finite(unguided, k, "negative prompt");
      const auto g = static_cast<float>(sampling.guidance_scale);
      for (int64_t i = 0; i < velocity.size(); ++i) velocity[i] = unguided[i] + g * (velocity[i] - unguided[i]);
    }
    scheduler.step(k, velocity, sample);
    observer.step(flops.total() * (guided(sampling) ? 2.0 : 1.0));
    if (after_step) {
      state.scheduler = scheduler.state();
      after_step(state);
    }
  }
  merge(sample);
  return std::move(state.sample);
}

std::vector<Segment> plan_segments(std::int64_t num_frames, std::int64_t trained, std::int64_t overlap) {
  std::vector<Segment> segments{{0, std::min(num_frames, trained)}};
  if (num_frames <= trained) return segments;
  if (overlap < 1 || overlap >= trained)
    throw Error(Exit::usage, fmt::format("segments of {} latent frames cannot overlap by {}", trained, overlap),
                "sampler.segment_overlap", fmt::format("use 1 to {}", trained - 1));
  while (segments.back().end < num_frames) {
    const int64_t begin = segments.back().end - overlap;
    segments.push_back({begin, std::min(num_frames, begin + trained)});
  }
  return segments;
}

Tensor from_bytes(const Film& film, int64_t num_frames) {
  Tensor pixels({3, num_frames, film.height_px, film.width_px});
  const int64_t area = film.height_px * film.width_px;
  for (int64_t f = 0; f < num_frames; ++f)
    for (int64_t i = 0; i < area; ++i)
      for (int64_t c = 0; c < 3; ++c)
        pixels[(c * num_frames + f) * area + i] = static_cast<float>(film.frame(f)[i * 3 + c]) / 127.5f - 1.0f;
  return pixels;
}

void to_bytes(const Tensor& frames, std::uint8_t* rgb) {
  for (int64_t i = 0; i < frames.size(); ++i) {
    const float y = std::min(1.0f, std::max(0.0f, frames[i] * 0.5f + 0.5f));
    rgb[i] = static_cast<std::uint8_t>(std::nearbyint(255.0f * y));  // default rounding: half to even
  }
}

namespace {

Shape latent_shape(const VaeConfig& v, const Shot& shot) {
  return {v.z_dim, 1 + (shot.num_frames - 1) / v.scale_factor_temporal, shot.height_px / v.scale_factor_spatial,
          shot.width_px / v.scale_factor_spatial};
}

int64_t num_segments(const Pipeline& pipeline, const Shot& shot) {
  return static_cast<int64_t>(
      plan_segments(latent_shape(pipeline.vae(), shot)[1], pipeline.trained_latent_frames(), shot.segment_overlap).size());
}

// A state may come from a file.
void expect_state(const RenderState& state, const Shot& shot, const Shape& shape, const std::vector<Segment>& segments, const Sampling& sampling) {
  const auto num_segments = static_cast<int64_t>(segments.size());
  const Film& film = state.done.film;
  bool good = state.segment >= 0 && state.segment <= num_segments && state.decoded >= 0 && state.decoded <= shape[1] &&
              state.done.latents.shape() == shape && (state.decoded == 0 || state.segment == num_segments) &&
              (state.decoded == 0 || (film.num_frames == shot.num_frames && film.height_px == shot.height_px && film.width_px == shot.width_px)) &&
              state.denoise.scheduler.step >= 0 && state.denoise.scheduler.step <= sampling.num_steps;
  if (good && !state.denoise.sample.empty()) {
    const Segment segment = segments[static_cast<std::size_t>(std::min(state.segment, num_segments - 1))];
    good = state.segment < num_segments && state.denoise.sample.shape() == Shape{shape[0], segment.end - segment.begin, shape[2], shape[3]} &&
           (state.denoise.scheduler.history.empty() || state.denoise.scheduler.history[0].shape() == state.denoise.sample.shape());
  } else {
    good = good && state.denoise.scheduler.step == 0;
  }
  if (!good) throw Error(Exit::input, "it belongs to another shot", "checkpoint", "remove it, then run again");
}

}  // namespace

void expect_fit(const Pipeline& pipeline, const Team& team, const Shot& shot, const Sampling& sampling,
                int64_t num_given_frames) {
  const VaeConfig& v = pipeline.vae();
  const TransformerConfig& t = pipeline.transformer();
  const int64_t cell_h = v.scale_factor_spatial * t.patch_h, cell_w = v.scale_factor_spatial * t.patch_w;
  if (shot.height_px % cell_h || shot.width_px % cell_w || shot.height_px < cell_h || shot.width_px < cell_w)
    throw Error(Exit::usage, fmt::format("{} x {} pixels do not fit this model", shot.width_px, shot.height_px), "shot.size",
                fmt::format("use multiples of {} (width) and {} (height)", cell_w, cell_h));
  if (shot.num_frames < 1 || (shot.num_frames - 1) % v.scale_factor_temporal)
    throw Error(Exit::usage, fmt::format("{} frames do not fit this model", shot.num_frames), "shot.frames",
                fmt::format("use a number of frames of the form {}k + 1", v.scale_factor_temporal));
  if (team.guidance_groups == 2 && !guided(sampling))
    throw Error(Exit::usage, "two guidance groups need a guidance above 1", "run.guidance_groups", "set it to 1");
  const Shape shape = latent_shape(v, shot);
  const std::vector<Segment> segments = plan_segments(shape[1], pipeline.trained_latent_frames(), shot.segment_overlap);
  const bool needs_conditioning = segments.size() > 1 || num_given_frames > 0;
  if (needs_conditioning && !pipeline.expand_timesteps())
    throw Error(Exit::usage,
                segments.size() > 1
                    ? fmt::format("{} latent frames are more than the {} this model was trained on", shape[1],
                                  pipeline.trained_latent_frames())
                    : "this model cannot start from given frames",
                "shot", "use a model whose model_index.json has expand_timesteps true, or a shorter shot without first frames");
  for (const Segment& segment : segments)
    expect_enough_tokens(team, num_tokens(t, {t.in_channels, segment.end - segment.begin, shape[2], shape[3]}));
  const int64_t given = num_given_frames > 0 ? 1 + (num_given_frames - 1) / v.scale_factor_temporal : 0;
  if (given >= segments.front().end || given % t.patch_t || (segments.size() > 1 && shot.segment_overlap % t.patch_t))
    throw Error(Exit::usage,
                fmt::format("{} given latent frames do not go with segments of {} latent frames", given, segments.front().end),
                "shot.first_frames",
                fmt::format("give fewer frames; in latent frames, given and shared ones are multiples of {}", t.patch_t));
}

Renderer::Renderer(const Pipeline& pipeline, const Team& team, Observer& observer)
    : pipeline_(pipeline),
      transformer_((observer.begin("load", 2), load_transformer(pipeline, team))),
      vae_((observer.step(0), load_vae(pipeline, team))) {
  observer.step(0);
  observer.end();
}

Rendered render(const Pipeline& pipeline, const Team& team, const Shot& shot, const Sampling& sampling, double fps,
                Observer& observer, RenderState state, const Keep& keep, TextCache* text_cache) {
  expect_fit(pipeline, team, shot, sampling, shot.first_frames.empty() ? 0 : shot.first_frames.dim(1));
  std::vector<std::string> prompts{shot.prompts.prompt};
  if (guided(sampling)) prompts.push_back(shot.prompts.negative_prompt);
  std::vector<Tensor> features(2);
  if (state.segment < num_segments(pipeline, shot)) features = encode_prompts(pipeline, team, prompts, observer, text_cache);
  const Renderer renderer(pipeline, team, observer);
  return renderer.render(team, shot, features[0], guided(sampling) ? features[1] : Tensor{}, sampling, fps, observer,
                         std::move(state), keep);
}

Rendered Renderer::render(const Team& team, const Shot& shot, const Tensor& prompt_features, const Tensor& negative_features,
                          const Sampling& sampling, double fps, Observer& observer, RenderState state, const Keep& keep) const {
  expect_fit(pipeline_, team, shot, sampling, shot.first_frames.empty() ? 0 : shot.first_frames.dim(1));
  const Shape shape = latent_shape(pipeline_.vae(), shot);
  const std::vector<Segment> segments = plan_segments(shape[1], pipeline_.trained_latent_frames(), shot.segment_overlap);
  const auto num_segments = static_cast<int64_t>(segments.size());
  if (state.done.latents.empty()) state.done.latents = Tensor::zeros(shape);
  expect_state(state, shot, shape, segments, sampling);
  if (state.segment < num_segments) denoise_segments(team, shot, segments, prompt_features, negative_features, sampling, observer, state, keep);
  decode(team, shot, fps, observer, state, keep);
  return std::move(state.done);
}

void Renderer::denoise_segments(const Team& team, const Shot& shot, const std::vector<Segment>& segments, const Tensor& prompt_features,
                                const Tensor& negative_features, const Sampling& sampling, Observer& observer, RenderState& state,
                                const Keep& keep) const {
  Tensor& latents = state.done.latents;
  Tensor clean;
  if (state.segment == 0 && !shot.first_frames.empty()) {
    observer.begin("encode", 1);
    clean = vae_.normalise(vae_.encode(team.world, shot.first_frames));
    observer.step(0);
    observer.end();
  }
  observer.begin("denoise", sampling.num_steps * (static_cast<int64_t>(segments.size()) - state.segment) - state.denoise.scheduler.step);
  const Context prompt = transformer_.encode_context(prompt_features);
  const Context negative = guided(sampling) ? transformer_.encode_context(negative_features) : Context{};
  for (; state.segment < static_cast<int64_t>(segments.size()); ++state.segment) {
    const auto s = static_cast<std::size_t>(state.segment);
    const Segment& segment = segments[s];
    Tensor noise({latents.dim(0), segment.end - segment.begin, latents.dim(2), latents.dim(3)});
    if (shot.noise == NoiseKind::torch)
      torch_normal(shot.seed + s, noise.size(), noise.data());
    else
      philox_normal(shot.seed, fmt::format("latents/{}", s), 0, noise.size(), noise.data());
    if (s > 0) {
      clean = Tensor({latents.dim(0), segments[s - 1].end - segment.begin, latents.dim(2), latents.dim(3)});
      copy_frames(latents, {segment.begin, segments[s - 1].end}, clean, 0);
    }
    const auto after_step = [&](const DenoiseState& now) {
      state.denoise = now;
      keep(state);
    };
    const Tensor part = denoise(team, transformer_, pipeline_.scheduler(), sampling, prompt, negative, noise, clean, observer,
                                keep ? after_step : std::function<void(const DenoiseState&)>(), std::exchange(state.denoise, {}));
    copy_frames(part, {0, part.dim(1)}, latents, segment.begin);
    state.denoise = {};
  }
  observer.end();
}

void Renderer::decode(const Team& team, const Shot& shot, double fps, Observer& observer, RenderState& state, const Keep& keep) const {
  Film& film = state.done.film;
  const Shape& shape = state.done.latents.shape();
  observer.begin("decode", shape[1] - state.decoded);
  film.num_frames = shot.num_frames;
  film.height_px = shot.height_px;
  film.width_px = shot.width_px;
  film.fps = fps;
  if (team.world.rank() == 0) film.rgb.resize(static_cast<std::size_t>(shot.num_frames * film.frame_bytes()));
  int64_t bad_frame = -1;
  const double flops = vae_decode_flops(pipeline_.vae(), shape[1], shape[2], shape[3]).total() / static_cast<double>(shape[1]);
  vae_.decode(
      team.world, vae_.denormalise(state.done.latents),
      [&](int64_t first, const Tensor& frames) {
        if (bad_frame < 0 && !std::all_of(frames.begin(), frames.end(), [](float x) { return std::isfinite(x); })) bad_frame = first;
        to_bytes(frames, film.frame(first));
        observer.step(flops);
      },
      state.decoded,
      [&](int64_t num_done) {
        team.world.together([&] {
          if (bad_frame >= 0)
            throw Error(Exit::nonfinite, "the decoded film is not finite", fmt::format("autoencoder, from frame {}", bad_frame),
                        "compare the weights of vae with their source (reel info --digest)");
        });
        state.decoded = num_done;
        if (keep) keep(state);
      });
  observer.end();
}

}  // namespace reel::model
