#include "study/slurm.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>
#include <sstream>

#include "core/nearest.hpp"
#include "study/experiment_tables.hpp"
#include "study/stopping.hpp"

namespace reel::study {
namespace {

namespace fs = std::filesystem;
using std::int64_t;

fs::path slurm_folder() { return REEL_SLURM_FOLDER; }

std::string template_text() {
  const fs::path path = slurm_folder() / "array.sbatch";
  std::ifstream in(path);
  std::ostringstream text;
  text << in.rdbuf();
  if (!in || text.str().empty()) throw Error(Exit::input, "the template of array jobs cannot be read", path.string(), "it comes with Reel's sources");
  return text.str();
}

// "1.85 EUR"
void read_price(TableReader table, Machine& machine) {
  const std::string text = table.text("node_hour");
  table.text("source");
  if (text.empty()) return;
  std::istringstream in(text);
  std::string rest;
  if (!(in >> machine.node_hour >> machine.currency) || machine.node_hour < 0 || machine.currency.size() != 3 || in >> rest)
    table.error("node_hour", fmt::format("'{}' is no price", text), "write for example \"1.85 EUR\"");
}

// The comment of the template explains its words; a script needs only what it does. Every word is filled, in one pass.
std::string filled(const std::string& text, const std::map<std::string, std::string>& words) {
  std::istringstream lines(text);
  std::string out, line;
  bool explains = false;
  while (std::getline(lines, line)) {
    if (line.starts_with("# This is a template.")) explains = true;
    if (explains) {
      explains = line.starts_with("# ");
      if (explains) continue;
    }
    std::string told;
    for (std::size_t at = 0; at < line.size();) {
      const std::size_t end = line[at] == '{' && (at == 0 || line[at - 1] != '$') ? line.find('}', at) : std::string::npos;
      const auto word = end != std::string::npos ? words.find(line.substr(at + 1, end - at - 1)) : words.end();
      if (word == words.end()) {
        told += line[at++];
      } else {
        told += word->second;
        at = end + 1;
      }
    }
    const bool was_a_word = told.empty() && !line.empty();
    if (!was_a_word) out += told + "\n";
  }
  return out;
}

// The log of an element in an #SBATCH line, which sbatch takes apart by rules of its own: %% is a percent sign.
std::string log_word(const fs::path& folder) {
  std::string out;
  for (const char c : folder.string()) {
    if (c == '"' || c == '\\') out += '\\';
    out += c == '%' ? "%%" : std::string(1, c);
  }
  out += "/%A_%a.log";
  return shell_word(out) == out ? out : '"' + out + '"';
}

}  // namespace

std::string ranges(const std::vector<int64_t>& numbers) {
  std::string out;
  for (std::size_t i = 0; i < numbers.size();) {
    std::size_t j = i;
    while (j + 1 < numbers.size() && numbers[j + 1] == numbers[j] + 1) ++j;
    out += fmt::format("{}{}", out.empty() ? "" : ",", numbers[i]);
    if (j > i) out += fmt::format("-{}", numbers[j]);
    i = j + 1;
  }
  return out;
}

std::string shell_word(const std::string& text) {
  if (!text.empty() && text.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./+-=:@%,") == std::string::npos) return text;
  std::string out(1, '\'');
  for (const char c : text) {
    if (c == '\'')
      out.append("'\\''");
    else
      out.push_back(c);
  }
  out.push_back('\'');
  return out;
}

Machine load_machine(const std::string& name) {
  fs::path path = name;
  if (!name.ends_with(".toml")) {
    path = slurm_folder() / "machines" / (name + ".toml");
    if (!fs::exists(path)) {
      std::vector<std::string> known;
      for (const auto& entry : fs::directory_iterator(slurm_folder() / "machines"))
        if (entry.path().extension() == ".toml") known.push_back(entry.path().stem().string());
      std::sort(known.begin(), known.end());
      const std::string near = nearest(name, known);
      throw Error(Exit::input, fmt::format("no machine '{}'", name), (slurm_folder() / "machines").string(),
                  near.empty() ? fmt::format("known: {}", fmt::join(known, ", ")) : fmt::format("did you mean '{}'?", near));
    }
  }
  TomlDocument document(read_experiment_text(path), path.string());
  TableReader root = document.root();
  root.require("machine", "write 'machine = 1' in the first line");
  root.integer("machine", 1, 1, 1);
  Machine m;
  m.name = root.text("name", path.stem().string());
  TableReader nodes = root.table("nodes");
  nodes.require("cores", "physical cores of a node");
  m.cores = nodes.integer("cores", 1, 1, 1'000'000);
  m.sockets = nodes.integer("sockets", 1, 1, 1024);
  m.numa_domains = nodes.integer("numa_domains", 1, 1, 1024);
  m.memory = nodes.text("memory");
  m.scratch = nodes.text("scratch");
  TableReader launcher = root.table("launcher");
  m.launcher = launcher.choice("command", "srun", {"srun", "mpirun"});
  m.mpi = launcher.text("mpi", "pmix");
  m.modules = launcher.texts("modules", {}, {}, /*may_be_empty=*/true);
  TableReader slurm = root.table("slurm");
  m.partition = slurm.text("partition");
  m.account = slurm.text("account");
  m.qos = slurm.text("qos");
  m.max_array = slurm.integer("max_array", 1000, 1, 4'000'000);
  m.walltime_s = slurm.seconds("walltime", 3600);
  m.extra = slurm.texts("extra", {}, {}, /*may_be_empty=*/true);
  read_price(root.table("price"), m);
  TableReader network = root.table("network");
  m.network.latency_s = 1e-6 * network.number("latency_us", 0, 0, 1e6);
  m.network.bytes_per_s = 1e9 * network.number("gigabytes_per_s", 0, 0, 1e6);
  TableReader energy = root.table("energy");
  energy.number("pue", 1, 1, 10);
  energy.text("source");
  document.finish();
  return m;
}

Layout layout_on(const Machine& machine, const Run& run) {
  const int64_t room = run.num_threads > 0 ? machine.cores / run.num_threads : machine.cores;
  Layout layout;
  layout.ranks = run.num_ranks > 0 ? run.num_ranks : std::max<int64_t>(1, std::min(machine.numa_domains, room));
  layout.threads = run.num_threads > 0 ? run.num_threads : std::max<int64_t>(1, machine.cores / layout.ranks);
  return layout;
}

std::vector<ArrayJob> array_jobs(const Manifest& manifest, const std::vector<int64_t>& indexes, const Machine& machine, const SlurmWishes& wishes,
                                 const std::string& program) {
  std::map<std::pair<int64_t, int64_t>, std::vector<int64_t>> layouts;
  for (const int64_t index : indexes) {
    const ManifestRun& run = manifest.at(index);
    const RunState state = standing_of(manifest.dir(), run.run).state;
    if (state != RunState::missing && state != RunState::stopped) continue;
    const Layout layout = layout_on(machine, manifest.experiment(run).run);
    layouts[{layout.ranks, layout.threads}].push_back(index);
  }
  const double walltime_s = wishes.walltime.empty() ? machine.walltime_s : parse_duration_s(wishes.walltime, "slurm.walltime");
  const auto minutes = static_cast<int64_t>(std::ceil(walltime_s / 60));
  const int64_t most = wishes.array > 0 ? std::min(wishes.array, machine.max_array) : machine.max_array;
  const std::string text = template_text();
  std::vector<ArrayJob> jobs;
  for (auto& [layout, runs] : layouts) {
    const auto [ranks, threads] = layout;
    if (threads > machine.cores)
      throw Error(Exit::usage, fmt::format("{} threads do not fit on a node of {} cores", threads, machine.cores), "run.threads",
                  fmt::format("use fewer threads and more ranks, or another --machine than '{}': slurm/machines/example_epyc.toml tells how", machine.name));
    const int64_t per_node = machine.cores / threads;
    std::sort(runs.begin(), runs.end());
    for (std::size_t begin = 0; begin < runs.size();) {
      const int64_t offset = runs[begin];
      std::vector<int64_t> elements;
      while (begin < runs.size() && runs[begin] - offset < most) elements.push_back(runs[begin++] - offset);
      ArrayJob job;
      job.ranks = ranks;
      job.threads = threads;
      job.nodes = (ranks + per_node - 1) / per_node;
      job.num_runs = static_cast<int64_t>(elements.size());
      job.name = fmt::format("reel-{}x{}-{}", ranks, threads, offset);
      std::string options;
      const auto option = [&](const std::string& line) { options += fmt::format("{}#SBATCH {}", options.empty() ? "" : "\n", line); };
      if (!machine.partition.empty()) option("--partition=" + machine.partition);
      if (!machine.account.empty()) option("--account=" + machine.account);
      if (!machine.qos.empty()) option("--qos=" + machine.qos);
      for (const std::string& line : machine.extra) option(line);
      std::string modules;
      for (const std::string& module : machine.modules) modules += fmt::format("{}module load {}", modules.empty() ? "" : "\n", shell_word(module));
      job.script = filled(text, {{"name", job.name},
                                 {"array", ranges(elements) + (wishes.running > 0 ? fmt::format("%{}", wishes.running) : "")},
                                 {"nodes", fmt::format("{}", job.nodes)},
                                 {"ranks", fmt::format("{}", ranks)},
                                 {"threads", fmt::format("{}", threads)},
                                 {"minutes", fmt::format("{}", minutes)},
                                 {"log", log_word(manifest.dir() / "slurm")},
                                 {"notice_s", fmt::format("{}", std::min<int64_t>(180, minutes * 60 / 4))},
                                 {"options", options},
                                 {"modules", modules},
                                 {"launch", machine.launcher == "srun" ? fmt::format("srun --mpi={} --kill-on-bad-exit=0 --wait=60", shell_word(machine.mpi))
                                                                       : fmt::format("mpirun --map-by slot:PE={}", threads)},
                                 {"reel", shell_word(program)},
                                 {"manifest", shell_word(manifest.dir().string())},
                                 {"offset", fmt::format("{}", offset)},
                                 {"restarts", "100"},
                                 {"stop", shell_word((manifest.dir() / "STOP").string())}});
      jobs.push_back(std::move(job));
    }
  }
  return jobs;
}

}  // namespace reel::study
