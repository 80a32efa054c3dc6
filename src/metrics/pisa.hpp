#pragma once
// PisaBench (Li et al., arXiv 2503.09595): where the mask of a falling object is, against the truth's. Distances are in
// units of sqrt(2) H, the diagonal of a square picture of height H. The original leaves out frames in which one of the
// two masks is empty, which flatters a model that loses its object; here both conventions are given, with counts.
#include <cstdint>
#include <vector>

#include "metrics/metric.hpp"

namespace reel::metrics {

/// Masks [H, W] of one object in every frame, 0 or not.
struct MaskFilm {
  std::int64_t height_px = 0, width_px = 0;
  std::vector<std::vector<std::uint8_t>> frames;
};

/// Means over the frames in which both masks have pixels ("seen"), and over all frames in which either has ("all"):
/// there, a frame with one empty mask counts as a whole unit of distance in each direction and as overlap 0.
struct PisaDistance {
  double seen = nan, all = nan;
};

struct Pisa {
  std::int64_t num_frames = 0;
  std::int64_t num_both = 0;      ///< both masks have pixels
  std::int64_t num_lost = 0;      ///< only the truth's has
  std::int64_t num_invented = 0;  ///< only the film's has
  PisaDistance l2_coded;  ///< as the original codes it: mean of |dx| and |dy| of the centroids, over sqrt(2) H. For a
                          ///< purely vertical error d this is d / (2 sqrt(2) H), half the true distance
  PisaDistance l2;        ///< Euclidean distance of the centroids, over sqrt(2) H
  PisaDistance chamfer;   ///< mean nearest distance from mask to mask, both ways added, over sqrt(2) H; lost: 2
  double iou = nan;       ///< as published: mean over all frames, 1 where both are empty, 0 where one is
  double iou_seen = nan;  ///< mean over the frames in which both have pixels
  std::vector<double> l2_per_frame, chamfer_per_frame, iou_per_frame;  ///< NaN (distances) where one has no pixels
};

/// For every frame of a film the frame of the truth that it is compared with: floor(i * truth_fps / film_fps), as long
/// as there is one. Throws Error (Exit::input) for rates that are not above 0.
std::vector<std::int64_t> pisa_truth_frames(std::int64_t num_film_frames, double film_fps,
                                            std::int64_t num_truth_frames, double truth_fps);

/// Compares masks frame by frame; sums in index order; nearest distances are exact. Throws Error (Exit::input) when
/// sizes or numbers of frames differ, there are none, or a mask does not have H W pixels.
Pisa pisa(const MaskFilm& film, const MaskFilm& truth);

/// Metrics "PISA.l2_coded", "PISA.l2", "PISA.chamfer", each also with "_all", "PISA.iou", "PISA.iou_seen", "PISA.lost",
/// "PISA.invented", and traces over `time_s`. What has no frame is refused. Throws Error (bug) when `time_s` does not
/// have one entry per frame.
Findings pisa_findings(const Pisa& result, const std::vector<double>& time_s);

}  // namespace reel::metrics
