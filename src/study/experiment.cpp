#include "study/experiment.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "core/digest.hpp"
#include "core/error.hpp"
#include "study/experiment_tables.hpp"
#include "worlds/world.hpp"

namespace reel::study {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::int64_t any_seed = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t max_frames = 100'001;

}  // namespace

fs::path resolved_path(const fs::path& file, const std::string& text) {
  if (text.empty()) return {};
  return (fs::absolute(file).parent_path() / text).lexically_normal();
}

namespace {

std::int64_t num_latent_frames(std::int64_t num_frames) { return (num_frames - 1) / 4 + 1; }

std::optional<FirstFrames> read_first_frames(TableReader table, const fs::path& file, std::int64_t num_frames) {
  FirstFrames first;
  std::vector<std::string> worlds = worlds::names();
  worlds.emplace_back("mix");
  first.world = table.choice("world", "", worlds);
  first.seed = static_cast<std::uint64_t>(table.integer("seed", 0, 0, any_seed));
  first.video = resolved_path(file, table.text("video"));
  first.num_latents = table.integer("latents", 1, 1);
  if (!table.present()) return std::nullopt;
  table.require("latents", "how many latent frames are given");
  if (table.has("world") == table.has("video")) {
    table.error(table.has("video") ? "video" : "", "the first frames need one source: 'world' or 'video'");
  }
  if (table.has("video") && table.has("seed"))
    table.error("seed", "'shot.first_frames.seed' belongs to a world, not to a video");
  if (num_frames > 0 && first.num_latents >= num_latent_frames(num_frames)) {
    table.error("latents", fmt::format("'shot.first_frames.latents' is {}", first.num_latents),
                fmt::format("{} frames are {} latent frames: at least one must be rendered", num_frames,
                            num_latent_frames(num_frames)));
  }
  return first;
}

void read_frames(TableReader& table, Shot& shot) {
  const std::int64_t frames = table.integer("frames", 0, 1, max_frames);
  const double duration_s = table.seconds("duration", 0);
  if (table.has("frames") && table.has("duration")) {
    table.error("duration", "give 'shot.frames' or 'shot.duration', not both");
  } else if (table.has("duration")) {
    const double wanted = std::ceil(duration_s * shot.fps - 1e-9);
    if (wanted > static_cast<double>(max_frames)) {
      table.error("duration", fmt::format("'shot.duration' is {:.0f} frames", wanted),
                  fmt::format("at most {}", max_frames));
    } else {
      shot.num_frames = wanted <= 1 ? 1 : (static_cast<std::int64_t>(wanted) + 2) / 4 * 4 + 1;
    }
  } else if (!table.has("frames")) {
    table.require("frames", "or give 'duration', for example \"5 s\"");
  } else if (frames % 4 != 1 && frames != 0) {
    table.error("frames", fmt::format("'shot.frames' is {}", frames),
                fmt::format("the model makes 4k+1 frames: use {} or {}",
                            std::max<std::int64_t>(1, (frames - 1) / 4 * 4 + 1), (frames - 1) / 4 * 4 + 5));
  } else {
    shot.num_frames = frames;
  }
}

}  // namespace

std::string read_title(TableReader& root) {
  const std::int64_t version = root.integer("reel", 1, 1);
  root.require("reel", "write 'reel = 1' in the first line");
  if (version != 1) root.error("reel", fmt::format("'reel' is {}", version), "this program reads version 1");
  return root.text("title");
}

void read_picture(TableReader& table, Shot& shot) {
  shot.fps = table.number("fps", 16, 0, 1000, true);
  read_frames(table, shot);
  const auto size = table.integers("size", 2, 16, 16384);
  table.require("size", "[width, height] in pixels, for example [832, 480]");
  if (!size.empty()) {
    shot.width_px = size[0];
    shot.height_px = size[1];
    if (size[0] % 16 != 0 || size[1] % 16 != 0) {
      table.error("size", fmt::format("'shot.size' is [{}, {}]", size[0], size[1]),
                  fmt::format("width and height must be multiples of 16: use [{}, {}]", (size[0] + 8) / 16 * 16,
                              (size[1] + 8) / 16 * 16));
    }
  }
}

namespace {

Shot read_shot(TableReader table, const fs::path& file) {
  Shot shot;
  shot.prompt = table.text("prompt");
  table.require("prompt");
  shot.negative_prompt = table.text("negative_prompt");
  read_picture(table, shot);
  shot.seed = static_cast<std::uint64_t>(table.integer("seed", 0, 0, any_seed));
  shot.first_frames = read_first_frames(table.table("first_frames"), file, shot.num_frames);
  return shot;
}

Model read_model(TableReader table, const fs::path& file) {
  Model model;
  model.path = resolved_path(file, table.text("path"));
  model.config = table.choice("config", "", {"wan2.1-t2v-1.3b", "wan2.1-t2v-14b", "wan2.2-ti2v-5b"});
  table.choice("weights", "synthetic", {"synthetic"});
  model.seed = static_cast<std::uint64_t>(table.integer("seed", 0, 0, any_seed));
  model.sha256 = table.text("sha256");
  model.profile = table.choice("profile", "f32", {"f32", "bf16", "bf16-amx"});
  const bool is_hex = model.sha256.find_first_not_of("0123456789abcdef") == std::string::npos;
  if (!model.sha256.empty() && (model.sha256.size() != 64 || !is_hex)) {
    table.error("sha256", "'model.sha256' is not 64 lower-case hex digits", "`reel info --digest MODEL` prints it");
  }
  if (!table.has("path") && !table.has("config")) {
    table.require("path", "a folder with weights, or give 'config' for synthetic weights");
  } else if (table.has("path")) {
    for (const char* key : {"config", "weights", "seed"}) {
      if (table.has(key))
        table.error(key, fmt::format("'model.{}' is for synthetic weights, but 'model.path' is given", key));
    }
    if (model.path.empty()) table.error("path", "'model.path' is empty");
  }
  return model;
}

}  // namespace

Sampler read_sampler(TableReader table) {
  Sampler sampler;
  sampler.name = table.choice("name", "unipc", {"unipc", "euler"});
  sampler.num_steps = table.integer("steps", 50, 1, 1000);
  sampler.guidance_scale = table.number("guidance", 5, 0, 100);
  const double shift = table.number("shift", 0, 0, 100, true);
  if (table.has("shift")) sampler.shift = shift;
  sampler.noise = table.choice("noise", "philox", {"philox", "torch"});
  sampler.segment_overlap = table.integer("segment_overlap", 2, 1, 1000);
  return sampler;
}

Run read_run(TableReader table) {
  Run run;
  run.num_ranks = table.integer("ranks", 0, 0, 1'000'000);
  run.num_threads = table.integer("threads", 0, 0, 4096);
  run.partition = table.choice("partition", "heads", {"heads", "stream", "auto"});
  run.guidance_groups = table.integer("guidance_groups", 1, 1, 2);
  run.shard_weights = table.flag("shard_weights", false);
  if (run.partition == "auto" && table.has("guidance_groups"))
    table.error("guidance_groups", "run.partition = \"auto\" chooses the guidance groups too", "leave one of the two out");
  if (run.guidance_groups == 2 && run.num_ranks % 2 == 1) {
    table.error("guidance_groups", fmt::format("two guidance groups cannot share {} ranks", run.num_ranks),
                "use an even number of ranks");
  }
  return run;
}

namespace {

Output read_output(TableReader table, const fs::path& file) {
  Output output;
  output.dir = resolved_path(file, table.text("dir", "results"));
  output.latents = table.flag("latents", true);
  output.pixels = table.flag("pixels", true);
  output.video = table.choice("video", "h264", {"h264", "ffv1", "none"});
  return output;
}

json shot_json(const Shot& shot) {
  return {{"prompt", shot.prompt}, {"negative_prompt", shot.negative_prompt}, {"frames", shot.num_frames},
          {"fps", shot.fps},       {"size", {shot.width_px, shot.height_px}}, {"seed", shot.seed}};
}

}  // namespace

json sampler_json(const Sampler& sampler) {
  return {{"name", sampler.name},
          {"steps", sampler.num_steps},
          {"guidance", sampler.guidance_scale},
          {"shift", sampler.shift ? json(*sampler.shift) : json()},
          {"noise", sampler.noise},
          {"segment_overlap", sampler.segment_overlap}};
}

namespace {

json run_json(const Run& run) {
  json j{{"ranks", run.num_ranks}, {"threads", run.num_threads}, {"partition", run.partition}, {"guidance_groups", run.guidance_groups}};
  if (run.shard_weights) j["shard_weights"] = true;  // without it names of results stay what they were before there was such a key
  return j;
}

}  // namespace

Experiment parse_experiment(std::string_view text, const fs::path& file, const std::vector<std::string>& overrides) {
  TomlDocument document(text, file.string(), overrides);
  Experiment experiment;
  experiment.file = file;
  experiment.text = std::string(text);
  experiment.overrides = overrides;
  TableReader root = document.root();
  experiment.title = read_title(root);
  experiment.shot = read_shot(root.table("shot"), file);
  experiment.model = read_model(root.table("model"), file);
  experiment.sampler = read_sampler(root.table("sampler"));
  experiment.run = read_run(root.table("run"));
  experiment.output = read_output(root.table("output"), file);
  experiment.measure_json = root.kept_table("measure");
  experiment.cost_json = root.kept_table("cost");
  document.finish();
  return experiment;
}

std::string read_experiment_text(const fs::path& file) {
  std::error_code ignored;
  std::ifstream stream(file, std::ios::binary);
  constexpr std::uintmax_t max_bytes = 16 << 20;
  const bool regular = fs::is_regular_file(file, ignored);
  if (!stream || !regular || fs::file_size(file, ignored) > max_bytes) {
    throw Error(Exit::input, "cannot read the experiment file", file.string(),
                !regular ? "check the path" : "experiment files are small text files that you may read");
  }
  std::ostringstream text;
  text << stream.rdbuf();
  return text.str();
}

Experiment load_experiment(const fs::path& file, const std::vector<std::string>& overrides) {
  return parse_experiment(read_experiment_text(file), file, overrides);
}

std::string resolved_json(const Experiment& experiment) {
  json shot = shot_json(experiment.shot);
  if (const auto& first = experiment.shot.first_frames) {
    json& given = shot["first_frames"] = {{"latents", first->num_latents}};
    if (first->world.empty()) {
      given["video"] = first->video.string();
    } else {
      given["world"] = first->world;
      given["seed"] = first->seed;
    }
  }
  json model{{"profile", experiment.model.profile}};
  if (experiment.model.synthetic()) {
    model.update({{"config", experiment.model.config}, {"weights", "synthetic"}, {"seed", experiment.model.seed}});
  } else {
    model["path"] = experiment.model.path.string();
  }
  if (!experiment.model.sha256.empty()) model["sha256"] = experiment.model.sha256;
  const Output& output = experiment.output;
  return json{
      {"reel", 1},
      {"file", experiment.file.string()},
      {"title", experiment.title},
      {"shot", shot},
      {"model", model},
      {"sampler", sampler_json(experiment.sampler)},
      {"run", run_json(experiment.run)},
      {"output",
       {{"dir", output.dir.string()}, {"latents", output.latents}, {"pixels", output.pixels}, {"video", output.video}}},
      {"measure", json::parse(experiment.measure_json)},
      {"cost", json::parse(experiment.cost_json)}}
      .dump();
}

std::string task_json(const Experiment& experiment, const InputDigests& digests) {
  json shot = shot_json(experiment.shot);
  if (const auto& first = experiment.shot.first_frames) {
    REEL_CHECK(!digests.first_frames.empty(), "first frames need a digest");
    shot["first_frames"] = {{"sha256", digests.first_frames}, {"latents", first->num_latents}};
  }
  REEL_CHECK(!digests.model.empty(), "the model needs a digest");
  return json{{"result_version", result_version},
              {"shot", shot},
              {"model", {{"sha256", digests.model}, {"profile", experiment.model.profile}}},
              {"sampler", sampler_json(experiment.sampler)},
              {"keep", {{"latents", experiment.output.latents}, {"pixels", experiment.output.pixels}}}}
      .dump();
}

std::string task_id(const Experiment& experiment, const InputDigests& digests) {
  return sha256_hex(task_json(experiment, digests)).substr(0, 16);
}

std::string run_id(const std::string& task_id, const Run& layout, std::int64_t repeat) {
  return fmt::format("{}-{}-r{}", task_id, sha256_hex(run_json(layout).dump()).substr(0, 8), repeat);
}

}  // namespace reel::study
