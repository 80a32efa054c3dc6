#pragma once
// Frames one at a time, from wherever they come. Films of any length are measured without being held in memory.
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "core/tensor.hpp"

namespace reel {

/// One 8-bit RGB frame, [H, W, 3], and when it is shown.
struct Frame {
  std::int64_t height_px = 0, width_px = 0;
  double time_s = 0;
  std::vector<std::uint8_t> rgb;
};

/// A film read from front to back, as often as wanted.
class FrameSource {
 public:
  virtual ~FrameSource() = default;
  /// Reads the next frame into `frame`, whose storage is used again. False at the end. All frames have one size and
  /// rising times. Throws Error (Exit::input) when the film cannot be read on.
  virtual bool next(Frame& frame) = 0;
  /// Starts anew at the first frame.
  virtual void rewind() = 0;
  /// The file or folder, for messages.
  virtual std::string name() const = 0;
  /// Whether the frames are what was filmed, bit for bit; false after a lossy codec. Known once a frame was read.
  virtual bool lossless() const { return true; }
};

/// Frames of a film in memory, shown at f / fps. The film must outlive this.
class FilmFrames final : public FrameSource {
 public:
  explicit FilmFrames(const Film& film, std::string name = "film") : film_(film), name_(std::move(name)) {
    REEL_CHECK(film.fps > 0 && film.rgb.size() == static_cast<std::size_t>(film.num_frames * film.frame_bytes()),
               "{} frames of {} bytes", film.num_frames, film.frame_bytes());
  }
  bool next(Frame& frame) override {
    if (at_ == film_.num_frames) return false;
    frame.height_px = film_.height_px;
    frame.width_px = film_.width_px;
    frame.time_s = static_cast<double>(at_) / film_.fps;
    frame.rgb.assign(film_.frame(at_), film_.frame(at_) + film_.frame_bytes());
    ++at_;
    return true;
  }
  void rewind() override { at_ = 0; }
  std::string name() const override { return name_; }

 private:
  const Film& film_;
  std::string name_;
  std::int64_t at_ = 0;
};

}  // namespace reel
