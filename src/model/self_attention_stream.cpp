// Keys and values of all ranks pass by in token order; every rank keeps its query rows.
#include <algorithm>
#include <limits>

#include "core/partition.hpp"
#include "model/self_attention_parts.hpp"

namespace reel::model::attention {
namespace {

class Stream final : public SelfAttention {
 public:
  Stream(const Comm& comm, const Dims& dims)
      : comm_(comm), dims_(dims), mine_(slice(dims.tokens, comm.size(), comm.rank())), packed_(index(dims.heads)),
        polling_([this] {
          if (v_.traffic.exchange.progress()) k_.traffic.exchange.progress();
        }) {
    const int64_t n = dims.heads * mine_.size();
    scaled_.resize(dims.numerics, n, dims.head_dim);
    sums_.resize(index(n * dims.value_width()));
    state_.resize(index(n));
    for (Passing* x : {&v_, &k_}) {
      x->own.resize(dims.numerics, mine_.size(), dims.width());
      x->batch.resize(dims.numerics, std::min(part_keys, dims.tokens), dims.width());
    }
  }

  void values(const float* v) override { put(v, v_); }
  void queries(const float* q) override {
    const int64_t n = mine_.size();
    parallel_for(dims_.heads, [&](int64_t h) {
      for (int64_t i = 0; i < n; ++i) scaled_.put(h * n + i, q + i * dims_.width() + h * dims_.head_dim, dims_.scale());
    });
  }
  void keys(const float* k) override { put(k, k_); }

  void attend(float* out) override {
    const int64_t n = mine_.size(), chunks = (n + attention_chunk - 1) / attention_chunk, d = dims_.head_dim, sums_width = dims_.value_width();
    // Running maximum, sum and weighted values of every (head, row) live through the whole stream.
    std::fill(state_.begin(), state_.end(), kernels::SoftmaxState{-std::numeric_limits<float>::infinity(), 0.0f});
    std::fill(sums_.begin(), sums_.end(), 0.0f);
    for (int64_t first = 0; first < dims_.tokens; first += part_keys) {
      v_.traffic.exchange.wait();
      k_.traffic.exchange.wait();
      const int64_t batch = std::min(part_keys, dims_.tokens - first);
      parallel_for(dims_.heads, [&](int64_t h) {
        thread_local FloatBuffer key_room, value_room;
        const FloatRows k = k_.batch.get(0, batch, h * d, d, key_room), v = v_.batch.get(0, batch, h * d, d, value_room);
        packed_[index(h)].pack(dims_.numerics, k.at, k.stride, v.at, v.stride, batch, d, d);
      });
      if (first + part_keys < dims_.tokens)  // the next ones come while these are worked on
        for (Passing* x : {&v_, &k_}) gather(first + part_keys, *x);
      parallel_for(dims_.heads * chunks, [&](int64_t task) {
        const int64_t h = task / chunks, row = task % chunks * attention_chunk, at = h * n + row;
        const PackedHead& head = packed_[index(h)];
        for (int64_t b = 0; b < head.num_blocks(); ++b)
          head.attend_block(b, scaled_, at, std::min(attention_chunk, n - row), nullptr, 0, state_.data() + at, sums_.data() + at * sums_width);
      });
    }
    for_rows(n, [&](int64_t i) {
      for (int64_t h = 0; h < dims_.heads; ++h)
        finish_row(dims_, sums_.data() + (h * n + i) * sums_width, state_[index(h * n + i)].sum, out + i * dims_.width() + h * d);
    });
  }

 private:
  // Keys or values: this rank's rows, and a batch of all ranks' that comes by.
  struct Passing {
    Rows own, batch;
    Traffic traffic;
  };

  void put(const float* x, Passing& to) {
    for_rows(mine_.size(), [&](int64_t i) { to.own.put(i, x + i * dims_.width(), 1.0f); });
    gather(0, to);
  }

  // Starts to bring tokens [first, first + part_keys) of all ranks.
  void gather(int64_t first, Passing& x) {
    const Interval tokens{first, std::min(dims_.tokens, first + part_keys)}, own = intersect(tokens, mine_);
    const auto own_bytes = index(own.size() * x.own.row_bytes());
    const std::byte* from = x.own.at(own.size() > 0 ? own.begin - mine_.begin : 0);
    x.traffic.messages.clear();
    for (int step = 1; step <= comm_.size(); ++step) {
      const int peer = (comm_.rank() + step) % comm_.size();
      const Interval theirs = intersect(tokens, slice(dims_.tokens, comm_.size(), peer));
      std::byte* to = x.batch.at(theirs.size() > 0 ? theirs.begin - first : 0);
      x.traffic.messages.push_back({peer, from, own_bytes, to, index(theirs.size() * x.own.row_bytes())});
    }
    x.traffic.start(comm_);
  }

  Comm comm_;
  Dims dims_;
  Interval mine_;
  Operand scaled_;  // [head][row]
  FloatBuffer sums_;
  std::vector<kernels::SoftmaxState> state_;
  Passing v_, k_;
  std::vector<PackedHead> packed_;
  Polling polling_;
};

}  // namespace

std::unique_ptr<SelfAttention> make_stream(const Comm& comm, const Dims& dims) { return std::make_unique<Stream>(comm, dims); }

}  // namespace reel::model::attention
