#include "model/vae_stream.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

namespace reel::model {
namespace {

using kernels::panel_width;
using std::int64_t;

// Output pixels of one task: of one row at most `pixel_chunk`, of several rows together at most `task_pixels`, so that a panel
// of weights, which does not fit L2, is read once for many of them. Depth of one pass over a panel with tiles of AMX: half of
// its columns stay in L1. No bit depends on any of them.
constexpr int64_t pixel_chunk = 208, task_pixels = 416, depth_chunk = 512;

// Writes rows of a frame of the band's shape as they are.
auto copied(const float* frame, const Band& shape) {
  return [=, row = shape.width * shape.channels](int64_t y, float* to) { std::copy_n(frame + y * row, row, to); };
}
// The same, each pixel normalised and activated.
auto normalised(const float* frame, const Band& shape, const float* gamma) {
  return [=, width = shape.width, c = shape.channels](int64_t y, float* to) {
    for (int64_t i = 0; i < width; ++i) kernels::table().l2_norm(frame + (y * width + i) * c, c, gamma, Activation::silu, to + i * c);
  };
}

}  // namespace

Band normalise_channels(const Band& x, const float* gamma) {
  Band y(x.frames, x.rows, x.width, x.channels);
  for_rows(x.frames * x.rows * x.width, [&](int64_t i) {
    kernels::table().l2_norm(x.data.data() + i * x.channels, x.channels, gamma, Activation::none, y.data.data() + i * x.channels);
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

// Zeros around the rows, and the neighbours' rows above and below.
template <class T>
void VaeStream::finish_padding(T* frame, FrameShape shape, int64_t channels, bool halo) const {
  const int64_t row = shape.width * channels, padded_row = row + 2 * channels;
  const auto place = [&](int64_t y) { return frame + (y + 1) * padded_row + channels; };
  std::fill_n(place(-1) - channels, padded_row, T{0});
  std::fill_n(place(shape.rows) - channels, padded_row, T{0});
  for (int64_t y = 0; y < shape.rows; ++y) {
    std::fill_n(place(y) - channels, channels, T{0});
    std::fill_n(place(y) + row, channels, T{0});
  }
  if (halo && comm_.size() > 1) {
    //   rank r-1  [ ... last ]            my row 0 is its halo below, its last row is my halo above
    //   rank r    [ first ... last ]
    const auto bytes = static_cast<std::size_t>(row) * sizeof(T);
    std::vector<Comm::Message> messages;
    if (comm_.rank() > 0) messages.push_back({comm_.rank() - 1, place(0), bytes, place(-1), bytes});
    if (comm_.rank() + 1 < comm_.size()) messages.push_back({comm_.rank() + 1, place(shape.rows - 1), bytes, place(shape.rows), bytes});
    comm_.exchange(messages);
  }
}

// write_row(y, to) writes row y [W, C]; called on any thread.
template <class WriteRow>
VaeStream::PaddedFrame VaeStream::pad(const Conv& conv, FrameShape shape, WriteRow write_row) {
  const int64_t c = conv.in, row = shape.width * c, padded_row = row + 2 * c;
  const auto size = static_cast<std::size_t>((shape.rows + 2) * padded_row);
  PaddedFrame out = std::exchange(spare_, {});
  if (conv.weights.numerics == Numerics::f32) {
    out.bf16 = {};
    if (out.f32.size() != size) out.f32 = FloatBuffer(size);
    parallel_for(shape.rows, [&](int64_t y) { write_row(y, out.f32.data() + (y + 1) * padded_row + c); });
    finish_padding(out.f32.data(), shape, c, conv.kh > 1);
  } else {
    out.f32 = {};
    if (out.bf16.size() != size) out.bf16 = HalfBuffer(size);
    parallel_for(shape.rows, [&](int64_t y) {
      thread_local FloatBuffer exact;
      exact.resize(static_cast<std::size_t>(row));
      write_row(y, exact.data());
      kernels::table().round_to_bf16(exact.data(), row, out.bf16.data() + (y + 1) * padded_row + c);
    });
    finish_padding(out.bf16.data(), shape, c, conv.kh > 1);
  }
  return out;
}

// out (+)= sum over kt of weights[kt] * inputs[kt]. Frames of zeros are passed over: they add nothing to a sum that starts at 0.
void VaeStream::convolve_frame(const Conv& conv, const Inputs& inputs, FrameShape shape, int64_t stride, float* out, bool add) const {
  const Panels panels(conv.weights);
  const int64_t c = conv.in, padded_row = (shape.width + 2) * c;
  const int64_t rows = shape.rows / stride, width = shape.width / stride;
  // Kernel 3 with padding 1 starts one pixel before; stride 2 pads right and bottom only, kernel 1 not at all.
  const int64_t origin = conv.kh == 3 && stride == 1 ? 0 : 1;
  const int64_t chunks = (width + pixel_chunk - 1) / pixel_chunk, chunk = (width + chunks - 1) / chunks;
  int64_t task_rows = std::max<int64_t>(1, task_pixels / chunk);
  while (task_rows > 1 && (rows + task_rows - 1) / task_rows * chunks * panels.count() < 4 * num_threads()) task_rows /= 2;
  const int64_t depth = conv.kw * c, pass = conv.weights.numerics == Numerics::bf16_amx ? depth_chunk : depth;  // the taps of one row lie side by side in memory
  parallel_for((rows + task_rows - 1) / task_rows * chunks * panels.count(), [&](int64_t task) {
    const int64_t p = task % panels.count(), first = task / panels.count() % chunks * chunk, top = task / panels.count() / chunks * task_rows;
    const int64_t n = std::min(chunk, width - first), count = std::min(task_rows, rows - top), columns = panels.columns(p);
    alignas(64) float sums[task_pixels * panel_width];
    float* const to = out + (top * width + first) * conv.out + p * panel_width;
    bool accumulate = false;
    for (int64_t t = 0; t < conv.kt; ++t) {
      const PaddedFrame& frame = *inputs[static_cast<std::size_t>(t)];
      if (frame.empty()) continue;
      for (int64_t dy = 0; dy < conv.kh; ++dy)
        for (int64_t d = 0; d < depth; d += pass, accumulate = true)
          for (int64_t y = 0; y < count; ++y) {
            const int64_t at = ((top + y) * stride + dy + origin) * padded_row + (first * stride + origin) * c + d;
            const int64_t now = std::min(pass, depth - d), k = (t * conv.kh + dy) * depth + d;
            // Each row asks for its share of the next taps, the last taps for where the sums go.
            const bool last = k + now == panels.depth();
            kernels::Ahead ahead = panels.ask(p, k + now, last ? 0 : now, y, 1, count);
            if (last) ahead.written = to + y * width * conv.out, ahead.written_stride = conv.out;
            panels.multiply(frame.from(at, stride * c), n, p, k, now, sums + y * n * panel_width, accumulate, ahead);
          }
    }
    const float* bias = conv.weights.bias + p * panel_width;
    for (int64_t y = 0; y < count; ++y) {
      float *const sum = sums + y * n * panel_width, *const row = to + y * width * conv.out;
      kernels::table().finish_panel(sum, panel_width, n, columns, bias, Activation::none, add ? sum : row, add ? panel_width : conv.out);
      if (!add) continue;
      for (int64_t i = 0; i < n; ++i)
        for (int64_t j = 0; j < columns; ++j) row[i * conv.out + j] += sum[i * panel_width + j];
    }
  });
}

// The next frame of the stream of one convolution.
template <class WriteRow>
void VaeStream::next_frame(const Conv& conv, FrameShape shape, int64_t stride, WriteRow write_row, float* out, bool add) {
  PaddedFrame now = pad(conv, shape, write_row);
  if (conv.kt == 1) {
    convolve_frame(conv, {&now}, shape, stride, out, add);
    spare_ = std::move(now);
    return;
  }
  std::array<PaddedFrame, 2>& past = history_[conv.weights.bias].frames;
  convolve_frame(conv, {&past[0], &past[1], &now}, shape, stride, out, add);
  spare_ = std::exchange(past[0], std::exchange(past[1], std::move(now)));
}

Band VaeStream::convolve(const Conv& conv, const Band& x, int64_t stride) {
  Band y(x.frames, x.rows / stride, x.width / stride, conv.out);
  convolve(conv, x, stride, y);
  return y;
}

void VaeStream::convolve(const Conv& conv, const Band& x, int64_t stride, Band& y) {
  REEL_CHECK(x.channels == conv.in, "{} channels for a convolution of {}", x.channels, conv.in);
  REEL_CHECK(y.frames == x.frames && y.rows == x.rows / stride && y.width == x.width / stride && y.channels == conv.out,
             "{} x {} x {} x {} is not the shape of the result", y.frames, y.rows, y.width, y.channels);
  for (int64_t f = 0; f < x.frames; ++f) next_frame(conv, {x.rows, x.width}, stride, copied(x.frame(f), x), y.frame(f), false);
}

Band VaeStream::convolve_normalised(const Conv& conv, const float* gamma, const Band& x) {
  REEL_CHECK(x.channels == conv.in, "{} channels for a convolution of {}", x.channels, conv.in);
  Band out(x.frames, x.rows, x.width, conv.out);
  for (int64_t f = 0; f < x.frames; ++f) next_frame(conv, {x.rows, x.width}, 1, normalised(x.frame(f), x, gamma), out.frame(f), false);
  return out;
}

Band VaeStream::convolve_doubled(const Conv& conv, const Band& x) {
  REEL_CHECK(x.channels == conv.in, "{} channels for a convolution of {}", x.channels, conv.in);
  Band out(x.frames, 2 * x.rows, 2 * x.width, conv.out);
  const int64_t c = x.channels;
  for (int64_t f = 0; f < x.frames; ++f)
    next_frame(
        conv, {out.rows, out.width}, 1,
        [&](int64_t y, float* to) {
          const float* from = x.frame(f) + y / 2 * x.width * c;
          for (int64_t i = 0; i < out.width; ++i) std::copy_n(from + i / 2 * c, c, to + i * c);
        },
        out.frame(f), false);
  return out;
}

Band VaeStream::halve_time(const Conv& conv, const Band& y) {
  History& past = history_[conv.weights.bias];
  const FrameShape shape{y.rows, y.width};
  const auto padded = [&](int64_t f) { return pad(conv, shape, copied(y.frame(f), y)); };
  if (!past.started) {
    REEL_CHECK(y.frames == 1, "the first chunk of a clip is one frame, not {}", y.frames);
    past.started = true;
    past.frames[0] = padded(0);
    return y;
  }
  REEL_CHECK(y.frames % 2 == 0 && y.channels == conv.in, "{} frames of {} channels cannot be halved", y.frames, y.channels);
  Band out(y.frames / 2, y.rows, y.width, conv.out);
  for (int64_t f = 0; f < out.frames; ++f) {
    const PaddedFrame middle = padded(2 * f);
    PaddedFrame last = padded(2 * f + 1);
    convolve_frame(conv, {&past.frames[0], &middle, &last}, shape, 1, out.frame(f), false);
    past.frames[0] = std::move(last);
  }
  return out;
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
  REEL_CHECK(x.channels == block.conv1.in, "{} channels for a block of {}", x.channels, block.conv1.in);
  const FrameShape shape{x.rows, x.width};
  Band shortcut, h(1, x.rows, x.width, block.conv1.out);
  if (block.has_shortcut) {
    shortcut = Band(x.frames, x.rows, x.width, h.channels);
    multiply(block.shortcut.weights, x.data.data(), x.frames * x.rows * x.width, shortcut.data.data());
  }
  Band& out = block.has_shortcut ? shortcut : x;
  for (int64_t f = 0; f < x.frames; ++f) {
    next_frame(block.conv1, shape, 1, normalised(x.frame(f), x, block.norm1), h.data.data(), false);
    next_frame(block.conv2, shape, 1, normalised(h.data.data(), h, block.norm2), out.frame(f), true);
  }
  return std::move(out);
}

Band VaeStream::attention(const MiddleAttention& w, Band x) {
  const int64_t c = x.channels, pixels = x.rows * x.width;
  const float scale = 1.0f / std::sqrt(static_cast<float>(c));
  const int64_t all_pixels = latent_rows_ * x.width;
  std::vector<std::size_t> counts;
  for (int r = 0; r < comm_.size(); ++r)
    counts.push_back(static_cast<std::size_t>(slice(latent_rows_, comm_.size(), r).size() * x.width * c) * sizeof(float));
  const Band y = normalise_channels(x, w.norm);
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
