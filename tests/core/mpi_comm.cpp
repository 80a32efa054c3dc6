// Communication and attention over ranks: run by mpirun. A failed check ends all ranks with exit code 1.
//   test_mpi_comm              all checks
//   test_mpi_comm --fail       fails one check on the last rank (negative control)
//   test_mpi_comm --singleton  without a launcher, but told that there are more processes
#include <cstdio>
#include <cstring>
#include <numeric>
#include <string>
#include <thread>

#include "core/comm.hpp"
#include "core/digest.hpp"
#include "core/error.hpp"
#include "core/parallel.hpp"
#include "model/self_attention.hpp"
#include "tests/kernels/support.hpp"
#include "tests/mpi_check.hpp"

namespace reel {
namespace {

using std::int64_t;

std::size_t index(int64_t i) { return static_cast<std::size_t>(i); }

/// The byte at place i of the message from rank a to rank b.
char byte(int a, int b, std::size_t i) { return static_cast<char>(a * 37 + b * 11 + static_cast<int>(i % 251)); }

void test_all_gather(const Comm& comm) {
  for (const std::size_t scale : {std::size_t{0}, std::size_t{1}, std::size_t{3}, std::size_t{100'003}}) {
    std::vector<std::size_t> counts;
    for (int r = 0; r < comm.size(); ++r) counts.push_back(r % 3 == 1 ? 0 : scale * index(r + 1));
    std::string want, mine;
    for (int r = 0; r < comm.size(); ++r)
      for (std::size_t i = 0; i < counts[index(r)]; ++i) {
        want += byte(r, 0, i);
        if (r == comm.rank()) mine += byte(r, 0, i);
      }
    std::string all(want.size(), '?');
    const std::uint64_t before = Comm::bytes_sent();
    comm.all_gather(mine.data(), all.data(), counts);
    CHECK(all == want);
    CHECK(Comm::bytes_sent() - before == mine.size() * index(comm.size() - 1));

    // In place: `mine` is already at its place in `all`.
    const std::size_t at = std::accumulate(counts.begin(), counts.begin() + comm.rank(), std::size_t{0});
    std::string in_place(want.size(), '?');
    in_place.replace(at, mine.size(), mine);
    comm.all_gather(in_place.data() + at, in_place.data(), counts);
    CHECK(in_place == want);
  }
  const std::vector<int64_t> values = comm.all_gather(int64_t{comm.rank()} * 1'000'000'007);
  const std::vector<std::string> texts = comm.all_gather(std::string(index(comm.rank() % 3 * 5), 'a'));
  for (int r = 0; r < comm.size(); ++r) {
    CHECK(values[index(r)] == r * int64_t{1'000'000'007});
    CHECK(texts[index(r)] == std::string(index(r % 3 * 5), 'a'));
  }
  CHECK(comm.max(-comm.rank()) == 0 && comm.max(comm.rank()) == comm.size() - 1);
}

void test_all_to_all(const Comm& comm) {
  const int me = comm.rank();
  for (const std::size_t scale : {std::size_t{1}, std::size_t{70'001}}) {
    const auto count = [&](int from, int to) { return (from + 2 * to) % 4 == 0 ? 0 : scale * index(from + 2 * to); };
    std::vector<std::size_t> sent, received;
    std::string send, want;
    for (int r = 0; r < comm.size(); ++r) {
      sent.push_back(count(me, r));
      received.push_back(count(r, me));
      for (std::size_t i = 0; i < sent.back(); ++i) send += byte(me, r, i);
      for (std::size_t i = 0; i < received.back(); ++i) want += byte(r, me, i);
    }
    std::string got(want.size(), '?');
    comm.all_to_all(send.data(), sent, got.data(), received);
    CHECK(got == want);
  }
}

// Two exchanges under way at once, driven by the loops of this thread alone, messages to and from each rank in both.
void test_exchanges_under_way(const Comm& comm) {
  const int me = comm.rank();
  for (const std::size_t bytes : {std::size_t{0}, std::size_t{10}, std::size_t{70'001}, std::size_t{3'000'001}}) {
    struct Way {
      std::vector<std::string> send, recv;
      std::vector<Comm::Message> messages;
      Exchange exchange;
    };
    std::vector<Way> ways(2);
    for (std::size_t w = 0; w < ways.size(); ++w) {
      Way& way = ways[w];
      way.send.resize(index(comm.size())), way.recv.resize(index(comm.size()));
      for (int r = 0; r < comm.size(); ++r) {
        std::string& send = way.send[index(r)];
        for (std::size_t i = 0; i < bytes; ++i) send += static_cast<char>(byte(me, r, i) + static_cast<char>(w));
        way.recv[index(r)].assign(bytes, '?');
        // One way here, the other there: sizes of one message need not be equal.
        if (r == me)
          way.messages.push_back({r, send.data(), bytes, way.recv[index(r)].data(), bytes});
        else
          way.messages.push_back({r, send.data(), bytes, nullptr, 0}), way.messages.push_back({r, nullptr, 0, way.recv[index(r)].data(), bytes});
      }
    }
    CHECK(ways[0].exchange.progress());  // nothing under way
    ways[0].exchange.wait();
    const std::uint64_t before = Comm::bytes_sent();
    bool done = false;
    {
      const std::thread::id self = std::this_thread::get_id();
      const Polling polling([&] {
        CHECK(std::this_thread::get_id() == self);
        const bool first = ways[0].exchange.progress(), second = ways[1].exchange.progress();
        done = first && second;
      });
      for (Way& way : ways) way.exchange.start(comm, way.messages);
      while (!done) parallel_for(64, [](int64_t) {});
    }
    CHECK(Comm::bytes_sent() - before == 2 * bytes * index(comm.size() - 1));
    for (std::size_t w = 0; w < ways.size(); ++w)
      for (int r = 0; r < comm.size(); ++r)
        for (std::size_t i = 0; i < bytes; ++i)
          CHECK(ways[w].recv[index(r)][i] == static_cast<char>(byte(r, me, i) + static_cast<char>(w)));
    // Ended by its destructor; a second start before the end is refused.
    std::string last(bytes, '?');
    {
      Exchange left;
      const int next = (me + 1) % comm.size(), previous = (me + comm.size() - 1) % comm.size();
      const std::vector<Comm::Message> one{{next, ways[0].send[index(next)].data(), bytes, nullptr, 0}, {previous, nullptr, 0, last.data(), bytes}};
      if (comm.size() > 1) left.start(comm, one);
      if (comm.size() > 1 && bytes > 0) {
        bool refused = false;
        try {
          left.start(comm, one);
        } catch (const Error&) {
          refused = true;
        }
        CHECK(refused);
      }
    }
    for (std::size_t i = 0; comm.size() > 1 && i < bytes; ++i) CHECK(last[i] == byte((me + comm.size() - 1) % comm.size(), me, i));
  }
}

void test_broadcast_and_exchange(const Comm& comm) {
  const int me = comm.rank(), ranks = comm.size();
  for (int root = 0; root < ranks; ++root) {
    std::string data(5'000, me == root ? 'r' : '?');
    comm.broadcast(data.data(), data.size(), root);
    CHECK(data == std::string(5'000, 'r'));
    comm.broadcast(nullptr, 0, root);
    CHECK(comm.broadcast(me == root ? std::string("text of ") + std::to_string(root) : "longer text elsewhere", root) ==
          "text of " + std::to_string(root));
    CHECK(comm.broadcast(me == root ? "" : "something", root).empty());
  }
  // Halos: each rank sends r + 1 bytes down and 2 r + 5,000 up, to the neighbours that exist, and some to itself.
  const auto down_bytes = [](int r) { return index(r + 1); };
  const auto up_bytes = [](int r) { return index(2 * r + 5'000); };
  std::string down(down_bytes(me), static_cast<char>('a' + me)), up(up_bytes(me), static_cast<char>('A' + me)),
      self(9, '?');
  std::string from_below(me > 0 ? up_bytes(me - 1) : 0, '?'), from_above(me + 1 < ranks ? down_bytes(me + 1) : 0, '?');
  std::vector<Comm::Message> messages{{me, "123456789", 9, self.data(), 9}};
  if (me > 0) messages.push_back({me - 1, down.data(), down.size(), from_below.data(), from_below.size()});
  if (me + 1 < ranks) messages.push_back({me + 1, up.data(), up.size(), from_above.data(), from_above.size()});
  comm.exchange(messages);
  CHECK(self == "123456789");
  CHECK(from_below == std::string(from_below.size(), static_cast<char>('A' + me - 1)));
  CHECK(from_above == std::string(from_above.size(), static_cast<char>('a' + me + 1)));
}

// Two broadcasts under way at once, from different roots, while other messages are exchanged.
void test_broadcasts_under_way(const Comm& comm) {
  const int me = comm.rank(), ranks = comm.size();
  for (const std::size_t bytes : {std::size_t{0}, std::size_t{1}, std::size_t{100'003}, std::size_t{9'000'001}}) {
    if (bytes > 1'000'000 && ranks > 3) continue;
    std::string first(bytes, me == 0 ? 'f' : '?'), second(bytes, me == ranks - 1 ? 's' : '?');
    const std::uint64_t before = Comm::bytes_sent();
    Exchange a, b;
    a.start_broadcast(comm, first.data(), bytes, 0);
    b.start_broadcast(comm, second.data(), bytes, ranks - 1);
    CHECK(Comm::bytes_sent() - before == bytes * index(ranks - 1) * index((me == 0) + (me == ranks - 1)));
    comm.barrier();
    b.wait();
    while (!a.progress()) {
    }
    CHECK(first == std::string(bytes, 'f') && second == std::string(bytes, 's'));
    a.start_broadcast(comm, first.data(), bytes, ranks - 1);  // ends with the scope
  }
}

void test_splits(const Comm& world) {
  const Comm half = world.split(world.rank() % 2);
  CHECK(half.rank() == world.rank() / 2);
  CHECK(half.size() == (world.size() + 1 - world.rank() % 2) / 2);
  const std::vector<int64_t> members = half.all_gather(int64_t{world.rank()});
  for (int r = 0; r < half.size(); ++r) CHECK(members[index(r)] == 2 * r + world.rank() % 2);
  test_all_gather(half);
  test_all_to_all(half);
  const Comm alone = half.split(half.rank());
  CHECK(alone.size() == 1 && alone.rank() == 0);
  alone.barrier();
  CHECK(alone.all_gather(int64_t{4}) == std::vector<int64_t>{4});

  const Comm node = world.split_node();
  CHECK(node.size() == world.size());  // the test runs on one machine
  for (const int64_t count : {int64_t{0}, int64_t{1}, int64_t{100'000}}) {
    const SharedFloats floats(node, count);
    CHECK(reinterpret_cast<std::uintptr_t>(floats.data()) % 64 == 0);
    if (node.rank() == 0) std::iota(floats.data(), floats.data() + count, 1.0f);
    node.barrier();
    for (int64_t i = 0; i < count; ++i) CHECK(floats.data()[i] == static_cast<float>(i + 1));
    node.barrier();
    if (node.rank() == node.size() - 1 && count) floats.data()[count - 1] = -1;  // one memory, not copies
    node.barrier();
    CHECK(count == 0 || floats.data()[count - 1] == -1);
    node.barrier();
  }
}

// More than any machine has: every rank gets the same error, none waits for the others.
void test_shared_floats_that_do_not_fit(const Comm& node) {
#if !defined(__SANITIZE_ADDRESS__)  // which ends the program instead
  Exit exit = Exit::ok;
  try {
    const SharedFloats floats(node, int64_t{1} << 46);
  } catch (const Error& e) {
    exit = e.exit();
  }
  CHECK(exit == Exit::resources);
  node.barrier();
#endif
}

template <class Step>
Error agreed(const Comm& comm, Step step) {
  try {
    comm.together(step);
  } catch (const Error& e) {
    return e;
  }
  return Error(Exit::ok, "nothing");
}

void test_agree(const Comm& comm) {
  const int me = comm.rank(), last = comm.size() - 1;
  const auto same_everywhere = [&](const Error& e, Exit exit, const std::string& what, const std::string& where) {
    CHECK(e.exit() == exit);
    CHECK(what == e.what() && where == e.where());
    const std::string all = std::to_string(static_cast<int>(e.exit())) + e.what() + "|" + e.where() + "|" + e.hint();
    for (const std::string& other : comm.all_gather(all)) CHECK(other == all);
  };
  for (int round = 0; round < 3; ++round) {
    same_everywhere(agreed(comm, [] {}), Exit::ok, "nothing", "");
    same_everywhere(agreed(comm,
                           [&] {
                             if (me == last)
                               throw Error(Exit::input, "weights are torn", "a.safetensors", "get them again");
                           }),
                    Exit::input, "weights are torn", "a.safetensors");
    // Several ranks fail: the lowest one speaks.
    const int first = last > 0 ? 1 : 0;
    same_everywhere(agreed(comm,
                           [&] {
                             if (me >= first) throw Error(Exit::write, "rank " + std::to_string(me), "", "");
                           }),
                    Exit::write, "rank " + std::to_string(first), "");
    same_everywhere(agreed(comm,
                           [&] {
                             if (me == last) throw std::bad_alloc();
                           }),
                    Exit::resources, "out of memory", "");
    same_everywhere(agreed(comm,
                           [&] {
                             if (me == last) throw std::out_of_range("at");
                           }),
                    Exit::bug, "at", "");
    same_everywhere(agreed(comm,
                           [&] {
                             if (me == last) throw 7;
                           }),
                    Exit::bug, "unknown exception", "");
  }
  comm.barrier();
}

struct Case {
  int64_t tokens, heads, head_dim;
};
// More tokens than one key block (256), than one batch of the stream (1,024); sizes that no rank count divides.
std::vector<Case> cases() {
  std::vector<Case> all;
  for (const int64_t head_dim : {12, 20, 128})
    for (int64_t heads = 1; heads <= 5; ++heads) all.push_back({37, heads, head_dim});
  for (const Case c : {Case{5, 2, 12}, {301, 1, 20}, {301, 5, 20}, {259, 3, 128}, {1103, 3, 20}, {1103, 2, 12}})
    all.push_back(c);
  return all;
}

/// Bytes that this rank sends in one layer, from the plan of its pieces.
std::uint64_t bytes_of(model::Partition partition, model::Numerics numerics, const Case& c, const Comm& comm) {
  const Interval mine = slice(c.tokens, comm.size(), comm.rank());
  int64_t rows = 2 * mine.size() * c.heads * (comm.size() - 1);
  if (partition == model::Partition::heads && comm.size() > 1) {
    rows = 0;
    for (const HeadPiece& p : pieces_given(c.heads, c.tokens, comm.size(), comm.rank()))
      if (p.peer != comm.rank()) rows += 2 * p.tokens.size() + p.queries.size();
    for (const HeadPiece& p : pieces_taken(c.heads, c.tokens, comm.size(), comm.rank()))
      if (p.peer != comm.rank()) rows += p.queries.size();
  }
  return static_cast<std::uint64_t>(rows * c.head_dim * (numerics == model::Numerics::f32 ? 4 : 2));
}

/// Digest of all outputs: the same for every number of ranks and threads, on every machine.
constexpr const char* golden = "0440f5328f1557f1b111af531396e5c5e761c15b13bbc8f4de24d2a5c8cda10a";

std::string test_attention(const Comm& comm) {
  Sha256 digest;
  for (const Case& c : cases()) {
    const int64_t width = c.heads * c.head_dim;
    test::Draws draws(static_cast<std::uint64_t>(c.tokens * 1'000 + width));
    const test::Floats q = draws.uniforms(c.tokens * width, 2), k = draws.uniforms(c.tokens * width, 2),
                       v = draws.uniforms(c.tokens * width);
    const Interval mine = slice(c.tokens, comm.size(), comm.rank());
    const int64_t at = mine.begin * width;
    for (const auto numerics : {model::Numerics::f32, model::Numerics::bf16, model::Numerics::bf16_amx}) {
      const auto attend = [&](const Comm& ranks, model::Partition partition, int64_t first, float* out) {
        const auto attention = model::SelfAttention::make(ranks, partition, numerics, c.tokens, c.heads, c.head_dim);
        for (const float sign : {-1.0f, 1.0f}) {  // twice: buffers are kept, and nothing of the first may be left in the second
          test::Floats turned(q.begin() + first, q.end());
          for (float& x : turned) x *= sign;
          attention->values(v.data() + first);
          attention->queries(turned.data());
          attention->keys(k.data() + first);
          attention->attend(out);
        }
      };
      test::Floats solo(q.size());
      attend(Comm::solo(), model::Partition::heads, 0, solo.data());
      if (numerics == model::Numerics::f32) digest.update(solo.data(), solo.size() * sizeof(float));
      for (const auto partition : {model::Partition::heads, model::Partition::stream}) {
        // One row more on each side: nothing may be written there.
        test::Floats out(index((mine.size() + 2) * width), 12345.0f);
        const std::uint64_t before = Comm::bytes_sent();
        attend(comm, partition, at, out.data() + width);
        CHECK(Comm::bytes_sent() - before == 2 * bytes_of(partition, numerics, c, comm));
        CHECK(test::same_bits(out.data() + width, solo.data() + at, mine.size() * width));
        for (int64_t i = 0; i < width; ++i)
          CHECK(out[index(i)] == 12345.0f && out[out.size() - 1 - index(i)] == 12345.0f);
      }
    }
  }
  return digest.hex();
}

int run(const std::string& mode) {
  const Comm world = Comm::world();
  CHECK(mode != "--singleton");  // an error was due
  CHECK(mode != "--fail" || world.rank() != world.size() - 1);
  test_all_gather(world);
  test_all_to_all(world);
  for (const int threads : {3, 1}) {
    set_num_threads(threads);
    test_exchanges_under_way(world);
  }
  test_broadcast_and_exchange(world);
  test_broadcasts_under_way(world);
  test_splits(world);
  test_shared_floats_that_do_not_fit(world.split_node());
  test_agree(world);
  for (const int threads : {1, 3}) {
    set_num_threads(threads);
    const std::string digest = test_attention(world);
    if (world.rank() == 0) std::printf("%d ranks, %d threads: attention %s\n", world.size(), threads, digest.c_str());
    CHECK(digest == golden);
  }
  CHECK(Comm::all_arrive(30));
  Comm::finish();
  return 0;
}

}  // namespace
}  // namespace reel

int main(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "";
  try {
    return reel::run(mode);
  } catch (const reel::Error& e) {
    if (mode == "--singleton" && e.exit() == reel::Exit::launch) {
      reel::Comm::finish();
      return 0;
    }
    std::fprintf(stderr, "%s: %s\n", e.where().c_str(), e.what());
    reel::Comm::abort(1);
  }
}
