// A server that has never heard of librefork: it takes its listening socket as LISTEN_FDS says, and ends on
// SIGTERM when its request is answered. --notify: says READY=1; --deaf: ignores SIGTERM; --stopping: says
// STOPPING=1 on SIGTERM; --watchdog: says READY=1, and WATCHDOG=1 as often as it was asked to.
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>
#include <string_view>

#include "e2e/notify.h"

namespace {

using refork::test::notify;

constexpr int kListener = 3;
constexpr int kSlowMs = 1000;
volatile sig_atomic_t terminated = 0;

void answer(int client) {
  char bytes[4096];
  const ssize_t size = ::recv(client, bytes, sizeof bytes, 0);
  if (size <= 0) return;
  const std::string_view request(bytes, static_cast<std::size_t>(size));
  if (request.find("/slow") != std::string_view::npos) {
    pollfd none{-1, 0, 0};
    for (int left = kSlowMs; left > 0; left -= 10) ::poll(&none, 1, 10);
  }
  while (request.find("/hang") != std::string_view::npos) ::poll(nullptr, 0, -1);
  const std::string body = std::to_string(::getpid());
  const std::string text = "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(body.size()) +
                           "\r\nConnection: close\r\n\r\n" + body;
  (void)::send(client, text.data(), text.size(), MSG_NOSIGNAL);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view mode = argc > 1 ? argv[1] : "";
  const char* const listeners = std::getenv("LISTEN_FDS");
  const char* const whose = std::getenv("LISTEN_PID");
  if (!listeners || std::atoi(listeners) != 1 || !whose || std::atoi(whose) != ::getpid()) return 2;
  struct sigaction action {};
  action.sa_handler = mode == "--deaf" ? SIG_IGN : [](int) { terminated = 1; };
  ::sigaction(SIGTERM, &action, nullptr);
  if (mode == "--notify" || mode == "--stopping" || mode == "--watchdog") notify("READY=1\nSTATUS=serving");
  timespec beat{};
  const timespec* const interval = mode == "--watchdog" ? &beat : nullptr;
  if (const char* const usec = std::getenv("WATCHDOG_USEC")) beat.tv_nsec = std::atol(usec) * 1000 / 4;
  sigset_t term, before;
  sigemptyset(&term);
  sigaddset(&term, SIGTERM);
  ::sigprocmask(SIG_BLOCK, &term, &before);
  while (!terminated) {
    pollfd listener{kListener, POLLIN, 0};
    if (interval) notify("WATCHDOG=1");
    if (::ppoll(&listener, 1, interval, &before) <= 0) continue;
    const int client = ::accept4(kListener, nullptr, nullptr, SOCK_CLOEXEC);
    if (client < 0) continue;
    answer(client);
    ::close(client);
  }
  if (mode == "--stopping") notify("STOPPING=1");
  return 0;
}
