// reel: the program. Results go to stdout, messages to stderr, from rank 0 only.
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <new>
#include <thread>

#include "app/verbs.hpp"
#include "core/digest.hpp"
#include "core/leftovers.hpp"
#include "core/parallel.hpp"
#include "core/stop.hpp"
#include "io/atomic_file.hpp"
#include "kernels/kernels.hpp"
#include "study/diagnostic.hpp"
#include "study/provenance.hpp"

namespace reel::app {
namespace {

void print_error(const Error& e, const std::string& rank) {
  if (const auto* findings = dynamic_cast<const study::DiagnosticError*>(&e)) {
    std::fputs(findings->rendered().c_str(), stderr);  // all that is wrong in a file, each with its line
    return;
  }
  const bool colour = isatty(STDERR_FILENO) && !std::getenv("NO_COLOR"), stopped = e.exit() == Exit::stopped;
  std::string text = fmt::format("{}{}{}: {}{} (exit {})\n", colour ? stopped ? "\033[1;33m" : "\033[1;31m" : "",
                                 stopped ? "stopped" : "error", colour ? "\033[0m" : "", rank, study::plain(e.what()),
                                 static_cast<int>(e.exit()));
  if (!e.where().empty()) text += fmt::format("  --> {}\n", study::plain(e.where()));
  if (!e.hint().empty()) text += fmt::format("  try: {}\n", study::plain(e.hint()));
  std::fputs(text.c_str(), stderr);
}

// Launchers kill all ranks when the first one leaves with an error: the others wait until rank 0 has said why.
void let_rank_0_speak() {
  if (!Comm::started() && launch_rank() != 0) std::this_thread::sleep_for(std::chrono::milliseconds(700));
}

// CLI11 only says that a verb is required; name the one that was probably meant.
int usage_error(const CLI::App& root, const CLI::ParseError& e, int argc, char** argv) {
  if (e.get_exit_code() == 0) {  // --help, --version
    if (launch_rank() == 0) root.exit(e);
    return 0;
  }
  if (launch_rank() == 0) {
    std::vector<std::string> verbs;
    for (const CLI::App* verb : root.get_subcommands({})) verbs.push_back(verb->get_name());
    const std::string first = argc > 1 ? argv[1] : "";
    const bool unknown = !first.empty() && first[0] != '-' && std::find(verbs.begin(), verbs.end(), first) == verbs.end();
    const std::string near = unknown ? nearest(first, verbs) : "";
    print_error(Error(Exit::usage, unknown ? fmt::format("unknown verb '{}'", first) : e.what(), "",
                      !near.empty()                     ? fmt::format("reel {}", near)
                      : unknown || first.empty() || first[0] == '-' ? "reel --help"
                                                        : fmt::format("reel {} --help", first)),
                "");
  }
  let_rank_0_speak();
  return static_cast<int>(Exit::usage);
}

// Every rank ends here. When all of them failed alike, rank 0 speaks and all leave in order with that code; a rank that
// fails alone speaks for itself and takes the others down.
int fail(const Error& e) {
  const int code = static_cast<int>(e.exit());
  // Singletons all are rank 0 of their own worlds: only the launcher tells them apart.
  const bool together = Comm::started() && Comm::world().size() > 1;
  const int rank = together ? Comm::world().rank() : launch_rank();
  // Should several fail, but not all, then the lowest speaks first and takes the others down.
  if (together && !Comm::all_arrive(/*seconds=*/10 + 0.25 * std::min(rank, 20))) {
    print_error(e, fmt::format("rank {}: ", rank));
    Comm::abort(code);
  }
  if (rank == 0) print_error(e, "");
  let_rank_0_speak();
  return code;
}

// What was printed may wait in a buffer until now, and the disk may be full.
void flush_results() {
  errno = 0;
  if (std::fflush(stdout) != 0 || std::ferror(stdout)) io::throw_write_error("standard output", errno ? errno : EIO);
}

// The first wish to stop is granted between two steps, when somebody listens. Otherwise, killed in the middle of a write:
// no half-written file stays, then the signal does what it does.
void end_by_signal(int signal) {
  if (stop_is_heard != 0 && stop_signal == 0) {
    stop_signal = signal;
    constexpr char text[] = "\nstopping after this step; once more ends at once\n";
    if (launch_rank() == 0) [[maybe_unused]] const auto written = ::write(STDERR_FILENO, text, sizeof text - 1);
    return;
  }
  remove_leftovers();
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

void set_signals() {
  std::signal(SIGXFSZ, SIG_IGN);  // a write past the limit then fails like any other
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGUSR1})
    if (std::signal(signal, end_by_signal) == SIG_IGN) std::signal(signal, SIG_IGN);  // nohup
}

}  // namespace

Global& global() {
  static Global g;
  return g;
}

void tell(const std::string& line) {
  if (!global().quiet) std::fprintf(stderr, "%s\n", line.c_str());
}

int launch_rank() {
  static const int rank = [] {  // once: MPI sets some of these itself
    for (const char* name : {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID"})
      if (const char* text = std::getenv(name)) return std::atoi(text);
    return 0;
  }();
  return rank;
}

Comm start_ranks(int num_threads) {
  const Comm world = Comm::world();
  std::string program;
  world.together([&] {
    const char* isa = std::getenv("REEL_ISA");
    const kernels::Table* table = kernels::choose(isa ? isa : "");
    if (!table) {
      std::string known;
      for (const kernels::Table* t : kernels::available()) known += (known.empty() ? "" : ", ") + std::string(t->name);
      throw Error(Exit::usage, fmt::format("'{}' is no instruction set this CPU can run", isa ? isa : ""), "REEL_ISA", "available here: " + known);
    }
    kernels::use(*table);
    program = study::program_digest();
  });
  const std::vector<std::string> programs = world.all_gather(program);
  for (std::size_t r = 1; r < programs.size(); ++r)
    if (programs[r] != programs[0])
      throw Error(Exit::launch, fmt::format("rank {} runs another reel program than rank 0", r), "launch",
                  "start the same build on every node");
  // Cores that all ranks of the node may use are shared out; a launcher that binds has done so already.
  const Comm node = world.split_node();
  const std::vector<std::string> cores = node.all_gather(study::allowed_cores());
  const bool shared = std::all_of(cores.begin(), cores.end(), [&](const std::string& mine) { return mine == cores[0]; });
  set_num_threads(num_threads > 0 ? num_threads : std::max(1, shared ? num_cores() / node.size() : num_cores()));
  return world;
}

}  // namespace reel::app

int main(int argc, char** argv) {
  using namespace reel;
  using namespace reel::app;
  CLI::App root{"Renders shots with a video diffusion transformer on CPU clusters: same experiment, same bits.", "reel"};
  root.require_subcommand(1);
  root.fallthrough();
  root.set_version_flag("--version", [] { return study::version_text(); });
  root.add_flag("-q,--quiet", global().quiet, "no progress");
  root.add_flag("--json", global().json, "results as JSON on stdout");
  add_run(root);
  add_sweep(root);
  add_plan(root);
  add_forward(root);
  add_world(root);
  add_info(root);
  add_measure(root);
  add_cost(root);
  add_compare(root);
  add_doctor(root);
  add_report(root);
  add_verify(root);
  for (int i = 0; i < argc; ++i) global().command_line += (i ? " " : "") + std::string(argv[i]);
  global().words.assign(argv, argv + argc);
  set_signals();
  launch_rank();
  int code = 0;
  try {
    root.parse(argc, argv);
    flush_results();
    code = global().exit;
  } catch (const CLI::ParseError& e) {
    code = usage_error(root, e, argc, argv);  // CLI11's own codes are 100 and up; ours are documented in README
  } catch (const Error& e) {
    code = fail(e);
  } catch (const std::bad_alloc&) {
    code = fail(Error(Exit::resources, "out of memory", "memory", "use more nodes or fewer ranks per node"));
  } catch (const std::exception& e) {
    code = fail(Error(Exit::bug, e.what(), "", "this is a bug in Reel: please report it with the experiment file"));
  }
  Comm::finish();
  return code;
}
