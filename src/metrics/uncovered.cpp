#include "metrics/uncovered.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "metrics/detect_parts.hpp"

namespace reel::metrics {
namespace {

constexpr float least_difference = 20;  // levels
constexpr std::int64_t least_cells = 4;
constexpr int most_rounds = 16;
constexpr double clearly = 1.15;  // an outline's edges in one picture over those in the other

/// Median of the pictures in `use` (of `known` where it is empty), per channel.
std::vector<float> median_of(std::span<const std::vector<float>> pictures, std::span<const std::uint32_t> use,
                             std::span<const std::uint32_t> known) {
  std::vector<float> out(3 * use.size(), 0.0f);
  std::array<float, 32> v{};
  for (std::size_t i = 0; i < use.size(); ++i) {
    const std::uint32_t all = (std::uint32_t{1} << pictures.size()) - 1;
    const std::uint32_t set = use[i] ? use[i] : known[i] ? known[i] : all;
    for (std::size_t c = 0; c < 3; ++c) {
      std::ptrdiff_t n = 0;
      for (std::size_t k = 0; k < pictures.size(); ++k)
        if (set >> k & 1u) v[static_cast<std::size_t>(n++)] = pictures[k][3 * i + c];
      std::nth_element(v.begin(), v.begin() + n / 2, v.begin() + n);
      out[3 * i + c] = v[static_cast<std::size_t>(n / 2)];
    }
  }
  return out;
}

/// Largest range of a channel within the 3 x 3 cells around a cell.
float range_at(const std::vector<float>& p, std::int64_t x, std::int64_t y, std::int64_t rows, std::int64_t columns) {
  float most = 0;
  for (std::int64_t c = 0; c < 3; ++c) {
    float low = 1e9f, high = -1e9f;
    for (std::int64_t v = std::max<std::int64_t>(0, y - 1); v < std::min(rows, y + 2); ++v)
      for (std::int64_t u = std::max<std::int64_t>(0, x - 1); u < std::min(columns, x + 2); ++u) {
        const float value = p[static_cast<std::size_t>(3 * (v * columns + u) + c)];
        low = std::min(low, value), high = std::max(high, value);
      }
    most = std::max(most, high - low);
  }
  return most;
}

}  // namespace

std::vector<std::uint32_t> uncovered(std::span<const std::vector<float>> pictures, std::span<const std::uint32_t> known,
                                     std::int64_t rows, std::int64_t columns) {
  const auto cells = static_cast<std::size_t>(rows * columns);
  REEL_CHECK(pictures.size() <= 31 && known.size() == cells, "{} pictures", pictures.size());
  std::vector<std::uint32_t> use(known.begin(), known.end());
  std::vector<std::uint8_t> mask(cells), now_covered(cells, 0);
  std::vector<std::int32_t> labels;
  std::vector<std::int8_t> score(pictures.size() * cells, 0);  // above 0: shows the background, below: covered
  for (int round = 0; round < most_rounds; ++round) {
    const std::vector<float> median = median_of(pictures, use, known);
    for (std::size_t k = 0; k < pictures.size(); ++k) {
      const std::vector<float>& now = pictures[k];
      for (std::size_t i = 0; i < cells; ++i) {
        float most = 0;
        for (std::size_t c = 0; c < 3; ++c) most = std::max(most, std::abs(now[3 * i + c] - median[3 * i + c]));
        mask[i] = (known[i] >> k & 1u) && most > least_difference;
      }
      // Opened, so that where a thing has moved by less than its size its front and its rear are two patches.
      mask = parts::crossed(parts::crossed(mask, columns, rows, 0), columns, rows, 1);
      const int count = parts::label(mask, columns, rows, labels);
      std::vector<double> in_now(static_cast<std::size_t>(count) + 1, 0), in_median = in_now;
      std::vector<std::int64_t> size(in_now.size(), 0);
      for (std::int64_t y = 0; y < rows; ++y)
        for (std::int64_t x = 0; x < columns; ++x) {
          const auto i = static_cast<std::size_t>(y * columns + x), row = static_cast<std::size_t>(columns);
          if (!labels[i]) continue;
          const auto p = static_cast<std::size_t>(labels[i]);
          ++size[p];
          const bool outline =
              (x > 0 && labels[i - 1] != labels[i]) || (x + 1 < columns && labels[i + 1] != labels[i]) ||
              (y > 0 && labels[i - row] != labels[i]) || (y + 1 < rows && labels[i + row] != labels[i]);
          if (!outline) continue;
          in_now[p] += static_cast<double>(range_at(now, x, y, rows, columns));
          in_median[p] += static_cast<double>(range_at(median, x, y, rows, columns));
        }
      std::int8_t* const mine = score.data() + k * cells;
      for (std::int64_t y = 0; y < rows; ++y)
        for (std::int64_t x = 0; x < columns; ++x) {
          const auto p = static_cast<std::size_t>(labels[static_cast<std::size_t>(y * columns + x)]);
          if (p == 0 || size[p] < least_cells) continue;
          if (in_median[p] > clearly * in_now[p]) mine[static_cast<std::size_t>(y * columns + x)] += 2;
          if (in_now[p] <= clearly * in_median[p]) continue;
          for (std::int64_t v = std::max<std::int64_t>(0, y - 1); v < std::min(rows, y + 2); ++v)
            for (std::int64_t u = std::max<std::int64_t>(0, x - 1); u < std::min(columns, x + 2); ++u)
              now_covered[static_cast<std::size_t>(v * columns + u)] = 1;
        }
      for (std::size_t i = 0; i < cells; ++i) mine[i] = static_cast<std::int8_t>(mine[i] - 2 * now_covered[i]);
      std::fill(now_covered.begin(), now_covered.end(), std::uint8_t{0});
    }
    bool changed = false;
    for (std::size_t i = 0; i < cells; ++i) {
      std::uint32_t shows = 0, neutral = 0;
      for (std::size_t k = 0; k < pictures.size(); ++k) {
        const std::int8_t s = score[k * cells + i];
        if (s > 0) shows |= 1u << k;
        if (s == 0) neutral |= 1u << k;
      }
      const std::uint32_t next = (shows ? shows : neutral) & known[i];
      changed = changed || next != use[i];
      use[i] = next;
    }
    if (!changed) break;
  }
  return use;
}

void leave_out(std::span<const std::array<std::uint8_t, 3>> colours, std::span<const std::vector<float>> pictures,
               std::span<std::uint32_t> known, std::int64_t rows, std::int64_t columns) {
  constexpr float near = 40;  // levels
  constexpr std::int64_t rim = 2;
  const auto cells = static_cast<std::size_t>(rows * columns);
  std::vector<std::uint32_t> coloured(cells, 0);
  for (std::size_t k = 0; k < pictures.size(); ++k)
    for (std::size_t i = 0; i < cells; ++i)
      for (const auto& colour : colours) {
        float sum = 0;
        for (std::size_t c = 0; c < 3; ++c) {
          const float d = pictures[k][3 * i + c] - static_cast<float>(colour[c]);
          sum += d * d;
        }
        if (sum < near * near) coloured[i] |= (std::uint32_t{1} << k) & known[i];
      }
  std::vector<std::uint8_t> always(cells);
  for (std::size_t i = 0; i < cells; ++i) always[i] = known[i] && coloured[i] == known[i];
  std::vector<std::int32_t> labels;
  const int count = parts::label(always, columns, rows, labels);
  std::vector<std::int64_t> outline(static_cast<std::size_t>(count) + 1, 0), sometimes = outline;
  const auto around = [&](std::size_t i, std::int64_t reach, auto&& f) {
    const auto x = static_cast<std::int64_t>(i) % columns, y = static_cast<std::int64_t>(i) / columns;
    for (std::int64_t v = std::max<std::int64_t>(0, y - reach); v < std::min(rows, y + reach + 1); ++v)
      for (std::int64_t u = std::max<std::int64_t>(0, x - reach); u < std::min(columns, x + reach + 1); ++u)
        f(static_cast<std::size_t>(v * columns + u));
  };
  for (std::size_t i = 0; i < cells; ++i) {
    if (!labels[i]) continue;
    const auto p = static_cast<std::size_t>(labels[i]);
    around(i, 1, [&](std::size_t j) {
      if (labels[j]) return;
      ++outline[p];
      sometimes[p] += coloured[j] != 0;
    });
  }
  for (std::size_t i = 0; i < cells; ++i) {
    const auto p = static_cast<std::size_t>(labels[i]);
    if (p && 2 * sometimes[p] <= outline[p]) coloured[i] = 0;  // it belongs to the background
  }
  for (std::size_t i = 0; i < cells; ++i)
    if (coloured[i]) around(i, rim, [&](std::size_t j) { known[j] &= ~coloured[i]; });
}

}  // namespace reel::metrics
