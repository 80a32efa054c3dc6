#include "study/experiment.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "study/benchmark.hpp"
#include "study/diagnostic.hpp"
#include "study/sweep_file.hpp"

namespace reel::study {
namespace {

const std::string smallest = R"(reel = 1
[shot]
prompt = "a ball falls"
frames = 33
size = [64, 48]
[model]
path = "models/backlot"
)";

Experiment parse(const std::string& text, const std::vector<std::string>& overrides = {}) {
  return parse_experiment(text, "/lab/shot.toml", overrides);
}

/// What the user sees; "" when nothing is wrong.
std::string findings(const std::string& text, const std::vector<std::string>& overrides = {}) {
  try {
    parse(text, overrides);
    return "";
  } catch (const DiagnosticError& error) {
    EXPECT_EQ(error.exit(), Exit::usage);
    return error.rendered();
  }
}

/// `smallest` with one line more in its last table, or with another table.
void expect_finding(const std::string& lines, const std::string& part) {
  const std::string text = findings(smallest + lines);
  EXPECT_NE(text.find(part), std::string::npos) << "'" << part << "' is not in:\n" << text;
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  return text.replace(text.find(from), from.size(), to);
}

TEST(Experiment, DefaultsAreWritten) {
  const Experiment e = parse(smallest);
  EXPECT_EQ(e.shot.prompt, "a ball falls");
  EXPECT_EQ(e.shot.num_frames, 33);
  EXPECT_EQ(e.shot.fps, 16);
  EXPECT_EQ(e.shot.width_px, 64);
  EXPECT_EQ(e.shot.height_px, 48);
  EXPECT_EQ(e.shot.seed, 0u);
  EXPECT_FALSE(e.shot.first_frames);
  EXPECT_EQ(e.model.path, "/lab/models/backlot");
  EXPECT_FALSE(e.model.synthetic());
  EXPECT_EQ(e.model.profile, "f32");
  EXPECT_EQ(e.sampler.name, "unipc");
  EXPECT_EQ(e.sampler.num_steps, 50);
  EXPECT_EQ(e.sampler.guidance_scale, 5);
  EXPECT_FALSE(e.sampler.shift);
  EXPECT_EQ(e.sampler.noise, "philox");
  EXPECT_EQ(e.run.num_ranks, 0);
  EXPECT_EQ(e.run.partition, "heads");
  EXPECT_EQ(e.run.guidance_groups, 1);
  EXPECT_EQ(e.output.dir, "/lab/results");
  EXPECT_TRUE(e.output.latents && e.output.pixels);
  EXPECT_EQ(e.output.video, "h264");
  EXPECT_EQ(e.measure_json, "{}");
}

TEST(Experiment, EveryKeyIsRead) {
  const Experiment e = parse(R"(reel = 1
title = "All"
[shot]
prompt = "é\nb"
negative_prompt = "blur"
frames = 81
fps = 23.976
size = [832, 480]
seed = 9223372036854775807
[shot.first_frames]
world = "fall"
seed = 7
latents = 2
[model]
config = "wan2.2-ti2v-5b"
weights = "synthetic"
seed = 3
profile = "bf16"
[sampler]
name = "euler"
steps = 20
guidance = 1
shift = 8
noise = "torch"
segment_overlap = 3
[run]
ranks = 8
threads = 16
partition = "stream"
guidance_groups = 2
shard_weights = true
[output]
dir = "../out"
latents = false
pixels = false
video = "ffv1"
[measure]
laws = ["gravity"]
when = 2025-06-01
[cost]
anything = { a = 1.5, b = true }
)");
  EXPECT_EQ(e.title, "All");
  EXPECT_EQ(e.shot.prompt, "é\nb");
  EXPECT_EQ(e.shot.fps, 23.976);
  EXPECT_EQ(e.shot.seed, 9223372036854775807u);
  EXPECT_EQ(e.shot.first_frames->world, "fall");
  EXPECT_EQ(e.shot.first_frames->seed, 7u);
  EXPECT_EQ(e.shot.first_frames->num_latents, 2);
  EXPECT_TRUE(e.model.synthetic());
  EXPECT_EQ(e.model.config, "wan2.2-ti2v-5b");
  EXPECT_EQ(e.model.seed, 3u);
  EXPECT_EQ(e.model.profile, "bf16");
  EXPECT_EQ(e.sampler.name, "euler");
  EXPECT_EQ(e.sampler.guidance_scale, 1);
  EXPECT_EQ(*e.sampler.shift, 8);
  EXPECT_EQ(e.sampler.noise, "torch");
  EXPECT_EQ(e.sampler.segment_overlap, 3);
  EXPECT_EQ(e.run.num_ranks, 8);
  EXPECT_EQ(e.run.num_threads, 16);
  EXPECT_EQ(e.run.partition, "stream");
  EXPECT_EQ(e.run.guidance_groups, 2);
  EXPECT_TRUE(e.run.shard_weights);
  EXPECT_EQ(e.output.dir, "/out");
  EXPECT_FALSE(e.output.latents || e.output.pixels);
  EXPECT_EQ(e.output.video, "ffv1");
  EXPECT_EQ(e.measure_json, R"({"laws":["gravity"],"when":"2025-06-01"})");
  EXPECT_EQ(e.cost_json, R"({"anything":{"a":1.5,"b":true}})");
}

TEST(Experiment, DurationBecomesFrames) {
  const auto frames = [](const std::string& duration) {
    return parse(replaced(smallest, "frames = 33", "duration = \"" + duration + "\"")).shot.num_frames;
  };
  EXPECT_EQ(frames("5 s"), 81);
  EXPECT_EQ(frames("5.0625 s"), 81);
  EXPECT_EQ(frames("500 ms"), 9);
  EXPECT_EQ(frames("1min"), 961);
  EXPECT_EQ(frames("1 ms"), 1);
}

TEST(Experiment, VideoAndAbsolutePaths) {
  const Experiment e = parse(replaced(smallest, "models/backlot", "/models/x") +
                             "[shot.first_frames]\nvideo = \"../clip.mp4\"\nlatents = 1\n");
  EXPECT_EQ(e.model.path, "/models/x");
  EXPECT_EQ(e.shot.first_frames->video, "/clip.mp4");
}

// What the user sees, word for word.
TEST(ExperimentErrors, UnknownKey) {
  EXPECT_EQ(findings(smallest + "\n[sampler]\nstep = 50\n"),
            "error: unknown key 'sampler.step' (exit 2)\n"
            "  --> /lab/shot.toml:10:1\n"
            "   10 | step = 50\n"
            "      | ^^^^ did you mean 'steps'?   known keys: name, steps, guidance, shift, noise, segment_overlap\n");
}

TEST(ExperimentErrors, AllAtOnceInTheOrderOfTheLines) {
  EXPECT_EQ(findings(R"(reel = 1
[shot]
prompt = "x"
frames = 34
	size = [65, 48]
[sampler]
guidance = "high"
steps = 0
nane = "euler"
[model]
path = "m"
)"),
            "error: 'shot.frames' is 34 (exit 2)\n"
            "  --> /lab/shot.toml:4:10\n"
            "    4 | frames = 34\n"
            "      |          ^^ the model makes 4k+1 frames: use 33 or 37\n"
            "\n"
            "error: 'shot.size' is [65, 48] (exit 2)\n"
            "  --> /lab/shot.toml:5:9\n"
            "    5 |  size = [65, 48]\n"
            "      |         ^^^^^^^^ width and height must be multiples of 16: use [64, 48]\n"
            "\n"
            "error: 'sampler.guidance' must be a number, not a string (exit 2)\n"
            "  --> /lab/shot.toml:7:12\n"
            "    7 | guidance = \"high\"\n"
            "      |            ^^^^^^\n"
            "\n"
            "error: 'sampler.steps' is 0 (exit 2)\n"
            "  --> /lab/shot.toml:8:9\n"
            "    8 | steps = 0\n"
            "      |         ^ must be from 1 to 1000\n"
            "\n"
            "error: unknown key 'sampler.nane' (exit 2)\n"
            "  --> /lab/shot.toml:9:1\n"
            "    9 | nane = \"euler\"\n"
            "      | ^^^^ did you mean 'name'?   known keys: name, steps, guidance, shift, noise, segment_overlap\n");
}

TEST(ExperimentErrors, SyntaxError) {
  const std::string text = findings("reel = 1\n[shot\nprompt = \"x\"\n");
  EXPECT_NE(text.find("error: not valid TOML"), std::string::npos) << text;
  EXPECT_NE(text.find("--> /lab/shot.toml:2:"), std::string::npos) << text;
  EXPECT_NE(text.find("    2 | [shot\n"), std::string::npos) << text;
}

TEST(ExperimentErrors, CaretCountsCharactersNotBytes) {
  EXPECT_EQ(findings(smallest + "[output]\nvideo = \"é\"  # ä\n"),
            "error: 'output.video' cannot be 'é' (exit 2)\n"
            "  --> /lab/shot.toml:9:9\n"
            "    9 | video = \"é\"  # ä\n"
            "      |         ^^^ choose from: h264, ffv1, none\n");
}

TEST(ExperimentErrors, KeyInTheWrongTable) {
  expect_finding("steps = 20\n", "unknown key 'model.steps'");
  expect_finding("steps = 20\n", "it belongs in [sampler]");
  expect_finding("title = \"x\"\n", "it belongs before the first [table]");
}

TEST(ExperimentErrors, MissingKeys) {
  const std::string text = findings("");
  for (const char* key : {"'reel' is missing", "'shot.prompt' is missing", "'shot.frames' is missing",
                          "'shot.size' is missing", "'model.path' is missing"}) {
    EXPECT_NE(text.find(key), std::string::npos) << key << "\n" << text;
  }
}

TEST(ExperimentErrors, Ranges) {
  const auto with = [](const std::string& from, const std::string& to, const std::string& part) {
    const std::string text = findings(replaced(smallest, from, to));
    EXPECT_NE(text.find(part), std::string::npos) << "'" << part << "' is not in:\n" << text;
  };
  with("reel = 1", "reel = 2", "'reel' is 2");
  with("reel = 1", "reel = \"1\"", "'reel' must be an integer, not a string");
  with("frames = 33", "frames = 0", "'shot.frames' is 0");
  with("frames = 33", "frames = 33.0", "must be an integer, not a number");
  with("frames = 33", "frames = 33\nduration = \"2 s\"", "not both");
  with("frames = 33", "duration = 2", "write for example \"2.5 s\"");
  with("frames = 33", "duration = \"2 parsec\"", "units: ms, s, min, h");
  with("frames = 33", "duration = \"-2 s\"", "positive time");
  with("frames = 33", "duration = \"1e9 h\"", "at most 100001");
  with("frames = 33", "frames = 33\nfps = 0", "'shot.fps' is 0");
  with("frames = 33", "frames = 33\nfps = inf", "'shot.fps' is inf");
  with("frames = 33", "frames = 33\nfps = nan", "'shot.fps' is nan");
  with("frames = 33", "frames = 33\nseed = -1", "must be 0 or more");
  with("size = [64, 48]", "size = [64]", "list of 2 integers");
  with("size = [64, 48]", "size = [64, 48.0]", "list of 2 integers");
  with("size = [64, 48]", "size = \"64x48\"", "list of 2 integers");
  with("size = [64, 48]", "size = [64, 0]", "'shot.size' holds 0");
  with("size = [64, 48]", "size = [64, 1000000]", "'shot.size' holds 1000000");
  with("\"a ball falls\"", "\"a\\u0000b\"", "control character 0x00");
  with("\"a ball falls\"", "\"a\\u001bb\"", "control character 0x1b");
  with("\"a ball falls\"", "3", "'shot.prompt' must be a string, not an integer");
  with("\"a ball falls\"", "\"\xff\"", "not valid TOML");
  with("path = \"models/backlot\"", "path = \"\"", "'model.path' is empty");
  expect_finding("[sampler]\nguidance = -1\n", "'sampler.guidance' is -1");
  expect_finding("[sampler]\nguidance = inf\n", "'sampler.guidance' is inf");
  expect_finding("[sampler]\nshift = 0\n", "must be above 0");
  expect_finding("[sampler]\nname = \"eular\"\n", "did you mean 'euler'?   choose from: unipc, euler");
  expect_finding("[run]\nguidance_groups = 3\n", "must be from 1 to 2");
  expect_finding("[run]\nguidance_groups = 2\nranks = 3\n", "cannot share 3 ranks");
  expect_finding("[output]\nlatents = 1\n", "must be true or false, not an integer");
  expect_finding("[output]\nlatents = []\n", "not a list");
  expect_finding("[run]\nranks = 2025-01-01\n", "not a date or time");
  expect_finding("sha256 = \"12\"\n", "64 lower-case hex digits");
  expect_finding("config = \"wan2.1-t2v-14b\"\n", "'model.config' is for synthetic weights");
  expect_finding("config = \"wan2.1-t2v-15b\"\n", "did you mean 'wan2.1-t2v-14b'?");
}

TEST(ExperimentErrors, FirstFrames) {
  const std::string table = "[shot.first_frames]\n";
  expect_finding(table + "latents = 2\n", "one source: 'world' or 'video'");
  expect_finding(table + "world = \"fall\"\nvideo = \"a.mp4\"\nlatents = 2\n", "one source: 'world' or 'video'");
  expect_finding(table + "world = \"fall\"\n", "'shot.first_frames.latents' is missing");
  expect_finding(table + "world = \"fall\"\nlatents = 9\n", "33 frames are 9 latent frames");
  expect_finding(table + "video = \"a.mp4\"\nlatents = 1\nseed = 4\n", "belongs to a world");
  expect_finding(table + "world = \"fal\"\nlatents = 1\n", "did you mean 'fall'?");
  expect_finding(table + "wrld = \"fall\"\nlatents = 1\n", "did you mean 'world'?");
}

TEST(ExperimentErrors, TablesThatAreNoTables) {
  expect_finding("[[sampler]]\n", "'sampler' must be a table, not a list");
  EXPECT_NE(findings("reel = 1\nshot = 3\n").find("'shot' must be a table, not an integer"), std::string::npos);
}

TEST(ExperimentErrors, HostileTextsEnd) {
  EXPECT_NE(findings(std::string(100'000, '[')), "");
  EXPECT_NE(findings(std::string(1'000'000, 'a')), "");
  EXPECT_NE(findings(smallest + std::string(200'000, 'k') + " = 1\n"), "");
  std::string many = smallest;
  for (int i = 0; i < 5000; ++i) many += fmt::format("key{} = 1\n", i);
  EXPECT_LT(findings(many).size(), 20'000u);
}

TEST(ExperimentErrors, WhatIsTheFirstFinding) {
  try {
    parse(smallest + "[sampler]\nstep = 50\nstesp = 3\n");
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "unknown key 'sampler.step'");
    EXPECT_EQ(error.where(), "/lab/shot.toml:9:1");
    EXPECT_NE(error.hint().find("'steps'"), std::string::npos);
  }
}

TEST(Overrides, ReplaceAndAdd) {
  const Experiment e = parse(smallest, {"sampler.steps=30", "sampler.name=euler", "shot.prompt = \"x = y\"",
                                        "run.ranks=2", "sampler.steps=31"});
  EXPECT_EQ(e.sampler.num_steps, 31);
  EXPECT_EQ(e.sampler.name, "euler");
  EXPECT_EQ(e.shot.prompt, "x = y");
  EXPECT_EQ(e.run.num_ranks, 2);
  EXPECT_EQ(findings(smallest, {"sampler.step=30"}),
            "error: unknown key 'sampler.step' (exit 2)\n"
            "  --> --set:1:9\n"
            "    1 | sampler.step=30\n"
            "      |         ^^^^ did you mean 'steps'?   known keys: name, steps, guidance, shift, noise, "
            "segment_overlap\n");
  EXPECT_NE(findings(smallest, {"sampler.steps"}).find("write --set table.key=value"), std::string::npos);
  EXPECT_NE(findings(smallest, {"sampler.steps="}).find("'sampler.steps' must be an integer"), std::string::npos);
}

TEST(Ids, TaskIdKnowsWhatDeterminesTheResult) {
  const InputDigests digests{"abc", ""};
  const std::string id = task_id(parse(smallest), digests);
  EXPECT_EQ(id, "48dbe4eba1861917");  // stable between versions
  EXPECT_EQ(id.size(), 16u);
  // The layout, titles, places, prices and how a value was written do not matter.
  for (const char* lines :
       {"[run]\nranks = 8\npartition = \"stream\"\nshard_weights = true\n", "[output]\ndir = \"/else\"\nvideo = \"none\"\n",
        "[measure]\na = 1\n", "[cost]\na = 1\n", "[sampler]\nguidance = 5\nsteps = 50\n"}) {
    EXPECT_EQ(task_id(parse(smallest + lines), digests), id) << lines;
  }
  EXPECT_EQ(task_id(parse("title = \"x\"\n" + smallest), digests), id);
  EXPECT_EQ(task_id(parse(replaced(smallest, "models/backlot", "/else")), digests), id);
  EXPECT_EQ(task_id(parse(smallest, {"shot.fps=16"}), digests), id);
  // Everything else does.
  for (const char* change :
       {"shot.prompt=b", "shot.negative_prompt=b", "shot.frames=37", "shot.fps=24", "shot.size=[48,64]", "shot.seed=1",
        "model.profile=bf16", "sampler.name=euler", "sampler.steps=49", "sampler.guidance=4.5", "sampler.shift=3",
        "sampler.noise=torch", "sampler.segment_overlap=1", "output.latents=false", "output.pixels=false"}) {
    EXPECT_NE(task_id(parse(smallest, {change}), digests), id) << change;
  }
  EXPECT_NE(task_id(parse(smallest), {"abd", ""}), id);
}

TEST(Ids, FirstFramesCountByContent) {
  const auto with = [](const std::string& source, const std::string& digest) {
    return task_id(parse(smallest + "[shot.first_frames]\nlatents = 1\n" + source), {"abc", digest});
  };
  EXPECT_EQ(with("video = \"a.mp4\"", "d"), with("video = \"b.mp4\"", "d"));
  EXPECT_EQ(with("video = \"a.mp4\"", "d"), with("world = \"fall\"", "d"));
  EXPECT_NE(with("video = \"a.mp4\"", "d"), with("video = \"a.mp4\"", "e"));
  EXPECT_THROW(with("video = \"a.mp4\"", ""), Error);
}

TEST(Ids, RunIdKnowsTheLayout) {
  const study::Run one{1, 2, "heads", 1, false}, two{2, 2, "heads", 1, false}, sharded{1, 2, "heads", 1, true};
  EXPECT_EQ(run_id("t", one), run_id("t", one));
  EXPECT_NE(run_id("t", one), run_id("t", two));
  EXPECT_NE(run_id("t", one), run_id("t", one, 1));
  EXPECT_TRUE(run_id("t", one).starts_with("t-"));
  EXPECT_NE(run_id("t", one), run_id("t", sharded)) << "another layout";
}

TEST(Resolved, IsCanonicalAndComplete) {
  const std::string json = resolved_json(parse(smallest));
  EXPECT_EQ(
      json,
      R"({"cost":{},"file":"/lab/shot.toml","measure":{},"model":{"path":"/lab/models/backlot","profile":"f32"},"output":{"dir":"/lab/results",)"
      R"("latents":true,"pixels":true,"video":"h264"},"reel":1,"run":{"guidance_groups":1,"partition":"heads","ranks":0,)"
      R"("threads":0},"sampler":{"guidance":5.0,"name":"unipc","noise":"philox","segment_overlap":2,"shift":null,"steps":50},)"
      R"("shot":{"fps":16.0,"frames":33,"negative_prompt":"","prompt":"a ball falls","seed":0,"size":[64,48]},"title":""})");
}

TEST(Files, AreReadOrRefused) {
  namespace fs = std::filesystem;
  const fs::path file = fs::temp_directory_path() /
                        fmt::format("reel-experiment-{}.toml", ::testing::UnitTest::GetInstance()->random_seed());
  std::ofstream(file) << smallest;
  EXPECT_EQ(load_experiment(file).text, smallest);
  fs::remove(file);
  for (const fs::path& path : {file, fs::temp_directory_path(), fs::path("/dev/zero")}) {
    try {
      load_experiment(path);
      ADD_FAILURE() << path;
    } catch (const Error& error) {
      EXPECT_EQ(error.exit(), Exit::input) << path;
    }
  }
}

TEST(Files, EveryExperimentOfTheProjectIsValid) {
  std::size_t num_files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(REEL_SOURCE_DIR "/experiments")) {
    if (entry.path().extension() != ".toml") continue;
    ++num_files;
    try {
      const std::string text = read_experiment_text(entry.path());
      if (is_sweep(text)) {
        const SweepFile sweep = load_sweep(entry.path());
        EXPECT_FALSE(sweep.title.empty()) << entry.path();
        for (const SweepPoint& point : sweep.points) experiment_of(sweep, point);
        continue;
      }
      const std::string title = is_benchmark(text) ? parse_benchmark(text, entry.path()).title : parse_experiment(text, entry.path()).title;
      EXPECT_FALSE(title.empty()) << entry.path();
    } catch (const DiagnosticError& error) {
      ADD_FAILURE() << error.rendered();
    }
  }
  EXPECT_GE(num_files, 4u);
}

TEST(Nearest, FindsTyposOnly) {
  const std::vector<std::string> keys{"steps", "guidance", "shift"};
  EXPECT_EQ(nearest("step", keys), "steps");
  EXPECT_EQ(nearest("stesp", keys), "steps");
  EXPECT_EQ(nearest("guidence", keys), "guidance");
  EXPECT_EQ(nearest("colour", keys), "");
  EXPECT_EQ(nearest("", keys), "");
}

}  // namespace
}  // namespace reel::study
