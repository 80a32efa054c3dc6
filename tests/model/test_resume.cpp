// Going on in the middle gives the bits of going through: decoding from any latent frame, denoising from any step.
#include <cstring>
#include <limits>

#include "golden.hpp"
#include "model/generate.hpp"
#include "model/noise.hpp"

namespace reel::model {
namespace {

using std::int64_t;

bool same(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && std::memcmp(a.data(), b.data(), static_cast<std::size_t>(a.size()) * sizeof(float)) == 0;
}

Tensor noise_of(const Shape& shape) {
  Tensor t(shape);
  philox_normal(11, "resume", 0, t.size(), t.data());
  return t;
}

// Every frame of the past is loud: of the three weights over time the oldest is four times as large, the others an eighth.
// What a join forgets then shows in the bits, however many layers later.
class Loud final : public TensorSource {
 public:
  explicit Loud(std::unique_ptr<TensorSource> source) : source_(std::move(source)) {}
  bool has(const std::string& name) const override { return source_->has(name); }
  void expect(const std::string& name, const Shape& shape) const override { source_->expect(name, shape); }
  void read(const std::string& name, const Shape& shape, int64_t first, int64_t count, float* out) const override {
    source_->read(name, shape, first, count, out);
    if (shape.size() != 5 || shape[2] != 3) return;
    for (int64_t i = 0; i < count; ++i) out[i] *= (first + i) / (shape[3] * shape[4]) % 3 == 0 ? 4.0f : 0.125f;
  }
  std::vector<std::string> names() const override { return source_->names(); }
  std::string digest(const Comm& comm) const override { return source_->digest(comm); }
  std::string label() const override { return source_->label(); }

 private:
  std::unique_ptr<TensorSource> source_;
};

struct VaeCase {
  std::string folder;
  bool loud;
};

void PrintTo(const VaeCase& c, std::ostream* out) { *out << c.folder; }

class DecodeFrom : public testing::TestWithParam<VaeCase> {
 protected:
  static constexpr int64_t num_latents = 44;  // 12 + the farthest reach + 2: no more, this is most of the time under sanitizers

  Vae make() const {
    const std::string folder = golden::fixtures + GetParam().folder;
    std::unique_ptr<TensorSource> source = open_files(folder, "diffusion_pytorch_model");
    if (GetParam().loud) source = std::make_unique<Loud>(std::move(source));
    return Vae(parse_vae(golden::read_text(folder + "/config.json"), folder), *source, solo);
  }
  Tensor clip() const { return noise_of({vae.config().z_dim, num_latents, 2, 1}); }
  // Frames of each latent frame from `begin` on.
  std::map<int64_t, Tensor> decode(const Tensor& z, int64_t begin) const {
    std::map<int64_t, Tensor> latents;
    int64_t next = begin;
    vae.decode(
        solo, z,
        [&](int64_t first, const Tensor& frames) {
          EXPECT_EQ(first, next == 0 ? 0 : 1 + 4 * (next - 1));
          EXPECT_EQ(frames.dim(0), next == 0 ? 1 : 4);
          latents.emplace(next, frames);
        },
        begin, [&](int64_t done) { EXPECT_EQ(done, ++next); });
    EXPECT_EQ(next, z.dim(1));
    return latents;
  }
  // `z` with latent frame `t` multiplied.
  static Tensor with_frame(Tensor z, int64_t t, float factor) {
    const int64_t area = z.dim(2) * z.dim(3);
    for (int64_t c = 0; c < z.dim(0); ++c)
      for (int64_t i = 0; i < area; ++i) z[(c * z.dim(1) + t) * area + i] *= factor;
    return z;
  }
  // How many latent frames later a frame still matters: NaN gets wherever any product leads.
  int64_t reach(int64_t t) const {
    int64_t last = -1;
    for (const auto& [latent, frames] : decode(with_frame(clip(), t, std::numeric_limits<float>::quiet_NaN()), 0))
      if (!std::all_of(frames.begin(), frames.end(), [](float x) { return std::isfinite(x); })) last = latent;
    return last - t;
  }

  const Comm solo = Comm::solo();
  const Vae vae = make();
};

TEST_P(DecodeFrom, AnyLatentFrameGivesTheSameBits) {
  const Tensor z = clip();
  const auto whole = decode(z, 0);
  ASSERT_EQ(static_cast<int64_t>(whole.size()), num_latents);
  for (const int64_t begin : {1, 2, 5, 11, 24, 28, 30, 31, 37, 43, 44}) {
    const auto rest = decode(z, begin);
    ASSERT_EQ(static_cast<int64_t>(rest.size()), num_latents - begin);
    for (const auto& [latent, frames] : rest) EXPECT_TRUE(same(frames, whole.at(latent))) << "from " << begin << ": latent frame " << latent;
  }
}

// Without the frames before, the same latents give other frames: going on is not starting anew.
TEST_P(DecodeFrom, ControlACutClipGivesOtherBits) {
  const Tensor z = clip();
  const auto whole = decode(z, 0);
  for (const int64_t cut : {1, 24, 39}) {
    Tensor rest({z.dim(0), num_latents - cut, z.dim(2), z.dim(3)});
    const int64_t area = z.dim(2) * z.dim(3);
    for (int64_t c = 0; c < z.dim(0); ++c)
      std::copy_n(z.data() + (c * num_latents + cut) * area, rest.dim(1) * area, rest.data() + c * rest.dim(1) * area);
    EXPECT_FALSE(same(decode(rest, 0).at(1), whole.at(cut + 1))) << "cut at " << cut;
  }
}

// So that equal bits above mean something: the oldest frame that matters shows in them (where the past is loud), the one
// before does not.
TEST_P(DecodeFrom, ControlTheOldestFrameThatMattersShows) {
  const int64_t changed = 12, back = reach(changed);
  RecordProperty("reach", static_cast<int>(back));
  EXPECT_GE(back, 20);
  ASSERT_LT(changed + back + 1, num_latents);
  const auto whole = decode(clip(), 0), other = decode(with_frame(clip(), changed, -2.0f), 0);
  EXPECT_TRUE(same(whole.at(changed - 1), other.at(changed - 1)));
  EXPECT_TRUE(same(whole.at(changed + back + 1), other.at(changed + back + 1)));
  if (!GetParam().loud) return;
  EXPECT_FALSE(same(whole.at(changed + back), other.at(changed + back))) << "reach " << back;
}

INSTANTIATE_TEST_SUITE_P(Vaes, DecodeFrom,
                         testing::Values(VaeCase{"pipeline_tiny/vae", false}, VaeCase{"pipeline_tiny/vae", true}, VaeCase{"vae_patch2", false},
                                         VaeCase{"vae_patch2", true}, VaeCase{"vae_residual", false}, VaeCase{"vae_residual", true}),
                         [](const auto& info) {
                           return info.param.folder.substr(0, info.param.folder.find('/')) + (info.param.loud ? "_loud" : "");
                         });

struct DenoiseCase {
  std::string name, folder;
  SchedulerConfig::Kind kind;
  double guidance;
  int64_t num_clean;
};

void PrintTo(const DenoiseCase& c, std::ostream* out) { *out << c.folder; }

class DenoiseFrom : public testing::TestWithParam<DenoiseCase> {};

TEST_P(DenoiseFrom, AnyStepGivesTheSameBits) {
  const Pipeline pipeline = Pipeline::open(golden::fixtures + GetParam().folder);
  const Team team;
  Observer silent;
  Sampling sampling;
  sampling.num_steps = 6;
  sampling.guidance_scale = GetParam().guidance;
  sampling.override_kind = true;
  sampling.kind = GetParam().kind;
  const Transformer transformer = load_transformer(pipeline, team);
  const auto features = encode_prompts(pipeline, team, {"a ball falls", "blurry"}, silent);
  const Context prompt = transformer.encode_context(features[0]), negative = transformer.encode_context(features[1]);
  const Tensor noise = noise_of({16, 3, 4, 4}), clean = GetParam().num_clean ? noise_of({16, GetParam().num_clean, 4, 4}) : Tensor();
  std::vector<DenoiseState> states;
  const auto run = [&](DenoiseState from, std::vector<DenoiseState>* heard) {
    return denoise(team, transformer, pipeline.scheduler(), sampling, prompt, negative, noise, clean, silent,
                   [&](const DenoiseState& now) {
                     if (heard) heard->push_back(now);
                   },
                   std::move(from));
  };
  const Tensor whole = run({}, &states);
  ASSERT_EQ(states.size(), 6u);
  for (std::size_t k = 0; k < states.size(); ++k) {
    EXPECT_EQ(states[k].scheduler.step, static_cast<int>(k) + 1);
    std::vector<DenoiseState> rest;
    EXPECT_TRUE(same(run(states[k], &rest), whole)) << "after step " << k + 1;
    EXPECT_EQ(rest.size(), states.size() - k - 1);
    for (std::size_t i = 0; i < rest.size(); ++i) EXPECT_TRUE(same(rest[i].sample, states[k + 1 + i].sample)) << k << ", " << i;
  }
  // Control: another state, other latents.
  DenoiseState other = states[2];
  other.sample[other.sample.size() - 1] += 0.01f;
  EXPECT_FALSE(same(run(other, nullptr), whole));
  if (GetParam().kind == SchedulerConfig::Kind::unipc) {
    EXPECT_EQ(states[0].scheduler.history.size(), 2u);
    EXPECT_EQ(states[4].scheduler.history.size(), 3u);
    DenoiseState forgetful = states[3];
    forgetful.scheduler.history.pop_back();
    EXPECT_THROW(run(forgetful, nullptr), Error);
    for (Tensor& t : (forgetful = states[3]).scheduler.history) t = Tensor::zeros(t.shape());
    EXPECT_FALSE(same(run(forgetful, nullptr), whole));
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, DenoiseFrom,
                         testing::Values(DenoiseCase{"unipc", "pipeline_tiny", SchedulerConfig::Kind::unipc, 1, 0},
                                         DenoiseCase{"unipc_guided", "pipeline_tiny", SchedulerConfig::Kind::unipc, 4, 0},
                                         DenoiseCase{"euler_guided", "pipeline_tiny", SchedulerConfig::Kind::euler, 4, 0},
                                         DenoiseCase{"given_frame", "pipeline_expand", SchedulerConfig::Kind::unipc, 4, 1}),
                         [](const auto& info) { return info.param.name; });

// A shot of three segments: steps, the change of segments, decoding.
class RenderFrom : public testing::Test {
 protected:
  void SetUp() override {
    shot.prompts = {"a ball falls", ""};
    shot.num_frames = 4 * (num_latents - 1) + 1;
    shot.height_px = shot.width_px = 32;
    shot.seed = 3;
    sampling.num_steps = 3;
    sampling.guidance_scale = 1;
  }
  Rendered run(RenderState from, std::vector<RenderState>* heard = nullptr) const {
    Observer silent;
    return renderer.render(team, shot, features[0], {}, sampling, 16, silent, std::move(from), [&](const RenderState& now) {
      if (heard) heard->push_back(now);
    });
  }
  std::vector<RenderState> all_states() const {
    std::vector<RenderState> states;
    run({}, &states);
    return states;
  }
  void expect_refused(RenderState state, const char* why) const {
    try {
      run(std::move(state));
      ADD_FAILURE() << why << ": no Error was thrown";
    } catch (const Error& e) {
      EXPECT_EQ(e.exit(), Exit::input) << why << ": " << e.what();
    }
  }

  static constexpr int64_t num_latents = 5;
  Observer none;
  const Team team;
  const Pipeline pipeline = Pipeline::open(REEL_SOURCE_DIR "/tests/bits/pipeline_long");
  const Renderer renderer{pipeline, team, none};
  const std::vector<Tensor> features = encode_prompts(pipeline, team, {"a ball falls"}, none);
  Shot shot;
  Sampling sampling;
};

TEST_F(RenderFrom, AnyStateGivesTheSameFilm) {
  std::vector<RenderState> states;
  const Rendered whole = run({}, &states);
  ASSERT_EQ(plan_segments(num_latents, pipeline.trained_latent_frames(), shot.segment_overlap).size(), 3u);
  ASSERT_EQ(states.size(), 3u * 3u + num_latents);
  for (std::size_t k = 0; k < states.size(); ++k) {
    EXPECT_EQ(states[k].segment, k < 9 ? static_cast<int64_t>(k / 3) : 3);
    EXPECT_EQ(states[k].decoded, k < 9 ? 0 : static_cast<int64_t>(k) - 8);
  }
  for (std::size_t k = 0; k < states.size(); ++k) {
    std::vector<RenderState> rest;
    const Rendered again = run(states[k], &rest);
    EXPECT_TRUE(same(again.latents, whole.latents)) << "state " << k;
    EXPECT_EQ(again.film.rgb, whole.film.rgb) << "state " << k;
    EXPECT_EQ(rest.size(), states.size() - k - 1) << "state " << k;
  }
  RenderState other = states[10];  // control: nothing of what is done is done again
  other.done.film.rgb[0] ^= 1;
  EXPECT_NE(run(other).film.rgb, whole.film.rgb);
}

TEST_F(RenderFrom, RefusesTheStateOfAnotherShot) {
  const std::vector<RenderState> states = all_states();
  const auto refuse = [&](std::size_t k, const char* why, auto change) {
    RenderState s = states[k];
    change(s);
    expect_refused(std::move(s), why);
  };
  constexpr int64_t huge = std::numeric_limits<int64_t>::max(), lowest = std::numeric_limits<int64_t>::min();
  refuse(1, "latents of another size", [](RenderState& s) { s.done.latents = Tensor::zeros({16, num_latents, 4, 5}); });
  refuse(1, "latents of another rank", [](RenderState& s) { s.done.latents = Tensor::zeros({16 * num_latents * 4, 4}); });
  refuse(1, "sample of another size", [](RenderState& s) { s.denoise.sample = Tensor::zeros({16, 2, 4, 4}); });
  refuse(1, "sample without axes", [](RenderState& s) { s.denoise.sample = Tensor::zeros({}); });
  refuse(1, "history of another size", [](RenderState& s) { s.denoise.scheduler.history[0] = Tensor::zeros({16, 3, 4, 5}); });
  refuse(1, "second history of another size", [](RenderState& s) { s.denoise.scheduler.history[1] = Tensor::zeros({1}); });
  refuse(1, "no history", [](RenderState& s) { s.denoise.scheduler.history.clear(); });
  refuse(1, "more history", [](RenderState& s) { s.denoise.scheduler.history.resize(9, s.denoise.sample); });
  refuse(1, "a step of a longer run", [](RenderState& s) { s.denoise.scheduler.step = 4; });
  refuse(1, "a negative step", [](RenderState& s) { s.denoise.scheduler.step = -1; });
  refuse(1, "a step without a sample", [](RenderState& s) { s.denoise.sample = {}; });
  refuse(10, "a sample when all is denoised", [&](RenderState& s) { s.denoise = states[1].denoise; });
  refuse(10, "decoded before it is denoised", [](RenderState& s) { s.segment = 2; });
  for (const int64_t n : {lowest, int64_t{-1}, int64_t{4}, huge}) refuse(1, "a segment that is not there", [&](RenderState& s) { s.segment = n; });
  for (const int64_t n : {lowest, int64_t{-1}, num_latents + 1, huge}) refuse(10, "more decoded", [&](RenderState& s) { s.decoded = n; });
  refuse(10, "a film of another size", [](RenderState& s) {
    s.done.film.height_px = 64;
    s.done.film.rgb.resize(static_cast<std::size_t>(s.done.film.num_frames * s.done.film.frame_bytes()));
  });
}

}  // namespace
}  // namespace reel::model
