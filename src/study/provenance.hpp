#pragma once
// Where a result comes from: build, machine, launch, inputs. Everything here may differ between runs with equal
// results.
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "io/results.hpp"
#include "study/experiment.hpp"

namespace reel::study {

/// Version, commit, compiler, flags, libraries and this CPU, for `reel --version`; lines of text.
std::string version_text();
/// Version and commit: "Reel 0.1.0 (1a2b3c4d5e6f)".
std::string program_name();
/// SHA-256 of a file's bytes. Throws Error (Exit::input) when it cannot be read.
std::string file_sha256(const std::filesystem::path& path);
/// SHA-256 of the running program's file, so that ranks can tell whether they run the same build.
std::string program_digest();

/// Name of this host, "unknown" when it has none.
std::string this_host();
/// Cores this process may use, as the system lists them: "0-3,8".
std::string allowed_cores();
/// Tells one start of one system, and one space of process numbers, from another.
std::string boot_id();
/// Version, commit, compiler, flags, libraries as JSON.
std::string build_json();
/// This process: host, CPU model and instruction sets, cores, memory, kernel, as JSON.
std::string rank_provenance_json();
/// Environment variables that tell how it was launched (SLURM_*, OMPI_*, PMIX_*, REEL_* ...) as JSON. Names that sound
/// like a secret are left out.
std::string environment_json();
/// Now in UTC: "2025-06-01T12:00:00Z"; SOURCE_DATE_EPOCH replaces now.
std::string iso_date();

/// What was asked for. All but the first two are JSON.
struct Configuration {
  std::string text;                    ///< experiment file as it was read
  std::vector<std::string> overrides;  ///< set on the command line
  std::string resolved;                ///< effective, defaults included
  std::string task;                    ///< what determines the result; task_id is its SHA-256
  std::string inputs;                  ///< SHA-256 of the inputs
};
/// Adds /provenance and the attributes `source` and `history`: configuration, build, environment, and `rank_facts` (one
/// `rank_provenance_json` per rank).
void add_provenance(io::Record& record, const Configuration& configuration, const std::vector<std::string>& rank_facts,
                    const std::string& command_line);

/// Whether a variable's value must not be stored (tokens, keys, passwords).
bool sounds_secret(std::string_view name);

}  // namespace reel::study
