#include "bench.hpp"
#include "model/self_attention.hpp"
#include "model/self_attention_parts.hpp"

namespace reel::bench {
namespace {

using namespace model;

constexpr int64_t num_heads = 12, head_dim = 128, width = num_heads * head_dim, text = 512;

std::vector<PackedHead> pack_heads(Numerics numerics, int64_t keys, const FloatBuffer& k, const FloatBuffer& v) {
  std::vector<PackedHead> heads(static_cast<std::size_t>(num_heads));
  parallel_for(num_heads, [&](int64_t h) {
    heads[static_cast<std::size_t>(h)].pack(numerics, k.data() + h * head_dim, width, v.data() + h * head_dim, width, keys, head_dim, head_dim);
  });
  return heads;
}

// The last rows of `out`, all heads, compared with the scalar reference.
bool is_right(Numerics numerics, int64_t tokens, int64_t keys, const FloatBuffer& q, const FloatBuffer& k, const FloatBuffer& v,
              const FloatBuffer& out) {
  constexpr int64_t few = 2;
  const FloatBuffer want = by_scalar([&] {
    FloatBuffer rows(static_cast<std::size_t>(few * width));
    attend_to(pack_heads(numerics, keys, k, v), head_dim, q.data() + (tokens - few) * width, few, rows.data());
    if (tokens != keys) return rows;
    model::attention::Rows rounded;  // as self-attention gives them
    rounded.resize(numerics, few, width);
    for (int64_t i = 0; i < few; ++i) rounded.put(i, rows.data() + i * width, 1.0f);
    FloatBuffer room;
    const auto got = rounded.get(0, few, 0, width, room);
    return FloatBuffer(got.at, got.at + few * width);
  });
  return same_bits(want.data(), out.data() + (tokens - few) * width, few * width);
}

// All tokens to all tokens as a block of the transformer calls it on one rank, packing included; or to the keys of a text,
// which are packed once for a film.
void attention(benchmark::State& state, const std::string& name, Numerics numerics, int64_t tokens, int64_t keys, int threads) {
  set_num_threads(threads);
  const FloatBuffer q = random_floats(tokens * width, "q"), k = random_floats(keys * width, "k"), v = random_floats(keys * width, "v");
  FloatBuffer out(static_cast<std::size_t>(tokens * width));
  const Comm solo = Comm::solo();
  const std::vector<PackedHead> heads = tokens == keys ? std::vector<PackedHead>() : pack_heads(numerics, keys, k, v);
  const auto self = tokens == keys ? SelfAttention::make(solo, Partition::heads, numerics, tokens, num_heads, head_dim) : nullptr;
  const auto attend_all = [&] {
    if (!self) return attend_to(heads, head_dim, q.data(), tokens, out.data());
    self->values(v.data());
    self->queries(q.data());
    self->keys(k.data());
    self->attend(out.data());
  };
  time_flops(state, 4.0 * static_cast<double>(tokens) * static_cast<double>(keys) * static_cast<double>(width), numerics, threads, attend_all);
  if (!checked(name, [&] { return is_right(numerics, tokens, keys, q, k, v, out); })) state.SkipWithError("bits differ from the scalar reference");
}

}  // namespace

void add_attention() {
  for (const auto& [profile, numerics] : profiles)
    for (const int64_t tokens : peers::tokens)
      for (const int64_t keys : {tokens, text})
        peers::add("attention", profile, {num_heads, tokens, keys},
                   [profile = std::string(profile), numerics = numerics, tokens, keys](benchmark::State& state, int threads) {
                     attention(state, fmt::format("{} {} {} {}", profile, tokens, keys, threads), numerics, tokens, keys, threads);
                   });
}

}  // namespace reel::bench
