// Streams into the journal: a socket of the test's own in journald's place.
#include "os/journal.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <vector>

namespace refork::os {
namespace {

class JournalStream : public ::testing::Test {
 protected:
  static constexpr int backlog = 2;

  void SetUp() override {
    std::string pattern = std::filesystem::temp_directory_path() / "refork-stream-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
    path_ = directory_ + "/stdout";
    listener_.reset(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path_.c_str(), sizeof address.sun_path - 1);
    ASSERT_EQ(::bind(listener_.get(), static_cast<sockaddr*>(static_cast<void*>(&address)), sizeof address),
              0);
    ASSERT_EQ(::listen(listener_.get(), backlog), 0);
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::string receive_all() {
    const base::UniqueFd peer(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    std::string all, buffer(4096, '\0');
    for (ssize_t got = 0; (got = ::read(peer.get(), buffer.data(), buffer.size())) > 0;)
      all.append(buffer, 0, static_cast<std::size_t>(got));
    return all;
  }

  std::string directory_, path_;
  base::UniqueFd listener_;
};

TEST_F(JournalStream, BeginsWithTheIdentifierAndCarriesLines) {
  {
    const auto stream = open_journal_stream("web", path_.c_str());
    ASSERT_TRUE(stream) << stream.error().what;
    EXPECT_EQ(::write(stream->get(), "hello\n", 6), 6);
  }
  EXPECT_EQ(receive_all(), "web\n\n6\n1\n0\n0\n0\nhello\n");
}

TEST_F(JournalStream, IsOneThatProgramsExpect) {
  const auto stream = open_journal_stream("web", path_.c_str());
  ASSERT_TRUE(stream);
  EXPECT_EQ(::fcntl(stream->get(), F_GETFL) & O_NONBLOCK, 0);
  EXPECT_NE(::fcntl(stream->get(), F_GETFD) & FD_CLOEXEC, 0);
}

TEST_F(JournalStream, IsNotWaitedForWhereNobodyAcceptsIt) {
  std::vector<base::UniqueFd> open;
  for (int i = 0; i < 100; ++i) {
    auto stream = open_journal_stream("web", path_.c_str());
    if (!stream) break;
    open.push_back(std::move(*stream));
  }
  EXPECT_EQ(open.size(), static_cast<std::size_t>(backlog) + 1) << "the kernel counts so";
}

TEST_F(JournalStream, ThatIsNotThereIsAnError) {
  listener_.reset();
  const auto stream = open_journal_stream("web", path_.c_str());
  ASSERT_FALSE(stream);
  EXPECT_NE(stream.error().what.find("stream to the journal"), std::string::npos);
}

TEST(JournalEnd, IsEmptyForAProcessThatWroteNothing) {
  EXPECT_EQ(read_journal_end("refork-no-such-identifier", ::getpid(), 0, 1000), "");
}

}  // namespace
}  // namespace refork::os
