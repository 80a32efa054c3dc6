// Gathers the results of a sweep into one table.
#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "io/results.hpp"
#include "study/measurement.hpp"
#include "study/provenance.hpp"
#include "study/sweep.hpp"

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
    if (c.values.empty()) order_.push_back(name), c.unit = unit, c.long_name = long_name;
    c.values.resize(num_rows_);
    c.values.back() = std::move(value);
  }
  void next_row() { ++num_rows_; }

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

void add_times(const io::Record& r, Columns& columns) {
  const auto& names = r.values<std::string>("/measured/phase");
  const auto& walls = r.values<double>("/measured/phase_wall");
  const auto& comm = r.values<double>("/measured/comm_wall");
  const auto& flop = r.values<double>("/measured/flop");
  const auto& threads = r.values<double>("/measured/threads");
  const auto& memory = r.values<double>("/measured/mem_peak");
  const auto& peaks = r.values<double>("/measured/peak_rate");
  if (threads.empty() || walls.size() != threads.size() * names.size() || comm.size() != walls.size() || flop.size() != names.size())
    throw Error(Exit::input, "times of different length");
  double longest = 0, cores = 0, peak = 0;
  for (std::size_t rank = 0; rank < threads.size(); ++rank) {
    double wall = 0;
    for (std::size_t p = 0; p < names.size(); ++p) wall += walls[rank * names.size() + p];
    longest = std::max(longest, wall);
    cores += threads[rank];
  }
  for (const double p : peaks) peak += p;
  columns.put("ranks", "1", "MPI ranks", static_cast<int64_t>(threads.size()));
  columns.put("threads", "1", "threads of a rank", threads[0]);
  columns.put("wall", "s", "wall time of all phases of the last sitting, slowest rank", longest);
  columns.put("core_hours", "h", "cores times hours", longest * cores / 3600);
  columns.put("mem_peak", "byte", "largest resident memory of a rank", *std::max_element(memory.begin(), memory.end()));
  for (std::size_t p = 0; p < names.size(); ++p) {
    if (names[p] != "denoise" && names[p] != "decode") continue;
    double wall = 0, waiting = 0;
    for (std::size_t rank = 0; rank < threads.size(); ++rank) {
      wall = std::max(wall, walls[rank * names.size() + p]);
      waiting += comm[rank * names.size() + p] / static_cast<double>(threads.size());
    }
    columns.put(names[p] + "_wall", "s", "wall time of " + names[p], wall);
    columns.put(names[p] + "_comm_share", "1", "share of it inside communication, mean over ranks", wall > 0 ? waiting / wall : 0);
    columns.put(names[p] + "_peak_share", "1", "share of the measured floating-point peak", wall > 0 && peak > 0 ? flop[p] / wall / peak : nan);
  }
  if (r.find("/measured/energy") != nullptr) {
    double joules = 0;
    for (const double j : r.values<double>("/measured/energy")) joules += j;
    columns.put("energy", "J", "energy of all nodes, as measured", joules);
  }
}

}  // namespace

Collected collect(const Manifest& manifest) {
  Collected found;
  std::vector<int64_t> all;
  for (const ManifestRun& run : manifest.runs()) all.push_back(run.index);
  found.count = count_runs(manifest, all);
  Columns columns;
  std::map<std::string, std::map<std::string, std::vector<std::string>>> digests;  // task -> digest -> runs
  for (const ManifestRun& run : manifest.runs()) {
    const fs::path path = manifest.dir() / (run.run + ".h5");
    if (standing_of(manifest.dir(), run.run).state != RunState::done) continue;
    try {
      if (!io::verify(path).good()) throw Error(Exit::input, "its bytes have changed since it was written");
      const io::Record r = io::read_groups(path, {"/measured", "/provenance"});
      columns.next_row();
      columns.put("run", "", "result", run.run);
      columns.put("task", "", "task id: what determines the film", run.task);
      columns.put("index", "1", "place in the manifest", run.index);
      columns.put("repeat", "1", "repeat of the same run", run.repeat);
      const std::string digest = r.text("/", "result_digest");
      columns.put("digest", "", "SHA-256 over the result", digest);
      digests[run.task][digest].push_back(run.run);
      for (const std::string& text : run.overrides) {
        const auto at = text.find('=');
        columns.put(word(text.substr(0, at)), "1", text.substr(0, at), json::parse(text.substr(at + 1), nullptr, false));
      }
      add_times(r, columns);
      const fs::path side = fs::path(path).replace_extension(".measure.h5");
      if (fs::exists(side))
        for (const auto& [id, mean] : metric_means(side)) columns.put(word(id), "1", id + ", mean over objects; unit as in the side file", std::isfinite(mean) ? json(mean) : json());
    } catch (const Error& e) {
      found.damaged.push_back(fmt::format("{}: {}", path.string(), e.what()));
    }
  }
  if (digests.empty()) throw Error(Exit::input, "nothing is done yet", manifest.dir().string(), "run the sweep first");
  for (const auto& [task, by_digest] : digests) {
    if (by_digest.size() == 1) continue;
    const auto most = std::max_element(by_digest.begin(), by_digest.end(), [](const auto& a, const auto& b) { return a.second.size() < b.second.size(); });
    for (const auto& [digest, runs] : by_digest)
      if (digest != most->first)
        for (const std::string& run : runs) found.odd.push_back({task, run, digest, most->first});
  }
  if (!found.odd.empty()) return found;
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
