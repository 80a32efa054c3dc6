#pragma once
// Communication between ranks. Ranks only move bytes: this class has no floating-point reduction, so no sum can depend
// on the number of ranks. All calls are collective over the communicator unless they say otherwise.
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace reel {

class Comm {
 public:
  /// One rank, no MPI.
  static Comm solo();
  /// Starts MPI (FUNNELED) on first use and returns the communicator of all ranks. Throws Error (launch) when the
  /// launcher started several processes that each see a world of one.
  static Comm world();

  int rank() const noexcept;
  int size() const noexcept;

  /// Ranks of equal colour form a communicator, ordered by rank here.
  Comm split(int color) const;
  /// Ranks that share memory (one node). For tests, REEL_RANKS_PER_NODE=n makes a node of every n of them.
  Comm split_node() const;
  void barrier() const;
  /// The same for ranks that have long to wait: they sleep, and leave their core to others.
  void patient_barrier() const;
  /// Copies `bytes` bytes from `root` to all.
  void broadcast(void* data, std::size_t bytes, int root) const;
  std::string broadcast(std::string text, int root) const;
  /// Rank r contributes counts[r] bytes; all receive the concatenation in rank order. `mine` may be part of `all`.
  ///   before: r0 [a]  r1 [b]      after: r0 [a b]  r1 [a b]
  void all_gather(const void* mine, void* all, std::span<const std::size_t> counts) const;
  /// Every rank's value, in rank order.
  std::vector<std::int64_t> all_gather(std::int64_t value) const;
  std::vector<std::string> all_gather(const std::string& text) const;
  /// Sends send_counts[r] bytes to each rank r from consecutive places, receives recv_counts[r] from each.
  ///   before: r0 [a b]  r1 [c d]      after: r0 [a c]  r1 [b d]
  void all_to_all(const void* send, std::span<const std::size_t> send_counts, void* recv,
                  std::span<const std::size_t> recv_counts) const;
  /// One message to each neighbour that is present and one from it (point to point, not collective over all).
  struct Message {
    int peer;
    const void* send;
    std::size_t send_bytes;
    void* recv;
    std::size_t recv_bytes;
  };
  void exchange(std::span<const Message> messages) const;
  std::int64_t max(std::int64_t value) const;
  /// Seconds of the slowest rank, in whole nanoseconds.
  double slowest(double seconds) const;

  /// All ranks agree before they go on or stop: if any rank caught an exception, every rank throws the Error of the
  /// lowest such rank (same text, same exit code everywhere).
  void agree(const std::exception_ptr& failure) const;
  /// Runs `step` on every rank, then agrees.
  template <class Step>
  void together(Step&& step) const {
    std::exception_ptr failure;
    try {
      step();
    } catch (...) {
      failure = std::current_exception();
    }
    agree(failure);
  }

  /// Bytes this process sent through any communicator so far (payload, not to itself).
  static std::uint64_t bytes_sent() noexcept;
  /// Seconds this process spent inside communication calls so far.
  static double seconds() noexcept;
  /// "Open MPI v4.1.4, ..." or "none".
  static std::string library();
  static bool started() noexcept;
  /// True when every rank of the world calls this within `seconds`: then all of them failed alike and may leave in order.
  static bool all_arrive(double seconds);
  /// Ends MPI if it was started: normally, or by abort with that code when ranks can no longer agree.
  static void finish();
  [[noreturn]] static void abort(int code);

 private:
  friend class Exchange;
  struct Impl;
  explicit Comm(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

/// Messages under way while their thread computes. Only the thread that started MPI calls these functions. MPI moves most
/// bytes inside them, so call `progress` often, for example by `Polling` (core/parallel.hpp). Several exchanges may be under
/// way at once: between two ranks messages match in the order in which both started them, whatever exchange they are of.
class Exchange {
 public:
  Exchange();
  ~Exchange();  ///< waits: MPI may still use the buffers
  Exchange(Exchange&&) noexcept;
  /// Bytes to be sent must not change, and those to be received not be read, before the exchange has ended. The previous one
  /// must have ended. Messages to oneself are copied at once.
  void start(const Comm& comm, std::span<const Comm::Message> messages);
  /// Copies `bytes` bytes from `root` to all, in pieces that are under way at the same time. All ranks of `comm` start the same
  /// broadcasts in the same order, which is another than that of messages.
  void start_broadcast(const Comm& comm, void* data, std::size_t bytes, int root);
  /// Lets MPI work, without waiting. True when all messages are sent and received.
  bool progress();
  void wait();

 private:
  struct Requests;
  std::unique_ptr<Requests> requests_;
};

/// Floats that the ranks of one node share: one copy per node. Uninitialised.
class SharedFloats {
 public:
  SharedFloats() = default;
  /// Collective over `node` (ranks that share memory). Throws Error (resources) when it does not fit.
  SharedFloats(const Comm& node, std::int64_t count);
  float* data() const noexcept { return data_; }
  std::int64_t size() const noexcept { return size_; }

 private:
  std::shared_ptr<void> owner_;
  std::int64_t size_ = 0;
  float* data_ = nullptr;
};

}  // namespace reel
