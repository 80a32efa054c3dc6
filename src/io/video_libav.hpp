#pragma once
// Inside src/io/video_*.cpp only: libav's structures that free themselves.
extern "C" {
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/imgutils.h>
#include <libavutil/opt.h>
#include <libswscale/swscale.h>
}

#include <array>
#include <cctype>
#include <cstdarg>
#include <cstdio>
#include <memory>
#include <string>

namespace reel::io {

template <auto function>
struct FreeBy {
  template <class T>
  void operator()(T* p) const {
    if constexpr (requires { function(&p); }) {
      function(&p);
    } else {
      function(p);
    }
  }
};
using CodecContext = std::unique_ptr<AVCodecContext, FreeBy<avcodec_free_context>>;
using AvFrame = std::unique_ptr<AVFrame, FreeBy<av_frame_free>>;
using Packet = std::unique_ptr<AVPacket, FreeBy<av_packet_free>>;
using Scaler = std::unique_ptr<SwsContext, FreeBy<sws_freeContext>>;

/// Keeps libav from printing; remembers the first error that it reports on this thread.
class LibavLog {
 public:
  LibavLog() {
    av_log_set_callback(take);
    first_error().clear();
  }
  static std::string& first_error() {
    thread_local std::string text;
    return text;
  }

 private:
  static void take(void*, int level, const char* format, va_list arguments) {
    if (level > AV_LOG_ERROR || !first_error().empty()) return;
    std::array<char, 400> line{};
    std::vsnprintf(line.data(), line.size(), format, arguments);
    first_error() = line.data();
    while (!first_error().empty() && std::isspace(static_cast<unsigned char>(first_error().back()))) {
      first_error().pop_back();
    }
  }
};

/// libav's text for one of its error numbers, and what it reported on the way.
inline std::string libav_text(int error) {
  std::array<char, AV_ERROR_MAX_STRING_SIZE> text{};
  av_strerror(error, text.data(), text.size());
  const std::string& reported = LibavLog::first_error();
  return reported.empty() ? std::string(text.data()) : std::string(text.data()) + "; " + reported;
}

constexpr int exact_scaling = SWS_BICUBIC | SWS_ACCURATE_RND | SWS_FULL_CHR_H_INT | SWS_FULL_CHR_H_INP | SWS_BITEXACT;

}  // namespace reel::io
