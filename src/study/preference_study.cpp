#include "study/preference_study.hpp"

#include <algorithm>
#include <map>
#include <mutex>

#include "core/parallel.hpp"
#include "metrics/measure.hpp"
#include "model/denoising_loss.hpp"
#include "study/truth.hpp"
#include "worlds/broken.hpp"

namespace reel::study {
namespace {

using std::int64_t;

struct Clips {
  std::string scene;
  std::vector<Breaking> breaks;
  std::vector<std::uint64_t> seeds;
  worlds::Spec spec;
};

/// One film: of `clips[group]`, seed number `seed`, valid (breaking 0) or broken.
struct Job {
  std::size_t group, seed, breaking;
};
struct Outcome {
  std::vector<std::vector<double>> loss;  ///< [given_latents][sigma], mean over noises
  Tracked tracked;
  int64_t event_frame = 0;
};

void refuse(bool bad, const std::string& what, const std::string& key, const std::string& hint) {
  if (bad) throw Error(Exit::usage, what, "preference study: " + key, hint);
}

void expect_complete(const model::Pipeline& pipeline, const PreferencePlan& plan) {
  refuse(plan.scenes.empty(), "no scenes", "scenes", "name at least one");
  refuse(plan.breaks.empty(), "no breaks", "breaks", "name at least one");
  refuse(plan.sigmas.empty(), "no noise levels", "sigmas", "name at least one");
  refuse(plan.given_latents.empty(), "no numbers of clean latent frames", "given_latents",
         "name at least one, such as 0");
  refuse(plan.num_clips < 1, fmt::format("{} clips", plan.num_clips), "num_clips", "use at least 1");
  refuse(plan.num_noises < 1, fmt::format("{} noises", plan.num_noises), "num_noises", "use at least 1");
  const int64_t num_latents = 1 + (plan.spec.num_frames - 1) / pipeline.vae().scale_factor_temporal;
  refuse(num_latents > pipeline.trained_latent_frames(),
         fmt::format("{} latent frames, the model was trained on {}", num_latents, pipeline.trained_latent_frames()),
         "spec", "use fewer frames");
  model::Shot shot;
  shot.num_frames = plan.spec.num_frames;
  shot.height_px = plan.spec.height_px;
  shot.width_px = plan.spec.width_px;
  for (const int64_t given : plan.given_latents) {
    refuse(given < 0, fmt::format("{} clean latent frames", given), "given_latents", "use 0 or more");
    model::expect_fit(pipeline, {}, shot, {}, given == 0 ? 0 : 1 + pipeline.vae().scale_factor_temporal * (given - 1));
  }
}

Clips choose_clips(const PreferencePlan& plan, const std::string& scene) {
  Clips clips{scene, {}, {}, plan.spec};
  if (scene == "fall") clips.spec.set.try_emplace("wait_s", "0.1");  // the kept frames show it begin
  for (const Breaking& b : plan.breaks)
    for (const worlds::Break& known : worlds::breaks())
      if (known.name == b.name && std::find(known.scenes.begin(), known.scenes.end(), scene) != known.scenes.end())
        clips.breaks.push_back(b);
  refuse(clips.breaks.empty(), fmt::format("the scene '{}' knows none of the breaks", scene), "breaks",
         "see worlds/broken.hpp");
  const auto has_room = [&](std::uint64_t seed) {
    return std::all_of(clips.breaks.begin(), clips.breaks.end(), [&](const Breaking& b) {
      return worlds::make_broken(scene, b.name, b.amount, seed, clips.spec).has_value();
    });
  };
  int64_t passed_over = 0;
  for (std::uint64_t seed = plan.first_clip; static_cast<int64_t>(clips.seeds.size()) < plan.num_clips; ++seed) {
    if (has_room(seed)) {
      clips.seeds.push_back(seed);
    } else {
      refuse(++passed_over > 100 + 10 * plan.num_clips,
             fmt::format("hardly a clip of '{}' has room for the breaks", scene), "spec",
             "use more frames or smaller amounts");
    }
  }
  return clips;
}

Tracked track(const Film& film, const worlds::Clip& truth) {
  Tracked t;
  // The last kept frame is judged too: velocities are steps, and the first that can be wrong begins there.
  for (const metrics::Metric& m : judge(film, truth, worlds::num_kept_frames - 1).paired.metrics) {
    if (m.id == "PW.velocity" && m.given()) t.velocity_m_per_s = m.value;
    if (m.id == "PW.lost" && m.given()) t.lost = m.value;
  }
  return t;
}

/// 1: `invalid` is worse, -1: `valid` is, 0: neither, or nobody knows.
int verdict(const Tracked& valid, const Tracked& invalid) {
  if (valid.lost != invalid.lost) return invalid.lost > valid.lost ? 1 : invalid.lost < valid.lost ? -1 : 0;
  const double v = valid.velocity_m_per_s, w = invalid.velocity_m_per_s;
  return w > v ? 1 : w < v ? -1 : 0;
}

double mean(const std::vector<double>& values) {
  double sum = 0;
  for (const double v : values) sum += v;
  return sum / static_cast<double>(values.size());
}

int sign(double x) { return (x > 0) - (x < 0); }

PreferenceCell cell_of(const std::vector<const PreferenceRow*>& rows) {
  PreferenceCell cell;
  cell.given_latents = rows.front()->given_latents;
  std::vector<double> valid, invalid, zero, verdicts, gaps, agreed;
  for (const PreferenceRow* r : rows) {
    valid.push_back(r->valid);
    invalid.push_back(r->invalid);
    zero.push_back(0);
    verdicts.push_back(r->tracked);
    gaps.push_back((r->invalid - r->valid) / r->valid);
    agreed.push_back(sign(r->invalid - r->valid) == r->tracked ? 1 : 0);
  }
  cell.model = metrics::preference_error(valid, invalid);
  cell.tracker = metrics::preference_error(zero, verdicts);
  cell.gap = mean(gaps);
  cell.agreement = mean(agreed);
  for (std::size_t s = 0; s < rows.front()->valid_by_sigma.size(); ++s) {
    for (std::size_t i = 0; i < rows.size(); ++i) {
      valid[i] = rows[i]->valid_by_sigma[s];
      invalid[i] = rows[i]->invalid_by_sigma[s];
    }
    cell.by_sigma.push_back(metrics::preference_error(valid, invalid));
  }
  return cell;
}

}  // namespace

std::vector<Breaking> usual_breaks() {
  std::vector<Breaking> all;
  for (const worlds::Break& b : worlds::breaks()) all.push_back({b.name, b.amount});
  all.push_back({"gravity", 0});
  return all;
}

std::vector<PreferenceCell> preference_cells(const std::vector<PreferenceRow>& rows) {
  std::vector<PreferenceCell> cells;
  std::vector<const PreferenceRow*> group, all;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    group.push_back(&rows[i]);
    all.push_back(&rows[i]);
    const PreferenceRow* next = i + 1 < rows.size() ? &rows[i + 1] : nullptr;
    const bool last_given = !next || next->given_latents != rows[i].given_latents;
    if (last_given || next->scene != rows[i].scene || next->breaking != rows[i].breaking) {
      PreferenceCell cell = cell_of(group);
      cell.scene = rows[i].scene;
      cell.breaking = rows[i].breaking;
      cells.push_back(std::move(cell));
      group.clear();
    }
    if (last_given) {
      cells.push_back(cell_of(all));
      all.clear();
    }
  }
  return cells;
}

PreferenceStudy study_preference(const model::Pipeline& pipeline, const model::Renderer& renderer,
                                 const PreferencePlan& plan, const std::function<void(int64_t, int64_t)>& progress) {
  expect_complete(pipeline, plan);
  const model::Team alone;
  std::vector<Clips> groups;
  std::vector<Job> jobs;
  std::vector<std::string> captions;
  for (const std::string& scene : plan.scenes) {
    groups.push_back(choose_clips(plan, scene));
    const Clips& clips = groups.back();
    worlds::Spec brief = clips.spec;
    brief.num_frames = 1;
    for (std::size_t s = 0; s < clips.seeds.size(); ++s) {
      captions.push_back(worlds::make(scene, clips.seeds[s], brief).caption);
      for (std::size_t b = 0; b <= clips.breaks.size(); ++b) jobs.push_back({groups.size() - 1, s, b});
    }
  }
  std::sort(captions.begin(), captions.end());
  captions.erase(std::unique(captions.begin(), captions.end()), captions.end());
  model::Observer silent;
  std::vector<Tensor> encoded = model::encode_prompts(pipeline, alone, captions, silent);
  std::map<std::string, Tensor> features;
  for (std::size_t i = 0; i < captions.size(); ++i) features[captions[i]] = std::move(encoded[i]);

  const auto judge = [&](const Job& job) {
    const Clips& clips = groups[job.group];
    const std::uint64_t seed = clips.seeds[job.seed];
    const worlds::Clip truth = worlds::make(clips.scene, seed, clips.spec);
    std::optional<worlds::Clip> broken;
    Outcome outcome;
    if (job.breaking > 0) {
      const Breaking& b = clips.breaks[job.breaking - 1];
      broken = worlds::make_broken(clips.scene, b.name, b.amount, seed, clips.spec);
      outcome.event_frame = static_cast<int64_t>(broken->facts.at("event_frame"));
    }
    const Film& film = broken ? broken->film : truth.film;
    outcome.tracked = track(film, truth);
    const model::Vae& vae = renderer.vae();
    const Tensor latents = vae.normalise(vae.encode(alone.world, model::from_bytes(film, film.num_frames)));
    const model::Context context = renderer.transformer().encode_context(features.at(truth.caption));
    for (const int64_t given : plan.given_latents) {
      std::vector<double> loss(plan.sigmas.size());
      for (int64_t n = 0; n < plan.num_noises; ++n) {
        // Both films of a pair meet the same noise; no two clips do.
        const std::vector<double> one =
            model::denoising_loss(alone, renderer.transformer(), pipeline.scheduler(), context, latents, given,
                                  static_cast<std::uint64_t>(n) << 40 ^ seed, plan.sigmas);
        for (std::size_t s = 0; s < loss.size(); ++s) loss[s] += one[s] / static_cast<double>(plan.num_noises);
      }
      outcome.loss.push_back(std::move(loss));
    }
    return outcome;
  };
  std::vector<Outcome> outcomes(jobs.size());
  std::mutex lock;
  int64_t done = 0;
  parallel_for(static_cast<int64_t>(jobs.size()), [&](int64_t i) {
    outcomes[static_cast<std::size_t>(i)] = judge(jobs[static_cast<std::size_t>(i)]);
    if (!progress) return;
    const std::lock_guard guard(lock);
    progress(++done, static_cast<int64_t>(jobs.size()));
  });

  PreferenceStudy study;
  for (std::size_t g = 0; g < plan.given_latents.size(); ++g) {
    std::size_t first = 0;  // job of the scene's first film
    for (const Clips& clips : groups) {
      const std::size_t num_films = 1 + clips.breaks.size();
      for (std::size_t b = 1; b < num_films; ++b)
        for (std::size_t s = 0; s < clips.seeds.size(); ++s) {
          const Outcome &valid = outcomes[first + s * num_films], &invalid = outcomes[first + s * num_films + b];
          PreferenceRow row;
          row.scene = clips.scene;
          row.breaking = clips.breaks[b - 1];
          row.given_latents = plan.given_latents[g];
          row.event_frame = invalid.event_frame;
          row.clip = clips.seeds[s];
          row.valid_by_sigma = valid.loss[g];
          row.invalid_by_sigma = invalid.loss[g];
          row.valid = mean(row.valid_by_sigma);
          row.invalid = mean(row.invalid_by_sigma);
          row.tracked_valid = valid.tracked;
          row.tracked_invalid = invalid.tracked;
          row.tracked = verdict(valid.tracked, invalid.tracked);
          study.rows.push_back(std::move(row));
        }
      first += clips.seeds.size() * num_films;
    }
  }
  study.cells = preference_cells(study.rows);
  return study;
}

}  // namespace reel::study
