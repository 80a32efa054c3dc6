// reel forward: one component of a pipeline on given tensors, so that anybody can compare it with diffusers.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <span>

#include "app/verbs.hpp"
#include "core/parallel.hpp"
#include "io/atomic_file.hpp"
#include "io/safetensors.hpp"
#include "model/generate.hpp"
#include "model/pipeline.hpp"
#include "model/prompt.hpp"
#include "model/text_encoder.hpp"

namespace reel::app {
namespace {

using namespace model;
using std::int64_t;

struct Options {
  std::string component, model, in, out, prompt, negative_prompt, profile = "f32", partition = "heads";
  int steps = 4, threads = 0, guidance_groups = 1;
  double guidance = 5.0;
};

Tensor read(const io::Safetensors& file, const std::string& name) {
  const io::TensorInfo& info = file.at(name);
  Tensor t(info.shape);
  io::read_f32(info, 0, t.size(), t.data());
  return t;
}
std::vector<int64_t> read_integers(const io::Safetensors& file, const std::string& name) {
  const io::TensorInfo& info = file.at(name);
  std::vector<int64_t> v(static_cast<std::size_t>(num_elements(info.shape)));
  io::read_i64(info, 0, static_cast<int64_t>(v.size()), v.data());
  return v;
}

Error wrong_shape(const std::string& name, const Shape& got, const std::string& want, const std::string& file) {
  return Error(Exit::input, fmt::format("tensor '{}' has shape {}, expected {}", name, to_string(got), want), file,
               "see reel forward --help");
}

// Item b of a batch [B, ...].
Tensor item(const Tensor& batch, int64_t b) {
  Tensor t(Shape(batch.shape().begin() + 1, batch.shape().end()));
  std::copy_n(batch.data() + b * t.size(), t.size(), t.data());
  return t;
}

// Joins equal tensors along a new first axis.
Tensor join(const std::vector<Tensor>& items) {
  Shape shape = items.at(0).shape();
  shape.insert(shape.begin(), static_cast<int64_t>(items.size()));
  Tensor t(shape);
  float* to = t.data();
  for (const Tensor& i : items) to = std::copy(i.begin(), i.end(), to);
  return t;
}

class Output {
 public:
  void add(const std::string& name, Tensor tensor) { floats_.emplace_back(name, std::move(tensor)); }
  void add(const std::string& name, std::vector<int64_t> values, Shape shape) {
    integers_.push_back({name, std::move(values), std::move(shape)});
  }
  void write(const std::string& path) const {
    std::vector<io::TensorBytes> all;
    for (const auto& [name, t] : floats_)
      all.push_back({name, t.shape(), io::Dtype::f32, std::as_bytes(std::span(t.data(), static_cast<std::size_t>(t.size())))});
    for (const auto& i : integers_) all.push_back({i.name, i.shape, io::Dtype::i64, std::as_bytes(std::span(i.values))});
    io::write_safetensors(path, all);
  }

 private:
  struct Integers {
    std::string name;
    std::vector<int64_t> values;
    Shape shape;
  };
  std::vector<std::pair<std::string, Tensor>> floats_;
  std::vector<Integers> integers_;
};

void forward_tokenizer(const Options& o, const Pipeline& pipeline, Output& out) {
  std::ifstream in(o.in, std::ios::binary);
  if (!in || !std::filesystem::is_regular_file(o.in)) throw Error(Exit::input, "cannot be read", o.in, R"(give a JSON file: {"prompt": "..."})");
  const std::string text{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  const nlohmann::json j = nlohmann::json::parse(text, nullptr, false);
  if (j.is_discarded()) throw Error(Exit::input, "not valid JSON in UTF-8", o.in, R"(give a JSON file: {"prompt": "..."})");
  if (!j.is_object() || !j.contains("prompt") || !j["prompt"].is_string())
    throw Error(Exit::input, "no string 'prompt' in this file", o.in, R"(give a JSON file: {"prompt": "..."})");
  std::vector<int64_t> ids = pipeline.tokenize(j["prompt"].get<std::string>());
  const auto n = static_cast<int64_t>(ids.size());
  out.add("input_ids", std::move(ids), {1, n});
}

void forward_text_encoder(const Pipeline& pipeline, const Team& team, const io::Safetensors& in, Output& out) {
  const std::vector<int64_t> ids = read_integers(in, "input_ids"), mask = read_integers(in, "attention_mask");
  const Shape shape = in.at("input_ids").shape;
  if (shape.size() != 2 || num_elements(shape) == 0) throw wrong_shape("input_ids", shape, "[B, S]", in.path());
  if (in.at("attention_mask").shape != shape)
    throw wrong_shape("attention_mask", in.at("attention_mask").shape, "that of input_ids, " + to_string(shape), in.path());
  std::vector<std::vector<int64_t>> prompts;
  for (int64_t b = 0; b < shape[0]; ++b) {
    std::vector<int64_t>& p = prompts.emplace_back();
    for (int64_t i = b * shape[1]; i < (b + 1) * shape[1]; ++i)
      if (mask[static_cast<std::size_t>(i)]) p.push_back(ids[static_cast<std::size_t>(i)]);
    if (p.empty())
      throw Error(Exit::input, fmt::format("item {} of tensor 'attention_mask' masks every token", b), in.path(),
                  "leave at least one token (</s>) in each prompt");
  }
  const auto source = pipeline.weights(Pipeline::Part::text_encoder, team.world);
  std::vector<Tensor> states;
  team.world.together([&] { states = encode_text(pipeline.text_encoder(), *source, team.node, prompts, pipeline.numerics()); });
  Tensor hidden = Tensor::zeros({shape[0], shape[1], pipeline.text_encoder().d_model});
  for (int64_t b = 0; b < shape[0]; ++b)
    std::copy(states[static_cast<std::size_t>(b)].begin(), states[static_cast<std::size_t>(b)].end(), hidden.row(b));
  out.add("last_hidden_state", std::move(hidden));
}

void forward_transformer(const Pipeline& pipeline, const Team& team, const io::Safetensors& in, Output& out) {
  const Tensor hidden = read(in, "hidden_states"), text = read(in, "encoder_hidden_states"), timestep = read(in, "timestep");
  const TransformerConfig& c = pipeline.transformer();
  if (hidden.shape().size() != 5 || hidden.dim(1) != c.in_channels || hidden.empty())
    throw wrong_shape("hidden_states", hidden.shape(), fmt::format("[B, {}, T, H, W]", c.in_channels), in.path());
  if (text.shape().size() != 3 || text.dim(0) != hidden.dim(0) || text.dim(2) != c.text_dim || text.empty())
    throw wrong_shape("encoder_hidden_states", text.shape(), fmt::format("[B, S, {}]", c.text_dim), in.path());
  const Shape one(hidden.shape().begin() + 1, hidden.shape().end());
  const int64_t tokens = num_tokens(c, one), per_item = timestep.size() / hidden.dim(0);
  if (timestep.shape().empty() || timestep.dim(0) != hidden.dim(0) || (per_item != 1 && per_item != tokens))
    throw wrong_shape("timestep", timestep.shape(), fmt::format("[B] or [B, {}]", tokens), in.path());
  if (tokens < team.world.size())
    throw Error(Exit::launch, fmt::format("{} ranks for {} tokens", team.world.size(), tokens), "launch", "start fewer ranks");
  const Transformer transformer = load_transformer(pipeline, team);
  std::vector<Tensor> samples;
  for (int64_t b = 0; b < hidden.dim(0); ++b)
    samples.push_back(transformer.forward(team.world, team.partition, item(hidden, b),
                                          {timestep.data() + b * per_item, static_cast<std::size_t>(per_item)},
                                          transformer.encode_context(item(text, b))));
  out.add("sample", join(samples));
}

// [f, H, W, 3] chunks to [3, F, H, W].
Tensor decode_planes(const Vae& vae, const Team& team, const Tensor& z) {
  const VaeConfig& c = vae.config();
  const int64_t frames = 1 + c.scale_factor_temporal * (z.dim(1) - 1), h = z.dim(2) * c.scale_factor_spatial,
                w = z.dim(3) * c.scale_factor_spatial;
  Tensor video({3, frames, h, w});
  vae.decode(team.world, z, [&](int64_t first, const Tensor& chunk) {
    for (int64_t f = 0; f < chunk.dim(0); ++f)
      for (int64_t i = 0; i < h * w; ++i)
        for (int64_t ch = 0; ch < 3; ++ch) video[(ch * frames + first + f) * h * w + i] = chunk.row(f)[i * 3 + ch];
  });
  return video;
}

void forward_vae(bool encode, const Pipeline& pipeline, const Team& team, const io::Safetensors& in, Output& out) {
  const std::string name = encode ? "x" : "z";
  const Tensor batch = read(in, name);
  const int64_t channels = encode ? 3 : pipeline.vae().z_dim;
  if (batch.shape().size() != 5 || batch.dim(1) != channels || batch.size() == 0)
    throw wrong_shape(name, batch.shape(), fmt::format("[B, {}, T, H, W]", channels), in.path());
  const Vae vae = load_vae(pipeline, team);
  std::vector<Tensor> results;
  for (int64_t b = 0; b < batch.dim(0); ++b)
    results.push_back(encode ? vae.encode(team.world, item(batch, b)) : decode_planes(vae, team, item(batch, b)));
  out.add(encode ? "mean" : "sample", join(results));
}

void forward_scheduler(const Options& o, const Pipeline& pipeline, const io::Safetensors& in, Output& out) {
  Tensor sample = read(in, "noise");
  const Tensor velocities = read(in, "velocities");
  if (sample.empty()) throw wrong_shape("noise", sample.shape(), "one with elements", in.path());
  Scheduler scheduler(pipeline.scheduler(), o.steps);
  if (velocities.shape().empty() || velocities.dim(0) != o.steps || velocities.size() != sample.size() * o.steps)
    throw wrong_shape("velocities", velocities.shape(), fmt::format("[{} steps, shape of noise]", o.steps), in.path());
  std::vector<Tensor> samples;
  for (int k = 0; k < o.steps; ++k) {
    scheduler.step(k, item(velocities, k).reshaped(sample.shape()), sample);
    samples.push_back(sample);
  }
  const auto vector = [](const std::vector<float>& v) {
    Tensor t({static_cast<int64_t>(v.size())});
    std::copy(v.begin(), v.end(), t.begin());
    return t;
  };
  out.add("timesteps", vector(scheduler.timesteps()));
  out.add("sigmas", vector(scheduler.sigmas()));
  out.add("samples", join(samples));
}

void forward_pipeline(const Options& o, const Pipeline& pipeline, const Team& team, const io::Safetensors& in, Output& out) {
  Tensor noise = read(in, "latents");
  const bool batched = noise.shape().size() == 5 && noise.dim(0) == 1;
  if (!batched || noise.dim(1) != pipeline.vae().z_dim || noise.empty())
    throw wrong_shape("latents", noise.shape(), fmt::format("[1, {}, T, H, W]", pipeline.vae().z_dim), in.path());
  noise = item(noise, 0);
  num_tokens(pipeline.transformer(), noise.shape());  // throws unless patches fit
  // Given first frames [1, 3, F, H, W] in [-1, 1] stay as they are.
  Tensor given;
  if (in.find("frames")) {
    given = read(in, "frames");
    const VaeConfig& v = pipeline.vae();
    const int64_t height = noise.dim(2) * v.scale_factor_spatial, width = noise.dim(3) * v.scale_factor_spatial;
    const int64_t most = (noise.dim(1) - 2) * v.scale_factor_temporal + 1;
    if (given.empty() || given.shape() != Shape{1, 3, given.shape().size() == 5 ? given.dim(2) : 0, height, width} ||
        given.dim(2) > most)
      throw wrong_shape("frames", given.shape(), fmt::format("[1, 3, F, {}, {}] with F up to {}", height, width, most), in.path());
    if (!pipeline.expand_timesteps())
      throw Error(Exit::usage, "this model cannot start from given frames", o.model,
                  "use a model whose model_index.json has expand_timesteps true");
  }
  Observer silent;
  const bool guided = o.guidance > 1;
  std::vector<std::string> prompts{o.prompt};
  if (guided) prompts.push_back(o.negative_prompt);
  const std::vector<Tensor> features = encode_prompts(pipeline, team, prompts, silent);
  const Transformer transformer = load_transformer(pipeline, team);
  const Vae vae = load_vae(pipeline, team);
  Sampling sampling;
  sampling.num_steps = o.steps;
  sampling.guidance_scale = o.guidance;
  Tensor clean;
  if (!given.empty()) clean = vae.normalise(vae.encode(team.world, item(given, 0)));
  const Context prompt = transformer.encode_context(features[0]);
  const Context negative = guided ? transformer.encode_context(features[1]) : Context{};
  std::vector<Tensor> steps;
  const Tensor latents = denoise(team, transformer, pipeline.scheduler(), sampling, prompt, negative, noise, clean, silent,
                                 [&](const model::DenoiseState& now) { steps.push_back(now.sample); });
  const Tensor planes = decode_planes(vae, team, vae.denormalise(latents));
  const int64_t frames = planes.dim(1), pixels = planes.dim(2) * planes.dim(3);
  Tensor video({frames, planes.dim(2), planes.dim(3), 3});
  for (int64_t f = 0; f < frames; ++f)
    for (int64_t i = 0; i < pixels; ++i)
      for (int64_t ch = 0; ch < 3; ++ch)
        video[(f * pixels + i) * 3 + ch] = std::min(1.0f, std::max(0.0f, planes[(ch * frames + f) * pixels + i] * 0.5f + 0.5f));
  out.add("latents", join({latents}));
  out.add("steps", join(steps));
  out.add("video", std::move(video));
}

void run_forward(const Options& o) {
  const Comm world = start_ranks(o.threads);
  const Team team = Team::make(world, o.partition == "stream" ? Partition::stream : Partition::heads, o.guidance_groups);
  std::unique_ptr<Pipeline> pipeline;
  std::unique_ptr<io::Safetensors> in;
  world.together([&] {
    if (world.rank() == 0) io::AtomicFile{o.out};  // before hours of work: can it be written?
    pipeline = std::make_unique<Pipeline>(Pipeline::open(o.model, model::parse_numerics(o.profile)));
    if (o.component != "tokenizer") in = std::make_unique<io::Safetensors>(io::Safetensors::open(o.in));
  });
  Output out;
  if (o.component == "tokenizer")
    world.together([&] { forward_tokenizer(o, *pipeline, out); });
  else if (o.component == "text_encoder")
    forward_text_encoder(*pipeline, team, *in, out);
  else if (o.component == "transformer")
    forward_transformer(*pipeline, team, *in, out);
  else if (o.component == "vae_decode" || o.component == "vae_encode")
    forward_vae(o.component == "vae_encode", *pipeline, team, *in, out);
  else if (o.component == "scheduler")
    world.together([&] { forward_scheduler(o, *pipeline, *in, out); });
  else
    forward_pipeline(o, *pipeline, team, *in, out);
  world.together([&] {
    if (world.rank() == 0) out.write(o.out);
  });
}

}  // namespace

void add_forward(CLI::App& root) {
  auto o = std::make_shared<Options>();
  CLI::App* verb = root.add_subcommand("forward", "run one component on given tensors, to compare with diffusers");
  verb->footer(
      "components and their tensors (safetensors files):\n"
      "  tokenizer     in: JSON {\"prompt\": ...}                                    out: input_ids\n"
      "  text_encoder  in: input_ids, attention_mask [B, S]                        out: last_hidden_state (0 where masked)\n"
      "  transformer   in: hidden_states, timestep [B] or [B, N], encoder_hidden_states   out: sample\n"
      "  vae_decode    in: z [B, C, T, h, w]                                       out: sample\n"
      "  vae_encode    in: x [B, 3, F, H, W]                                       out: mean\n"
      "  scheduler     in: noise, velocities [steps, ...]                          out: timesteps, sigmas, samples\n"
      "  pipeline      in: latents [1, C, T, h, w], frames (optional, given first) out: latents, steps, video");
  verb->add_option("component", o->component, "what to run")
      ->required()
      ->check(CLI::IsMember({"tokenizer", "text_encoder", "transformer", "vae_decode", "vae_encode", "scheduler", "pipeline"}));
  verb->add_option("--model", o->model, "pipeline folder")->required();
  verb->add_option("--in", o->in, "input tensors (tokenizer: JSON)")->required();
  verb->add_option("--out", o->out, "output tensors")->required();
  verb->add_option("--steps", o->steps, "scheduler, pipeline: number of steps")->check(CLI::Range(1, 100000));
  verb->add_option("--guidance", o->guidance, "pipeline: guidance_scale")->check(CLI::Range(0.0, 1000.0));
  verb->add_option("--prompt", o->prompt, "pipeline: prompt");
  verb->add_option("--negative-prompt", o->negative_prompt, "pipeline: negative prompt");
  verb->add_option("--profile", o->profile, "numerics")->check(CLI::IsMember({"f32", "bf16", "bf16-amx"}));
  verb->add_option("--threads", o->threads, "threads per rank (0: cores / ranks)")->check(CLI::Range(0, 4096));
  verb->add_option("--partition", o->partition, "heads or stream")->check(CLI::IsMember({"heads", "stream"}));
  verb->add_option("--guidance-groups", o->guidance_groups, "pipeline: 1 or 2 rank groups")->check(CLI::Range(1, 2));
  verb->callback([o] { run_forward(*o); });
}

}  // namespace reel::app
