// reel sweep: many runs of one experiment, varied. Here and now, or as Slurm arrays; state comes from files.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

#include "app/verbs.hpp"
#include "core/parallel.hpp"
#include "io/atomic_file.hpp"
#include "study/slurm.hpp"
#include "study/sweep_collect.hpp"

namespace reel::app {
namespace {

using std::int64_t;

struct Options {
  std::string file, walltime;
  bool keep_every_step = false, dry_run = false, slurm = false, print = false;
  std::string machine;
};

bool launched() {
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID"})
    if (std::getenv(name) != nullptr) return true;
  return false;
}

// Runs that need several ranks, and no launcher: start one.
void start_mpirun(const study::SweepFile& sweep) {
  int64_t most = 1;
  for (const study::SweepPoint& point : sweep.points) most = std::max(most, study::experiment_of(sweep, point).run.num_ranks);
  if (most < 2 || launched()) return;
  const std::string ranks = std::to_string(most);
  std::vector<std::string> words{"mpirun", "-n", ranks, "--oversubscribe", "--bind-to", "none"};
  for (const std::string& word : global().words) words.push_back(word);
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  if (!global().quiet) std::fprintf(stderr, "starting %s ranks: mpirun -n %s %s\n", ranks.c_str(), ranks.c_str(), global().command_line.c_str());
  ::setenv("OMPI_MCA_mpi_yield_when_idle", "1", 0);  // more ranks than cores must not spin
  ::execvp("mpirun", pointers.data());
  throw Error(Exit::launch, "mpirun cannot be started", "PATH", fmt::format("start it yourself: mpirun -n {} {}", ranks, global().command_line));
}

std::string counts(const study::SweepCount& c) {
  std::string text = fmt::format("{} of {} runs done", c.done, c.total);
  const auto add = [&](int64_t n, const char* what) {
    if (n > 0) text += fmt::format(", {} {}", n, what);
  };
  add(c.running, "running"), add(c.stopped, "stopped"), add(c.failed, "failed"), add(c.missing, "missing");
  return text;
}

nlohmann::ordered_json counts_json(const study::SweepCount& c, const std::filesystem::path& dir) {
  return {{"total", c.total}, {"done", c.done}, {"running", c.running}, {"stopped", c.stopped}, {"failed", c.failed}, {"missing", c.missing}, {"dir", dir.string()}};
}

void print_counts(const study::SweepCount& c, const std::filesystem::path& dir) {
  if (global().json)
    std::printf("%s\n", counts_json(c, dir).dump(2).c_str());
  else
    std::printf("%s: %s\n", dir.c_str(), counts(c).c_str());
}

// What a command says on stdout; throws when it fails.
std::string answer_of(const std::vector<std::string>& words) {
  std::string command;
  for (const std::string& word : words) command += study::shell_word(word) + " ";
  std::FILE* const pipe = popen(command.c_str(), "re");
  std::string answer;
  char text[256];
  while (pipe != nullptr && std::fgets(text, sizeof text, pipe) != nullptr) answer += text;
  if (pipe == nullptr || pclose(pipe) != 0) throw Error(Exit::launch, fmt::format("{} failed", words[0]), command, "is this a machine with Slurm? what it says stands above");
  while (answer.ends_with('\n')) answer.pop_back();
  return answer;
}

// Arrays for what is missing: shown, or written beside the results and submitted.
void submit(const Options& o, const study::SweepFile& sweep, const study::Manifest& manifest, const std::vector<int64_t>& indexes) {
  const study::Machine machine = study::load_machine(o.machine.empty() ? sweep.slurm.machine : o.machine);
  const std::string program = std::filesystem::read_symlink("/proc/self/exe").string();
  const std::vector<study::ArrayJob> jobs = study::array_jobs(manifest, indexes, machine, sweep.slurm, program);
  if (jobs.empty()) return print_counts(study::count_runs(manifest, indexes), sweep.dir);
  if (o.print) {
    for (const study::ArrayJob& job : jobs) std::printf("%s\n", job.script.c_str());
    return;
  }
  std::filesystem::create_directories(sweep.dir / "slurm");
  for (const study::ArrayJob& job : jobs) {
    const std::filesystem::path script = sweep.dir / "slurm" / (job.name + ".sbatch");
    io::write_text(script, job.script);
    const std::string id = answer_of({"sbatch", "--parsable", script.string()});
    std::ofstream(sweep.dir / "slurm" / "jobs", std::ios::app) << id << "\n";
    std::printf("array %s: %lld run(s) on %lld node(s), %lld rank(s) x %lld thread(s)\n", id.c_str(), static_cast<long long>(job.num_runs),
                static_cast<long long>(job.nodes), static_cast<long long>(job.ranks), static_cast<long long>(job.threads));
  }
}

void sweep_here(const Options& o) {
  const double start_s = study::unix_now_s();
  const study::SweepFile sweep = study::load_sweep(o.file);
  if (o.dry_run) {
    for (const study::SweepPoint& p : sweep.points) study::experiment_of(sweep, p);
    if (launch_rank() == 0)
      for (const study::SweepPoint& p : sweep.points) std::printf("%s%s\n", fmt::format("{}", fmt::join(p.overrides, "  ")).c_str(), p.repeat > 0 ? fmt::format("  repeat {}", p.repeat).c_str() : "");
    return;
  }
  if (!o.slurm) start_mpirun(sweep);
  const Comm world = start_ranks(0);
  const bool speaks = world.rank() == 0;
  const std::vector<std::string> tasks = study::task_ids(sweep, world);
  study::Manifest manifest;
  std::vector<int64_t> indexes;
  world.together([&] {
    if (!speaks) return;
    if (std::filesystem::exists(sweep.dir / "STOP"))
      throw Error(Exit::usage, "this sweep was asked to stop", (sweep.dir / "STOP").string(), "remove that file to go on");
    std::error_code ec;
    if (!o.print) std::filesystem::create_directories(sweep.dir, ec);
    if (ec) throw Error(Exit::write, fmt::format("the folder cannot be made: {}", ec.message()), sweep.dir.string(), "choose another output.dir");
    manifest = study::Manifest::read(sweep.dir);
    indexes = manifest.add(sweep, tasks, !o.print);
  });
  if (o.slurm) return world.together([&] {
    if (speaks) submit(o, sweep, manifest, indexes);
  });
  int64_t num = static_cast<int64_t>(indexes.size());
  world.broadcast(&num, sizeof num, 0);
  indexes.resize(static_cast<std::size_t>(num));
  world.broadcast(indexes.data(), indexes.size() * sizeof(int64_t), 0);
  world.together([&] {
    if (!speaks) manifest = study::Manifest::read(sweep.dir);
  });
  const study::SweepCount before = study::count_runs(manifest, indexes);
  if (speaks && !global().quiet)
    std::fprintf(stderr, "%s\n%s, in %s, on %d rank(s)\n", sweep.title.empty() ? o.file.c_str() : sweep.title.c_str(), counts(before).c_str(), sweep.dir.c_str(), world.size());

  study::Sittings sittings;
  sittings.keep_every_step = o.keep_every_step;
  sittings.stopping.stop_file = sweep.dir / "STOP";
  sittings.tell = tell;
  world.together([&] {
    if (!o.walltime.empty()) sittings.stopping.walltime_s = study::parse_duration_s(o.walltime, "--walltime") - (study::unix_now_s() - start_s);
  });
  const auto news = [&](const study::SweepNews& n) {
    if (global().quiet) return;
    const int64_t done = study::count_runs(manifest, indexes).done;
    std::string how;
    if (n.summary != nullptr) {
      double wall = 0;
      for (const study::Phase& p : n.summary->phases) wall += p.wall_s;
      how = fmt::format("{:8.1f} s  {}", wall, n.summary->result_digest.substr(0, 12));
    } else {
      how = fmt::format("{} (exit {}): {}", n.error->exit() == Exit::stopped ? "stopped" : "FAILED", static_cast<int>(n.error->exit()), n.error->what());
    }
    std::fprintf(stderr, "[%*lld/%lld]  %s  %s%s\n", static_cast<int>(std::to_string(num).size()), static_cast<long long>(done), static_cast<long long>(num),
                 how.c_str(), fmt::format("{}", fmt::join(n.run.overrides, " ")).c_str(), n.run.repeat > 0 ? fmt::format(" repeat {}", n.run.repeat).c_str() : "");
  };
  study::run_sweep(manifest, indexes, world, global().command_line, sittings, news);
  if (!speaks) return;
  const study::SweepCount after = study::count_runs(manifest, indexes);
  print_counts(after, sweep.dir);
  if (after.failed > 0) {
    if (!global().json) std::printf("%lld failed: reel sweep status %s tells why, reel sweep retry %s runs them again\n", static_cast<long long>(after.failed), o.file.c_str(), o.file.c_str());
    global().exit = after.first_exit;
  } else if (!after.all_done()) {
    global().exit = static_cast<int>(Exit::stopped);
  }
}

// The manifest of a sweep file, or of the folder where it lies.
study::Manifest manifest_of(const std::string& file) {
  if (std::filesystem::is_directory(file)) return study::Manifest::read(file);
  const study::SweepFile sweep = study::load_sweep(file);
  return study::Manifest::read(sweep.dir);
}

std::vector<int64_t> all_of(const study::Manifest& manifest) {
  std::vector<int64_t> all;
  for (const study::ManifestRun& run : manifest.runs()) all.push_back(run.index);
  if (all.empty()) throw Error(Exit::input, "there is no manifest yet", manifest.dir().string(), "run the sweep first");
  return all;
}

void status(const Options& o) {
  if (launch_rank() != 0) return;
  const study::Manifest manifest = manifest_of(o.file);
  const std::vector<int64_t> all = all_of(manifest);
  print_counts(study::count_runs(manifest, all), manifest.dir());
  if (global().json) return;
  for (const study::ManifestRun& run : manifest.runs()) {
    const study::RunStanding s = study::standing_of(manifest.dir(), run.run);
    if (s.state == study::RunState::done || s.state == study::RunState::missing) continue;
    std::printf("%6lld  %-8s %s  %s  %s\n", static_cast<long long>(run.index), study::state_name(s.state), run.run.c_str(), fmt::format("{}", fmt::join(run.overrides, " ")).c_str(), s.note.c_str());
  }
}

void retry(const Options& o) {
  if (launch_rank() == 0) {
    const study::Manifest manifest = manifest_of(o.file);
    for (const int64_t index : all_of(manifest)) study::forget_failure(manifest.dir(), manifest.at(index).run);
  }
  if (std::filesystem::is_directory(o.file)) return status(o);
  sweep_here(o);
}

void collect(const Options& o) {
  if (launch_rank() != 0) return;
  const study::Manifest manifest = manifest_of(o.file);
  all_of(manifest);
  const study::Collected found = study::collect(manifest);
  for (const std::string& text : found.damaged) std::fprintf(stderr, "left out: %s\n", text.c_str());
  for (const study::OddRun& odd : found.odd)
    std::fprintf(stderr, "digest differs: %s has %s, other runs of task %s have %s\n", odd.run.c_str(), odd.digest.c_str(), odd.task.c_str(), odd.expected.c_str());
  if (!found.odd.empty())
    throw Error(Exit::differ, fmt::format("{} run(s) have another digest than the rest of their task", found.odd.size()), found.odd.front().run,
                "this is a bug in Reel or a broken machine: compare where they ran (reel info)");
  if (global().json) {
    nlohmann::ordered_json j = counts_json(found.count, manifest.dir());
    j["file"] = found.file.string(), j["tasks"] = found.num_tasks, j["layouts"] = found.num_layouts;
    j["scaling"] = nlohmann::ordered_json::parse(study::scaling_json(found.scaling));
    std::printf("%s\n", j.dump(2).c_str());
  } else {
    print_counts(found.count, manifest.dir());
    std::printf("digests  %lld task(s) on %lld layout(s): each task has one digest\ntable    %s\n%s", static_cast<long long>(found.num_tasks),
                static_cast<long long>(found.num_layouts), found.file.c_str(), study::scaling_text(found.scaling).c_str());
  }
  if (!found.damaged.empty()) global().exit = static_cast<int>(Exit::input);
}

void cancel(const Options& o) {
  if (launch_rank() != 0) return;
  const study::Manifest manifest = manifest_of(o.file);
  all_of(manifest);
  io::write_text(manifest.dir() / "STOP", "asked by reel sweep cancel\n");
  std::ifstream jobs(manifest.dir() / "slurm" / "jobs");
  for (std::string id; std::getline(jobs, id);) try {
      answer_of({"scancel", "--state=PENDING", id});
    } catch (const Error& e) {
      std::fprintf(stderr, "job %s: %s\n", id.c_str(), e.what());
    }
  std::printf("runs stop after their step and keep it; to go on: rm %s\n", (manifest.dir() / "STOP").c_str());
}

}  // namespace

void add_sweep(CLI::App& root) {
  auto o = std::make_shared<Options>();
  CLI::App* verb = root.add_subcommand("sweep", "many runs of one experiment, varied: runs what is missing");
  verb->add_option("file", o->file, "sweep file (TOML)");
  verb->add_flag("-n,--dry-run", o->dry_run, "list the runs, start nothing");
  verb->add_option("--walltime", o->walltime, "stop in time and save: \"2 h\"");
  verb->add_flag("--keep-every-step", o->keep_every_step, "save after every step");
  verb->add_flag("--slurm", o->slurm, "submit what is missing as Slurm arrays instead of running it here");
  verb->add_flag("--print", o->print, "with --slurm: show the scripts, write and submit nothing")->needs("--slurm");
  verb->add_option("--machine", o->machine, "with --slurm: a name in slurm/machines, or a path (slurm.machine)")->needs("--slurm");
  verb->require_subcommand(0, 1);
  const auto part = [&](const char* name, const char* what, void (*act)(const Options&)) {
    CLI::App* sub = verb->add_subcommand(name, what);
    sub->add_option("file", o->file, "sweep file, or its folder")->required();
    sub->callback([o, act] { act(*o); });
  };
  part("status", "how far it is", status);
  part("retry", "runs what failed again", retry);
  part("collect", "verifies digests, writes sweep.h5", collect);
  part("cancel", "asks all runs to stop and save", cancel);
  verb->callback([o, verb] {
    if (!verb->get_subcommands().empty()) return;
    if (o->file.empty()) throw Error(Exit::usage, "which sweep?", "reel sweep", "reel sweep FILE.toml");
    sweep_here(*o);
  });
}

}  // namespace reel::app
