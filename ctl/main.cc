// reforkctl: the operator's tool. Connects the command line, the terminal and the commands; everything else
// is a library.
#include <sys/ioctl.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>

#include "ctl/cli.h"
#include "ctl/commands.h"

namespace {

using namespace refork::ctl;

void write_all(std::FILE* file, std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), file);
  std::fflush(file);
}

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

// Of the terminal; $COLUMNS goes before it. Elsewhere nothing is cut.
std::size_t width() {
  if (const long columns = std::strtol(variable("COLUMNS").c_str(), nullptr, 10); columns > 0)
    return static_cast<std::size_t>(columns);
  winsize size{};
  return ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

bool wants_color(bool no_color) {
  return !no_color && variable("NO_COLOR").empty() && variable("TERM") != "dumb" && ::isatty(STDOUT_FILENO);
}

std::uint64_t unix_ms() {
  using namespace std::chrono;
  return static_cast<std::uint64_t>(
      duration_cast<milliseconds>(system_clock::now().time_since_epoch()).count());
}

int run_line(int argc, char** argv) {
  const auto line = parse_command_line(argc, argv);
  if (const auto* farewell = std::get_if<Farewell>(&line)) {
    write_all(farewell->code == Exit::ok ? stdout : stderr, farewell->text);
    return farewell->code;
  }
  const auto& call = std::get<Invocation>(line);
  Console console;
  console.out = [](std::string_view text) { write_all(stdout, text); };
  console.err = [](std::string_view text) { write_all(stderr, text); };
  console.progress = ::isatty(STDERR_FILENO);
  console.view = {width(), wants_color(call.no_color), 0};
  console.now_ms = unix_ms;
  return run(call, console);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run_line(argc, argv);
  } catch (const std::exception& problem) {
    write_all(stderr, std::string("reforkctl: ") + problem.what() + "\n");
    return Exit::failed;
  }
}
