// refork-symbolizer: what reforkd starts to have broken or hostile files read by somebody else.
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <exception>
#include <string>
#include <string_view>

#include "refork/version.hpp"
#include "symbolizer/serve.h"

namespace {

constexpr const char* default_debug_root = "/usr/lib/debug";

constexpr const char* how_it_is_used =
    "usage: refork-symbolizer [--debug-root DIRECTORY] | --version | --help\n"
    "reforkd starts it, with a socket as standard input\n";

int usage() {
  std::fputs(how_it_is_used, stderr);
  return 2;
}

bool is_packet_socket(int fd) {
  int type = 0;
  socklen_t size = sizeof type;
  return ::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_SEQPACKET;
}

int run(int argc, char** argv) {
  std::string debug_root = default_debug_root;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--version") return std::puts("refork-symbolizer " REFORK_VERSION) < 0;
    if (argument == "--help") return std::fputs(how_it_is_used, stdout) < 0;
    if (argument != "--debug-root" || i + 1 == argc) return usage();
    debug_root = argv[++i];
  }
  if (!is_packet_socket(STDIN_FILENO)) return usage();
  refork::symbolizer::Resolver resolver(debug_root);
  return refork::symbolizer::serve(STDIN_FILENO, resolver) ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "refork-symbolizer: %s\n", error.what());
    return 1;
  }
}
