#include "metrics/shots.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "core/error.hpp"

namespace reel::metrics {
namespace {

constexpr int reach = 6;        // half width of the smoothing kernel, levels
constexpr int most_shift = 12;  // a flicker of this many levels is no cut
constexpr std::int64_t grid = 16;
constexpr double cell_levels = 10, histogram_jump = 0.12, layout_jump = 0.4;
constexpr double contrast = 3;  // of a cut over its neighbours

std::vector<std::uint8_t> lumas_of(const Frame& frame) {
  std::vector<std::uint8_t> out(frame.rgb.size() / 3);
  REEL_CHECK(!out.empty(), "empty frame");
  const std::uint8_t* rgb = frame.rgb.data();
  std::uint8_t* luma = out.data();
  for (std::size_t i = 0, n = out.size(); i < n; ++i)
    luma[i] = static_cast<std::uint8_t>((77 * rgb[3 * i] + 150 * rgb[3 * i + 1] + 29 * rgb[3 * i + 2] + 128) >> 8);
  return out;
}

double distance_at(const LumaHistogram& a, const LumaHistogram& b, int shift) {
  double sum = 0;
  // Levels that are shifted beyond black or white are compared with nothing, as they should be.
  for (int i = -most_shift; i < 256 + most_shift; ++i) {
    const int j = i - shift;
    const double p = i >= 0 && i < 256 ? a[static_cast<std::size_t>(i)] : 0;
    const double q = j >= 0 && j < 256 ? b[static_cast<std::size_t>(j)] : 0;
    if (p + q > 0) sum += (p - q) * (p - q) / (p + q);
  }
  return sum;
}

bool same_picture(const Frame& a, const Frame& b) {
  const std::size_t n = a.rgb.size(), chunk = 4096;  // looked at as a whole, by vector units
  for (std::size_t begin = 0; begin < n; begin += chunk) {
    bool differs = false;
    for (std::size_t i = begin; i < std::min(n, begin + chunk); ++i) differs |= std::abs(a.rgb[i] - b.rgb[i]) > 1;
    if (differs) return false;
  }
  return true;
}

double median_of(std::vector<double> v) {
  const std::size_t half = v.size() / 2;
  std::sort(v.begin(), v.end());
  return v.size() % 2 ? v[half] : 0.5 * (v[half - 1] + v[half]);
}

}  // namespace

static LumaHistogram histogram_of(const std::vector<std::uint8_t>& lumas) {
  const std::size_t n = lumas.size();
  // By four: neighbours are alike, and one count would wait for the other.
  std::array<std::array<std::int64_t, 256>, 4> some{};
  for (std::size_t i = 0; i < n; ++i) ++some[i % 4][lumas[i]];
  std::array<std::int64_t, 256> counts{};
  for (const auto& s : some)
    for (std::size_t level = 0; level < 256; ++level) counts[level] += s[level];
  // Triangular kernel; what would fall off the ends is kept there.
  LumaHistogram out{};
  constexpr double unit = 1.0 / (reach * reach);
  for (int level = 0; level < 256; ++level) {
    const double share = static_cast<double>(counts[static_cast<std::size_t>(level)]) / static_cast<double>(n);
    if (share == 0) continue;
    for (int d = 1 - reach; d < reach; ++d)
      out[static_cast<std::size_t>(std::clamp(level + d, 0, 255))] += share * unit * (reach - std::abs(d));
  }
  return out;
}

LumaHistogram luma_histogram(const Frame& frame) { return histogram_of(lumas_of(frame)); }

double histogram_distance(const LumaHistogram& a, const LumaHistogram& b) {
  double best = 2;
  for (int shift = -most_shift; shift <= most_shift; ++shift) best = std::min(best, distance_at(a, b, shift));
  return best;
}

Composition composition_of(const Frame& frame) {
  const std::vector<std::uint8_t> lumas = lumas_of(frame);
  Composition c{histogram_of(lumas), {}};
  double mean = 0;
  for (std::int64_t r = 0; r < grid; ++r)
    for (std::int64_t q = 0; q < grid; ++q) {
      const std::int64_t x0 = q * frame.width_px / grid, x1 = std::max(x0 + 1, (q + 1) * frame.width_px / grid);
      const std::int64_t y0 = r * frame.height_px / grid, y1 = std::max(y0 + 1, (r + 1) * frame.height_px / grid);
      std::int64_t sum = 0;
      for (std::int64_t y = y0; y < y1; ++y)
        for (std::int64_t x = x0; x < x1; ++x) sum += lumas[static_cast<std::size_t>(y * frame.width_px + x)];
      double& cell = c.layout[static_cast<std::size_t>(r * grid + q)];
      cell = static_cast<double>(sum) / static_cast<double>((x1 - x0) * (y1 - y0));
      mean += cell / (grid * grid);
    }
  for (double& cell : c.layout) cell -= mean;
  return c;
}

double jump_between(const Composition& a, const Composition& b) {
  int moved = 0;
  for (std::size_t i = 0; i < a.layout.size(); ++i) moved += std::abs(a.layout[i] - b.layout[i]) > cell_levels;
  return std::max(histogram_distance(a.histogram, b.histogram) / histogram_jump, moved / (grid * grid * layout_jump));
}

bool CutFinder::add(const Frame& frame) {
  if (frame.height_px <= 0 || frame.width_px <= 0 ||
      frame.rgb.size() != static_cast<std::size_t>(3 * frame.height_px * frame.width_px))
    throw Error(Exit::input, fmt::format("frame {} is empty or cut short", count_));
  if (count_ == 0) height_px_ = frame.height_px, width_px_ = frame.width_px;
  if (frame.height_px != height_px_ || frame.width_px != width_px_)
    throw Error(Exit::input, fmt::format("frame {} is {} x {} px, the first is {} x {} px", count_, frame.width_px,
                                         frame.height_px, width_px_, height_px_));
  const Composition now = composition_of(frame);
  const double jump = count_ > 0 ? jump_between(last_, now) : 0;
  const bool peak = jump_ >= 1 && jump_ > contrast * std::max(jump_before_, jump);
  // After a flash the old picture is back; half of the jump leaves room for what moved meanwhile.
  const bool flash = peak && jump_between(before_, now) < 0.5 * jump_;
  before_ = last_;
  last_ = now;
  jump_before_ = jump_;
  jump_ = jump;
  ++count_;
  return peak && !flash;
}

bool CutFinder::finish() {
  // A strange last frame is set apart: alone it cannot be measured, in the shot it would do harm.
  return jump_ >= 1 && jump_ > contrast * jump_before_;
}

bool ShotFinder::add(const Frame& frame, const Frame& before) {
  const std::int64_t f = shots_.num_frames();
  const double previous = f > 0 ? shots_.time_s.back() : -std::numeric_limits<double>::infinity();
  if (!std::isfinite(frame.time_s) || frame.time_s <= previous)
    throw Error(Exit::input, fmt::format("the time of frame {} is {} s, after {} s", f, frame.time_s, previous), film_,
                "frames must have rising times");
  const bool cut = cuts_.add(frame);
  if (cut) shots_.first_frames.push_back(f - 1);
  if (f == 0) {
    shots_.first_frames.push_back(0);
    shots_.height_px = frame.height_px, shots_.width_px = frame.width_px;
  } else if (same_picture(before, frame)) {
    shots_.duplicate_frames.push_back(f);
  }
  shots_.time_s.push_back(frame.time_s);
  return cut;
}

bool ShotFinder::finish() {
  ShotList& s = shots_;
  if (s.time_s.empty())
    throw Error(Exit::input, "the film has no frames", film_, "is it a video file or a folder of pictures?");
  const bool cut = cuts_.finish();
  if (cut) s.first_frames.push_back(s.num_frames() - 1);
  std::vector<double> dt;
  for (std::size_t f = 1; f < s.time_s.size(); ++f) dt.push_back(s.time_s[f] - s.time_s[f - 1]);
  if (!dt.empty()) {
    const auto [low, high] = std::minmax_element(dt.begin(), dt.end());
    s.dt_min_s = *low;
    s.dt_max_s = *high;
    s.dt_median_s = median_of(dt);
  }
  return cut;
}

ShotList find_shots(FrameSource& source) {
  ShotFinder finder(source.name());
  Frame frame, before;
  source.rewind();
  while (source.next(frame)) {
    finder.add(frame, before);
    std::swap(before, frame);
  }
  finder.finish();
  return finder.shots();
}

}  // namespace reel::metrics
