#pragma once
// How near the pixels of a film are to those of a reference: mean squared error, PSNR, SSIM.
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "core/frames.hpp"
#include "metrics/metric.hpp"

namespace reel::metrics {

/// Mean of the squared differences of two 8-bit arrays of one length, as fractions of 255. Exact integer sum.
double mean_squared_error(std::span<const std::uint8_t> a, std::span<const std::uint8_t> b);

/// 10 log10(1 / mse) dB for values in [0, 1]; +infinity for 0.
double psnr_db(double mse);

/// Structural similarity (Wang, Bovik, Sheikh and Simoncelli 2004) of two planes [H, W] with values 0 ... 255: Gaussian
/// window of 11 x 11 with sigma 1.5 and sum 1, population variances, K1 = 0.01, K2 = 0.03, L = 255; mean over all
/// positions where the window lies wholly inside. Exactly 1 for equal planes. In double: windows in index order, first
/// along x, then along y; error below 1e-9. NaN when a side is below 11 pixels.
double ssim_plane(std::span<const double> a, std::span<const double> b, std::int64_t height_px, std::int64_t width_px);

struct FidelityOptions {
  bool up_to_the_shorter = false;  ///< films of different length: compare the frames that both have
  bool ssim_of_rgb = false;        ///< also the mean of the three channels' SSIM: papers differ
};

/// Per frame and over the film. The films are compared frame by frame in order, whatever their time stamps say.
struct Fidelity {
  std::vector<double> time_s;                        ///< of the reference
  std::vector<double> mse, psnr, ssim, ssim_of_rgb;  ///< per frame; PSNR in dB
  double film_mse = nan;                             ///< mean over frames: of all pixels and channels
  double film_psnr = nan;                            ///< of `film_mse`, dB
  double mean_psnr = nan;  ///< mean of the frames' PSNR: infinite as soon as one frame is equal
  double mean_ssim = nan, mean_ssim_of_rgb = nan;
  double time_difference_s = 0;  ///< largest between two frames that were compared
};

/// Compares `film` with `reference`, both from their first frame. SSIM is that of luma (ITU-R BT.601:
/// 0.299 R + 0.587 G + 0.114 B, not rounded). Sums run in the order of frames. Throws Error (Exit::input) with both
/// sizes when they differ, when a film has no frames, or when one ends first and nobody asked for the shorter.
Fidelity fidelity(FrameSource& film, FrameSource& reference, const FidelityOptions& options = {});

/// Metrics "P.mse", "P.psnr", "P.psnr_mean", "P.ssim", "P.ssim_rgb" (where asked for) and "P.time_difference", and the
/// traces of MSE, PSNR and SSIM. Equal films have a PSNR of +infinity. SSIM is refused for pictures below 11 pixels.
Findings fidelity_findings(const Fidelity& fidelity);

}  // namespace reel::metrics
