#include "metrics/physics_iq.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <utility>

#include "metrics/fidelity.hpp"
#include "metrics/paired.hpp"

namespace reel::metrics {
namespace {

constexpr int threshold_levels = 10;
constexpr std::int64_t box_radius = 2;

/// Index of the sample that stands for position i of 0 ... n - 1: mirrored at the outermost samples.
std::int64_t mirrored(std::int64_t i, std::int64_t n) {
  if (n == 1) return 0;
  while (i < 0 || i >= n) i = i < 0 ? -i : 2 * (n - 1) - i;
  return i;
}

/// Red, green and blue to grey, weights of BT.601 in units of 2^-15.
void to_grey(const Frame& frame, std::vector<std::uint8_t>& grey) {
  grey.resize(frame.rgb.size() / 3);
  for (std::size_t i = 0; i < grey.size(); ++i) {
    const int r = frame.rgb[3 * i], g = frame.rgb[3 * i + 1], b = frame.rgb[3 * i + 2];
    grey[i] = static_cast<std::uint8_t>((9798 * r + 19235 * g + 3735 * b + (1 << 14)) >> 15);
  }
}

/// (1 4 6 4 1) x (1 4 6 4 1) / 256, rounded half up once.
void blur(std::vector<std::uint8_t>& grey, std::vector<int>& rows, std::int64_t h, std::int64_t w) {
  rows.resize(grey.size());
  const auto index = [w](std::int64_t y, std::int64_t x) { return static_cast<std::size_t>(y * w + x); };
  for (std::int64_t y = 0; y < h; ++y)
    for (std::int64_t x = 0; x < w; ++x) {
      const auto at = [&](std::int64_t i) { return static_cast<int>(grey[index(y, mirrored(x + i, w))]); };
      rows[index(y, x)] = at(-2) + at(2) + 4 * (at(-1) + at(1)) + 6 * at(0);
    }
  for (std::int64_t y = 0; y < h; ++y) {
    const int* r[5];
    for (std::int64_t i = 0; i < 5; ++i) r[i] = &rows[index(mirrored(y + i - 2, h), 0)];
    for (std::int64_t x = 0; x < w; ++x)
      grey[index(y, x)] =
          static_cast<std::uint8_t>((r[0][x] + r[4][x] + 4 * (r[1][x] + r[3][x]) + 6 * r[2][x] + 128) >> 8);
  }
}

/// `value` spreads to every pixel within the box around one that has it: 1 dilates, 0 erodes. What lies outside the
/// picture has no say.
void spread(std::vector<std::uint8_t>& mask, std::vector<std::uint8_t>& scratch, std::int64_t h, std::int64_t w,
            std::uint8_t value) {
  const auto other = static_cast<std::uint8_t>(1 - value);
  scratch.assign(mask.size(), other);
  for (std::int64_t y = 0; y < h; ++y)
    for (std::int64_t x = 0; x < w; ++x)
      if (mask[static_cast<std::size_t>(y * w + x)] == value)
        for (std::int64_t i = std::max<std::int64_t>(0, x - box_radius); i <= std::min(w - 1, x + box_radius); ++i)
          scratch[static_cast<std::size_t>(y * w + i)] = value;
  mask.assign(mask.size(), other);
  for (std::int64_t y = 0; y < h; ++y)
    for (std::int64_t j = std::max<std::int64_t>(0, y - box_radius); j <= std::min(h - 1, y + box_radius); ++j)
      for (std::int64_t x = 0; x < w; ++x)
        if (scratch[static_cast<std::size_t>(j * w + x)] == value) mask[static_cast<std::size_t>(y * w + x)] = value;
}

double clip(double x) { return std::clamp(x, 0.0, 1.0); }

bool complete(const PhysicsIqNumbers& n) {
  return std::isfinite(n.spatial) && std::isfinite(n.spatiotemporal) && std::isfinite(n.weighted_spatial) &&
         std::isfinite(n.mse);
}

bool complete(std::span<const PhysicsIqTakes> views) {
  return !views.empty() && std::all_of(views.begin(), views.end(), [](const PhysicsIqTakes& view) {
    return complete(view.film) && complete(view.takes);
  });
}

/// A frame and its mask at the size at which they are compared.
struct Sized {
  std::vector<std::uint8_t> rgb, mask;
};

Sized sized(const Frame& frame, const std::vector<std::uint8_t>& mask, std::int64_t h, std::int64_t w) {
  if (frame.height_px == h && frame.width_px == w) return {frame.rgb, mask};
  std::vector<std::uint8_t> levels(mask.size());
  for (std::size_t i = 0; i < mask.size(); ++i) levels[i] = mask[i] ? 255 : 0;
  Sized out{resample_linear(frame.rgb, frame.height_px, frame.width_px, 3, h, w),
            resample_linear(levels, frame.height_px, frame.width_px, 1, h, w)};
  for (std::uint8_t& value : out.mask) value = value > 127;
  return out;
}

}  // namespace

const std::vector<std::uint8_t>& MotionMasks::next(const Frame& frame) {
  const std::int64_t h = frame.height_px, w = frame.width_px;
  if (h < 1 || w < 1 || static_cast<std::int64_t>(frame.rgb.size()) != h * w * 3)
    throw Error(Exit::input, fmt::format("a frame of {} x {} pixels has {} bytes", w, h, frame.rgb.size()));
  to_grey(frame, grey_);
  blur(grey_, rows_, h, w);
  mask_.assign(grey_.size(), 0);
  if (background_.empty()) {
    height_ = h;
    width_ = w;
    background_.assign(grey_.begin(), grey_.end());
    return mask_;
  }
  if (h != height_ || w != width_)
    throw Error(Exit::input, fmt::format("a frame of {} x {} pixels after frames of {} x {}", w, h, width_, height_));
  for (std::size_t i = 0; i < grey_.size(); ++i) {
    background_[i] = 0.7 * background_[i] + 0.3 * grey_[i];
    // Through float, as OpenCV's convertScaleAbs: the mean is often halfway between two levels (7 B + 3 I = 10 k + 5),
    // and float takes away the last bits, which would otherwise decide.
    const auto level = static_cast<int>(std::nearbyint(static_cast<float>(background_[i])));
    mask_[i] = std::abs(grey_[i] - level) > threshold_levels;
  }
  constexpr std::array<std::uint8_t, 4> open_then_close{0, 1, 1, 0};
  for (const std::uint8_t value : open_then_close) spread(mask_, box_, h, w, value);
  return mask_;
}

void MaskOverlap::add(std::span<const std::uint8_t> a, std::span<const std::uint8_t> b) {
  if (per_frame_.empty()) {
    count_a_.assign(a.size(), 0);
    count_b_.assign(a.size(), 0);
  }
  REEL_CHECK(a.size() == b.size() && a.size() == count_a_.size() && !a.empty(), "masks of {} and {} pixels, not {}",
             a.size(), b.size(), count_a_.size());
  std::int64_t both = 0, any = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const bool in_a = a[i] != 0, in_b = b[i] != 0;
    both += in_a && in_b;
    any += in_a || in_b;
    count_a_[i] += in_a;
    count_b_[i] += in_b;
  }
  num_still_ += any == 0;
  per_frame_.push_back(any == 0 ? 1 : static_cast<double>(both) / static_cast<double>(any));
}

double MaskOverlap::spatial() const {
  std::int64_t both = 0, any = 0;
  for (std::size_t i = 0; i < count_a_.size(); ++i) {
    both += count_a_[i] > 0 && count_b_[i] > 0;
    any += count_a_[i] > 0 || count_b_[i] > 0;
  }
  return per_frame_.empty() ? nan : any == 0 ? 1 : static_cast<double>(both) / static_cast<double>(any);
}

double MaskOverlap::spatiotemporal() const {
  double sum = 0;
  for (const double value : per_frame_) sum += value;
  return per_frame_.empty() ? nan : sum / static_cast<double>(per_frame_.size());
}

double MaskOverlap::weighted_spatial() const {
  std::uint64_t smaller = 0, larger = 0;  // both films have one number of frames: it cancels
  for (std::size_t i = 0; i < count_a_.size(); ++i) {
    smaller += std::min(count_a_[i], count_b_[i]);
    larger += std::max(count_a_[i], count_b_[i]);
  }
  return per_frame_.empty() ? nan : larger == 0 ? 1 : static_cast<double>(smaller) / static_cast<double>(larger);
}

std::vector<std::uint8_t> resample_linear(std::span<const std::uint8_t> picture, std::int64_t height_px,
                                          std::int64_t width_px, std::int64_t channels, std::int64_t to_height_px,
                                          std::int64_t to_width_px) {
  REEL_CHECK(height_px > 0 && width_px > 0 && channels > 0 && to_height_px > 0 && to_width_px > 0 &&
                 static_cast<std::int64_t>(picture.size()) == height_px * width_px * channels,
             "{} values for {} x {} x {} to {} x {}", picture.size(), width_px, height_px, channels, to_width_px,
             to_height_px);
  struct Tap {
    std::int64_t low, high;
    int of_low, of_high;  // weights in units of 2^-11
  };
  const auto taps = [](std::int64_t from, std::int64_t to) {
    std::vector<Tap> out;
    const double step = 1 / (static_cast<double>(to) / static_cast<double>(from));
    for (std::int64_t i = 0; i < to; ++i) {
      const auto at = static_cast<float>((static_cast<double>(i) + 0.5) * step - 0.5);
      const float inside = std::clamp(at, 0.0f, static_cast<float>(from - 1)), low = std::floor(inside);
      const float share = inside - low;
      out.push_back({static_cast<std::int64_t>(low), std::min(static_cast<std::int64_t>(low) + 1, from - 1),
                     static_cast<int>(std::nearbyint((1 - share) * 2048)),
                     static_cast<int>(std::nearbyint(share * 2048))});
    }
    return out;
  };
  const std::vector<Tap> rows = taps(height_px, to_height_px), columns = taps(width_px, to_width_px);
  std::vector<std::uint8_t> out;
  out.reserve(static_cast<std::size_t>(to_height_px * to_width_px * channels));
  for (const Tap& y : rows)
    for (const Tap& x : columns)
      for (std::int64_t c = 0; c < channels; ++c) {
        const auto along_row = [&](std::int64_t i) {
          const auto at = [&](std::int64_t j) {
            return static_cast<int>(picture[static_cast<std::size_t>((i * width_px + j) * channels + c)]);
          };
          return (x.of_low * at(x.low) + x.of_high * at(x.high)) >> 4;
        };
        out.push_back(static_cast<std::uint8_t>(
            (((y.of_low * along_row(y.low)) >> 16) + ((y.of_high * along_row(y.high)) >> 16) + 2) >> 2));
      }
  return out;
}

BlendedFrames::BlendedFrames(FrameSource& source, double from_fps, double to_fps, double seconds)
    : source_(source), to_fps_(to_fps) {
  if (!(from_fps > 0 && to_fps > 0 && seconds > 0 && from_fps < 1e6 && to_fps < 1e6 && seconds < 1e6))
    throw Error(Exit::input, fmt::format("{} frames per second to {} for {} s", from_fps, to_fps, seconds),
                source.name(), "rates and lengths are numbers above 0");
  source_.rewind();
  std::int64_t num_frames = 0;
  while (source_.next(after_)) ++num_frames;
  const double length_s = std::min(seconds, static_cast<double>(num_frames) / from_fps);
  num_old_ = std::min(static_cast<std::int64_t>(length_s * from_fps), num_frames);
  num_new_ = static_cast<std::int64_t>(length_s * to_fps);
  if (num_old_ < 1 || num_new_ < 1)
    throw Error(Exit::input,
                fmt::format("{} frames at {} per second leave none at {} per second", num_frames, from_fps, to_fps),
                source.name(), "give a longer film or a higher rate");
  rewind();
}

void BlendedFrames::rewind() {
  source_.rewind();
  at_ = read_ = 0;
}

bool BlendedFrames::next(Frame& frame) {
  if (at_ == num_new_) return false;
  const double position =
      num_new_ == 1 ? 0
                    : static_cast<double>(at_) * static_cast<double>(num_old_ - 1) / static_cast<double>(num_new_ - 1);
  const auto low = static_cast<std::int64_t>(position), high = std::min(low + 1, num_old_ - 1);
  while (read_ <= high) {
    std::swap(before_, after_);
    if (!source_.next(after_))
      throw Error(Exit::input, fmt::format("ends after {} frames, was longer before", read_), source_.name());
    require_pixels(after_, source_);
    if (read_ > 0) require_same_size(before_, after_, source_.name(), source_.name());
    ++read_;
  }
  const double share = position - static_cast<double>(low);
  const Frame& first = low == high ? after_ : before_;
  const auto share_low = static_cast<float>(1 - share), share_high = static_cast<float>(share);
  frame.height_px = after_.height_px;
  frame.width_px = after_.width_px;
  frame.time_s = static_cast<double>(at_) / to_fps_;
  frame.rgb.resize(after_.rgb.size());
  for (std::size_t i = 0; i < frame.rgb.size(); ++i)
    frame.rgb[i] = static_cast<std::uint8_t>(share_low * static_cast<float>(first.rgb[i]) +
                                             share_high * static_cast<float>(after_.rgb[i]));
  ++at_;
  return true;
}

PhysicsIq physics_iq(FrameSource& film, FrameSource& reference, const PhysicsIqOptions& options) {
  film.rewind();
  reference.rewind();
  PhysicsIq result;
  MotionMasks masks_a, masks_b;
  MaskOverlap overlap;
  Frame a, b;
  double sum = 0;
  while (next_pair(film, reference, a, b, overlap.num_frames(), options.up_to_the_shorter)) {
    if (!options.quarter) require_same_size(a, b, film.name(), reference.name());
    const std::int64_t divisor = options.quarter ? 4 : 1, h = b.height_px / divisor, w = b.width_px / divisor;
    if (h < 1 || w < 1)
      throw Error(Exit::input, fmt::format("{} x {} pixels have no quarter", b.width_px, b.height_px), reference.name(),
                  "compare at full size");
    const Sized sized_a = sized(a, masks_a.next(a), h, w), sized_b = sized(b, masks_b.next(b), h, w);
    overlap.add(sized_a.mask, sized_b.mask);
    result.time_s.push_back(b.time_s);
    result.mse.push_back(mean_squared_error(sized_a.rgb, sized_b.rgb));
    sum += result.mse.back();
  }
  if (overlap.num_frames() == 0)
    throw Error(Exit::input, "no frames to compare", film.name(), "give two films with frames");
  result.overlap = overlap.per_frame();
  result.num_still = overlap.num_still();
  result.numbers = {overlap.spatial(), overlap.spatiotemporal(), overlap.weighted_spatial(),
                    sum / static_cast<double>(overlap.num_frames())};
  return result;
}

double physics_iq_raw(std::span<const PhysicsIqTakes> views) {
  if (!complete(views)) return nan;
  PhysicsIqNumbers film{0, 0, 0, 0}, takes{0, 0, 0, 0};
  const auto add = [](PhysicsIqNumbers& sum, const PhysicsIqNumbers& n) {
    sum.spatial += n.spatial;
    sum.spatiotemporal += n.spatiotemporal;
    sum.weighted_spatial += n.weighted_spatial;
    sum.mse += n.mse;
  };
  for (const PhysicsIqTakes& view : views) {
    add(film, view.film);
    add(takes, view.takes);
  }
  if (takes.spatial == 0 || takes.spatiotemporal == 0 || takes.weighted_spatial == 0) return nan;
  const double ratios = film.spatiotemporal / takes.spatiotemporal + film.spatial / takes.spatial +
                        film.weighted_spatial / takes.weighted_spatial;
  return ratios / 3 - (film.mse - takes.mse) / static_cast<double>(views.size());
}

double physics_iq_score(std::span<const PhysicsIqTakes> views) {
  const double raw = physics_iq_raw(views);
  return std::isnan(raw) ? nan : 100 * clip(raw);
}

double physics_iq_verified(std::span<const PhysicsIqTakes> views) {
  if (!complete(views)) return nan;
  constexpr double floor = 1e-8;
  double sum = 0;
  for (const auto& [film, takes] : views) {
    const double error = film.mse == 0 ? 1 : clip((takes.mse + floor) / film.mse);
    sum +=
        (clip(film.spatial / (takes.spatial + floor)) + clip(film.weighted_spatial / (takes.weighted_spatial + floor)) +
         clip(film.spatiotemporal / (takes.spatiotemporal + floor)) + error) /
        4;
  }
  return 100 * sum / static_cast<double>(views.size());
}

Findings physics_iq_findings(const PhysicsIq& result) {
  Findings findings;
  const auto n = static_cast<std::int64_t>(result.overlap.size());
  const auto add = [&](const char* id, const char* name, Better better, double value) {
    Metric metric{.id = id, .name = name, .unit = "1", .better = better, .value = value, .n = n};
    findings.metrics.push_back(std::isnan(value) ? refused(std::move(metric), "no frames were compared")
                                                 : std::move(metric));
  };
  const PhysicsIqNumbers& numbers = result.numbers;
  add("IQ.spatial", "where it moves: overlap of the pixels that move at any time, frames", Better::higher,
      numbers.spatial);
  add("IQ.spatiotemporal", "where and when it moves: mean overlap, frames", Better::higher, numbers.spatiotemporal);
  add("IQ.weighted_spatial", "where and how long it moves: overlap of the shares of time, frames", Better::higher,
      numbers.weighted_spatial);
  add("IQ.mse", "mean squared error of RGB in [0, 1], frames", Better::lower, numbers.mse);
  add("IQ.still", "share of frames in which neither moves, each counted as overlap 1", Better::none,
      n == 0 ? nan : static_cast<double>(result.num_still) / static_cast<double>(n));
  findings.traces.push_back(
      traced("IQ.spatiotemporal", "overlap of the moving pixels", "1", result.time_s, result.overlap));
  findings.traces.push_back(traced("IQ.mse", "mean squared error", "1", result.time_s, result.mse));
  return findings;
}

Findings physics_iq_score_findings(std::span<const PhysicsIqTakes> views) {
  Findings findings;
  const char* reason = views.empty()      ? "no views"
                       : !complete(views) ? "a number of a view is missing"
                                          : "the takes do not overlap: nothing to normalise by";
  const auto add = [&](const char* id, const char* name, double value) {
    Metric metric{.id = id,
                  .name = name,
                  .unit = "percent",
                  .better = Better::higher,
                  .value = value,
                  .n = static_cast<std::int64_t>(views.size())};
    findings.metrics.push_back(std::isnan(value) ? refused(std::move(metric), reason) : std::move(metric));
  };
  add("IQ.score", "Physics-IQ score of the original board, views", physics_iq_score(views));
  add("IQ.score_verified", "Physics-IQ score by the Verified rule, views", physics_iq_verified(views));
  return findings;
}

}  // namespace reel::metrics
