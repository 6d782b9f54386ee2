// A booted Debian for one test: systemd-nspawn over an overlay of the bootstrapped tree (machine.sh).
#include "e2e/system/machine.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include <charconv>
#include <fstream>
#include <iterator>
#include <memory>
#include <stdexcept>

#include "os/notify.h"

namespace refork::test {
namespace {

using namespace std::chrono_literals;

constexpr auto kBootPatience = 60s;

std::string built(std::string_view name) { return REFORK_SYSTEM_DIR "/" + std::string(name); }

// Until systemd-nspawn has said all of: who its systemd is, and that it has booted. 0: it has not.
pid_t wait_for_boot(os::NotifySocket& socket) {
  pid_t leader = 0;
  bool ready = false;
  const auto deadline = Clock::now() + kBootPatience;
  while (!(leader > 0 && ready)) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
    pollfd events{socket.fd(), POLLIN, 0};
    if (left <= 0ms || ::poll(&events, 1, static_cast<int>(left.count())) <= 0) return 0;
    while (const auto told = socket.receive()) {
      if (const auto pid = told->fields.find("X_NSPAWN_LEADER_PID"); pid != told->fields.end())
        std::from_chars(pid->second.data(), pid->second.data() + pid->second.size(), leader);
      if (told->fields.contains("READY")) ready = true;
    }
  }
  return leader;
}

}  // namespace

Machine::Machine() {
  static int number = 0;
  const std::string name = "refork-" + std::to_string(::getpid()) + "-" + std::to_string(number++);
  auto socket = os::NotifySocket::open_abstract();
  if (!socket) throw std::runtime_error(socket.error().what);
  Process::Options options;
  options.argv = {REFORK_SOURCE_DIR "/tests/e2e/system/machine.sh", built("tree"), name,
                  "--notify-ready=yes"};
  for (const char* shared : {"packages", "newer", "servers"})
    options.argv.push_back("--bind-ro=" + built(shared) + ":/" + shared);
  options.argv.push_back("--bind-ro=" + built_program("tests/guides") + ":/guides");
  options.environment = {"NOTIFY_SOCKET=" + socket->name()};
  nspawn_ = std::make_unique<Process>(std::move(options));
  leader_ = wait_for_boot(*socket);
  if (leader_ <= 0)
    throw std::runtime_error("no machine has booted: " + nspawn_->output() + nspawn_->errors());
  const base::UniqueFd network(
      ::open(("/proc/" + std::to_string(leader_) + "/ns/net").c_str(), O_RDONLY | O_CLOEXEC));
  if (!network || ::setns(network.get(), CLONE_NEWNET) != 0)
    throw std::runtime_error(base::errno_error("the machine's network").what);
}

Machine::~Machine() {
  if (leader_ > 0) ::kill(leader_, SIGKILL);
  nspawn_->wait();
}

Process Machine::start(std::vector<std::string> argv) const {
  Process::Options options;
  options.argv = {"nsenter",
                  "--all",
                  "--target",
                  std::to_string(leader_),
                  "--wdns=/",
                  "--",
                  "env",
                  "-i",
                  "HOME=/root",
                  "LANG=C.UTF-8",
                  "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"};
  options.argv.insert(options.argv.end(), argv.begin(), argv.end());
  return Process(std::move(options));
}

Machine::Ran Machine::run(std::vector<std::string> argv) const {
  Process process = start(std::move(argv));
  const auto exit = process.wait(kBootPatience);
  return {exit ? exit->code : -1, process.output(), process.errors()};
}

Machine::Ran Machine::as(const std::string& user, std::vector<std::string> argv) const {
  argv.insert(argv.begin(), {"runuser", "-u", user, "--"});
  return run(std::move(argv));
}

std::string Machine::output(std::vector<std::string> argv) const {
  std::string said;
  for (const auto& word : argv) said += word + " ";
  Ran ran = run(std::move(argv));
  EXPECT_EQ(ran.code, 0) << said << ran.out << ran.err;
  while (ran.out.ends_with('\n')) ran.out.pop_back();
  return ran.out;
}

std::filesystem::path Machine::path(const std::string& inside) const {
  return "/proc/" + std::to_string(leader_) + "/root" + inside;
}

void Machine::write(const std::string& name, const std::string& text) const {
  std::filesystem::create_directories(path(name).parent_path());
  std::ofstream(path(name)) << text;
}

std::string Machine::read(const std::string& name) const {
  std::ifstream file(path(name));
  return {std::istreambuf_iterator<char>(file), {}};
}

bool Machine::exists(const std::string& name) const { return std::filesystem::exists(path(name)); }

std::string server(const std::string& name) { return "/servers/" + name; }

}  // namespace refork::test
