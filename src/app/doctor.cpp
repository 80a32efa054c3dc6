// reel doctor: does this place have what runs need? Started as runs are started, alone or with a launcher.
#include <sys/statvfs.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

#include "app/verbs.hpp"
#include "core/parallel.hpp"
#include "io/atomic_file.hpp"
#include "io/results.hpp"
#include "kernels/kernels.hpp"
#include "model/peak.hpp"
#include "study/energy.hpp"
#include "study/provenance.hpp"
#include "study/recorder.hpp"
#include "study/stopping.hpp"

namespace reel::app {
namespace {

namespace fs = std::filesystem;

struct Finding {
  const char* state;  // "good", "note", "BAD"
  std::string what, says, hint;
};

double gigabytes(double bytes) { return bytes * 1e-9; }

double free_bytes(const fs::path& dir) {
  struct statvfs info {};
  return statvfs(dir.c_str(), &info) == 0 ? static_cast<double>(info.f_bavail) * static_cast<double>(info.f_frsize) : 0;
}

Finding check_results_folder(const fs::path& dir) {
  const fs::path file = dir / fmt::format("reel-doctor-{}.h5", getpid());
  try {
    io::Record record;
    record.datasets.push_back({"/result/x", "1", "a number", {1}, {"n"}, std::vector<double>{1}, {}});
    io::write_record(file, record);
    const bool good = io::verify(file).good();
    fs::remove(file);
    if (good) return {"good", "results folder", fmt::format("{}: written, read back, renamed; {:.1f} GB free", dir.string(), gigabytes(free_bytes(dir))), ""};
    return {"BAD", "results folder", "what was written is not what was read", "choose another file system"};
  } catch (const Error& e) {
    return {"BAD", "results folder", fmt::format("{}: {}", dir.string(), e.what()), e.hint()};
  }
}

std::vector<Finding> look(const Comm& world, const Comm& node, const fs::path& dir) {
  std::vector<Finding> all;
  const auto add = [&](const char* state, const char* what, std::string says, std::string hint = "") { all.push_back({state, what, std::move(says), std::move(hint)}); };
  add("good", "program", study::program_name());
  add("good", "launch", fmt::format("{} rank(s), {} on this node; {}", world.size(), node.size(), Comm::library()));
  const int threads = num_threads(), cores = num_cores();
  const std::string layout = fmt::format("{} ranks x {} threads on {} cores of this node", node.size(), threads, cores);
  if (node.size() * threads > cores)
    add("note", "cores", layout, "start fewer ranks, or give each fewer threads");
  else
    add("good", "cores", layout);
  std::string isas;
  for (const kernels::Table* t : kernels::available()) isas += (isas.empty() ? "" : ", ") + std::string(t->name);
  const auto peak = [](model::Numerics numerics) { return model::measured_peak_flops(numerics) * 1e-9; };
  add("good", "instructions", fmt::format("{}; measured peak of a thread {:.0f} GFLOP/s in f32, {:.0f} in bf16, {:.0f} in bf16-amx", isas,
                                          peak(model::Numerics::f32), peak(model::Numerics::bf16), peak(model::Numerics::bf16_amx)));
  add("good", "memory", fmt::format("{:.1f} GB can still be had on this node", gigabytes(static_cast<double>(study::available_memory_bytes()))));
  const double shared = free_bytes("/dev/shm");
  if (node.size() > 1 && shared < 1e9)
    add("note", "shared memory", fmt::format("{:.2f} GB free in /dev/shm: weights of several ranks share it", gigabytes(shared)), "mount a larger /dev/shm, or start one rank per node");
  else
    add("good", "shared memory", fmt::format("{:.1f} GB free in /dev/shm", gigabytes(shared)));
  all.push_back(check_results_folder(dir));
  study::EnergyMeter meter;
  meter.start();
  usleep(200'000);
  const study::Energy energy = meter.stop();
  if (energy.method.empty())
    add("note", "energy", fmt::format("not available ({})", energy.unavailable), "declare cost.node_w, or ask for readable counters");
  else
    add("good", "energy", fmt::format("by {}", energy.method));
  if (const auto end = study::end_time({}, 0))
    add("good", "walltime", fmt::format("{:.0f} s are left, says {}", end->unix_s - study::unix_now_s(), end->source));
  else
    add("note", "walltime", "nobody says when this job ends", "in a job: --walltime or REEL_END_TIME");
  std::ifstream scaling("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
  if (std::string governor; scaling >> governor) add(governor == "performance" ? "good" : "note", "frequency", governor + " governor", governor == "performance" ? "" : "timings vary; the bits do not");
  return all;
}

}  // namespace

void add_doctor(CLI::App& root) {
  auto dir = std::make_shared<std::string>(".");
  CLI::App* verb = root.add_subcommand("doctor", "does this place have what runs need?");
  verb->add_option("dir", *dir, "folder for results");
  verb->callback([dir] {
    const Comm world = start_ranks(0);
    const Comm node = world.split_node();
    std::vector<Finding> all;
    world.together([&] {
      if (world.rank() == 0) all = look(world, node, *dir);
    });
    if (world.rank() != 0) return;
    nlohmann::ordered_json list = nlohmann::ordered_json::array();
    for (const Finding& f : all) {
      list.push_back({{"state", f.state}, {"what", f.what}, {"says", f.says}, {"hint", f.hint}});
      if (!global().json) std::printf("%-5s %-14s %s\n%s", f.state, f.what.c_str(), f.says.c_str(), f.hint.empty() ? "" : fmt::format("      {:<14} try: {}\n", "", f.hint).c_str());
      if (f.state == std::string_view("BAD")) global().exit = static_cast<int>(Exit::resources);
    }
    if (global().json) std::printf("%s\n", list.dump(2).c_str());
  });
}

}  // namespace reel::app
