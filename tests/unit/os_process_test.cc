// Ends, signals and /proc, on real processes.
#include "os/process.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <functional>

namespace refork::os {
namespace {

constexpr int deadline_ms = 20000;

bool ends(int pidfd) {
  pollfd poll{pidfd, POLLIN, 0};
  return ::poll(&poll, 1, deadline_ms) == 1;
}

// A forked child that does one thing and never returns into the test.
pid_t fork_child(const std::function<void()>& body) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    body();
    ::_exit(0);
  }
  return pid;
}

pid_t fork_sleeper() {
  return fork_child([] { ::pause(); });
}

TEST(Reap, TellsTheExitCode) {
  const auto pidfd = open_pidfd(fork_child([] { ::_exit(7); }));
  ASSERT_TRUE(pidfd.ok() && ends(pidfd->get()));
  const auto status = reap(pidfd->get());
  ASSERT_TRUE(status.has_value());
  EXPECT_EQ(status->code, 7);
  EXPECT_EQ(status->signal, std::nullopt);
  EXPECT_FALSE(status->core);
}

TEST(Reap, TellsTheSignal) {
  const auto pidfd = open_pidfd(fork_sleeper());
  ASSERT_TRUE(pidfd.ok());
  EXPECT_FALSE(reap(pidfd->get()).has_value()) << "it lives";
  signal_process(pidfd->get(), SIGKILL);
  ASSERT_TRUE(ends(pidfd->get()));
  const auto status = reap(pidfd->get());
  ASSERT_TRUE(status.has_value());
  EXPECT_EQ(status->code, std::nullopt);
  EXPECT_EQ(status->signal, SIGKILL);
}

// The exit code of a grandchild, which is its parent's to reap.
TEST(Reap, OfAProcessThatIsNotItsChildTheKernelTellsOnceItIsReaped) {
  std::array<int, 2> pids{}, go{}, done{};
  for (auto* ends_of : {&pids, &go, &done}) ASSERT_EQ(::pipe(ends_of->data()), 0);
  const pid_t parent = fork_child([&] {
    const pid_t grandchild = ::fork();
    if (grandchild == 0) ::_exit(42);
    if (::write(pids[1], &grandchild, sizeof grandchild) < 0) ::_exit(1);
    char byte;
    if (::read(go[0], &byte, 1) != 1) ::_exit(1);
    ::waitpid(grandchild, nullptr, 0);
    if (::write(done[1], "d", 1) != 1) ::_exit(1);
  });
  pid_t grandchild = 0;
  ASSERT_EQ(::read(pids[0], &grandchild, sizeof grandchild), static_cast<ssize_t>(sizeof grandchild));
  const auto pidfd = open_pidfd(grandchild);
  ASSERT_TRUE(pidfd.ok());
  ASSERT_TRUE(ends(pidfd->get()));
  EXPECT_EQ(pid_of(pidfd->get()), grandchild);
  EXPECT_FALSE(is_child(pidfd->get()));
  EXPECT_FALSE(reap(pidfd->get()).has_value());
  EXPECT_FALSE(told_exit(pidfd->get()).has_value()) << "its parent has not reaped it";
  const auto unreaped = exit_of_unreaped(grandchild, start_time(grandchild));
  ASSERT_TRUE(unreaped);
  EXPECT_EQ(unreaped->code, 42);
  EXPECT_FALSE(exit_of_unreaped(grandchild, start_time(grandchild) + 1)) << "another process of this pid";
  char byte;
  ASSERT_EQ(::write(go[1], "g", 1), 1);
  ASSERT_EQ(::read(done[0], &byte, 1), 1);
  EXPECT_EQ(pid_of(pidfd->get()), 0);
  ::waitpid(parent, nullptr, 0);
  for (const auto* ends_of : {&pids, &go, &done})
    for (const int fd : *ends_of) ::close(fd);
  const auto told = told_exit(pidfd->get());
  if (!told) GTEST_SKIP() << "this kernel tells no exit codes";
  EXPECT_EQ(told->code, 42);
}

TEST(Reap, OfOneThatIsNotReapedTheSignalIsKnownAndCodeZeroIsNot) {
  const auto end = [](const std::function<void()>& body) {
    const pid_t pid = fork_child(body);
    const auto pidfd = open_pidfd(pid);
    EXPECT_TRUE(pidfd.ok() && ends(pidfd->get()));
    const auto status = exit_of_unreaped(pid, start_time(pid));
    ::waitpid(pid, nullptr, 0);
    return status;
  };
  const auto killed = end([] { ::raise(SIGKILL); });
  ASSERT_TRUE(killed);
  EXPECT_EQ(killed->signal, SIGKILL);
  EXPECT_EQ(killed->code, std::nullopt);
  EXPECT_FALSE(end([] {})) << "those whom the kernel tells nothing see the same";
  const pid_t lives = fork_sleeper();
  EXPECT_FALSE(exit_of_unreaped(lives, start_time(lives)));
  ::kill(lives, SIGKILL);
  ::waitpid(lives, nullptr, 0);
}

TEST(Reap, AnExitThatIsOnlyLookedAtCanStillBeReaped) {
  const pid_t pid = fork_child([] { ::_exit(3); });
  const auto pidfd = open_pidfd(pid);
  ASSERT_TRUE(pidfd.ok() && ends(pidfd->get()));
  EXPECT_TRUE(is_child(pidfd->get()));
  EXPECT_EQ(exit_of_child(pidfd->get())->code, 3);
  EXPECT_EQ(ended_child(), pid);
  EXPECT_EQ(reap_child(pid)->code, 3);
  EXPECT_FALSE(reap(pidfd->get()).has_value());
}

TEST(ReapStrangers, LeavesTheKnownOnesAlone) {
  const pid_t known = fork_child([] { ::_exit(3); });
  const auto known_fd = open_pidfd(known);
  ASSERT_TRUE(known_fd.ok() && ends(known_fd->get()));
  const pid_t stranger = fork_child([] {});
  const auto stranger_fd = open_pidfd(stranger);
  ASSERT_TRUE(stranger_fd.ok() && ends(stranger_fd->get()));
  const pid_t living = fork_sleeper();

  reap_strangers({known});

  EXPECT_EQ(::waitpid(stranger, nullptr, WNOHANG), -1);
  EXPECT_EQ(::waitpid(living, nullptr, WNOHANG), 0);
  const auto status = reap(known_fd->get());
  ASSERT_TRUE(status.has_value());
  EXPECT_EQ(status->code, 3);
  ::kill(living, SIGKILL);
  ::waitpid(living, nullptr, 0);
}

TEST(ReapStrangers, ReapsWhatASubreaperInherits) {
  become_subreaper();
  std::array<int, 2> pids{};
  ASSERT_EQ(::pipe(pids.data()), 0);
  const pid_t parent = fork_child([&] {
    const pid_t orphan = fork_sleeper();
    if (::write(pids[1], &orphan, sizeof orphan) < 0) ::_exit(1);
  });
  pid_t orphan = 0;
  ASSERT_EQ(::read(pids[0], &orphan, sizeof orphan), static_cast<ssize_t>(sizeof orphan));
  ::waitpid(parent, nullptr, 0);
  const auto pidfd = open_pidfd(orphan);
  ASSERT_TRUE(pidfd.ok());
  signal_process(pidfd->get(), SIGKILL);
  ASSERT_TRUE(ends(pidfd->get()));
  reap_strangers({});
  EXPECT_EQ(::kill(orphan, 0), -1) << "not even a zombie is left";
  ::prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0);
  for (const int fd : pids) ::close(fd);
}

TEST(Signals, ReachAWholeGroup) {
  std::array<int, 2> pids{};
  ASSERT_EQ(::pipe(pids.data()), 0);
  const pid_t leader = fork_child([&] {
    ::setpgid(0, 0);
    const pid_t member = fork_sleeper();
    if (::write(pids[1], &member, sizeof member) < 0) ::_exit(1);
    ::pause();
  });
  pid_t member = 0;
  ASSERT_EQ(::read(pids[0], &member, sizeof member), static_cast<ssize_t>(sizeof member));
  const auto leader_fd = open_pidfd(leader), member_fd = open_pidfd(member);
  ASSERT_TRUE(leader_fd.ok() && member_fd.ok());
  signal_process(leader_fd->get(), SIGKILL);
  EXPECT_TRUE(ends(leader_fd->get()));
  const auto start = start_time(leader);
  ::waitpid(leader, nullptr, 0);
  signal_group(leader_fd->get(), leader, start, SIGKILL);
  EXPECT_TRUE(ends(member_fd->get())) << "its leader is reaped, but still known by its pidfd";
  for (const int fd : pids) ::close(fd);
}

TEST(Signals, NeverReachTheOwnGroupByAnUnsetPgid) {
  // Would end this test.
  signal_group(-1, 0, 0, SIGKILL);
  signal_group(-1, -1, 0, SIGKILL);
}

TEST(Signals, ToADeadProcessAreHarmless) {
  const pid_t pid = fork_child([] {});
  const auto pidfd = open_pidfd(pid);
  ASSERT_TRUE(pidfd.ok() && ends(pidfd->get()));
  ::waitpid(pid, nullptr, 0);
  signal_process(pidfd->get(), SIGTERM);
  EXPECT_EQ(open_pidfd(pid).error().code, ESRCH);
}

TEST(Proc, TellsMemoryAndStartTime) {
  EXPECT_GT(rss_bytes(::getpid()), 500U * 1024);
  EXPECT_EQ(rss_bytes(::getpid()) % 4096, 0U);
  const std::uint64_t own = start_time(::getpid());
  EXPECT_GT(own, 0U);
  // A name with spaces and brackets stands before the field that counts.
  const pid_t child = fork_child([] {
    ::prctl(PR_SET_NAME, "a ) b (c) 1", 0, 0, 0);
    ::raise(SIGSTOP);
  });
  siginfo_t info{};
  ::waitid(P_PID, static_cast<id_t>(child), &info, WSTOPPED);
  EXPECT_GE(start_time(child), own);
  EXPECT_LE(start_time(child), own + 1000U * 3600) << "some other field";
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  EXPECT_EQ(start_time(child), 0U);
  EXPECT_EQ(rss_bytes(child), 0U);
}

}  // namespace
}  // namespace refork::os
