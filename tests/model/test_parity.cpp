// Reel against diffusers 0.37.1 on tiny random models: max|delta| / max|ref| per module.
#include "golden.hpp"

#include "model/config.hpp"
#include "model/noise.hpp"
#include "model/text_encoder.hpp"
#include "model/transformer.hpp"
#include "model/vae.hpp"

namespace reel::model {
namespace {

using golden::distance;
using golden::fixtures;

constexpr double table_bound = 1e-6, module_bound = 1e-5;

TEST(Parity, RotaryTables) {
  const auto file = golden::open("rope.out");
  for (std::int64_t d : {12, 20, 128}) {
    const Tensor cos = golden::tensor(file, fmt::format("hd{}.cos", d)), sin = golden::tensor(file, fmt::format("hd{}.sin", d));
    const std::int64_t side = 2 * (d / 6), widths[3] = {d - 2 * side, side, side};
    std::int64_t column = 0;
    for (std::int64_t w : widths) {
      const RotaryAxis axis = rotary_axis(w, cos.dim(0));
      for (std::int64_t p = 0; p < cos.dim(0); ++p)
        for (std::int64_t k = 0; k < axis.pairs; ++k) {
          EXPECT_NEAR(axis.cos[static_cast<std::size_t>(p * axis.pairs + k)], cos.row(p)[column + k], table_bound);
          EXPECT_NEAR(axis.sin[static_cast<std::size_t>(p * axis.pairs + k)], sin.row(p)[column + k], table_bound);
        }
      column += axis.pairs;
    }
    EXPECT_EQ(column, d / 2);
  }
}

TEST(Parity, Sinusoid) {
  const Tensor t = golden::tensor(golden::open("sinusoid.in"), "timestep");
  const auto out = golden::open("sinusoid.out");
  for (std::int64_t dim : {256, 64, 32}) {
    const Tensor want = golden::tensor(out, fmt::format("freq{}", dim));
    std::vector<float> got(static_cast<std::size_t>(dim));
    for (std::int64_t i = 0; i < t.size(); ++i) {
      timestep_embedding(t[i], dim, got.data());
      for (std::int64_t k = 0; k < dim; ++k) {
        // PyTorch's f32 exponential is off by one unit in the last place for some frequencies, which turns the angle
        // t f_k by up to t f_k 2^-23: the bound carries that known error of the reference and nothing else.
        const double frequency = std::pow(10000.0, -static_cast<double>(k % (dim / 2)) / static_cast<double>(dim / 2));
        const double bound = table_bound + 1.2e-7 * static_cast<double>(t[i]) * frequency;
        EXPECT_NEAR(got[static_cast<std::size_t>(k)], want.row(i)[k], bound) << "t " << t[i] << " dim " << dim << " k " << k;
      }
    }
  }
}

TEST(Parity, TorchNoise) {
  const auto file = golden::open("noise.out");
  int compared = 0;
  for (const std::string& name : file.names()) {
    const std::uint64_t seed = std::stoull(name.substr(4));
    const Tensor want = golden::tensor(file, name);
    Tensor got(want.shape());
    torch_normal(seed, got.size(), got.data());
    for (std::int64_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], want[i], 1e-6) << name << " element " << i;
    ++compared;
  }
  EXPECT_GE(compared, 24);
}

TransformerConfig config_of(const std::string& folder) {
  return parse_transformer(golden::read_text(folder + "/config.json"), folder + "/config.json");
}

class TransformerParity : public testing::TestWithParam<std::string> {};

TEST_P(TransformerParity, Sample) {
  const auto c = golden::find_case(GetParam());
  const std::string folder = fixtures + c["folder"].get<std::string>();
  const auto source = open_files(folder, "diffusion_pytorch_model");
  const Comm solo = Comm::solo();
  const Transformer transformer(config_of(folder), *source, solo);
  const auto in = golden::open(GetParam() + ".in"), out = golden::open(GetParam() + ".out");
  const Tensor hidden = golden::tensor(in, "hidden_states"), text = golden::tensor(in, "encoder_hidden_states"),
               timestep = golden::tensor(in, "timestep"), want = golden::tensor(out, "sample");
  for (std::int64_t b = 0; b < hidden.dim(0); ++b) {
    const Context context = transformer.encode_context(golden::item(text, b));
    const std::int64_t per_item = timestep.size() / hidden.dim(0);
    const std::span<const float> t(timestep.data() + b * per_item, static_cast<std::size_t>(per_item));
    for (Partition partition : {Partition::heads, Partition::stream}) {
      const Tensor got = transformer.forward(solo, partition, golden::item(hidden, b), t, context);
      const double d = distance(got, golden::item(want, b));
      RecordProperty("distance", std::to_string(d));
      EXPECT_LE(d, module_bound) << GetParam() << " item " << b;
    }
  }
}
INSTANTIATE_TEST_SUITE_P(Cases, TransformerParity, testing::ValuesIn(golden::cases("transformer")),
                         [](const auto& info) { return info.param; });

// Intermediate results of every stage of the first block, so that a wrong film names its first wrong stage.
TEST(Parity, TransformerStages) {
  const std::string name = "transformer_hd12_blocks", folder = fixtures + "pipeline_tiny/transformer";
  const auto source = open_files(folder, "diffusion_pytorch_model");
  const Comm solo = Comm::solo();
  Transformer transformer(config_of(folder), *source, solo);
  const auto in = golden::open(name + ".in");
  const io::Safetensors mid = golden::open(name + ".mid");
  const Tensor hidden = golden::tensor(in, "hidden_states"), text = golden::tensor(in, "encoder_hidden_states"),
               timestep = golden::tensor(in, "timestep");
  struct Seen {
    const io::Safetensors* mid;
    std::int64_t item;
    int stages;
  } seen{&mid, 0, 0};
  transformer.set_probe(
      [](void* p, const char* stage, std::int64_t layer, const float* rows, std::int64_t num_rows, std::int64_t width) {
        auto& s = *static_cast<Seen*>(p);
        const std::map<std::string, std::string> names{
            {"patch_embedding", "patch_embedding"}, {"temb", "temb"}, {"timestep_proj", "timestep_proj"},
            {"text_embedder", "context"}, {"norm1", "block0.attn1.in"}, {"attn1.q_rotary", "block0.attn1.q_rope"},
            {"attn1.k_rotary", "block0.attn1.k_rope"}, {"attn1", "block0.attn1.out"},
            {"block", layer == 1 ? "block1.out" : "block0.out"}, {"norm_out", "proj_out.in"}, {"proj_out", "proj_out.out"}};
        if (layer == 1 && std::string(stage) != "block") return;
        const Tensor want = golden::item(golden::tensor(*s.mid, names.at(stage)), s.item);
        ASSERT_EQ(want.size(), num_rows * width) << stage;
        EXPECT_LE(distance(rows, want.data(), want.size()), module_bound) << stage << " item " << s.item;
        ++s.stages;
      },
      &seen);
  for (std::int64_t b = 0; b < 2; ++b) {
    seen.item = b;
    const Context context = transformer.encode_context(golden::item(text, b));
    transformer.forward(solo, Partition::heads, golden::item(hidden, b), {timestep.data() + b, 1}, context);
  }
  EXPECT_EQ(seen.stages, 24);
}

class TextEncoderParity : public testing::TestWithParam<std::string> {};

TEST_P(TextEncoderParity, LastHiddenState) {
  const auto c = golden::find_case(GetParam());
  const std::string folder = fixtures + c["folder"].get<std::string>();
  const auto source = open_files(folder, "model");
  const auto config = parse_text_encoder(golden::read_text(folder + "/config.json"), folder);
  const auto in = golden::open(GetParam() + ".in");
  const auto ids = golden::integers(in, "input_ids"), mask = golden::integers(in, "attention_mask");
  const Tensor want = golden::tensor(golden::open(GetParam() + ".out"), "last_hidden_state");
  std::vector<std::vector<std::int64_t>> prompts;
  const auto length = static_cast<std::size_t>(want.dim(1));
  for (std::size_t b = 0; b * length < ids.size(); ++b) {
    std::vector<std::int64_t>& p = prompts.emplace_back();
    for (std::size_t i = 0; i < length; ++i)
      if (mask[b * length + i]) p.push_back(ids[b * length + i]);
  }
  const std::vector<Tensor> got = encode_text(config, *source, Comm::solo(), prompts);
  for (std::size_t b = 0; b < got.size(); ++b) {
    ASSERT_GT(got[b].size(), 0);
    EXPECT_LE(distance(got[b].data(), golden::item(want, static_cast<std::int64_t>(b)).data(), got[b].size()), module_bound);
  }
}
INSTANTIATE_TEST_SUITE_P(Cases, TextEncoderParity, testing::ValuesIn(golden::cases("text_encoder")),
                         [](const auto& info) { return info.param; });

class VaeParity : public testing::TestWithParam<std::string> {};

TEST_P(VaeParity, DecodeOrEncode) {
  const auto c = golden::find_case(GetParam());
  const std::string folder = fixtures + c["folder"].get<std::string>();
  const auto source = open_files(folder, "diffusion_pytorch_model");
  const Comm solo = Comm::solo();
  const Vae vae(parse_vae(golden::read_text(folder + "/config.json"), folder), *source, solo);
  const auto in = golden::open(GetParam() + ".in"), out = golden::open(GetParam() + ".out");
  if (c["component"] == "vae_encode") {
    const Tensor x = golden::tensor(in, "x"), want = golden::tensor(out, "mean");
    for (std::int64_t b = 0; b < x.dim(0); ++b)
      EXPECT_LE(distance(vae.encode(solo, golden::item(x, b)), golden::item(want, b)), module_bound) << "item " << b;
    return;
  }
  const Tensor z = golden::tensor(in, "z"), want = golden::tensor(out, "sample");
  for (std::int64_t b = 0; b < z.dim(0); ++b) {
    const Tensor expected = golden::item(want, b);  // [3, F, H, W]
    const std::int64_t frames = expected.dim(1), pixels = expected.dim(2) * expected.dim(3);
    Tensor got(expected.shape());
    std::int64_t seen = 0;
    vae.decode(solo, golden::item(z, b), [&](std::int64_t first, const Tensor& chunk) {
      ASSERT_EQ(first, seen);
      for (std::int64_t f = 0; f < chunk.dim(0); ++f)
        for (std::int64_t i = 0; i < pixels; ++i)
          for (std::int64_t ch = 0; ch < 3; ++ch)
            got[(ch * frames + first + f) * pixels + i] = chunk.row(f)[i * 3 + ch];
      seen += chunk.dim(0);
    });
    EXPECT_EQ(seen, frames);
    EXPECT_LE(distance(got, expected), module_bound) << "item " << b;
  }
}
INSTANTIATE_TEST_SUITE_P(Decode, VaeParity, testing::ValuesIn(golden::cases("vae_decode")),
                         [](const auto& info) { return info.param; });
INSTANTIATE_TEST_SUITE_P(Encode, VaeParity, testing::ValuesIn(golden::cases("vae_encode")),
                         [](const auto& info) { return info.param; });

TEST(Config, PublishedParameterCounts) {
  EXPECT_EQ(num_parameters(published("wan2.1-t2v-1.3b").transformer), 1418996800);
  EXPECT_EQ(num_parameters(published("wan2.1-t2v-14b").transformer), 14288491584);
  EXPECT_EQ(num_parameters(published("wan2.2-ti2v-5b").transformer), 4999787712);
  // Of 40 blocks with 8 D D + 2 D F + F + 21 D parameters a node has 20 and one on its way, or, of 3 nodes, 14 and two.
  const std::int64_t block = 8ll * 5120 * 5120 + 2ll * 5120 * 13824 + 13824 + 21 * 5120;
  EXPECT_EQ(num_parameters(published("wan2.1-t2v-14b").transformer, 2), 14288491584 - 19 * block);
  EXPECT_EQ(num_parameters(published("wan2.1-t2v-14b").transformer, 3), 14288491584 - 24 * block);
}

}  // namespace
}  // namespace reel::model
