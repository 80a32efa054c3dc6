// The benchmark's experiment file.
#include <algorithm>

#include "study/benchmark.hpp"
#include "study/deep_key.hpp"
#include "study/experiment_tables.hpp"
#include "worlds/world.hpp"

namespace reel::study {

bool is_benchmark(std::string_view text) {
  try {
    return line_of_deep_key(text) == 0 && toml::parse(text).contains("benchmark");
  } catch (const toml::parse_error&) {
    return false;  // whoever reads it next says what is wrong
  }
}

Benchmark parse_benchmark(std::string_view text, const std::filesystem::path& file, const std::vector<std::string>& overrides) {
  TomlDocument document(text, file.string(), overrides);
  Benchmark b;
  b.file = file;
  b.text = std::string(text);
  b.overrides = overrides;
  TableReader root = document.root();
  b.title = read_title(root);
  TableReader table = root.table("benchmark");
  table.require("models", "folders of the models, the one to beat first");
  for (const std::string& path : table.texts("models", {})) b.models.push_back(resolved_path(file, path));
  b.scenes = table.texts("scenes", worlds::names(), worlds::names());
  b.bands = table.texts("bands", {"in", "ood"}, {"in", "ood"});
  b.num_clips = table.integer("clips", 100, 1, 100'000);
  b.num_seeds = table.integer("seeds", 4, 1, 1000);
  b.first_clip = static_cast<std::uint64_t>(table.integer("first_clip", 1'000'000'000, 0, std::int64_t{1} << 62));
  b.num_preference_clips = table.integer("preference", 0, 0, 100'000);
  b.num_given_latents = table.integer("given_latents", 2, 1, 1000);
  TableReader shot = root.table("shot");
  read_picture(shot, b.shot);
  if (b.shot.num_frames > 0 && 1 + 4 * (b.num_given_latents - 1) >= b.shot.num_frames)
    table.error("given_latents", fmt::format("{} given latent frames are the whole film of {} frames", b.num_given_latents, b.shot.num_frames),
                "give fewer, or make shot.frames longer");
  b.sampler = read_sampler(root.table("sampler"));
  b.run = read_run(root.table("run"));
  if (b.run.shard_weights) root.table("run").error("shard_weights", "every rank films alone here, with all weights on its node", "leave it out");
  b.dir = resolved_path(file, root.table("output").text("dir", "results"));
  document.finish();
  return b;
}

}  // namespace reel::study
