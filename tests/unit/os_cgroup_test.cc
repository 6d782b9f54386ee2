// What a cgroup says of deaths for want of memory; the tree is a false one, the memory controller being
// seldom at hand.
#include "os/cgroup.h"

#include <gtest/gtest.h>
#include <poll.h>

#include <fstream>

#include "support/process.h"

namespace refork::os {
namespace {

constexpr std::string_view mounts =
    "22 1 8:1 / / rw - ext4 /dev/sda rw\n"
    "30 22 0:26 / /sys/fs/cgroup/unified rw,nosuid shared:9 - cgroup2 cgroup2 rw\n";

TEST(Cgroup, IsFoundByItsMountAndPath) {
  EXPECT_EQ(cgroup_directory(mounts, "1:name=systemd:/x\n0::/system.slice/reforkd.service\n"),
            "/sys/fs/cgroup/unified/system.slice/reforkd.service");
  EXPECT_EQ(cgroup_directory(mounts, "0::/\n"), "/sys/fs/cgroup/unified");
  EXPECT_EQ(
      cgroup_directory("30 22 0:26 /docker/x /sys/fs/cgroup ro - cgroup2 cgroup rw\n", "0::/docker/x/a\n"),
      "/sys/fs/cgroup/a");
}

TEST(Cgroup, ThatIsNotThereIsNot) {
  EXPECT_EQ(cgroup_directory("", "0::/a\n"), "");
  EXPECT_EQ(cgroup_directory(mounts, "1:memory:/a\n"), "");
  EXPECT_EQ(cgroup_directory("30 - cgroup2 \n", "0::/a\n"), "");
  EXPECT_EQ(cgroup_directory("30 22 0:26 /other /sys/fs/cgroup ro - cgroup2 cgroup rw\n", "0::/a\n"), "");
  EXPECT_FALSE(oom_kills(""));
  EXPECT_FALSE(oom_kills("/nonexistent"));
}

class OomWatchTest : public testing::Test {
 protected:
  void kernel_says(int kills) const {
    std::ofstream(tree.file("memory.events"))
        << "low 0\nhigh 0\nmax 7\noom 3\noom_kill " << kills << "\noom_group_kill 0\n";
  }
  test::TempDir tree;
  core::Time now{std::chrono::hours(1)};
};

TEST_F(OomWatchTest, AKillThatTheKernelCountsIsItsOwn) {
  kernel_says(4);
  OomWatch watch(tree.path(), now);
  EXPECT_FALSE(watch.explains_kill(0, now)) << "these were before";
  kernel_says(5);
  EXPECT_TRUE(watch.explains_kill(0, now));
  EXPECT_FALSE(watch.explains_kill(0, now)) << "each explains one";
}

TEST_F(OomWatchTest, AKillOfSomeOtherProcessExplainsNoLaterDeath) {
  kernel_says(0);
  OomWatch watch(tree.path(), now);
  kernel_says(1);
  pollfd told{watch.fd(), POLLIN, 0};
  ASSERT_EQ(::poll(&told, 1, 10000), 1) << "without being asked";
  watch.look(now);
  told.revents = 0;
  EXPECT_EQ(::poll(&told, 1, 0), 0) << "told once";
  EXPECT_FALSE(watch.explains_kill(0, now + OomWatch::window + core::Millis(1)));
}

TEST_F(OomWatchTest, AProcessMayTakeItsTimeToEnd) {
  kernel_says(0);
  OomWatch watch(tree.path(), now);
  kernel_says(1);
  watch.look(now);
  EXPECT_TRUE(watch.explains_kill(0, now + OomWatch::window));
}

TEST_F(OomWatchTest, WhereMoreDiedThanTheKernelKilledNobodyKnowsWhich) {
  kernel_says(0);
  OomWatch watch(tree.path(), now);
  kernel_says(1);
  EXPECT_FALSE(watch.explains_kill(1, now));
  EXPECT_FALSE(watch.explains_kill(0, now)) << "nor is it the last of them";
  kernel_says(3);
  EXPECT_TRUE(watch.explains_kill(1, now));
  EXPECT_TRUE(watch.explains_kill(0, now));
}

TEST_F(OomWatchTest, WithoutAMemoryControllerNothingIsSaid) {
  OomWatch watch(tree.path(), now);
  EXPECT_EQ(watch.fd(), -1);
  EXPECT_FALSE(watch.explains_kill(0, now));
  std::ofstream(tree.file("memory.events")) << "nonsense";
  EXPECT_FALSE(watch.explains_kill(0, now));
}

// The file came later, as where no watch can be had.
TEST_F(OomWatchTest, WithoutAWatchAKillIsDatedByTheLookBefore) {
  OomWatch watch(tree.path(), now);
  kernel_says(1);
  EXPECT_FALSE(watch.explains_kill(0, now + OomWatch::window + core::Millis(1)))
      << "it may be as old as that";
  kernel_says(2);
  EXPECT_TRUE(watch.explains_kill(0, now + OomWatch::window + core::Millis(2)));
}

}  // namespace
}  // namespace refork::os
