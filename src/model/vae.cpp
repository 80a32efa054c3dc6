#include "model/vae.hpp"

#include <algorithm>
#include <numeric>
#include <optional>

#include "model/vae_stream.hpp"

namespace reel::model {
namespace {

using std::int64_t;

struct Middle {
  ResidualBlock first, second;
  MiddleAttention attention;
};

// A level of the network: residual blocks, then a change of size (none at the last level). In Wan 2.2 a shortcut to
// `shortcut_channels` leads around it all.
struct Level {
  std::vector<ResidualBlock> blocks;
  std::optional<Conv> spatial, temporal;
  int64_t shortcut_channels = 0;
};

void add(const Band& from, Band& to) {
  REEL_CHECK(from.data.size() == to.data.size());
  for (std::size_t i = 0; i < to.data.size(); ++i) to.data[i] += from.data[i];
}

Band level_down(VaeStream& stream, const Level& level, Band x) {
  const Band input = level.shortcut_channels ? x : Band();
  for (const ResidualBlock& block : level.blocks) x = stream.residual(block, std::move(x));
  if (level.spatial) x = stream.convolve(*level.spatial, x, 2);
  if (level.temporal) x = stream.halve_time(*level.temporal, x);
  if (level.shortcut_channels)
    add(average_down(input, level.shortcut_channels, level.temporal ? 2 : 1, level.spatial ? 2 : 1), x);
  return x;
}

ResidualBlock bind_residual(Binder& b, const std::string& name, int64_t in, int64_t out) {
  ResidualBlock r{};
  r.norm1 = b.vector(name + ".norm1.gamma", {in, 1, 1, 1});
  r.conv1 = b.conv(name + ".conv1", {out, in, 3, 3, 3});
  r.norm2 = b.vector(name + ".norm2.gamma", {out, 1, 1, 1});
  r.conv2 = b.conv(name + ".conv2", {out, out, 3, 3, 3});
  r.has_shortcut = in != out;
  if (r.has_shortcut) r.shortcut = b.conv(name + ".conv_shortcut", {out, in, 1, 1, 1});
  return r;
}

Middle bind_middle(Binder& b, const std::string& name, int64_t c) {
  Middle m{};
  m.first = bind_residual(b, name + ".resnets.0", c, c);
  m.attention.norm = b.vector(name + ".attentions.0.norm.gamma", {c, 1, 1});
  m.attention.qkv = b.linear(name + ".attentions.0.to_qkv", Shape{3 * c, c, 1, 1});
  m.attention.proj = b.linear(name + ".attentions.0.proj", Shape{c, c, 1, 1});
  m.second = bind_residual(b, name + ".resnets.1", c, c);
  return m;
}

Band through_middle(VaeStream& stream, const Middle& m, Band x) {
  x = stream.residual(m.first, std::move(x));
  x = stream.attention(m.attention, std::move(x));
  return stream.residual(m.second, std::move(x));
}

Band pointwise(const Conv& conv, const Band& x) {
  Band y(x.frames, x.rows, x.width, conv.out);
  multiply(conv.weights, x.data.data(), x.frames * x.rows * x.width, y.data.data());
  return y;
}

Band level_up(VaeStream& stream, const Level& level, Band x, bool first) {
  const Band input = level.shortcut_channels ? x : Band();
  for (const ResidualBlock& block : level.blocks) x = stream.residual(block, std::move(x));
  if (level.temporal) x = stream.double_time(*level.temporal, x, first);
  if (level.spatial) x = stream.convolve_doubled(*level.spatial, x);
  if (level.shortcut_channels) add(duplicate_up(input, level.shortcut_channels, level.temporal ? 2 : 1, 2, first), x);
  return x;
}

}  // namespace

struct Vae::Weights {
  Conv encoder_in, encoder_out, quant, post_quant, decoder_in, decoder_out;
  std::vector<Level> down, up;
  Middle encoder_middle, decoder_middle;
  const float *encoder_norm, *decoder_norm;
};

Vae::Vae(const VaeConfig& config, const TensorSource& source, const Comm& node, Numerics numerics) : config_(config) {
  weights_ = std::make_unique<Weights>(load_weights(source, numerics, node, store_, [&](Binder& b) {
    const VaeConfig& c = config_;
    const std::size_t levels = c.dim_mult.size();
    Weights w;
    // Encoder: a flat list of blocks; widths base, base*m0, base*m1, ...
    int64_t width = c.base_dim, index = 0;
    w.encoder_in = b.conv("encoder.conv_in", {width, c.in_channels, 3, 3, 3});
    for (std::size_t i = 0; i < levels; ++i) {
      Level level;
      const int64_t out = c.base_dim * c.dim_mult[i];
      const bool last = i + 1 == levels;
      // Wan 2.1 lists blocks and resamplers flat, Wan 2.2 by level.
      const std::string nested = fmt::format("encoder.down_blocks.{}", i);
      for (int64_t j = 0; j < c.num_res_blocks; ++j) {
        const std::string name = c.is_residual ? fmt::format("{}.resnets.{}", nested, j) : fmt::format("encoder.down_blocks.{}", index++);
        level.blocks.push_back(bind_residual(b, name, width, out));
        width = out;
      }
      if (!last) {
        const std::string name = c.is_residual ? nested + ".downsampler" : fmt::format("encoder.down_blocks.{}", index++);
        level.spatial = b.conv(name + ".resample.1", {width, width, 3, 3});
        if (c.temporal_downsample[i]) level.temporal = b.conv(name + ".time_conv", {width, width, 3, 1, 1});
      }
      if (c.is_residual) level.shortcut_channels = out;
      w.down.push_back(std::move(level));
    }
    w.encoder_middle = bind_middle(b, "encoder.mid_block", width);
    w.encoder_norm = b.vector("encoder.norm_out.gamma", {width, 1, 1, 1});
    w.encoder_out = b.conv("encoder.conv_out", {2 * c.z_dim, width, 3, 3, 3});
    w.quant = b.conv("quant_conv", {2 * c.z_dim, 2 * c.z_dim, 1, 1, 1});
    w.post_quant = b.conv("post_quant_conv", {c.z_dim, c.z_dim, 1, 1, 1});
    // Decoder: widths from the widest down; in Wan 2.1 every upsampling halves the channels.
    width = c.decoder_base_dim * c.dim_mult.back();
    w.decoder_in = b.conv("decoder.conv_in", {width, c.z_dim, 3, 3, 3});
    w.decoder_middle = bind_middle(b, "decoder.mid_block", width);
    for (std::size_t i = 0; i < levels; ++i) {
      Level level;
      const int64_t out = c.decoder_base_dim * c.dim_mult[levels - 1 - i];
      const std::string name = fmt::format("decoder.up_blocks.{}", i);
      for (int64_t j = 0; j <= c.num_res_blocks; ++j) {
        level.blocks.push_back(bind_residual(b, fmt::format("{}.resnets.{}", name, j), width, out));
        width = out;
      }
      if (i + 1 < levels) {
        const std::string resample = name + (c.is_residual ? ".upsampler" : ".upsamplers.0");
        const int64_t after = c.is_residual ? width : width / 2;
        level.spatial = b.conv(resample + ".resample.1", {after, width, 3, 3});
        if (c.temporal_downsample[levels - 2 - i]) level.temporal = b.conv(resample + ".time_conv", {2 * width, width, 3, 1, 1});
        if (c.is_residual) level.shortcut_channels = out;
        width = after;
      }
      w.up.push_back(std::move(level));
    }
    w.decoder_norm = b.vector("decoder.norm_out.gamma", {width, 1, 1, 1});
    w.decoder_out = b.conv("decoder.conv_out", {c.out_channels, width, 3, 3, 3});
    return w;
  }));
}
Vae::~Vae() = default;
Vae::Vae(Vae&&) noexcept = default;

std::vector<int64_t> Vae::joins(int64_t begin) const {
  // Backwards: what a stage looks back at, in frames of its own rate. Two frames for each convolution over time.
  const auto back = [](int64_t frames, int64_t rate) { return (frames + rate - 1) / rate; };
  int64_t rate = 1;
  for (const Level& level : weights_->up) rate *= level.temporal ? 2 : 1;
  std::vector<int64_t> from{begin - back(2, rate)};
  for (auto level = weights_->up.rbegin(); level != weights_->up.rend(); ++level) {
    rate /= level->temporal ? 2 : 1;
    from.push_back(from.back() - back(4 * static_cast<int64_t>(level->blocks.size()) + (level->temporal ? 2 : 0), rate));
  }
  from.push_back(from.back() - 10);  // the first convolution and the two residual blocks of the middle
  std::reverse(from.begin(), from.end());
  return from;
}

void Vae::decode(const Comm& everyone, const Tensor& z, const Sink& sink, int64_t begin,
                 const std::function<void(int64_t)>& after_latent) const {
  const VaeConfig& c = config_;
  REEL_CHECK(z.shape().size() == 4 && z.dim(0) == c.z_dim && begin >= 0 && begin <= z.dim(1), "latents {}, from {}", to_string(z.shape()), begin);
  const int64_t frames = z.dim(1), height = z.dim(2);
  const int workers = static_cast<int>(std::min<int64_t>(everyone.size(), height));
  const bool works = everyone.rank() < workers;
  const Comm comm = everyone.split(works ? 0 : 1);
  VaeStream stream(comm, height);
  const std::vector<int64_t> from = joins(begin);
  for (int64_t t = std::max<int64_t>(0, from.front()); t < frames; ++t) {
    const Tensor pixels = works ? decode_one(stream, z, t, from) : Tensor();
    if (t < begin) continue;
    if (!pixels.empty()) sink(t == 0 ? 0 : 1 + (t - 1) * c.scale_factor_temporal, pixels);
    if (after_latent) after_latent(t + 1);
  }
}

// Frames of latent frame t on rank 0; empty on others, and for frames before `from.back()`.
Tensor Vae::decode_one(VaeStream& stream, const Tensor& z, int64_t t, const std::vector<int64_t>& from) const {
  const VaeConfig& c = config_;
  const Comm& comm = stream.comm();
  const int64_t frames = z.dim(1), height = z.dim(2), width = z.dim(3), p = c.patch_size;
  const Interval mine = stream.my_rows();
  Band x(1, mine.size(), width, c.z_dim);
  for (int64_t y = 0; y < mine.size(); ++y)
    for (int64_t i = 0; i < width; ++i)
      for (int64_t ch = 0; ch < c.z_dim; ++ch)
        x.data[static_cast<std::size_t>((y * width + i) * c.z_dim + ch)] =
            z[((ch * frames + t) * height + mine.begin + y) * width + i];
  x = stream.convolve(weights_->decoder_in, pointwise(weights_->post_quant, x));
  x = through_middle(stream, weights_->decoder_middle, std::move(x));
  for (std::size_t i = 0; i < weights_->up.size(); ++i) {
    if (t < from[i + 1]) return {};
    x = level_up(stream, weights_->up[i], std::move(x), t == 0);
  }
  if (t < from.back()) return {};
  x = stream.convolve_normalised(weights_->decoder_out, weights_->decoder_norm, x);
  // Pixels out of patches (column offset slower than row offset), clamped; then the bands meet on rank 0.
  const int64_t rows = x.rows * p, columns = x.width * p;
  Tensor pixels({x.frames, rows, columns, 3});
  for_rows(x.frames * rows, [&](int64_t i) {
    const int64_t f = i / rows, y = i % rows;
    for (int64_t col = 0; col < columns; ++col)
      for (int64_t ch = 0; ch < 3; ++ch) {
        const float v = x.frame(f)[(y / p * x.width + col / p) * x.channels + (ch * p + col % p) * p + y % p];
        pixels[(i * columns + col) * 3 + ch] = std::min(std::max(v, -1.0f), 1.0f);  // in this order NaN stays NaN
      }
  });
  const int64_t row_scale = rows / mine.size(), row_floats = columns * 3;
  Tensor whole = comm.rank() == 0 ? Tensor({x.frames, height * row_scale, columns, 3}) : Tensor();
  for (int64_t f = 0; f < x.frames; ++f) {
    std::vector<Comm::Message> messages;
    const auto bytes = [&](int64_t r) { return static_cast<std::size_t>(r * row_scale * row_floats) * sizeof(float); };
    const float* band = pixels.data() + f * rows * row_floats;
    if (comm.rank() == 0)
      for (int r = 0; r < comm.size(); ++r) {
        const Interval theirs = slice(height, comm.size(), r);
        messages.push_back({r, band, r == 0 ? bytes(mine.size()) : 0,
                            whole.data() + (f * height + theirs.begin) * row_scale * row_floats, bytes(theirs.size())});
      }
    else
      messages.push_back({0, band, bytes(mine.size()), nullptr, 0});
    comm.exchange(messages);
  }
  return whole;
}

Tensor Vae::encode(const Comm& everyone, const Tensor& video) const {
  const VaeConfig& c = config_;
  REEL_CHECK(video.shape().size() == 4 && video.dim(0) == 3 && video.dim(1) >= 1, "video {}", to_string(video.shape()));
  const int64_t s = c.scale_factor_spatial, p = c.patch_size, in_frames = video.dim(1), height = video.dim(2), columns = video.dim(3);
  if (height % s || columns % s)
    throw Error(Exit::usage, fmt::format("a film of {} x {} pixels cannot be encoded", columns, height), "first frames",
                fmt::format("use a width and height that are multiples of {}", s));
  const int64_t h = height / s, w = columns / s, t4 = c.scale_factor_temporal, frames = 1 + (in_frames - 1) / t4;
  Tensor mean({c.z_dim, frames, h, w});
  const int workers = static_cast<int>(std::min<int64_t>(everyone.size(), h));
  const Comm comm = everyone.split(everyone.rank() < workers ? 0 : 1);
  if (everyone.rank() < workers) {
    VaeStream stream(comm, h);
    const Interval mine = stream.my_rows();
    for (int64_t t = 0; t < frames; ++t) {
      const int64_t first = t == 0 ? 0 : 1 + (t - 1) * t4, count = t == 0 ? 1 : t4;
      Band x(count, mine.size() * s / p, columns / p, c.in_channels);
      for_rows(count * x.rows, [&](int64_t i) {
        const int64_t f = i / x.rows, y = i % x.rows;
        for (int64_t col = 0; col < x.width; ++col)
          for (int64_t ch = 0; ch < 3; ++ch)
            for (int64_t dx = 0; dx < p; ++dx)
              for (int64_t dy = 0; dy < p; ++dy)
                x.frame(f)[(y * x.width + col) * x.channels + (ch * p + dx) * p + dy] =
                    video[((ch * in_frames + first + f) * height + mine.begin * s + y * p + dy) * columns + col * p + dx];
      });
      x = stream.convolve(weights_->encoder_in, x);
      for (const Level& level : weights_->down) x = level_down(stream, level, std::move(x));
      x = through_middle(stream, weights_->encoder_middle, std::move(x));
      x = stream.convolve_normalised(weights_->encoder_out, weights_->encoder_norm, x);
      x = pointwise(weights_->quant, x);
      REEL_CHECK(x.frames == 1 && x.rows == mine.size() && x.width == w);
      Tensor all({h, w, 2 * c.z_dim});
      std::vector<std::size_t> counts;
      for (int r = 0; r < comm.size(); ++r)
        counts.push_back(static_cast<std::size_t>(slice(h, comm.size(), r).size() * w * 2 * c.z_dim) * sizeof(float));
      comm.all_gather(x.data.data(), all.data(), counts);
      for (int64_t i = 0; i < h * w; ++i)
        for (int64_t ch = 0; ch < c.z_dim; ++ch) mean[(ch * frames + t) * h * w + i] = all[i * 2 * c.z_dim + ch];
    }
  }
  everyone.broadcast(mean.data(), static_cast<std::size_t>(mean.size()) * sizeof(float), 0);
  return mean;
}

Tensor Vae::denormalise(const Tensor& latents) const {
  Tensor z(latents.shape());
  const int64_t per_channel = latents.size() / config_.z_dim;
  for (int64_t i = 0; i < latents.size(); ++i) {
    const auto c = static_cast<std::size_t>(i / per_channel);
    const float reciprocal = 1.0f / config_.latents_std[c];
    z[i] = latents[i] / reciprocal + config_.latents_mean[c];
  }
  return z;
}

Tensor Vae::normalise(const Tensor& z) const {
  Tensor latents(z.shape());
  const int64_t per_channel = z.size() / config_.z_dim;
  for (int64_t i = 0; i < z.size(); ++i) {
    const auto c = static_cast<std::size_t>(i / per_channel);
    const float reciprocal = 1.0f / config_.latents_std[c];
    latents[i] = (z[i] - config_.latents_mean[c]) * reciprocal;
  }
  return latents;
}

double VaeFlops::total() const noexcept { return std::accumulate(levels.begin(), levels.end(), 0.0); }

VaeFlops vae_decode_flops(const VaeConfig& c, std::int64_t frames, std::int64_t height, std::int64_t width) {
  VaeFlops work{std::vector<double>(c.dim_mult.size())};
  std::size_t level = 0;
  auto t = static_cast<double>(frames), area = static_cast<double>(height * width);
  // Of kernel 3 in time the first frame of a clip needs one tap, the second two: together one frame less.
  const auto conv = [&](double in, double out, double taps, bool over_time) {
    const double t_counted = !over_time ? t : t > 1 ? t - 1 : t / 3;
    work.levels[level] += 2.0 * t_counted * area * in * out * taps;
  };
  const auto z = static_cast<double>(c.z_dim);
  auto d = static_cast<double>(c.decoder_base_dim * c.dim_mult.back());
  conv(z, z, 1, false);
  conv(z, d, 27, true);
  for (int i = 0; i < 4; ++i) conv(d, d, 27, true);
  conv(d, 4 * d, 1, false);
  work.levels[0] += 4.0 * t * area * area * d;
  const std::size_t levels = c.dim_mult.size();
  for (; level < levels; ++level) {
    const auto out = static_cast<double>(c.decoder_base_dim * c.dim_mult[levels - 1 - level]);
    for (int64_t j = 0; j <= c.num_res_blocks; ++j) {
      conv(d, out, 27, true);
      conv(out, out, 27, true);
      if (d != out) conv(d, out, 1, false);
      d = out;
    }
    if (level + 1 < levels) {
      if (c.temporal_downsample[levels - 2 - level]) {
        t -= 1;
        conv(d, 2 * d, 3, true);
        t = 2 * t + 1;
      }
      area *= 4;
      const double after = c.is_residual ? d : d / 2;
      conv(d, after, 9, false);
      d = after;
    }
  }
  level = levels - 1;
  conv(d, static_cast<double>(c.out_channels), 27, true);
  return work;
}

}  // namespace reel::model
