// The part of the examples that every server has in some form: arguments, a listening socket, parsing.
#include "common.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace example {
namespace {

constexpr std::uint16_t kDefaultPort = 8080;

constexpr const char* kUsage =
    "options: [--port P] [--show-query] [--threads N] [--contain-faults]\n"
    "answers: / /pid, /error /error-code /error-late /error-handler (fail), /crash /abort (end the worker),\n"
    "         /hang (never answers); ?delay=MS takes its time\n";

[[noreturn]] void give_up(const std::string& why) {
  std::fprintf(stderr, "%s: %s\n%s", program_invocation_short_name, why.c_str(), kUsage);
  std::exit(2);
}

template <class T>
T number(std::string_view option, const char* text) {
  T value{};
  const char* const end = text == nullptr ? nullptr : text + std::strlen(text);
  if (text == nullptr || std::from_chars(text, end, value).ptr != end || text == end)
    give_up(std::string(option) + " needs a number");
  return value;
}

refork::Listener listen_on(std::uint16_t port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  const int on = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_port = htons(port);
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof at;
  auto* const address = reinterpret_cast<sockaddr*>(&at);
  if (::bind(fd, address, length) != 0 || ::listen(fd, SOMAXCONN) != 0)
    give_up("cannot listen on port " + std::to_string(port) + ": " + std::strerror(errno));
  ::getsockname(fd, address, &length);
  return {fd, "own", "tcp://127.0.0.1:" + std::to_string(ntohs(at.sin_port))};
}

}  // namespace

Options parse_options(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string_view option = argv[i];
    if (option == "--help") {
      std::fputs(kUsage, stdout);
      std::exit(0);
    }
    if (option == "--show-query")
      options.show_query = true;
    else if (option == "--port")
      options.port = number<std::uint16_t>(option, argv[++i]);
    else if (option == "--contain-faults")
      options.contain_faults = true;
    else if (option == "--threads")
      options.threads = number<std::size_t>(option, argv[++i]);
    else
      give_up("unknown option " + std::string(option));
  }
  return options;
}

refork::Worker::Options worker_options(const Options& options) {
  refork::Worker::Options worker;
  worker.show_query = options.show_query;
  worker.contain_faults = options.contain_faults;
  return worker;
}

std::vector<refork::Listener> listeners(const refork::Worker& worker, const Options& options) {
  std::vector<refork::Listener> found = worker.listeners();
  if (options.port || found.empty()) found = {listen_on(options.port.value_or(kDefaultPort))};
  for (const refork::Listener& listener : found) std::printf("listening on %s\n", listener.address.c_str());
  std::fflush(stdout);
  return found;
}

Target parse_target(std::string_view target) {
  constexpr std::string_view kDelay = "delay=";
  const std::size_t question = target.find('?');
  Target parsed{target.substr(0, question)};
  const std::size_t at = question == std::string_view::npos ? question : target.find(kDelay, question);
  if (at == std::string_view::npos) return parsed;
  long ms = 0;
  std::from_chars(target.data() + at + kDelay.size(), target.data() + target.size(), ms);
  parsed.delay = std::chrono::milliseconds(ms);
  return parsed;
}

std::string label(std::string_view method, std::string_view target, const Options& options) {
  if (!options.show_query) target = target.substr(0, target.find('?'));
  return std::string(method) + ' ' + std::string(target);
}

// A crash with sanitizers, too: they would report it instead.
__attribute__((no_sanitize("undefined"))) void crash() {
  volatile int* nowhere = nullptr;
  *nowhere = 1;
  std::abort();
}

void hang() {
  while (true) ::pause();
}

}  // namespace example
