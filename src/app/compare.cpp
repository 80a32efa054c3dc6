// reel compare: two results, or two folders of them. Exit 1 when their bits differ.
#include <cstdio>

#include "app/verbs.hpp"
#include "study/compare.hpp"

namespace reel::app {

void add_compare(CLI::App& root) {
  struct Options {
    std::string a, b;
  };
  auto o = std::make_shared<Options>();
  CLI::App* verb = root.add_subcommand("compare", "digests, then pictures and metrics with intervals");
  verb->add_option("a", o->a, "result (.h5), or folder of results")->required();
  verb->add_option("b", o->b, "what is compared with it")->required();
  verb->callback([o] {
    if (launch_rank() != 0) return;
    const study::Comparison c = study::compare(o->a, o->b);
    std::printf("%s%s", (global().json ? study::comparison_json(c) : study::comparison_text(c)).c_str(), global().json ? "\n" : "");
    if (!c.all_same()) global().exit = static_cast<int>(Exit::differ);
  });
}

}  // namespace reel::app
