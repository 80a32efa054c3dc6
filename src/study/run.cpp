#include "study/run.hpp"

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/digest.hpp"
#include "core/parallel.hpp"
#include "core/stop.hpp"
#include "io/atomic_file.hpp"
#include "io/results.hpp"
#include "io/video.hpp"
#include "model/peak.hpp"
#include "study/checkpoint.hpp"
#include "study/energy.hpp"
#include "study/forecast.hpp"
#include "study/measure_films.hpp"
#include "study/pricing.hpp"
#include "study/provenance.hpp"
#include "study/scaling.hpp"
#include "study/tables.hpp"
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

// Refuses only what surely does not fit into what the node still has.
void expect_memory(const Experiment& e, const model::Pipeline& pipeline, const Comm& world, const Comm& node) {
  const double needed = forecast(e, pipeline, world.size(), node.size()).memory_bytes;
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
  io::remove_leftovers_of_the_dead(dir);
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

// The digest of a result that is there, complete and undamaged; otherwise "".
std::string finished_digest(const fs::path& result) {
  std::error_code ignored;
  if (!fs::exists(result, ignored)) return "";
  try {
    const io::Verification found = io::verify(result);
    return found.good() ? found.recorded : "";
  } catch (const Error&) {
    return "";
  }
}

// Times of sittings that this one went on from: they were paid for as well.
void add_earlier(const std::vector<Sitting>& earlier, double save_s, io::Record& record) {
  record.datasets.push_back({"/measured/checkpoint_wall", "s", "time spent on checkpoints in this sitting", {}, {}, std::vector<double>{save_s}, {}});
  if (earlier.empty()) return;
  const auto num = static_cast<int64_t>(earlier.size());
  const auto add = [&](const std::string& name, const std::string& unit, const std::string& long_name, auto get) {
    record.datasets.push_back({"/measured/earlier_" + name, unit, long_name, {num}, {"sitting"}, column(earlier, get), {}});
  };
  add("wall", "s", "wall time of each sitting before this one", [](const Sitting& s) { return s.wall_s; });
  add("nodes", "1", "its nodes", [](const Sitting& s) { return s.num_nodes; });
  add("cores", "1", "its ranks times threads", [](const Sitting& s) { return s.num_cores; });
  add("energy", "J", "its energy; NaN: not available", [](const Sitting& s) { return s.energy_j; });
}

// How long the phases should take, the slowest rank deciding. Collective; nothing for runs that are too short for it.
// `peak_flops`: of all ranks.
std::optional<Prediction> rehearse(const Experiment& e, const model::Pipeline& pipeline, const Comm& world, const Comm& node, bool wanted, double peak_flops,
                                   Recorder& recorder) {
  constexpr double worth_it_s = 20;  // at the peak
  const Forecast f = forecast(e, pipeline, world.size(), node.size());
  if (!wanted && f.denoise_flops + f.decode_flops < worth_it_s * peak_flops) return {};
  recorder.begin("rehearse", 1);
  std::optional<Prediction> p;
  world.together([&] { p = predict(e, pipeline, world.size(), node.size(), num_threads()); });
  for (double& s : p->step_s) s = world.slowest(s);
  p->decode_s = world.slowest(p->decode_s);
  recorder.step(0);
  recorder.end();
  return p;
}

// Where text features are kept; "": nowhere. As rank 0 says, because not every launcher gives the environment to all.
std::string text_folder(const Experiment& e, const Comm& world, bool wanted) {
  const char* const cache = std::getenv("REEL_CACHE");
  const bool named = cache != nullptr && *cache != '\0';
  return world.broadcast(named ? (fs::path(cache) / "text_features").string() : wanted ? (e.output.dir / "text_features").string() : "", 0);
}

// Keeps where a run stands, and ends it when somebody asks.
class Keeper {
 public:
  Keeper(const Comm& world, const Comm& node, const Checkpoint& checkpoint, const std::vector<Sitting>& earlier, const Sittings& sittings,
         EnergyMeter* meter, double start_s)
      : world_(world), checkpoint_(checkpoint), earlier_(earlier), every_step_(sittings.keep_every_step), meter_(meter), start_s_(start_s) {
    now_.num_cores = 0;
    for (const int64_t threads : world.all_gather(num_threads())) now_.num_cores += threads;
    now_.num_nodes = 0;
    for (const int64_t first : world.all_gather(node.rank() == 0 ? 1 : 0)) now_.num_nodes += first;
    world.together([&] { stopping_.emplace(sittings.stopping, world.rank() == 0, start_s); });
  }

  void operator()(const model::RenderState& state) {
    const std::string reason = stopping_->reason(save_s_);
    const bool stops = world_.max(reason.empty() ? 0 : 1) != 0;
    // A save that takes as long as the last one stays within 1 % of the time up to now; the first one always may.
    const double now_s = unix_now_s();
    const bool due = every_step_ || spent_s_ == 0 || spent_s_ + save_s_ < 0.01 * (now_s - start_s_);
    now_.wall_s = now_s - start_s_;
    if (stops) sum_energy();
    std::string why = reason;
    world_.together([&] {
      if (world_.rank() != 0 || !(due || stops)) return;
      std::vector<Sitting> sittings = earlier_;
      sittings.push_back(now_);
      checkpoint_.save(state, sittings);
      save_s_ = unix_now_s() - now_s;
      spent_s_ += save_s_;
    });
    if (!stops) return;
    for (const std::string& text : world_.all_gather(reason))  // the lowest rank that has one
      if (!text.empty() && why.empty()) why = text;
    why = world_.broadcast(why, 0);
    throw Error(Exit::stopped, fmt::format("{}; {} steps and {} latent frames saved", why, state.denoise.scheduler.step, state.decoded),
                checkpoint_.path().string(), "run the same command again: it goes on from here");
  }

  double spent_s() const noexcept { return spent_s_; }

 private:
  // Of all nodes; unknown when one does not know.
  void sum_energy() {
    const std::optional<double> mine = meter_ ? meter_->stop().total_j() : std::nullopt;
    now_.energy_j = 0;
    const int64_t unknown = -1;  // [mJ] as a whole number, so that ranks exchange no floats
    const bool meters = meter_ != nullptr;
    for (const int64_t mj : world_.all_gather(!meters ? 0 : mine ? static_cast<int64_t>(*mine * 1000) : unknown))
      now_.energy_j = mj == unknown ? std::numeric_limits<double>::quiet_NaN() : now_.energy_j + static_cast<double>(mj) / 1000;
  }

  const Comm& world_;
  const Checkpoint& checkpoint_;
  const std::vector<Sitting>& earlier_;
  bool every_step_;
  EnergyMeter* meter_;
  double start_s_, save_s_ = 0, spent_s_ = 0;
  Sitting now_;
  std::optional<Stopping> stopping_;
};

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

std::unique_ptr<model::Pipeline> open_pipeline(const Model& m) {
  const model::Numerics numerics = model::parse_numerics(m.profile);
  return std::make_unique<model::Pipeline>(m.synthetic() ? model::Pipeline::synthetic(m.config, m.seed, numerics)
                                                         : model::Pipeline::open(m.path, numerics));
}

void expect_ranks(const Run& run, const Comm& world) {
  if (run.num_ranks > 0 && run.num_ranks != world.size())
    throw Error(Exit::launch, fmt::format("{} rank(s) started, the experiment asks for {}", world.size(), run.num_ranks),
                "run.ranks", fmt::format("start with: mpirun -n {} reel run ..., or --set run.ranks={}", run.num_ranks, world.size()));
}

namespace {

std::string digest_of(const Tensor& first_frames) {
  return first_frames.empty() ? "" : sha256_hex(first_frames.data(), static_cast<std::size_t>(first_frames.size()) * sizeof(float));
}

}  // namespace

InputDigests digest_inputs(const Experiment& e, const Comm& world) {
  std::unique_ptr<model::Pipeline> pipeline;
  InputDigests digests;
  world.together([&] {
    pipeline = open_pipeline(e.model);
    if (e.shot.first_frames) digests.first_frames = digest_of(given_frames(e, pipeline->vae().scale_factor_temporal));
  });
  digests.model = pipeline->digest(world);
  return digests;
}

RunSummary run_experiment(const Experiment& e, const Comm& world, const std::string& command_line, Recorder::Listener listener,
                          const Sittings& sittings) {
  using model::Pipeline;
  expect_ranks(e.run, world);
  const bool measures = e.measure_json != "{}";
  std::unique_ptr<Pipeline> pipeline;
  world.together([&] {
    if (measures) {
      measure_task(e, e.output.dir / "result.h5");  // a wrong key must show now, not after the render
      if (e.model.synthetic())
        throw Error(Exit::usage, "pictures of synthetic weights mean nothing and cannot be measured", "measure", "leave out [measure]");
      if (!e.output.pixels)
        throw Error(Exit::usage, "a film that is not kept cannot be measured", "output.pixels", "set output.pixels = true, or leave out [measure]");
    }
    if (world.rank() == 0) expect_writable(e);
    pipeline = open_pipeline(e.model);
  });
  Run layout;  // as it really runs
  world.together([&] { layout = choose_partition(e, *pipeline, world.size()); });
  layout.num_ranks = world.size();
  layout.num_threads = num_threads();
  const model::Team team = model::Team::make(
      world, layout.partition == "stream" ? model::Partition::stream : model::Partition::heads, static_cast<int>(layout.guidance_groups), layout.shard_weights);
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
  const double start_s = unix_now_s();
  Recorder recorder(std::move(listener));
  InputDigests digests;
  recorder.begin("hash", 1);
  digests.model = pipeline->digest(world);
  digests.first_frames = digest_of(first_frames);
  recorder.step(0);
  recorder.end();
  if (!e.model.sha256.empty() && e.model.sha256 != digests.model)
    throw Error(Exit::input, fmt::format("the model's digest is {}", digests.model), e.model.path.string(),
                "model.sha256 asks for " + e.model.sha256);

  shot.first_frames = std::move(first_frames);

  RunSummary s;
  s.task_id = task_id(e, digests);
  s.weights = pipeline->is_synthetic() ? "synthetic" : e.model.path.string();
  s.run_id = sittings.run_id.empty() ? run_id(s.task_id, layout, sittings.repeat) : sittings.run_id;
  s.result = e.output.dir / (s.run_id + ".h5");
  if (e.output.video != "none") s.film = e.output.dir / (s.run_id + (e.output.video == "ffv1" ? ".mkv" : ".mp4"));
  const auto tell = [&](const std::string& line) {
    recorder.note(line);
    if (world.rank() == 0 && sittings.tell) sittings.tell(line);
  };
  if (sittings.keep_finished) {
    s.result_digest = world.broadcast(world.rank() == 0 ? finished_digest(s.result) : std::string(), 0);
    if (!s.result_digest.empty()) {
      s.num_sittings = 0;
      return s;
    }
  }
  const Checkpoint checkpoint(e.output.dir / (sittings.checkpoint.empty() ? s.task_id + ".checkpoint" : sittings.checkpoint), s.task_id);
  std::optional<Standing> found;
  world.together([&] {
    std::vector<std::string> complaints;
    if (world.rank() == 0) found = checkpoint.load(complaints);
    for (const std::string& complaint : complaints) tell("left out: " + complaint);
  });
  found = broadcast(world, std::move(found));
  std::vector<Sitting> earlier;
  if (found) {
    earlier = std::move(found->sittings);
    tell(fmt::format("goes on from '{}': {} of {} steps of this segment, {} latent frames decoded", checkpoint.path().filename().string(),
                              found->state.denoise.scheduler.step, sampling.num_steps, found->state.decoded));
  }
  const std::string folder = text_folder(e, world, sittings.keep_text);
  std::optional<model::TextCache> texts;
  if (!folder.empty()) texts.emplace(folder, tell);
  const double peak = model::measured_peak_flops(pipeline->numerics()) * num_threads();
  for (const int64_t of_rank : world.all_gather(static_cast<int64_t>(peak))) s.peak_flops += static_cast<double>(of_rank);
  const std::optional<Prediction> prediction = rehearse(e, *pipeline, world, team.node, sittings.rehearse, s.peak_flops, recorder);
  Keeper keeper(world, team.node, checkpoint, earlier, sittings, meter ? &*meter : nullptr, start_s);
  const model::Rendered rendered = [&] {
    const HearStop hear;
    try {
      return model::render(*pipeline, team, shot, sampling, e.shot.fps, recorder, found ? std::move(found->state) : model::RenderState{},
                           [&](const model::RenderState& state) { keeper(state); }, texts ? &*texts : nullptr);
    } catch (const Error& error) {
      if (error.exit() == Exit::nonfinite && world.rank() == 0) checkpoint.remove();  // it would end there again
      throw;
    }
  }();
  s.num_sittings = static_cast<int64_t>(earlier.size()) + 1;
  s.save_s = keeper.spent_s();

  io::Record record;
  std::vector<std::string> energies = world.all_gather(meter ? energy_json(meter->stop()) : std::string());
  std::erase(energies, "");
  add_earlier(earlier, keeper.spent_s(), record);
  if (texts)
    record.datasets.push_back({"/measured/text_features_read", "1", "prompts whose text features were there and not computed", {}, {},
                               std::vector<std::int64_t>{texts->num_read()}, {}});
  add_energy(energies, record);
  if (prediction)
    for (const Phase& p : recorder.phases()) {
      if (p.name == "denoise") recorder.predicted(p.name, prediction->last_steps_s(static_cast<int64_t>(p.step_s.size()), e.sampler.num_steps));
      if (p.name == "decode")
        recorder.predicted(p.name, prediction->decode_s * static_cast<double>(p.num_steps) /
                                       static_cast<double>(1 + (e.shot.num_frames - 1) / pipeline->vae().scale_factor_temporal));
    }
  recorder.write(world, peak, record);
  const std::vector<std::int64_t> memory = world.all_gather(peak_memory_bytes());

  s.phases = recorder.phases();
  s.peak_memory_bytes = *std::max_element(memory.begin(), memory.end());
  const std::string rank_facts = rank_provenance_json();
  const std::vector<std::string> all_facts = world.all_gather(rank_facts);

  world.together([&] {
    if (world.rank() != 0) return;
    add_result(e, rendered, record);
    io::Attributes& root = record.groups["/"];
    root["title"] = e.title;
    root["repeat"] = sittings.repeat;
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
    if (!s.film.empty()) io::write_video(s.film, rendered.film, {.lossless = e.output.video == "ffv1"});
    if (measures) {
      const MeasureTask task = measure_task(e, s.result);
      s.measurement = task.out;
      s.measurement_text = measurement_text(measure_film(task), /*brief=*/true);
    }
    checkpoint.remove();
  });
  return s;
}

}  // namespace reel::study
