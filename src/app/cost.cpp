// reel cost: what a usable shot costs, against every other way to get it. Never renders.
#include <algorithm>
#include <cstdio>

#include "app/verbs.hpp"
#include "core/parallel.hpp"
#include "io/atomic_file.hpp"
#include "study/pricing.hpp"

namespace reel::app {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::vector<std::string> files, cards, without;
  std::string shot, region, currency, date, top_sheet, out;
  int year = 0, threads = 0;
  std::int64_t draws = 0;
};

/// Results of `experiment` among those in its output folder: same experiment but for the seed. Damaged files are named and left out.
std::vector<fs::path> results_of(const study::Experiment& experiment, std::int64_t num_takes) {
  std::vector<fs::path> found;
  std::error_code ec;
  for (const auto& entry : fs::directory_iterator(experiment.output.dir, ec)) {
    const std::string name = entry.path().filename().string();
    if (!name.ends_with(".h5") || name.find(".measure.") != std::string::npos || name.find(".cost.") != std::string::npos || name.find(".benchmark.") != std::string::npos) continue;
    try {
      if (study::is_take_of(entry.path(), experiment, num_takes)) found.push_back(entry.path());
    } catch (const Error& e) {  // whose file it was cannot be told: the others are priced
      std::fprintf(stderr, "left out: %s: %s\n", entry.path().c_str(), e.what());
    }
  }
  std::sort(found.begin(), found.end());
  return found;
}

void price(const Options& o) {
  if (launch_rank() != 0) return;
  set_num_threads(o.threads > 0 ? o.threads : num_cores());
  study::PriceTask task;
  std::vector<fs::path> results;
  for (const std::string& file : o.files) {
    if (file.ends_with(".toml")) {
      if (o.files.size() > 1) throw Error(Exit::usage, "an experiment file stands alone", file, "give one experiment, or its results");
      const study::Experiment experiment = study::load_experiment(file);
      task = study::price_task(experiment);
      results = results_of(experiment, task.num_takes);
    } else {
      results.emplace_back(file);
    }
  }
  if (task.shot.empty() && !results.empty()) task = study::price_task(study::experiment_of(results.front()));
  if (!o.shot.empty()) task.shot = o.shot.ends_with(".toml") ? fs::absolute(o.shot).string() : o.shot;  // from here, not from the experiment
  if (task.shot.empty())
    throw Error(Exit::usage, "which shot is priced?", "reel cost", "give --shot NAME, or a [cost] table in the experiment");
  for (const std::string& card : o.cards) task.cards.emplace_back(fs::absolute(card));
  task.options.without.insert(task.options.without.end(), o.without.begin(), o.without.end());
  if (!o.region.empty()) task.options.region = o.region;
  if (!o.currency.empty()) task.options.currency = o.currency;
  if (!o.date.empty()) task.options.date = o.date;
  if (o.year != 0) task.options.year = o.year;
  if (o.draws != 0) task.num_draws = o.draws;
  const study::Priced priced = study::price(task, results);
  if (!o.top_sheet.empty()) io::write_text(o.top_sheet, study::top_sheet_csv(priced));
  print_priced(priced, results.empty() ? fs::path() : results.front(), o.out);
}

}  // namespace

void print_priced(const study::Priced& priced, const fs::path& first_result, fs::path side) {
  if (side.empty() && !first_result.empty()) side = fs::path(first_result).replace_extension(".cost.h5");
  if (!side.empty()) io::write_record(side, study::priced_record(priced));
  if (global().json)
    std::printf("%s\n", study::priced_json(priced).c_str());
  else
    std::printf("%s%s", study::priced_text(priced).c_str(), side.empty() ? "" : fmt::format("\npriced      {}\n", side.string()).c_str());
}

void add_cost(CLI::App& root) {
  auto o = std::make_shared<Options>();
  CLI::App* verb = root.add_subcommand("cost", "what a usable shot costs, against a real shoot and other ways to get it");
  verb->add_option("files", o->files, "results of one shot's takes (.h5), or its experiment (.toml), or nothing with --shot");
  verb->add_option("--shot", o->shot, "a shot in datasets/shots, or a path to one (.toml)");
  verb->add_option("--cards", o->cards, "rate cards (files or folders) beside those that come with Reel");
  verb->add_option("--without", o->without, "alternatives that cannot be had")->delimiter(',');
  verb->add_option("--region", o->region, "where it would be shot: rows of that region first (\"PT\", \"US-CA\")");
  verb->add_option("--currency", o->currency, "currency of all money");
  verb->add_option("--year", o->year, "price year of all money")->check(CLI::Range(1990, 2100));
  verb->add_option("--date", o->date, "prices of this day, YYYY-MM-DD");
  verb->add_option("--draws", o->draws, "draws of the Monte Carlo")->check(CLI::Range(1024, 10'000'000));
  verb->add_option("--topsheet", o->top_sheet, "budget of every alternative, line by line (*.csv)");
  verb->add_option("-o,--out", o->out, "side file (*.h5)");
  verb->add_option("--threads", o->threads, "threads")->check(CLI::Range(1, 4096));
  verb->callback([o] { price(*o); });
}

}  // namespace reel::app
