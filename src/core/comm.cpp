#include "core/comm.hpp"

#define OMPI_SKIP_MPICXX 1  // the C interface is all we use
#include <fcntl.h>
#include <mpi.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <thread>

#include "core/error.hpp"
#include "core/leftovers.hpp"
#include "core/tensor.hpp"

namespace reel {
namespace {

// Threads that each render a shot of their own copy through communicators of one rank: hence atomic.
std::atomic<std::uint64_t> sent_bytes{0};
std::atomic<double> spent_s{0};
bool mpi_started = false;
MPI_Comm last_resort = MPI_COMM_NULL;  // its own communicator: never in step with an exchange that broke off

// Adds the life time of the object to the time spent in communication.
class Timer {
 public:
  ~Timer() { spent_s += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count(); }

 private:
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

void check(int code, const char* call) {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  MPI_Error_string(code, text, &length);
  throw Error(Exit::launch, fmt::format("{} failed: {}", call, std::string(text, static_cast<std::size_t>(length))), "MPI",
              "check the launch with: reel doctor");
}

// MPI counts are int, so a message above this travels in several pieces. Tests make it small.
#if !defined(REEL_MAX_PIECE)
#define REEL_MAX_PIECE (std::size_t{1} << 30)
#endif
constexpr std::size_t max_piece = REEL_MAX_PIECE;

int env_int(const char* name) {
  const char* text = std::getenv(name);
  return text ? std::atoi(text) : 0;
}

// Sleeps until all ranks of `comm` are here, at most about so many seconds. What MPI says.
int sleep_until_all_arrive(MPI_Comm comm, double seconds, int& arrived) {
  MPI_Request request;
  if (const int code = MPI_Ibarrier(comm, &request); code != MPI_SUCCESS) return code;
  const auto begin = std::chrono::steady_clock::now();
  while (true) {
    if (const int code = MPI_Test(&request, &arrived, MPI_STATUS_IGNORE); code != MPI_SUCCESS || arrived) return code;
    if (std::chrono::steady_clock::now() - begin > std::chrono::duration<double>(seconds)) return MPI_SUCCESS;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

}  // namespace

struct Comm::Impl {
  MPI_Comm comm = MPI_COMM_NULL;
  int rank = 0, size = 1;
  bool owned = false;
  ~Impl() {
    int finalized = 0;
    if (owned && MPI_Finalized(&finalized) == MPI_SUCCESS && !finalized) MPI_Comm_free(&comm);
  }
};

Comm::Comm(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
Comm Comm::solo() { return Comm(std::make_shared<Impl>()); }

Comm Comm::world() {
  if (!mpi_started) {
    int provided = 0, initialized = 0;
    MPI_Initialized(&initialized);
    if (!initialized) check(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided), "MPI_Init_thread");
    mpi_started = true;
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    check(MPI_Comm_dup(MPI_COMM_WORLD, &last_resort), "MPI_Comm_dup");
    int size = 1;
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    const int tasks = std::max(env_int("SLURM_STEP_NUM_TASKS"), env_int("PMI_SIZE"));
    if (size == 1 && tasks > 1)
      throw Error(Exit::launch, fmt::format("{} processes started, but each sees an MPI world of 1", tasks),
                  "SLURM_STEP_NUM_TASKS/PMI_SIZE", "srun --mpi=pmix ...   list: srun --mpi=list   or use mpirun");
  }
  auto impl = std::make_shared<Impl>();
  impl->comm = MPI_COMM_WORLD;
  MPI_Comm_rank(impl->comm, &impl->rank);
  MPI_Comm_size(impl->comm, &impl->size);
  return Comm(std::move(impl));
}

int Comm::rank() const noexcept { return impl_->rank; }
int Comm::size() const noexcept { return impl_->size; }

Comm Comm::split(int color) const {
  if (size() == 1) return *this;
  auto impl = std::make_shared<Impl>();
  check(MPI_Comm_split(impl_->comm, color, rank(), &impl->comm), "MPI_Comm_split");
  impl->owned = true;
  MPI_Comm_rank(impl->comm, &impl->rank);
  MPI_Comm_size(impl->comm, &impl->size);
  return Comm(std::move(impl));
}

Comm Comm::split_node() const {
  if (size() == 1) return *this;
  auto impl = std::make_shared<Impl>();
  check(MPI_Comm_split_type(impl_->comm, MPI_COMM_TYPE_SHARED, rank(), MPI_INFO_NULL, &impl->comm),
        "MPI_Comm_split_type");
  impl->owned = true;
  MPI_Comm_rank(impl->comm, &impl->rank);
  MPI_Comm_size(impl->comm, &impl->size);
  const Comm node(std::move(impl));
  const int ranks = env_int("REEL_RANKS_PER_NODE");
  return ranks > 0 ? node.split(node.rank() / ranks) : node;
}

void Comm::barrier() const {
  if (size() == 1) return;
  Timer timer;
  check(MPI_Barrier(impl_->comm), "MPI_Barrier");
}

void Comm::patient_barrier() const {
  int arrived = 0;
  if (size() > 1) check(sleep_until_all_arrive(impl_->comm, std::numeric_limits<double>::infinity(), arrived), "MPI_Ibarrier");
}

void Comm::broadcast(void* data, std::size_t bytes, int root) const {
  if (size() == 1) return;
  Timer timer;
  if (rank() == root) sent_bytes += bytes * static_cast<std::size_t>(size() - 1);
  for (std::size_t at = 0; at < bytes; at += max_piece)
    check(MPI_Bcast(static_cast<char*>(data) + at, static_cast<int>(std::min(max_piece, bytes - at)), MPI_BYTE, root,
                    impl_->comm),
          "MPI_Bcast");
}

std::string Comm::broadcast(std::string text, int root) const {
  std::uint64_t length = text.size();
  broadcast(&length, sizeof length, root);
  text.resize(length);
  broadcast(text.data(), length, root);
  return text;
}

void Comm::exchange(std::span<const Message> messages) const {
  Exchange exchange;
  exchange.start(*this, messages);
  exchange.wait();
}

struct Exchange::Requests {
  std::vector<MPI_Request> all;
  std::size_t first = 0;  // those before it have ended
};

Exchange::Exchange() : requests_(std::make_unique<Requests>()) {}
Exchange::Exchange(Exchange&&) noexcept = default;
Exchange::~Exchange() {
  if (requests_ && !requests_->all.empty())
    MPI_Waitall(static_cast<int>(requests_->all.size()), requests_->all.data(), MPI_STATUSES_IGNORE);
}

void Exchange::start(const Comm& comm, std::span<const Comm::Message> messages) {
  const Timer timer;
  std::vector<MPI_Request>& requests = requests_->all;
  REEL_CHECK(requests.empty(), "an exchange is under way");
  for (const Comm::Message& m : messages) {
    if (m.peer == comm.rank()) {
      REEL_CHECK(m.send_bytes == m.recv_bytes, "{} bytes to oneself, {} expected", m.send_bytes, m.recv_bytes);
      if (m.send_bytes && m.send != m.recv) std::memcpy(m.recv, m.send, m.send_bytes);
      continue;
    }
    sent_bytes += m.send_bytes;
    for (std::size_t at = 0; at < m.recv_bytes; at += max_piece)
      check(MPI_Irecv(static_cast<char*>(m.recv) + at, static_cast<int>(std::min(max_piece, m.recv_bytes - at)),
                      MPI_BYTE, m.peer, 0, comm.impl_->comm, &requests.emplace_back(MPI_REQUEST_NULL)),
            "MPI_Irecv");
  }
  for (const Comm::Message& m : messages)
    for (std::size_t at = 0; m.peer != comm.rank() && at < m.send_bytes; at += max_piece)
      check(MPI_Isend(static_cast<const char*>(m.send) + at, static_cast<int>(std::min(max_piece, m.send_bytes - at)),
                      MPI_BYTE, m.peer, 0, comm.impl_->comm, &requests.emplace_back(MPI_REQUEST_NULL)),
            "MPI_Isend");
}

void Exchange::start_broadcast(const Comm& comm, void* data, std::size_t bytes, int root) {
  if (comm.size() == 1) return;
  const Timer timer;
  REEL_CHECK(requests_->all.empty(), "an exchange is under way");
  if (comm.rank() == root) sent_bytes += bytes * static_cast<std::size_t>(comm.size() - 1);
  // A rank passes a piece on part by part, one for each look at it: many pieces keep the line busy between two looks.
  constexpr std::size_t piece = std::min(max_piece, std::size_t{4} << 20);
  for (std::size_t at = 0; at < bytes; at += piece)
    check(MPI_Ibcast(static_cast<char*>(data) + at, static_cast<int>(std::min(piece, bytes - at)), MPI_BYTE, root, comm.impl_->comm,
                     &requests_->all.emplace_back(MPI_REQUEST_NULL)),
          "MPI_Ibcast");
}

bool Exchange::progress() {
  std::vector<MPI_Request>& requests = requests_->all;
  if (requests.empty()) return true;
  const Timer timer;
  // They end about in this order, and a look at one lets MPI work on all.
  for (std::size_t& i = requests_->first; i < requests.size(); ++i) {
    int done = 0;
    check(MPI_Test(&requests[i], &done, MPI_STATUS_IGNORE), "MPI_Test");
    if (!done) return false;
  }
  requests.clear();
  requests_->first = 0;
  return true;
}

void Exchange::wait() {
  std::vector<MPI_Request>& requests = requests_->all;
  if (requests.empty()) return;
  const Timer timer;
  check(MPI_Waitall(static_cast<int>(requests.size()), requests.data(), MPI_STATUSES_IGNORE), "MPI_Waitall");
  requests.clear();
  requests_->first = 0;
}

void Comm::all_to_all(const void* send, std::span<const std::size_t> send_counts, void* recv,
                      std::span<const std::size_t> recv_counts) const {
  REEL_CHECK(send_counts.size() == static_cast<std::size_t>(size()) && recv_counts.size() == send_counts.size());
  std::vector<std::size_t> from(send_counts.size()), to(send_counts.size());
  for (std::size_t r = 1; r < from.size(); ++r) {
    from[r] = from[r - 1] + send_counts[r - 1];
    to[r] = to[r - 1] + recv_counts[r - 1];
  }
  // Start with the next rank and go round, so that not everybody talks to rank 0 first.
  std::vector<Message> messages;
  for (int step = 0; step < size(); ++step) {
    const int peer = (rank() + step) % size();
    const auto r = static_cast<std::size_t>(peer);
    messages.push_back({peer, static_cast<const char*>(send) + from[r], send_counts[r],
                        static_cast<char*>(recv) + to[r], recv_counts[r]});
  }
  exchange(messages);
}

void Comm::all_gather(const void* mine, void* all, std::span<const std::size_t> counts) const {
  REEL_CHECK(counts.size() == static_cast<std::size_t>(size()));
  std::vector<Message> messages;
  std::vector<std::size_t> at(counts.size());
  for (std::size_t r = 1; r < at.size(); ++r) at[r] = at[r - 1] + counts[r - 1];
  for (int step = 0; step < size(); ++step) {
    const int peer = (rank() + step) % size();
    const auto r = static_cast<std::size_t>(peer);
    messages.push_back({peer, mine, counts[static_cast<std::size_t>(rank())], static_cast<char*>(all) + at[r], counts[r]});
  }
  exchange(messages);
}

std::vector<std::int64_t> Comm::all_gather(std::int64_t value) const {
  std::vector<std::int64_t> all(static_cast<std::size_t>(size()), value);
  if (size() > 1) {
    Timer timer;
    check(MPI_Allgather(&value, 1, MPI_INT64_T, all.data(), 1, MPI_INT64_T, impl_->comm), "MPI_Allgather");
  }
  return all;
}

std::vector<std::string> Comm::all_gather(const std::string& text) const {
  const std::vector<std::int64_t> lengths = all_gather(static_cast<std::int64_t>(text.size()));
  const std::vector<std::size_t> counts(lengths.begin(), lengths.end());
  std::size_t total = 0;
  for (std::size_t c : counts) total += c;
  std::string joined(total, '\0');
  all_gather(text.data(), joined.data(), counts);
  std::vector<std::string> parts;
  std::size_t at = 0;
  for (std::size_t c : counts) {
    parts.push_back(joined.substr(at, c));
    at += c;
  }
  return parts;
}

std::int64_t Comm::max(std::int64_t value) const {
  const std::vector<std::int64_t> all = all_gather(value);
  return *std::max_element(all.begin(), all.end());
}

double Comm::slowest(double seconds) const { return static_cast<double>(max(std::llround(seconds * 1e9))) * 1e-9; }

void Comm::agree(const std::exception_ptr& failure) const {
  const std::vector<std::int64_t> failed = all_gather(failure ? 1 : 0);
  const auto first = std::find(failed.begin(), failed.end(), 1);
  if (first == failed.end()) return;
  int code = static_cast<int>(Exit::bug);
  std::string what, where, hint;
  if (failure) {
    try {
      std::rethrow_exception(failure);
    } catch (const Error& e) {
      code = static_cast<int>(e.exit());
      what = e.what();
      where = e.where();
      hint = e.hint();
    } catch (const std::bad_alloc&) {
      code = static_cast<int>(Exit::resources);
      what = "out of memory";
      hint = "use more nodes or fewer ranks per node; reel plan shows what is needed";
    } catch (const std::exception& e) {
      what = e.what();
    } catch (...) {  // the other ranks wait for an answer
      what = "unknown exception";
    }
  }
  const int root = static_cast<int>(first - failed.begin());
  broadcast(&code, sizeof code, root);
  what = broadcast(what, root);
  where = broadcast(where, root);
  hint = broadcast(hint, root);
  if (rank() == root) {  // the error itself may hold more than these texts
    try {
      std::rethrow_exception(failure);
    } catch (const Error&) {
      throw;
    } catch (...) {
    }
  }
  throw Error(static_cast<Exit>(code), what, where, hint);
}

std::uint64_t Comm::bytes_sent() noexcept { return sent_bytes; }
double Comm::seconds() noexcept { return spent_s; }
bool Comm::started() noexcept { return mpi_started; }

bool Comm::all_arrive(double seconds) {
  if (!mpi_started || last_resort == MPI_COMM_NULL) return true;
  int arrived = 0;
  return sleep_until_all_arrive(last_resort, seconds, arrived) == MPI_SUCCESS && arrived;
}

std::string Comm::library() {
  char text[MPI_MAX_LIBRARY_VERSION_STRING];
  int length = 0;
  MPI_Get_library_version(text, &length);
  std::string s(text, static_cast<std::size_t>(length));
  return s.substr(0, s.find_first_of(",\n"));
}

void Comm::finish() {
  if (!mpi_started) return;
  int finalized = 0;
  MPI_Finalized(&finalized);
  if (!finalized) MPI_Finalize();
}

void Comm::abort(int code) {
  if (mpi_started) MPI_Abort(MPI_COMM_WORLD, code);
  std::_Exit(code);
}

namespace {

// A file in shared memory: rank 0 of a node makes it, the others map it, and its name is gone once all have it.
class SharedFile {
 public:
  ~SharedFile() {
    if (descriptor_ >= 0) close(descriptor_);
    if (mine_) shm_unlink(name.c_str());
    forget_leftover(path());
  }
  void create(std::size_t bytes) {
    note_leftover(path());
    descriptor_ = shm_open(name.c_str(), O_CREAT | O_EXCL | O_RDWR, 0600);
    mine_ = descriptor_ >= 0;
    // Takes the room now: without it a full /dev/shm is a bus error at the first write.
    int code = mine_ ? EINTR : errno;
    while (code == EINTR) code = posix_fallocate(descriptor_, 0, static_cast<off_t>(bytes));
    if (code != 0) fail(bytes, code);
  }
  std::shared_ptr<void> map(std::size_t bytes) {
    if (!mine_) descriptor_ = shm_open(name.c_str(), O_RDWR, 0);
    void* p = descriptor_ < 0 ? MAP_FAILED : mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor_, 0);
    if (p == MAP_FAILED) fail(bytes, errno);
    return {p, [bytes](void* address) { munmap(address, bytes); }};
  }
  std::string name;

 private:
  [[noreturn]] static void fail(std::size_t bytes, int code) {
    throw Error(Exit::resources,
                fmt::format("{:.1f} GB of shared memory for the weights: {}", static_cast<double>(bytes) * 1e-9,
                            std::strerror(code)),
                "/dev/shm", "use a node with more memory, a larger /dev/shm, or one rank per node");
  }
  std::string path() const { return "/dev/shm" + name; }
  int descriptor_ = -1;
  bool mine_ = false;
};

}  // namespace

SharedFloats::SharedFloats(const Comm& node, std::int64_t count) : size_(count) {
  // Room for at least one line, so that an empty set of weights still has an address.
  const std::size_t least = static_cast<std::size_t>(count) * sizeof(float) + 64, unit = alignment_of(least), bytes = (least + unit - 1) / unit * unit;
  if (node.size() == 1) {
    node.together([&] {
      owner_ = std::shared_ptr<void>(std::aligned_alloc(unit, bytes), std::free);
      if (!owner_)
        throw Error(Exit::resources, fmt::format("{:.1f} GB for the weights are not available", static_cast<double>(bytes) * 1e-9),
                    "memory", "use a node with more memory");
    });
  } else {
    // Not MPI's shared window: where that does not fit, one rank gets an error and the others wait for ever.
    SharedFile file;
    const auto now = std::chrono::system_clock::now().time_since_epoch().count();
    file.name = node.broadcast(fmt::format("/reel.{}.{}", getpid(), now), 0);
    node.together([&] {
      if (node.rank() == 0) file.create(bytes);
    });
    node.together([&] { owner_ = file.map(bytes); });
  }
  prefer_huge_pages(owner_.get(), bytes);
  data_ = static_cast<float*>(owner_.get());
}

}  // namespace reel
