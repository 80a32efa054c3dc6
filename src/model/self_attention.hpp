#pragma once
// Attention of all tokens to all tokens when every rank holds a contiguous slice of them. Two partitions, same bits:
// every query row meets the keys in blocks of 256 from token 0, wherever it is computed.
#include <memory>

#include "core/comm.hpp"
#include "core/partition.hpp"
#include "model/ops.hpp"

namespace reel::model {

enum class Partition {
  heads,   ///< the list of (head, query row) pairs is cut into equal intervals; all-to-all before and after
  stream,  ///< every rank keeps its query rows; keys and values pass by in token order
};

/// Bytes of an element of q, k, v and out on their way between ranks: f32, or bf16 where the products round them anyway.
constexpr std::int64_t attention_element_bytes(Numerics numerics) { return numerics == Numerics::f32 ? 4 : 2; }

/// out[n, D] = softmax(q K^T / sqrt(d)) V for this rank's n tokens, D = heads * d; q, k, v [n, D] are its own rows
/// (tokens slice(num_tokens, ranks, rank)). In the bf16 profiles out is rounded to bf16, as the next product would. Rows start
/// to travel as soon as they are given, while this thread computes what comes next: its loops drive them. For every layer call
/// values, queries and keys in this order, then attend. The given rows stay as they are until attend returns.
class SelfAttention {
 public:
  /// Collective over `comm`, as are all functions. Buffers are kept from layer to layer.
  static std::unique_ptr<SelfAttention> make(const Comm& comm, Partition partition, Numerics numerics, std::int64_t num_tokens,
                                             std::int64_t num_heads, std::int64_t head_dim);
  virtual ~SelfAttention() = default;
  virtual void values(const float* v) = 0;
  virtual void queries(const float* q) = 0;
  virtual void keys(const float* k) = 0;
  virtual void attend(float* out) = 0;
};

/// Attention of n query rows [n, D] to heads packed before (cross-attention): out [n, D]. Local.
void attend_to(const std::vector<PackedHead>& heads, std::int64_t head_dim, const float* q, std::int64_t rows,
               float* out);

}  // namespace reel::model
