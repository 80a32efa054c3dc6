#pragma once
// Attention of all tokens to all tokens when every rank holds a contiguous slice of them. Two partitions, same bits:
// every query row meets the keys in blocks of 256 from token 0, wherever it is computed.
#include "core/comm.hpp"
#include "core/partition.hpp"
#include "model/ops.hpp"

namespace reel::model {

enum class Partition {
  heads,   ///< the list of (head, query row) pairs is cut into equal intervals; all-to-all before and after
  stream,  ///< every rank keeps its query rows; keys and values pass by in token order
};

/// out[n, D] = softmax(q K^T / sqrt(d)) V for this rank's n tokens, D = heads * d; q, k, v [n, D] are its own rows
/// (tokens slice(num_tokens, ranks, rank)). Collective over `comm`.
void self_attention(const Comm& comm, Partition partition, Numerics numerics, std::int64_t num_tokens, std::int64_t num_heads,
                    std::int64_t head_dim, const float* q, const float* k, const float* v, float* out);

/// Attention of n query rows [n, D] to heads packed before (cross-attention): out [n, D]. Local.
void attend_to(const std::vector<PackedHead>& heads, std::int64_t head_dim, const float* q, std::int64_t rows,
               float* out);

}  // namespace reel::model
