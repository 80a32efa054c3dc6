#pragma once
// The verbs of the program: one file each. A verb registers its options and a callback; main runs it and turns errors
// into messages and exit codes.
#include <CLI/CLI.hpp>
#include <filesystem>
#include <string>

#include "core/comm.hpp"
#include "core/error.hpp"
#include "study/pricing.hpp"

namespace reel::app {

void add_compare(CLI::App& root);
void add_cost(CLI::App& root);
void add_doctor(CLI::App& root);
void add_forward(CLI::App& root);
void add_info(CLI::App& root);
void add_measure(CLI::App& root);
void add_plan(CLI::App& root);
void add_report(CLI::App& root);
void add_run(CLI::App& root);
void add_sweep(CLI::App& root);
void add_verify(CLI::App& root);
void add_world(CLI::App& root);

/// Writes the side file (beside `first_result` unless `side` names another, none without both) and prints what was priced.
void print_priced(const study::Priced& priced, const std::filesystem::path& first_result, std::filesystem::path side);

/// Options every verb understands.
struct Global {
  bool quiet = false;  ///< no progress
  bool json = false;   ///< results as JSON on stdout
  std::string command_line;  ///< as it was typed
  std::vector<std::string> words;  ///< its words
  int exit = 0;        ///< exit code when nothing was thrown (1: compared things differ)
};
Global& global();

/// A line for people on stderr, unless they want quiet.
void tell(const std::string& line);

/// Starts MPI, checks that all ranks run the same program, sets the kernels (REEL_ISA) and the number of threads
/// (0: this process's cores divided by the ranks of the node).
Comm start_ranks(int num_threads);

/// Rank according to the launcher's environment, before (or without) MPI.
int launch_rank();

}  // namespace reel::app
