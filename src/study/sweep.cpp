#include "study/sweep.hpp"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "core/parallel.hpp"
#include "study/provenance.hpp"

namespace reel::study {
namespace {

namespace fs = std::filesystem;
using std::int64_t;

bool to_do(RunState state) { return state == RunState::missing || state == RunState::stopped; }

// How the ranks share the runs of one layout.
struct Groups {
  int ranks = 1;    // of a run
  int groups = 1;   // at work; ranks beyond them wait
  int threads = 1;  // of a rank
};

Groups groups_for(const Run& layout, const Comm& world) {
  const Comm node = world.split_node();
  int64_t cores = 0;
  for (const int64_t n : world.all_gather(node.rank() == 0 ? num_cores() : 0)) cores += n;
  Groups g;
  g.ranks = static_cast<int>(std::max<int64_t>(1, layout.num_ranks));
  const int most = std::max(1, world.size() / g.ranks);
  const auto wanted = static_cast<int>(layout.num_threads);
  g.groups = wanted == 0 ? most : std::clamp(static_cast<int>(cores / (int64_t{g.ranks} * wanted)), 1, most);
  g.threads = wanted > 0 ? wanted : std::max(1, static_cast<int>(cores / (int64_t{g.ranks} * g.groups)));
  return g;
}

// The next run that this group may work on; -1: none. `next` moves on. Decided by the first rank.
int64_t claim_next(const Manifest& manifest, const std::vector<int64_t>& indexes, std::size_t& next, std::unique_ptr<Claim>& claim) {
  for (; next < indexes.size(); ++next) {
    const ManifestRun& run = manifest.at(indexes[next]);
    if (!to_do(standing_of(manifest.dir(), run.run).state)) continue;
    claim = Claim::take(manifest.dir(), run.run);
    if (claim == nullptr) continue;
    if (to_do(standing_of(manifest.dir(), run.run).state) || standing_of(manifest.dir(), run.run).state == RunState::running) return indexes[next++];
    claim.reset();  // done by another in the meantime
  }
  return -1;
}

RunSummary run_claimed(const Manifest& manifest, const ManifestRun& run, const Comm& world, const std::string& command_line,
                       Recorder::Listener listener, const Sittings& sittings) {
  Sittings mine = sittings;
  mine.run_id = run.run;
  mine.checkpoint = run.run + ".checkpoint";
  mine.repeat = run.repeat;
  mine.keep_finished = true;
  mine.keep_text = true;
  if (mine.stopping.stop_file.empty()) mine.stopping.stop_file = manifest.dir() / "STOP";
  return run_experiment(manifest.experiment(run), world, command_line, std::move(listener), mine);
}

}  // namespace

SweepCount count_runs(const Manifest& manifest, const std::vector<int64_t>& indexes) {
  SweepCount c;
  for (const int64_t index : indexes) {
    const ManifestRun& run = manifest.at(index);
    const RunStanding standing = standing_of(manifest.dir(), run.run);
    ++c.total;
    switch (standing.state) {
      case RunState::done: ++c.done; break;
      case RunState::running: ++c.running; break;
      case RunState::stopped: ++c.stopped; break;
      case RunState::missing: ++c.missing; break;
      case RunState::failed:
        if (c.failed++ == 0) c.first_exit = std::atoi(standing.note.c_str() + std::min<std::size_t>(5, standing.note.size()));  // "exit 3: ..."
        break;
    }
  }
  return c;
}

void run_sweep(const Manifest& manifest, const std::vector<int64_t>& indexes, const Comm& world, const std::string& command_line,
               const Sittings& sittings, const std::function<void(const SweepNews&)>& news) {
  std::map<std::pair<int64_t, int64_t>, std::vector<int64_t>> layouts;  // (ranks, threads) -> runs
  world.together([&] {
    for (const int64_t index : indexes) {
      const Run layout = manifest.experiment(manifest.at(index)).run;
      layouts[{std::max<int64_t>(1, layout.num_ranks), layout.num_threads}].push_back(index);
    }
  });
  for (const auto& entry : layouts) {
    const auto& layout = entry.first;
    const std::vector<int64_t>& runs = entry.second;
    if (layout.first > world.size()) continue;
    const Groups g = groups_for({.num_ranks = layout.first, .num_threads = layout.second}, world);
    const int mine = std::min(world.rank() / g.ranks, g.groups);  // g.groups: waits
    const Comm group = world.split(mine);
    set_num_threads(g.threads);
    std::size_t next = 0;
    bool stopped = false;
    while (mine < g.groups && !stopped) {
      int64_t index = -1;
      std::unique_ptr<Claim> claim;
      group.together([&] {
        if (group.rank() == 0) index = claim_next(manifest, runs, next, claim);
      });
      group.broadcast(&index, sizeof index, 0);
      if (index < 0) break;
      const ManifestRun& run = manifest.at(index);
      try {
        const RunSummary summary = run_claimed(manifest, run, group, command_line, {}, sittings);
        if (group.rank() == 0) news({run, &summary, nullptr});
      } catch (const Error& e) {  // the same on every rank of the group
        stopped = e.exit() == Exit::stopped;
        if (e.exit() == Exit::bug) throw;
        group.together([&] {
          if (group.rank() != 0) return;
          if (!stopped) note_failure(manifest.dir(), run.run, e);
          news({run, nullptr, &e});
        });
      }
    }
    world.patient_barrier();  // ranks without a run would take turns with those that have one
    if (world.max(stopped ? 1 : 0) != 0)
      throw Error(Exit::stopped, "the sweep was asked to stop", manifest.dir().string(), "run the same command again: it goes on from here");
  }
}

RunSummary run_one(const Manifest& manifest, int64_t index, const Comm& world, const std::string& command_line,
                   Recorder::Listener listener, const Sittings& sittings) {
  const ManifestRun& run = manifest.at(index);
  std::unique_ptr<Claim> claim;
  world.together([&] {
    if (world.rank() != 0 || standing_of(manifest.dir(), run.run).state == RunState::done) return;
    forget_failure(manifest.dir(), run.run);
    claim = Claim::take(manifest.dir(), run.run);
    if (claim == nullptr)
      throw Error(Exit::stopped, "somebody else works on this run", standing_of(manifest.dir(), run.run).note, "run the same command again later");
  });
  try {
    return run_claimed(manifest, run, world, command_line, std::move(listener), sittings);
  } catch (const Error& e) {
    world.together([&] {
      if (world.rank() == 0 && e.exit() != Exit::stopped) note_failure(manifest.dir(), run.run, e);
    });
    throw;
  }
}

}  // namespace reel::study
