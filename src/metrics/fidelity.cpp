#include "metrics/fidelity.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <utility>

#include "metrics/paired.hpp"

namespace reel::metrics {
namespace {

constexpr std::int64_t window = 11;

std::array<double, window> gaussian() {
  std::array<double, window> g;
  double sum = 0;
  for (int i = 0; i < window; ++i) {
    const double x = i - window / 2;
    g[static_cast<std::size_t>(i)] = std::exp(-x * x / (2 * 1.5 * 1.5));
    sum += g[static_cast<std::size_t>(i)];
  }
  for (double& value : g) value /= sum;
  return g;
}

/// The five means that SSIM is made of: a, b, a a, b b, a b.
constexpr std::size_t num_means = 5;

/// One row after the pass along x: [num_means, n], n = W - 10.
void filter_row(const double* a, const double* b, std::size_t n, const std::array<double, window>& g, double* out) {
  std::fill(out, out + num_means * n, 0.0);
  for (std::size_t k = 0; k < g.size(); ++k)
    for (std::size_t x = 0; x < n; ++x) {
      const double va = a[x + k], vb = b[x + k], w = g[k];
      out[x] += w * va;
      out[n + x] += w * vb;
      out[2 * n + x] += w * (va * va);
      out[3 * n + x] += w * (vb * vb);
      out[4 * n + x] += w * (va * vb);
    }
}

/// Sum of SSIM over one row of windows, from the five means.
double ssim_of_row(const double* mean, std::size_t n) {
  constexpr double c1 = (0.01 * 255) * (0.01 * 255), c2 = (0.03 * 255) * (0.03 * 255);
  double sum = 0;
  for (std::size_t x = 0; x < n; ++x) {
    const double ma = mean[x], mb = mean[n + x];
    const double va = mean[2 * n + x] - ma * ma, vb = mean[3 * n + x] - mb * mb, cov = mean[4 * n + x] - ma * mb;
    sum += ((2 * (ma * mb) + c1) * (2 * cov + c2)) / ((ma * ma + mb * mb + c1) * (va + vb + c2));
  }
  return sum;
}

void luma(const Frame& frame, std::vector<double>& out) {
  out.resize(frame.rgb.size() / 3);
  for (std::size_t i = 0; i < out.size(); ++i)
    out[i] = 0.299 * frame.rgb[3 * i] + 0.587 * frame.rgb[3 * i + 1] + 0.114 * frame.rgb[3 * i + 2];
}

void channel(const Frame& frame, std::size_t c, std::vector<double>& out) {
  out.resize(frame.rgb.size() / 3);
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = frame.rgb[3 * i + c];
}

double mean(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return values.empty() ? nan : sum / static_cast<double>(values.size());
}

}  // namespace

double mean_squared_error(std::span<const std::uint8_t> a, std::span<const std::uint8_t> b) {
  REEL_CHECK(a.size() == b.size() && !a.empty(), "{} and {} values", a.size(), b.size());
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const int d = static_cast<int>(a[i]) - static_cast<int>(b[i]);
    sum += static_cast<std::uint64_t>(d * d);
  }
  return static_cast<double>(sum) / (255.0 * 255.0) / static_cast<double>(a.size());
}

double psnr_db(double mse) { return mse == 0 ? std::numeric_limits<double>::infinity() : -10 * std::log10(mse); }

double ssim_plane(std::span<const double> a, std::span<const double> b, std::int64_t height_px, std::int64_t width_px) {
  REEL_CHECK(height_px >= 0 && width_px >= 0 && a.size() == static_cast<std::size_t>(height_px * width_px) &&
                 b.size() == a.size(),
             "{} and {} values for {} x {} pixels", a.size(), b.size(), width_px, height_px);
  if (height_px < window || width_px < window) return nan;
  static const std::array<double, window> g = gaussian();
  const auto w = static_cast<std::size_t>(width_px), n = w - (window - 1);
  // The last 11 rows after the pass along x, a ring.
  std::vector<double> rows(window * num_means * n), means(num_means * n);
  double sum = 0;
  for (std::int64_t y = 0; y < height_px; ++y) {
    const auto row_start = static_cast<std::size_t>(y) * w;
    filter_row(&a[row_start], &b[row_start], n, g, &rows[static_cast<std::size_t>(y % window) * num_means * n]);
    if (y < window - 1) continue;
    std::fill(means.begin(), means.end(), 0.0);
    for (std::int64_t k = 0; k < window; ++k) {
      const double* row = &rows[static_cast<std::size_t>((y - (window - 1) + k) % window) * num_means * n];
      const double weight = g[static_cast<std::size_t>(k)];
      for (std::size_t i = 0; i < means.size(); ++i) means[i] += weight * row[i];
    }
    sum += ssim_of_row(means.data(), n);
  }
  return sum / (static_cast<double>(n) * static_cast<double>(height_px - (window - 1)));
}

Fidelity fidelity(FrameSource& film, FrameSource& reference, const FidelityOptions& options) {
  film.rewind();
  reference.rewind();
  Fidelity result;
  Frame a, b;
  std::vector<double> plane_a, plane_b;
  while (next_pair(film, reference, a, b, static_cast<std::int64_t>(result.mse.size()), options.up_to_the_shorter)) {
    require_same_size(a, b, film.name(), reference.name());
    result.time_s.push_back(b.time_s);
    result.time_difference_s = std::max(result.time_difference_s, std::abs(a.time_s - b.time_s));
    result.mse.push_back(mean_squared_error(a.rgb, b.rgb));
    result.psnr.push_back(psnr_db(result.mse.back()));
    luma(a, plane_a);
    luma(b, plane_b);
    result.ssim.push_back(ssim_plane(plane_a, plane_b, a.height_px, a.width_px));
    if (!options.ssim_of_rgb) continue;
    double sum = 0;
    for (std::size_t c = 0; c < 3; ++c) {
      channel(a, c, plane_a);
      channel(b, c, plane_b);
      sum += ssim_plane(plane_a, plane_b, a.height_px, a.width_px);
    }
    result.ssim_of_rgb.push_back(sum / 3);
  }
  if (result.mse.empty()) throw Error(Exit::input, "no frames to compare", film.name(), "give two films with frames");
  result.film_mse = mean(result.mse);
  result.film_psnr = psnr_db(result.film_mse);
  result.mean_psnr = mean(result.psnr);
  result.mean_ssim = mean(result.ssim);
  result.mean_ssim_of_rgb = mean(result.ssim_of_rgb);
  return result;
}

Findings fidelity_findings(const Fidelity& f) {
  Findings findings;
  const auto n = static_cast<std::int64_t>(f.mse.size());
  const auto add = [&](const char* id, const char* name, const char* unit, Better better, double value) {
    Metric metric{
        .id = id, .name = name, .unit = unit, .aspect = Aspect::description, .better = better, .value = value, .n = n};
    findings.metrics.push_back(std::isnan(value)
                                   ? refused(std::move(metric), n == 0 ? "no frames were compared"
                                                                       : "the picture is smaller than 11 x 11 pixels")
                                   : std::move(metric));
  };
  add("P.mse", "mean squared error of RGB in [0, 1], frames", "1", Better::lower, f.film_mse);
  add("P.psnr", "peak signal-to-noise ratio of the whole film, frames", "dB", Better::higher, f.film_psnr);
  add("P.psnr_mean", "mean of the frames' peak signal-to-noise ratios, frames", "dB", Better::higher, f.mean_psnr);
  add("P.ssim", "structural similarity of luma, mean over frames", "1", Better::higher, f.mean_ssim);
  if (!f.ssim_of_rgb.empty())
    add("P.ssim_rgb", "structural similarity, mean of R, G, B and over frames", "1", Better::higher,
        f.mean_ssim_of_rgb);
  add("P.time_difference", "largest difference of time stamps of compared frames", "s", Better::zero,
      n == 0 ? nan : f.time_difference_s);
  findings.traces.push_back(traced("P.mse", "mean squared error", "1", f.time_s, f.mse));
  findings.traces.push_back(traced("P.psnr", "peak signal-to-noise ratio", "dB", f.time_s, f.psnr));
  findings.traces.push_back(traced("P.ssim", "structural similarity of luma", "1", f.time_s, f.ssim));
  return findings;
}

}  // namespace reel::metrics
