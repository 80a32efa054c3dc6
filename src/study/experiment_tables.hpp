#pragma once
// Tables that experiment files of both kinds have. Inside src/study only.
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "study/experiment.hpp"
#include "study/toml_reader.hpp"

namespace reel::study {

/// `text` as a path from the folder of the experiment file; "" stays "".
std::filesystem::path resolved_path(const std::filesystem::path& file, const std::string& text);
/// `reel`, the version of the format, which must be 1, and `title`.
std::string read_title(TableReader& root);
/// [shot]: frames or duration, fps, size.
void read_picture(TableReader& table, Shot& shot);
Sampler read_sampler(TableReader table);
Run read_run(TableReader table);
/// What of the sampler determines a film.
nlohmann::json sampler_json(const Sampler& sampler);

}  // namespace reel::study
