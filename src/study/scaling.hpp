#pragma once
// How denoising scales: the bytes that ranks must send, by formula, and runs of a film on several layouts side by side.
// Legend: N tokens, of which a rank owns n; D = heads * d channels; P ranks; e bytes of an element.
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "io/results.hpp"
#include "model/pipeline.hpp"
#include "model/self_attention.hpp"
#include "study/experiment.hpp"

namespace reel::study {

/// Bytes that `rank` of P `ranks` sends to others in the self-attention of one layer:
///   stream  e * 2 n D (P - 1)
///   heads   e d (2 n (C - c) + n heads + w - 2 o); w of the heads * N (head, row) pairs are its work and lie in c heads, C is
///           the sum of c over all ranks, o of the w are rows of its own tokens
/// When P divides heads and N, the second is e * 4 N D / P * (P - 1) / P, as of any exchange of whole heads. e is 4 in
/// f32, 2 in the bf16 profiles.
std::uint64_t attention_bytes(model::Partition partition, model::Numerics numerics, std::int64_t num_tokens, std::int64_t num_heads,
                              std::int64_t head_dim, std::int64_t ranks, std::int64_t rank);

/// Bytes that each of `ranks` ranks sends in the last `num_steps` steps of denoising `e`: attention of all layers and both
/// guidance branches, the velocity that ranks gather (f32: 4 n channels each to P - 1 others), and with two guidance groups the
/// velocity that each group's first rank sends to all others.
std::vector<std::uint64_t> denoise_bytes(const Experiment& e, const model::Pipeline& pipeline, std::int64_t ranks, std::int64_t num_steps);

/// A way to split denoising over ranks, and what the rank that sends most sends in a step.
struct PartitionChoice {
  std::string partition;
  std::int64_t guidance_groups;
  std::uint64_t step_bytes;
};
/// All that `ranks` ranks can do, fewest bytes first; of equals one group and whole heads.
std::vector<PartitionChoice> partition_choices(const Experiment& e, const model::Pipeline& pipeline, std::int64_t ranks);
/// e.run, with the first of these choices when its partition is "auto".
Run choose_partition(const Experiment& e, const model::Pipeline& pipeline, std::int64_t ranks);

/// What one run tells of its layout: of denoising, in its last sitting.
struct LayoutRun {
  std::string task, what;    ///< what: the overrides that are no layout
  std::string model;         ///< and numerics profile: work is compared with work of its kind
  std::string layout;        ///< "2x4 stream": ranks x threads
  std::int64_t ranks = 1;
  std::int64_t cores = 1;    ///< at work: threads, but no more than a node has
  bool oversubscribed = false;
  std::int64_t num_steps = 0;
  double step_s = 0;         ///< median of the steps on rank 0
  double step_flops = 0;     ///< of all ranks
  double comm_share = 0;     ///< of the time in communication calls, waiting included, mean over ranks
  double imbalance = 1;      ///< time outside of them: largest over mean of the ranks
  double save_share = 0;     ///< checkpoints, of the whole sitting
  double step_bytes = 0;     ///< sent by all ranks
  double formula_bytes = std::numeric_limits<double>::quiet_NaN();  ///< the same by `denoise_bytes`; NaN: no model, or weights sent too
  double off_bytes = std::numeric_limits<double>::quiet_NaN();      ///< largest difference of a rank over the sitting, absolute
};

/// Reads /measured and /provenance of `record`; `pipeline` may be null. Without steps in the last sitting num_steps is 0.
/// Throws Error (input) when something is missing or makes no sense.
LayoutRun layout_run(const io::Record& record, const std::string& task, const Experiment& e, const model::Pipeline* pipeline);

/// One task on one layout, all repeats.
struct ScalingRow {
  LayoutRun run;                 ///< medians over the repeats; off_bytes: the largest
  std::int64_t num_runs = 0;
  double low_s = 0, high_s = 0;  ///< fastest and slowest repeat, per step
  double speed_up = 1;           ///< over the fastest layout on the fewest cores of the task
  double efficiency = 1;         ///< speed-up for each core more
  /// Rate per core over that on the fewest cores of all tasks, where a core has as much work (within a quarter); else NaN.
  double weak_efficiency = std::numeric_limits<double>::quiet_NaN();
};
/// Rows in order of the first run of each task, then by cores, ranks, layout.
std::vector<ScalingRow> scaling_rows(const std::vector<LayoutRun>& runs);
/// A table for people; empty when no task has two layouts.
std::string scaling_text(const std::vector<ScalingRow>& rows);
std::string scaling_json(const std::vector<ScalingRow>& rows);

}  // namespace reel::study
