#include "study/benchmark.hpp"

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <sstream>
#include <tuple>

#include "core/digest.hpp"
#include "core/parallel.hpp"
#include "io/results.hpp"
#include "metrics/measure.hpp"
#include "model/generate.hpp"
#include "study/experiment_tables.hpp"
#include "study/provenance.hpp"
#include "study/run.hpp"
#include "study/tables.hpp"
#include "study/truth.hpp"
#include "worlds/world.hpp"

namespace reel::study {
namespace {

using nlohmann::json;
using std::int64_t;
using model::Pipeline;

/// One clip, and what is to be done with it.
struct Job {
  std::size_t scene, band;
  std::uint64_t clip;
};

std::vector<Job> plan(const Benchmark& b) {
  std::vector<Job> jobs;
  for (std::size_t scene = 0; scene < b.scenes.size(); ++scene)
    for (std::size_t band = 0; band < b.bands.size(); ++band) {
      if (b.scenes[scene] == "house" && b.bands[band] == "ood") continue;
      for (int64_t i = 0; i < b.num_clips; ++i) jobs.push_back({scene, band, b.first_clip + static_cast<std::uint64_t>(i)});
    }
  return jobs;
}

worlds::Clip film_truth(const Benchmark& b, const Job& job, int64_t num_frames) {
  const std::string& scene = b.scenes[job.scene];
  worlds::Spec spec;
  spec.width_px = b.shot.width_px;
  spec.height_px = b.shot.height_px;
  spec.num_frames = num_frames;
  spec.fps = b.shot.fps;
  if (scene != "house") spec.set["band"] = b.bands[job.band];
  if (scene == "fall") spec.set["wait_s"] = "0.1";
  return worlds::make(scene, job.clip, spec);
}

/// Kept metrics of a measured film: the mean over its objects.
std::vector<double> values_of(const metrics::FilmReport& film, const metrics::Findings& paired) {
  const std::vector<KeptMetric>& kept = kept_metrics();
  std::vector<double> value(kept.size(), metrics::nan);
  std::vector<int> count(kept.size());
  const auto take = [&](const metrics::Findings& findings) {
    for (const metrics::Metric& m : findings.metrics) {
      const auto found = std::find_if(kept.begin(), kept.end(), [&](const KeptMetric& k) { return m.id == k.id; });
      if (found == kept.end() || !m.given()) continue;
      REEL_CHECK(m.unit == found->unit, "{} in {}", m.id, m.unit);
      const auto k = static_cast<std::size_t>(found - kept.begin());
      if (count[k]++ == 0) value[k] = 0;
      value[k] += (m.value - value[k]) / count[k];
    }
  };
  for (const metrics::ShotReport& shot : film.shots) take(shot.findings);
  take(paired);
  return value;
}

/// All films of one clip. Rows of equal clips stand together, sources in their order.
class Shooting {
 public:
  Shooting(const Benchmark& b, const std::vector<std::unique_ptr<model::Renderer>>& renderers,
           const std::vector<std::map<std::string, Tensor>>& features)
      : b_(b), renderers_(renderers), features_(features), sampling_(model_sampling(b.sampler)) {}

  std::vector<BenchmarkFilm> operator()(const Job& job) const {
    const worlds::Clip truth = film_truth(b_, job, b_.shot.num_frames);
    BenchmarkFilm row{BenchmarkResults::truth, job.scene, job.band, job.clip, 0, "", {}};
    std::vector<BenchmarkFilm> rows;
    const metrics::Findings beside = look(truth.film, truth, row);
    rows.push_back(row);
    for (const std::size_t source : {BenchmarkResults::copy, BenchmarkResults::law}) {
      row.source = source;
      row.sha256.clear();
      row.value.assign(kept_metrics().size(), metrics::nan);
      for (const metrics::Metric& m : beside.metrics)
        if (m.id == (source == BenchmarkResults::copy ? "PW.velocity_copy" : "PW.velocity_law") && m.given()) row.value[0] = m.value;
      rows.push_back(row);
    }
    BenchmarkResults numbering;
    for (std::size_t m = 0; m < renderers_.size(); ++m) {
      row.source = numbering.vae(m);
      row.noise_seed = 0;
      look(through_vae(*renderers_[m], truth.film), truth, row);
      rows.push_back(row);
      row.source = numbering.model(m);
      for (int64_t s = 0; s < b_.num_seeds; ++s) {
        row.noise_seed = static_cast<std::uint64_t>(s) << 40 ^ job.clip;  // no two clips share their noise
        look(render(m, truth, row.noise_seed), truth, row);
        rows.push_back(row);
      }
    }
    return rows;
  }

 private:
  /// Measures `film` into `row`; returns what only the truth tells.
  metrics::Findings look(const Film& film, const worlds::Clip& truth, BenchmarkFilm& row) const {
    Judged judged = judge(film, truth, num_given());
    row.value = values_of(judged.film, judged.paired);
    row.sha256 = sha256_hex(film.rgb.data(), film.rgb.size());
    return std::move(judged.paired);
  }
  int64_t num_given() const { return 1 + 4 * (b_.num_given_latents - 1); }

  Film render(std::size_t m, const worlds::Clip& truth, std::uint64_t noise_seed) const {
    model::Shot shot;
    shot.num_frames = b_.shot.num_frames;
    shot.height_px = b_.shot.height_px;
    shot.width_px = b_.shot.width_px;
    shot.seed = noise_seed;
    shot.noise = b_.sampler.noise == "torch" ? model::NoiseKind::torch : model::NoiseKind::philox;
    shot.segment_overlap = b_.sampler.segment_overlap;
    shot.first_frames = model::from_bytes(truth.film, num_given());
    model::Observer silent;
    return renderers_[m]->render({}, shot, features_[m].at(truth.caption), features_[m].at(""), sampling_, b_.shot.fps, silent).film;
  }

  static Film through_vae(const model::Renderer& renderer, const Film& film) {
    Film out = film;
    const Comm alone = Comm::solo();
    const Tensor z = renderer.vae().encode(alone, model::from_bytes(film, film.num_frames));
    renderer.vae().decode(alone, z, [&](int64_t first, const Tensor& frames) { model::to_bytes(frames, out.frame(first)); });
    return out;
  }

  const Benchmark& b_;
  const std::vector<std::unique_ptr<model::Renderer>>& renderers_;
  const std::vector<std::map<std::string, Tensor>>& features_;
  model::Sampling sampling_;
};

// Rows travel between ranks as bytes: a number must arrive with all its bits.
template <class T>
void put(std::string& bytes, const T& value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
}
template <class T>
T get(const std::string& bytes, std::size_t& at) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  at += sizeof value;
  return value;
}
void pack(std::string& bytes, const BenchmarkFilm& f) {
  for (const std::size_t i : {f.source, f.scene, f.band}) put(bytes, static_cast<std::uint64_t>(i));
  put(bytes, f.clip);
  put(bytes, f.noise_seed);
  bytes += f.sha256.empty() ? std::string(64, ' ') : f.sha256;
  for (const double v : f.value) put(bytes, v);
}
std::vector<BenchmarkFilm> unpack(const std::string& bytes) {
  std::vector<BenchmarkFilm> films;
  for (std::size_t at = 0; at < bytes.size();) {
    BenchmarkFilm f;
    for (std::size_t* i : {&f.source, &f.scene, &f.band}) *i = get<std::uint64_t>(bytes, at);
    f.clip = get<std::uint64_t>(bytes, at);
    f.noise_seed = get<std::uint64_t>(bytes, at);
    f.sha256 = bytes.substr(at, 64);
    if (f.sha256[0] == ' ') f.sha256.clear();
    at += 64;
    for (std::size_t k = 0; k < kept_metrics().size(); ++k) f.value.push_back(get<double>(bytes, at));
    films.push_back(std::move(f));
  }
  return films;
}

json task(const Benchmark& b, const std::vector<std::string>& digests) {
  return {{"result_version", result_version},
          {"suite_version", metrics::suite_version},
          {"models", digests},
          {"scenes", b.scenes},
          {"bands", b.bands},
          {"clips", b.num_clips},
          {"seeds", b.num_seeds},
          {"first_clip", b.first_clip},
          {"given_latents", b.num_given_latents},
          {"preference", b.num_preference_clips},
          {"shot", {{"frames", b.shot.num_frames}, {"fps", b.shot.fps}, {"size", {b.shot.width_px, b.shot.height_px}}}},
          {"sampler", sampler_json(b.sampler)}};
}

/// What the preference study of one model says, as text: a number must arrive on rank 0 with all its bits.
std::string preference_text(std::size_t m, const std::vector<PreferenceCell>& cells) {
  json list = json::array();
  for (const PreferenceCell& c : cells) {
    list.push_back({{"model", m}, {"scene", c.scene}, {"break", c.breaking.name}, {"amount", c.breaking.amount}, {"given", c.given_latents}, {"pairs", c.model.num_pairs},
                    {"wrong", c.model.num_wrong}, {"ties", c.model.num_ties}, {"error", c.model.error}, {"low", c.model.low}, {"high", c.model.high},
                    {"tracker", c.tracker.error}, {"agreement", c.agreement}, {"gap", c.gap}});
  }
  return list.dump();
}
void add_preferences(const std::string& text, std::vector<BenchmarkPreference>& to) {
  const auto number = [](const json& v) { return v.is_null() ? metrics::nan : v.get<double>(); };
  for (const json& j : json::parse(text)) {
    BenchmarkPreference p;
    p.model = j["model"];
    PreferenceCell& c = p.cell;
    c.scene = j["scene"];
    c.breaking = {j["break"], j["amount"]};
    c.given_latents = j["given"];
    c.model.num_pairs = j["pairs"], c.model.num_wrong = j["wrong"], c.model.num_ties = j["ties"];
    c.model.error = number(j["error"]), c.model.low = number(j["low"]), c.model.high = number(j["high"]);
    c.tracker.error = number(j["tracker"]), c.agreement = number(j["agreement"]), c.gap = number(j["gap"]);
    to.push_back(std::move(p));
  }
}

io::Record record_of(const BenchmarkResults& r) {
  io::Record record;
  const auto add = [&](const std::string& dim, const std::string& name, const std::string& unit, const std::string& what, auto values) {
    const auto n = static_cast<int64_t>(values.size());
    record.datasets.push_back({"/result/" + dim + "_" + name, unit, what, {n}, {dim}, std::move(values), {}});
  };
  add("source", "name", "", "what made the film: the world (truth), two ways to go on without a model, each model and its autoencoder", r.sources);
  std::vector<std::string> ids, units;
  for (const KeptMetric& k : kept_metrics()) {
    ids.emplace_back(k.id);
    units.emplace_back(k.unit);
  }
  add("metric", "id", "", "law and quantity, as in the manual", ids);
  add("metric", "unit", "", "unit of value, mean, interval and difference", units);
  using F = BenchmarkFilm;
  add("film", "source", "1", "index of the source", column(r.films, [](const F& f) { return static_cast<int64_t>(f.source); }));
  add("film", "scene", "", "world", column(r.films, [&](const F& f) { return r.scenes[f.scene]; }));
  add("film", "band", "", "inside (in) or outside (ood) of what was trained on", column(r.films, [&](const F& f) { return r.bands[f.band]; }));
  add("film", "clip", "1", "seed of the clip", column(r.films, [](const F& f) { return static_cast<int64_t>(f.clip); }));
  add("film", "noise_seed", "1", "seed of the noise", column(r.films, [](const F& f) { return static_cast<int64_t>(f.noise_seed); }));
  add("film", "sha256", "", "SHA-256 of all pixels; empty: positions alone", column(r.films, [](const F& f) { return f.sha256; }));
  std::vector<double> values;
  for (const F& f : r.films) values.insert(values.end(), f.value.begin(), f.value.end());
  const auto num_films = static_cast<int64_t>(r.films.size()), num_metrics = static_cast<int64_t>(ids.size());
  record.datasets.push_back({"/result/value", "1", "every metric of every film; NaN: refused, or not of this scene", {num_films, num_metrics},
                             {"film", "metric"}, values, {{"units_from", std::string("metric_unit")}}});
  using C = BenchmarkCell;
  add("cell", "source", "1", "index of the source", column(r.cells, [](const C& c) { return static_cast<int64_t>(c.source); }));
  add("cell", "scene", "", "world", column(r.cells, [&](const C& c) { return r.scenes[c.scene]; }));
  add("cell", "band", "", "in or ood", column(r.cells, [&](const C& c) { return r.bands[c.band]; }));
  add("cell", "metric", "1", "index of the metric", column(r.cells, [](const C& c) { return static_cast<int64_t>(c.metric); }));
  add("cell", "num_clips", "1", "clips with a number", column(r.cells, [](const C& c) { return c.num_clips; }));
  add("cell", "num_films", "1", "films with a number", column(r.cells, [](const C& c) { return c.num_films; }));
  add("cell", "num_refused", "1", "films without", column(r.cells, [](const C& c) { return c.num_refused; }));
  add("cell", "mean", "1", "mean over clips of the mean over their films", column(r.cells, [](const C& c) { return c.mean; }));
  add("cell", "low", "1", "95 % interval by bootstrap over clips, low end", column(r.cells, [](const C& c) { return c.interval[0]; }));
  add("cell", "high", "1", "high end", column(r.cells, [](const C& c) { return c.interval[1]; }));
  add("cell", "difference", "1", "less the first model on the same clips", column(r.cells, [](const C& c) { return c.difference; }));
  add("cell", "difference_low", "1", "its interval, low end", column(r.cells, [](const C& c) { return c.difference_interval[0]; }));
  add("cell", "difference_high", "1", "high end", column(r.cells, [](const C& c) { return c.difference_interval[1]; }));
  if (r.preferences.empty()) return record;
  using P = BenchmarkPreference;
  add("preference", "source", "1", "index of the source", column(r.preferences, [&](const P& p) { return static_cast<int64_t>(r.model(p.model)); }));
  add("preference", "scene", "", "world; empty: all pairs", column(r.preferences, [](const P& p) { return p.cell.scene; }));
  add("preference", "break", "", "law that one film of the pair breaks", column(r.preferences, [](const P& p) { return p.cell.breaking.name; }));
  add("preference", "amount", "1", "by how much", column(r.preferences, [](const P& p) { return p.cell.breaking.amount; }));
  add("preference", "given", "1", "latent frames that the model was shown clean", column(r.preferences, [](const P& p) { return p.cell.given_latents; }));
  add("preference", "pairs", "1", "pairs", column(r.preferences, [](const P& p) { return p.cell.model.num_pairs; }));
  add("preference", "error", "1", "share of pairs in which the broken film has the smaller denoising loss", column(r.preferences, [](const P& p) { return p.cell.model.error; }));
  add("preference", "low", "1", "its 95 % interval (Wilson), low end", column(r.preferences, [](const P& p) { return p.cell.model.low; }));
  add("preference", "high", "1", "high end", column(r.preferences, [](const P& p) { return p.cell.model.high; }));
  add("preference", "tracker", "1", "share of pairs in which the trackers find the valid film worse", column(r.preferences, [](const P& p) { return p.cell.tracker.error; }));
  add("preference", "agreement", "1", "share of pairs in which model and trackers prefer the same film", column(r.preferences, [](const P& p) { return p.cell.agreement; }));
  add("preference", "gap", "1", "mean of (broken - valid) / valid loss", column(r.preferences, [](const P& p) { return p.cell.gap; }));
  return record;
}

}  // namespace

BenchmarkResults run_benchmark(const Benchmark& b, const Comm& world, const std::string& command_line,
                               const std::function<void(int64_t, int64_t)>& progress) {
  model::Team team;  // loads together, films alone
  team.world = world;
  team.node = world.split_node();
  std::vector<std::unique_ptr<Pipeline>> pipelines;
  world.together([&] {
    expect_ranks(b.run, world);
    for (const std::filesystem::path& path : b.models) {
      pipelines.push_back(std::make_unique<Pipeline>(Pipeline::open(path)));
      model::Shot shot;
      shot.num_frames = b.shot.num_frames;
      shot.height_px = b.shot.height_px;
      shot.width_px = b.shot.width_px;
      shot.segment_overlap = b.sampler.segment_overlap;
      expect_fit(*pipelines.back(), {}, shot, {.num_steps = static_cast<int>(b.sampler.num_steps)}, 1 + 4 * (b.num_given_latents - 1));
    }
  });
  const std::vector<Job> jobs = plan(b);
  std::vector<std::string> captions(jobs.size());
  parallel_for(static_cast<int64_t>(jobs.size()), [&](int64_t i) {
    const auto at = static_cast<std::size_t>(i);
    captions[at] = film_truth(b, jobs[at], 1).caption;
  });
  captions.emplace_back();  // the negative prompt
  std::sort(captions.begin(), captions.end());
  captions.erase(std::unique(captions.begin(), captions.end()), captions.end());

  BenchmarkResults results;
  results.sources = {"truth", "copy", "law"};
  results.num_models = b.models.size();
  results.scenes = b.scenes;
  results.bands = b.bands;
  std::vector<std::string> digests;
  std::vector<std::map<std::string, Tensor>> features;
  std::vector<std::unique_ptr<model::Renderer>> renderers;
  model::Observer silent;
  for (std::size_t m = 0; m < pipelines.size(); ++m) {
    digests.push_back(pipelines[m]->digest(world));
    std::vector<Tensor> encoded = encode_prompts(*pipelines[m], team, captions, silent);
    std::map<std::string, Tensor>& by_caption = features.emplace_back();
    for (std::size_t i = 0; i < captions.size(); ++i) by_caption[captions[i]] = std::move(encoded[i]);
    renderers.push_back(std::make_unique<model::Renderer>(*pipelines[m], team, silent));
    const std::string name = b.models[m].filename().string();
    results.sources.push_back(name + " vae");
    results.sources.push_back(name);
  }
  const std::string task_text = task(b, digests).dump();
  results.task_id = sha256_hex(task_text).substr(0, 16);
  results.file = b.dir / (results.task_id + ".benchmark.h5");

  // Every n-th clip to each of n ranks: all scenes cost each rank the same.
  std::vector<std::size_t> mine;
  for (auto j = static_cast<std::size_t>(world.rank()); j < jobs.size(); j += static_cast<std::size_t>(world.size())) mine.push_back(j);
  std::vector<std::vector<BenchmarkFilm>> films(mine.size());
  const Shooting shooting(b, renderers, features);
  std::mutex speaking;
  int64_t done = 0;
  world.together([&] {
    parallel_for(static_cast<int64_t>(mine.size()), [&](int64_t i) {
      const auto at = static_cast<std::size_t>(i);
      films[at] = shooting(jobs[mine[at]]);
      const std::lock_guard lock(speaking);
      ++done;
      if (progress && world.rank() == 0) progress(std::min<int64_t>(done * world.size(), static_cast<int64_t>(jobs.size())), static_cast<int64_t>(jobs.size()));
    });
  });
  std::string bytes;
  for (const auto& of_clip : films)
    for (const BenchmarkFilm& film : of_clip) pack(bytes, film);
  std::string preferences;
  world.together([&] {
    for (auto m = static_cast<std::size_t>(world.rank()); m < renderers.size() && b.num_preference_clips > 0; m += static_cast<std::size_t>(world.size())) {
      PreferencePlan plan;
      plan.scenes.clear();
      for (const std::string& scene : b.scenes)
        if (scene != "house") plan.scenes.push_back(scene);
      plan.first_clip = b.first_clip;
      plan.num_clips = b.num_preference_clips;
      plan.given_latents = {0, b.num_given_latents};
      plan.spec.width_px = b.shot.width_px;
      plan.spec.height_px = b.shot.height_px;
      plan.spec.num_frames = b.shot.num_frames;
      plan.spec.fps = b.shot.fps;
      preferences += preference_text(m, study_preference(*pipelines[m], *renderers[m], plan).cells) + "\n";
    }
  });
  const std::vector<std::string> all = world.all_gather(bytes), all_preferences = world.all_gather(preferences);
  const std::vector<std::string> facts = world.all_gather(rank_provenance_json());
  world.together([&] {
    if (world.rank() != 0) return;
    for (const std::string& part : all)
      for (BenchmarkFilm& film : unpack(part)) results.films.push_back(std::move(film));
    std::sort(results.films.begin(), results.films.end(), [](const BenchmarkFilm& x, const BenchmarkFilm& y) {
      return std::tie(x.scene, x.band, x.clip, x.source, x.noise_seed) < std::tie(y.scene, y.band, y.clip, y.source, y.noise_seed);
    });
    results.cells = benchmark_cells(results);
    for (const std::string& part : all_preferences) {
      std::istringstream lines(part);
      for (std::string line; std::getline(lines, line);) add_preferences(line, results.preferences);
    }
    std::stable_sort(results.preferences.begin(), results.preferences.end(), [](const auto& x, const auto& y) { return x.model < y.model; });
    io::Record record = record_of(results);
    io::Attributes& root = record.groups["/"];
    root["title"] = b.title;
    root["kind"] = std::string("benchmark");
    root["task_id"] = results.task_id;
    root["suite_version"] = int64_t{metrics::suite_version};
    root["result_version"] = int64_t{result_version};
    root["status"] = std::string("complete");
    root["date_created"] = iso_date();
    json resolved = json::parse(task_text);
    resolved["models"] = column(b.models, [](const std::filesystem::path& p) { return p.string(); });
    add_provenance(record, {b.text, b.overrides, resolved.dump(), task_text, json{{"models", digests}}.dump()}, facts, command_line);
    std::error_code ignored;
    std::filesystem::create_directories(b.dir, ignored);
    results.result_digest = io::write_record(results.file, record);
  });
  return results;
}

}  // namespace reel::study
