// reel report: results become one page. The page is made by experiments/report (Python); this verb finds and starts it.
#include <unistd.h>

#include <cstdlib>

#include "app/verbs.hpp"

namespace reel::app {
namespace {

// The first Python that has what the page needs: people's own, else the system's, for which setup.sh installs it.
std::string find_python() {
  for (const std::string python : {"python3", "/usr/bin/python3"})
    if (std::system((python + " -c 'import h5py, numpy' >/dev/null 2>&1").c_str()) == 0) return python;
  throw Error(Exit::launch, "no python3 with h5py and numpy, neither in PATH nor as /usr/bin/python3", "reel report",
              "./setup.sh build installs them for the system's; or pip install h5py numpy");
}

}  // namespace

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
    std::vector<std::string> words{find_python(), REEL_REPORT, "-o", o->out};
    if (o->static_figures) words.emplace_back("--static");
    words.emplace_back("--");
    words.insert(words.end(), o->files.begin(), o->files.end());
    std::vector<char*> pointers;
    for (std::string& word : words) pointers.push_back(word.data());
    pointers.push_back(nullptr);
    ::execvp(pointers[0], pointers.data());
    throw Error(Exit::launch, words[0] + " cannot be started", "reel report", "try it by hand");
  });
}

}  // namespace reel::app
