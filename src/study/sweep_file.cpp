#include "study/sweep_file.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/digest.hpp"
#include "study/deep_key.hpp"
#include "study/experiment_tables.hpp"

namespace reel::study {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using std::int64_t;

constexpr std::size_t most_runs = 1'000'000;

// {"a": {"b": [1]}} -> {"a.b": [1]}: keys may be written with or without quotes.
void flatten(const json& table, const std::string& before, std::map<std::string, json>& out) {
  for (const auto& [key, value] : table.items()) {
    const std::string name = before.empty() ? key : before + "." + key;
    if (value.is_object())
      flatten(value, name, out);
    else
      out[name] = value;
  }
}

// Lists of values by key, as a table gives them; findings go to `table`.
std::map<std::string, json> lists(TableReader& reader, const std::string& what, const json& table) {
  std::map<std::string, json> found;
  flatten(table, "", found);
  for (const auto& [key, values] : found)
    if (!values.is_array() || values.empty()) reader.error(what, fmt::format("'{}' needs a list of values", key), "write for example [10, 20, 50]");
  return found;
}

// One comparison: key, operator, value.
struct Condition {
  std::string key, op;
  json value;
};

// "a.b == 1 and c.d != 'x'"; nothing when it cannot be read.
std::optional<std::vector<Condition>> parse_where(const std::string& text) {
  std::vector<Condition> all;
  std::size_t begin = 0;
  while (begin <= text.size()) {
    const std::size_t end = std::min(text.find(" and ", begin), text.size());
    std::string part = text.substr(begin, end - begin);
    const std::size_t at = part.find_first_of("=!<>");
    if (at == std::string::npos) return {};
    const std::size_t length = at + 1 < part.size() && part[at + 1] == '=' ? 2 : 1;
    const auto trimmed = [](const std::string& s) {
      const auto from = s.find_first_not_of(' ');
      return from == std::string::npos ? std::string() : s.substr(from, s.find_last_not_of(' ') - from + 1);
    };
    Condition c{trimmed(part.substr(0, at)), part.substr(at, length), {}};
    std::string value = trimmed(part.substr(at + length));
    if (value.size() >= 2 && value.front() == '\'' && value.back() == '\'') value = json(value.substr(1, value.size() - 2)).dump();
    c.value = json::parse(value, nullptr, false);
    if (c.key.empty() || c.value.is_discarded() || !c.value.is_primitive() || c.op == "=" || c.op == "!") return {};
    all.push_back(std::move(c));
    begin = end + 5;
  }
  return all;
}

bool holds(const Condition& c, const json& is) {
  if (c.op == "==") return is == c.value;
  if (c.op == "!=") return is != c.value;
  if (!is.is_number() || !c.value.is_number()) return false;
  const double a = is, b = c.value;
  return c.op == "<" ? a < b : c.op == "<=" ? a <= b : c.op == ">" ? a > b : a >= b;
}

using Point = std::map<std::string, json>;

// Every point with every value of `key`.
std::vector<Point> times(const std::vector<Point>& points, const std::vector<Point>& choices) {
  if (points.size() * choices.size() > most_runs)
    throw Error(Exit::usage, fmt::format("more than {} runs", most_runs), "sweep", "split the sweep");
  std::vector<Point> all;
  for (const Point& p : points)
    for (const Point& c : choices) {
      all.push_back(p);
      for (const auto& [key, value] : c) all.back()[key] = value;
    }
  return all;
}

}  // namespace

std::uint64_t derived_seed(std::uint64_t base, int64_t i) {
  if (i == 0) return base;
  return std::stoull(sha256_hex(fmt::format("{} seed {}", base, i)).substr(0, 16), nullptr, 16) >> 1;
}

bool is_sweep(std::string_view text) {
  try {
    return line_of_deep_key(text) == 0 && toml::parse(text).contains("sweep");
  } catch (const toml::parse_error&) {
    return false;  // whoever reads it next says what is wrong
  }
}

SweepFile load_sweep(const fs::path& file) {
  SweepFile sweep;
  sweep.file = file;
  sweep.text = read_experiment_text(file);
  TomlDocument document(sweep.text, file.string());
  TableReader root = document.root();
  sweep.title = read_title(root);
  root.require("base", "the experiment that is varied");
  sweep.base_file = resolved_path(file, root.text("base"));
  TableReader table = root.table("sweep");
  const json matrix = json::parse(table.kept_table("matrix"));
  std::vector<std::vector<Point>> axes;
  for (const auto& [key, values] : lists(table, "matrix", matrix)) {
    axes.emplace_back();
    for (const json& value : values) axes.back().push_back({{key, value}});
    sweep.keys.push_back(key);
  }
  const json zips = json::parse(table.kept_list("zip"));
  for (const json& zip : zips) {
    const std::map<std::string, json> found = lists(table, "zip", zip);
    std::vector<Point> together;
    for (const auto& [key, values] : found) {
      if (values.size() != found.begin()->second.size())
        table.error("zip", fmt::format("'{}' has {} values, '{}' has {}", key, values.size(), found.begin()->first, found.begin()->second.size()),
                    "lists of one zip have one length");
      together.resize(std::max(together.size(), values.size()));
      for (std::size_t i = 0; i < values.size(); ++i) together[i][key] = values[i];
      sweep.keys.push_back(key);
    }
    axes.push_back(std::move(together));
  }
  std::vector<std::vector<Condition>> excluded;
  for (TableReader& exclude : table.tables("exclude")) {
    exclude.require("where", "for example \"model.profile == 'bf16' and run.ranks == 1\"");
    const auto where = parse_where(exclude.text("where"));
    if (where)
      excluded.push_back(*where);
    else
      exclude.error("where", "cannot be read", "write \"table.key == value and ...\" with == != < <= > >=");
  }
  const std::vector<int64_t> seeds = table.is_list("seeds") ? table.integers("seeds", 0, 0, std::numeric_limits<int64_t>::max()) : std::vector<int64_t>{};
  const int64_t num_seeds = seeds.empty() ? table.integer("seeds", 0, 1, 1'000'000) : 0;
  const int64_t num_repeats = table.integer("repeat", 1, 1, 10'000);
  TableReader output = root.table("output");
  const std::string dir = output.text("dir");
  TableReader slurm = root.table("slurm");
  sweep.slurm.machine = slurm.text("machine", "this_machine");
  sweep.slurm.array = slurm.integer("array", 0, 1, 1'000'000);
  sweep.slurm.running = slurm.integer("running", 0, 0, 1'000'000);
  sweep.slurm.walltime = slurm.text("walltime");
  document.finish();

  sweep.base_text = read_experiment_text(sweep.base_file);
  const Experiment base = parse_experiment(sweep.base_text, sweep.base_file);
  sweep.dir = dir.empty() ? base.output.dir / file.stem() : resolved_path(file, dir);
  if (num_seeds > 0 || !seeds.empty()) {
    axes.emplace_back();
    sweep.keys.push_back("shot.seed");
    for (int64_t i = 0; i < num_seeds; ++i) axes.back().push_back({{"shot.seed", derived_seed(base.shot.seed, i)}});
    for (const int64_t seed : seeds) axes.back().push_back({{"shot.seed", seed}});
  }
  std::vector<std::string> sorted = sweep.keys;
  std::sort(sorted.begin(), sorted.end());
  if (const auto twin = std::adjacent_find(sorted.begin(), sorted.end()); twin != sorted.end())
    throw Error(Exit::usage, fmt::format("'{}' is varied twice", *twin), file.string(), "name each key once in matrix, zip and seeds");
  std::vector<Point> points{{}};
  for (const std::vector<Point>& axis : axes) points = times(points, axis);
  if (points.size() * static_cast<std::size_t>(num_repeats) > most_runs)
    throw Error(Exit::usage, fmt::format("more than {} runs", most_runs), file.string(), "split the sweep");
  for (const Point& point : points) {
    SweepPoint p;
    for (const std::string& key : sweep.keys) p.overrides.push_back(key + "=" + point.at(key).dump());
    json resolved;
    if (!excluded.empty()) resolved = json::parse(resolved_json(experiment_of(sweep, p)));
    const bool out = std::any_of(excluded.begin(), excluded.end(), [&](const std::vector<Condition>& where) {
      return std::all_of(where.begin(), where.end(), [&](const Condition& c) {
        std::string pointer = "/" + c.key;
        std::replace(pointer.begin(), pointer.end(), '.', '/');
        const json::json_pointer at(pointer);
        if (!resolved.contains(at)) throw Error(Exit::usage, fmt::format("'{}' is no key of an experiment", c.key), file.string(), "name keys as in the experiment file");
        return holds(c, resolved.at(at));
      });
    });
    if (out) {
      ++sweep.num_excluded;
      continue;
    }
    for (p.repeat = 0; p.repeat < num_repeats; ++p.repeat) sweep.points.push_back(p);
  }
  if (sweep.points.empty()) throw Error(Exit::usage, "no run is left", file.string(), "exclude less");
  return sweep;
}

Experiment experiment_of(const SweepFile& sweep, const SweepPoint& point) {
  Experiment e = parse_experiment(sweep.base_text, sweep.base_file, point.overrides);
  e.output.dir = sweep.dir;
  return e;
}

}  // namespace reel::study
