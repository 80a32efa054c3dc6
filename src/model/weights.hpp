#pragma once
// Weights in memory: packed once at load into the panels that the kernels read. One copy per node, or the blocks of the
// transformer shared out among nodes.
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "core/comm.hpp"
#include "core/parallel.hpp"
#include "core/tensor.hpp"
#include "kernels/kernels.hpp"

namespace reel::model {

/// How products are computed (model.profile). bf16 rounds operands and sums in f32 in the order of AVX512-BF16, bf16-amx in
/// that of AMX; everything between the products stays f32, and so do the small layers about the blocks of the transformer.
enum class Numerics { f32, bf16, bf16_amx };
/// "f32", "bf16" or "bf16-amx". Throws Error (usage) for anything else.
Numerics parse_numerics(std::string_view profile);
const char* profile_name(Numerics numerics);

/// Where tensors come from: files on disk, or a generator that needs none.
class TensorSource {
 public:
  virtual ~TensorSource() = default;
  virtual bool has(const std::string& name) const = 0;
  /// Throws Error (input) unless the tensor exists with exactly this shape.
  virtual void expect(const std::string& name, const Shape& shape) const = 0;
  /// Elements [first, first + count) in row-major order, as f32. Thread-safe.
  virtual void read(const std::string& name, const Shape& shape, std::int64_t first, std::int64_t count,
                    float* out) const = 0;
  /// All names in the source (empty for a generator).
  virtual std::vector<std::string> names() const = 0;
  /// SHA-256 of the weights (or of the generator's recipe); the ranks of `comm` share the work.
  virtual std::string digest(const Comm& comm) const = 0;
  virtual std::string label() const = 0;
};

/// Tensors of `<folder>/<stem>.safetensors` or its shards.
std::unique_ptr<TensorSource> open_files(const std::string& folder, const std::string& stem);
/// Deterministic uniform weights with variance 1/fan_in: a function of (seed, tensor name, element).
std::unique_ptr<TensorSource> synthetic_weights(std::uint64_t seed, const std::string& component);

/// y[out] = W x[in] + b: W packed in panels, f32 or bf16 as `numerics` wants them, b null when absent.
struct Linear {
  std::int64_t in = 0, out = 0;
  const float* packed = nullptr;
  const float* bias = nullptr;
  Numerics numerics = Numerics::f32;
  const kernels::Bf16* packed_bf16 = nullptr;
};

/// Causal convolution weights, kernel [kt, kh, kw]; K runs over (kt, kh, kw, channel). f32 unless kw * channels is a multiple
/// of `kernels::bf16_step`.
struct Conv {
  std::int64_t in = 0, out = 0, kt = 1, kh = 1, kw = 1;
  Linear weights;
};

/// Hands out places for tensors. The model's `bind` function runs twice: first to measure, then to fill.
class Binder {
 public:
  /// Measures when base is null.
  Binder(const TensorSource& source, Numerics numerics, float* base) : source_(source), numerics_(numerics), base_(base) {}

  bool has(const std::string& name) const { return source_.has(name); }
  /// A tensor copied as it is.
  const float* vector(const std::string& name, const Shape& shape);
  /// `<name>.weight` of that shape (first dimension = out, the rest = in), `<name>.bias` [out] when asked for.
  Linear linear(const std::string& name, const Shape& weight_shape, bool bias = true) { return linear(name, weight_shape, bias, numerics_); }
  Linear linear(const std::string& name, std::int64_t out, std::int64_t in, bool bias = true) {
    return linear(name, Shape{out, in}, bias);
  }
  /// The same in f32, whatever the profile.
  Linear linear_f32(const std::string& name, const Shape& weight_shape) { return linear(name, weight_shape, true, Numerics::f32); }
  /// `<name>.weight` [out, in, kt, kh, kw] or [out, in, kh, kw] and its bias.
  Conv conv(const std::string& name, const Shape& weight_shape);
  /// Accept this tensor without using it.
  void ignore(const std::string& name) { used_.insert(name); }

  std::int64_t num_floats() const noexcept { return used_floats_; }
  /// Throws Error (input) if the source holds tensors nobody asked for.
  void expect_all_used() const;
  /// Reads and packs everything, shared among the ranks of the node and their threads; ends with a barrier.
  void fill(const Comm& node) const;

 private:
  float* take(std::int64_t count);
  Linear linear(const std::string& name, const Shape& weight_shape, bool bias, Numerics numerics);
  void take_packed(Linear& l, const std::string& name, const Shape& shape, std::int64_t channels, std::int64_t taps);
  const TensorSource& source_;
  Numerics numerics_;
  float* base_;
  std::int64_t used_floats_ = 0;
  std::set<std::string> used_;
  std::vector<std::function<void()>> jobs_;
};

/// Whether a `bind` must account for every tensor of its source.
enum class Completeness { whole, partial };

/// Measures, allocates one copy per node, fills. `bind(Binder&)` returns the structure of pointers.
template <class Bind>
auto load_weights(const TensorSource& source, Numerics numerics, const Comm& node, SharedFloats& store, Bind bind,
                  Completeness completeness = Completeness::whole) {
  Binder measure(source, numerics, nullptr);
  node.together([&] {
    bind(measure);
    if (completeness == Completeness::whole) measure.expect_all_used();
  });
  store = SharedFloats(node, measure.num_floats());
  Binder binder(source, numerics, store.data());
  auto weights = bind(binder);
  binder.fill(node);
  return weights;
}

/// Nodes that share out the blocks of a model (run.shard_weights). By default one, which holds all of them.
struct Nodes {
  Comm leaders = Comm::solo();  ///< the first rank of every node; on the other ranks of no use
  std::int64_t index = 0, count = 1;
  /// Collective over `world`, of which `node` are the ranks of this node.
  static Nodes of(const Comm& world, const Comm& node);
};

/// Blocks of one size, in order of use. Block i lies on node i mod P: so the nodes send by turns, and none holds more than one
/// block more than another. What others hold passes through buffers: with 2 nodes one, as every second block is here, else
/// two. In memory on a node: ceil or floor(blocks / P) + min(2, P - 1) blocks.
class SharedBlocks {
 public:
  SharedBlocks() = default;
  /// Collective over `node`. Throws Error (resources) when it does not fit.
  SharedBlocks(const Comm& node, const Nodes& nodes, std::int64_t num_blocks, std::int64_t block_floats);
  bool is_here(std::int64_t i) const noexcept { return i % nodes_.count == nodes_.index; }
  /// Where block i lies, or passes through.
  float* block(std::int64_t i) const noexcept;
  /// In memory on this node.
  std::int64_t num_floats() const noexcept { return store_.size(); }
  /// What this rank sends in a pass.
  std::int64_t pass_bytes() const noexcept;

 private:
  friend class BlockPass;
  Comm node_ = Comm::solo();
  Nodes nodes_;
  std::int64_t num_blocks_ = 0, block_floats_ = 0, num_here_ = 0, num_buffers_ = 0;
  SharedFloats store_;
};

/// One use of all blocks in order. The next one is on its way while a block is used: the first rank of every node sends or
/// receives it, between the items of its loops. Collective over all ranks of all nodes: each makes the same passes.
class BlockPass {
 public:
  /// The first block sets out.
  explicit BlockPass(const SharedBlocks& blocks);
  /// Waits until the next block is in place; the one before may be overwritten. Call it for each of them.
  void next();

 private:
  void send(std::int64_t i);
  const SharedBlocks& blocks_;
  std::int64_t next_ = 0;
  Exchange exchange_;
  std::optional<Polling> polling_;
};

/// Measures, allocates this node's share, fills it. `bind(Binder&, i)` returns the structure of pointers of block i.
template <class Bind>
auto load_blocks(const TensorSource& source, Numerics numerics, const Comm& node, const Nodes& nodes, std::int64_t num_blocks, SharedBlocks& store,
                 Bind bind) {
  Binder measure(source, numerics, nullptr);
  node.together([&] {
    for (std::int64_t i = 0; i < num_blocks; ++i) bind(measure, i);
  });
  REEL_CHECK(measure.num_floats() % num_blocks == 0);
  store = SharedBlocks(node, nodes, num_blocks, measure.num_floats() / num_blocks);
  std::vector<decltype(bind(measure, 0))> blocks;
  for (std::int64_t i = 0; i < num_blocks; ++i) {
    Binder binder(source, numerics, store.block(i));
    blocks.push_back(bind(binder, i));
    if (store.is_here(i)) binder.fill(node);
  }
  return blocks;
}

}  // namespace reel::model
