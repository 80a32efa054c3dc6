#include <algorithm>
#include <cmath>
#include <cstring>

#include "io/video.hpp"
#include "io/video_libav.hpp"

namespace reel::io {
namespace {

namespace fs = std::filesystem;

struct FreeInput {
  void operator()(AVFormatContext* context) const { avformat_close_input(&context); }
};
using Input = std::unique_ptr<AVFormatContext, FreeInput>;

constexpr std::uint64_t max_film_bytes = std::uint64_t{64} << 30;
constexpr int max_side_px = 32768;

void interleave(const std::uint8_t* r, const std::uint8_t* g, const std::uint8_t* b, std::size_t n, std::uint8_t* rgb) {
  for (std::size_t i = 0; i < n; ++i) {
    rgb[3 * i] = r[i];
    rgb[3 * i + 1] = g[i];
    rgb[3 * i + 2] = b[i];
  }
}

class VideoFrames final : public FrameSource {
 public:
  explicit VideoFrames(const fs::path& path) : path_(path) { open(); }

  bool next(Frame& frame) override {
    LibavLog::first_error().clear();
    while (!ended_) {
      const int got = avcodec_receive_frame(codec_.get(), picture_.get());
      if (got >= 0) {
        // The FFV1 decoder hides a slice whose checksum is wrong behind the frame before, and only says so.
        if (codec_->codec_id == AV_CODEC_ID_FFV1 && !LibavLog::first_error().empty()) {
          fail(fmt::format("frame {} is damaged: {}", num_frames_, LibavLog::first_error()));
        }
        convert(*picture_, frame);
        av_frame_unref(picture_.get());
        return true;
      }
      if (got == AVERROR_EOF)
        ended_ = true;
      else if (got == AVERROR(EAGAIN))
        feed();
      else
        check(got, "a frame is damaged");
    }
    if (num_frames_ == 0) fail("holds no frames");
    return false;
  }

  bool lossless() const override {
    const AVCodecDescriptor* of = avcodec_descriptor_get(codec_->codec_id);
    return of != nullptr && (of->props & AV_CODEC_PROP_LOSSLESS) != 0 && (of->props & AV_CODEC_PROP_LOSSY) == 0;
  }

  void rewind() override {
    if (num_frames_ > 0 || ended_) open();  // anew: seeking is not exact in every container
  }

  std::string name() const override { return path_.string(); }

  /// What the file states, or 0.
  double fps() const {
    const AVRational rate = av_guess_frame_rate(input_.get(), &stream(), nullptr);
    return rate.num > 0 && rate.den > 0 ? av_q2d(rate) : 0;
  }

 private:
  void open() {
    std::error_code ignored;
    if (!fs::is_regular_file(path_, ignored)) {
      throw Error(Exit::input, "cannot open the video: no such file", path_.string(), "check the path");
    }
    codec_.reset();
    scaler_.reset();
    // "file:" and the list keep playlists and odd names from opening anything else.
    AVFormatContext* input = nullptr;
    AVDictionary* settings = nullptr;
    av_dict_set(&settings, "protocol_whitelist", "file", 0);
    const int opened = avformat_open_input(&input, ("file:" + path_.string()).c_str(), nullptr, &settings);
    av_dict_free(&settings);
    check(opened, "cannot open the video");
    input_.reset(input);
    check(avformat_find_stream_info(input_.get(), nullptr), "cannot find the streams");
    const AVCodec* codec = nullptr;
    stream_ = check(av_find_best_stream(input_.get(), AVMEDIA_TYPE_VIDEO, -1, -1, &codec, 0), "has no video stream");
    codec_.reset(avcodec_alloc_context3(codec));
    check(avcodec_parameters_to_context(codec_.get(), stream().codecpar), "bad stream");
    codec_->thread_count = 1;
    codec_->err_recognition = AV_EF_CRCCHECK | AV_EF_EXPLODE;
    check(avcodec_open2(codec_.get(), codec, nullptr), "cannot decode");
    num_frames_ = 0;
    ended_ = false;
  }

  AVStream& stream() const { return *input_->streams[stream_]; }

  [[noreturn]] void fail(const std::string& what) const {
    throw Error(Exit::input, what, path_.string(), "give a video that plays to its end, for example MP4 or Matroska");
  }
  int check(int returned, const char* what) const {
    if (returned < 0) fail(fmt::format("{}: {}", what, libav_text(returned)));
    return returned;
  }

  // The next packet of the stream, or the end, goes to the decoder.
  void feed() {
    for (;;) {
      const int got = av_read_frame(input_.get(), packet_.get());
      if (got == AVERROR_EOF) {
        check(avcodec_send_packet(codec_.get(), nullptr), "cannot finish decoding");
        return;
      }
      check(got, "cannot read to the end");
      const bool ours = packet_->stream_index == stream_;
      const int sent = ours ? avcodec_send_packet(codec_.get(), packet_.get()) : 0;
      av_packet_unref(packet_.get());
      check(sent, "a packet is damaged");
      if (ours) return;
    }
  }

  void convert(const AVFrame& from, Frame& to) {
    if (scaler_ == nullptr) {
      if (from.width > max_side_px || from.height > max_side_px) fail("the picture is too large");
      open_scaler(from);
      width_ = from.width;
      height_ = from.height;
    } else if (from.width != width_ || from.height != height_ || from.format != format_) {
      fail(fmt::format("the picture changes its size or format at frame {}", num_frames_));
    }
    to.width_px = width_;
    to.height_px = height_;
    to.rgb.resize(3 * static_cast<std::size_t>(width_) * static_cast<std::size_t>(height_));
    std::uint8_t* out = to.rgb.data();
    if (from.format == AV_PIX_FMT_0RGB32) {  // our own lossless films: no arithmetic at all
      for (int y = 0; y < height_; ++y) {
        const std::uint8_t* in = from.data[0] + static_cast<std::ptrdiff_t>(y) * from.linesize[0];
        for (int x = 0; x < width_; ++x, in += 4, out += 3) {
          std::uint32_t pixel = 0;
          std::memcpy(&pixel, in, 4);
          out[0] = static_cast<std::uint8_t>(pixel >> 16);
          out[1] = static_cast<std::uint8_t>(pixel >> 8);
          out[2] = static_cast<std::uint8_t>(pixel);
        }
      }
    } else if (planar_) {
      // Rows of whole vectors: the scaler may write that far.
      const auto width = static_cast<std::size_t>(width_), height = static_cast<std::size_t>(height_);
      const std::size_t row = (width + 63) / 64 * 64, plane = row * height;
      planes_.resize(3 * plane);
      std::uint8_t* const gbr[4] = {planes_.data(), planes_.data() + plane, planes_.data() + 2 * plane, nullptr};
      const int stride = static_cast<int>(row), strides[4] = {stride, stride, stride, 0};
      check(sws_scale(scaler_.get(), from.data, from.linesize, 0, height_, gbr, strides), "cannot convert a frame");
      for (std::size_t y = 0; y < height; ++y)
        interleave(gbr[2] + y * row, gbr[0] + y * row, gbr[1] + y * row, width, out + 3 * y * width);
    } else {
      const int stride = 3 * width_;
      check(sws_scale(scaler_.get(), from.data, from.linesize, 0, height_, &out, &stride), "cannot convert a frame");
    }
    const std::int64_t pts = from.best_effort_timestamp;
    if (pts != AV_NOPTS_VALUE) {
      to.time_s = static_cast<double>(pts) * av_q2d(stream().time_base);
    } else if (const double rate = fps(); rate > 0) {
      to.time_s = static_cast<double>(num_frames_) / rate;
    } else {
      fail(fmt::format("frame {} has no time, and the file states no frame rate", num_frames_));
    }
    if (num_frames_ > 0 && !(to.time_s > last_time_s_)) fail(fmt::format("the times do not rise at frame {}", num_frames_));
    last_time_s_ = to.time_s;
    ++num_frames_;
  }

  void open_scaler(const AVFrame& frame) {
    format_ = frame.format;
    const auto format = static_cast<AVPixelFormat>(frame.format);
    // From luma and chroma, the exact conversion to planes has the same bits as that to RGB24, at eight times its speed.
    const AVPixFmtDescriptor* described = av_pix_fmt_desc_get(format);
    planar_ = described != nullptr && described->nb_components >= 3 &&
              (described->flags & (AV_PIX_FMT_FLAG_RGB | AV_PIX_FMT_FLAG_PAL)) == 0;
    scaler_.reset(sws_getContext(frame.width, frame.height, format, frame.width, frame.height,
                                 planar_ ? AV_PIX_FMT_GBRP : AV_PIX_FMT_RGB24, exact_scaling, nullptr, nullptr, nullptr));
    if (scaler_ == nullptr) fail("has a pixel format that cannot be converted");
    const bool stated = frame.colorspace != AVCOL_SPC_UNSPECIFIED && frame.colorspace != AVCOL_SPC_RGB;
    const int* matrix = sws_getCoefficients(stated               ? static_cast<int>(frame.colorspace)
                                            : frame.height > 576 ? SWS_CS_ITU709
                                                                 : SWS_CS_ITU601);
    const int full_range = frame.color_range == AVCOL_RANGE_JPEG ? 1 : 0;
    // Refused (harmlessly) for RGB input.
    sws_setColorspaceDetails(scaler_.get(), matrix, full_range, sws_getCoefficients(SWS_CS_ITU709), 1, 0, 1 << 16,
                             1 << 16);
  }

  const fs::path path_;
  const LibavLog log_;
  Input input_;
  CodecContext codec_;
  Scaler scaler_;
  AvFrame picture_{av_frame_alloc()};
  Packet packet_{av_packet_alloc()};
  int stream_ = 0, format_ = -1, width_ = 0, height_ = 0;
  bool planar_ = false;                ///< the scaler gives green, blue and red one after the other
  std::vector<std::uint8_t> planes_;
  bool ended_ = false;
  std::int64_t num_frames_ = 0;
  double last_time_s_ = 0;
};

class PictureFrames final : public FrameSource {
 public:
  PictureFrames(const fs::path& folder, double fps) : folder_(folder), fps_(fps) {
    if (!(fps > 0)) throw Error(Exit::usage, "pictures have no times", folder.string(), "say how many there are in a second: --fps 24");
    std::error_code failed;
    for (const auto& entry : fs::directory_iterator(folder, failed))
      if (entry.is_regular_file() && entry.path().filename().string()[0] != '.') files_.push_back(entry.path());
    if (failed) throw Error(Exit::input, fmt::format("cannot read the folder: {}", failed.message()), folder.string(), "check the path");
    if (files_.empty()) throw Error(Exit::input, "the folder holds no pictures", folder.string(), "give a folder of frames, 0001.png ...");
    std::sort(files_.begin(), files_.end());
  }

  bool next(Frame& frame) override {
    if (at_ == files_.size()) return false;
    VideoFrames picture(files_[at_]);
    picture.next(frame);
    lossless_ = lossless_ && picture.lossless();
    if (at_ == 0) {
      width_ = frame.width_px;
      height_ = frame.height_px;
    } else if (frame.width_px != width_ || frame.height_px != height_) {
      throw Error(Exit::input, fmt::format("is {} x {} pixels, the first picture {} x {}", frame.width_px, frame.height_px, width_, height_),
                  files_[at_].string(), "give pictures of one size");
    }
    frame.time_s = static_cast<double>(at_++) / fps_;
    return true;
  }
  void rewind() override { at_ = 0; }
  std::string name() const override { return folder_.string(); }
  bool lossless() const override { return lossless_; }

 private:
  bool lossless_ = true;
  const fs::path folder_;
  double fps_;
  std::vector<fs::path> files_;
  std::size_t at_ = 0;
  std::int64_t width_ = 0, height_ = 0;
};

}  // namespace

std::unique_ptr<FrameSource> open_video(const fs::path& path) { return std::make_unique<VideoFrames>(path); }
std::unique_ptr<FrameSource> open_pictures(const fs::path& folder, double fps) {
  return std::make_unique<PictureFrames>(folder, fps);
}

Video read_video(const fs::path& path, std::int64_t max_frames) {
  VideoFrames source(path);
  Video video;
  Film& film = video.film;
  for (Frame frame; (max_frames <= 0 || film.num_frames < max_frames) && source.next(frame); ++film.num_frames) {
    film.width_px = frame.width_px;
    film.height_px = frame.height_px;
    if (film.rgb.size() + frame.rgb.size() > max_film_bytes)
      throw Error(Exit::input, "is too long to be held in memory", path.string(), "cut it into shots");
    film.rgb.insert(film.rgb.end(), frame.rgb.begin(), frame.rgb.end());
    video.pts_s.push_back(frame.time_s);
  }
  const double span_s = video.pts_s.back() - video.pts_s.front();
  film.fps = source.fps() > 0 ? source.fps() : span_s > 0 ? static_cast<double>(film.num_frames - 1) / span_s : 0;
  return video;
}

}  // namespace reel::io
