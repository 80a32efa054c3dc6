#pragma once
// Where a run stands, on disk: two generations, each whole or absent. Arrays are global, so that any number of ranks,
// threads and either partition can go on from them.
//
// A checkpoint is a safetensors file: sample, history.0 ..., latents (F32), film (U8, [decoded frames, H, W, 3]) and, as
// metadata, whose it is, where it stands, and the seal over all of it.
#include <filesystem>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "core/comm.hpp"
#include "model/generate.hpp"

namespace reel::study {

/// One stretch of work on a task, from start to stop.
struct Sitting {
  double wall_s = 0;
  std::int64_t num_nodes = 0, num_cores = 0;  ///< cores: ranks x threads
  double energy_j = std::numeric_limits<double>::quiet_NaN();  ///< of all nodes; NaN: not available
};

/// What a checkpoint holds.
struct Standing {
  model::RenderState state;
  std::vector<Sitting> sittings;  ///< so far, the one that wrote this included
};

/// The checkpoint of one task. One process uses it at a time; should two, then each finds a whole checkpoint of the same
/// bits.
class Checkpoint {
 public:
  /// `path`: of the newest generation; the one before has ".before" appended. `owner`: task id.
  Checkpoint(std::filesystem::path path, std::string owner) : path_(std::move(path)), owner_(std::move(owner)) {}

  const std::filesystem::path& path() const noexcept { return path_; }
  /// The newest generation that is whole and of this owner. Others are told in `complaints`, one line each.
  std::optional<Standing> load(std::vector<std::string>& complaints) const;
  /// Keeps the newest generation as the one before, then writes. Throws Error (write) with both generations as they were.
  void save(const model::RenderState& state, const std::vector<Sitting>& sittings) const;
  void save(const Standing& standing) const { save(standing.state, standing.sittings); }
  void remove() const noexcept;

 private:
  std::filesystem::path path_;
  std::string owner_;
};

/// SHA-256 over whose a checkpoint is, where it stands (JSON) and its arrays (io::weights_digest).
std::string checkpoint_seal(const std::string& owner, const std::string& place, const std::string& arrays);
/// Reads one generation. Throws Error (input) when it is missing, damaged or of another owner.
Standing read_checkpoint(const std::filesystem::path& path, const std::string& owner);

/// Rank 0's standing on every rank, but for the film, which stays on rank 0. Collective.
std::optional<Standing> broadcast(const Comm& world, std::optional<Standing> standing);

}  // namespace reel::study
