#include "study/run.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/digest.hpp"
#include "core/parallel.hpp"
#include "io/atomic_file.hpp"
#include "io/results.hpp"
#include "io/video.hpp"
#include "model/peak.hpp"
#include "study/energy.hpp"
#include "study/measure_films.hpp"
#include "study/pricing.hpp"
#include "study/provenance.hpp"
#include "worlds/world.hpp"

namespace reel::study {
namespace {

namespace fs = std::filesystem;
using std::int64_t;

// Pixels [3, F, H, W] in [-1, 1] of the clip that begins the shot: 1 + 4 (n - 1) frames for n latent frames.
Tensor given_frames(const Experiment& e, int64_t frames_per_latent) {
  const FirstFrames& given = *e.shot.first_frames;
  const int64_t num_frames = 1 + frames_per_latent * (given.num_latents - 1);
  Film film;
  if (!given.world.empty()) {
    worlds::Spec spec;
    spec.width_px = e.shot.width_px;
    spec.height_px = e.shot.height_px;
    spec.num_frames = num_frames;
    spec.fps = e.shot.fps;
    film = worlds::make(given.world, given.seed, spec).film;
  } else {
    film = io::read_video(given.video, num_frames).film;
    if (film.width_px != e.shot.width_px || film.height_px != e.shot.height_px)
      throw Error(Exit::input,
                  fmt::format("the clip is {} x {} pixels, the shot {} x {}", film.width_px, film.height_px, e.shot.width_px,
                              e.shot.height_px),
                  given.video.string(), "scale the clip to the shot's size first");
    if (film.num_frames < num_frames)
      throw Error(Exit::input, fmt::format("the clip has {} frames, {} are needed", film.num_frames, num_frames),
                  given.video.string(), "give a longer clip or fewer latents");
  }
  return model::from_bytes(film, num_frames);
}

model::Shot model_shot(const Experiment& e) {
  model::Shot shot;
  shot.prompts = {e.shot.prompt, e.shot.negative_prompt};
  shot.num_frames = e.shot.num_frames;
  shot.height_px = e.shot.height_px;
  shot.width_px = e.shot.width_px;
  shot.seed = e.shot.seed;
  shot.noise = e.sampler.noise == "torch" ? model::NoiseKind::torch : model::NoiseKind::philox;
  shot.segment_overlap = e.sampler.segment_overlap;
  return shot;
}

// Weights, and then either the activations of the transformer or the film and what the autoencoder carries from frame to
// frame, must fit into what the node still has. Refuses only what surely does not fit.
void expect_memory(const Experiment& e, const model::Pipeline& pipeline, const Comm& world, const Comm& node) {
  const double weights = 4.0 * static_cast<double>(model::num_parameters(pipeline.transformer()));
  const model::TransformerConfig& t = pipeline.transformer();
  const model::VaeConfig& v = pipeline.vae();
  const int64_t latent_frames = 1 + (e.shot.num_frames - 1) / v.scale_factor_temporal;
  const double area_px = static_cast<double>(e.shot.width_px) * static_cast<double>(e.shot.height_px);
  const double area = area_px / static_cast<double>(v.scale_factor_spatial * v.scale_factor_spatial);
  const double tokens = static_cast<double>(std::min(latent_frames, pipeline.trained_latent_frames()) / t.patch_t) * area /
                        static_cast<double>(t.patch_h * t.patch_w);
  const double share = static_cast<double>(node.size()) / world.size();  // of the work that is split
  // About ten arrays [N, D] live through a block; the latents are on every rank.
  const double latents = 4.0 * static_cast<double>(latent_frames * v.z_dim) * area * node.size();
  const double denoise = share * 4.0 * 10.0 * tokens * static_cast<double>(t.width());
  // Arrays [px, C] of the autoencoder's last level: what it keeps for the next frames and works on. Measured: 57 where
  // this says 32. Then the film, once more for the result.
  const double last_level = share * 4.0 * static_cast<double>(8 * (v.num_res_blocks + 1) + 16) * area_px /
                            static_cast<double>(v.patch_size * v.patch_size) *
                            static_cast<double>(v.decoder_base_dim * v.dim_mult.front());
  const double film = (e.output.pixels ? 2.0 : 1.0) * 3.0 * area_px * static_cast<double>(e.shot.num_frames);
  const double needed = weights + latents + std::max(denoise, last_level + film);
  const auto available = static_cast<double>(available_memory_bytes());
  if (available > 0 && needed > available)
    throw Error(Exit::resources, fmt::format("{:.1f} GB are needed, this node has {:.1f} GB", needed * 1e-9, available * 1e-9),
                "memory", "use a node with more memory, a smaller model or a shorter shot");
}

void expect_writable(const Experiment& e) {
  const fs::path& dir = e.output.dir;
  std::error_code ec;
  fs::create_directories(dir, ec);
  if (ec || !fs::is_directory(dir, ec))
    throw Error(Exit::write, fmt::format("the results folder cannot be made{}", ec ? ": " + ec.message() : ""), dir.string(),
                "choose another output.dir");
  const std::uint64_t block[512]{};  // a full disk may still take a few bytes
  const auto needed = static_cast<std::uint64_t>(e.output.pixels ? e.shot.num_frames * e.shot.height_px * e.shot.width_px * 3 : 0);
  io::AtomicFile probe(dir / "reel-probe");
  probe.write(block, sizeof block, std::max<std::uint64_t>(needed, sizeof block));
  probe.sync();
}

void add_result(const Experiment& e, const model::Rendered& rendered, io::Record& record) {
  const Film& film = rendered.film;
  std::vector<double> times;
  std::vector<std::uint8_t> hashes;
  for (int64_t f = 0; f < film.num_frames; ++f) {
    times.push_back(static_cast<double>(f) / film.fps);
    const std::string hex = sha256_hex(film.frame(f), static_cast<std::size_t>(film.frame_bytes()));
    for (std::size_t i = 0; i < hex.size(); i += 2) hashes.push_back(static_cast<std::uint8_t>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  }
  record.datasets.push_back({"/result/time", "s", "time of each frame", {film.num_frames}, {"frame"}, times, {}});
  record.datasets.push_back({"/result/frame_sha256", "1", "SHA-256 of each frame's RGB bytes", {film.num_frames, 32}, {"frame", "byte"}, hashes, {}});
  if (e.output.pixels)
    record.datasets.push_back({"/result/pixels", "1", "sRGB pixels, 8 bits", {film.num_frames, film.height_px, film.width_px, 3},
                               {"frame", "y", "x", "band"}, film.rgb, {}});
  if (e.output.latents)
    record.datasets.push_back({"/result/latent", "1", "normalised latents after the last step", rendered.latents.shape(),
                               {"lat_c", "lat_t", "lat_y", "lat_x"}, std::vector<float>(rendered.latents.begin(), rendered.latents.end()), {}});
}

}  // namespace

model::Sampling model_sampling(const Sampler& sampler) {
  model::Sampling sampling;
  sampling.num_steps = static_cast<int>(sampler.num_steps);
  sampling.guidance_scale = sampler.guidance_scale;
  sampling.flow_shift = sampler.shift.value_or(0.0);
  sampling.override_kind = true;
  sampling.kind = sampler.name == "euler" ? model::SchedulerConfig::Kind::euler : model::SchedulerConfig::Kind::unipc;
  return sampling;
}

void expect_ranks(const Run& run, const Comm& world) {
  if (run.num_ranks > 0 && run.num_ranks != world.size())
    throw Error(Exit::launch, fmt::format("{} rank(s) started, the experiment asks for {}", world.size(), run.num_ranks),
                "run.ranks", fmt::format("start with: mpirun -n {} reel run ..., or --set run.ranks={}", run.num_ranks, world.size()));
}

RunSummary run_experiment(const Experiment& e, const Comm& world, const std::string& command_line, Recorder::Listener listener) {
  using model::Pipeline;
  if (e.model.profile != "f32")
    throw Error(Exit::usage, fmt::format("the numerics profile '{}' is not available", e.model.profile), "model.profile", "use \"f32\"");
  expect_ranks(e.run, world);
  const bool measures = e.measure_json != "{}";
  std::unique_ptr<Pipeline> pipeline;
  world.together([&] {
    if (measures) {
      measure_task(e, e.output.dir / "result.h5");  // a wrong key must show now, not after the render
      if (e.model.synthetic())
        throw Error(Exit::usage, "pictures of synthetic weights mean nothing and cannot be measured", "measure", "leave out [measure]");
    }
    if (world.rank() == 0) expect_writable(e);
    pipeline = std::make_unique<Pipeline>(e.model.synthetic() ? Pipeline::synthetic(e.model.config, e.model.seed)
                                                              : Pipeline::open(e.model.path));
  });
  const model::Team team = model::Team::make(
      world, e.run.partition == "stream" ? model::Partition::stream : model::Partition::heads, static_cast<int>(e.run.guidance_groups));
  model::Shot shot = model_shot(e);
  const model::Sampling sampling = model_sampling(e.sampler);
  Tensor first_frames;
  world.together([&] {
    const int64_t frames_per_latent = pipeline->vae().scale_factor_temporal;
    const int64_t num_given = e.shot.first_frames ? 1 + frames_per_latent * (e.shot.first_frames->num_latents - 1) : 0;
    expect_fit(*pipeline, team, shot, sampling, num_given);
    expect_memory(e, *pipeline, world, team.node);
    if (e.shot.first_frames) first_frames = given_frames(e, frames_per_latent);
  });

  std::optional<EnergyMeter> meter;  // one for each node
  world.together([&] {
    if (team.node.rank() == 0) meter.emplace("/", price_task(e).node_w);
  });
  if (meter) meter->start();
  Recorder recorder(std::move(listener));
  InputDigests digests;
  recorder.begin("hash", 1);
  digests.model = pipeline->digest(world);
  if (!first_frames.empty())
    digests.first_frames = sha256_hex(first_frames.data(), static_cast<std::size_t>(first_frames.size()) * sizeof(float));
  recorder.step(0);
  recorder.end();
  if (!e.model.sha256.empty() && e.model.sha256 != digests.model)
    throw Error(Exit::input, fmt::format("the model's digest is {}", digests.model), e.model.path.string(),
                "model.sha256 asks for " + e.model.sha256);

  shot.first_frames = std::move(first_frames);
  const model::Rendered rendered = model::render(*pipeline, team, shot, sampling, e.shot.fps, recorder);

  io::Record record;
  std::vector<std::string> energies = world.all_gather(meter ? energy_json(meter->stop()) : std::string());
  std::erase(energies, "");
  add_energy(energies, record);
  const double peak = model::measured_peak_flops() * num_threads();
  recorder.write(world, peak, record);
  const std::vector<std::int64_t> memory = world.all_gather(peak_memory_bytes());
  const std::vector<std::int64_t> peaks = world.all_gather(static_cast<std::int64_t>(peak));

  RunSummary s;
  s.weights = pipeline->is_synthetic() ? "synthetic" : e.model.path.string();
  s.phases = recorder.phases();
  for (std::int64_t p : peaks) s.peak_flops += static_cast<double>(p);
  s.peak_memory_bytes = *std::max_element(memory.begin(), memory.end());
  s.task_id = task_id(e, digests);
  Run layout = e.run;  // as it really ran
  layout.num_ranks = world.size();
  layout.num_threads = num_threads();
  s.run_id = run_id(s.task_id, layout);
  s.result = e.output.dir / (s.run_id + ".h5");
  const std::string rank_facts = rank_provenance_json();
  const std::vector<std::string> all_facts = world.all_gather(rank_facts);

  world.together([&] {
    if (world.rank() != 0) return;
    add_result(e, rendered, record);
    io::Attributes& root = record.groups["/"];
    root["title"] = e.title;
    root["task_id"] = s.task_id;
    root["run_id"] = s.run_id;
    root["result_version"] = std::int64_t{result_version};
    root["profile"] = e.model.profile;
    root["weights"] = s.weights;
    root["status"] = std::string("complete");
    root["date_created"] = iso_date();
    const std::string inputs = nlohmann::json{{"model", digests.model}, {"first_frames", digests.first_frames}}.dump();
    add_provenance(record, {e.text, e.overrides, resolved_json(e), task_json(e, digests), inputs}, all_facts, command_line);
    s.result_digest = io::write_record(s.result, record);
    if (e.output.video != "none") {
      const bool lossless = e.output.video == "ffv1";
      s.film = e.output.dir / (s.run_id + (lossless ? ".mkv" : ".mp4"));
      io::write_video(s.film, rendered.film, {.lossless = lossless});
    }
    if (measures) {
      const MeasureTask task = measure_task(e, s.result);
      s.measurement = task.out;
      s.measurement_text = measurement_text(measure_film(task), /*brief=*/true);
    }
  });
  return s;
}

}  // namespace reel::study
