#pragma once
// Does a model prefer films that obey the laws? Pairs of a valid clip and the same clip with one law broken
// (worlds/broken.hpp), the model's denoising loss of both with the same noise, and the share of pairs in which the
// broken one has the smaller loss: the preference error of LikePhys (Yuan et al., arXiv 2510.11512). The trackers judge
// the same pairs, from the pixels.
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "metrics/metric.hpp"
#include "metrics/preference.hpp"
#include "model/generate.hpp"
#include "worlds/world.hpp"

namespace reel::study {

/// A break of worlds/broken.hpp and by how much.
struct Breaking {
  std::string name;
  double amount = 0;
  bool operator==(const Breaking&) const = default;
};
/// Every break with its usual amount, and gravity switched off.
std::vector<Breaking> usual_breaks();

struct PreferencePlan {
  std::vector<std::string> scenes{"uniform", "parabola", "collision", "fall"};
  std::vector<Breaking> breaks = usual_breaks();  ///< of each scene, those that it knows
  std::uint64_t first_clip = 1'000'000'000;       ///< seed; clips without room for one of the breaks are passed over
  std::int64_t num_clips = 40;                    ///< of each scene
  std::int64_t num_noises = 2;                    ///< of each clip and noise level
  std::vector<double> sigmas{0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9};
  std::vector<std::int64_t> given_latents{0};  ///< numbers of clean latent frames: every film is judged with each
  worlds::Spec spec;  ///< size, frames and rate; a fall begins 0.1 s after the first frame unless `set` says otherwise
};

/// What the trackers say of one film, against the truth of the valid clip from the last kept frame on. PhyWorld judges
/// collisions after the impact alone: what is over before it is not seen.
struct Tracked {
  double lost = metrics::nan;              ///< share of objects and frames that are not seen
  double velocity_m_per_s = metrics::nan;  ///< PhyWorld's error of those that are
};

/// One pair, with one number of clean latent frames. Losses: mean over the noises of each sigma.
struct PreferenceRow {
  std::string scene;
  Breaking breaking;
  std::int64_t given_latents = 0, event_frame = 0;
  std::uint64_t clip = 0;
  std::vector<double> valid_by_sigma, invalid_by_sigma;
  double valid = metrics::nan, invalid = metrics::nan;  ///< means over the sigmas
  Tracked tracked_valid, tracked_invalid;
  /// 1 when the trackers find the invalid film worse: it loses its objects in more frames or, in as many, their
  /// velocity is further off. -1 when the valid one, 0 when neither or when a film gives no number.
  int tracked = 0;
};

/// The pairs of one scene and break, or of all ("" and {}), with one number of clean latent frames.
struct PreferenceCell {
  std::string scene;
  Breaking breaking;
  std::int64_t given_latents = 0;
  metrics::Preference model;                  ///< of the means over sigmas
  std::vector<metrics::Preference> by_sigma;  ///< of each sigma alone
  metrics::Preference tracker;                ///< an error: the valid film is found worse
  double agreement = metrics::nan;            ///< share of pairs in which model and trackers prefer the same film
  double gap = metrics::nan;                  ///< mean over pairs of (invalid - valid) / valid
};

struct PreferenceStudy {
  std::vector<PreferenceRow> rows;    ///< by number of clean latent frames, scene, break, clip
  std::vector<PreferenceCell> cells;  ///< as the rows; that of all pairs ends each number of clean latent frames
};

/// Everything. `renderer` is of `pipeline`. Local: this rank alone, films shared out to its threads; no number depends
/// on how many there are. `progress(done, all)` counts films, by one thread at a time. Sums run over noises, then
/// sigmas, then pairs, in order. Throws Error (Exit::usage) for a plan without scenes, breaks, clips, noises, sigmas or
/// numbers of clean frames, a scene that knows none of the breaks or has no clips with room for them, and films that do
/// not fit the model (longer than it was trained on, clean frames that it cannot be given); else as make_broken and
/// denoising_loss.
PreferenceStudy study_preference(const model::Pipeline& pipeline, const model::Renderer& renderer,
                                 const PreferencePlan& plan,
                                 const std::function<void(std::int64_t, std::int64_t)>& progress = {});

/// The cells of `rows`, in the order of the rows: what study_preference fills `cells` with.
std::vector<PreferenceCell> preference_cells(const std::vector<PreferenceRow>& rows);

}  // namespace reel::study
