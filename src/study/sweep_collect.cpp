#include "study/sweep_collect.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "io/results.hpp"
#include "study/measurement.hpp"
#include "study/provenance.hpp"
#include "study/times.hpp"

namespace reel::study {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using std::int64_t;

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

// A number or a text in each row; rows without one are NaN or "".
class Columns {
 public:
  void put(const std::string& name, const std::string& unit, const std::string& long_name, json value) {
    Column& c = columns_[name];
    if (c.long_name.empty()) order_.push_back(name), c.unit = unit, c.long_name = long_name;
    c.values.resize(num_rows_);
    c.values.back() = std::move(value);
  }
  void next_row() { ++num_rows_; }
  /// Without the last row, whatever of it is there.
  void drop_row() {
    --num_rows_;
    for (auto& [name, column] : columns_)
      if (column.values.size() > num_rows_) column.values.resize(num_rows_);
  }

  void write(io::Record& record) {
    for (const std::string& name : order_) {
      Column& c = columns_[name];
      c.values.resize(num_rows_);
      const bool numbers = std::all_of(c.values.begin(), c.values.end(), [](const json& v) { return v.is_number() || v.is_null(); });
      const bool whole = std::all_of(c.values.begin(), c.values.end(), [](const json& v) { return v.is_number_integer(); });
      io::Data data;
      if (whole) {
        data = values<int64_t>(c, [](const json& v) { return v.get<int64_t>(); });
      } else if (numbers) {
        data = values<double>(c, [](const json& v) { return v.is_number() ? v.get<double>() : nan; });
      } else {
        data = values<std::string>(c, [](const json& v) { return v.is_string() ? v.get<std::string>() : v.is_null() ? "" : v.dump(); });
      }
      record.datasets.push_back({"/table/" + name, std::holds_alternative<std::vector<std::string>>(data) ? "" : c.unit, c.long_name,
                                 {static_cast<int64_t>(num_rows_)}, {"run"}, std::move(data), {}});
    }
  }

 private:
  struct Column {
    std::string unit, long_name;
    std::vector<json> values;
  };
  template <class T, class Get>
  static std::vector<T> values(const Column& c, Get get) {
    std::vector<T> out;
    for (const json& v : c.values) out.push_back(get(v));
    return out;
  }
  std::map<std::string, Column> columns_;
  std::vector<std::string> order_;
  std::size_t num_rows_ = 0;
};

// "sampler.steps" -> "sampler_steps": names of datasets are words.
std::string word(std::string name) {
  for (char& c : name)
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  return name;
}

json known(double value) { return std::isfinite(value) ? json(value) : json(); }

void add_times(const io::Record& r, const LayoutRun& run, Columns& columns) {
  const auto& names = r.values<std::string>("/measured/phase");
  const auto& walls = r.values<double>("/measured/phase_wall");
  const auto& comm = r.values<double>("/measured/comm_wall");
  const auto& flop = r.values<double>("/measured/flop");
  const auto& threads = r.values<double>("/measured/threads");
  const auto& memory = r.values<double>("/measured/mem_peak");
  const auto& peaks = r.values<double>("/measured/peak_rate");
  const std::optional<Spent> took = spent(r);
  if (!took || memory.empty()) throw Error(Exit::input, "times that make no sense");
  double peak = 0;
  for (const double p : peaks) peak += p;
  columns.put("layout", "", "ranks x threads, and the partition when it is not heads", run.layout);
  columns.put("ranks", "1", "MPI ranks", run.ranks);
  columns.put("threads", "1", "threads of a rank", threads[0]);
  columns.put("cores", "1", "cores at work: threads, but no more than a node has", run.cores);
  columns.put("wall", "s", "wall time of all phases of all sittings, slowest rank", took->wall_s);
  columns.put("core_hours", "h", "cores times hours of all sittings", took->core_h);
  columns.put("node_hours", "h", "nodes times hours of all sittings", took->node_h);
  columns.put("mem_peak", "byte", "largest resident memory of a rank", *std::max_element(memory.begin(), memory.end()));
  for (std::size_t p = 0; p < names.size(); ++p) {
    if (names[p] != "denoise" && names[p] != "decode") continue;
    double wall = 0, waiting = 0;
    for (std::size_t rank = 0; rank < threads.size(); ++rank) {
      wall = std::max(wall, walls[rank * names.size() + p]);
      waiting += comm[rank * names.size() + p] / static_cast<double>(threads.size());
    }
    columns.put(names[p] + "_wall", "s", "wall time of " + names[p] + " in the last sitting", wall);
    columns.put(names[p] + "_comm_share", "1", "share of it inside communication, mean over ranks", wall > 0 ? waiting / wall : 0);
    columns.put(names[p] + "_peak_share", "1", "share of the measured floating-point peak", known(wall > 0 && peak > 0 ? flop[p] / wall / peak : nan));
  }
  if (run.num_steps > 0) {
    columns.put("step_wall", "s", "wall time of a denoising step, median", run.step_s);
    columns.put("step_flop", "1", "floating-point operations of a denoising step, all ranks", run.step_flops);
    columns.put("imbalance", "1", "time of denoising outside communication: busiest rank over the mean", run.imbalance);
    columns.put("step_bytes", "byte", "bytes that all ranks send in a denoising step", run.step_bytes);
    columns.put("step_bytes_formula", "byte", "the same by formula", known(run.formula_bytes));
    columns.put("bytes_off", "byte", "denoising: largest difference of a rank's bytes from the formula", known(run.off_bytes));
    columns.put("save_share", "1", "share of checkpoints in the last sitting", run.save_share);
  }
  if (!std::isnan(took->energy_j)) columns.put("energy", "J", "energy of all nodes in all sittings, as measured", took->energy_j);
}

// The models of a sweep, opened once each; null when one is not there any more.
class Pipelines {
 public:
  const model::Pipeline* of(const Model& m) {
    const auto [at, is_new] = known_.try_emplace(m.path.string() + "|" + m.config);
    if (is_new) try {
        at->second = open_pipeline(m);
      } catch (const Error&) {
      }
    return at->second.get();
  }

 private:
  std::map<std::string, std::unique_ptr<model::Pipeline>> known_;
};

}  // namespace

Collected collect(const Manifest& manifest) {
  Collected found;
  std::vector<int64_t> all;
  for (const ManifestRun& run : manifest.runs()) all.push_back(run.index);
  found.count = count_runs(manifest, all);
  Columns columns;
  Pipelines pipelines;
  std::vector<LayoutRun> layouts;
  std::map<std::string, std::map<std::string, std::vector<std::string>>> digests;  // task -> digest -> runs
  for (const ManifestRun& run : manifest.runs()) {
    const fs::path path = manifest.dir() / (run.run + ".h5");
    if (standing_of(manifest.dir(), run.run).state != RunState::done) continue;
    columns.next_row();
    try {
      if (!io::verify(path).good()) throw Error(Exit::input, "its bytes have changed since it was written");
      const io::Record r = io::read_groups(path, {"/measured", "/provenance"});
      const Experiment e = manifest.experiment(run);
      const LayoutRun layout = layout_run(r, run.task, e, pipelines.of(e.model));
      columns.put("run", "", "result", run.run);
      columns.put("task", "", "task id: what determines the film", run.task);
      columns.put("index", "1", "place in the manifest", run.index);
      columns.put("repeat", "1", "repeat of the same run", run.repeat);
      const std::string digest = r.text("/", "result_digest");
      columns.put("digest", "", "SHA-256 over the result", digest);
      for (const std::string& text : run.overrides) {
        const auto at = text.find('=');
        columns.put(word(text.substr(0, at)), "1", text.substr(0, at), json::parse(text.substr(at + 1), nullptr, false));
      }
      add_times(r, layout, columns);
      const fs::path side = fs::path(path).replace_extension(".measure.h5");
      if (fs::exists(side))
        for (const auto& [id, mean] : metric_means(side)) columns.put(word(id), "1", id + ", mean over objects; unit as in the side file", known(mean));
      layouts.push_back(layout);
      digests[run.task][digest].push_back(run.run);
    } catch (const Error& e) {
      columns.drop_row();
      found.damaged.push_back(fmt::format("{}: {}", path.string(), e.what()));
    }
  }
  if (digests.empty()) throw Error(Exit::input, "nothing is done yet", manifest.dir().string(), "run the sweep first");
  for (const auto& [task, by_digest] : digests) {
    std::size_t most = 0;
    for (const auto& [digest, runs] : by_digest) most = std::max(most, runs.size());
    std::vector<std::string> expected;  // several when no digest has the majority: then every run is odd
    for (const auto& [digest, runs] : by_digest)
      if (runs.size() == most) expected.push_back(digest);
    for (const auto& [digest, runs] : by_digest)
      if (expected.size() > 1 || digest != expected[0])
        for (const std::string& run : runs) found.odd.push_back({task, run, digest, digest != expected[0] ? expected[0] : expected[1]});
  }
  found.num_tasks = static_cast<int64_t>(digests.size());
  std::set<std::string> names;
  for (const LayoutRun& layout : layouts) names.insert(layout.layout);
  found.num_layouts = static_cast<int64_t>(names.size());
  if (!found.odd.empty()) return found;
  found.scaling = scaling_rows(layouts);
  io::Record record;
  columns.write(record);
  io::Attributes& root = record.groups["/"];
  root["title"] = std::string("sweep");
  root["kind"] = std::string("sweep");
  root["source"] = program_name();
  root["date_created"] = iso_date();
  root["manifest_sha256"] = file_sha256(manifest.dir() / Manifest::file_name);
  found.file = manifest.dir() / "sweep.h5";
  io::write_record(found.file, record);
  return found;
}

}  // namespace reel::study
