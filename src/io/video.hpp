#pragma once
// Films as video files. H.264 for people, FFV1 for measurements (every RGB value kept).
#include <cstdint>
#include <filesystem>
#include <memory>
#include <vector>

#include "core/frames.hpp"
#include "core/tensor.hpp"

namespace reel::io {

struct VideoOptions {
  bool lossless = false;  ///< FFV1 in Matroska (.mkv), exact RGB; else H.264 4:2:0 BT.709 in MP4 (.mp4)
  int crf = 14;           ///< H.264 quality, 0 to 51, lower is better
};

/// Frame rate as a fraction: 24000/1001 for 23.976, 16/1 for 16. Within 1e-6 of `fps` otherwise.
struct Rational {
  int num = 0, den = 1;
};
Rational frame_rate(double fps);

/// Writes a video frame by frame, whole or not at all: without `finish` nothing stays. One encoder thread, so the same
/// frames give the same file. Throws Error: Exit::usage when the name does not fit the format or H.264 gets an odd
/// size, Exit::write when a write fails, Exit::bug for sizes that no film has.
class VideoWriter {
 public:
  VideoWriter(const std::filesystem::path& path, std::int64_t width_px, std::int64_t height_px, double fps,
              const VideoOptions& options = {});
  ~VideoWriter();
  /// The next frame, [H, W, 3].
  void add(const std::uint8_t* rgb);
  void finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Writes a whole film with a VideoWriter.
void write_video(const std::filesystem::path& path, const Film& film, const VideoOptions& options = {});

/// Writes one picture as PNG (.png), whole or not at all. Throws Error: Exit::usage when the name does not fit, Exit::write.
void write_png(const std::filesystem::path& path, const Frame& frame);

/// The first video stream of any file that libav opens, frame by frame in display order; memory for one frame. H.264
/// and others are converted with the colour matrix and range that the file states (BT.601 for small and BT.709 for
/// large pictures when it states none). Times are those in the file; a file without them counts by its frame rate.
/// Throws Error (Exit::input) when the file cannot be opened or holds no video, and from `next` when it cannot be read
/// on, when the picture changes its size, when times do not rise, or for a video without any frame.
std::unique_ptr<FrameSource> open_video(const std::filesystem::path& path);
/// Pictures of one size (anything that libav reads) in a folder, in byte order of their names; `fps` gives the times.
std::unique_ptr<FrameSource> open_pictures(const std::filesystem::path& folder, double fps);

/// A decoded video: 8-bit RGB frames in display order and their times.
struct Video {
  Film film;                  ///< fps: the average rate that the file states, else of the times
  std::vector<double> pts_s;  ///< time of each frame, seconds; rising; as in the file
};

/// Reads a whole video as `open_video` gives it; `max_frames` > 0 stops after that many frames.
Video read_video(const std::filesystem::path& path, std::int64_t max_frames = 0);

}  // namespace reel::io
