#include "study/provenance.hpp"

#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "build_info.hpp"
#include "core/comm.hpp"
#include "core/digest.hpp"
#include "core/parallel.hpp"

extern char** environ;

namespace reel::study {
namespace {

using nlohmann::json;

/// The value behind `key :` in a file of /proc, or "".
std::string proc_value(const char* file, std::string_view key) {
  std::ifstream stream(file);
  for (std::string line; std::getline(stream, line);) {
    if (!line.starts_with(key)) continue;
    const auto at = line.find_first_not_of(" \t", line.find(':') + 1);
    return at == std::string::npos ? "" : line.substr(at);
  }
  return "";
}

/// Which of the instruction sets that matter here this CPU has.
std::string instruction_sets() {
  std::istringstream flags(proc_value("/proc/cpuinfo", "flags"));
  const std::array<std::string_view, 9> wanted{"avx2",     "fma",         "avx512f",  "avx512dq", "avx512bw",
                                               "avx512vl", "avx512_bf16", "amx_bf16", "amx_int8"};
  std::string found;
  for (std::string flag; flags >> flag;) {
    if (std::find(wanted.begin(), wanted.end(), flag) != wanted.end()) found += (found.empty() ? "" : " ") + flag;
  }
  return found;
}

void add_text(io::Record& record, const std::string& name, const std::string& long_name, std::string text) {
  text.erase(std::remove(text.begin(), text.end(), '\0'), text.end());
  record.datasets.push_back(
      {"/provenance/" + name, "", long_name, {}, {}, std::vector<std::string>{std::move(text)}, {}});
}

/// JSON that always dumps: bytes that are not UTF-8 (host names, environment) become U+FFFD.
std::string dumped(const json& value) { return value.dump(-1, ' ', false, json::error_handler_t::replace); }

}  // namespace

std::string this_host() {
  std::array<char, 256> name{};
  return gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "unknown";
}

std::string allowed_cores() { return proc_value("/proc/self/status", "Cpus_allowed_list"); }

std::string boot_id() {
  std::ifstream stream("/proc/sys/kernel/random/boot_id");
  std::string id;
  stream >> id;
  std::error_code ignored;
  return id + " " + std::filesystem::read_symlink("/proc/self/ns/pid", ignored).string();
}

std::string program_name() { return fmt::format("Reel {} ({})", build::version, build::commit); }

std::string version_text() {
  return fmt::format(
      "{}\nresult version {}\ncompiler: {}\nflags: {}\nlibraries: {}\nMPI: {}\nthis CPU: {}\ninstruction sets: {}",
      program_name(), result_version, build::compiler, build::flags, build::libraries, Comm::library(),
      proc_value("/proc/cpuinfo", "model name"), instruction_sets());
}

std::string file_sha256(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  if (!stream || std::filesystem::is_directory(path)) throw Error(Exit::input, "cannot be read", path.string(), "check the path");
  Sha256 hash;
  std::vector<char> block(std::size_t{1} << 20);
  while (stream) {
    stream.read(block.data(), static_cast<std::streamsize>(block.size()));
    hash.update(block.data(), static_cast<std::size_t>(stream.gcount()));
  }
  return hash.hex();
}

std::string program_digest() { return file_sha256("/proc/self/exe"); }

std::string build_json() {
  return dumped({{"version", build::version},
                 {"commit", build::commit},
                 {"compiler", build::compiler},
                 {"flags", build::flags},
                 {"libraries", build::libraries},
                 {"mpi", Comm::library()},
                 {"result_version", result_version},
                 {"program_sha256", program_digest()}});
}

std::string rank_provenance_json() {
  utsname system{};
  uname(&system);
  return dumped({{"host", this_host()},
                 {"pid", getpid()},
                 {"cpu", proc_value("/proc/cpuinfo", "model name")},
                 {"microcode", proc_value("/proc/cpuinfo", "microcode")},
                 {"instruction_sets", instruction_sets()},
                 {"cores", num_cores()},
                 {"threads", num_threads()},
                 {"memory", proc_value("/proc/meminfo", "MemTotal")},
                 {"system", fmt::format("{} {} {}", system.sysname, system.release, system.machine)}});
}

bool sounds_secret(std::string_view name) {
  std::string upper(name);
  std::transform(upper.begin(), upper.end(), upper.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  for (const char* word : {"TOKEN", "SECRET", "PASS", "KEY", "JWT", "CRED", "AUTH", "COOKIE"}) {
    if (upper.find(word) != std::string::npos) return true;
  }
  return false;
}

std::string environment_json() {
  std::map<std::string, std::string> kept;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const std::string_view name = text.substr(0, text.find('='));
    if (name.size() == text.size() || sounds_secret(name)) continue;
    for (const char* prefix : {"SLURM_", "OMPI_", "PMIX_", "PMI_", "PRTE_", "UCX_", "REEL_", "TBB_", "OMP_"}) {
      if (name.starts_with(prefix)) kept[std::string(name)] = text.substr(name.size() + 1);
    }
  }
  return dumped(kept);
}

std::string iso_date() {
  std::time_t now = std::time(nullptr);
  if (const char* epoch = std::getenv("SOURCE_DATE_EPOCH")) now = static_cast<std::time_t>(std::atoll(epoch));
  std::tm utc{};
  gmtime_r(&now, &utc);
  std::array<char, 32> text{};
  std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &utc);
  return text.data();
}

void add_provenance(io::Record& record, const Configuration& configuration, const std::vector<std::string>& rank_facts,
                    const std::string& command_line) {
  io::Attributes& root = record.groups["/"];
  root["source"] = program_name();
  root["history"] = fmt::format("{}: {}", iso_date(), command_line);
  add_text(record, "config_text", "experiment file as it was read", configuration.text);
  add_text(record, "config_overrides", "values set on the command line (JSON)", dumped(configuration.overrides));
  add_text(record, "config_resolved", "effective configuration (JSON)", configuration.resolved);
  add_text(record, "task", "what determines the result (JSON); task_id is its SHA-256", configuration.task);
  add_text(record, "inputs", "SHA-256 of the inputs (JSON)", configuration.inputs);
  add_text(record, "build", "the program (JSON)", build_json());
  add_text(record, "environment", "how it was launched (JSON)", environment_json());
  add_text(record, "command_line", "command line", command_line);
  record.datasets.push_back({"/provenance/ranks",
                             "",
                             "where each rank ran (JSON)",
                             {static_cast<std::int64_t>(rank_facts.size())},
                             {"rank"},
                             rank_facts,
                             {}});
}

}  // namespace reel::study
