// reel plan: what an experiment or a sweep will need, before anything runs.
#include <algorithm>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>

#include "app/verbs.hpp"
#include "core/parallel.hpp"
#include "study/forecast.hpp"
#include "study/run.hpp"
#include "study/scaling.hpp"
#include "study/slurm.hpp"
#include "study/sweep.hpp"

namespace reel::app {
namespace {

using std::int64_t;

struct Needs {  // of the runs of one layout
  std::vector<study::PartitionChoice> choices;  // of the first experiment
  int64_t ranks = 1, threads = 1, runs = 0;
  study::Forecast largest;  // memory of any run
  double longest_s = 0, disk_bytes = 0, seconds = 0;  // of any run; of all
};

std::string size_text(double bytes) { return bytes < 1e9 ? fmt::format("{:.1f} MB", bytes * 1e-6) : fmt::format("{:.2f} GB", bytes * 1e-9); }
std::string time_text(double s) {
  return s < 120 ? fmt::format("{:.3g} s", s) : s < 7200 ? fmt::format("{:.1f} min", s / 60) : fmt::format("{:.1f} h", s / 3600);
}

// Everything that a prediction depends on, but for the number of steps.
std::string shape_key(const study::Experiment& e, int64_t ranks, int64_t ranks_on_node, int64_t threads) {
  return fmt::format("{} {} {} {} {} {} {} {} {} {} {} {} {}", e.model.path.string(), e.model.config, e.model.profile, e.shot.width_px, e.shot.height_px,
                     e.shot.num_frames, e.sampler.segment_overlap, e.sampler.guidance_scale > 1, e.run.partition, e.run.guidance_groups, ranks, ranks_on_node, threads);
}

void plan(const std::string& file, const std::vector<std::string>& set, const std::string& machine_name, double price) {
  const bool known = !machine_name.empty();
  study::Machine machine = known ? study::load_machine(machine_name) : study::Machine();
  if (!known) machine.cores = num_cores();
  if (price == 0) price = machine.node_hour;
  const std::string currency = known && price == machine.node_hour ? " " + machine.currency : "";
  std::vector<study::Experiment> all;
  const std::string text = study::read_experiment_text(file);
  int64_t excluded = 0;
  if (study::is_sweep(text)) {
    const study::SweepFile sweep = study::load_sweep(file);
    for (const study::SweepPoint& p : sweep.points) all.push_back(study::experiment_of(sweep, p));
    excluded = sweep.num_excluded;
  } else {
    all.push_back(study::parse_experiment(text, file, set));
  }
  std::map<std::string, study::Prediction> predictions;
  std::map<std::pair<int64_t, int64_t>, Needs> layouts;
  std::map<std::string, std::unique_ptr<model::Pipeline>> pipelines;
  for (const study::Experiment& e : all) {
    std::unique_ptr<model::Pipeline>& pipeline = pipelines[e.model.path.string() + "\n" + e.model.config + "\n" + e.model.profile];
    if (pipeline == nullptr) pipeline = study::open_pipeline(e.model);
    const auto [ranks, threads] = study::layout_on(machine, e.run);
    const int64_t ranks_on_node = known ? std::clamp<int64_t>(machine.cores / threads, 1, ranks) : ranks;
    const study::Forecast f = study::forecast(e, *pipeline, ranks, ranks_on_node);
    study::Prediction& p = predictions[shape_key(e, ranks, ranks_on_node, threads)];
    if (p.step_s.empty()) p = study::predict(e, *pipeline, ranks, ranks_on_node, threads, machine.network);
    const double seconds = p.last_steps_s(e.sampler.num_steps * static_cast<int64_t>(p.step_s.size()), e.sampler.num_steps) + p.decode_s;
    Needs& l = layouts[{ranks, threads}];
    if (l.choices.empty() && ranks > 1) l.choices = study::partition_choices(e, *pipeline, ranks);
    l.ranks = ranks;
    l.threads = threads;
    ++l.runs;
    l.largest.memory_bytes = std::max(l.largest.memory_bytes, f.memory_bytes);
    l.longest_s = std::max(l.longest_s, seconds);
    l.largest.checkpoint_bytes = std::max(l.largest.checkpoint_bytes, f.checkpoint_bytes);
    l.disk_bytes += f.disk_bytes;
    l.seconds += seconds;
  }
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  double core_hours = 0, disk = 0;
  if (!global().json) std::printf("%6s %8s %6s %14s %14s %12s %12s\n", "ranks", "threads", "runs", "memory/node", "disk", "longest run", "all runs");
  for (const auto& [key, l] : layouts) {
    const double hours = l.seconds * static_cast<double>(l.ranks * l.threads) / 3600;
    core_hours += hours;
    disk += l.disk_bytes;
    nlohmann::ordered_json choices = nlohmann::ordered_json::array();
    for (const study::PartitionChoice& c : l.choices)
      choices.push_back({{"partition", c.partition}, {"guidance_groups", c.guidance_groups}, {"step_bytes", c.step_bytes}});
    list.push_back({{"ranks", l.ranks}, {"threads", l.threads}, {"runs", l.runs}, {"memory_bytes", l.largest.memory_bytes}, {"disk_bytes", l.disk_bytes},
                    {"checkpoint_bytes", l.largest.checkpoint_bytes}, {"longest_s", l.longest_s}, {"seconds", l.seconds}, {"core_hours", hours}, {"partitions", choices}});
    if (!global().json)
      std::printf("%6lld %8lld %6lld %14s %14s %12s %12s\n", static_cast<long long>(l.ranks), static_cast<long long>(l.threads), static_cast<long long>(l.runs),
                  size_text(l.largest.memory_bytes).c_str(), size_text(l.disk_bytes).c_str(), time_text(l.longest_s).c_str(), time_text(l.seconds).c_str());
  }
  const double node_hours = core_hours / static_cast<double>(machine.cores);
  if (global().json) {
    std::printf("%s\n", nlohmann::ordered_json{{"runs", all.size()}, {"excluded", excluded}, {"layouts", list}, {"core_hours", core_hours}, {"node_hours", node_hours},
                                               {"disk_bytes", disk}}
                              .dump(2).c_str());
    return;
  }
  std::printf("\n%zu run(s)%s: %.3g core-hours, %.3g hours of nodes %s (%lld cores), %s on disk%s\n", all.size(),
              excluded > 0 ? fmt::format(", {} left out", excluded).c_str() : "", core_hours, node_hours,
              known ? fmt::format("of {}", machine.name).c_str() : "like this one", static_cast<long long>(machine.cores), size_text(disk).c_str(),
              price > 0 ? fmt::format(", {:.2f}{} at {:.2f} a node-hour", node_hours * price, currency, price).c_str() : "");
  for (const auto& [key, l] : layouts)
    for (const study::PartitionChoice& c : l.choices)
      std::printf("%s %lld ranks, %-6s %lld guidance group(s): the busiest rank sends %s in a step\n", &c == &l.choices.front() ? "auto:" : "     ",
                  static_cast<long long>(l.ranks), c.partition.c_str(), static_cast<long long>(c.guidance_groups), size_text(static_cast<double>(c.step_bytes)).c_str());
  std::printf("times: kernels timed now on %d core(s) of this machine at the shapes of the runs%s\n", num_threads(),
              !known ? "" : machine.network.bytes_per_s > 0 ? "; communication by [network] of the machine" : "; the machine has no [network], so communication is not counted");
}

}  // namespace

void add_plan(CLI::App& root) {
  struct Options {
    std::string file;
    std::vector<std::string> set;
    std::string machine;
    double price = 0;
  };
  auto o = std::make_shared<Options>();
  CLI::App* verb = root.add_subcommand("plan", "runs, memory, disk, time and money of an experiment or a sweep, before anything runs");
  verb->add_option("file", o->file, "experiment or sweep file (TOML)")->required();
  verb->add_option("--set", o->set, "override a key of an experiment")->allow_extra_args(false);
  verb->add_option("--machine", o->machine, "its nodes, network and price: a name in slurm/machines, or a path");
  verb->add_option("--price", o->price, "of a node-hour, in your money")->check(CLI::Range(0.0, 1e6));
  verb->callback([o] {
    start_ranks(0);
    if (launch_rank() == 0) plan(o->file, o->set, o->machine, o->price);
  });
}

}  // namespace reel::app
