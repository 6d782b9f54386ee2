// What the packages leave on a machine.
#include <gmock/gmock.h>

#include <sstream>

#include "e2e/system/installed.h"

namespace refork::test {
namespace {

using testing::IsEmpty;
using testing::Not;

class Packages : public Installed {
 protected:
  // Every file by the name of refork on the disk and in memory.
  std::vector<std::string> files() const {
    std::istringstream found(
        machine_.output({"find", "/", "/run", "/tmp", "/dev/shm", "-xdev", "-iname", "*refork*"}));
    std::vector<std::string> names;
    for (std::string name; std::getline(found, name);) names.push_back(name);
    return names;
  }
};

TEST_F(Packages, PurgedLeaveNothingBehind) {
  const auto kept_by_the_machine = [](const std::string& name) {
    return name.starts_with("/var/log/journal");
  };
  EXPECT_THAT(files(), Not(IsEmpty()));
  serve({{"web", web()}});
  EXPECT_EQ(http_get(kWeb, "/error").status, 500);
  ASSERT_TRUE(wait_for_failures(1));
  const auto purged = machine_.sh("apt-get purge -y reforkd librefork0");
  EXPECT_EQ(purged.code, 0) << purged.out << purged.err;
  auto left = files();
  std::erase_if(left, kept_by_the_machine);
  EXPECT_THAT(left, IsEmpty());
  EXPECT_EQ(machine_.run({"pgrep", "-f", "refork|/servers/"}).code, 1);
  EXPECT_EQ(machine_.run({"getent", "group", "refork"}).code, 2);
  EXPECT_EQ(machine_.output({"systemctl", "--failed", "--plain", "--no-legend"}), "");
  EXPECT_EQ(machine_.run({"systemctl", "cat", "reforkd"}).code, 1);
}

TEST_F(Packages, RemovedKeepConfigurationAndRecordsForTheNextInstallation) {
  serve({{"web", web()}});
  EXPECT_EQ(http_get(kWeb, "/error").status, 500);
  ASSERT_TRUE(wait_for_failures(1));
  const auto removed = machine_.sh("apt-get remove -y reforkd");
  EXPECT_EQ(removed.code, 0) << removed.out << removed.err;
  EXPECT_EQ(machine_.run({"pgrep", "-f", "/servers/"}).code, 1);
  EXPECT_TRUE(machine_.exists("/etc/refork/refork.json"));
  EXPECT_EQ(machine_.sh("apt-get install -y /packages/reforkd_*.deb").code, 0);
  machine_.output({"systemctl", "start", "reforkd"});
  ASSERT_TRUE(wait_until_settled());
  EXPECT_EQ(failures().size(), 1U);
}

}  // namespace
}  // namespace refork::test
