// Starting one child. The parent prepares everything (strings, groups, limits, where each descriptor goes);
// between fork and exec the child only makes system calls, because another thread may hold any lock at the
// moment of the fork. A step that fails is reported by name through a pipe that exec closes. When and why to
// start is decided elsewhere.
#include "os/spawn.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <climits>
#include <fstream>
#include <set>
#include <string_view>
#include <utility>

#include "base/enum_names.h"
#include "os/process.h"

namespace refork::os {
enum class SpawnStep {
  setpgid,
  descriptors,
  setrlimit,
  setgroups,
  setgid,
  setuid,
  no_new_privs,
  chdir,
  exec
};
}  // namespace refork::os

template <>
struct refork::base::EnumNames<refork::os::SpawnStep> {
  static constexpr std::array<std::string_view, 9> names = {"setpgid",      "descriptors", "setrlimit",
                                                            "setgroups",    "setgid",      "setuid",
                                                            "no_new_privs", "chdir",       "exec"};
  static_assert(names.size() == index(refork::os::SpawnStep::exec) + 1);
};

namespace refork::os {
namespace {

constexpr std::string_view listen_pid_name = "LISTEN_PID=";
constexpr std::size_t pid_digits = 11;  // of any pid_t, and the final NUL
constexpr const char* oom_score_file = "/proc/self/oom_score_adj";

struct LimitName {
  std::string_view name;
  int resource;
};
constexpr std::array<LimitName, 16> limit_names = {{
    {"as", RLIMIT_AS},
    {"core", RLIMIT_CORE},
    {"cpu", RLIMIT_CPU},
    {"data", RLIMIT_DATA},
    {"fsize", RLIMIT_FSIZE},
    {"locks", RLIMIT_LOCKS},
    {"memlock", RLIMIT_MEMLOCK},
    {"msgqueue", RLIMIT_MSGQUEUE},
    {"nice", RLIMIT_NICE},
    {"nofile", RLIMIT_NOFILE},
    {"nproc", RLIMIT_NPROC},
    {"rss", RLIMIT_RSS},
    {"rtprio", RLIMIT_RTPRIO},
    {"rttime", RLIMIT_RTTIME},
    {"sigpending", RLIMIT_SIGPENDING},
    {"stack", RLIMIT_STACK},
}};

// What the child writes into the pipe; one write, so it arrives whole.
struct RawFailure {
  SpawnStep step;
  int resource;  // of a failed setrlimit
  int code;
};

struct Move {
  int from;
  int to;
  int lifted = -1;  // the copy above all numbers that are spoken for
};

struct PreparedLimit {
  int resource;
  rlimit value;
};

// The plan as the child can use it: no allocation, no look-up left to do.
struct Prepared {
  const char* program = nullptr;
  std::vector<char*> argv, environment;
  std::string listen_pid;  // "LISTEN_PID=" and room for the number
  const char* directory = nullptr;
  const Credentials* credentials = nullptr;
  bool no_new_privs = false, own_program = false, usual_oom_score = false;
  std::vector<PreparedLimit> limits;
  std::vector<Move> moves;
  int above = 3;  // the first number that no move goes to
  base::UniqueFd null;
};

// ---- in the child: async-signal-safe calls only ----

void write_pid(char* slot, pid_t pid) noexcept {
  char reversed[pid_digits];
  std::size_t count = 0;
  do {
    reversed[count++] = static_cast<char>('0' + pid % 10);
    pid /= 10;
  } while (pid != 0);
  while (count != 0) *slot++ = reversed[--count];
  *slot = '\0';
}

[[noreturn]] void give_up(int report, SpawnStep step, int resource = 0) noexcept {
  const RawFailure failure{step, resource, errno};
  while (::write(report, &failure, sizeof failure) < 0 && errno == EINTR) {
  }
  ::_exit(exit_not_executed);
}

// Raising it is everybody's right; where it fails all the same, the child is spared as its parent is.
void take_usual_oom_score() noexcept {
  const int file = ::open(oom_score_file, O_WRONLY | O_CLOEXEC);
  if (file < 0) return;
  while (::write(file, "0", 1) < 0 && errno == EINTR) {
  }
  ::close(file);
}

void reset_dispositions() noexcept {
  struct sigaction standard = {};
  standard.sa_handler = SIG_DFL;
  for (int signal = 1; signal < NSIG; ++signal) ::sigaction(signal, &standard, nullptr);
}

// A number that one descriptor goes to may be the present number of another, so all of them are lifted out of
// the way first. What no move names gets CLOEXEC here even if somebody forgot it.
bool move_descriptors(Prepared& prepared) noexcept {
  if (::syscall(SYS_close_range, 3U, UINT_MAX, 4U /* CLOSE_RANGE_CLOEXEC */) != 0) return false;
  for (Move& move : prepared.moves) {
    move.lifted = ::fcntl(move.from, F_DUPFD_CLOEXEC, prepared.above);
    if (move.lifted < 0) return false;
  }
  for (const Move& move : prepared.moves)
    if (::dup2(move.lifted, move.to) < 0) return false;
  return true;
}

// Another user's program that shares the terminal of who started reforkd could type into it (TIOCSTI). Of a
// process that leads no session this takes the terminal from this process alone.
void leave_terminal() noexcept {
  const int terminal = ::open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
  if (terminal < 0) return;
  ::ioctl(terminal, TIOCNOTTY);
  ::close(terminal);
}

// Changing the user leaves those that could be inherited, as some containers give them.
void drop_inheritable() noexcept {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  const __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {};
  ::syscall(SYS_capset, &header, none);
}

// Raw system calls: the library's wrappers would signal threads that this child does not have.
void change_user(const Credentials& who, int report) noexcept {
  if (::syscall(SYS_setgroups, who.groups.size(), who.groups.data()) != 0)
    give_up(report, SpawnStep::setgroups);
  if (::syscall(SYS_setresgid, who.gid, who.gid, who.gid) != 0) give_up(report, SpawnStep::setgid);
  if (::syscall(SYS_setresuid, who.uid, who.uid, who.uid) != 0) give_up(report, SpawnStep::setuid);
}

// The two ends of the pipe that a gated child waits at; -1: none.
struct Gate {
  int wait = -1, open = -1;
};

void wait_at(const Gate& gate) noexcept {
  if (gate.wait < 0) return;
  char word;
  ssize_t count;
  do count = ::read(gate.wait, &word, 1);
  while (count < 0 && errno == EINTR);
  if (count != 1) ::_exit(exit_not_executed);  // nobody is left who knows of this process
}

void unblock_signals(bool but_stops) noexcept {
  sigset_t mask;
  ::sigemptyset(&mask);
  if (but_stops)
    for (const int signal : {SIGTERM, SIGINT, SIGHUP}) ::sigaddset(&mask, signal);
  ::sigprocmask(SIG_SETMASK, &mask, nullptr);
}

[[noreturn]] void run_child(Prepared& prepared, int report, const Gate& gate) noexcept {
  if (gate.open >= 0) ::close(gate.open);
  if (::setpgid(0, 0) != 0) give_up(report, SpawnStep::setpgid);
  reset_dispositions();
  wait_at(gate);
  if (const int lifted = ::fcntl(report, F_DUPFD_CLOEXEC, prepared.above); lifted >= 0)
    report = lifted;
  else
    give_up(report, SpawnStep::descriptors);
  if (!move_descriptors(prepared)) give_up(report, SpawnStep::descriptors);
  // Both open a file, for which a worker's own limit may leave no room: all of reforkd's are open here still.
  if (prepared.usual_oom_score) take_usual_oom_score();
  if (prepared.credentials) leave_terminal();
  for (const PreparedLimit& limit : prepared.limits)
    if (::syscall(SYS_prlimit64, 0, limit.resource, &limit.value, nullptr) != 0)
      give_up(report, SpawnStep::setrlimit, limit.resource);
  if (prepared.credentials) {
    change_user(*prepared.credentials, report);
    if (prepared.credentials->uid != 0) drop_inheritable();
  }
  if (prepared.no_new_privs && ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
    give_up(report, SpawnStep::no_new_privs);
  if (prepared.directory && ::chdir(prepared.directory) != 0) give_up(report, SpawnStep::chdir);
  if (!prepared.listen_pid.empty())
    write_pid(prepared.listen_pid.data() + listen_pid_name.size(), ::getpid());
  unblock_signals(prepared.own_program);
  ::execve(prepared.program, prepared.argv.data(), prepared.environment.data());
  give_up(report, SpawnStep::exec);
}

// ---- in the parent ----

char* writable(const std::string& text) { return const_cast<char*>(text.c_str()); }

base::Result<void> prepare_limits(const SpawnPlan& plan, Prepared& prepared) {
  if (const auto inherited = inherited_descriptor_limit(); inherited && !plan.own_program)
    prepared.limits.push_back({RLIMIT_NOFILE, *inherited});
  for (const core::Limit& limit : plan.limits) {
    const auto known = std::find_if(limit_names.begin(), limit_names.end(),
                                    [&](const LimitName& entry) { return entry.name == limit.name; });
    if (known == limit_names.end()) {
      std::string expected;
      for (const LimitName& entry : limit_names)
        expected += (expected.empty() ? "" : ", ") + std::string(entry.name);
      return base::Error{EINVAL, "limit " + limit.name + " is unknown, expected one of " + expected};
    }
    const rlim_t value = limit.value ? static_cast<rlim_t>(*limit.value) : RLIM_INFINITY;
    prepared.limits.push_back({known->resource, {value, value}});
  }
  return {};
}

bool is_open(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }

base::Result<void> prepare_descriptors(const SpawnPlan& plan, Prepared& prepared) {
  prepared.null.reset(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!prepared.null) return base::errno_error("open /dev/null");
  const int null = prepared.null.get();
  const auto output = [&](int inherited) {
    if (plan.output >= 0) return plan.output;
    return is_open(inherited) ? inherited : null;
  };
  prepared.moves = {{plan.input >= 0 ? plan.input : null, STDIN_FILENO},
                    {output(STDOUT_FILENO), STDOUT_FILENO},
                    {output(STDERR_FILENO), STDERR_FILENO}};
  std::set<int> taken;
  for (const PassedFd& passed : plan.fds) {
    if (passed.fd < 0 || passed.number <= STDERR_FILENO || !taken.insert(passed.number).second)
      return base::Error{EINVAL, "descriptor " + std::to_string(passed.fd) + " cannot become number " +
                                     std::to_string(passed.number) +
                                     " of the child, expected a free number from 3"};
    prepared.moves.push_back({passed.fd, passed.number});
    prepared.above = std::max(prepared.above, passed.number + 1);
  }
  return {};
}

bool is_spared() {
  int score = 0;
  return std::ifstream(oom_score_file) >> score && score < 0;
}

void prepare_strings(const SpawnPlan& plan, Prepared& prepared) {
  prepared.program = plan.program.c_str();
  prepared.no_new_privs = plan.no_new_privs;
  prepared.own_program = plan.own_program;
  prepared.usual_oom_score = plan.usual_oom_score && is_spared();
  if (!plan.directory.empty()) prepared.directory = plan.directory.c_str();
  for (const std::string& argument : plan.argv) prepared.argv.push_back(writable(argument));
  prepared.argv.push_back(nullptr);
  for (const std::string& variable : plan.environment)
    if (!plan.listen_pid || !variable.starts_with(listen_pid_name))
      prepared.environment.push_back(writable(variable));
  if (plan.listen_pid) {
    prepared.listen_pid = std::string(listen_pid_name) + std::string(pid_digits, '\0');
    prepared.environment.push_back(prepared.listen_pid.data());
  }
  prepared.environment.push_back(nullptr);
}

base::Result<void> prepare(const SpawnPlan& plan, Prepared& prepared) {
  if (plan.program.empty() || plan.argv.empty())
    return base::Error{EINVAL, "nothing to start: expected a program and its argv[0]"};
  prepare_strings(plan, prepared);
  // Without root only the own user got past find_user(): there is nothing to change, and no right to try.
  if (plan.credentials && (::geteuid() == 0 || plan.credentials->uid != ::geteuid()))
    prepared.credentials = &*plan.credentials;
  if (auto limits = prepare_limits(plan, prepared); !limits) return limits;
  return prepare_descriptors(plan, prepared);
}

// Forks with every signal blocked, so that no handler of the parent ever runs in the child.
pid_t fork_quietly() {
  sigset_t all, before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  const pid_t pid = ::fork();
  const int code = errno;
  if (pid != 0) ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  errno = code;
  return pid;
}

std::string step_name(const RawFailure& failure) {
  std::string name(base::to_name(failure.step));
  if (failure.step != SpawnStep::setrlimit) return name;
  for (const LimitName& entry : limit_names)
    if (entry.resource == failure.resource) name += " " + std::string(entry.name);
  return name;
}

}  // namespace

base::Result<Spawned> spawn(const SpawnPlan& plan) {
  Prepared prepared;
  if (auto ready = prepare(plan, prepared); !ready) return ready.error();
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return base::errno_error("pipe for the errors of a child");
  Spawned child;
  child.errors.reset(ends[0]);
  const base::UniqueFd report(ends[1]);
  base::UniqueFd waits;
  if (plan.gated) {
    if (::pipe2(ends, O_CLOEXEC) != 0) return base::errno_error("pipe for the start of a child");
    waits.reset(ends[0]);
    child.gate.reset(ends[1]);
  }
  child.pid = fork_quietly();
  if (child.pid == 0) run_child(prepared, report.get(), {waits.get(), child.gate.get()});
  if (child.pid < 0) return base::errno_error("fork");
  auto pidfd = open_pidfd(child.pid);
  if (!pidfd) {
    ::kill(child.pid, SIGKILL);
    ::waitpid(child.pid, nullptr, 0);
    return pidfd.error();
  }
  child.pidfd = *std::move(pidfd);
  // The child does the same; whoever comes first. After its exec this one fails, and is not needed.
  ::setpgid(child.pid, child.pid);
  return child;
}

void let_run(Spawned& child) {
  const char word = 1;
  if (child.gate && ::write(child.gate.get(), &word, 1) == 1) child.gate.reset();
  // Woken on this processor it would wait there until this process has nothing left to do.
  ::sched_yield();
}

std::optional<SpawnFailure> read_spawn_failure(int errors) {
  RawFailure failure{};
  ssize_t count;
  do count = ::read(errors, &failure, sizeof failure);
  while (count < 0 && errno == EINTR);
  if (count != static_cast<ssize_t>(sizeof failure)) return std::nullopt;
  return SpawnFailure{step_name(failure), failure.code};
}

}  // namespace refork::os
