#include "cost/sensitivity.hpp"

#include <algorithm>
#include <array>
#include <boost/math/special_functions/beta.hpp>
#include <cmath>
#include <limits>
#include <numbers>
#include <numeric>

#include "core/error.hpp"
#include "core/parallel.hpp"

namespace reel::cost {
namespace {

using Column = std::vector<double>;

// Output of each row of Saltelli's matrices; exchanged[j] is A with the column of input j (the last: of the tier) from
// B, empty where nothing is exchanged.
struct Rows {
  Column a, b;
  std::vector<Column> exchanged;
};

Rows evaluate_rows(const std::vector<Input>& inputs, const Evaluate& evaluate, std::size_t num_outputs,
                   std::size_t output, std::size_t num_rows, std::uint64_t seed) {
  constexpr std::size_t most = 256;
  const std::size_t num = inputs.size();
  const bool tiered = std::ranges::any_of(inputs, [](const Input& input) { return input.tier != 0; });
  Rows rows{Column(num_rows), Column(num_rows), std::vector<Column>(num + 1)};
  for (std::size_t j = 0; j < num; ++j)
    if (inputs[j].ranked) rows.exchanged[j].resize(num_rows);
  if (tiered) rows.exchanged[num].resize(num_rows);

  parallel_for(static_cast<std::int64_t>((num_rows + most - 1) / most), [&](std::int64_t block) {
    const std::size_t begin = static_cast<std::size_t>(block) * most, n = std::min(most, num_rows - begin);
    const auto first = static_cast<std::int64_t>(begin);
    Column tier_a(tiered ? n : 0), tier_b(tiered ? n : 0), own_a(num * n), own_b(num * n), x(num * n),
        y(num_outputs * n);
    normals(seed, "sobol a", first, tier_a);
    normals(seed, "sobol b", first, tier_b);
    for (std::size_t j = 0; j < num; ++j) {
      normals(seed, "sobol a/" + inputs[j].name, first, std::span(own_a).subspan(j * n, n));
      normals(seed, "sobol b/" + inputs[j].name, first, std::span(own_b).subspan(j * n, n));
    }
    const auto set = [&](std::size_t j, const Column& own, const Column& tier) {
      const std::span column = std::span(x).subspan(j * n, n);
      std::ranges::copy(std::span(own).subspan(j * n, n), column.begin());
      inputs[j].to_values(column, tier);
    };
    const auto run = [&](Column& into) {
      evaluate_finite(evaluate, n, x, y, first);
      std::ranges::copy(std::span(y).subspan(output * n, n), into.begin() + first);
    };
    for (std::size_t j = 0; j < num; ++j) set(j, own_b, tier_b);
    run(rows.b);
    for (std::size_t j = 0; j < num; ++j) set(j, own_a, tier_a);
    run(rows.a);
    for (std::size_t j = 0; j < num; ++j) {
      if (!inputs[j].ranked) continue;
      set(j, own_b, tier_a);
      run(rows.exchanged[j]);
      set(j, own_a, tier_a);
    }
    if (!tiered) return;
    for (std::size_t j = 0; j < num; ++j) set(j, own_a, tier_b);
    run(rows.exchanged[num]);
  });
  return rows;
}

// Per row, what the estimators sum: a + b and a^2 + b^2 about the mean, then for each input that is exchanged
// (a - exchanged)^2 and (b - exchanged)^2.
std::vector<Column> summands(const Rows& rows) {
  const std::size_t n = rows.a.size();
  const double mean = (pairwise_sum(rows.a) + pairwise_sum(rows.b)) / (2 * static_cast<double>(n));
  std::vector<Column> terms(2, Column(n));
  for (std::size_t i = 0; i < n; ++i) {
    const double a = rows.a[i] - mean, b = rows.b[i] - mean;
    terms[0][i] = a + b;
    terms[1][i] = a * a + b * b;
  }
  for (const Column& e : rows.exchanged) {
    if (e.empty()) continue;
    Column total(n), first(n);
    for (std::size_t i = 0; i < n; ++i) {
      total[i] = (rows.a[i] - e[i]) * (rows.a[i] - e[i]);
      first[i] = (rows.b[i] - e[i]) * (rows.b[i] - e[i]);
    }
    terms.push_back(std::move(total));
    terms.push_back(std::move(first));
  }
  return terms;
}

// Total and first-order index of the k-th exchanged input from the sums over 2 n values.
std::array<double, 2> jansen(std::span<const double> sums, std::size_t k, double n) {
  const double mean = sums[0] / (2 * n), variance = sums[1] / (2 * n) - mean * mean;
  if (!(variance > 0)) return {0, 0};
  return {sums[2 + 2 * k] / (2 * n) / variance, 1 - sums[3 + 2 * k] / (2 * n) / variance};
}

constexpr std::size_t num_resamples = 1000,
                      lanes = 8;  // resamples side by side, each with its own sum in order of rows

// sums[r][term]: each term summed over the rows of resample r.
std::vector<Column> resampled_sums(const std::vector<Column>& terms, std::uint64_t seed) {
  const std::size_t n = terms[0].size();
  std::vector<Column> sums(num_resamples, Column(terms.size()));
  parallel_for(static_cast<std::int64_t>(num_resamples / lanes), [&](std::int64_t group) {
    std::vector<std::array<double, lanes>> times(n);  // how often each row was drawn
    std::vector<std::uint32_t> bits(n);
    const std::size_t first = static_cast<std::size_t>(group) * lanes;
    for (std::size_t l = 0; l < lanes; ++l) {
      random_bits(seed, "sobol rows", static_cast<std::int64_t>((first + l) * n), bits);
      for (std::uint32_t r : bits) times[static_cast<std::size_t>((std::uint64_t{r} * n) >> 32)][l] += 1;
    }
    for (std::size_t t = 0; t < terms.size(); ++t) {
      std::array<double, lanes> sum{};
      for (std::size_t i = 0; i < n; ++i)
        for (std::size_t l = 0; l < lanes; ++l) sum[l] += times[i][l] * terms[t][i];
      for (std::size_t l = 0; l < lanes; ++l) sums[first + l][t] = sum[l];
    }
  });
  return sums;
}
static_assert(num_resamples % lanes == 0);

double mean_of_smallest(const std::vector<Column>& sums, std::size_t bins, double n) {
  double total = 0;
  for (std::size_t b = 0; b < bins; ++b) {
    double least = sums[0][b];
    for (const Column& s : sums) least = std::min(least, s[b]);
    total += least;
  }
  return total / n;
}

}  // namespace

std::vector<SobolIndex> sobol(const std::vector<Input>& inputs, const Evaluate& evaluate, std::size_t num_outputs,
                              std::size_t output, int log2_base, std::uint64_t seed) {
  check_inputs(inputs);
  REEL_CHECK(output < num_outputs && log2_base >= 4 && log2_base <= 20, "output {} of {}, 2^{} rows", output,
             num_outputs, log2_base);
  const std::size_t n = std::size_t{1} << log2_base;
  const auto count = static_cast<double>(n);
  const Rows rows = evaluate_rows(inputs, evaluate, num_outputs, output, n, seed);
  const std::vector<Column> terms = summands(rows);
  const std::vector<Column> resampled = resampled_sums(terms, seed);
  Column sums;
  for (const Column& t : terms) sums.push_back(pairwise_sum(t));

  std::vector<SobolIndex> indices(rows.exchanged.size());
  for (std::size_t j = 0, k = 0; j < indices.size(); ++j) {
    if (rows.exchanged[j].empty()) continue;
    const std::size_t at = k++;
    if (sums[2 + 2 * at] == 0) continue;  // changes no row
    Column totals, firsts;
    for (const Column& r : resampled) {
      const auto [total, first] = jansen(r, at, count);
      totals.push_back(total);
      firsts.push_back(first);
    }
    const auto [total, first] = jansen(sums, at, count);
    indices[j] = {total, percentile(totals, 0.05), percentile(totals, 0.95),
                  first, percentile(firsts, 0.05), percentile(firsts, 0.95)};
  }
  return indices;
}

std::vector<TornadoBar> tornado(const std::vector<Input>& inputs, const Evaluate& evaluate, std::size_t num_outputs,
                                std::size_t output) {
  check_inputs(inputs);
  REEL_CHECK(output < num_outputs, "output {} of {}", output, num_outputs);
  const std::size_t n = 2 * inputs.size();  // draws 2 j and 2 j + 1: input j at its P10 and P90
  Column x(inputs.size() * n), y(num_outputs * n);
  for (std::size_t j = 0; j < inputs.size(); ++j) {
    std::fill_n(x.data() + j * n, n, inputs[j].quantile(0));
    x[j * n + 2 * j] = inputs[j].quantile(-z_p90);
    x[j * n + 2 * j + 1] = inputs[j].quantile(z_p90);
  }
  if (n > 0) evaluate_finite(evaluate, n, x, y, 0);
  std::vector<TornadoBar> bars;
  for (std::size_t j = 0; j < inputs.size(); ++j) bars.push_back({y[output * n + 2 * j], y[output * n + 2 * j + 1]});
  return bars;
}

double value_of_knowing(const std::vector<double>& x, const std::vector<const std::vector<double>*>& costs,
                        std::int64_t num_bins) {
  const std::size_t n = x.size();
  REEL_CHECK(n > 0 && !costs.empty() && num_bins > 0, "{} draws, {} choices, {} bins", n, costs.size(), num_bins);
  for (double v : x) REEL_CHECK(std::isfinite(v), "input {}", v);
  std::vector<std::size_t> order(n);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::sort(order, [&](std::size_t i, std::size_t j) { return x[i] != x[j] ? x[i] < x[j] : i < j; });

  // A bin ends at its count or where its last value of x ends: noise among equal values is no knowledge.
  const auto bins = static_cast<std::size_t>(num_bins);
  std::vector<std::size_t> ends;
  for (std::size_t b = 1; b <= bins; ++b) {
    std::size_t end = n * b / bins;
    while (end > 0 && end < n && x[order[end]] == x[order[end - 1]]) ++end;
    if (end > (ends.empty() ? 0 : ends.back())) ends.push_back(end);
  }
  std::vector<Column> sums;
  for (const std::vector<double>* cost : costs) {
    REEL_CHECK(cost->size() == n, "{} costs, {} values", cost->size(), n);
    Column sorted;
    sorted.reserve(n);
    for (std::size_t i : order) sorted.push_back((*cost)[i]);
    Column& s = sums.emplace_back();
    for (std::size_t b = 0, begin = 0; b < ends.size(); begin = ends[b++]) {
      s.push_back(pairwise_sum(std::span(sorted).subspan(begin, ends[b] - begin)));
      REEL_CHECK(std::isfinite(s.back()), "cost {}", s.back());
    }
  }
  // Both means add the same bins in the same order: where one choice is best in all of them they are equal to the bit.
  double unknowing = std::numeric_limits<double>::infinity();
  for (const Column& s : sums)
    unknowing = std::min(unknowing, mean_of_smallest({s}, ends.size(), static_cast<double>(n)));
  return std::max(0.0, unknowing - mean_of_smallest(sums, ends.size(), static_cast<double>(n)));
}

double value_of_labels(double a, double b, const std::function<double(double)>& cost_at, double other, std::int64_t n) {
  REEL_CHECK(a > 0 && b > 0 && std::isfinite(a + b) && n >= 0, "Beta({}, {}), {} labels", a, b, n);
  if (!std::isfinite(other)) throw Error(Exit::nonfinite, fmt::format("the other choice costs {}", other));
  // p on a grid of its normal score: in units of it the posterior is about sqrt((a + b) / (a + b + n)) wide, and equal
  // steps of a quarter of that integrate a bell with an error below 1e-30.
  constexpr double reach = 6;
  const double size = a + b, width = std::sqrt(size / (size + static_cast<double>(n)));
  const auto half = static_cast<int>(std::ceil(reach / std::min(1.0 / 64, width / 4)));
  struct Point {
    double weight, cost, log_p, log_q;
  };
  std::vector<Point> points;
  double total = 0;
  for (int i = -half; i <= half; ++i) {
    const double z = reach * i / half, tail = 0.5 * std::erfc(std::abs(z) / std::numbers::sqrt2);
    double p = 0, q = 0;  // q = 1 - p, each exact where it is small
    if (z < 0)
      p = boost::math::ibeta_inv(a, b, tail, &q);
    else
      p = boost::math::ibetac_inv(a, b, tail, &q);
    p = std::max(p, std::numeric_limits<double>::min());
    q = std::max(q, std::numeric_limits<double>::min());
    const double cost = cost_at(p);
    if (!std::isfinite(cost))
      throw Error(Exit::nonfinite, fmt::format("generating costs {}", cost), fmt::format("acceptance {}", p));
    points.push_back({std::exp(-0.5 * z * z), cost, std::log(p), std::log(q)});
    total += points.back().weight;
  }

  const auto trials = static_cast<double>(n);
  // P(k) times the mean cost after k of n of generating, of the other choice, and of the better of both.
  std::array<Column, 3> sums;
  for (Column& s : sums) s.resize(static_cast<std::size_t>(n) + 1);
  parallel_for(n + 1, [&](std::int64_t k) {
    const auto good = static_cast<double>(k);
    const double choose = std::lgamma(trials + 1) - std::lgamma(good + 1) - std::lgamma(trials - good + 1);
    double chance = 0, cost = 0;
    for (const Point& point : points) {
      const double w = point.weight / total * std::exp(choose + good * point.log_p + (trials - good) * point.log_q);
      chance += w;
      cost += w * point.cost;
    }
    const auto at = static_cast<std::size_t>(k);
    sums[0][at] = cost;
    sums[1][at] = chance * other;
    sums[2][at] = std::min(cost, chance * other);
  });
  // All three add the same k in the same order: a choice that labels never change is worth exactly 0.
  return std::max(0.0, std::min(pairwise_sum(sums[0]), pairwise_sum(sums[1])) - pairwise_sum(sums[2]));
}

}  // namespace reel::cost
