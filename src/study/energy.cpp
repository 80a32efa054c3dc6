#include "study/energy.hpp"

#include <linux/perf_event.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <limits>
#include <memory>
#include <system_error>

#include "core/error.hpp"

namespace reel::study {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

constexpr auto sample_period = 10s;
// More than any package draws: with 2^32 units of 15.3 uJ, the smallest range in use, a wrap takes at least 32 s.
constexpr double max_package_w = 2000;
// Counters are updated every 1 ms to 100 ms, so a difference may stand for that much more than the time between
// readings.
constexpr double max_update_s = 0.1;
constexpr double never = std::numeric_limits<double>::infinity();

/// Why a source gives nothing; never leaves this file's meter.
struct Unavailable : std::runtime_error {
  using std::runtime_error::runtime_error;
};

std::string system_message(int error) { return std::system_category().message(error); }

/// First line of a file.
std::string line_of(const fs::path& path) {
  errno = 0;
  std::ifstream in(path);
  std::string line;
  if (!in || !std::getline(in, line)) {
    throw Unavailable(fmt::format("{}: {}", path.string(), errno != 0 ? system_message(errno) : "empty"));
  }
  return line;
}

/// The whole text as a number >= 0.
double number(std::string_view text, const std::string& where) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || !std::isfinite(value) || value < 0) {
    throw Unavailable(where + ": not a number");
  }
  return value;
}

double number_of(const fs::path& path) { return number(line_of(path), path.string()); }

/// Something that only ever counts up, but for the wrap.
struct Counter {
  std::string domain;
  std::function<double()> read;  ///< [J]; throws Unavailable
  double range_j = never;        ///< where it wraps
};

bool is_whole(const std::string& domain) {
  return domain == "node" || (domain.starts_with("package-") && domain.find('/') == std::string::npos);
}
bool is_added(const std::string& domain) {
  return is_whole(domain) || (domain.starts_with("package-") && domain.ends_with("/dram"));
}

std::vector<Counter> node_meter(const fs::path& root) {
  const fs::path path = root / "sys/cray/pm_counters/energy";
  const auto read = [path] {  // "1234567 J 1718031600123456 us"
    const std::string line = line_of(path);
    const std::size_t unit = line.find(" J");
    if (unit == std::string::npos) throw Unavailable(path.string() + ": not in J");
    return number(std::string_view(line).substr(0, unit), path.string());
  };
  return {{"node", read}};
}

/// "0,28" or "0-3,8".
std::vector<int> cpu_list(const std::string& text, const std::string& where) {
  std::vector<int> cpus;
  const char *at = text.data(), *const end = at + text.size();
  const auto integer = [&] {
    int value = 0;
    const auto [next, error] = std::from_chars(at, end, value);
    if (error != std::errc{} || value < 0 || value > 1'000'000) throw Unavailable(where + ": not a list of CPUs");
    at = next;
    return value;
  };
  do {
    const int first = integer();
    const int last = at != end && *at == '-' ? (++at, integer()) : first;
    for (int cpu = first; cpu <= last; ++cpu) cpus.push_back(cpu);
  } while (at != end && *at++ == ',');
  return cpus;
}

Counter perf_counter(std::string domain, const fs::path& pmu, const std::string& event, int cpu) {
  perf_event_attr attributes{};
  attributes.size = sizeof attributes;
  attributes.type = static_cast<std::uint32_t>(std::min(number_of(pmu / "type"), 4294967295.0));
  const std::string text = line_of(pmu / "events" / event);  // "event=0x02"
  constexpr std::string_view prefix = "event=0x";
  const char* const end = text.data() + text.size();
  std::uint64_t config = 0;
  if (!text.starts_with(prefix) || std::from_chars(text.data() + prefix.size(), end, config, 16).ptr != end) {
    throw Unavailable((pmu / "events" / event).string() + ": not understood");
  }
  attributes.config = config;
  const double scale_j = number_of(pmu / "events" / (event + ".scale"));
  const long fd = syscall(SYS_perf_event_open, &attributes, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC);
  if (fd < 0) {
    const bool denied = errno == EACCES || errno == EPERM;
    throw Unavailable(fmt::format("perf_event_open of {}: {}{}", event, system_message(errno),
                                  denied ? " (needs CAP_PERFMON or kernel.perf_event_paranoid <= 0)" : ""));
  }
  const std::shared_ptr<const int> file(new int(static_cast<int>(fd)), [](const int* opened) {
    close(*opened);
    delete opened;
  });
  // The kernel widens the hardware's counter to 64 bits, so this one does not wrap.
  return {std::move(domain), [file, scale_j, event] {
            std::uint64_t count = 0;
            if (read(*file, &count, sizeof count) != sizeof count) throw Unavailable(event + ": cannot be read");
            return static_cast<double>(count) * scale_j;
          }};
}

std::vector<Counter> perf(const fs::path& root) {
  const fs::path pmu = root / "sys/bus/event_source/devices/power", cpumask = pmu / "cpumask";
  std::vector<Counter> counters;
  for (const int cpu : cpu_list(line_of(cpumask), cpumask.string())) {
    const fs::path topology = root / fmt::format("sys/devices/system/cpu/cpu{}/topology", cpu);
    const std::string package = fmt::format("package-{}", number_of(topology / "physical_package_id"));
    counters.push_back(perf_counter(package, pmu, "energy-pkg", cpu));
    std::error_code error;
    if (fs::exists(pmu / "events/energy-ram", error)) {
      counters.push_back(perf_counter(package + "/dram", pmu, "energy-ram", cpu));
    }
  }
  return counters;
}

bool is_intel(const fs::path& root) {
  std::ifstream in(root / "proc/cpuinfo");
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("vendor_id")) return line.ends_with("GenuineIntel");
  }
  return false;
}

std::vector<Counter> powercap(const fs::path& root) {
  const fs::path zones = root / "sys/class/powercap";
  std::error_code error;
  std::vector<std::string> names;  // "intel-rapl:0", and "intel-rapl:0:1" within it; not "intel-rapl-mmio:0", the same
                                   // packages once more
  for (fs::directory_iterator at(zones, error), end; !error && at != end; at.increment(error)) {
    const std::string name = at->path().filename().string();
    if (name.starts_with("intel-rapl:")) names.push_back(name);
  }
  if (error) throw Unavailable(fmt::format("{}: {}", zones.string(), error.message()));
  std::sort(names.begin(), names.end());
  std::vector<Counter> counters;
  for (const std::string& name : names) {
    std::string domain = line_of(zones / name / "name");
    // Some kernels list every die of an AMD package with the energy of the whole package.
    if (domain.find("-die-") != std::string::npos && !is_intel(root)) {
      throw Unavailable(fmt::format("{}: dies may each count their whole package", domain));
    }
    const std::size_t parent = name.rfind(':');
    if (parent != name.find(':')) {
      domain = line_of(zones / name.substr(0, parent) / "name") + "/" + domain;
    }
    const double range_j = 1e-6 * number_of(zones / name / "max_energy_range_uj");
    counters.push_back({domain, [path = zones / name / "energy_uj"] { return 1e-6 * number_of(path); }, range_j});
  }
  return counters;
}

std::vector<Counter> slurm() {
  const auto variable = [](const std::string& name) {
    const char* const value = std::getenv(name.c_str());
    const std::string text = value ? value : "";
    if (text.find_first_not_of("0123456789") != std::string::npos) throw Unavailable(name + ": not a number");
    return text;  // digits only: goes through a shell
  };
  const std::string job = variable("SLURM_JOB_ID"), step = variable("SLURM_STEP_ID");
  if (job.empty()) throw Unavailable("not in a job");
  // Without a step this is the job's script, which is on one node.
  const double num_nodes = step.empty() ? 1 : number(variable("SLURM_STEP_NUM_NODES"), "SLURM_STEP_NUM_NODES");
  if (num_nodes < 1) throw Unavailable("SLURM_STEP_NUM_NODES: below 1");
  const std::string command =
      fmt::format("exec timeout -s KILL 2 sstat -j {}.{} --noheader --parsable2 --format=ConsumedEnergyRaw 2>/dev/null",
                  job, step.empty() ? "batch" : step);
  const auto read = [command, num_nodes] {
    std::FILE* const pipe = popen(command.c_str(), "re");
    if (!pipe) throw Unavailable("sstat: " + system_message(errno));
    char text[64];
    const std::size_t size = std::fread(text, 1, sizeof text, pipe);
    if (pclose(pipe) != 0) throw Unavailable("sstat: missing, failed or not done within 2 s");
    const std::string_view output(text, size);
    const double joules = number(output.substr(0, output.find_last_not_of(" \n") + 1), "sstat");
    if (joules > 1e18) throw Unavailable("sstat: no value");  // 2^64 - 2 marks one that was not set
    return joules / num_nodes;
  };
  return {{"node", read}};
}

}  // namespace

struct EnergyMeter::Source {
  std::string method;
  std::vector<Counter> counters;  // empty: cannot be read
  std::vector<double> last_j;     // at the last reading of all of them, which was at `last`
  Clock::time_point last;
  std::vector<double> joules;
  Clock::duration covered{};
  std::string trouble;  // why it gives nothing, or not all

  Source(std::string name, const std::function<std::vector<Counter>()>& open) : method(std::move(name)) {
    try {
      std::vector<Counter> opened = open();
      std::vector<std::string> domains;
      for (const Counter& counter : opened) domains.push_back(counter.domain);
      std::sort(domains.begin(), domains.end());
      const auto twin = std::adjacent_find(domains.begin(), domains.end());
      if (twin != domains.end()) throw Unavailable(*twin + " is listed twice");
      if (std::none_of(domains.begin(), domains.end(), is_whole)) throw Unavailable("no package is listed");
      counters = std::move(opened);
    } catch (const std::exception& e) {
      trouble = e.what();
    }
  }

  std::vector<double> read() const {
    std::vector<double> values;
    for (const Counter& counter : counters) values.push_back(counter.read());
    return values;
  }

  void begin(Clock::time_point now) {
    last = now;
    joules.assign(counters.size(), 0);
    try {
      last_j = read();
    } catch (const std::exception& e) {
      trouble = e.what();
      counters.clear();
    }
  }

  /// Takes a reading, all counters or none, so that they always stand for the same time.
  void take(Clock::time_point now) {
    if (counters.empty()) return;
    std::vector<double> values;
    try {
      values = read();
    } catch (const std::exception& e) {
      trouble = e.what();
      return;
    }
    const double max_j = max_package_w * (std::chrono::duration<double>(now - last).count() + max_update_s);
    std::vector<double> used(counters.size());
    std::string broken, still;
    for (std::size_t i = 0; i < counters.size(); ++i) {
      const Counter& counter = counters[i];
      const bool wraps = counter.range_j < never;
      used[i] = values[i] - last_j[i];
      if (wraps && used[i] < 0) used[i] += counter.range_j;
      if (wraps && max_j >= counter.range_j) {
        broken = counter.domain + " may have wrapped unseen";
      } else if (used[i] < 0 || (wraps && used[i] > max_j)) {
        broken = counter.domain + " jumped";
      } else if (used[i] <= 0 && is_whole(counter.domain)) {
        still = counter.domain + " stood still";
      }
    }
    if (broken.empty() && !still.empty()) {  // covered once it has moved on
      trouble = still;
      return;
    }
    if (broken.empty()) {
      for (std::size_t i = 0; i < used.size(); ++i) joules[i] += used[i];
      covered += now - last;
    } else {
      trouble = broken;
    }
    last_j = std::move(values);
    last = now;
  }
};

EnergyMeter::EnergyMeter(std::filesystem::path root, double declared_w)
    : root_(std::move(root)), declared_w_(declared_w) {
  if (!std::isfinite(declared_w) || declared_w < 0) {
    throw Error(Exit::usage, fmt::format("a node cannot draw {} W", declared_w), "declared power of a node",
                "give the power in watts, or 0 for none");
  }
}

EnergyMeter::~EnergyMeter() = default;

void EnergyMeter::start() {
  sampler_ = {};
  sources_.clear();
  sources_.emplace_back("node-meter", [this] { return node_meter(root_); });
  sources_.emplace_back("perf", [this] { return perf(root_); });
  sources_.emplace_back("powercap", [this] { return powercap(root_); });
  begin_ = Clock::now();
  for (Source& source : sources_) source.begin(begin_);
  running_ = true;
  if (std::all_of(sources_.begin(), sources_.end(), [](const Source& s) { return s.counters.empty(); })) {
    begin_ = Clock::now();
    sources_.emplace_back("slurm", slurm).begin(begin_);
    return;
  }
  try {
    sampler_ = std::jthread([this](const std::stop_token& stop) {
      std::mutex mutex;
      std::unique_lock lock(mutex);
      std::condition_variable_any wake;
      while (!wake.wait_for(lock, stop, sample_period, [&] { return stop.stop_requested(); })) sample();
    });
  } catch (const std::system_error&) {
    // No thread to be had: what wraps unseen is found at stop.
  }
}

void EnergyMeter::sample() {
  const std::lock_guard lock(mutex_);
  sampled_ = Clock::now();
  for (Source& source : sources_) source.take(sampled_);
}

Energy EnergyMeter::stop() {
  REEL_CHECK(running_, "stop() without start()");
  running_ = false;
  sampler_ = {};
  sample();

  Energy energy;
  energy.wall_s = std::chrono::duration<double>(sampled_ - begin_).count();
  std::vector<const Source*> measured;
  for (const Source& source : sources_) {
    if (source.covered > Clock::duration::zero()) measured.push_back(&source);
    if (source.trouble.empty()) continue;
    energy.unavailable +=
        fmt::format("{}{}: {}", energy.unavailable.empty() ? "" : "; ", source.method, source.trouble);
  }
  if (measured.empty()) {
    if (declared_w_ > 0) {
      energy.method = "declared";
      energy.domains = {"node"};
      energy.joules = {declared_w_ * energy.wall_s};
      energy.coverage = 1;
    }
    return energy;
  }
  const Source* const chosen = *std::max_element(  // the first of equals
      measured.begin(), measured.end(), [](const Source* a, const Source* b) { return a->covered < b->covered; });
  const auto tell = [&](const Source& source, const std::string& prefix) {
    for (std::size_t i = 0; i < source.counters.size(); ++i) {
      if (source.joules[i] <= 0) continue;
      energy.domains.push_back(prefix + source.counters[i].domain);
      energy.joules.push_back(source.joules[i]);
    }
  };
  energy.method = chosen->method;
  energy.coverage = std::chrono::duration<double>(chosen->covered).count() / energy.wall_s;
  tell(*chosen, "");
  for (const Source* other : measured) {  // a cross-check over another time would mislead
    if (other != chosen && other->covered == chosen->covered) tell(*other, other->method + ":");
  }
  return energy;
}

std::optional<double> Energy::total_j() const {
  if (method.empty()) return std::nullopt;
  double total = 0;
  for (std::size_t i = 0; i < domains.size(); ++i) {
    if (is_added(domains[i])) total += joules[i];
  }
  return total > 0 ? std::optional(total) : std::nullopt;
}

}  // namespace reel::study
