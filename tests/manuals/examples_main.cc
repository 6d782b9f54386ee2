// The examples of the manual pages, for those who cannot link this: the build, which compiles the programs,
// and a booted system, where the commands are run that need systemd or a system bus.
//   manual_examples --program PAGE NAME     a program, as it stands in the page
//   manual_examples --system                one command a line, in the order of the pages, after "PAGE<tab>"
//   manual_examples --tutorial              docs/tutorial.md as a script for bash; where there is no
//   compiler, the
//                                           programs are taken from the directory $PROGRAMS
#include <cstring>
#include <exception>
#include <iostream>
#include <regex>

#include "guides/pages.h"
#include "manuals/manual.h"

namespace refork::test {
namespace {

int print_program(const std::string& page, const std::string& name) {
  for (const Example& example : read_manual(page).examples)
    if ((example.purpose == Purpose::program || example.purpose == Purpose::c_program) &&
        example.argument == name) {
      std::cout << example.text;
      return 0;
    }
  std::cerr << page << " has no program " << name << '\n';
  return 1;
}

int print_system() {
  for (const auto& page : manual_names())
    for (const Example& example : read_manual(page).examples)
      if (example.purpose == Purpose::system)
        for (Command& command : commands_of(example.text)) {
          for (std::size_t at; (at = command.text.find("\\\n")) != std::string::npos;)
            command.text.replace(at, 2, "");
          std::cout << page << '\t' << command.text << '\n';
        }
  return 0;
}

// A reader is slower than a reload.
constexpr const char* kPrologue =
    "set -euo pipefail\n"
    "cd \"$(mktemp -d)\"\n"
    "settle() { until reforkctl status web | grep -q '^web: running'; do sleep 0.2; done; }\n"
    "newest() { settle; reforkctl failures -n 1 | sed -n '2s/^[^ ]* [^ ]*  *\\([^ ]*\\).*/\\1/p'; }\n"
    "set -x\n";

void print_block(const Block& block, const std::string& program, bool started) {
  switch (block.use) {
    case Use::program:
      std::cout << "cat >server.cc <<'PROGRAM'\n" << block.text << "PROGRAM\n";
      break;
    case Use::build:
      std::cout << "if command -v g++; then\n"
                << block.text << "else cp \"$PROGRAMS/" << program << "\" server; fi\n";
      break;
    case Use::configuration:
      std::cout << "cat >/etc/refork/refork.json <<'CONFIGURATION'\n" << block.text << "CONFIGURATION\n";
      break;
    case Use::install:
      if (block.text.find("apt-get") == std::string::npos) std::cout << block.text;
      break;
    case Use::start:
      std::cout << block.text;
      break;
    case Use::run:
      std::cout << (started ? "settle\n" : "")
                << std::regex_replace(block.text, std::regex("\\bID\\b"), "$(newest)");
      break;
    default:
      break;
  }
}

// The packages are installed already.
int print_tutorial() {
  std::string program;
  bool started = false;
  std::cout << kPrologue;
  for (const Block& block : read_page("docs/tutorial.md").blocks) {
    if (block.use == Use::program) program = block.name;
    print_block(block, program, started);
    started = started || block.use == Use::start;
  }
  return 0;
}

}  // namespace
}  // namespace refork::test

int main(int argc, char** argv) {
  try {
    if (argc == 4 && std::strcmp(argv[1], "--program") == 0)
      return refork::test::print_program(argv[2], argv[3]);
    if (argc == 2 && std::strcmp(argv[1], "--system") == 0) return refork::test::print_system();
    if (argc == 2 && std::strcmp(argv[1], "--tutorial") == 0) return refork::test::print_tutorial();
    std::cerr << "usage: manual_examples --program PAGE NAME | --system | --tutorial\n";
    return 2;
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
