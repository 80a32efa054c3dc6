// reel run: an experiment file becomes a film and its record.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "app/verbs.hpp"
#include "core/parallel.hpp"
#include "study/benchmark.hpp"
#include "study/run.hpp"
#include "study/sweep.hpp"

namespace reel::app {
namespace {

using Clock = std::chrono::steady_clock;

std::string clock_text(double seconds) {
  const auto s = static_cast<long>(seconds + 0.5);
  return s >= 3600 ? fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60) : fmt::format("{}:{:02}", s / 60, s % 60);
}

// One line that is rewritten on a terminal, a plain line now and then elsewhere.
class Progress {
 public:
  explicit Progress(bool on) : on_(on), terminal_(isatty(STDERR_FILENO) != 0) {}

  void operator()(const study::Phase& phase, bool ended) {
    if (!on_) return;
    const auto now = Clock::now();
    if (phase.step_s.empty() && !ended) begin_ = now;
    const auto done = static_cast<std::int64_t>(phase.step_s.size());
    const double elapsed = std::chrono::duration<double>(now - begin_).count();
    if (!terminal_ && done == 0 && !ended) return;
    const bool due = ended || std::chrono::duration<double>(now - shown_).count() > (terminal_ ? 0.1 : 10.0);
    if (!due) return;
    shown_ = now;
    std::string line = fmt::format("{:<8}", phase.name);
    if (ended)
      line += fmt::format(" {}", clock_text(phase.wall_s));
    else if (done > 0)
      line += fmt::format(" {}/{}  {:.3g} s each  {} left", done, phase.num_steps, elapsed / static_cast<double>(done),
                          clock_text(elapsed / static_cast<double>(done) * static_cast<double>(phase.num_steps - done)));
    if (terminal_)
      std::fprintf(stderr, "\r\033[K%s%s", line.c_str(), ended ? "\n" : "");
    else
      std::fprintf(stderr, "%s\n", line.c_str());
    std::fflush(stderr);
  }

 private:
  bool on_, terminal_;
  Clock::time_point begin_ = Clock::now(), shown_{};
};

void print_summary(const study::RunSummary& s, int ranks) {
  double total = 0;
  for (const study::Phase& p : s.phases) total += p.wall_s;
  std::printf("\n%-9s %10s %7s %11s %8s %7s\n", "phase", "seconds", "share", "GFLOP/s", "of peak", "comm");
  for (const study::Phase& p : s.phases) {
    const double rate = p.wall_s > 0 ? p.flops / p.wall_s : 0;
    std::printf("%-9s %10.3f %6.1f%% ", p.name.c_str(), p.wall_s, total > 0 ? 100 * p.wall_s / total : 0);
    if (p.flops > 0)
      std::printf("%11.1f %7.1f%%", rate * 1e-9, 100 * rate / s.peak_flops);
    else
      std::printf("%11s %8s", "-", "-");
    std::printf(" %6.1f%%\n", p.wall_s > 0 ? 100 * p.comm_s / p.wall_s : 0);
  }
  std::printf("%-9s %10.3f   peak %.1f GFLOP/s on %d rank(s), memory %.2f GB per rank\n\n", "total", total,
              s.peak_flops * 1e-9, ranks, static_cast<double>(s.peak_memory_bytes) * 1e-9);
  for (const study::Phase& p : s.phases)
    if (!std::isnan(p.predicted_s) && p.wall_s > 0)
      std::printf("%-9s %10.3f seconds were predicted, %+.1f %% off\n", p.name.c_str(), p.predicted_s, 100 * (p.predicted_s / p.wall_s - 1));
  if (s.weights == "synthetic") std::printf("weights  synthetic: times and memory are real, the picture means nothing\n");
  if (s.num_sittings > 1) std::printf("sittings %lld: went on from a checkpoint\n", static_cast<long long>(s.num_sittings));
  if (!s.film.empty()) std::printf("film     %s\n", s.film.c_str());
  if (!s.measurement.empty()) std::printf("measured %s\n%s", s.measurement.c_str(), s.measurement_text.c_str());
  std::printf("result   %s\ndigest   %s\n", s.result.c_str(), s.result_digest.c_str());
}

void print_json(const study::RunSummary& s, int ranks) {
  nlohmann::json j{{"task_id", s.task_id}, {"run_id", s.run_id}, {"result", s.result.string()}, {"film", s.film.string()},
                   {"measurement", s.measurement.string()}, {"result_digest", s.result_digest}, {"weights", s.weights}, {"ranks", ranks},
                   {"peak_flops", s.peak_flops}, {"peak_memory_bytes", s.peak_memory_bytes}};
  for (const study::Phase& p : s.phases)
    j["phases"].push_back({{"name", p.name}, {"wall_s", p.wall_s}, {"comm_s", p.comm_s}, {"flops", p.flops}, {"sent_bytes", p.sent_bytes},
                           {"step_s", p.step_s}, {"predicted_s", std::isnan(p.predicted_s) ? nlohmann::json() : nlohmann::json(p.predicted_s)}});
  std::printf("%s\n", j.dump(2).c_str());
}

struct Options {
  std::string file;
  std::vector<std::string> set;
  std::string out;
  bool lossless = false, keep_every_step = false, rehearse = false;
  int threads = 0;
  std::string walltime, manifest;
  std::int64_t stop_after = 0, index = -1;
};

void run_benchmark(const std::string& text, const Options& o, const Comm& world) {
  study::Benchmark benchmark;
  world.together([&] { benchmark = study::parse_benchmark(text, o.file, o.set); });
  if (!o.out.empty()) benchmark.dir = o.out;
  if (o.threads > 0) benchmark.run.num_threads = o.threads;
  if (benchmark.run.num_threads > 0) set_num_threads(static_cast<int>(benchmark.run.num_threads));
  const bool speaks = world.rank() == 0;
  if (speaks && !global().quiet)
    std::fprintf(stderr, "%s\n%zu model(s), %lld clips of each scene and band, %lld film(s) of each, on %d rank(s) x %d thread(s)\n",
                 benchmark.title.empty() ? o.file.c_str() : benchmark.title.c_str(), benchmark.models.size(),
                 static_cast<long long>(benchmark.num_clips), static_cast<long long>(benchmark.num_seeds), world.size(), num_threads());
  Progress progress(speaks && !global().quiet);
  study::Phase phase;
  phase.name = "clips";
  progress(phase, false);
  const study::BenchmarkResults results =
      study::run_benchmark(benchmark, world, global().command_line, [&](std::int64_t done, std::int64_t all) {
        phase.num_steps = all;
        phase.step_s.resize(static_cast<std::size_t>(done));
        progress(phase, done == all);
      });
  if (!speaks) return;
  if (global().json)
    std::printf("%s\n", study::benchmark_json(results).c_str());
  else
    std::printf("%s\nresult   %s\ndigest   %s\n", study::benchmark_text(results).c_str(), results.file.c_str(), results.result_digest.c_str());
}

study::Sittings sittings_of(const Options& o, const Comm& world, double start_s) {
  study::Sittings sittings;
  sittings.stopping.after_steps = o.stop_after;
  world.together([&] {
    if (!o.walltime.empty()) sittings.stopping.walltime_s = study::parse_duration_s(o.walltime, "--walltime") - (study::unix_now_s() - start_s);
  });
  sittings.keep_every_step = o.keep_every_step;
  sittings.rehearse = o.rehearse;
  sittings.tell = tell;
  return sittings;
}

// One element of an array job.
void run_of_manifest(const Options& o, const Comm& world, double start_s) {
  study::Manifest manifest;
  world.together([&] {
    manifest = study::Manifest::read(o.manifest);
    const study::Run layout = manifest.experiment(manifest.at(o.index)).run;
    if (layout.num_threads > 0) set_num_threads(static_cast<int>(layout.num_threads));
  });
  const bool speaks = world.rank() == 0;
  Progress progress(speaks && !global().quiet);
  const study::RunSummary summary = study::run_one(manifest, o.index, world, global().command_line,
                                                   [&](const study::Phase& p, bool ended) { progress(p, ended); }, sittings_of(o, world, start_s));
  if (speaks && global().json) print_json(summary, world.size());
  if (speaks && !global().json) print_summary(summary, world.size());
}

}  // namespace

void add_run(CLI::App& root) {
  auto o = std::make_shared<Options>();
  CLI::App* verb = root.add_subcommand("run", "render an experiment: film, digest and measurements");
  verb->add_option("file", o->file, "experiment file (TOML)");
  verb->add_option("--manifest", o->manifest, "instead of a file: a sweep's folder, for array jobs")->excludes("file");
  verb->add_option("--index", o->index, "which run of the manifest")->needs("--manifest")->check(CLI::Range(0, 1'000'000));
  verb->add_option("--set", o->set, "override a key: --set sampler.steps=30")->allow_extra_args(false);
  verb->add_option("-o,--out", o->out, "folder for results (output.dir)");
  verb->add_option("--threads", o->threads, "threads per rank (run.threads)")->check(CLI::Range(1, 4096));
  verb->add_flag("--lossless", o->lossless, "write the film as FFV1 instead of H.264");
  verb->add_option("--walltime", o->walltime, "stop in time and save: \"2 h\", \"90 min\"; otherwise what Slurm says");
  verb->add_option("--stop-after", o->stop_after, "stop after so many steps and save")->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 40));
  verb->add_flag("--rehearse", o->rehearse, "time the kernels first and tell how long it should take; of itself from half a minute on");
  verb->add_flag("--keep-every-step", o->keep_every_step, "save after every step; otherwise within 1 % of the time");
  verb->callback([o] {
    const double start_s = study::unix_now_s();
    if (o->file.empty() && o->index < 0) throw Error(Exit::usage, "which experiment?", "reel run", "reel run FILE.toml");
    const Comm world = start_ranks(0);
    if (o->index >= 0) return run_of_manifest(*o, world, start_s);
    // One rank reads the file, so it need not be on every node and is the same everywhere.
    std::string text;
    world.together([&] {
      if (world.rank() == 0) text = study::read_experiment_text(o->file);
    });
    text = world.broadcast(std::move(text), 0);
    if (study::is_benchmark(text)) return run_benchmark(text, *o, world);
    if (study::is_sweep(text)) throw Error(Exit::usage, "this is a sweep: many runs", o->file, "reel sweep " + o->file);
    study::Experiment experiment;
    world.together([&] { experiment = study::parse_experiment(text, o->file, o->set); });
    if (!o->out.empty()) experiment.output.dir = o->out;
    if (o->lossless) experiment.output.video = "ffv1";
    if (o->threads > 0) experiment.run.num_threads = o->threads;
    if (experiment.run.num_threads > 0) set_num_threads(static_cast<int>(experiment.run.num_threads));
    const bool speaks = world.rank() == 0;
    if (speaks && !global().quiet)
      std::fprintf(stderr, "%s\n%dx%d pixels, %d frames, %d steps on %d rank(s) x %d thread(s)\n",
                   experiment.title.empty() ? o->file.c_str() : experiment.title.c_str(),
                   static_cast<int>(experiment.shot.width_px), static_cast<int>(experiment.shot.height_px),
                   static_cast<int>(experiment.shot.num_frames), static_cast<int>(experiment.sampler.num_steps), world.size(),
                   num_threads());
    // A wrong [cost] table must show now, not after the render.
    study::PriceTask price;
    world.together([&] { price = study::price_task(experiment); });
    const bool prices = experiment.cost_json != "{}";
    study::Sittings sittings = sittings_of(*o, world, start_s);
    sittings.stopping.stop_file = experiment.output.dir / "STOP";
    sittings.keep_finished = price.num_takes > 1;  // takes that are done need not be done again
    sittings.keep_text = price.num_takes > 1;
    std::vector<std::filesystem::path> results;
    study::RunSummary summary;  // of the last take
    for (std::int64_t take = 0; take < price.num_takes; ++take) {
      study::Experiment attempt = experiment;
      attempt.shot.seed += static_cast<std::uint64_t>(take);
      Progress progress(speaks && !global().quiet && take == 0);
      if (speaks && !global().quiet && price.num_takes > 1) std::fprintf(stderr, "take %lld of %lld\n", static_cast<long long>(take + 1), static_cast<long long>(price.num_takes));
      summary = study::run_experiment(attempt, world, global().command_line, [&](const study::Phase& p, bool ended) { progress(p, ended); }, sittings);
      results.push_back(summary.result);
    }
    if (speaks && !global().json) print_summary(summary, world.size());
    if (speaks && global().json && !prices) print_json(summary, world.size());
    if (prices) world.together([&] {
      if (speaks) print_priced(study::price(price, results), results.front(), "");
    });
  });
}

}  // namespace reel::app
