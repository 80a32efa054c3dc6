// PSNR and SSIM against scikit-image on a picture that both can make, against closed forms, and against a window by
// window sum.
#include "metrics/fidelity.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "metrics/paired.hpp"

namespace reel::metrics {
namespace {

constexpr std::int64_t width = 40, height = 32;

Film grey(std::int64_t num_frames, std::int64_t w, std::int64_t h, int level) {
  Film film{num_frames, h, w, 8, {}};
  film.rgb.assign(static_cast<std::size_t>(num_frames * film.frame_bytes()), static_cast<std::uint8_t>(level));
  return film;
}

/// Hills and a grid, and the same with a pattern of -11 ... 11 levels added; integers only.
struct Pair {
  Film film = grey(2, width, height, 0), reference = grey(2, width, height, 0);
  Pair() {
    for (int t = 0; t < 2; ++t)
      for (int y = 0; y < height; ++y)
        for (int x = 0; x < width; ++x)
          for (int c = 0; c < 3; ++c) {
            const int a = ((x * x + 2 * y * y + 3 * x * y * (c + 1)) / 16 + 40 * ((x / 5 + y / 4 + t) % 2)) % 256;
            const int b = std::clamp(a + (x * x + 3 * y + 5 * c + 7 * t) % 23 - 11, 0, 255);
            const auto i = static_cast<std::size_t>((y * width + x) * 3 + c);
            reference.frame(t)[i] = static_cast<std::uint8_t>(a);
            film.frame(t)[i] = static_cast<std::uint8_t>(b);
          }
  }
};

const Metric& find(const Findings& findings, const std::string& id) {
  for (const Metric& metric : findings.metrics)
    if (metric.id == id) return metric;
  throw std::runtime_error("no " + id);
}

TEST(Fidelity, AgreesWithScikitImage) {
  // scikit-image 0.26 on the same pictures: structural_similarity(gaussian_weights=True, sigma=1.5,
  // use_sample_covariance=False, data_range=255) of float luma and of float RGB with channel_axis=2;
  // peak_signal_noise_ratio(data_range=255); for the film 10 log10(1 / mean of both mse).
  const Pair pair;
  FilmFrames film(pair.film), reference(pair.reference);
  const Fidelity f = fidelity(film, reference, {.ssim_of_rgb = true});
  ASSERT_EQ(f.mse.size(), 2u);
  EXPECT_NEAR(f.mse[0], 0.0006625336409073433, 1e-15);
  EXPECT_NEAR(f.mse[1], 0.0006638872869409202, 1e-15);
  EXPECT_NEAR(f.psnr[0], 31.787920650296485, 1e-10);
  EXPECT_NEAR(f.psnr[1], 31.779056477625844, 1e-10);
  EXPECT_NEAR(f.film_psnr, 31.78348630243279, 1e-10);
  EXPECT_NEAR(f.mean_psnr, (31.787920650296485 + 31.779056477625844) / 2, 1e-10);
  EXPECT_NEAR(f.ssim[0], 0.9855119129055177, 1e-10);
  EXPECT_NEAR(f.ssim[1], 0.9879645994228156, 1e-10);
  EXPECT_NEAR(f.mean_ssim, (0.9855119129055177 + 0.9879645994228156) / 2, 1e-10);
  EXPECT_NEAR(f.ssim_of_rgb[0], 0.9759731601872574, 1e-10);
  EXPECT_NEAR(f.mean_ssim_of_rgb, (0.9759731601872574 + 0.9761264050960278) / 2, 1e-10);
}

TEST(Fidelity, AgreesWithAWindowByWindowSum) {
  const Pair pair;
  std::vector<double> a, b;
  for (std::size_t i = 0; i < static_cast<std::size_t>(width * height); ++i) {
    a.push_back(pair.film.rgb[3 * i + 1]);
    b.push_back(pair.reference.rgb[3 * i + 1]);
  }
  long double weight[11][11], total = 0;
  for (int i = 0; i < 11; ++i)
    for (int j = 0; j < 11; ++j)
      total += weight[i][j] = std::exp(-static_cast<long double>((i - 5) * (i - 5) + (j - 5) * (j - 5)) / 4.5L);
  long double sum = 0;
  for (int y = 0; y + 11 <= height; ++y)
    for (int x = 0; x + 11 <= width; ++x) {
      long double ma = 0, mb = 0, va = 0, vb = 0, cov = 0;
      const auto at = [&](int i, int j) { return static_cast<std::size_t>((y + i) * width + x + j); };
      for (int i = 0; i < 11; ++i)
        for (int j = 0; j < 11; ++j) ma += weight[i][j] / total * a[at(i, j)], mb += weight[i][j] / total * b[at(i, j)];
      for (int i = 0; i < 11; ++i)
        for (int j = 0; j < 11; ++j) {
          const long double da = a[at(i, j)] - ma, db = b[at(i, j)] - mb, w = weight[i][j] / total;
          va += w * da * da, vb += w * db * db, cov += w * da * db;
        }
      sum += (2 * ma * mb + 6.5025L) * (2 * cov + 58.5225L) / ((ma * ma + mb * mb + 6.5025L) * (va + vb + 58.5225L));
    }
  EXPECT_NEAR(ssim_plane(a, b, height, width), static_cast<double>(sum / (22 * 30)), 1e-9);
}

TEST(Fidelity, EqualFilmsHaveNoErrorAndExactlyFullSimilarity) {
  const Pair pair;
  FilmFrames film(pair.film), reference(pair.film);
  const Findings findings = fidelity_findings(fidelity(film, reference, {.ssim_of_rgb = true}));
  EXPECT_EQ(find(findings, "P.mse").value, 0);
  EXPECT_TRUE(find(findings, "P.psnr").given());
  EXPECT_EQ(find(findings, "P.psnr").value, std::numeric_limits<double>::infinity());
  EXPECT_EQ(find(findings, "P.psnr").n, 2);
  EXPECT_EQ(find(findings, "P.ssim").value, 1);
  EXPECT_EQ(find(findings, "P.ssim_rgb").value, 1);
}

TEST(Fidelity, LevelsThatDifferByAConstantHaveAClosedForm) {
  const Film a = grey(1, 16, 12, 100), b = grey(1, 16, 12, 101);
  FilmFrames film(a), reference(b);
  const Fidelity f = fidelity(film, reference);
  EXPECT_NEAR(f.film_psnr, 20 * std::log10(255.0), 1e-12);  // 48.13 dB: one level
  EXPECT_NEAR(f.mean_ssim, (2 * 100 * 101 + 6.5025) / (100 * 100 + 101 * 101 + 6.5025), 1e-10);
  EXPECT_TRUE(f.ssim_of_rgb.empty());
}

TEST(Fidelity, SimilarityIsSymmetricAndFallsForABrokenPicture) {
  Pair pair;
  FilmFrames film(pair.film), reference(pair.reference);
  const double there = fidelity(film, reference).mean_ssim;
  EXPECT_EQ(there, fidelity(reference, film).mean_ssim);
  std::reverse(pair.film.rgb.begin(), pair.film.rgb.end());  // negative control: another picture altogether
  EXPECT_LT(fidelity(film, reference).mean_ssim, 0.5);
}

TEST(Fidelity, RefusesWhatCannotBeCompared) {
  const Film two = grey(2, 16, 12, 9), three = grey(3, 16, 12, 9), wide = grey(2, 17, 12, 9), none = grey(0, 16, 12, 9);
  FilmFrames f2(two, "two"), f3(three, "three"), fw(wide, "wide"), f0(none, "none");
  const auto message = [](FrameSource& a, FrameSource& b) {
    try {
      fidelity(a, b);
    } catch (const Error& error) {
      EXPECT_EQ(error.exit(), Exit::input);
      return std::string(error.what());
    }
    return std::string("nothing thrown");
  };
  EXPECT_EQ(message(f2, fw), "two is 16 x 12 pixels, wide is 17 x 12");
  EXPECT_EQ(message(f3, f2), "two ends after 2 frames, three goes on");
  EXPECT_EQ(message(f2, f3), "two ends after 2 frames, three goes on");
  EXPECT_EQ(message(f0, f0), "no frames to compare");
  EXPECT_EQ(fidelity(f3, f2, {.up_to_the_shorter = true}).mse.size(), 2u);
  EXPECT_THROW(fidelity(f3, f0, {.up_to_the_shorter = true}), Error);
}

TEST(Fidelity, ATinyPictureHasNoSimilarityButAnError) {
  const Film a = grey(1, 1, 1, 10), b = grey(1, 1, 1, 12), c = grey(1, 11, 11, 10), d = grey(1, 11, 11, 12);
  FilmFrames fa(a), fb(b), fc(c), fd(d);
  const Findings findings = fidelity_findings(fidelity(fa, fb));
  EXPECT_NEAR(find(findings, "P.mse").value, 4 / 65025.0, 1e-15);
  EXPECT_FALSE(find(findings, "P.ssim").given());
  EXPECT_TRUE(std::isnan(find(findings, "P.ssim").value));
  EXPECT_TRUE(find(fidelity_findings(fidelity(fc, fd)), "P.ssim").given());
  EXPECT_FALSE(find(fidelity_findings({}), "P.psnr").given());
}

TEST(Fidelity, TimeStampsThatDisagreeAreTold) {
  Film a = grey(3, 12, 12, 0), b = a;
  a.fps = 10;
  b.fps = 8;
  FilmFrames fa(a), fb(b);
  EXPECT_NEAR(find(fidelity_findings(fidelity(fa, fb)), "P.time_difference").value, 0.25 - 0.2, 1e-12);
}

TEST(Paired, AMetricInUnitsOfTheTakes) {
  const Metric mine{.id = "P.mse", .name = "error", .unit = "1", .value = 0.06, .sigma = 0.003, .n = 5},
      takes{.id = "P.mse", .name = "error", .unit = "1", .value = 0.02, .sigma = 0.002, .n = 5};
  const Metric ratio = in_units_of_takes(mine, takes);
  EXPECT_NEAR(ratio.value, 3, 1e-12);
  EXPECT_NEAR(ratio.sigma, 3 * std::sqrt(0.05 * 0.05 + 0.1 * 0.1), 1e-12);
  EXPECT_EQ(ratio.id, "P.mse_per_takes");
  Metric equal = takes;
  equal.value = 0;
  EXPECT_EQ(in_units_of_takes(mine, equal).refusal, "the takes do not differ");
  EXPECT_FALSE(in_units_of_takes(mine, refused(takes, "dark")).given());
  EXPECT_EQ(in_units_of_takes(refused(mine, "dark"), takes).refusal, "dark");
  equal.value = std::numeric_limits<double>::infinity();
  EXPECT_FALSE(in_units_of_takes(mine, equal).given());
  equal.id = "P.psnr";
  EXPECT_THROW(in_units_of_takes(mine, equal), Error);
}

}  // namespace
}  // namespace reel::metrics
