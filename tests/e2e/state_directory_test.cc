// A state directory that is full or read-only: the service goes on, status says so, and the records come when
// they can.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>

#include "base/unique_fd.h"
#include "e2e/scene.h"

namespace refork::test {
namespace {

using nlohmann::json;

// A tmpfs of its own as the state directory, where the user may mount one.
class StateDirectory : public testing::Test {
 protected:
  void SetUp() override {
    const std::string place = dir_.file("state");
    ASSERT_EQ(::mkdir(place.c_str(), 0700), 0);
    if (::mount("tmpfs", place.c_str(), "tmpfs", 0, "size=1m,mode=0700") != 0)
      GTEST_SKIP() << "needs to mount a tmpfs";
    mounted_ = true;
  }
  void TearDown() override {
    daemon_.reset();
    if (mounted_) ::umount2(dir_.file("state").c_str(), MNT_DETACH);
  }
  void start() {
    daemon_ = std::make_unique<Daemon>(Daemon::with_state(
        dir_.file("state"),
        {"--workers", "2", "--listen", "tcp://127.0.0.1:0", "--", built_program("examples/http_asio")}));
    ASSERT_TRUE(wait_until_settled(*daemon_)) << daemon_->log();
  }
  std::string store_state() const { return daemon_->status()["daemon"]["store"]["state"].get<std::string>(); }
  void expect_errors(int count) {
    for (int i = 0; i < count; ++i, ++culprits_)
      EXPECT_EQ(http_get(daemon_->address(), "/error").status, 500);
  }

  TempDir dir_;
  std::unique_ptr<Daemon> daemon_;
  bool mounted_ = false;
  std::size_t culprits_ = 0;
};

TEST_F(StateDirectory, AFullDiskDegradesTheStoreAndNothingElse) {
  start();
  expect_errors(2);
  ASSERT_TRUE(daemon_->wait_for_failures(2));
  const std::string filler = dir_.file("state/filler");
  {
    std::ofstream fill(filler, std::ios::binary);
    const std::string block(4096, 'x');
    while (fill.write(block.data(), static_cast<std::streamsize>(block.size())).flush()) {
    }
  }
  for (int i = 0; i < 100 && store_state() == "ok"; ++i) expect_errors(1);
  ASSERT_EQ(store_state(), "degraded");
  expect_errors(2);
  ASSERT_TRUE(daemon_->wait_for_failures(culprits_)) << "the newest are kept in memory";
  EXPECT_NE(daemon_->status()["daemon"]["store"]["why"].get<std::string>(), "");
  EXPECT_TRUE(wait_until_settled(*daemon_));
  EXPECT_EQ(http_get(daemon_->address(), "/").status, 200);

  ASSERT_EQ(::unlink(filler.c_str()), 0);
  EXPECT_TRUE(wait_until([&] { return store_state() == "ok"; }));
  EXPECT_EQ(daemon_->failures().size(), culprits_);
  ASSERT_TRUE(daemon_->stop());
  daemon_->start();
  ASSERT_TRUE(wait_until_settled(*daemon_));
  EXPECT_EQ(daemon_->failures().size(), culprits_);
}

TEST_F(StateDirectory, AReadOnlyDiskAtTheStartDegradesTheStoreAndNothingElse) {
  const std::string place = dir_.file("state");
  ASSERT_EQ(::mount(nullptr, place.c_str(), nullptr, MS_REMOUNT | MS_RDONLY, "size=1m,mode=0700"), 0);
  start();
  EXPECT_EQ(store_state(), "degraded");
  expect_errors(2);
  ASSERT_TRUE(daemon_->wait_for_failures(2));
  ASSERT_EQ(::mount(nullptr, place.c_str(), nullptr, MS_REMOUNT, "size=1m,mode=0700"), 0);
  EXPECT_TRUE(wait_until([&] { return store_state() == "ok"; }));
  ASSERT_TRUE(daemon_->stop());
  daemon_->start();
  ASSERT_TRUE(wait_until_settled(*daemon_));
  EXPECT_EQ(daemon_->failures().size(), 2U);
}

}  // namespace
}  // namespace refork::test
