#include "model/weights.hpp"

#include <algorithm>
#include <cmath>

#include "core/digest.hpp"
#include "core/parallel.hpp"
#include "io/safetensors.hpp"
#include "model/noise.hpp"

namespace reel::model {
namespace {

class FileSource : public TensorSource {
 public:
  FileSource(const std::string& folder, const std::string& stem) : files_(io::Safetensors::open(folder, stem)) {}
  bool has(const std::string& name) const override { return files_.find(name) != nullptr; }
  void expect(const std::string& name, const Shape& shape) const override {
    const io::TensorInfo& info = files_.at(name);
    if (info.shape != shape)
      throw Error(Exit::input,
                  fmt::format("tensor '{}' has shape {}, the config asks for {}", name, to_string(info.shape), to_string(shape)),
                  info.file, "config.json and the weights do not belong together: download the folder again");
  }
  void read(const std::string& name, const Shape&, std::int64_t first, std::int64_t count, float* out) const override {
    io::read_f32(files_.at(name), first, count, out);
  }
  std::vector<std::string> names() const override { return files_.names(); }
  std::string digest(const Comm& comm) const override {
    const std::vector<std::string> all = files_.names();
    std::vector<std::string> mine(all.size());
    comm.together([&] {
      parallel_for(static_cast<std::int64_t>(all.size()), [&](std::int64_t i) {
        if (i % comm.size() == comm.rank())
          mine[static_cast<std::size_t>(i)] = io::tensor_digest(files_.at(all[static_cast<std::size_t>(i)]));
      });
    });
    std::string joined;
    for (const std::string& d : mine) joined += d;
    const std::vector<std::string> parts = comm.all_gather(joined);
    std::vector<std::size_t> at(parts.size(), 0);
    std::vector<std::pair<std::string, std::string>> pairs;
    for (std::size_t i = 0; i < all.size(); ++i) {
      const std::size_t r = i % parts.size();
      pairs.emplace_back(all[i], parts[r].substr(at[r], 64));
      at[r] += 64;
    }
    return io::weights_digest(std::move(pairs));
  }
  std::string label() const override { return files_.path(); }

 private:
  io::Safetensors files_;
};

class SyntheticSource : public TensorSource {
 public:
  SyntheticSource(std::uint64_t seed, std::string component) : seed_(seed), component_(std::move(component)) {}
  bool has(const std::string&) const override { return true; }
  void expect(const std::string&, const Shape&) const override {}
  void read(const std::string& name, const Shape& shape, std::int64_t first, std::int64_t count,
            float* out) const override {
    const std::int64_t fan_in = shape.empty() ? 1 : num_elements(shape) / std::max<std::int64_t>(1, shape[0]);
    const bool is_norm = (name.find("norm") != std::string::npos && name.ends_with(".weight")) || name.ends_with("gamma");
    // Variance 1/fan_in keeps activations in range through any depth; norms stay near one, biases near zero.
    const float scale = is_norm ? 0.1f : name.ends_with(".bias") ? 0.02f : std::sqrt(3.0f / static_cast<float>(fan_in));
    philox_uniform(seed_, component_ + "/" + name, first, count, out);
    for (std::int64_t i = 0; i < count; ++i) out[i] = (2.0f * out[i] - 1.0f) * scale + (is_norm ? 1.0f : 0.0f);
  }
  std::vector<std::string> names() const override { return {}; }
  std::string digest(const Comm&) const override {
    return sha256_hex(fmt::format("reel synthetic weights 1, seed {}, {}", seed_, component_));
  }
  std::string label() const override { return "synthetic"; }

 private:
  std::uint64_t seed_;
  std::string component_;
};

}  // namespace

std::unique_ptr<TensorSource> open_files(const std::string& folder, const std::string& stem) {
  return std::make_unique<FileSource>(folder, stem);
}
std::unique_ptr<TensorSource> synthetic_weights(std::uint64_t seed, const std::string& component) {
  return std::make_unique<SyntheticSource>(seed, component);
}

Numerics parse_numerics(std::string_view profile) {
  if (profile == "f32") return Numerics::f32;
  if (profile == "bf16") return Numerics::bf16;
  if (profile == "bf16-amx") return Numerics::bf16_amx;
  throw Error(Exit::usage, fmt::format("there is no numerics profile '{}'", profile), "model.profile", "use f32, bf16 or bf16-amx");
}

const char* profile_name(Numerics numerics) {
  return numerics == Numerics::f32 ? "f32" : numerics == Numerics::bf16 ? "bf16" : "bf16-amx";
}

float* Binder::take(std::int64_t count) {
  const std::int64_t at = used_floats_;
  used_floats_ += (count + 15) / 16 * 16;  // every tensor starts on a cache line
  return base_ ? base_ + at : nullptr;
}

const float* Binder::vector(const std::string& name, const Shape& shape) {
  source_.expect(name, shape);
  used_.insert(name);
  const std::int64_t count = num_elements(shape);
  float* place = take(count);
  if (place) jobs_.emplace_back([this, name, shape, count, place] { source_.read(name, shape, 0, count, place); });
  return place;
}

// w [N, channels, taps] -> panels whose K index runs over (tap, channel): channels-last convolutions read a run of
// channels for each tap. A plain matrix has one tap.
void Binder::take_packed(Linear& l, const std::string& name, const Shape& shape, std::int64_t channels, std::int64_t taps) {
  const std::int64_t n = l.out, k = l.in, width = kernels::panel_width;
  const bool half = l.numerics != Numerics::f32;
  const std::int64_t panel_size = width * (half ? kernels::padded_depth(k) : k), panels = (n + width - 1) / width;
  float* const place = take(panels * panel_size / (half ? 2 : 1));
  if (!place) return;
  if (half)
    l.packed_bf16 = reinterpret_cast<const kernels::Bf16*>(place);  // never read or written as floats
  else
    l.packed = place;
  for (std::int64_t p = 0; p < panels; ++p)
    jobs_.emplace_back([this, name, shape, place, half, panel_size, n, k, channels, taps, p] {
      const std::int64_t first = p * kernels::panel_width, count = std::min(kernels::panel_width, n - first);
      FloatBuffer rows(static_cast<std::size_t>(count * k)), ordered;
      source_.read(name, shape, first * k, count * k, rows.data());
      if (taps > 1) {
        ordered.resize(rows.size());
        for (std::int64_t i = 0; i < count; ++i)
          for (std::int64_t c = 0; c < channels; ++c)
            for (std::int64_t t = 0; t < taps; ++t)
              ordered[static_cast<std::size_t>(i * k + t * channels + c)] =
                  rows[static_cast<std::size_t>(i * k + c * taps + t)];
        rows.swap(ordered);
      }
      if (half)
        kernels::pack_panel(rows.data(), count, k, k, reinterpret_cast<kernels::Bf16*>(place) + p * panel_size);
      else
        kernels::pack_panel(rows.data(), count, k, k, place + p * panel_size);
    });
}

Linear Binder::linear(const std::string& name, const Shape& weight_shape, bool bias, Numerics numerics) {
  const std::string weight = name + ".weight";
  source_.expect(weight, weight_shape);
  used_.insert(weight);
  Linear l;
  l.numerics = numerics;
  l.out = weight_shape[0];
  l.in = num_elements(weight_shape) / l.out;
  take_packed(l, weight, weight_shape, l.in, 1);
  if (bias) l.bias = vector(name + ".bias", {l.out});
  return l;
}

Conv Binder::conv(const std::string& name, const Shape& shape) {
  const std::string weight = name + ".weight";
  source_.expect(weight, shape);
  used_.insert(weight);
  Conv c;
  c.out = shape[0];
  c.in = shape[1];
  c.kt = shape.size() == 5 ? shape[2] : 1;
  c.kh = shape[shape.size() - 2];
  c.kw = shape[shape.size() - 1];
  const std::int64_t taps = c.kt * c.kh * c.kw;
  c.weights.out = c.out;
  c.weights.in = c.in * taps;
  if (c.kw * c.in % kernels::bf16_step == 0) c.weights.numerics = numerics_;
  take_packed(c.weights, weight, shape, c.in, taps);
  c.weights.bias = vector(name + ".bias", {c.out});
  return c;
}

void Binder::expect_all_used() const {
  std::vector<std::string> unknown;
  for (const std::string& name : source_.names())
    // Published image-to-video files carry norm_added_q, which no one reads.
    if (!used_.contains(name) && name.find("norm_added_q") == std::string::npos) unknown.push_back(name);
  if (!unknown.empty())
    throw Error(Exit::input,
                fmt::format("{} tensors are not part of the model its config describes, the first is '{}'", unknown.size(),
                            unknown.front()),
                source_.label(), "this folder is of another model or version: check config.json");
}

void Binder::fill(const Comm& node) const {
  node.together([&] {
    parallel_for(static_cast<std::int64_t>(jobs_.size()), [&](std::int64_t i) {
      if (i % node.size() == node.rank()) jobs_[static_cast<std::size_t>(i)]();
    });
  });
}

Nodes Nodes::of(const Comm& world, const Comm& node) {
  Nodes nodes{world.split(node.rank() == 0 ? 0 : 1)};
  std::int64_t place[2] = {nodes.leaders.rank(), nodes.leaders.size()};
  node.broadcast(place, sizeof place, 0);
  nodes.index = place[0];
  nodes.count = place[1];
  return nodes;
}

SharedBlocks::SharedBlocks(const Comm& node, const Nodes& nodes, std::int64_t num_blocks, std::int64_t block_floats)
    : node_(node), nodes_(nodes), num_blocks_(num_blocks), block_floats_(block_floats) {
  num_here_ = num_blocks / nodes.count + (nodes.index < num_blocks % nodes.count ? 1 : 0);
  num_buffers_ = std::min<std::int64_t>(2, nodes.count - 1);
  store_ = SharedFloats(node, (num_here_ + num_buffers_) * block_floats);
}

float* SharedBlocks::block(std::int64_t i) const noexcept {
  return store_.data() + (is_here(i) ? i / nodes_.count : num_here_ + i % num_buffers_) * block_floats_;
}

std::int64_t SharedBlocks::pass_bytes() const noexcept {
  return node_.rank() == 0 ? static_cast<std::int64_t>(sizeof(float)) * num_here_ * block_floats_ * (nodes_.count - 1) : 0;
}

BlockPass::BlockPass(const SharedBlocks& blocks) : blocks_(blocks) {
  if (blocks_.nodes_.count == 1) return;
  blocks_.node_.barrier();  // no rank of this node is in the pass before
  send(0);
  if (blocks_.node_.rank() == 0) polling_.emplace([this] { exchange_.progress(); });
}

void BlockPass::next() {
  if (blocks_.nodes_.count == 1) return;
  exchange_.wait();
  blocks_.node_.barrier();  // it is there for all ranks of this node, and none reads the one before
  if (++next_ < blocks_.num_blocks_) send(next_);
}

void BlockPass::send(std::int64_t i) {
  if (blocks_.node_.rank() == 0)
    exchange_.start_broadcast(blocks_.nodes_.leaders, blocks_.block(i), static_cast<std::size_t>(blocks_.block_floats_) * sizeof(float),
                              static_cast<int>(i % blocks_.nodes_.count));
}

}  // namespace reel::model
