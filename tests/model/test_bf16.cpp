// The bf16 profiles against F32 of diffusers: how far they are, and that diffusers in bf16 is no nearer by half.
#include "core/comm.hpp"
#include "model/text_encoder.hpp"
#include "model/transformer.hpp"
#include "model/vae.hpp"
#include "tests/model/golden.hpp"

namespace reel::model {
namespace {

using golden::fixtures;

// Sums over a whole batch: |got - want|^2 and |want|^2.
struct Deviation {
  double difference = 0, size = 0;
  void add(const float* got, const float* want, std::int64_t n) {
    for (std::int64_t i = 0; i < n; ++i) {
      const double d = static_cast<double>(got[i]) - static_cast<double>(want[i]);
      difference += d * d, size += static_cast<double>(want[i]) * static_cast<double>(want[i]);
    }
  }
  double relative() const { return std::sqrt(difference / size); }
};

Deviation transformer(const nlohmann::json& c, const io::Safetensors& in, const io::Safetensors& out, Numerics numerics) {
  const std::string folder = fixtures + c["folder"].get<std::string>();
  const Transformer model(parse_transformer(golden::read_text(folder + "/config.json"), folder),
                          *open_files(folder, "diffusion_pytorch_model"), Comm::solo(), numerics);
  const Tensor hidden = golden::tensor(in, "hidden_states"), text = golden::tensor(in, "encoder_hidden_states"),
               timestep = golden::tensor(in, "timestep"), want = golden::tensor(out, "sample");
  Deviation d;
  for (std::int64_t b = 0; b < hidden.dim(0); ++b) {
    const std::int64_t per_item = timestep.size() / hidden.dim(0);
    const Tensor got = model.forward(Comm::solo(), Partition::heads, golden::item(hidden, b),
                                     {timestep.data() + b * per_item, static_cast<std::size_t>(per_item)}, model.encode_context(golden::item(text, b)));
    d.add(got.data(), golden::item(want, b).data(), got.size());
  }
  return d;
}

Deviation text_encoder(const nlohmann::json& c, const io::Safetensors& in, const io::Safetensors& out, Numerics numerics) {
  const std::string folder = fixtures + c["folder"].get<std::string>();
  const auto ids = golden::integers(in, "input_ids"), mask = golden::integers(in, "attention_mask");
  const Tensor want = golden::tensor(out, "last_hidden_state");
  const auto length = static_cast<std::size_t>(want.dim(1));
  std::vector<std::vector<std::int64_t>> prompts(static_cast<std::size_t>(want.dim(0)));
  for (std::size_t i = 0; i < ids.size(); ++i)
    if (mask[i]) prompts[i / length].push_back(ids[i]);
  const auto got = encode_text(parse_text_encoder(golden::read_text(folder + "/config.json"), folder), *open_files(folder, "model"), Comm::solo(),
                               prompts, numerics);
  Deviation d;
  for (std::size_t b = 0; b < got.size(); ++b) d.add(got[b].data(), golden::item(want, static_cast<std::int64_t>(b)).data(), got[b].size());
  return d;
}

Deviation vae(const nlohmann::json& c, const io::Safetensors& in, const io::Safetensors& out, Numerics numerics) {
  const std::string folder = fixtures + c["folder"].get<std::string>();
  const Vae model(parse_vae(golden::read_text(folder + "/config.json"), folder), *open_files(folder, "diffusion_pytorch_model"), Comm::solo(), numerics);
  const bool encodes = c["component"] == "vae_encode";
  const Tensor given = golden::tensor(in, encodes ? "x" : "z"), want = golden::tensor(out, encodes ? "mean" : "sample");
  Deviation d;
  for (std::int64_t b = 0; b < given.dim(0); ++b) {
    const Tensor item = golden::item(want, b);
    if (encodes) {
      const Tensor got = model.encode(Comm::solo(), golden::item(given, b));
      d.add(got.data(), item.data(), got.size());
      continue;
    }
    const std::int64_t pixels = item.dim(2) * item.dim(3), frames = item.dim(1);
    model.decode(Comm::solo(), golden::item(given, b), [&](std::int64_t first, const Tensor& some) {
      for (std::int64_t f = 0; f < some.dim(0); ++f)
        for (std::int64_t ch = 0; ch < 3; ++ch)
          for (std::int64_t i = 0; i < pixels; ++i)
            d.add(some.data() + (f * pixels + i) * 3 + ch, item.data() + (ch * frames + first + f) * pixels + i, 1);
    });
  }
  return d;
}

TEST(Bf16Parity, IsAsNearToF32AsDiffusersInBf16) {
  const auto diffusers = nlohmann::json::parse(golden::read_text(fixtures + "bf16.json"));
  int cases = 0;
  std::printf("%-32s %10s %10s %10s\n", "relative L2 to F32", "diffusers", "bf16", "bf16-amx");
  for (const auto& [name, allowed] : diffusers.items()) {
    const auto c = golden::find_case(name);
    const auto in = golden::open(name + ".in"), out = golden::open(name + ".out");
    const auto module = c["component"] == "transformer" ? transformer : c["component"] == "text_encoder" ? text_encoder : vae;
    std::printf("%-32s %10.5f", name.c_str(), allowed.get<double>());
    for (const Numerics numerics : {Numerics::bf16, Numerics::bf16_amx}) {
      const double d = module(c, in, out, numerics).relative();
      std::printf(" %10.5f", d);
      EXPECT_LE(d, 2e-2) << name;
      EXPECT_LE(d, 1.5 * allowed.get<double>()) << name;
      const bool is_vae = c["component"] == "vae_encode" || c["component"] == "vae_decode";
      EXPECT_GT(d, is_vae ? -1.0 : 1e-4) << name << ": nothing was rounded";
    }
    std::printf("\n");
    ++cases;
  }
  EXPECT_EQ(cases, 34);
}

TEST(Bf16Parity, UnknownProfilesAreRefused) {
  EXPECT_EQ(parse_numerics("bf16-amx"), Numerics::bf16_amx);
  for (const char* name : {"", "BF16", "bf16_amx", "f16"}) EXPECT_THROW(parse_numerics(name), Error) << name;
}

}  // namespace
}  // namespace reel::model
