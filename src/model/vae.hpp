#pragma once
// AutoencoderKLWan (Wan 2.1 and 2.2 structure): video frames <-> latents, causal in time, streamed one latent frame at a time.
// Ranks own bands of latent rows and swap one row with each neighbour before a 3x3 convolution; nothing is summed
// across ranks. Activations are channels-last: [frames, rows, W, C].
#include <functional>
#include <memory>
#include <vector>

#include "core/comm.hpp"
#include "core/tensor.hpp"
#include "model/config.hpp"
#include "model/weights.hpp"

namespace reel::model {

class VaeStream;

class Vae {
 public:
  /// Collective over `node`. Throws Error (input) when the weights do not fit the config.
  Vae(const VaeConfig& config, const TensorSource& source, const Comm& node, Numerics numerics = Numerics::f32);
  ~Vae();
  Vae(Vae&&) noexcept;

  const VaeConfig& config() const noexcept { return config_; }

  /// Receives decoded frames on rank 0, in order: frames [f, H, W, 3] in [-1, 1], the first of them number `first`.
  using Sink = std::function<void(std::int64_t first, const Tensor& frames)>;

  /// Decodes latent frames [begin, T) of z [z_dim, T, h, w] (as the autoencoder uses it: not normalised), of all T to
  /// 1 + 4 (T - 1) frames. z is the same on every rank. Collective over `comm`; only as many ranks work as there are
  /// latent rows. With begin > 0 the frames before are gone through again as far as later ones depend on them, each
  /// level of the network from where it must: the same bits, at the price of some latent frames.
  /// `after_latent(t)` is called on every rank once t latent frames are done.
  void decode(const Comm& comm, const Tensor& z, const Sink& sink, std::int64_t begin = 0,
              const std::function<void(std::int64_t)>& after_latent = {}) const;

  /// Mean [z_dim, T, h, w] of the posterior of video [3, F, H, W] in [-1, 1]; T = 1 + (F - 1) / 4, a rest of frames is
  /// dropped. The same on every rank.
  Tensor encode(const Comm& comm, const Tensor& video) const;

  /// z = latents * std + mean, as the pipeline does it: division by the rounded reciprocal of std.
  Tensor denormalise(const Tensor& latents) const;
  /// latents = (z - mean) * (1/std).
  Tensor normalise(const Tensor& z) const;

 private:
  struct Weights;
  /// The latent frame from which each stage must run (negative: from 0) so that frames from `begin` on are right: the
  /// middle, the levels, the end.
  std::vector<std::int64_t> joins(std::int64_t begin) const;
  Tensor decode_one(VaeStream& stream, const Tensor& z, std::int64_t t, const std::vector<std::int64_t>& from) const;
  VaeConfig config_;
  SharedFloats store_;
  std::unique_ptr<Weights> weights_;
};

/// Floating-point operations (2 per multiply-add) of decoding T latent frames of h x w, by level of the network; the first has
/// the middle, the last the output as well. Frames of zeros before the film are not multiplied, and not counted.
struct VaeFlops {
  std::vector<double> levels;
  double total() const noexcept;
};
VaeFlops vae_decode_flops(const VaeConfig& config, std::int64_t frames, std::int64_t height, std::int64_t width);

}  // namespace reel::model
