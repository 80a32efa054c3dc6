#pragma once
// What a person may point at to have it measured: a result, a video, a folder of pictures.
#include <filesystem>
#include <memory>
#include <string>

#include "core/frames.hpp"

namespace reel::study {

/// An open film and what is known of it.
struct OpenFilm {
  std::unique_ptr<FrameSource> frames;
  std::string sha256;   ///< of the video file; result_digest of a result; "" for a folder
  std::string task_id;  ///< of a result, else ""
};

/// Opens a Reel result (.h5, with its pixels), any video that libav opens, or a folder of pictures (which needs `fps`;
/// for the others the film's own times count). Throws Error: Exit::input when it cannot be opened, holds no pixels, or
/// was rendered with synthetic weights, whose pictures mean nothing.
OpenFilm open_film(const std::filesystem::path& path, double fps = 0);

}  // namespace reel::study
