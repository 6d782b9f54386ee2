// The way into the journal, and that it never waits.
#include "log/journal.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>

#include "base/unique_fd.h"
#include "log/format.h"

namespace refork::log {
namespace {

TEST(JournalEntry, HasALineForEachField) {
  EXPECT_EQ(journal_entry({"MESSAGE=ready", "PRIORITY=6"}), "MESSAGE=ready\nPRIORITY=6\n");
}

TEST(JournalEntry, TellsTheSizeOfAValueOfSeveralLines) {
  EXPECT_EQ(journal_entry({"MESSAGE=a\nb", "X=1"}),
            std::string("MESSAGE\n\x03\0\0\0\0\0\0\0a\nb\nX=1\n", 8 + 8 + 3 + 1 + 4));
}

// What listens in the journal's place.
class JournalSocket : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = std::filesystem::temp_directory_path() / "refork-journal-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
    path_ = directory_ + "/socket";
    fd_.reset(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path_.c_str(), sizeof address.sun_path - 1);
    ASSERT_EQ(::bind(fd_.get(), static_cast<sockaddr*>(static_cast<void*>(&address)), sizeof address), 0);
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::string receive() {
    std::string text(1 << 18, '\0');
    const ssize_t size = ::recv(fd_.get(), text.data(), text.size(), 0);
    text.resize(size > 0 ? static_cast<std::size_t>(size) : 0);
    return text;
  }

  std::string directory_, path_;
  base::UniqueFd fd_;
};

TEST_F(JournalSocket, GetsEachEntryAsOneDatagram) {
  EXPECT_TRUE(send_to_journal("MESSAGE=a\n", path_.c_str()));
  EXPECT_TRUE(send_to_journal("MESSAGE=b\n", path_.c_str()));
  EXPECT_EQ(receive(), "MESSAGE=a\n");
  EXPECT_EQ(receive(), "MESSAGE=b\n");
}

TEST_F(JournalSocket, ThatIsFullIsNotWaitedFor) {
  int taken = 0;
  while (taken < 100'000 && send_to_journal("MESSAGE=x\n", path_.c_str())) ++taken;
  EXPECT_GT(taken, 0);
  EXPECT_LT(taken, 100'000);
  receive();
  EXPECT_TRUE(send_to_journal("MESSAGE=x\n", path_.c_str())) << "there is room again";
}

TEST_F(JournalSocket, ThatIsNotThereIsNoError) {
  fd_.reset();
  EXPECT_FALSE(send_to_journal("MESSAGE=x\n", path_.c_str()));
}

TEST_F(JournalSocket, TakesTheLongestMessage) {
  for (const std::size_t more : {0u, 1u}) {
    const std::string entry =
        journal_entry(journal_fields(Level::info, std::string(longest_message + more, 'x'), nullptr));
    EXPECT_TRUE(send_to_journal(entry, path_.c_str()));
    const std::string received = receive();
    EXPECT_EQ(received, entry);
    EXPECT_EQ(received.find('\n'), longest_message + std::strlen("MESSAGE=")) << "cut where it is longer";
  }
}

}  // namespace
}  // namespace refork::log
