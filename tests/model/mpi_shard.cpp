// Blocks shared out over nodes, which REEL_RANKS_PER_NODE makes of this machine: run by mpirun. A failed check ends all ranks
// with exit code 1.
//   mpi_shard              all checks
//   mpi_shard --alone      the last rank fails alone with a block under way: it must speak and take the others down
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>

#include "core/digest.hpp"
#include "model/generate.hpp"
#include "model/noise.hpp"
#include "tests/mpi_check.hpp"

namespace reel::model {
namespace {

using std::int64_t;

TransformerConfig tiny(int64_t num_layers) {
  TransformerConfig c;
  c.num_heads = 3;
  c.head_dim = 12;
  c.text_dim = 20;
  c.freq_dim = 16;
  c.ffn_dim = 72;
  c.num_layers = num_layers;
  return c;
}

std::string digest_of(const Tensor& t) { return sha256_hex(t.data(), static_cast<std::size_t>(t.size()) * sizeof(float)); }

struct Setting {
  Comm world = Comm::world();
  Comm node = world.split_node();
  Nodes nodes = Nodes::of(world, node);
};

/// Two forwards, the second from the velocity of the first: passes follow each other.
std::string forward_digest(const Comm& comm, Partition partition, const Transformer& transformer) {
  const TransformerConfig& c = transformer.config();
  Tensor latents({c.in_channels, 2, 6, 8}), text({7, c.text_dim});
  philox_normal(1, "latents", 0, latents.size(), latents.data());
  philox_normal(1, "text", 0, text.size(), text.data());
  const Context context = transformer.encode_context(text);
  for (const float timestep : {900.0f, 300.0f}) latents = transformer.forward(comm, partition, latents, {&timestep, 1}, context);
  return digest_of(latents);
}
constexpr int num_passes = 3;

/// Floats of a block and of the rest, as they lie in memory: panels of 64 outputs, of two halves to a float in bf16, where the
/// depth is a multiple of 32; tensors begin on lines of 16 floats.
int64_t lines(int64_t floats) { return (floats + 15) / 16 * 16; }
int64_t packed(int64_t out, int64_t in, bool half) {
  return lines((out + 63) / 64 * 64 * (half ? (in + 31) / 32 * 32 / 2 : in)) + lines(out);
}
int64_t block_floats(const TransformerConfig& c, bool half) {
  const int64_t d = c.width();
  return lines(6 * d) + 8 * packed(d, d, half) + 4 * lines(d) + 2 * lines(d) + packed(c.ffn_dim, d, half) + packed(d, c.ffn_dim, half);
}
int64_t end_floats(const TransformerConfig& c) {
  const int64_t d = c.width(), p = c.patch_size();
  return packed(d, c.in_channels * p, false) + packed(d, c.freq_dim, false) + packed(d, d, false) + packed(6 * d, d, false) +
         packed(d, c.text_dim, false) + packed(d, d, false) + lines(2 * d) + packed(c.out_channels * p, d, false);
}

void test_bits_memory_and_bytes(const Setting& s) {
  for (const Numerics numerics : {Numerics::f32, Numerics::bf16})
    for (const int64_t num_layers : {1, 2, 5, 6}) {
      const TransformerConfig c = tiny(num_layers);
      const auto source = synthetic_weights(3, "transformer");
      const bool half = numerics != Numerics::f32;
      const Transformer whole(c, *source, s.node, numerics), shared(c, *source, s.node, numerics, s.nodes);
      int64_t here = 0;
      for (int64_t i = 0; i < num_layers; ++i) here += i % s.nodes.count == s.nodes.index;
      const int64_t buffers = s.nodes.count == 1 ? 0 : s.nodes.count == 2 ? 1 : 2, block = block_floats(c, half);
      CHECK(whole.num_floats_here() == end_floats(c) + num_layers * block);
      CHECK(shared.num_floats_here() == end_floats(c) + (here + buffers) * block);

      const std::string golden = forward_digest(Comm::solo(), Partition::heads, whole);
      CHECK(forward_digest(Comm::solo(), Partition::heads, shared) == golden);
      for (const Partition partition : {Partition::heads, Partition::stream}) {
        std::uint64_t before = Comm::bytes_sent();
        CHECK(forward_digest(s.world, partition, whole) == golden);
        const std::uint64_t bytes = Comm::bytes_sent() - before;
        before = Comm::bytes_sent();
        CHECK(forward_digest(s.world, partition, shared) == golden);
        const int64_t blocks = s.node.rank() == 0 ? num_passes * here * (s.nodes.count - 1) : 0;
        CHECK(Comm::bytes_sent() - before - bytes == static_cast<std::uint64_t>(4 * blocks * block));
        CHECK(num_passes * shared.weight_bytes_sent() == 4 * blocks * block && whole.weight_bytes_sent() == 0);
      }
    }
}

/// One block's weights in place of another's, and an error while they are read.
class Wrong : public TensorSource {
 public:
  Wrong(std::string block, std::string instead) : right_(synthetic_weights(3, "transformer")), block_(std::move(block)), instead_(std::move(instead)) {}
  bool has(const std::string& name) const override { return right_->has(name); }
  void expect(const std::string& name, const Shape& shape) const override { right_->expect(name, shape); }
  void read(const std::string& name, const Shape& shape, int64_t first, int64_t count, float* out) const override {
    const bool it_is = name.starts_with(block_);
    if (it_is && instead_.empty()) throw Error(Exit::input, "torn", name);
    right_->read(it_is ? instead_ + name.substr(block_.size()) : name, shape, first, count, out);
  }
  std::vector<std::string> names() const override { return {}; }
  std::string digest(const Comm&) const override { return ""; }
  std::string label() const override { return "wrong"; }

 private:
  std::unique_ptr<TensorSource> right_;
  std::string block_, instead_;
};

// The control: were a wrong block to arrive, every rank would see it, also those that compute all tokens alone. Only the
// block's own node reads it, so elsewhere nothing but what was sent can make the difference.
void test_wrong_blocks_are_seen(const Setting& s) {
  const TransformerConfig c = tiny(5);
  const auto source = synthetic_weights(3, "transformer");
  const std::string golden = forward_digest(Comm::solo(), Partition::heads, Transformer(c, *source, s.node));
  for (int64_t i = 0; i < c.num_layers; ++i) {
    const Wrong wrong(fmt::format("blocks.{}.", i), fmt::format("blocks.{}.", (i + 1) % c.num_layers));
    const bool reads = i % s.nodes.count == s.nodes.index;
    const Transformer shared(c, reads ? static_cast<const TensorSource&>(wrong) : *source, s.node, Numerics::f32, s.nodes);
    CHECK(forward_digest(Comm::solo(), Partition::heads, shared) != golden);
  }
}

void test_torn_weights_of_one_node(const Setting& s) {
  const TransformerConfig c = tiny(5);
  const std::string torn = fmt::format("blocks.{}.ffn", std::min(s.nodes.count, c.num_layers) - 1);  // only its own node reads it
  std::string what;
  try {
    s.world.together([&] { const Transformer t(c, Wrong(torn, ""), s.node, Numerics::f32, s.nodes); });
  } catch (const Error& e) {
    what = e.what();
  }
  CHECK(what == "torn");
}

void fail_in_block_1(void*, const char* name, int64_t layer, const float*, int64_t, int64_t) {
  if (layer == 1 && std::string(name) == "norm1") throw Error(Exit::nonfinite, "stopped on purpose");
}

// All ranks fail alike with block 2 under way; the next pass starts afresh.
void test_error_within_a_pass(const Setting& s) {
  Transformer shared(tiny(5), *synthetic_weights(3, "transformer"), s.node, Numerics::f32, s.nodes);
  const std::string golden = forward_digest(s.world, Partition::heads, shared);
  shared.set_probe(fail_in_block_1, nullptr);
  for (int round = 0; round < 3; ++round) {
    bool failed = false;
    try {
      s.world.together([&] { forward_digest(s.world, Partition::heads, shared); });
    } catch (const Error& e) {
      failed = e.exit() == Exit::nonfinite;
    }
    CHECK(failed);
  }
  shared.set_probe(nullptr, nullptr);
  CHECK(forward_digest(s.world, Partition::heads, shared) == golden);
}

void be_slow(void*, const char* name, int64_t, const float*, int64_t, int64_t) {
  if (std::string(name) == "attn1.q_rotary") std::this_thread::sleep_for(std::chrono::milliseconds(3));
}

// The first rank of a node may not fetch what overwrites the block that another one still reads: not within a pass, and not at
// the start of the next (7 blocks: the last and the first have the same buffer).
void test_slow_ranks(const Setting& s) {
  Transformer shared(tiny(7), *synthetic_weights(3, "transformer"), s.node, Numerics::f32, s.nodes);
  const std::string golden = forward_digest(Comm::solo(), Partition::heads, Transformer(tiny(7), *synthetic_weights(3, "transformer"), s.node));
  if (s.node.rank() == s.node.size() - 1) shared.set_probe(be_slow, nullptr);
  CHECK(forward_digest(Comm::solo(), Partition::heads, shared) == golden);
}

struct Stopped {
  RenderState state;
};

// A shot stopped in the middle of denoising goes on from shared weights to whole ones and back.
void test_stop_and_resume(const Setting& s) {
  const Pipeline pipeline = Pipeline::open(REEL_SOURCE_DIR "/tests/oracle/fixtures/pipeline_expand");
  Observer silent;
  const auto render_digest = [&](int groups, bool shard_weights, RenderState state, int stop_at) {
    Shot shot;
    shot.prompts = {"A red ball", "blurry"};
    shot.num_frames = 9;
    shot.height_px = shot.width_px = 32;
    const Rendered r = render(pipeline, Team::make(s.world, Partition::heads, groups, shard_weights), shot, {.num_steps = 3}, 16, silent, std::move(state),
                              [&](const RenderState& now) {
                                if (now.denoise.scheduler.step == stop_at) throw Stopped{now};
                              });
    return digest_of(r.latents);
  };
  const std::string golden = render_digest(1, false, {}, -1);
  for (int groups = 1; groups <= std::min(2, s.world.size()); ++groups)
    for (const bool first : {false, true}) {
      RenderState state;
      try {
        render_digest(groups, first, {}, 2);
        CHECK(!"stopped");
      } catch (const Stopped& stopped) {
        state = stopped.state;
      }
      CHECK(render_digest(groups, !first, std::move(state), -1) == golden);
    }
}

int run(const std::string& mode) {
  const Setting s;
  const char* per_node = std::getenv("REEL_RANKS_PER_NODE");
  const int ranks = per_node ? std::atoi(per_node) : s.world.size();
  CHECK(s.nodes.count == (s.world.size() + ranks - 1) / ranks && s.nodes.index == s.world.rank() / ranks && s.node.rank() == s.world.rank() % ranks);
  if (mode == "--alone") {
    Transformer shared(tiny(5), *synthetic_weights(3, "transformer"), s.node, Numerics::f32, s.nodes);
    if (s.world.rank() == s.world.size() - 1) shared.set_probe(fail_in_block_1, nullptr);
    forward_digest(s.world, Partition::heads, shared);
    return 0;
  }
  test_bits_memory_and_bytes(s);
  test_wrong_blocks_are_seen(s);
  test_torn_weights_of_one_node(s);
  test_error_within_a_pass(s);
  test_slow_ranks(s);
  test_stop_and_resume(s);
  if (s.world.rank() == 0) std::printf("%d ranks on %d nodes: as with whole weights\n", s.world.size(), static_cast<int>(s.nodes.count));
  return 0;
}

}  // namespace
}  // namespace reel::model

int main(int argc, char** argv) {
  using namespace reel;
  int code = 0;
  try {
    code = model::run(argc > 1 ? argv[1] : "");
  } catch (const Error& e) {
    const bool all = Comm::all_arrive(1);
    std::fprintf(stderr, "%s: %s\n", all ? "all ranks failed" : "one rank failed alone", e.what());
    Comm::abort(1);
  }
  Comm::finish();
  return code;
}
