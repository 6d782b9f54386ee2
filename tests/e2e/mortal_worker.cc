// A server that dies in the way it is told, when it is told. Signals with a number are the orders: 0 accepts
// one connection and keeps it without an answer, n dies of way n. At its start it takes one order from --boot
// DIR, if one is left there: a file with the way's name, renamed to its pid.
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "e2e/mortal_ways.h"
#include "e2e/notify.h"
#include "refork/worker.hpp"

namespace {

using refork::test::kAccept;
using refork::test::kWays;
using refork::test::Way;

constexpr int kFirstListener = 3;
bool linked = true;
int channel = -1;  // remembered from before librefork took it out of the environment

#if defined(__SANITIZE_ADDRESS__)
constexpr bool kAddressSpaceCanBeLimited = false;  // the sanitizer's own is many terabytes
#else
constexpr bool kAddressSpaceCanBeLimited = true;
#endif

void throw_out_of_noexcept() noexcept {
  std::rethrow_exception(std::make_exception_ptr(std::runtime_error("no way out")));
}

// Deep, and no tail call.
__attribute__((noinline)) std::size_t overflow(std::size_t depth) {
  volatile char frame[4096];
  if (depth == SIZE_MAX) return 0;  // never
  frame[depth % sizeof frame] = 1;
  return overflow(depth + 1) + static_cast<std::size_t>(frame[0]);
}

// What a program sees whose memory is limited by RLIMIT_AS. (The kernel's own killer takes a process away by
// SIGKILL, which needs a memory controller; how that is told apart is os_cgroup_test's.)
void use_up_memory() noexcept {
  if (kAddressSpaceCanBeLimited) {
    constexpr rlim_t left = rlim_t{16} << 20;
    rlim_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    const rlim_t most = pages * static_cast<rlim_t>(::sysconf(_SC_PAGESIZE)) + left;
    const rlimit little{most, most};
    ::setrlimit(RLIMIT_AS, &little);
    std::vector<std::string> kept;
    while (true) kept.emplace_back(std::size_t{1} << 20, 'x');
  }
  std::rethrow_exception(std::make_exception_ptr(std::bad_alloc()));
}

void say_nonsense() {
  constexpr std::string_view packet = "this is no message";
  (void)::send(channel, packet.data(), packet.size(), MSG_NOSIGNAL);
}

__attribute__((no_sanitize("undefined"))) void dereference_null() {
  volatile int* nowhere = nullptr;
  *nowhere = 1;
}

// It runs: until it hangs.
void beat(refork::Worker* worker) {
  if (worker)
    worker->beat();
  else if (!linked)
    refork::test::notify("WATCHDOG=1");
}

// Returns where it is to end by that.
void die(refork::Worker* worker, Way way) {
  switch (way) {
    case Way::exit_0:
      std::exit(0);
    case Way::exit_3:
      std::exit(3);
    case Way::quick_exit:
      ::_exit(5);
    case Way::quick_exit_0:
      ::_exit(0);
    case Way::return_from_main:
      return;
    case Way::sigkill:
      ::raise(SIGKILL);
      break;
    case Way::sigterm:
      if (linked) break;  // comes from outside, and is librefork's
      std::signal(SIGTERM, SIG_DFL);
      ::raise(SIGTERM);
      break;
    case Way::sigsegv:
      dereference_null();
      break;
    case Way::sigabrt:
      std::abort();
    case Way::terminate:
      throw_out_of_noexcept();
      break;
    case Way::stack_overflow:
      overflow(0);
      break;
    case Way::allocation_fails:
      use_up_memory();
      break;
    case Way::hang:
      break;
    case Way::channel_closed:
      ::shutdown(channel, SHUT_WR);
      break;
    case Way::protocol:
      say_nonsense();
      break;
  }
  // One that hangs has beaten before: by then it has heard that somebody looks.
  for (int turn = 0; true; ++turn) {
    if (way != Way::hang || turn < 10) beat(worker);
    ::poll(nullptr, 0, 50);
  }
}

// The request is under way as soon as its client has this byte.
int accept_one() {
  pollfd listener{kFirstListener, POLLIN, 0};
  int client = -1;
  while (client < 0) {
    ::poll(&listener, 1, -1);
    client = ::accept4(kFirstListener, nullptr, nullptr, SOCK_CLOEXEC);
  }
  return client;
}

std::string read_label(int client) {
  char bytes[1024];
  const ssize_t size = ::recv(client, bytes, sizeof bytes, 0);
  const std::string text(bytes, size > 0 ? static_cast<std::size_t>(size) : 0);
  return text.substr(0, text.find(" HTTP/"));
}

void obey(refork::Worker* worker) {
  sigset_t orders;
  sigemptyset(&orders);
  sigaddset(&orders, SIGRTMIN);
  static auto* const request = new refork::Request;  // whatever ends the process, nobody ends it
  while (true) {
    siginfo_t order{};
    beat(worker);
    constexpr timespec between_beats{0, 50'000'000};
    if (::sigtimedwait(&orders, &order, &between_beats) < 0) continue;
    if (order.si_int != kAccept) return die(worker, static_cast<Way>(order.si_int - 1));
    const int client = accept_one();
    const std::string label = read_label(client);
    if (worker)
      *request = worker->begin(label);
    else
      std::signal(SIGTERM, [](int) {});  // has something to finish first
    (void)::send(client, "H", 1, MSG_NOSIGNAL);
  }
}

// Whether it is to end by returning.
bool die_in_boot(const std::string& directory) {
  for (int i = 0; i < static_cast<int>(kWays.size()); ++i) {
    const std::string order = directory + "/" + std::string(kWays[static_cast<std::size_t>(i)]);
    if (std::rename(order.c_str(), (order + "." + std::to_string(::getpid())).c_str()) != 0) continue;
    if (static_cast<Way>(i) == Way::sigterm) ::kill(::getpid(), SIGTERM);
    die(nullptr, static_cast<Way>(i));
    return true;
  }
  return false;
}

}  // namespace

int main(int argc, char** argv) {
  linked = argc < 2 || std::string_view(argv[1]) == "linked";
  if (const char* number = std::getenv("REFORK_CHANNEL")) channel = std::atoi(number);
  sigset_t orders;  // before there is a second thread, which could be hit
  sigemptyset(&orders);
  sigaddset(&orders, SIGRTMIN);
  ::sigprocmask(SIG_BLOCK, &orders, nullptr);
  std::optional<refork::Worker> worker;
  if (linked) worker.emplace();
  if (argc > 2 && die_in_boot(argv[2])) return 0;
  if (worker) worker->ready();
  if (!worker) refork::test::notify("READY=1");
  obey(worker ? &*worker : nullptr);
}
