#pragma once
// Inside src/io/results_*.cpp only: HDF5 identifiers that close themselves, and errors with HDF5's own words.
#include <hdf5.h>
#include <hdf5_hl.h>

#include <filesystem>
#include <string>
#include <utility>

#include "core/error.hpp"

namespace reel::io {

/// Keeps HDF5 from printing on this thread; its messages go into our errors instead.
class QuietHdf5 {
 public:
  QuietHdf5() {
    H5Eget_auto2(H5E_DEFAULT, &print_, &print_data_);
    H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  }
  ~QuietHdf5() { H5Eset_auto2(H5E_DEFAULT, print_, print_data_); }
  QuietHdf5(const QuietHdf5&) = delete;
  QuietHdf5& operator=(const QuietHdf5&) = delete;

 private:
  H5E_auto2_t print_ = nullptr;
  void* print_data_ = nullptr;
};

/// The innermost message on HDF5's error stack.
inline std::string hdf5_message() {
  std::string message = "HDF5 gave no reason";
  H5Ewalk2(
      H5E_DEFAULT, H5E_WALK_UPWARD,
      [](unsigned n, const H5E_error2_t* error, void* out) -> herr_t {
        if (n == 0 && error->desc != nullptr) *static_cast<std::string*>(out) = error->desc;
        return 0;
      },
      &message);
  return message;
}

/// One file's worth of error context.
struct Hdf5File {
  std::filesystem::path path;
  Exit exit = Exit::input;

  [[noreturn]] void fail(const std::string& what) const {
    throw Error(exit, what, path.string(),
                exit == Exit::input
                    ? "the file is damaged or was not written by Reel: check it with h5dump, or make it again"
                    : "this is a bug in Reel: please report it");
  }
  /// Passes on what an HDF5 call returned, or throws when it is negative.
  template <class T>
  T check(T returned, const std::string& what) const {
    if (returned < 0) fail(fmt::format("{}: {}", what, hdf5_message()));
    return returned;
  }
};

/// Owns one identifier of any kind.
class Handle {
 public:
  Handle() = default;
  explicit Handle(hid_t id) : id_(id) {}
  Handle(Handle&& other) noexcept : id_(std::exchange(other.id_, -1)) {}
  Handle& operator=(Handle&& other) noexcept {
    std::swap(id_, other.id_);
    return *this;
  }
  ~Handle() {
    if (id_ >= 0) H5Idec_ref(id_);
  }
  hid_t id() const noexcept { return id_; }

 private:
  hid_t id_ = -1;
};

}  // namespace reel::io
