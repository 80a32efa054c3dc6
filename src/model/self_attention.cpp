#include "model/self_attention.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace reel::model {
namespace {

using std::int64_t;

float scale_of(int64_t head_dim) { return 1.0f / std::sqrt(static_cast<float>(head_dim)); }

// Rows of one head as they lie in memory.
struct HeadView {
  const float *q, *k, *v;
  int64_t stride;
};

// Bytes of packed heads kept at a time: bounds memory for long shots, and keeps enough tasks for the threads.
constexpr int64_t packed_budget = int64_t{256} << 20;

// Attention for the given (head, rows) items. view(i) gives full keys and values of item i and the queries of its rows;
// put(i) says where output row 0 goes, with row stride out_stride.
template <class View, class Put>
void attend_items(Numerics numerics, const std::vector<HeadRows>& items, int64_t num_tokens, int64_t head_dim, View view, Put put,
                  int64_t out_stride) {
  const int64_t head_bytes = 2 * num_tokens * head_dim * static_cast<int64_t>(sizeof(float));
  const auto group = static_cast<std::size_t>(std::max<int64_t>(1, packed_budget / head_bytes));
  std::vector<PackedHead> packed(std::min(group, items.size()));
  struct Task {
    std::size_t item;
    int64_t first, rows;
  };
  for (std::size_t begin = 0; begin < items.size(); begin += group) {
    const std::size_t end = std::min(items.size(), begin + group);
    parallel_for(static_cast<int64_t>(end - begin), [&](int64_t i) {
      const HeadView h = view(begin + static_cast<std::size_t>(i));
      packed[static_cast<std::size_t>(i)].pack(numerics, h.k, h.stride, h.v, h.stride, num_tokens, head_dim, head_dim);
    });
    std::vector<Task> tasks;
    for (std::size_t i = begin; i < end; ++i)
      for (int64_t r = 0; r < items[i].rows.size(); r += attention_chunk)
        tasks.push_back({i, r, std::min(attention_chunk, items[i].rows.size() - r)});
    parallel_for(static_cast<int64_t>(tasks.size()), [&](int64_t t) {
      const Task& task = tasks[static_cast<std::size_t>(t)];
      const HeadView h = view(task.item);
      attend(packed[task.item - begin], h.q + task.first * h.stride, h.stride, task.rows, head_dim, head_dim,
             scale_of(head_dim), nullptr, 0, put(task.item) + task.first * out_stride, out_stride);
    });
  }
}

void attend_solo(Numerics numerics, int64_t num_tokens, int64_t num_heads, int64_t head_dim, const float* q, const float* k,
                 const float* v, float* out) {
  const int64_t width = num_heads * head_dim;
  attend_items(
      numerics, attention_share(num_heads, num_tokens, 1, 0), num_tokens, head_dim,
      [&](std::size_t i) {
        const auto at = static_cast<int64_t>(i) * head_dim;
        return HeadView{q + at, k + at, v + at, width};
      },
      [&](std::size_t i) { return out + static_cast<int64_t>(i) * head_dim; }, width);
}

void copy_rows(const float* from, int64_t from_stride, int64_t rows, int64_t width, float* to, int64_t to_stride) {
  for (int64_t i = 0; i < rows; ++i) std::copy_n(from + i * from_stride, width, to + i * to_stride);
}

void attend_heads(const Comm& comm, Numerics numerics, int64_t num_tokens, int64_t num_heads, int64_t head_dim, const float* q,
                  const float* k, const float* v, float* out) {
  const int ranks = comm.size();
  const auto num_ranks = static_cast<std::size_t>(ranks);
  const int64_t width = num_heads * head_dim;
  const Interval mine = slice(num_tokens, ranks, comm.rank());
  std::vector<std::vector<HeadRows>> share(num_ranks);
  for (int r = 0; r < ranks; ++r) share[static_cast<std::size_t>(r)] = attention_share(num_heads, num_tokens, ranks, r);
  const std::vector<HeadRows>& my_share = share[static_cast<std::size_t>(comm.rank())];

  // Rows of head h that go from the owner of `tokens` to the worker of `item`: keys, values, wanted queries.
  const auto floats_between = [&](Interval tokens, const std::vector<HeadRows>& items) {
    int64_t floats = 0;
    for (const HeadRows& item : items) floats += (2 * tokens.size() + intersect(tokens, item.rows).size()) * head_dim;
    return static_cast<std::size_t>(floats) * sizeof(float);
  };
  std::vector<std::size_t> send_bytes(num_ranks), recv_bytes(num_ranks);
  std::size_t send_total = 0, recv_total = 0;
  for (std::size_t r = 0; r < num_ranks; ++r) {
    send_total += send_bytes[r] = floats_between(mine, share[r]);
    recv_total += recv_bytes[r] = floats_between(slice(num_tokens, ranks, static_cast<int64_t>(r)), my_share);
  }
  FloatBuffer send(send_total / sizeof(float)), recv(recv_total / sizeof(float));
  float* to = send.data();
  for (std::size_t r = 0; r < num_ranks; ++r)
    for (const HeadRows& item : share[r]) {
      const int64_t column = item.head * head_dim;
      const Interval rows = intersect(mine, item.rows);
      copy_rows(v + column, width, mine.size(), head_dim, to, head_dim);
      to += mine.size() * head_dim;
      copy_rows(q + (rows.begin - mine.begin) * width + column, width, rows.size(), head_dim, to, head_dim);
      to += rows.size() * head_dim;
      copy_rows(k + column, width, mine.size(), head_dim, to, head_dim);
      to += mine.size() * head_dim;
    }
  comm.all_to_all(send.data(), send_bytes, recv.data(), recv_bytes);

  // Put the pieces of each head together in token order.
  struct Gathered {
    FloatBuffer q, k, v, out;
  };
  std::vector<Gathered> heads(my_share.size());
  for (std::size_t i = 0; i < my_share.size(); ++i) {
    heads[i].k.resize(static_cast<std::size_t>(num_tokens * head_dim));
    heads[i].v.resize(heads[i].k.size());
    heads[i].q.resize(static_cast<std::size_t>(my_share[i].rows.size() * head_dim));
    heads[i].out.resize(heads[i].q.size());
  }
  const float* from = recv.data();
  for (int r = 0; r < ranks; ++r) {
    const Interval theirs = slice(num_tokens, ranks, r);
    for (std::size_t i = 0; i < my_share.size(); ++i) {
      const Interval rows = intersect(theirs, my_share[i].rows);
      std::copy_n(from, theirs.size() * head_dim, heads[i].v.data() + theirs.begin * head_dim);
      from += theirs.size() * head_dim;
      std::copy_n(from, rows.size() * head_dim, heads[i].q.data() + (rows.begin - my_share[i].rows.begin) * head_dim);
      from += rows.size() * head_dim;
      std::copy_n(from, theirs.size() * head_dim, heads[i].k.data() + theirs.begin * head_dim);
      from += theirs.size() * head_dim;
    }
  }
  attend_items(
      numerics, my_share, num_tokens, head_dim,
      [&](std::size_t i) { return HeadView{heads[i].q.data(), heads[i].k.data(), heads[i].v.data(), head_dim}; },
      [&](std::size_t i) { return heads[i].out.data(); }, head_dim);

  // Rows go home: from the worker of (head, rows) to the owners of those tokens.
  const auto floats_home = [&](const std::vector<HeadRows>& items, Interval tokens) {
    int64_t floats = 0;
    for (const HeadRows& item : items) floats += intersect(tokens, item.rows).size() * head_dim;
    return static_cast<std::size_t>(floats) * sizeof(float);
  };
  send_total = recv_total = 0;
  for (std::size_t r = 0; r < num_ranks; ++r) {
    send_total += send_bytes[r] = floats_home(my_share, slice(num_tokens, ranks, static_cast<int64_t>(r)));
    recv_total += recv_bytes[r] = floats_home(share[r], mine);
  }
  send.resize(send_total / sizeof(float));
  recv.resize(recv_total / sizeof(float));
  to = send.data();
  for (int r = 0; r < ranks; ++r)
    for (std::size_t i = 0; i < my_share.size(); ++i) {
      const Interval rows = intersect(slice(num_tokens, ranks, r), my_share[i].rows);
      to = std::copy_n(heads[i].out.data() + (rows.begin - my_share[i].rows.begin) * head_dim, rows.size() * head_dim, to);
    }
  comm.all_to_all(send.data(), send_bytes, recv.data(), recv_bytes);
  from = recv.data();
  for (std::size_t r = 0; r < num_ranks; ++r)
    for (const HeadRows& item : share[r]) {
      const Interval rows = intersect(mine, item.rows);
      copy_rows(from, head_dim, rows.size(), head_dim, out + (rows.begin - mine.begin) * width + item.head * head_dim,
                width);
      from += rows.size() * head_dim;
    }
}

void attend_stream(const Comm& comm, Numerics numerics, int64_t num_tokens, int64_t num_heads, int64_t head_dim, const float* q,
                   const float* k, const float* v, float* out) {
  const int64_t width = num_heads * head_dim, value_width = (head_dim + 63) / 64 * 64;
  const Interval mine = slice(num_tokens, comm.size(), comm.rank());
  const int64_t rows = mine.size(), chunks = (rows + attention_chunk - 1) / attention_chunk;
  // Running maximum, sum and weighted values of every (head, row) live through the whole stream.
  Operand scaled;
  scaled.resize(numerics, num_heads * rows, head_dim);
  FloatBuffer sums(static_cast<std::size_t>(num_heads * rows * value_width), 0.0f);
  std::vector<kernels::SoftmaxState> state(static_cast<std::size_t>(num_heads * rows),
                                           {-std::numeric_limits<float>::infinity(), 0.0f});
  const float scale = scale_of(head_dim);
  parallel_for(num_heads, [&](int64_t h) {
    for (int64_t i = 0; i < rows; ++i) scaled.put(h * rows + i, q + i * width + h * head_dim, scale);
  });
  constexpr int64_t batch = 4 * kernels::key_block;
  std::vector<PackedHead> packed(static_cast<std::size_t>(num_heads));
  FloatBuffer keys, values;
  for (int64_t first = 0; first < num_tokens; first += batch) {
    const Interval tokens{first, std::min(num_tokens, first + batch)};
    std::vector<std::size_t> counts(static_cast<std::size_t>(comm.size()));
    for (int r = 0; r < comm.size(); ++r)
      counts[static_cast<std::size_t>(r)] =
          static_cast<std::size_t>(intersect(tokens, slice(num_tokens, comm.size(), r)).size() * width) * sizeof(float);
    const Interval own = intersect(tokens, mine);
    const int64_t at = (own.size() > 0 ? own.begin - mine.begin : 0) * width;
    keys.resize(static_cast<std::size_t>(tokens.size() * width));
    values.resize(keys.size());
    comm.all_gather(k + at, keys.data(), counts);
    comm.all_gather(v + at, values.data(), counts);
    parallel_for(num_heads, [&](int64_t h) {
      packed[static_cast<std::size_t>(h)].pack(numerics, keys.data() + h * head_dim, width, values.data() + h * head_dim, width,
                                               tokens.size(), head_dim, head_dim);
    });
    parallel_for(num_heads * chunks, [&](int64_t task) {
      const int64_t h = task / chunks, row = task % chunks * attention_chunk, n = std::min(attention_chunk, rows - row);
      const PackedHead& head = packed[static_cast<std::size_t>(h)];
      for (int64_t b = 0; b < head.num_blocks(); ++b)
        head.attend_block(b, scaled, h * rows + row, n, nullptr, 0, state.data() + h * rows + row,
                          sums.data() + (h * rows + row) * value_width);
    });
  }
  for_rows(rows, [&](int64_t i) {
    for (int64_t h = 0; h < num_heads; ++h)
      kernels::table().divide(sums.data() + (h * rows + i) * value_width, head_dim,
                              state[static_cast<std::size_t>(h * rows + i)].sum, out + i * width + h * head_dim);
  });
}

}  // namespace

void self_attention(const Comm& comm, Partition partition, Numerics numerics, std::int64_t num_tokens, std::int64_t num_heads,
                    std::int64_t head_dim, const float* q, const float* k, const float* v, float* out) {
  REEL_CHECK(num_tokens >= comm.size(), "{} tokens on {} ranks", num_tokens, comm.size());
  if (partition == Partition::stream)
    attend_stream(comm, numerics, num_tokens, num_heads, head_dim, q, k, v, out);
  else if (comm.size() == 1)
    attend_solo(numerics, num_tokens, num_heads, head_dim, q, k, v, out);
  else
    attend_heads(comm, numerics, num_tokens, num_heads, head_dim, q, k, v, out);
}

void attend_to(const std::vector<PackedHead>& heads, std::int64_t head_dim, const float* q, std::int64_t rows,
               float* out) {
  const int64_t width = static_cast<int64_t>(heads.size()) * head_dim;
  const int64_t chunks = (rows + attention_chunk - 1) / attention_chunk;
  parallel_for(static_cast<int64_t>(heads.size()) * chunks, [&](int64_t task) {
    const int64_t h = task / chunks, row = task % chunks * attention_chunk;
    attend(heads[static_cast<std::size_t>(h)], q + row * width + h * head_dim, width,
           std::min(attention_chunk, rows - row), head_dim, head_dim, scale_of(head_dim), nullptr, 0,
           out + row * width + h * head_dim, width);
  });
}

}  // namespace reel::model
