#pragma once
// A model as a user has it: a diffusers pipeline folder on disk, or a published shape with synthetic weights.
#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "core/comm.hpp"
#include "model/config.hpp"
#include "model/scheduler.hpp"
#include "model/weights.hpp"

namespace reel::model {

/// Rows of text features the transformer attends to: valid tokens, then zero rows.
inline constexpr std::int64_t context_length = 512;

class Pipeline {
 public:
  /// Reads model_index.json and the configs; weights are opened when asked for. Throws Error (input) on missing files and
  /// on classes Reel does not render.
  static Pipeline open(const std::filesystem::path& folder, Numerics numerics = Numerics::f32);
  /// A published shape ("wan2.1-t2v-1.3b", ...) with weights drawn from `seed`.
  static Pipeline synthetic(const std::string& name, std::uint64_t seed, Numerics numerics = Numerics::f32);

  Numerics numerics() const noexcept { return numerics_; }

  const TransformerConfig& transformer() const noexcept { return transformer_; }
  const VaeConfig& vae() const noexcept { return vae_; }
  const TextEncoderConfig& text_encoder() const noexcept { return text_encoder_; }
  const SchedulerConfig& scheduler() const noexcept { return scheduler_; }
  /// Tokens carry their own timestep, so clean first frames can be given.
  bool expand_timesteps() const noexcept { return expand_timesteps_; }
  /// Latent frames the model was trained on (reel.json in the folder; Wan: 21): longer shots are made of segments.
  std::int64_t trained_latent_frames() const noexcept { return trained_latent_frames_; }
  bool is_synthetic() const noexcept { return folder_.empty(); }
  std::string label() const { return is_synthetic() ? name_ + " (synthetic weights)" : folder_.string(); }

  enum class Part { transformer, vae, text_encoder };
  std::unique_ptr<TensorSource> weights(Part part) const;
  /// The same on every rank of `comm`: all throw when one cannot open them.
  std::unique_ptr<TensorSource> weights(Part part, const Comm& comm) const;

  /// Token ids of a prompt: cleaned, at most 512, ending with </s>. Synthetic models have no vocabulary: one
  /// deterministic id per word.
  std::vector<std::int64_t> tokenize(const std::string& prompt) const;

  /// SHA-256 over the weights of one part, read once; the ranks of `comm` share the work. Not for several threads at once.
  std::string digest(Part part, const Comm& comm) const;
  /// SHA-256 over all weights, configs and tokenizer files.
  std::string digest(const Comm& comm) const;

 private:
  std::filesystem::path folder_;
  std::string name_;
  std::uint64_t seed_ = 0;
  Numerics numerics_ = Numerics::f32;
  TransformerConfig transformer_;
  VaeConfig vae_;
  TextEncoderConfig text_encoder_;
  SchedulerConfig scheduler_;
  bool expand_timesteps_ = false;
  std::int64_t trained_latent_frames_ = 21;
  mutable std::array<std::string, 3> digests_;  // of the parts; "": not read yet
};

}  // namespace reel::model
