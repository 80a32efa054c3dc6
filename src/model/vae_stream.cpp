#include "model/vae_stream.hpp"

#include <algorithm>
#include <cmath>

namespace reel::model {
namespace {

using kernels::panel_width;
using std::int64_t;

// Output pixels one thread computes at a time: their 64 columns of sums stay in L1.
constexpr int64_t pixel_chunk = 96;

}  // namespace

Band normalise_channels(const Band& x, const float* gamma, Activation activation) {
  Band y(x.frames, x.rows, x.width, x.channels);
  for_rows(x.frames * x.rows * x.width, [&](int64_t i) {
    kernels::table().l2_norm(x.data.data() + i * x.channels, x.channels, gamma, activation, y.data.data() + i * x.channels);
  });
  return y;
}

Band average_down(const Band& x, int64_t channels, int64_t ft, int64_t fs) {
  const int64_t missing = (ft - x.frames % ft) % ft, group = x.channels * ft * fs * fs / channels;
  REEL_CHECK(group * channels == x.channels * ft * fs * fs, "{} channels to {}", x.channels, channels);
  Band y((x.frames + missing) / ft, x.rows / fs, x.width / fs, channels);
  for_rows(y.frames * y.rows * y.width, [&](int64_t i) {
    const int64_t f = i / (y.rows * y.width), row = i / y.width % y.rows, column = i % y.width;
    for (int64_t o = 0; o < channels; ++o) {
      float sum = 0;
      for (int64_t q = o * group; q < (o + 1) * group; ++q) {
        const int64_t c = q / (ft * fs * fs), dt = q / (fs * fs) % ft, dy = q / fs % fs, dx = q % fs;
        const int64_t frame = f * ft + dt - missing;
        if (frame < 0) continue;
        sum += x.frame(frame)[((row * fs + dy) * x.width + column * fs + dx) * x.channels + c];
      }
      y.data[static_cast<std::size_t>(i * channels + o)] = sum / static_cast<float>(group);
    }
  });
  return y;
}

Band duplicate_up(const Band& x, int64_t channels, int64_t ft, int64_t fs, bool first) {
  const int64_t repeats = channels * ft * fs * fs / x.channels, skipped = first ? ft - 1 : 0;
  REEL_CHECK(repeats * x.channels == channels * ft * fs * fs, "{} channels to {}", x.channels, channels);
  Band y(x.frames * ft - skipped, x.rows * fs, x.width * fs, channels);
  for_rows(y.frames * y.rows * y.width, [&](int64_t i) {
    const int64_t f = i / (y.rows * y.width) + skipped, row = i / y.width % y.rows, column = i % y.width;
    const float* from = x.frame(f / ft) + (row / fs * x.width + column / fs) * x.channels;
    for (int64_t o = 0; o < channels; ++o)
      y.data[static_cast<std::size_t>(i * channels + o)] = from[(((o * ft + f % ft) * fs + row % fs) * fs + column % fs) / repeats];
  });
  return y;
}

template <class Buffer, class CopyRow>
void VaeStream::fill(Buffer& out, const float* frame, const Band& shape, bool halo, CopyRow copy_row) const {
  const int64_t c = shape.channels, row = shape.width * c, padded_row = row + 2 * c;
  out.assign(static_cast<std::size_t>((shape.rows + 2) * padded_row), typename Buffer::value_type{0});
  const auto place = [&](int64_t y) { return out.data() + (y + 1) * padded_row + c; };
  for (int64_t y = 0; y < shape.rows; ++y) copy_row(frame + y * row, row, place(y));
  if (halo && comm_.size() > 1) {
    //   rank r-1  [ ... last ]            my row 0 is its halo below, its last row is my halo above
    //   rank r    [ first ... last ]
    const auto bytes = static_cast<std::size_t>(row) * sizeof *out.data();
    std::vector<Comm::Message> messages;
    if (comm_.rank() > 0) messages.push_back({comm_.rank() - 1, place(0), bytes, place(-1), bytes});
    if (comm_.rank() + 1 < comm_.size()) messages.push_back({comm_.rank() + 1, place(shape.rows - 1), bytes, place(shape.rows), bytes});
    comm_.exchange(messages);
  }
}

VaeStream::Padded VaeStream::pad(const Conv& conv, const float* frame, const Band& shape) const {
  auto out = std::make_shared<PaddedFrame>();
  if (conv.weights.numerics == Numerics::f32)
    fill(out->f32, frame, shape, conv.kh > 1, [](const float* from, int64_t n, float* to) { std::copy_n(from, n, to); });
  else
    fill(out->bf16, frame, shape, conv.kh > 1, kernels::table().round_to_bf16);
  return out;
}

// Output frame f = sum over kt of weights[kt] * inputs[f][kt]; a null input is a frame of zeros.
Band VaeStream::convolve_padded(const Conv& conv, const std::vector<std::array<Padded, 3>>& inputs, const Band& shape,
                                int64_t stride) const {
  const kernels::Table& kernel = kernels::table();
  REEL_CHECK(shape.channels == conv.in, "{} channels for a convolution of {}", shape.channels, conv.in);
  const int64_t c = conv.in, padded_row = (shape.width + 2) * c;
  const int64_t rows = shape.rows / stride, width = shape.width / stride;
  // Kernel 3 with padding 1 starts one pixel before; stride 2 pads right and bottom only, kernel 1 not at all.
  const int64_t origin = conv.kh == 3 && stride == 1 ? 0 : 1;
  Band out(static_cast<int64_t>(inputs.size()), rows, width, conv.out);
  const auto frame_size = static_cast<std::size_t>((shape.rows + 2) * padded_row);
  const bool half = conv.weights.numerics != Numerics::f32;
  const PaddedFrame zeros{FloatBuffer(half ? 0 : frame_size, 0.0f), HalfBuffer(half ? frame_size : 0, kernels::Bf16{0})};
  const kernels::MultiplyBf16 product = half ? multiply_bf16(conv.weights.numerics) : nullptr;
  const int64_t panels = (conv.out + panel_width - 1) / panel_width, chunks = (width + pixel_chunk - 1) / pixel_chunk;
  const int64_t depth = conv.kw * c;  // the taps of one row lie side by side in memory
  parallel_for(out.frames * rows * chunks * panels, [&](int64_t task) {
    const int64_t p = task % panels, first = task / panels % chunks * pixel_chunk, y = task / panels / chunks % rows,
                  f = task / panels / chunks / rows;
    const int64_t n = std::min(pixel_chunk, width - first), columns = std::min(panel_width, conv.out - p * panel_width);
    alignas(64) float sums[pixel_chunk * panel_width];
    const int64_t panel = p * conv.weights.in * panel_width;
    int64_t d = 0;
    bool accumulate = false;
    for (int64_t t = 0; t < conv.kt; ++t) {
      const Padded& input = inputs[static_cast<std::size_t>(f)][static_cast<std::size_t>(t)];
      const PaddedFrame& frame = input ? *input : zeros;
      for (int64_t dy = 0; dy < conv.kh; ++dy) {
        const int64_t at = (y * stride + dy + origin) * padded_row + (first * stride + origin) * c;
        if (half)
          product(frame.bf16.data() + at, stride * c, n, depth, conv.weights.packed_bf16 + panel + d * kernels::group_width,
                  conv.weights.in * kernels::group_width, columns, sums, panel_width, accumulate);
        else
          kernel.multiply_panel(frame.f32.data() + at, stride * c, n, depth, conv.weights.packed + panel + d * panel_width, columns, sums, panel_width, accumulate);
        d += depth;
        accumulate = true;
      }
    }
    kernel.finish_panel(sums, panel_width, n, columns, conv.weights.bias + p * panel_width, Activation::none,
                        out.frame(f) + (y * width + first) * conv.out + p * panel_width, conv.out);
  });
  return out;
}

Band VaeStream::convolve(const Conv& conv, const Band& x, int64_t stride) {
  std::vector<std::array<Padded, 3>> inputs;
  if (conv.kt == 1) {
    for (int64_t f = 0; f < x.frames; ++f) inputs.push_back({pad(conv, x.frame(f), x), nullptr, nullptr});
    return convolve_padded(conv, inputs, x, stride);
  }
  History& past = history_[conv.weights.bias];
  past.frames.resize(2);  // null frames are zero
  for (int64_t f = 0; f < x.frames; ++f) {
    const Padded now = pad(conv, x.frame(f), x);
    inputs.push_back({past.frames[0], past.frames[1], now});
    past.frames = {past.frames[1], now};
  }
  return convolve_padded(conv, inputs, x, stride);
}

Band VaeStream::halve_time(const Conv& conv, const Band& y) {
  History& past = history_[conv.weights.bias];
  std::vector<std::array<Padded, 3>> inputs;
  int64_t f = 0;
  Band out;
  if (!past.started) {
    REEL_CHECK(y.frames == 1, "the first chunk of a clip is one frame, not {}", y.frames);
    past.started = true;
    past.frames = {pad(conv, y.frame(0), y)};
    return y;
  }
  for (; f + 2 <= y.frames; f += 2) {
    const Padded middle = pad(conv, y.frame(f), y), last = pad(conv, y.frame(f + 1), y);
    inputs.push_back({past.frames[0], middle, last});
    past.frames = {last};
  }
  REEL_CHECK(f == y.frames, "{} frames cannot be halved", y.frames);
  return convolve_padded(conv, inputs, y, 1);
}

Band VaeStream::double_time(const Conv& conv, const Band& x, bool first) {
  if (first) {
    REEL_CHECK(x.frames == 1, "the first chunk of a clip is one frame, not {}", x.frames);
    return x;  // and is not remembered: the next frame has zeros before it
  }
  const Band both = convolve(conv, x);
  Band out(2 * x.frames, x.rows, x.width, x.channels);
  const int64_t c = x.channels;
  for_rows(x.frames * x.rows * x.width, [&](int64_t i) {
    const int64_t f = i / (x.rows * x.width), pixel = i % (x.rows * x.width);
    const float* from = both.data.data() + i * 2 * c;
    std::copy_n(from, c, out.frame(2 * f) + pixel * c);
    std::copy_n(from + c, c, out.frame(2 * f + 1) + pixel * c);
  });
  return out;
}

Band VaeStream::residual(const ResidualBlock& block, Band x) {
  Band h = convolve(block.conv1, normalise_channels(x, block.norm1, Activation::silu));
  h = convolve(block.conv2, normalise_channels(h, block.norm2, Activation::silu));
  if (block.has_shortcut) {
    Band shortcut(x.frames, x.rows, x.width, h.channels);
    multiply(block.shortcut.weights, x.data.data(), x.frames * x.rows * x.width, shortcut.data.data());
    x = std::move(shortcut);
  }
  for_rows(h.frames * h.rows * h.width, [&](int64_t i) {
    for (int64_t j = i * h.channels; j < (i + 1) * h.channels; ++j)
      h.data[static_cast<std::size_t>(j)] += x.data[static_cast<std::size_t>(j)];
  });
  return h;
}

Band VaeStream::attention(const MiddleAttention& w, Band x) {
  const int64_t c = x.channels, pixels = x.rows * x.width;
  const float scale = 1.0f / std::sqrt(static_cast<float>(c));
  const int64_t all_pixels = latent_rows_ * x.width;
  std::vector<std::size_t> counts;
  for (int r = 0; r < comm_.size(); ++r)
    counts.push_back(static_cast<std::size_t>(slice(latent_rows_, comm_.size(), r).size() * x.width * c) * sizeof(float));
  const Band y = normalise_channels(x, w.norm, Activation::none);
  Tensor qkv({pixels, 3 * c}), k({pixels, c}), v({pixels, c}), all_k({all_pixels, c}), all_v({all_pixels, c}),
      a({pixels, c}), projected({pixels, c});
  for (int64_t f = 0; f < x.frames; ++f) {
    multiply(w.qkv, y.frame(f), pixels, qkv.data());
    for_rows(pixels, [&](int64_t i) {
      std::copy_n(qkv.row(i) + c, c, k.row(i));
      std::copy_n(qkv.row(i) + 2 * c, c, v.row(i));
    });
    comm_.all_gather(k.data(), all_k.data(), counts);
    comm_.all_gather(v.data(), all_v.data(), counts);
    PackedHead head;
    head.pack(w.qkv.numerics, all_k.data(), c, all_v.data(), c, all_pixels, c, c);
    parallel_for((pixels + attention_chunk - 1) / attention_chunk, [&](int64_t chunk) {
      const int64_t first = chunk * attention_chunk;
      attend(head, qkv.row(first), 3 * c, std::min(attention_chunk, pixels - first), c, c, scale, nullptr, 0, a.row(first), c);
    });
    multiply(w.proj, a.data(), pixels, projected.data());
    float* out = x.frame(f);
    for (int64_t i = 0; i < pixels * c; ++i) out[i] += projected[i];
  }
  return x;
}

}  // namespace reel::model
