// The examples of the manual pages, for those who cannot link this: the build, which compiles the programs,
// and a booted system, where the commands are run that need systemd or a system bus.
//   manual_examples --program PAGE NAME     a program, as it stands in the page
//   manual_examples --system                one command a line, in the order of the pages, after "PAGE<tab>"
#include <cstring>
#include <exception>
#include <iostream>

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

}  // namespace
}  // namespace refork::test

int main(int argc, char** argv) {
  try {
    if (argc == 4 && std::strcmp(argv[1], "--program") == 0)
      return refork::test::print_program(argv[2], argv[3]);
    if (argc == 2 && std::strcmp(argv[1], "--system") == 0) return refork::test::print_system();
    std::cerr << "usage: manual_examples --program PAGE NAME | --system\n";
    return 2;
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
