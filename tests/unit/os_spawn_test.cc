// Real children: what they are given, what they are not, and the words for a step that failed.
#include "os/spawn.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <utility>

#include "os/process.h"

namespace refork::os {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::StartsWith;

constexpr int deadline_ms = 20000;
constexpr uid_t nobody = 65534;

using Failure = std::pair<std::string, int>;  // step and errno

bool becomes_readable(int fd) {
  pollfd poll{fd, POLLIN, 0};
  return ::poll(&poll, 1, deadline_ms) == 1;
}

ExitStatus wait_for_end(const Spawned& child) {
  EXPECT_TRUE(becomes_readable(child.pidfd.get()));
  return reap(child.pidfd.get()).value_or(ExitStatus{});
}

// What the probe told: lines by their first word.
struct Told {
  std::vector<std::string> lines;
  std::vector<std::string> of(const std::string& name) const {
    std::vector<std::string> values;
    for (const std::string& line : lines)
      if (line.starts_with(name + " ")) values.push_back(line.substr(name.size() + 1));
    return values;
  }
};

struct Pipe {
  base::UniqueFd read, write;
  Pipe() {
    int ends[2];
    EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    read.reset(ends[0]);
    write.reset(ends[1]);
  }
};

std::string read_all(int fd) {
  std::string text;
  char buffer[4096];
  while (becomes_readable(fd)) {
    const ssize_t count = ::read(fd, buffer, sizeof buffer);
    if (count <= 0) break;
    text.append(buffer, static_cast<std::size_t>(count));
  }
  return text;
}

class Spawn : public ::testing::Test {
 protected:
  Spawn() {
    plan_.program = REFORK_SPAWN_PROBE;
    plan_.argv = {"probe"};
    directory_ = ::testing::TempDir() + "refork-spawn-" + std::to_string(::getpid());
    std::filesystem::create_directory(directory_);
    ::chmod(directory_.c_str(), 0755);
  }
  ~Spawn() override { std::filesystem::remove_all(directory_); }

  Told run() {
    Pipe output;
    plan_.output = output.write.get();
    auto child = spawn(plan_);
    EXPECT_TRUE(child.ok()) << child.error().what;
    output.write.reset();
    Told told;
    std::istringstream text(read_all(output.read.get()));
    for (std::string line; std::getline(text, line);) told.lines.push_back(line);
    EXPECT_FALSE(read_spawn_failure(child->errors.get()).has_value());
    pid_ = child->pid;
    EXPECT_EQ(wait_for_end(*child).code, 0);
    return told;
  }

  Failure fail() {
    auto child = spawn(plan_);
    EXPECT_TRUE(child.ok());
    EXPECT_TRUE(becomes_readable(child->errors.get()));
    const auto failure = read_spawn_failure(child->errors.get());
    EXPECT_TRUE(failure.has_value());
    EXPECT_TRUE(wait_for_end(*child).code.has_value());
    return failure ? Failure{failure->step, failure->code} : Failure{};
  }

  std::string make_file(const std::string& name, const std::string& text, mode_t mode) {
    const std::string path = directory_ + "/" + name;
    std::ofstream(path) << text;
    ::chmod(path.c_str(), mode);
    return path;
  }

  SpawnPlan plan_;
  std::string directory_;
  pid_t pid_ = 0;
};

TEST_F(Spawn, GivesExactlyTheArgumentsAndTheEnvironmentOfThePlan) {
  plan_.argv = {"probe", "one two", ""};
  plan_.environment = {"A=b", "EMPTY=", "LISTEN_PID=of somebody else"};
  const Told told = run();
  EXPECT_THAT(told.of("argument"), ElementsAre("probe", "one two", ""));
  EXPECT_THAT(told.of("variable"), ElementsAre("A=b", "EMPTY=", "LISTEN_PID=of somebody else"));
}

TEST_F(Spawn, TellsTheChildItsOwnPidInListenPid) {
  plan_.environment = {"LISTEN_PID=1", "LISTEN_FDS=2"};
  plan_.listen_pid = true;
  const Told told = run();
  EXPECT_THAT(told.of("variable"), ElementsAre("LISTEN_FDS=2", "LISTEN_PID=" + std::to_string(pid_)));
  EXPECT_THAT(told.of("pid"), ElementsAre(std::to_string(pid_)));
}

TEST_F(Spawn, PutsTheChildIntoAProcessGroupOfItsOwn) {
  const Told told = run();
  EXPECT_THAT(told.of("pgid"), ElementsAre(std::to_string(pid_)));
}

TEST_F(Spawn, HandsOverThePromisedDescriptorsAndNoOther) {
  Pipe passed;
  const base::UniqueFd inheritable(::open("/dev/zero", O_RDONLY));  // no CLOEXEC: forgotten by somebody
  plan_.fds = {{passed.read.get(), 3}, {passed.write.get(), 700}};
  const Told told = run();
  std::vector<std::string> numbers;
  for (const std::string& fd : told.of("fd")) numbers.push_back(fd.substr(0, fd.find(' ')));
  EXPECT_THAT(numbers, ElementsAre("0", "1", "2", "3", "700"));
  EXPECT_THAT(told.of("fd"), Contains("0 /dev/null"));
  EXPECT_THAT(told.lines, Contains("stderr 1"));
}

TEST_F(Spawn, MovesDescriptorsWhoseNumbersCrossEachOther) {
  const std::string a = make_file("a", "", 0644), b = make_file("b", "", 0644), c = make_file("c", "", 0644);
  const base::UniqueFd first(::open(a.c_str(), O_RDONLY | O_CLOEXEC));
  const base::UniqueFd second(::open(b.c_str(), O_RDONLY | O_CLOEXEC));
  const base::UniqueFd third(::open(c.c_str(), O_RDONLY | O_CLOEXEC));
  // A ring: each goes to the number that the next one has now.
  plan_.fds = {{first.get(), second.get()}, {second.get(), third.get()}, {third.get(), first.get()}};
  const Told told = run();
  EXPECT_THAT(told.of("fd"), Contains(std::to_string(second.get()) + " " + a));
  EXPECT_THAT(told.of("fd"), Contains(std::to_string(third.get()) + " " + b));
  EXPECT_THAT(told.of("fd"), Contains(std::to_string(first.get()) + " " + c));
}

TEST_F(Spawn, KeepsADescriptorThatAlreadyHasItsNumber) {
  const std::string path = make_file("same", "", 0644);
  const base::UniqueFd same(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  plan_.fds = {{same.get(), same.get()}};
  EXPECT_THAT(run().of("fd"), Contains(std::to_string(same.get()) + " " + path));
}

TEST_F(Spawn, RefusesDescriptorsThatCannotBePassed) {
  plan_.fds = {{0, 2}};
  EXPECT_EQ(spawn(plan_).error().code, EINVAL);
  plan_.fds = {{0, 3}, {1, 3}};
  EXPECT_EQ(spawn(plan_).error().code, EINVAL);
  plan_.fds = {{-1, 3}};
  EXPECT_EQ(spawn(plan_).error().code, EINVAL);
}

TEST_F(Spawn, StartsWithNoSignalBlockedOrIgnored) {
  sigset_t blocked, before;
  ::sigemptyset(&blocked);
  ::sigaddset(&blocked, SIGTERM);
  ::sigaddset(&blocked, SIGCHLD);
  ::sigprocmask(SIG_BLOCK, &blocked, &before);
  const auto pipe_before = ::signal(SIGPIPE, SIG_IGN);
  const Told told = run();
  sigset_t after;
  ::sigprocmask(SIG_SETMASK, &before, &after);
  ::signal(SIGPIPE, pipe_before);
  EXPECT_THAT(told.of("blocked"), IsEmpty());
  EXPECT_THAT(told.of("ignored"), IsEmpty());
  EXPECT_EQ(::sigismember(&after, SIGTERM), 1) << "the parent keeps its own mask";
  EXPECT_EQ(::sigismember(&after, SIGUSR1), 0);
}

TEST_F(Spawn, ChangesTheDirectoryAndTheLimits) {
  plan_.directory = "/";
  plan_.limits = {{"nofile", 321}};
  const Told told = run();
  EXPECT_THAT(told.of("directory"), ElementsAre("/"));
  EXPECT_THAT(told.of("nofile"), ElementsAre("321 321"));
}

TEST_F(Spawn, LetsNofileBeLowerThanTheNumbersThatArePassed) {
  Pipe passed;
  plan_.fds = {{passed.read.get(), 500}};
  plan_.limits = {{"nofile", 64}};
  EXPECT_THAT(run().of("nofile"), ElementsAre("64 64"));
}

// What was raised goes to our own programs alone, and the old limit from one of them to the next.
TEST_F(Spawn, GivesOthersTheLimitOfDescriptorsFromBeforeItWasRaised) {
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit low{700, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &low), 0);
  const auto highest = std::to_string(before.rlim_max);
  for (int execution = 1; execution <= 2; ++execution) {
    raise_descriptor_limit();
    EXPECT_THAT(run().of("nofile"), ElementsAre("700 " + highest)) << execution;
  }
  ::setenv(descriptor_limit_variable, "600", 1);  // as a unit may say it
  raise_descriptor_limit();
  EXPECT_THAT(run().of("nofile"), ElementsAre("600 " + highest));
  ::setenv(descriptor_limit_variable, "many", 1);
  raise_descriptor_limit();
  EXPECT_THAT(run().of("nofile"), ElementsAre(highest + " " + highest));
  ::setenv(descriptor_limit_variable, "700", 1);
  raise_descriptor_limit();
  plan_.own_program = true;
  EXPECT_THAT(run().of("nofile"), ElementsAre(highest + " " + highest));
  ::unsetenv(descriptor_limit_variable);
  ::setrlimit(RLIMIT_NOFILE, &before);
  raise_descriptor_limit();
  ::unsetenv(descriptor_limit_variable);
}

TEST_F(Spawn, SaysWhichLimitsThereAre) {
  plan_.limits = {{"nofiles", 1}};
  const auto child = spawn(plan_);
  ASSERT_FALSE(child.ok());
  EXPECT_THAT(child.error().what, StartsWith("limit nofiles is unknown, expected one of as, core"));
}

TEST_F(Spawn, NamesTheLimitThatTheKernelRefuses) {
  plan_.limits = {{"core", 0}, {"nofile", std::uint64_t{1} << 40}};  // above fs.nr_open
  EXPECT_EQ(fail(), (Failure{"setrlimit nofile", EPERM}));
}

TEST_F(Spawn, NamesADirectoryThatIsNotThere) {
  plan_.directory = directory_ + "/missing";
  EXPECT_EQ(fail(), (Failure{"chdir", ENOENT}));
}

TEST_F(Spawn, NamesAnExecThatFails) {
  plan_.program = make_file("no-interpreter", "#!/nowhere/sh\n", 0755);
  EXPECT_EQ(fail(), (Failure{"exec", ENOENT}));
  plan_.program = make_file("not-executable", "#!/bin/sh\n", 0644);
  EXPECT_EQ(fail(), (Failure{"exec", EACCES}));
  plan_.program = make_file("no-format", "echo\n", 0755);
  EXPECT_EQ(fail(), (Failure{"exec", ENOEXEC}));
}

TEST_F(Spawn, NamesADescriptorThatIsNotOpen) {
  plan_.fds = {{999, 3}};
  EXPECT_EQ(fail(), (Failure{"descriptors", EBADF}));
}

TEST_F(Spawn, TellsTheReaderOfErrorsAboutExecByEndOfFile) {
  plan_.program = "/bin/sleep";
  plan_.argv = {"sleep", "1000"};
  auto child = spawn(plan_);
  ASSERT_TRUE(child.ok());
  ASSERT_TRUE(becomes_readable(child->errors.get()));
  EXPECT_FALSE(read_spawn_failure(child->errors.get()).has_value());
  EXPECT_EQ(reap(child->pidfd.get()).has_value(), false);
  signal_process(child->pidfd.get(), SIGKILL);
  EXPECT_EQ(wait_for_end(*child).signal, SIGKILL);
}

TEST_F(Spawn, RunsAsAnotherUserWithoutTheGroupsOfRoot) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  const std::string copy = directory_ + "/probe";
  std::filesystem::copy_file(REFORK_SPAWN_PROBE, copy);
  ::chmod(copy.c_str(), 0755);
  auto who = find_user("nobody");
  ASSERT_TRUE(who.ok()) << who.error().what;
  plan_.program = copy;
  plan_.credentials = *who;
  const Told told = run();
  const std::string uid = std::to_string(nobody), gid = std::to_string(who->gid);
  EXPECT_THAT(told.of("uid"), ElementsAre(uid + " " + uid));
  EXPECT_THAT(told.of("gid"), ElementsAre(gid + " " + gid));
  EXPECT_THAT(told.of("groups"), ElementsAre(gid));
}

TEST_F(Spawn, EntersTheDirectoryAsTheUserOfTheWorker) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  const std::string closed = directory_ + "/closed";
  std::filesystem::create_directory(closed);
  ::chmod(closed.c_str(), 0700);
  plan_.credentials = *find_user("nobody");
  plan_.directory = closed;
  EXPECT_EQ(fail(), (Failure{"chdir", EACCES}));
}

TEST_F(Spawn, NeedsAProgramAndItsName) {
  plan_.argv.clear();
  EXPECT_EQ(spawn(plan_).error().code, EINVAL);
}

TEST(FindUser, KnowsUsersByName) {
  const auto root = find_user("root");
  if (::geteuid() != 0) {
    EXPECT_EQ(root.error().code, EPERM);
    return;
  }
  ASSERT_TRUE(root.ok());
  EXPECT_EQ(root->uid, 0U);
  EXPECT_EQ(root->home, "/root");
}

// Whether a child reaches the terminal of its session: asked in a session of its own with a terminal.
bool has_terminal(const SpawnPlan& plan) {
  const pid_t session = ::fork();
  if (session == 0) {
    ::setsid();
    const int terminal = ::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (terminal < 0 || ::grantpt(terminal) != 0 || ::unlockpt(terminal) != 0) ::_exit(99);
    if (::open(::ptsname(terminal), O_RDWR | O_CLOEXEC) < 0) ::_exit(99);
    const auto child = spawn(plan);
    ::_exit(child ? wait_for_end(*child).code.value_or(99) : 99);
  }
  int status = 0;
  ::waitpid(session, &status, 0);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) != 99) << "no terminal could be made";
  return WEXITSTATUS(status) == 0;
}

TEST_F(Spawn, AnotherUsersChildDoesNotShareTheTerminal) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  plan_.program = "/bin/sh";
  plan_.argv = {"sh", "-c", "exec 2>/dev/null; : </dev/tty"};
  EXPECT_TRUE(has_terminal(plan_));
  plan_.credentials = Credentials{nobody, nobody, {nobody}, "nobody", "/"};
  EXPECT_FALSE(has_terminal(plan_));
}

// "Cap...: 0000..." of a child whose parent has inheritable capabilities.
std::string capabilities_of(SpawnPlan plan) {
  Pipe output;
  plan.output = output.write.get();
  const pid_t parent = ::fork();
  if (parent == 0) {
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = {};
    ::syscall(SYS_capget, &header, sets);
    for (auto& set : sets) set.inheritable = set.permitted;
    if (::syscall(SYS_capset, &header, sets) != 0) ::_exit(99);
    const auto child = spawn(plan);
    ::_exit(child ? wait_for_end(*child).code.value_or(99) : 99);
  }
  output.write.reset();
  std::string told = read_all(output.read.get());
  int status = 0;
  ::waitpid(parent, &status, 0);
  EXPECT_EQ(WEXITSTATUS(status), 0);
  return told;
}

TEST_F(Spawn, AnotherUsersChildInheritsNoCapability) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  plan_.program = "/bin/grep";
  plan_.argv = {"grep", "-E", "Cap(Inh|Prm|Eff|Amb)", "/proc/self/status"};
  plan_.credentials = Credentials{nobody, nobody, {nobody}, "nobody", "/"};
  const std::string none = ":\t0000000000000000\n";
  EXPECT_EQ(capabilities_of(plan_), "CapInh" + none + "CapPrm" + none + "CapEff" + none + "CapAmb" + none);
}

TEST(FindUser, SaysThatAUserDoesNotExist) {
  const auto who = find_user("no-such-user");
  ASSERT_FALSE(who.ok());
  EXPECT_EQ(who.error().what, "user no-such-user does not exist");
}

class FindProgram : public Spawn {};

TEST_F(FindProgram, LooksInPathOnlyForNamesWithoutASlash) {
  const std::string file = make_file("tool", "#!/bin/sh\n", 0755);
  EXPECT_EQ(*find_program("tool", "/nowhere:" + directory_), file);
  EXPECT_EQ(*find_program(file, ""), file);
  EXPECT_EQ(find_program("./tool", directory_).error().code, ENOENT);
}

TEST_F(FindProgram, UsesItsOwnPathIfNoneIsGiven) { EXPECT_TRUE(find_program("sh", "").ok()); }

TEST_F(FindProgram, MakesARelativePathAbsolute) {
  const std::filesystem::path before = std::filesystem::current_path();
  make_file("tool", "#!/bin/sh\n", 0755);
  std::filesystem::current_path(directory_);
  const auto found = find_program("./tool", "");
  std::filesystem::current_path(before);
  ASSERT_TRUE(found.ok());
  EXPECT_THAT(*found, StartsWith("/"));
  EXPECT_TRUE(std::filesystem::equivalent(*found, directory_ + "/tool"));
}

TEST_F(FindProgram, PassesOverAFileWithoutPermissionForALaterOne) {
  make_file("tool", "", 0644);
  std::filesystem::create_directory(directory_ + "/later");
  EXPECT_EQ(find_program("tool", directory_ + ":" + directory_ + "/later").error().code, EACCES);
  const std::string good = make_file("later/tool", "#!/bin/sh\n", 0755);
  EXPECT_EQ(*find_program("tool", directory_ + ":" + directory_ + "/later"), good);
}

TEST_F(FindProgram, SaysWhatIsWrong) {
  EXPECT_EQ(find_program("no-such-tool", directory_).error().what,
            "no-such-tool: command not found in " + directory_ + ": No such file or directory");
  EXPECT_EQ(find_program("/no/such/tool", "").error().what,
            "/no/such/tool: command not found: No such file or directory");
  EXPECT_EQ(find_program(directory_, "").error().what,
            directory_ + ": not a file that can be executed: Permission denied");
  EXPECT_EQ(find_program("", "").error().code, ENOENT);
}

}  // namespace
}  // namespace refork::os
