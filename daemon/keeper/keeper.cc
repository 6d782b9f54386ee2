// systemd's part towards reforkd, where there is none: keeps the descriptors that reforkd stores, starts it
// again when it dies, hands them back, and reaps. It does very little, so that nothing happens to it: one
// thread, one poll(2), no file, no parser but that of NAME=VALUE lines. What the descriptors are is none of
// its business, but that a worker's process group is killed before its number can become somebody else's.
#include "keeper/keeper.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "log/log.h"
#include "os/environment.h"
#include "os/exit_log.h"
#include "os/fd_store.h"
#include "os/notify.h"
#include "os/process.h"
#include "os/spawn.h"

namespace refork::keeper {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

// Between two starts of a reforkd that dies before it is up; the first comes at once.
constexpr milliseconds first_pause{100}, longest_pause{5000};
constexpr int first_passed = 3;  // SD_LISTEN_FDS_START
// What one reforkd may store, all names together.
constexpr std::size_t most_kept = 65536;

class Keeper {
 public:
  explicit Keeper(Setup setup) : setup_(std::move(setup)) {}
  base::Result<void> prepare();
  int run();

 private:
  base::Result<void> take_over(Running running);
  void start();
  base::Result<os::Spawned> spawn();
  os::SpawnPlan plan(int sender) const;
  void receive();
  void obey(os::Notification& said);
  void pass_on(const os::Notification& said) const;
  void handle_signals();
  void signal_reforkd(int signal) const;
  void reap();
  bool is_worker(pid_t pid) const;
  void ended(const os::ExitStatus& status);
  int wait_ms() const;

  Setup setup_;
  os::NotifySocket notify_;
  std::optional<os::ExitLog> exits_;
  base::UniqueFd signals_, pidfd_;
  pid_t reforkd_ = 0;  // 0: none at the moment
  bool child_ = true;  // of ours
  bool up_ = false, was_up_ = false;
  bool stopping_ = false;
  std::optional<int> said_code_, code_;
  milliseconds pause_{0};
  std::optional<Clock::time_point> next_start_;
  std::vector<os::InheritedFd> kept_;
};

base::Result<void> Keeper::prepare() {
  if (!setup_.running) {
    kept_ = os::take_inherited();
    os::close_from(first_passed + static_cast<int>(kept_.size()));
  }
  os::become_subreaper();
  auto exits = os::ExitLog::create();
  if (!exits) return exits.error();
  exits_ = std::move(*exits);
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGCHLD}) sigaddset(&set, signal);
  sigprocmask(SIG_BLOCK, &set, nullptr);
  std::signal(SIGCHLD, SIG_DFL);
  std::signal(SIGPIPE, SIG_IGN);
  signals_.reset(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals_) return base::errno_error("signalfd");
  if (setup_.running) return take_over(*std::exchange(setup_.running, std::nullopt));
  return {};
}

base::Result<void> Keeper::take_over(Running running) {
  auto socket = os::NotifySocket::adopt(std::move(running.notify_socket));
  if (!socket) return socket.error();
  notify_ = std::move(*socket);
  reforkd_ = running.pid;
  pidfd_ = std::move(running.pidfd);
  child_ = false;
  up_ = was_up_ = true;
  return {};
}

os::SpawnPlan Keeper::plan(int sender) const {
  os::SpawnPlan plan;
  plan.program = setup_.program;
  plan.argv = setup_.argv;
  plan.own_program = true;
  plan.input = ::fcntl(STDIN_FILENO, F_GETFD) >= 0 ? STDIN_FILENO : -1;
  plan.environment = os::environment_for(os::Receiver::own);
  int number = first_passed;
  std::string names;
  for (const auto& one : kept_) {
    plan.fds.push_back({one.fd.get(), number++});
    names += one.name + ":";
  }
  names += std::string(exits_name) + ":" + store_name;
  plan.fds.push_back({exits_->fd(), number++});
  plan.fds.push_back({sender, number++});
  plan.listen_pid = true;
  const auto own = std::to_string(::getpid()) + "." + std::to_string(os::start_time(::getpid()));
  for (auto& entry : {"LISTEN_FDS=" + std::to_string(plan.fds.size()), "LISTEN_FDNAMES=" + names,
                      std::string(variable) + "=" + own})
    plan.environment.push_back(entry);
  return plan;
}

base::Result<os::Spawned> Keeper::spawn() {
  auto pair = os::NotifySocket::make_pair();
  if (!pair) return pair.error();
  notify_ = std::move(pair->socket);  // what the last reforkd said was read when it ended
  return os::spawn(plan(pair->sender.get()));
}

void Keeper::start() {
  next_start_.reset();
  up_ = false;
  said_code_.reset();
  auto spawned = spawn();
  if (!spawned) {
    log::error("reforkd cannot be started: " + spawned.error().what);
    return ended({.code = EXIT_FAILURE, .signal = {}, .core = false});
  }
  reforkd_ = spawned->pid;
  pidfd_ = std::move(spawned->pidfd);
  child_ = true;
  if (stopping_) signal_reforkd(SIGTERM);
}

void Keeper::signal_reforkd(int signal) const {
  if (reforkd_ != 0) os::signal_process(pidfd_.get(), signal);
}

void Keeper::receive() {
  while (auto said = notify_.receive())
    if (said->pid == reforkd_ && reforkd_ != 0) obey(*said);
}

void Keeper::obey(os::Notification& said) {
  const auto field = [&said](const char* name) -> std::string {
    const auto found = said.fields.find(name);
    return found == said.fields.end() ? "" : found->second;
  };
  const std::string name = field("FDNAME");
  if (field("FDSTORE") == "1") {
    for (auto& fd : said.fds)
      if (os::is_fd_name(name) && kept_.size() < most_kept) kept_.push_back({name, std::move(fd)});
  } else if (field("FDSTOREREMOVE") == "1") {
    std::erase_if(kept_, [&name](const auto& one) { return one.name == name; });
  }
  if (const auto code = field("EXIT_STATUS"); !code.empty()) said_code_ = std::atoi(code.c_str());
  if (said.fields.contains("STOPPING")) stopping_ = true;  // how it ends then is how it was to end
  if (said.fields.contains("STATUS")) {
    up_ = was_up_ = true;
    pause_ = milliseconds(0);
  }
  pass_on(said);
}

// What is for a manager of our own.
void Keeper::pass_on(const os::Notification& said) const {
  std::string text;
  for (const auto& [name, value] : said.fields)
    if (!name.starts_with("FD") && name != "EXIT_STATUS" && name != "MAINPID")
      text += name + "=" + value + "\n";
  if (!text.empty()) os::notify_manager(text);
}

void Keeper::handle_signals() {
  signalfd_siginfo info;
  while (::read(signals_.get(), &info, sizeof info) == sizeof info) {
    const int signal = static_cast<int>(info.ssi_signo);
    if (signal == SIGCHLD) continue;  // reap() follows in any case
    if (signal != SIGHUP) stopping_ = true;
    if (reforkd_ != 0)
      signal_reforkd(signal);
    else if (stopping_)
      next_start_ = Clock::now();  // somebody must drain the workers
  }
}

bool Keeper::is_worker(pid_t pid) const {
  return std::any_of(kept_.begin(), kept_.end(), [pid](const auto& one) {
    return one.name.ends_with(".pidfd") && os::pid_of(one.fd.get()) == pid;
  });
}

void Keeper::reap() {
  for (pid_t pid; (pid = os::ended_child()) != 0;) {
    if (pid == reforkd_ && child_) {
      receive();  // what it said last
      const auto status = os::reap_child(pid);
      return ended(status.value_or(os::ExitStatus{}));
    }
    if (is_worker(pid)) ::killpg(pid, SIGKILL);
    const auto start = os::start_time(pid);
    if (const auto status = os::reap_child(pid)) exits_->add(pid, start, *status);
  }
}

void Keeper::ended(const os::ExitStatus& status) {
  const auto pid = std::exchange(reforkd_, 0);
  const auto code = said_code_ ? said_code_ : status.code;
  if (code && (*code == 0 || !was_up_ || stopping_)) {
    code_ = code;
    return;
  }
  const std::string how = code            ? " ended with exit code " + std::to_string(*code)
                          : status.signal ? " was killed by signal " + std::to_string(*status.signal)
                                          : " is gone";
  log::warning("reforkd (pid " + std::to_string(pid) + ")" + how +
               "; it is started again, its workers serve on meanwhile");
  next_start_ = Clock::now() + pause_;
  pause_ = std::clamp(pause_ * 2, first_pause, longest_pause);
}

int Keeper::wait_ms() const {
  if (!next_start_) return -1;
  const auto left = std::chrono::ceil<milliseconds>(*next_start_ - Clock::now()).count();
  return static_cast<int>(std::clamp<std::int64_t>(left, 0, longest_pause.count()));
}

int Keeper::run() {
  if (reforkd_ == 0) start();
  while (!code_) {
    // A reforkd that is no child tells of its end by its pidfd alone.
    std::array<pollfd, 3> polled = {{{signals_.get(), POLLIN, 0},
                                     {notify_.fd(), POLLIN, 0},
                                     {reforkd_ != 0 && !child_ ? pidfd_.get() : -1, POLLIN, 0}}};
    ::poll(polled.data(), polled.size(), wait_ms());
    handle_signals();
    receive();
    if (reforkd_ != 0 && !child_ && os::has_ended(pidfd_.get())) {
      receive();
      ended(os::told_exit(pidfd_.get()).value_or(os::ExitStatus{}));
    }
    reap();
    if (!code_ && reforkd_ == 0 && next_start_ && Clock::now() >= *next_start_) start();
  }
  return *code_;
}

}  // namespace

int run(Setup setup) {
  Keeper keeper(std::move(setup));
  if (const auto prepared = keeper.prepare(); !prepared) {
    log::error("the keeper of reforkd cannot work: " + prepared.error().what);
    return EXIT_FAILURE;
  }
  return keeper.run();
}

}  // namespace refork::keeper
