#pragma once
// The experiment file: one question in TOML, checked before anything starts.
//
// clang-format off
// | key                       | type, range             | default          | meaning                                  |
// |---------------------------|-------------------------|------------------|------------------------------------------|
// | reel                      | 1                       | required         | version of this format                   |
// | title                     | text                    | ""               | for people; does not change the result   |
// | shot.prompt               | text                    | required         | what the shot shows                      |
// | shot.negative_prompt      | text                    | ""               | what guidance moves away from            |
// | shot.frames               | 4k+1, 1 ... 100001      | this or duration | frames of the film                       |
// | shot.duration             | "2.5 s" (ms, s, min, h) | this or frames   | the next 4k+1 frames at `fps`            |
// | shot.fps                  | above 0, at most 1000   | 16               | frames per second                        |
// | shot.size                 | [width, height]         | required         | pixels, multiples of 16                  |
// | shot.seed                 | 0 ... 2^63-1            | 0                | of the noise                             |
// | shot.first_frames.world   | name of a world, or mix | this or video    | given frames from a ground-truth world   |
// | shot.first_frames.seed    | 0 ... 2^63-1            | 0                | of that world                            |
// | shot.first_frames.video   | path                    | this or world    | given frames from a video file           |
// | shot.first_frames.latents | 1 ... latent frames - 1 | required         | how many latent frames are given         |
// | model.path                | path                    | this or config   | pipeline folder in diffusers layout      |
// | model.sha256              | 64 hex digits           | not checked      | digest that the model must have          |
// | model.config              | see below               | this or path     | a published shape with synthetic weights |
// | model.weights             | synthetic               | synthetic        | with `config`                            |
// | model.seed                | 0 ... 2^63-1            | 0                | of synthetic weights                     |
// | model.profile             | f32, bf16, bf16-amx     | f32              | numerics profile (model/weights.hpp)     |
// | sampler.name              | unipc, euler            | unipc            | solver                                   |
// | sampler.steps             | 1 ... 1000              | 50               | solver steps                             |
// | sampler.guidance          | 0 ... 100               | 5.0              | guidance_scale; above 1: two model calls |
// | sampler.shift             | above 0, at most 100    | the model's      | overrides flow_shift                     |
// | sampler.noise             | philox, torch           | philox           | torch: as the PyTorch CPU generator      |
// | sampler.segment_overlap   | 1 ... 1000              | 2                | latent frames that segments share        |
// | run.ranks                 | 0 ... 1000000           | 0 (any)          | MPI ranks expected                       |
// | run.threads               | 0 ... 4096              | 0 (all)          | threads per rank                         |
// | run.partition             | heads, stream, auto     | heads            | how attention is split; auto: the fewest |
// |                           |                         |                  | bytes, of partitions and guidance groups |
// | run.guidance_groups       | 1, 2                    | 1                | rank groups for the guidance branches    |
// | run.shard_weights         | true, false             | false            | the transformer's blocks shared out over |
// |                           |                         |                  | nodes instead of a copy on each          |
// | output.dir                | path                    | results          | folder for results                       |
// | output.latents            | true, false             | true             | keep the last latents in the result      |
// | output.pixels             | true, false             | true             | keep the pixels in the result            |
// | output.video              | h264, ffv1, none        | h264             | film beside the result                   |
// | [measure]                 | see measure_films.hpp   | {}               | with any key: measured after rendering   |
// | [cost]                    | any                     | {}               | kept for `cost`                          |
// clang-format on
// Configs: wan2.1-t2v-1.3b, wan2.1-t2v-14b, wan2.2-ti2v-5b. Relative paths start at the folder of the experiment file.
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace reel::study {

/// Frames that are given instead of rendered: the first `num_latents` latent frames. Exactly one of world and video.
struct FirstFrames {
  std::string world;
  std::uint64_t seed = 0;
  std::filesystem::path video;
  std::int64_t num_latents = 0;
};

struct Shot {
  std::string prompt, negative_prompt;
  std::int64_t num_frames = 0;  ///< 4k+1
  double fps = 16;
  std::int64_t width_px = 0, height_px = 0;
  std::uint64_t seed = 0;
  std::optional<FirstFrames> first_frames;
};

/// Either `path` (a pipeline folder) or `config` (a published shape with synthetic weights from `seed`).
struct Model {
  std::filesystem::path path;
  std::string sha256;  ///< expected model digest, "" when not given
  std::string config;
  std::uint64_t seed = 0;
  std::string profile = "f32";
  bool synthetic() const noexcept { return path.empty(); }
};

struct Sampler {
  std::string name = "unipc";
  std::int64_t num_steps = 50;
  double guidance_scale = 5;
  std::optional<double> shift;  ///< flow_shift when it overrides the model's
  std::string noise = "philox";
  std::int64_t segment_overlap = 2;  ///< latent frames
};

/// How the work is laid out. Never changes the result.
struct Run {
  std::int64_t num_ranks = 0, num_threads = 0;  ///< 0: whatever is there
  std::string partition = "heads";
  std::int64_t guidance_groups = 1;
  bool shard_weights = false;
};

struct Output {
  std::filesystem::path dir;
  bool latents = true, pixels = true;
  std::string video = "h264";
};

struct Experiment {
  std::filesystem::path file;
  std::string text;                    ///< the file as it was read
  std::vector<std::string> overrides;  ///< "sampler.steps=30", in the order given
  std::string title;
  Shot shot;
  Model model;
  Sampler sampler;
  Run run;
  Output output;
  std::string measure_json = "{}", cost_json = "{}";  ///< tables kept as canonical JSON
};

/// Reads and checks an experiment file. `overrides` are "table.key=value" in TOML, as given by --set.
/// Throws DiagnosticError (Exit::usage) with all findings, or Error (Exit::input) when the file cannot be read.
Experiment load_experiment(const std::filesystem::path& file, const std::vector<std::string>& overrides = {});
/// The bytes of an experiment file. Throws Error (Exit::input).
std::string read_experiment_text(const std::filesystem::path& file);
/// The same from text; `file` names it in messages and anchors relative paths.
Experiment parse_experiment(std::string_view text, const std::filesystem::path& file,
                            const std::vector<std::string>& overrides = {});

/// The effective configuration, defaults included, as canonical JSON: keys sorted, no spaces, paths absolute.
std::string resolved_json(const Experiment& experiment);

/// Digests of what the experiment file only points to.
struct InputDigests {
  std::string model;         ///< over weights, component configs and tokenizer files, or of the synthetic weights
  std::string first_frames;  ///< over the given frames; "" without
};

/// First 16 hex digits of the SHA-256 over canonical JSON of what determines /result: shot, sampler, profile, the input
/// digests, which datasets are kept, the result version. Not [run], [measure], [cost], titles or paths.
std::string task_id(const Experiment& experiment, const InputDigests& digests);
/// The JSON that `task_id` hashes.
std::string task_json(const Experiment& experiment, const InputDigests& digests);
/// task_id, layout and repeat: "<task_id>-<8 hex of the layout>-r<repeat>". Give the layout that really ran.
std::string run_id(const std::string& task_id, const Run& layout, std::int64_t repeat = 0);

/// Version of the result's bits: raised whenever any bit of a film changes.
inline constexpr int result_version = 1;

}  // namespace reel::study
