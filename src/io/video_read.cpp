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

class Decoder {
 public:
  explicit Decoder(const fs::path& path) : path_(path) {
    std::error_code ignored;
    if (!fs::is_regular_file(path, ignored)) {
      throw Error(Exit::input, "cannot open the video: no such file", path.string(), "check the path");
    }
    // "file:" and the list keep playlists and odd names from opening anything else.
    AVFormatContext* input = nullptr;
    AVDictionary* settings = nullptr;
    av_dict_set(&settings, "protocol_whitelist", "file", 0);
    const int opened = avformat_open_input(&input, ("file:" + path.string()).c_str(), nullptr, &settings);
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
  }

  Video read(std::int64_t max_frames) {
    const AVRational rate = av_guess_frame_rate(input_.get(), &stream(), nullptr);
    Packet packet(av_packet_alloc());
    int got = 0;
    while (!full(max_frames) && (got = av_read_frame(input_.get(), packet.get())) >= 0) {
      if (packet->stream_index == stream_) {
        check(avcodec_send_packet(codec_.get(), packet.get()), "a packet is damaged");
        drain(max_frames);
      }
      av_packet_unref(packet.get());
    }
    if (!full(max_frames)) {
      if (got != AVERROR_EOF) check(got, "cannot read to the end");
      check(avcodec_send_packet(codec_.get(), nullptr), "cannot finish decoding");
      drain(max_frames);
    }
    Film& film = video_.film;
    if (film.num_frames == 0) fail("holds no frames");
    const double span_s = video_.pts_s.back() - video_.pts_s.front();
    film.fps = rate.num > 0 && rate.den > 0 ? av_q2d(rate)
               : span_s > 0                 ? static_cast<double>(film.num_frames - 1) / span_s
                                            : 0;
    for (std::size_t i = 0; i < video_.pts_s.size(); ++i) {
      if (std::isnan(video_.pts_s[i])) video_.pts_s[i] = film.fps > 0 ? static_cast<double>(i) / film.fps : 0;
    }
    return std::move(video_);
  }

 private:
  AVStream& stream() const { return *input_->streams[stream_]; }
  bool full(std::int64_t max_frames) const { return max_frames > 0 && video_.film.num_frames >= max_frames; }

  [[noreturn]] void fail(const std::string& what) const {
    throw Error(Exit::input, what, path_.string(), "give a video that plays to its end, for example MP4 or Matroska");
  }
  int check(int returned, const char* what) const {
    if (returned < 0) fail(fmt::format("{}: {}", what, libav_text(returned)));
    return returned;
  }

  void drain(std::int64_t max_frames) {
    Frame frame(av_frame_alloc());
    for (;;) {
      const int got = avcodec_receive_frame(codec_.get(), frame.get());
      if (got == AVERROR(EAGAIN) || got == AVERROR_EOF) return;
      check(got, "a frame is damaged");
      // The FFV1 decoder hides a slice whose checksum is wrong behind the frame before, and only says so.
      if (codec_->codec_id == AV_CODEC_ID_FFV1 && !LibavLog::first_error().empty()) {
        fail(fmt::format("frame {} is damaged: {}", video_.film.num_frames, LibavLog::first_error()));
      }
      if (!full(max_frames)) add(*frame);
      av_frame_unref(frame.get());
    }
  }

  void add(const AVFrame& frame) {
    Film& film = video_.film;
    if (film.num_frames == 0) {
      film.width_px = frame.width;
      film.height_px = frame.height;
      open_scaler(frame);
    } else if (frame.width != film.width_px || frame.height != film.height_px || frame.format != format_) {
      fail(fmt::format("the picture changes its size or format at frame {}", film.num_frames));
    }
    if (film.rgb.size() + static_cast<std::size_t>(film.frame_bytes()) > max_film_bytes) fail("is too long");
    film.rgb.resize(film.rgb.size() + static_cast<std::size_t>(film.frame_bytes()));
    std::uint8_t* out = film.frame(film.num_frames);
    if (frame.format == AV_PIX_FMT_0RGB32) {  // our own lossless films: no arithmetic at all
      for (int y = 0; y < frame.height; ++y) {
        const std::uint8_t* in = frame.data[0] + static_cast<std::ptrdiff_t>(y) * frame.linesize[0];
        for (int x = 0; x < frame.width; ++x, in += 4, out += 3) {
          std::uint32_t pixel = 0;
          std::memcpy(&pixel, in, 4);
          out[0] = static_cast<std::uint8_t>(pixel >> 16);
          out[1] = static_cast<std::uint8_t>(pixel >> 8);
          out[2] = static_cast<std::uint8_t>(pixel);
        }
      }
    } else {
      const int stride = static_cast<int>(3 * film.width_px);
      check(sws_scale(scaler_.get(), frame.data, frame.linesize, 0, frame.height, &out, &stride),
            "cannot convert a frame");
    }
    const std::int64_t pts = frame.best_effort_timestamp;
    video_.pts_s.push_back(pts == AV_NOPTS_VALUE ? std::nan("")
                                                 : static_cast<double>(pts) * av_q2d(stream().time_base));
    ++film.num_frames;
  }

  void open_scaler(const AVFrame& frame) {
    format_ = frame.format;
    scaler_.reset(sws_getContext(frame.width, frame.height, static_cast<AVPixelFormat>(frame.format), frame.width,
                                 frame.height, AV_PIX_FMT_RGB24, exact_scaling, nullptr, nullptr, nullptr));
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

  const fs::path& path_;
  Input input_;
  CodecContext codec_;
  Scaler scaler_;
  int stream_ = 0;
  int format_ = -1;
  Video video_;
};

}  // namespace

Video read_video(const fs::path& path, std::int64_t max_frames) {
  const LibavLog log;
  return Decoder(path).read(max_frames);
}

}  // namespace reel::io
