#include "model/self_attention.hpp"

#include <algorithm>

#include "model/self_attention_parts.hpp"

namespace reel::model {
namespace {

using namespace attention;
using std::int64_t;

// Bytes of packed heads kept at a time: bounds memory for long shots.
constexpr int64_t packed_budget = int64_t{256} << 20;

int64_t heads_in_budget(const Dims& dims) {
  return std::max<int64_t>(1, packed_budget / (2 * dims.tokens * dims.head_dim * attention_element_bytes(dims.numerics)));
}

// Attention for items [begin, end) of a share. A source tells keys(item, first, n, room) and values, queries(item, first, n,
// room) from row `first` of the item on, to be multiplied by scale(), and takes what came of each row by put(item, row, sums,
// sum of exponentials).
class ItemAttention {
 public:
  template <class Source>
  void run(const Dims& dims, const std::vector<HeadRows>& items, int64_t begin, int64_t end, Source& source) {
    const int64_t parts = (dims.tokens + part_keys - 1) / part_keys, d = dims.head_dim;
    if (static_cast<int64_t>(packed_.size()) < (end - begin) * parts) packed_.resize(index((end - begin) * parts));
    parallel_for((end - begin) * parts, [&](int64_t i) {
      thread_local FloatBuffer key_room, value_room;
      const int64_t item = begin + i / parts, first = i % parts * part_keys, n = std::min(part_keys, dims.tokens - first);
      const FloatRows k = source.keys(item, first, n, key_room), v = source.values(item, first, n, value_room);
      packed_[index(i)].pack(dims.numerics, k.at, k.stride, v.at, v.stride, n, d, d);
    });
    tasks_.clear();
    for (int64_t i = begin; i < end; ++i)
      for (int64_t r = 0; r < items[index(i)].rows.size(); r += attention_chunk)
        tasks_.push_back({i, r, std::min(attention_chunk, items[index(i)].rows.size() - r)});
    parallel_for(static_cast<int64_t>(tasks_.size()), [&](int64_t t) {
      thread_local FloatBuffer room;
      const Task& task = tasks_[index(t)];
      const FloatRows q = source.queries(task.item, task.first, task.rows, room);
      const std::span<const PackedHead> head{packed_.data() + (task.item - begin) * parts, index(parts)};
      attend_parts(head, q.at, q.stride, task.rows, d, source.scale(), nullptr, 0,
                   [&](int64_t i, const float* sums, float sum) { source.put(task.item, task.first + i, sums, sum); });
    });
  }

 private:
  struct Task {
    int64_t item, first, rows;
  };
  std::vector<PackedHead> packed_;  // [item][part]
  std::vector<Task> tasks_;
};

class Solo final : public SelfAttention {
 public:
  explicit Solo(const Dims& dims) : dims_(dims), items_(attention_share(dims.heads, dims.tokens, 1, 0)) {}
  void values(const float* v) override { v_ = v; }
  void queries(const float* q) override { q_ = q; }
  void keys(const float* k) override { k_ = k; }
  void attend(float* out) override {
    out_ = out;
    const int64_t group = heads_in_budget(dims_);
    for (int64_t h = 0; h < dims_.heads; h += group) attention_.run(dims_, items_, h, std::min(dims_.heads, h + group), *this);
  }

  FloatRows keys(int64_t h, int64_t first, int64_t, FloatBuffer&) const { return rows_of(k_, h, first); }
  FloatRows values(int64_t h, int64_t first, int64_t, FloatBuffer&) const { return rows_of(v_, h, first); }
  FloatRows queries(int64_t h, int64_t first, int64_t, FloatBuffer&) const { return rows_of(q_, h, first); }
  float scale() const { return dims_.scale(); }
  void put(int64_t h, int64_t row, const float* sums, float sum) { finish_row(dims_, sums, sum, out_ + row * dims_.width() + h * dims_.head_dim); }

 private:
  FloatRows rows_of(const float* x, int64_t h, int64_t row) const { return {x + row * dims_.width() + h * dims_.head_dim, dims_.width()}; }
  Dims dims_;
  std::vector<HeadRows> items_;
  ItemAttention attention_;
  const float *q_ = nullptr, *k_ = nullptr, *v_ = nullptr;
  float* out_ = nullptr;
};

class Heads final : public SelfAttention {
 public:
  Heads(const Comm& comm, const Dims& dims)
      : comm_(comm), dims_(dims), mine_(slice(dims.tokens, comm.size(), comm.rank())),
        items_(attention_share(dims.heads, dims.tokens, comm.size(), comm.rank())), polling_([this] { progress(); }) {
    const int64_t d = dims.head_dim, num_items = static_cast<int64_t>(items_.size());
    const std::vector<HeadPiece> given = pieces_given(dims.heads, dims.tokens, comm.size(), comm.rank());
    const std::vector<HeadPiece> taken = pieces_taken(dims.heads, dims.tokens, comm.size(), comm.rank());
    int64_t far_rows = 0;
    for (const HeadRows& item : items_) query_at_.push_back(far_rows), far_rows += item.rows.size();
    // A group has enough tasks for the threads, and fits the budget.
    const int64_t chunks = std::max<int64_t>(1, far_rows / std::max<int64_t>(1, num_items) / attention_chunk);
    group_ = std::clamp<int64_t>((16 * num_threads() + chunks - 1) / chunks, 1, heads_in_budget(dims));

    int64_t near_tokens = 0, near_queries = 0;
    for (const HeadPiece& p : given) {
      const bool own = p.peer == comm.rank();
      tokens_.push_back({p.tokens, p.head * d, own, own ? token_at(p) : near_tokens});
      queries_.push_back({p.queries, p.head * d, own, own ? query_at(p) : near_queries});
      if (!own) near_tokens += p.tokens.size(), near_queries += p.queries.size();
    }
    for (Rows* rows : {&near_k_, &near_v_}) rows->resize(dims.numerics, near_tokens, d);
    for (Rows* rows : {&far_k_, &far_v_}) rows->resize(dims.numerics, num_items * dims.tokens, d);
    near_q_.resize(dims.numerics, near_queries, d);
    far_q_.resize(dims.numerics, far_rows, d);

    groups_.resize(index((num_items + group_ - 1) / group_));
    for (std::size_t i = 0; i < given.size(); ++i) {
      const HeadPiece& p = given[i];
      if (p.peer == comm.rank()) continue;
      value_traffic_.send(p.peer, near_v_, tokens_[i].at, p.tokens.size());
      query_traffic_.send(p.peer, near_q_, queries_[i].at, p.queries.size());
      key_traffic_.send(p.peer, near_k_, tokens_[i].at, p.tokens.size());
      home_traffic_.receive(p.peer, near_q_, queries_[i].at, p.queries.size());
    }
    for (const HeadPiece& p : taken) {
      if (p.peer == comm.rank()) continue;
      value_traffic_.receive(p.peer, far_v_, token_at(p), p.tokens.size());
      query_traffic_.receive(p.peer, far_q_, query_at(p), p.queries.size());
      Group& group = groups_[index(p.item / group_)];
      group.keys.receive(p.peer, far_k_, token_at(p), p.tokens.size());
      group.results.send(p.peer, far_q_, query_at(p), p.queries.size());
    }
  }

  void values(const float* v) override {
    put_rows(v, 1.0f, tokens_, near_v_, far_v_);
    value_traffic_.start(comm_);
  }
  void queries(const float* q) override {
    put_rows(q, dims_.scale(), queries_, near_q_, far_q_);
    query_traffic_.start(comm_);
  }
  void keys(const float* k) override {
    put_rows(k, 1.0f, tokens_, near_k_, far_k_);
    for (Group& g : groups_) g.keys.start(comm_);
    key_traffic_.start(comm_);
  }
  void attend(float* out) override {
    value_traffic_.exchange.wait();
    query_traffic_.exchange.wait();
    home_traffic_.start(comm_);  // results come to where the queries were
    const auto num_items = static_cast<int64_t>(items_.size());
    for (std::size_t g = 0; g < groups_.size(); ++g) {
      groups_[g].keys.exchange.wait();
      const int64_t begin = static_cast<int64_t>(g) * group_;
      attention_.run(dims_, items_, begin, std::min(num_items, begin + group_), *this);
      groups_[g].results.start(comm_);
    }
    home_traffic_.exchange.wait();
    key_traffic_.exchange.wait();
    for (Group& g : groups_) g.results.exchange.wait();
    for_rows(mine_.size(), [&](int64_t i) {
      thread_local FloatBuffer room;
      for (const Place& p : queries_)
        if (const int64_t at = p.find(mine_.begin + i); at >= 0)
          std::copy_n((p.own ? far_q_ : near_q_).get(at, 1, 0, dims_.head_dim, room).at, dims_.head_dim, out + i * dims_.width() + p.column);
    });
  }

  FloatRows keys(int64_t item, int64_t first, int64_t n, FloatBuffer& room) const {
    return far_k_.get(item * dims_.tokens + first, n, 0, dims_.head_dim, room);
  }
  FloatRows values(int64_t item, int64_t first, int64_t n, FloatBuffer& room) const {
    return far_v_.get(item * dims_.tokens + first, n, 0, dims_.head_dim, room);
  }
  FloatRows queries(int64_t item, int64_t first, int64_t n, FloatBuffer& room) const {
    return far_q_.get(query_at_[index(item)] + first, n, 0, dims_.head_dim, room);
  }
  float scale() const { return 1.0f; }  // the sender did
  // A result takes the place of its query, which has been read.
  void put(int64_t item, int64_t row, const float* sums, float sum) {
    thread_local FloatBuffer out;
    out.resize(index(dims_.head_dim));
    kernels::table().divide(sums, dims_.head_dim, sum, false, out.data());
    far_q_.put(query_at_[index(item)] + row, out.data(), 1.0f);
  }

 private:
  // Where rows of own tokens lie, one head: from row `at` on in a near buffer, or in a far one when this rank works on them.
  struct Place {
    Interval tokens;
    int64_t column;
    bool own;
    int64_t at;
    int64_t find(int64_t token) const { return token >= tokens.begin && token < tokens.end ? at + token - tokens.begin : -1; }
  };
  int64_t token_at(const HeadPiece& p) const { return p.item * dims_.tokens + p.tokens.begin; }
  int64_t query_at(const HeadPiece& p) const { return query_at_[index(p.item)] + p.queries.begin - items_[index(p.item)].rows.begin; }

  void put_rows(const float* x, float scale, const std::vector<Place>& places, Rows& near, Rows& far) {
    for_rows(mine_.size(), [&](int64_t i) {
      for (const Place& p : places)
        if (const int64_t at = p.find(mine_.begin + i); at >= 0) (p.own ? far : near).put(at, x + i * dims_.width() + p.column, scale);
    });
  }

  void progress() {
    // One look lets MPI work on all messages: the first that is not through is enough.
    if (!value_traffic_.exchange.progress() || !query_traffic_.exchange.progress()) return;
    for (Group& g : groups_)
      if (!g.keys.exchange.progress() || !g.results.exchange.progress()) return;
    if (key_traffic_.exchange.progress()) home_traffic_.exchange.progress();
  }

  Comm comm_;
  Dims dims_;
  Interval mine_;
  std::vector<HeadRows> items_;
  int64_t group_ = 1;
  std::vector<int64_t> query_at_;         // of items, rows in far_q_
  std::vector<Place> tokens_, queries_;   // of the pieces that this rank gives
  Rows near_q_, near_k_, near_v_;         // [piece][row]: this rank's tokens, for other ranks
  Rows far_q_, far_k_, far_v_;            // [item][row]: this rank's work, its own tokens included
  // Items whose keys are awaited together, and whose results go home while the next ones are computed.
  struct Group {
    Traffic keys, results;
  };
  std::vector<Group> groups_;
  Traffic value_traffic_, query_traffic_, key_traffic_, home_traffic_;  // of keys: what is sent
  ItemAttention attention_;
  Polling polling_;
};

}  // namespace

std::unique_ptr<SelfAttention> SelfAttention::make(const Comm& comm, Partition partition, Numerics numerics, int64_t num_tokens,
                                                   int64_t num_heads, int64_t head_dim) {
  REEL_CHECK(num_tokens >= comm.size(), "{} tokens on {} ranks", num_tokens, comm.size());
  const attention::Dims dims{numerics, num_tokens, num_heads, head_dim};
  if (partition == Partition::stream) return attention::make_stream(comm, dims);
  if (comm.size() == 1) return std::make_unique<Solo>(dims);
  return std::make_unique<Heads>(comm, dims);
}

void attend_to(const std::vector<PackedHead>& heads, std::int64_t head_dim, const float* q, std::int64_t rows,
               float* out) {
  const int64_t width = static_cast<int64_t>(heads.size()) * head_dim;
  const int64_t chunks = (rows + attention_chunk - 1) / attention_chunk;
  const auto num_heads = static_cast<int64_t>(heads.size());
  parallel_for(num_heads * chunks, [&](int64_t task) {  // all heads of some rows, whose pieces are neighbours in memory
    const int64_t h = task % num_heads, row = task / num_heads * attention_chunk;
    attend(heads[static_cast<std::size_t>(h)], q + row * width + h * head_dim, width,
           std::min(attention_chunk, rows - row), head_dim, head_dim, score_scale(head_dim), nullptr, 0,
           out + row * width + h * head_dim, width);
  });
}

}  // namespace reel::model
