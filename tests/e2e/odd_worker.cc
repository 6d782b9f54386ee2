// Workers that no author would ship. With librefork (`obey`, `early`, `mute`): a small HTTP server that does
// what messages tell it, some of it harmful. Without (the others): the protocol by hand, broken at the first
// message that comes.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "refork/worker.hpp"

namespace {

int recorder = -1;  // remembered from before librefork took it out of the environment

// ---- with librefork

constexpr std::string_view kAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";

class Server {
 public:
  explicit Server(refork::Worker& worker) : worker_(worker) {
    worker.on_pause([this] { accept(false); });
    worker.on_resume([this] { accept(true); });
    worker.on_drain([this](const refork::Drain&) { accept(false); });
  }

  [[noreturn]] void run() {
    const int listener = worker_.listeners().at(0).fd;
    while (true) {
      pollfd wanted[] = {{wake_, POLLIN, 0}, {accepting_ ? listener : -1, POLLIN, 0}};
      ::poll(wanted, 2, -1);
      eventfd_t ignored;
      if (wanted[0].revents != 0) eventfd_read(wake_, &ignored);
      if (wanted[1].revents != 0) serve(listener);
    }
  }

 private:
  void accept(bool yes) {
    accepting_ = yes;
    eventfd_write(wake_, 1);
  }

  void serve(int listener) {
    const auto request = worker_.begin("a request");
    const int client = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (client < 0)
      return void(::poll(nullptr, 0, 1));  // the listener may be broken: that is what we are here for
    char bytes[4096];
    if (::recv(client, bytes, sizeof bytes, 0) > 0)
      (void)::send(client, kAnswer.data(), kAnswer.size(), MSG_NOSIGNAL);
    ::shutdown(client, SHUT_WR);
    ::close(client);
  }

  refork::Worker& worker_;
  const int wake_ = ::eventfd(0, EFD_CLOEXEC);
  std::atomic<bool> accepting_{true};
};

// A grandchild that has every descriptor of this process and lets go of none. By the system call itself: no
// handler of fork() may tidy up.
void leave_grandchild(refork::Worker& worker) {
  const long pid = ::syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr);
  if (pid == 0) {
    ::setsid();
    while (true) ::pause();
  }
  worker.send("{\"grandchild\":" + std::to_string(pid) + "}");
}

// A thousand failures of each of two kinds, from four threads, in turn; the application goes on.
void burst(refork::Worker& worker) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&worker] {
      for (int i = 0; i < 500; ++i) {
        refork::Failure failure;
        failure.type = i % 2 == 0 ? "left" : "right";
        failure.context = {{"session_token", "abc"}, {"user", "bob"}};
        worker.fail(failure, refork::Then::serve);
      }
    });
  for (auto& thread : threads) thread.join();
}

// A throw out of a noexcept function, in the midst of a request.
void throw_out_of_noexcept(refork::Worker& worker) {
  const refork::Domain domain("request");
  const auto request = worker.begin("GET /noexcept", domain);
  domain.run(
      []() noexcept { std::rethrow_exception(std::make_exception_ptr(std::runtime_error("no way out"))); });
}

// With so much memory that its core takes seconds to write.
void crash_large() {
  constexpr std::size_t size = std::size_t{1} << 30;
  static std::vector<char> memory(size, 'x');
  ::raise(SIGSEGV);
}

// Everything in the flight recorder but what says that it is one; and whatever may be done to the file.
void lie_in_the_recorder() {
  constexpr off_t header = 4096;
  struct stat file {};
  ::fstat(recorder, &file);
  std::mt19937 random(7);
  std::string lies(static_cast<std::size_t>(file.st_size > header ? file.st_size - header : 0), 0);
  for (char& byte : lies) byte = static_cast<char>(random());
  void* const shared = ::mmap(nullptr, static_cast<std::size_t>(file.st_size), PROT_READ | PROT_WRITE,
                              MAP_SHARED, recorder, 0);
  if (shared != MAP_FAILED) std::memcpy(static_cast<char*>(shared) + header, lies.data(), lies.size());
  (void)::ftruncate(recorder, 1);
  (void)::ftruncate(recorder, off_t{1} << 40);
  (void)::fcntl(recorder, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL);
}

void obey(refork::Worker& worker, std::string_view order) {
  if (order == "\"terminate\"") throw_out_of_noexcept(worker);
  if (order == "\"burst\"") burst(worker);
  if (order == "\"burst and drain\"") {
    burst(worker);
    worker.drain();
  }
  if (order == "\"shutdown\"") ::shutdown(worker.listeners().at(0).fd, SHUT_RDWR);
  if (order == "\"grandchild\"") leave_grandchild(worker);
  if (order == "\"announce and exit\"") {
    worker.drain();
    ::_exit(0);
  }
  if (order == "\"a request in time\"") {
    static auto* const request = new refork::Request(worker.begin("a request in time"));
    request->timeout(std::chrono::milliseconds(50));
  }
  if (order == "\"exit 0\"") ::_exit(0);
  if (order == "\"exit 42\"") ::_exit(42);
  if (order == "\"crash large\"") crash_large();
  if (order == "\"leak\"")
    while (::open("/dev/null", O_RDONLY) >= 0) {
    }
  if (order == "\"lie\"") lie_in_the_recorder();
  if (order == "\"send too much\"") {
    const std::string most = '"' + std::string(60 * 1024 - 2, 'x') + '"';
    const bool sent = worker.send(most);
    const bool sent_more = worker.send('"' + most.substr(1, most.size() - 2) + "x\"");
    worker.send(sent && !sent_more ? "\"only what fits\"" : "\"something else\"");
  }
  worker.send(order);
}

int with_library(std::string_view mode) {
  if (const char* number = std::getenv("REFORK_RECORDER"))
    recorder = ::fcntl(std::atoi(number), F_DUPFD_CLOEXEC, 3);
  if (mode == "background" && ::fork() != 0) ::_exit(0);  // as programs do that take themselves for a service
  if (mode == "background") ::setsid();
  sigset_t usr1;
  sigemptyset(&usr1);
  sigaddset(&usr1, SIGUSR1);
  sigprocmask(SIG_BLOCK, &usr1, nullptr);
  refork::Worker worker;
  Server server(worker);
  if (mode == "deaf") {
    struct sigaction ignore {};
    ignore.sa_handler = SIG_IGN;
    ::sigaction(SIGTERM, &ignore, nullptr);
  }
  if (mode == "mute" || mode == "deaf" || mode == "background")
    while (true) ::pause();
  if (mode == "early") {  // speaks before it is ready, and listens only when told to
    worker.send("\"the first word\"");
    int signal = 0;
    sigwait(&usr1, &signal);
  }
  worker.on_message([&](std::string_view order) { obey(worker, order); });
  worker.ready();
  server.run();
}

// ---- without

int channel() {
  static const int fd = std::atoi(std::getenv("REFORK_CHANNEL"));
  return fd;
}

void say(std::string_view packet) { (void)::send(channel(), packet.data(), packet.size(), MSG_NOSIGNAL); }

std::string message_of(std::size_t size) {
  std::string packet = R"({"m":"message","body":"")";
  packet.insert(packet.size() - 1, size - packet.size() - 1, 'x');
  return packet + "}";
}

void send_descriptor() {
  const std::string text = R"({"m":"message","body":1})";
  iovec part{const_cast<char*>(text.data()), text.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* const header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  const int fd = STDERR_FILENO;
  std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
  (void)::sendmsg(channel(), &message, MSG_NOSIGNAL);
}

const std::map<std::string_view, std::function<void()>> kViolations = {
    {"garbage", [] { say("this is no message"); }},
    {"nothing", [] { say(""); }},
    {"wrong-direction", [] { say(R"({"m":"drain","reason":"stop","deadline_ms":1})"); }},
    {"second-ready", [] { say(R"({"m":"ready"})"); }},
    {"too-large", [] { say(message_of(65537)); }},
    {"descriptor", send_descriptor},
    {"flood",
     [] {
       for (int i = 0; i < 100000; ++i) say(R"({"m":"message","body":1})");
     }},
    {"hang-up", [] { ::close(channel()); }},
};

int by_hand(const std::function<void()>& violate) {
  say(R"({"m":"hello","protocol_min":1,"protocol_max":1,"library":"none"})");
  say(R"({"m":"ready"})");
  char bytes[65536];
  while (true) {
    const ssize_t size = ::recv(channel(), bytes, sizeof bytes, 0);
    if (size <= 0) return 0;
    const std::string_view packet(bytes, static_cast<std::size_t>(size));
    if (packet.find(R"("m":"drain")") != std::string_view::npos) {
      say(R"({"m":"disconnect","deadline":false})");
      return 0;
    }
    if (packet.find("\"message\"") != std::string_view::npos) break;
  }
  violate();
  while (true) ::pause();
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view mode = argc > 1 ? argv[1] : "obey";
  const auto violation = kViolations.find(mode);
  return violation == kViolations.end() ? with_library(mode) : by_hand(violation->second);
}
