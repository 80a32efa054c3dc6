#include "cost/draws.hpp"

#include <Random123/philox.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <set>

#include "core/error.hpp"
#include "core/parallel.hpp"

namespace reel::cost {
namespace {

constexpr std::int64_t block_draws = 1024;

// FNV-1a, 64 bit.
std::uint64_t hash_name(std::string_view name) {
  std::uint64_t h = 14695981039346656037ULL;
  for (char c : name) h = (h ^ static_cast<unsigned char>(c)) * 1099511628211ULL;
  return h;
}

// Numerator over denominator of AS 241, both of degree 7, lowest power first.
struct Rational {
  std::array<double, 8> above, under;
  double operator()(double r) const {
    double p = above[7], q = under[7];
    for (std::size_t i = 7; i-- > 0;) p = p * r + above[i], q = q * r + under[i];
    return p / q;
  }
};
constexpr double central = 0.425;
constexpr Rational middle{
    {3.3871328727963666080e0, 1.3314166789178437745e2, 1.9715909503065514427e3, 1.3731693765509461125e4,
     4.5921953931549871457e4, 6.7265770927008700853e4, 3.3430575583588128105e4, 2.5090809287301226727e3},
    {1.0, 4.2313330701600911252e1, 6.8718700749205790830e2, 5.3941960214247511077e3, 2.1213794301586595867e4,
     3.9307895800092710610e4, 2.8729085735721942674e4, 5.2264952788528545610e3}};
// For probabilities above exp(-25); the smallest of 32 bits is 2^-33.
constexpr Rational tail{
    {1.42343711074968357734e0, 4.63033784615654529590e0, 5.76949722146069140550e0, 3.64784832476320460504e0,
     1.27045825245236838258e0, 2.41780725177450611770e-1, 2.27238449892691845833e-2, 7.74545014278341407640e-4},
    {1.0, 2.05319162663775882187e0, 1.67638483018380384940e0, 6.89767334985100004550e-1, 1.48103976427480074590e-1,
     1.51986665636164571966e-2, 5.47593808499534494600e-4, 1.05075007164441684324e-9}};

double tail_score(double q) { return std::copysign(tail(std::sqrt(-std::log(0.5 - std::abs(q))) - 1.6), q); }

}  // namespace

void random_bits(std::uint64_t seed, std::string_view stream, std::int64_t first, std::span<std::uint32_t> out) {
  REEL_CHECK(first >= 0, "element {}", first);
  using Generator = r123::Philox4x32;
  const std::uint64_t name = hash_name(stream);
  const Generator::key_type key{{static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)}};
  auto counter = static_cast<std::uint64_t>(first) / 4;
  auto lane = static_cast<std::size_t>(first) % 4;
  for (std::size_t i = 0; i < out.size(); ++counter, lane = 0) {
    const auto r = Generator{}({{static_cast<std::uint32_t>(counter), static_cast<std::uint32_t>(counter >> 32),
                                 static_cast<std::uint32_t>(name), static_cast<std::uint32_t>(name >> 32)}},
                               key);
    for (; lane < 4 && i < out.size(); ++lane, ++i) out[i] = r[lane];
  }
}

void normals(std::uint64_t seed, std::string_view stream, std::int64_t first, std::span<double> out) {
  constexpr std::size_t piece = 256;
  std::array<std::uint32_t, piece> bits;
  std::array<double, piece> q;  // probability - 1/2, exact
  for (std::size_t begin = 0; begin < out.size(); begin += piece) {
    const std::size_t n = std::min(piece, out.size() - begin);
    random_bits(seed, stream, first + static_cast<std::int64_t>(begin), std::span(bits).first(n));
    double* z = out.data() + begin;
    for (std::size_t i = 0; i < n; ++i) {
      q[i] = (static_cast<double>(std::bit_cast<std::int32_t>(bits[i] ^ 0x80000000u)) + 0.5) * 0x1p-32;
      z[i] = q[i] * middle(central * central - q[i] * q[i]);
    }
    for (std::size_t i = 0; i < n; ++i)
      if (std::abs(q[i]) > central) z[i] = tail_score(q[i]);
  }
}

double normal_score(double probability) {
  REEL_CHECK(probability > 1e-10 && probability < 1 - 1e-10, "probability {}", probability);
  const double q = probability - 0.5;
  return std::abs(q) > central ? tail_score(q) : q * middle(central * central - q * q);
}

void Input::to_values(std::span<double> z, std::span<const double> tier_scores) const {
  if (tier != 0) {
    REEL_CHECK(tier_scores.size() == z.size(), "{} scores, {} of the tier", z.size(), tier_scores.size());
    const double own = std::sqrt(1 - tier * tier);
    for (std::size_t i = 0; i < z.size(); ++i) z[i] = tier * tier_scores[i] + own * z[i];
  }
  quantile.replace(z);
}

void check_inputs(const std::vector<Input>& inputs) {
  std::set<std::string_view> names;
  for (const Input& input : inputs) {
    REEL_CHECK(names.insert(input.name).second, "two inputs are called {}", input.name);
    REEL_CHECK(std::abs(input.tier) <= 1, "tier correlation {} of {}", input.tier, input.name);
  }
}

void evaluate_finite(const Evaluate& evaluate, std::size_t n, std::span<const double> x, std::span<double> y,
                     std::int64_t first) {
  evaluate(n, x, y);
  for (std::size_t i = 0; i < y.size(); ++i)
    if (!std::isfinite(y[i]))
      throw Error(Exit::nonfinite, fmt::format("the cost model gives {}", y[i]),
                  fmt::format("output {}, draw {}", i / n, first + static_cast<std::int64_t>(i % n)),
                  "look for a division by an input that can be 0");
}

Draws draw(const std::vector<Input>& inputs, const Evaluate& evaluate, std::size_t num_outputs, std::int64_t num_draws,
           std::uint64_t seed, std::int64_t first) {
  check_inputs(inputs);
  REEL_CHECK(num_draws >= 0 && first >= 0, "{} draws from {}", num_draws, first);
  Draws out;
  out.values.assign(num_outputs, std::vector<double>(static_cast<std::size_t>(num_draws)));
  const bool tiered = std::ranges::any_of(inputs, [](const Input& input) { return input.tier != 0; });
  parallel_for((num_draws + block_draws - 1) / block_draws, [&](std::int64_t block) {
    const std::int64_t begin = block * block_draws;
    const auto n = static_cast<std::size_t>(std::min(block_draws, num_draws - begin));
    std::vector<double> tier(tiered ? n : 0), x(inputs.size() * n), y(num_outputs * n);
    normals(seed, "draw", first + begin, tier);
    for (std::size_t j = 0; j < inputs.size(); ++j) {
      const std::span z = std::span(x).subspan(j * n, n);
      normals(seed, "draw/" + inputs[j].name, first + begin, z);
      inputs[j].to_values(z, tier);
    }
    evaluate_finite(evaluate, n, x, y, first + begin);
    for (std::size_t k = 0; k < num_outputs; ++k)
      std::ranges::copy(std::span(y).subspan(k * n, n), out.values[k].begin() + begin);
  });
  return out;
}

double pairwise_sum(std::span<const double> x) noexcept {
  constexpr std::size_t run = 1024;
  if (x.size() <= run) {
    double sum = 0;
    for (double v : x) sum += v;
    return sum;
  }
  const std::size_t half = std::bit_floor((x.size() - 1) / run) * run;  // whole runs, a power of two of them
  return pairwise_sum(x.first(half)) + pairwise_sum(x.subspan(half));
}

double mean(std::span<const double> x) {
  REEL_CHECK(!x.empty(), "mean of nothing");
  return pairwise_sum(x) / static_cast<double>(x.size());
}

double percentile(std::vector<double> values, double q) {
  REEL_CHECK(!values.empty() && q >= 0 && q <= 1, "percentile {} of {} values", q, values.size());
  const double at = q * static_cast<double>(values.size() - 1);
  const auto i = static_cast<std::ptrdiff_t>(at);
  const double share = at - static_cast<double>(i);
  const auto here = values.begin() + i;
  std::nth_element(values.begin(), here, values.end());
  return share > 0 ? *here + share * (*std::min_element(here + 1, values.end()) - *here) : *here;
}

Summary summarise(const std::vector<double>& values) {
  constexpr std::size_t num_batches = 32;
  const std::size_t n = values.size();
  REEL_CHECK(n > 0, "nothing to summarise");
  const auto sd_of = [](std::span<const double> x) {
    if (x.size() < 2) return 0.0;
    const double centre = mean(x);
    std::vector<double> squares;
    squares.reserve(x.size());
    for (double v : x) squares.push_back((v - centre) * (v - centre));
    return std::sqrt(pairwise_sum(squares) / static_cast<double>(x.size() - 1));
  };
  Summary s;
  s.num = static_cast<std::int64_t>(n);
  s.mean = mean(values);
  s.sd = sd_of(values);
  REEL_CHECK(std::isfinite(s.sd), "NaN, Inf or too large values among {}", n);
  s.p10 = percentile(values, 0.1);
  s.p50 = percentile(values, 0.5);
  s.p90 = percentile(values, 0.9);
  if (n < 2 * num_batches) {
    s.se_mean = s.se_p50 = std::numeric_limits<double>::quiet_NaN();
    return s;
  }
  std::array<double, num_batches> means{}, medians{};
  for (std::size_t b = 0; b < num_batches; ++b) {
    const std::size_t begin = n * b / num_batches, end = n * (b + 1) / num_batches;
    const std::span batch = std::span(values).subspan(begin, end - begin);
    means[b] = mean(batch);
    medians[b] = percentile({batch.begin(), batch.end()}, 0.5);
  }
  const double root = std::sqrt(static_cast<double>(num_batches));
  s.se_mean = sd_of(means) / root;
  s.se_p50 = sd_of(medians) / root;
  return s;
}

}  // namespace reel::cost
