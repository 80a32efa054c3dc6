// reel measure: what physics a film breaks and how much it wobbles, with units and doubt.
#include <algorithm>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "app/verbs.hpp"
#include "core/parallel.hpp"
#include "core/partition.hpp"
#include "io/atomic_file.hpp"
#include "study/calibration.hpp"
#include "study/measure_films.hpp"
#include "study/truth.hpp"

namespace reel::app {
namespace {

struct Options {
  std::vector<std::string> files;
  std::string reference, truth, object, scale, out, overlay;
  double fps = 0, gravity = 9.81;
  std::int64_t given = 1;
  int threads = 0;
  bool calibrate = false;
  std::vector<std::int64_t> sizes{64, 128, 256, 720};
  std::vector<int> crfs{-1, 18, 28, 40};
  int seeds = 2;
};

/// What came of one file: the text to print, and the exit code.
struct Answer {
  Exit exit = Exit::ok;
  std::string text, json;
};

Answer measure_file(const Options& o, const std::string& file) {
  Answer answer;
  try {
    study::MeasureTask task;
    task.film = file;
    task.reference = o.reference;
    if (!o.truth.empty()) task.truth = study::load_truth(o.truth);
    task.fps = o.fps;
    task.num_given = o.given;
    task.overlay = o.overlay;
    task.out = o.out;
    task.options.gravity_m_per_s2 = o.gravity;
    if (!o.object.empty()) task.options.object = study::parse_box(o.object);
    if (!o.scale.empty()) task.options.scale = study::parse_scale(o.scale);
    const study::Measurement measurement = study::measure_film(task);
    answer.text = study::measurement_text(measurement);
    answer.json = study::measurement_json(measurement);
  } catch (const Error& error) {
    if (o.files.size() == 1) throw;  // alone: as any other verb
    // One bad film among many does not lose the others.
    answer.exit = error.exit();
    answer.text = fmt::format("{}: not measured: {}\n  try: {}\n", file, error.what(), error.hint());
    answer.json = nlohmann::ordered_json{{"film", file}, {"error", error.what()}, {"hint", error.hint()}}.dump(
        2, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  }
  return answer;
}

void measure_all(const Options& o) {
  const Comm world = start_ranks(o.threads);
  world.together([&] {
    if (o.files.empty()) throw Error(Exit::usage, "which film?", "reel measure", "give a result, a video or a folder of pictures, or --calibrate");
    if (o.files.size() > 1 && !(o.out.empty() && o.overlay.empty() && o.truth.empty() && o.reference.empty() && o.object.empty()))
      throw Error(Exit::usage, "--out, --overlay, --truth, --reference and --object belong to one film", "reel measure", "measure the films one by one");
  });
  // Films go to ranks in contiguous slices, and to the threads of a rank one by one: numbers cannot depend on it.
  const Interval mine = slice(static_cast<std::int64_t>(o.files.size()), world.size(), world.rank());
  std::vector<Answer> answers(static_cast<std::size_t>(mine.size()));
  world.together([&] {
    parallel_for(mine.size(), [&](std::int64_t i) {
      answers[static_cast<std::size_t>(i)] = measure_file(o, o.files[static_cast<std::size_t>(mine.begin + i)]);
    });
  });
  nlohmann::json packed = nlohmann::json::array();
  int exit = 0;
  for (const Answer& a : answers) {
    packed.push_back({a.text, a.json});
    exit = std::max(exit, static_cast<int>(a.exit));
  }
  const std::vector<std::string> parts = world.all_gather(packed.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  for (const std::int64_t code : world.all_gather(std::int64_t{exit})) global().exit = std::max(global().exit, static_cast<int>(code));
  if (world.rank() != 0) return;
  std::vector<std::string> texts, jsons;
  for (const std::string& part : parts)
    for (const nlohmann::json& answer : nlohmann::json::parse(part)) {
      texts.push_back(answer[0]);
      jsons.push_back(answer[1]);
    }
  if (jsons.size() > 1) {  // several seeds of one shot, say: what holds on the whole
    const std::vector<study::OverFilms> numbers = study::over_films(jsons);
    texts.push_back(study::over_films_text(numbers, o.files.size()));
    jsons.push_back(study::over_films_json(numbers, o.files.size()));
  }
  if (global().json)
    std::printf("[%s]\n", fmt::format("{}", fmt::join(jsons, ",\n")).c_str());
  else
    for (const std::string& text : texts) std::printf("%s", text.c_str());
}

void calibrate(const Options& o) {
  if (launch_rank() != 0) return;
  if (o.out.empty()) throw Error(Exit::usage, "where should the tables go?", "reel measure --calibrate", "give a folder: --out datasets/calibration");
  set_num_threads(o.threads > 0 ? o.threads : num_cores());
  study::CalibrationPlan plan;
  plan.num_seeds = o.seeds;
  for (const std::int64_t size : o.sizes)
    for (const int crf : o.crfs) plan.conditions.push_back({size, crf});
  const study::Calibration c = study::calibrate(plan, [&](std::int64_t done, std::int64_t all) {
    if (!global().quiet && (done % 100 == 0 || done == all)) std::fprintf(stderr, "%lld of %lld clips\n", static_cast<long long>(done), static_cast<long long>(all));
  });
  std::error_code ignored;
  std::filesystem::create_directories(o.out, ignored);
  const std::filesystem::path folder(o.out);
  io::write_text(folder / "recovery.csv", study::recovery_csv(c));
  io::write_text(folder / "cross_talk.csv", study::cross_talk_csv(c));
  io::write_text(folder / "floors.csv", study::floors_csv(c));
  const auto passed = [](const auto& list) { return std::count_if(list.begin(), list.end(), [](const auto& x) { return x.passed; }); };
  std::printf("recovered %lld of %zu, quiet %lld of %zu: %s\n", static_cast<long long>(passed(c.recoveries)), c.recoveries.size(),
              static_cast<long long>(passed(c.cross_talks)), c.cross_talks.size(), folder.c_str());
}

}  // namespace

void add_measure(CLI::App& root) {
  auto o = std::make_shared<Options>();
  CLI::App* verb = root.add_subcommand("measure", "what physics films break and how much they wobble");
  verb->add_option("files", o->files, "results (.h5), videos, or folders of pictures");
  verb->add_option("--reference", o->reference, "a film to compare with, frame by frame");
  verb->add_option("--truth", o->truth, "truth of a world (NAME-SEED.truth.json)");
  verb->add_option("--given", o->given, "with --truth: frames that the model was shown, not judged")->capture_default_str()->check(CLI::Range(1, 1000000));
  verb->add_option("--object", o->object, "x,y,w,h: follow what is in this box of the first frame");
  verb->add_option("--scale", o->scale, "a known length: \"door=2.03 m:120 px\", \"person=1.70+-0.10 m:24 px\"");
  verb->add_option("--gravity", o->gravity, "what things should fall with, m/s2")->capture_default_str()->check(CLI::Range(0.01, 1000.0));
  verb->add_option("--fps", o->fps, "pictures per second of a folder")->check(CLI::Range(0.01, 100000.0));
  verb->add_option("-o,--out", o->out, "side file (*.h5); with --calibrate: folder for the tables");
  verb->add_option("--overlay", o->overlay, "tracks, camera and events drawn on the film (*.mp4) or on eight frames of it (*.png)");
  verb->add_option("--threads", o->threads, "threads per rank")->check(CLI::Range(1, 4096));
  verb->add_flag("--calibrate", o->calibrate, "inject known flaws and ask for them back");
  verb->add_option("--sizes", o->sizes, "with --calibrate: picture sizes, px")->capture_default_str()->delimiter(',')->check(CLI::Range(32, 4096));
  verb->add_option("--crfs", o->crfs, "with --calibrate: H.264 qualities, -1: clean")->capture_default_str()->delimiter(',')->check(CLI::Range(-1, 51));
  verb->add_option("--seeds", o->seeds, "with --calibrate: clips for each knob")->capture_default_str()->check(CLI::Range(1, 1000));
  verb->callback([o] {
    if (o->calibrate)
      calibrate(*o);
    else
      measure_all(*o);
  });
}

}  // namespace reel::app
