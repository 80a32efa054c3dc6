#pragma once
// The moving parts of the autoencoder: a band of rows that flows through causal convolutions frame by frame.
#include <array>
#include <map>
#include <vector>

#include "core/comm.hpp"
#include "core/partition.hpp"
#include "core/tensor.hpp"
#include "model/ops.hpp"
#include "model/weights.hpp"

namespace reel::model {

/// Frames of one band: [frames, rows, W, C].
struct Band {
  std::int64_t frames = 0, rows = 0, width = 0, channels = 0;
  FloatBuffer data;
  Band() = default;
  Band(std::int64_t f, std::int64_t r, std::int64_t w, std::int64_t c)
      : frames(f), rows(r), width(w), channels(c), data(static_cast<std::size_t>(f * r * w * c)) {}
  std::int64_t frame_size() const noexcept { return rows * width * channels; }
  float* frame(std::int64_t f) noexcept { return data.data() + f * frame_size(); }
  const float* frame(std::int64_t f) const noexcept { return data.data() + f * frame_size(); }
};

/// Weights of a residual block and of the attention of a middle block.
struct ResidualBlock {
  const float *norm1, *norm2;
  Conv conv1, conv2;
  bool has_shortcut = false;
  Conv shortcut;
};
struct MiddleAttention {
  const float* norm;
  Linear qkv, proj;
};

/// One pass over a clip: remembers what each causal convolution has seen. `key` pointers name the places in the network.
class VaeStream {
 public:
  /// `comm`: the working ranks; rank r owns latent rows slice(latent_rows, size, r).
  VaeStream(const Comm& comm, std::int64_t latent_rows) : comm_(comm), latent_rows_(latent_rows) {}

  const Comm& comm() const noexcept { return comm_; }
  Interval my_rows() const { return slice(latent_rows_, comm_.size(), comm_.rank()); }

  /// Causal convolution: kernel 3 in time looks at the two frames before (zero before the first), spatial kernels are
  /// padded by zeros. stride 2 halves rows and columns with the padding on the right and bottom only.
  /// Order of each sum: time, row, column, channel.
  Band convolve(const Conv& conv, const Band& x, std::int64_t stride = 1);
  /// The same into y of that shape, which so keeps its memory from call to call.
  void convolve(const Conv& conv, const Band& x, std::int64_t stride, Band& y);
  /// The same of silu(x) normalised over channels (see `l2_norm`).
  Band convolve_normalised(const Conv& conv, const float* gamma, const Band& x);
  /// The same of x doubled in size: every pixel becomes 2 x 2.
  Band convolve_doubled(const Conv& conv, const Band& x);
  /// Temporal halving: the first frame passes untouched, then every two frames give one from three (y0 y1 y2).
  Band halve_time(const Conv& conv, const Band& y);
  /// Temporal doubling: the first frame of a clip passes untouched, later frames give two each (halves of the channels).
  Band double_time(const Conv& conv, const Band& x, bool first);
  Band residual(const ResidualBlock& block, Band x);
  Band attention(const MiddleAttention& weights, Band x);

 private:
  // [rows + 2, W + 2, C], zero columns, halo rows; in the numerics of the convolution that reads it. Without memory: zeros.
  struct PaddedFrame {
    FloatBuffer f32;
    HalfBuffer bf16;
    bool empty() const noexcept { return f32.empty() && bf16.empty(); }
    OperandRows from(std::int64_t at, std::int64_t stride) const {
      if (f32.empty()) return {nullptr, bf16.data() + at, stride, kernels::bf16_step};
      return {f32.data() + at, nullptr, stride, 0};
    }
  };
  struct FrameShape {
    std::int64_t rows, width;
  };
  using Inputs = std::array<const PaddedFrame*, 3>;
  template <class WriteRow>
  PaddedFrame pad(const Conv& conv, FrameShape shape, WriteRow write_row);
  template <class T>
  void finish_padding(T* frame, FrameShape shape, std::int64_t channels, bool halo) const;
  template <class WriteRow>
  void next_frame(const Conv& conv, FrameShape shape, std::int64_t stride, WriteRow write_row, float* out, bool add);
  void convolve_frame(const Conv& conv, const Inputs& inputs, FrameShape shape, std::int64_t stride, float* out, bool add) const;
  struct History {
    std::array<PaddedFrame, 2> frames;
    bool started = false;
  };
  Comm comm_;
  std::int64_t latent_rows_;
  std::map<const void*, History> history_;
  PaddedFrame spare_;  // memory of a frame that no convolution looks at any more
};

/// Wan 2.2 shortcut down: blocks of ft frames x fs x fs pixels become channels, which are averaged in groups to `channels`.
/// A single frame is averaged with a frame of zeros before it. Order of each sum: channel, time, row, column.
Band average_down(const Band& x, std::int64_t channels, std::int64_t ft, std::int64_t fs);
/// Wan 2.2 shortcut up: every channel is repeated over ft frames x fs x fs pixels; of the first frame of a clip only the
/// last of its ft frames stays. Exact copy.
Band duplicate_up(const Band& x, std::int64_t channels, std::int64_t ft, std::int64_t fs, bool first);

/// Channel L2 norm of every pixel.
Band normalise_channels(const Band& x, const float* gamma);

}  // namespace reel::model
