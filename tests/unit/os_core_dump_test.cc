// Where a core is, by the kernel's pattern; and who may leave one.
#include "os/core_dump.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

namespace refork::os {
namespace {

const CoreTraits web{4711, 33, 34, "web", "/srv/web"};

TEST(CorePlace, IsWhatThePatternSays) {
  EXPECT_EQ(core_place("core", false, web, 11), "/srv/web/core");
  EXPECT_EQ(core_place("core", true, web, 11), "/srv/web/core.4711");
  EXPECT_EQ(core_place("core.%p", true, web, 11), "/srv/web/core.4711");
  EXPECT_EQ(core_place("/var/crash/%e-%s-%u-%g-%%%", false, web, 11), "/var/crash/web-11-33-34-%");
}

TEST(CorePlace, ThatCannotBeKnownIsNotGuessed) {
  EXPECT_EQ(core_place("/var/crash/core.%t", false, web, 11), "");
  EXPECT_EQ(core_place("|/usr/bin/own-collector %p", false, web, 11), "");
  EXPECT_EQ(core_place("", true, web, 11), "");
}

TEST(CorePlace, OfSystemdIsTheCommandThatFindsIt) {
  EXPECT_EQ(
      core_place("|/lib/systemd/systemd-coredump %P %u %g %s %t 9223372036854775808 %h", false, web, 11),
      "coredumpctl info 4711");
}

TEST(CoreTraitsOf, AProcessAreItsOwn) {
  const auto traits = core_traits(::getpid(), "/tmp");
  EXPECT_EQ(traits.pid, ::getpid());
  EXPECT_EQ(traits.uid, ::getuid());
  EXPECT_EQ(traits.gid, ::getgid());
  EXPECT_EQ(traits.name, "os_tests");
  EXPECT_EQ(traits.directory, "/tmp");
  EXPECT_FALSE(core_traits(::getpid(), "").directory.empty());
}

TEST(CoreDump, IsForbiddenAndAllowedAgainWithoutTheHardLimit) {
  EXPECT_FALSE(dumps_core(::getpid()));
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_CORE, &before), 0);
  if (before.rlim_max < 4096) GTEST_SKIP() << "no core dumps here";
  const core::Limit usual{"core", 4096};
  allow_core(::getpid(), false, usual);
  rlimit now{};
  ::getrlimit(RLIMIT_CORE, &now);
  EXPECT_EQ(now.rlim_cur, 1u);
  EXPECT_EQ(now.rlim_max, before.rlim_max);
  allow_core(::getpid(), true, usual);
  ::getrlimit(RLIMIT_CORE, &now);
  EXPECT_EQ(now.rlim_cur, 4096u);
  ::setrlimit(RLIMIT_CORE, &before);
}

}  // namespace
}  // namespace refork::os
