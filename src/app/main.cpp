// reel: the program. Results go to stdout, messages to stderr, from rank 0 only.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <new>

#include "app/verbs.hpp"
#include "core/digest.hpp"
#include "core/parallel.hpp"
#include "io/atomic_file.hpp"
#include "kernels/kernels.hpp"
#include "study/provenance.hpp"

namespace reel::app {
namespace {

void print_error(const Error& e, const std::string& rank) {
  const bool colour = isatty(STDERR_FILENO) && !std::getenv("NO_COLOR");
  std::string text = fmt::format("{}error{}: {}{} (exit {})\n", colour ? "\033[1;31m" : "", colour ? "\033[0m" : "", rank,
                                 e.what(), static_cast<int>(e.exit()));
  if (!e.where().empty()) text += fmt::format("  --> {}\n", e.where());
  if (!e.hint().empty()) text += fmt::format("  try: {}\n", e.hint());
  std::fputs(text.c_str(), stderr);
}

// Every rank ends here. When all of them failed alike, rank 0 speaks and all leave in order with that code; a rank that
// fails alone speaks for itself and takes the others down.
int fail(const Error& e) {
  const int code = static_cast<int>(e.exit());
  if (Comm::started() && !Comm::all_arrive(/*seconds=*/10)) {
    print_error(e, fmt::format("rank {}: ", Comm::world().rank()));
    Comm::abort(code);
  }
  if ((Comm::started() ? Comm::world().rank() : launch_rank()) == 0) print_error(e, "");
  return code;
}

}  // namespace

Global& global() {
  static Global g;
  return g;
}

int launch_rank() {
  for (const char* name : {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID"})
    if (const char* text = std::getenv(name)) return std::atoi(text);
  return 0;
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
      throw Error(Exit::usage, fmt::format("'{}' is no instruction set this CPU can run", isa), "REEL_ISA", "available here: " + known);
    }
    kernels::use(*table);
    program = study::program_digest();
  });
  const std::vector<std::string> programs = world.all_gather(program);
  for (std::size_t r = 1; r < programs.size(); ++r)
    if (programs[r] != programs[0])
      throw Error(Exit::launch, fmt::format("rank {} runs another reel program than rank 0", r), "launch",
                  "start the same build on every node");
  const Comm node = world.split_node();
  set_num_threads(num_threads > 0 ? num_threads : std::max(1, num_cores() / node.size()));
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
  add_forward(root);
  add_world(root);
  add_info(root);
  add_verify(root);
  int code = 0;
  try {
    root.parse(argc, argv);
    code = global().exit;
  } catch (const CLI::ParseError& e) {
    // CLI11's own codes are 100 and up; ours are documented in README.
    if (launch_rank() == 0) root.exit(e);
    code = e.get_exit_code() == 0 ? 0 : static_cast<int>(Exit::usage);
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
