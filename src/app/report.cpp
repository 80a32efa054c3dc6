// reel report: results become one page. The page is made by experiments/report (Python); this verb finds and starts it.
#include <unistd.h>

#include "app/verbs.hpp"

namespace reel::app {

void add_report(CLI::App& root) {
  struct Options {
    std::vector<std::string> files;
    std::string out = "report.html";
    bool static_figures = false;
  };
  auto o = std::make_shared<Options>();
  CLI::App* verb = root.add_subcommand("report", "results, measurements and prices as one self-contained page");
  verb->add_option("files", o->files, "results (.h5), or folders of them")->required();
  verb->add_option("-o,--out", o->out, "page")->capture_default_str();
  verb->add_flag("--static", o->static_figures, "figures as SVG files beside the page as well");
  verb->callback([o] {
    if (launch_rank() != 0) return;
    std::vector<std::string> words{"python3", REEL_REPORT, "-o", o->out};
    if (o->static_figures) words.emplace_back("--static");
    words.emplace_back("--");
    words.insert(words.end(), o->files.begin(), o->files.end());
    std::vector<char*> pointers;
    for (std::string& word : words) pointers.push_back(word.data());
    pointers.push_back(nullptr);
    ::execvp("python3", pointers.data());
    throw Error(Exit::launch, "python3 cannot be started", "PATH", "install python3 with h5py, numpy and pandas");
  });
}

}  // namespace reel::app
