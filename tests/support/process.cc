// Programs started by tests. The child's output goes to memory files, which the test reads whenever it likes:
// a pipe that nobody empties would stop the program.
#include "support/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <stdexcept>

#include "base/result.h"

extern "C" {  // glibc 2.36 declares its functions without
#include <sys/pidfd.h>
}

namespace refork::test {
namespace {

constexpr int kFirstListener = 3;
constexpr int kFirstFreeFd = 200;  // borrowed descriptors are moved here first, so that none is overwritten
constexpr int kAskAgainMs = 5;
constexpr int kNotExecuted = 127;
constexpr std::string_view kListenPid = "LISTEN_PID=";

using Milliseconds = std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

[[noreturn]] void throw_errno(const std::string& doing) {
  throw std::runtime_error(base::errno_error(doing).what);
}

// Everything the child needs, made before the fork: after it only async-signal-safe calls are allowed.
struct Plan {
  std::vector<std::string> environment;
  std::array<char, 64> listen_pid{};
  std::vector<char*> argv;
  std::vector<char*> envp;
  std::vector<std::pair<int, int>> fds;
};

bool overridden(std::string_view entry, const std::vector<std::string>& with) {
  const std::string_view name = entry.substr(0, entry.find('=') + 1);
  for (const std::string& other : with)
    if (other.starts_with(name)) return true;
  return false;
}

void plan_environment(Plan& plan, const Process::Options& options) {
  std::vector<std::string> added = options.environment;
  if (!options.listeners.empty()) {
    added.push_back("LISTEN_FDS=" + std::to_string(options.listeners.size()));
    std::string names;
    for (const std::string& name : options.listener_names) names += (names.empty() ? "" : ":") + name;
    if (!names.empty()) added.push_back("LISTEN_FDNAMES=" + names);
  }
  for (char** entry = environ; *entry != nullptr; ++entry)
    if (!overridden(*entry, added)) plan.environment.emplace_back(*entry);
  plan.environment.insert(plan.environment.end(), added.begin(), added.end());
  for (std::string& entry : plan.environment) plan.envp.push_back(entry.data());
  std::memcpy(plan.listen_pid.data(), kListenPid.data(), kListenPid.size());
  if (!options.listeners.empty()) plan.envp.push_back(plan.listen_pid.data());
  plan.envp.push_back(nullptr);
}

void plan_fds(Plan& plan, const Process::Options& options, int output, int errors) {
  plan.fds = {{output, STDOUT_FILENO}, {errors, STDERR_FILENO}};
  int number = kFirstListener;
  for (const int fd : options.listeners) plan.fds.emplace_back(fd, number++);
  plan.fds.insert(plan.fds.end(), options.fds.begin(), options.fds.end());
}

[[noreturn]] void run_child(Plan& plan, const Process::Options& options) {
  ::setpgid(0, 0);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  char* const number = plan.listen_pid.data() + kListenPid.size();
  *std::to_chars(number, plan.listen_pid.data() + plan.listen_pid.size() - 1, ::getpid()).ptr = '\0';
  for (auto& [ours, theirs] : plan.fds) ours = ::fcntl(ours, F_DUPFD_CLOEXEC, kFirstFreeFd);
  for (const auto& [ours, theirs] : plan.fds) ::dup2(ours, theirs);
  const int null = ::open("/dev/null", O_RDONLY);
  if (null >= 0) ::dup2(null, STDIN_FILENO);
  if (options.directory.empty() || ::chdir(options.directory.c_str()) == 0)
    ::execvpe(plan.argv[0], plan.argv.data(), plan.envp.data());
  ::_exit(kNotExecuted);
}

std::string contents(int file) {
  struct stat about {};
  if (::fstat(file, &about) != 0) return {};
  std::string text(static_cast<std::size_t>(about.st_size), '\0');
  const ssize_t got = ::pread(file, text.data(), text.size(), 0);
  text.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
  return text;
}

std::optional<std::string> line_with(const std::string& text, std::string_view part) {
  const std::size_t found = text.find(part);
  if (found == std::string::npos) return std::nullopt;
  const std::size_t end = text.find('\n', found);
  if (end == std::string::npos) return std::nullopt;
  const std::size_t before = text.rfind('\n', found);
  const std::size_t start = before == std::string::npos ? 0 : before + 1;
  return text.substr(start, end - start);
}

}  // namespace

Process::Process(Options options)
    : output_(::memfd_create("stdout", MFD_CLOEXEC)), errors_(::memfd_create("stderr", MFD_CLOEXEC)) {
  if (options.argv.empty() || !output_ || !errors_) throw std::runtime_error("a process needs a command");
  Plan plan;
  for (std::string& argument : options.argv) plan.argv.push_back(argument.data());
  plan.argv.push_back(nullptr);
  plan_environment(plan, options);
  plan_fds(plan, options, output_.get(), errors_.get());
  pid_ = ::fork();
  if (pid_ == 0) run_child(plan, options);
  if (pid_ < 0) throw_errno("fork");
  ::setpgid(pid_, pid_);  // in both processes, so that it is done whoever comes first
  pidfd_.reset(::pidfd_open(pid_, 0));
  if (!pidfd_) throw_errno("pidfd_open");
}

Process::Process(Process&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      pidfd_(std::move(other.pidfd_)),
      output_(std::move(other.output_)),
      errors_(std::move(other.errors_)),
      exit_(other.exit_) {}

Process::~Process() {
  if (pid_ <= 0 || exit_) return;
  ::kill(-pid_, SIGKILL);
  ::kill(pid_, SIGKILL);
  wait(kProcessPatience);
}

void Process::signal(int number) const {
  if (pid_ > 0 && !exit_) ::pidfd_send_signal(pidfd_.get(), number, nullptr, 0);
}

std::string Process::output() const { return contents(output_.get()); }
std::string Process::errors() const { return contents(errors_.get()); }

std::optional<std::string> Process::wait_for_line_in(const base::UniqueFd& file, std::string_view part,
                                                     Milliseconds patience) const {
  std::optional<std::string> line;
  wait_until(
      [&] {
        pollfd ended{pidfd_.get(), POLLIN, 0};
        const bool last = ::poll(&ended, 1, 0) > 0;
        line = line_with(contents(file.get()), part);
        return line.has_value() || last;
      },
      patience);
  return line;
}

std::optional<std::string> Process::wait_for_line(std::string_view part, Milliseconds patience) const {
  return wait_for_line_in(output_, part, patience);
}

std::optional<std::string> Process::wait_for_error_line(std::string_view part, Milliseconds patience) const {
  return wait_for_line_in(errors_, part, patience);
}

bool Process::running() { return !wait(Milliseconds(0)); }

std::optional<Exit> Process::wait(Milliseconds patience) {
  const auto deadline = Clock::now() + patience;
  while (!exit_) {
    const auto left =
        std::max<std::int64_t>(0, std::chrono::ceil<Milliseconds>(deadline - Clock::now()).count());
    pollfd ended{pidfd_.get(), POLLIN, 0};
    const int found = ::poll(&ended, 1, static_cast<int>(left));
    if (found == 0) return std::nullopt;
    if (found < 0) continue;
    siginfo_t info{};
    if (::waitid(P_PIDFD, static_cast<id_t>(pidfd_.get()), &info, WEXITED) != 0) return std::nullopt;
    const bool exited = info.si_code == CLD_EXITED;
    exit_ = Exit{exited ? info.si_status : -1, exited ? 0 : info.si_status, info.si_code == CLD_DUMPED};
  }
  return exit_;
}

TempDir::TempDir() {
  std::string name = (std::filesystem::temp_directory_path() / "refork-test-XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) throw_errno("mkdtemp " + name);
  path_ = name;
}

TempDir::~TempDir() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

bool wait_until(const std::function<bool()>& predicate, Milliseconds patience) {
  const auto deadline = Clock::now() + patience;
  while (!predicate()) {
    if (Clock::now() >= deadline) return predicate();
    ::poll(nullptr, 0, kAskAgainMs);
  }
  return true;
}

std::string built_program(std::string_view name) {
  return std::string(REFORK_BUILD_BIN) + "/" + std::string(name);
}

}  // namespace refork::test
