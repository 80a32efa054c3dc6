#include "study/manifest.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <condition_variable>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "core/digest.hpp"
#include "core/leftovers.hpp"
#include "io/atomic_file.hpp"
#include "study/provenance.hpp"
#include "study/run.hpp"

namespace reel::study {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using std::int64_t;

constexpr double stale_s = 600, renew_s = 20;

fs::path beside(const fs::path& dir, const std::string& run, const char* ending) { return dir / (run + ending); }

std::string first_line(const fs::path& path) {
  std::ifstream in(path);
  std::string line;
  std::getline(in, line);
  return line.substr(0, 4096);
}

std::string value_of(const json& j, const char* key) {
  const auto at = j.find(key);
  return at != j.end() && at->is_string() ? at->get<std::string>() : "";
}

// Seconds since the file was last renewed, by the clock of the file system that keeps it: hosts' clocks may differ.
double age_s(const fs::path& path) {
  struct stat claim {}, now {};
  const fs::path probe = path.string() + fmt::format(".{}.now", getpid());
  const int fd = ::open(probe.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0666);
  if (fd < 0) return 0;
  const bool known = ::fstat(fd, &now) == 0 && ::stat(path.c_str(), &claim) == 0;
  ::close(fd);
  ::unlink(probe.c_str());
  return known ? static_cast<double>(now.st_mtim.tv_sec - claim.st_mtim.tv_sec) : 0;
}

// How often Slurm has started this job again; 0 outside of jobs.
int64_t restarts() {
  const char* count = std::getenv("SLURM_RESTART_COUNT");
  return count != nullptr ? std::atoll(count) : 0;
}

std::string job_id() {
  const char* job = std::getenv("SLURM_JOB_ID");
  return job != nullptr ? job : "";
}

bool is_dead(const fs::path& claim) {
  const json j = json::parse(first_line(claim), nullptr, false);
  // A job that was started again, here or elsewhere, is not in its own way.
  if (!j.is_discarded() && !job_id().empty() && value_of(j, "job") == job_id() && j.value("restarts", int64_t{0}) < restarts()) return true;
  if (!j.is_discarded() && value_of(j, "host") == this_host() && j.value("pid", 0) > 0 && value_of(j, "boot") == boot_id() &&
      ::kill(j.value("pid", 0), 0) != 0 && errno == ESRCH)
    return true;
  return age_s(claim) > stale_s;
}

}  // namespace

Manifest Manifest::read(const fs::path& dir) {
  Manifest m;
  m.dir_ = dir;
  const fs::path path = dir / file_name;
  std::ifstream in(path);
  std::int64_t number = 0;
  std::string line;
  try {
    while (std::getline(in, line)) {
      ++number;
      const json j = json::parse(line);
      if (j.contains("text")) {
        m.bases_[j.at("base")] = {j.at("file").get<std::string>(), j.at("text")};
        if (sha256_hex(m.bases_[j.at("base")].text) != j.at("base").get<std::string>()) throw json::other_error::create(500, "base", nullptr);
      } else {
        m.runs_.push_back({j.at("index"), j.at("run"), j.at("task"), j.at("base"), j.at("overrides"), j.at("repeat")});
        if (m.runs_.back().index != static_cast<int64_t>(m.runs_.size()) - 1 || !m.bases_.contains(m.runs_.back().base) ||
            m.runs_.back().run.find('/') != std::string::npos)
          throw json::other_error::create(500, "order", nullptr);
      }
    }
  } catch (const json::exception&) {
    throw Error(Exit::input, "this line of the manifest is damaged", fmt::format("{}:{}", path.string(), number),
                "cut the file before this line, or give the sweep a new output.dir");
  }
  return m;
}

std::vector<int64_t> Manifest::add(const SweepFile& sweep, const std::vector<std::string>& tasks, bool writes) {
  std::map<std::string, int64_t> known;
  for (const ManifestRun& run : runs_) known[run.run] = run.index;
  std::vector<int64_t> indexes;
  const std::string base = sha256_hex(sweep.base_text);
  bool grown = false;
  if (!bases_.contains(base)) bases_[base] = {fs::absolute(sweep.base_file), sweep.base_text}, grown = true;
  for (std::size_t i = 0; i < sweep.points.size(); ++i) {
    const SweepPoint& point = sweep.points[i];
    const std::string run = run_id(tasks[i], experiment_of(sweep, point).run, point.repeat);
    const auto [at, is_new] = known.emplace(run, static_cast<int64_t>(runs_.size()));
    indexes.push_back(at->second);
    if (!is_new) continue;
    runs_.push_back({at->second, run, tasks[i], base, point.overrides, point.repeat});
    grown = true;
  }
  if (!grown || !writes) return indexes;
  // Written anew as a whole: what was there comes first, unchanged.
  std::string text;
  std::set<std::string> told;
  for (const ManifestRun& run : runs_) {
    if (told.insert(run.base).second) text += json{{"base", run.base}, {"file", bases_.at(run.base).file.string()}, {"text", bases_.at(run.base).text}}.dump() + "\n";
    text += json{{"index", run.index}, {"run", run.run}, {"task", run.task}, {"base", run.base}, {"overrides", run.overrides}, {"repeat", run.repeat}}.dump() + "\n";
  }
  io::write_text(dir_ / file_name, text);
  return indexes;
}

const ManifestRun& Manifest::at(int64_t index) const {
  if (index >= 0 && index < static_cast<int64_t>(runs_.size())) return runs_[static_cast<std::size_t>(index)];
  throw Error(Exit::usage, fmt::format("there is no run {}", index), (dir_ / file_name).string(), fmt::format("it has {} runs, from 0", runs_.size()));
}

Experiment Manifest::experiment(const ManifestRun& run) const {
  const Base& base = bases_.at(run.base);
  Experiment e = parse_experiment(base.text, base.file, run.overrides);
  e.output.dir = dir_;
  return e;
}

std::vector<std::string> task_ids(const SweepFile& sweep, const Comm& world) {
  std::map<std::string, InputDigests> known;  // by what the digests depend on
  std::vector<std::string> ids;
  for (const SweepPoint& point : sweep.points) {
    const Experiment e = experiment_of(sweep, point);
    json key{e.model.path.string(), e.model.config, e.model.seed};
    if (const auto& first = e.shot.first_frames)
      key.push_back({first->world, first->seed, first->video.string(), first->num_latents, e.shot.width_px, e.shot.height_px, e.shot.fps});
    auto [at, is_new] = known.emplace(key.dump(), InputDigests{});
    if (is_new) at->second = digest_inputs(e, world);
    ids.push_back(task_id(e, at->second));
  }
  return ids;
}

const char* state_name(RunState state) {
  switch (state) {
    case RunState::missing: return "missing";
    case RunState::stopped: return "stopped";
    case RunState::running: return "running";
    case RunState::failed: return "failed";
    case RunState::done: return "done";
  }
  return "";
}

RunStanding standing_of(const fs::path& dir, const std::string& run) {
  std::error_code ignored;
  if (fs::exists(beside(dir, run, ".h5"), ignored)) return {RunState::done, ""};
  const fs::path claim = beside(dir, run, ".claim"), failed = beside(dir, run, ".failed");
  if (fs::exists(claim, ignored) && !is_dead(claim)) {
    const json j = json::parse(first_line(claim), nullptr, false);
    return {RunState::running, j.is_discarded() ? "" : fmt::format("{} {}", value_of(j, "host"), value_of(j, "job"))};
  }
  if (fs::exists(failed, ignored)) {
    const json j = json::parse(first_line(failed), nullptr, false);
    return {RunState::failed, j.is_discarded() ? "" : fmt::format("exit {}: {}", j.value("exit", 0), value_of(j, "what"))};
  }
  if (fs::exists(beside(dir, run, ".checkpoint"), ignored) || fs::exists(beside(dir, run, ".checkpoint.before"), ignored)) return {RunState::stopped, ""};
  return {};
}

std::unique_ptr<Claim> Claim::take(const fs::path& dir, const std::string& run) {
  const fs::path path = beside(dir, run, ".claim");
  for (int attempt = 0; attempt < 2; ++attempt) {
    const int fd = ::open(path.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0666);
    if (fd >= 0) {
      const std::string text = json{{"host", this_host()}, {"pid", getpid()}, {"boot", boot_id()}, {"job", job_id()}, {"restarts", restarts()}, {"since", iso_date()}}.dump() + "\n";
      const bool written = ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
      const int error_number = errno;
      ::close(fd);
      if (written) return std::unique_ptr<Claim>(new Claim(path));
      ::unlink(path.c_str());
      io::throw_write_error(path, error_number);
    }
    if (errno != EEXIST) io::throw_write_error(path, errno);
    if (!is_dead(path)) return nullptr;
    // Only one of those who see it dead gets it out of the way.
    const fs::path aside = path.string() + fmt::format(".{}.dead", getpid());
    if (::rename(path.c_str(), aside.c_str()) == 0) ::unlink(aside.c_str());
  }
  return nullptr;
}

Claim::Claim(fs::path path) : path_(std::move(path)) {
  note_leftover(path_);
  renewer_ = std::jthread([this](const std::stop_token& stop) {
    std::mutex mutex;
    std::condition_variable_any wake;
    std::unique_lock lock(mutex);
    while (!wake.wait_for(lock, stop, std::chrono::duration<double>(renew_s), [&] { return stop.stop_requested(); }))
      ::utimensat(AT_FDCWD, path_.c_str(), nullptr, 0);
  });
}

Claim::~Claim() {
  renewer_.request_stop();
  renewer_.join();
  ::unlink(path_.c_str());
  forget_leftover(path_);
}

void note_failure(const fs::path& dir, const std::string& run, const Error& error) {
  io::write_text(beside(dir, run, ".failed"),
                 json{{"exit", static_cast<int>(error.exit())}, {"what", error.what()}, {"where", error.where()}, {"hint", error.hint()}, {"host", this_host()}, {"when", iso_date()}}
                         .dump(-1, ' ', false, json::error_handler_t::replace) + "\n");
}

void forget_failure(const fs::path& dir, const std::string& run) {
  std::error_code ignored;
  fs::remove(beside(dir, run, ".failed"), ignored);
}

}  // namespace reel::study
