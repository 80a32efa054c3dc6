#pragma once
// What both partitions of the self-attention are made of: rows as they travel, and how a row ends.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <memory>
#include <vector>

#include "core/comm.hpp"
#include "model/ops.hpp"
#include "model/self_attention.hpp"

namespace reel::model::attention {

using std::int64_t;

/// Heads are packed in parts of so many keys, so that threads have enough to pack; no bit depends on it.
constexpr int64_t part_keys = 4 * kernels::key_block;

/// What scores are multiplied by.
inline float score_scale(int64_t head_dim) { return 1.0f / std::sqrt(static_cast<float>(head_dim)); }

struct Dims {
  Numerics numerics;
  int64_t tokens, heads, head_dim;
  int64_t width() const { return heads * head_dim; }
  int64_t value_width() const { return (head_dim + kernels::panel_width - 1) / kernels::panel_width * kernels::panel_width; }
  float scale() const { return score_scale(head_dim); }
};

inline std::size_t index(int64_t i) { return static_cast<std::size_t>(i); }

inline void widen(const kernels::Bf16* from, int64_t n, float* to) {
  for (int64_t j = 0; j < n; ++j) {
    const std::uint32_t bits = static_cast<std::uint32_t>(from[j]) << 16;
    std::memcpy(to + j, &bits, sizeof bits);
  }
}

struct FloatRows {
  const float* at;
  int64_t stride;
};

/// Rows as they travel: f32, or in the bf16 profiles rounded by the sender, once, as their reader would.
class Rows {
 public:
  void resize(Numerics numerics, int64_t rows, int64_t width) {
    half_ = numerics != Numerics::f32;
    width_ = width;
    row_bytes_ = width * attention_element_bytes(numerics);
    bytes_.resize(index(rows * row_bytes()));
  }
  int64_t row_bytes() const { return row_bytes_; }
  std::byte* at(int64_t row) { return bytes_.data() + row * row_bytes(); }
  /// Row i = scale * x. Threads may put different rows.
  void put(int64_t i, const float* x, float scale) {
    constexpr int64_t piece = 256;
    float scaled[piece];
    for (int64_t first = 0; first < width_; first += piece) {
      const int64_t n = std::min(piece, width_ - first);
      float* to = half_ ? scaled : reinterpret_cast<float*>(at(i)) + first;
      for (int64_t j = 0; j < n; ++j) to[j] = x[first + j] * scale;
      if (half_) kernels::table().round_to_bf16(scaled, n, reinterpret_cast<kernels::Bf16*>(at(i)) + first);
    }
  }
  /// Columns [column, column + count) of rows [first, first + rows); those in bf16 go through `room`.
  FloatRows get(int64_t first, int64_t rows, int64_t column, int64_t count, FloatBuffer& room) const {
    const std::byte* from = bytes_.data() + first * row_bytes();
    if (!half_) return {reinterpret_cast<const float*>(from) + column, width_};
    room.resize(index(rows * count));
    for (int64_t i = 0; i < rows; ++i)
      widen(reinterpret_cast<const kernels::Bf16*>(from) + i * width_ + column, count, room.data() + i * count);
    return {room.data(), count};
  }

 private:
  bool half_ = false;
  int64_t width_ = 0, row_bytes_ = 0;
  std::vector<std::byte, AlignedAllocator<std::byte>> bytes_;
};

/// An exchange and what it moves.
struct Traffic {
  std::vector<Comm::Message> messages;
  Exchange exchange;
  void send(int peer, Rows& rows, int64_t at, int64_t n) {
    if (n > 0) messages.push_back({peer, rows.at(at), index(n * rows.row_bytes()), nullptr, 0});
  }
  void receive(int peer, Rows& rows, int64_t at, int64_t n) {
    if (n > 0) messages.push_back({peer, nullptr, 0, rows.at(at), index(n * rows.row_bytes())});
  }
  void start(const Comm& comm) { exchange.start(comm, messages); }
};

/// A finished row: sums / sum, rounded in the bf16 profiles, so that it does not matter who sends it.
inline void finish_row(const Dims& dims, const float* sums, float sum, float* out) {
  kernels::table().divide(sums, dims.head_dim, sum, dims.numerics != Numerics::f32, out);
}

std::unique_ptr<SelfAttention> make_stream(const Comm& comm, const Dims& dims);

}  // namespace reel::model::attention
