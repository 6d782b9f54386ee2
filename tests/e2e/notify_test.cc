// Who can say something to reforkd and its keeper at all: the sockets of `ready: notify` are files for the
// service's user, the keeper's has no name. The tests with another user need root, which can become one.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pwd.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>

#include "e2e/scene.h"

namespace refork::test {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::StartsWith;

constexpr const char* kStranger = "nobody";

Daemon notifying(std::vector<std::string> options = {}) {
  options.insert(options.end(), {"--workers", "1", "--ready", "notify", "--drain-deadline", "2s"});
  return web_of(unlinked_server(), std::move(options), {"--notify"});
}

std::string file_of(const Daemon& daemon) { return daemon.control() + ".notify.web"; }

std::string read_all(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

// $NOTIFY_SOCKET of the worker in slot 0.
std::string socket_of(const Daemon& daemon) {
  const std::string all = '\0' + read_all("/proc/" + std::to_string(daemon.pids().at(0)) + "/environ");
  const std::string name = std::string(1, '\0') + "NOTIFY_SOCKET=";
  const auto at = all.find(name);
  return at == std::string::npos ? "" : all.c_str() + at + name.size();
}

struct stat status_of(const std::string& path) {
  struct stat status {};
  EXPECT_EQ(::lstat(path.c_str(), &status), 0) << path;
  return status;
}

sockaddr_un address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
  return address;
}

// 0, or the errno of one message.
int send_once(const sockaddr_un& to, std::string_view text) {
  const int fd = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  const bool sent = ::sendto(fd, text.data(), text.size(), MSG_NOSIGNAL,
                             static_cast<const sockaddr*>(static_cast<const void*>(&to)), sizeof to) >= 0;
  const int code = sent ? 0 : errno;
  ::close(fd);
  return code;
}

// The same by a process of another user.
int send_as(const passwd& user, const sockaddr_un& to, std::string_view text) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    if (::setgid(user.pw_gid) != 0 || ::setuid(user.pw_uid) != 0) ::_exit(255);
    ::_exit(send_once(to, text));
  }
  int status = 0;
  EXPECT_EQ(::waitpid(pid, &status, 0), pid);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

// Names in the abstract namespace of this process's sockets.
std::vector<std::string> abstract_names_of(pid_t pid) {
  std::set<std::string> own;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/fd")) {
    std::error_code gone;
    const std::string target = std::filesystem::read_symlink(entry.path(), gone);
    if (target.starts_with("socket:[")) own.insert(target.substr(8, target.size() - 9));
  }
  std::ifstream table("/proc/net/unix");
  std::vector<std::string> names;
  for (std::string line; std::getline(table, line);) {
    std::istringstream words(line);
    const std::vector<std::string> all{std::istream_iterator<std::string>(words), {}};
    if (all.size() == 8 && all[7].starts_with('@') && own.contains(all[6])) names.push_back(all[7]);
  }
  return names;
}

// Files beside the control socket, and that one.
std::size_t sockets_left(const Daemon& daemon) {
  std::size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(daemon.directory().path()))
    if (entry.path().filename().string().starts_with("control")) ++count;
  return count;
}

// Sends without an end, in a process of its own.
class Flood {
 public:
  Flood(const std::string& path, std::string_view text) : pid_(::fork()) {
    const auto address = address_of(path);
    if (pid_ == 0)
      while (true) send_once(address, text);
  }
  Flood(const Flood&) = delete;
  Flood& operator=(const Flood&) = delete;
  ~Flood() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }

 private:
  pid_t pid_;
};

void expect_a_new_worker(Daemon& daemon) {
  const pid_t before = daemon.pids().at(0);
  ASSERT_EQ(::kill(before, SIGKILL), 0);
  ASSERT_TRUE(daemon.wait_for([before](const json& service) {
    return service["state"] == "running" && service["workers"].size() == 1 &&
           service["workers"][0]["pid"] != before && service["workers"][0]["state"] == "serving";
  })) << daemon.log();
}

TEST(NotifySockets, AreFilesForTheirUserAloneAndGoneAfterTheStop) {
  Daemon daemon = notifying();
  ASSERT_TRUE(wait_until_settled(daemon)) << daemon.log();
  EXPECT_EQ(socket_of(daemon), file_of(daemon));
  const auto status = status_of(file_of(daemon));
  EXPECT_TRUE(S_ISSOCK(status.st_mode));
  EXPECT_EQ(status.st_mode & 07777U, 0600U);
  EXPECT_EQ(status.st_uid, ::geteuid());
  ASSERT_TRUE(daemon.stop());
  EXPECT_EQ(sockets_left(daemon), 0U);
}

TEST(NotifySockets, NoneIsOpenToEveryProcess) {
  Daemon daemon = notifying();
  ASSERT_TRUE(wait_until_settled(daemon)) << daemon.log();
  for (int life = 0; life < 2; ++life) {
    EXPECT_THAT(abstract_names_of(daemon.process().pid()), testing::IsEmpty()) << "the keeper's";
    EXPECT_THAT(abstract_names_of(daemon.pid()), testing::IsEmpty()) << "reforkd's";
    daemon.kill();
  }
}

TEST(NotifySockets, AnotherUserIsRefusedByTheKernel) {
  const passwd* const user = ::getpwnam(kStranger);
  if (::geteuid() != 0 || !user) GTEST_SKIP() << "only root can become another user";
  Daemon daemon = notifying();
  ASSERT_TRUE(wait_until_settled(daemon)) << daemon.log();
  // The directory lets everybody through, so that it is the socket that refuses.
  ASSERT_EQ(::chmod(daemon.directory().path().c_str(), 0711), 0);
  const auto address = address_of(file_of(daemon));
  EXPECT_EQ(send_once(address, "STATUS=of somebody"), 0);
  EXPECT_EQ(send_as(*user, address, "STATUS=of a stranger"), EACCES);
}

TEST(NotifySockets, OfAServiceWithAUserIsThatUsersWhereItCanBeReached) {
  const passwd* const user = ::getpwnam(kStranger);
  if (::geteuid() != 0 || !user) GTEST_SKIP() << "only root can start workers as another user";
  const TempDir place;  // where that user finds the program
  ASSERT_EQ(::chmod(place.path().c_str(), 0755), 0);
  std::filesystem::copy(unlinked_server(), place.file("server"));
  Daemon daemon =
      web({"--workers", "1", "--ready", "notify", "--user", kStranger}, {place.file("server"), "--notify"});
  ASSERT_TRUE(wait_until_settled(daemon)) << daemon.log();
  EXPECT_THAT(socket_of(daemon), StartsWith("@")) << "the directory of the control socket is closed";
  EXPECT_THAT(daemon.log(), HasSubstr("as user nobody: Permission denied; it is an abstract one"));
  EXPECT_FALSE(std::filesystem::exists(file_of(daemon)));
  ASSERT_TRUE(daemon.stop());

  ASSERT_EQ(::chmod(daemon.directory().path().c_str(), 0711), 0);
  daemon.start();
  ASSERT_TRUE(wait_until_settled(daemon)) << daemon.log();
  EXPECT_EQ(socket_of(daemon), file_of(daemon));
  EXPECT_EQ(status_of(file_of(daemon)).st_uid, user->pw_uid);
  EXPECT_EQ(status_of(file_of(daemon)).st_mode & 07777U, 0600U);
  daemon.kill();
  expect_a_new_worker(daemon);
}

TEST(NotifySockets, OutliveReforkdUnderTheirNames) {
  Daemon daemon = notifying();
  ASSERT_TRUE(wait_until_settled(daemon)) << daemon.log();
  const auto before = status_of(file_of(daemon)).st_ino;
  daemon.kill();
  EXPECT_EQ(status_of(file_of(daemon)).st_ino, before);
  expect_a_new_worker(daemon);
  ASSERT_EQ(daemon.ctl({"daemon-reexec"}).code, 0);
  EXPECT_EQ(status_of(file_of(daemon)).st_ino, before);
  expect_a_new_worker(daemon);
  // One that somebody has removed is made again, where the workers look for it.
  ASSERT_EQ(::unlink(file_of(daemon).c_str()), 0);
  daemon.kill();
  expect_a_new_worker(daemon);
  EXPECT_EQ(socket_of(daemon), file_of(daemon));
}

TEST(NotifySockets, StaleOnesAreReplaced) {
  Daemon daemon = notifying();
  ASSERT_TRUE(wait_until_settled(daemon)) << daemon.log();
  const pid_t worker = daemon.pids().at(0);
  daemon.kill_with_keeper();
  ::kill(worker, SIGKILL);
  ASSERT_TRUE(std::filesystem::exists(file_of(daemon)));
  daemon.start();
  ASSERT_TRUE(wait_until_settled(daemon)) << daemon.log();
  EXPECT_EQ(socket_of(daemon), file_of(daemon));
  ASSERT_TRUE(daemon.stop());
  EXPECT_EQ(sockets_left(daemon), 0U);
}

TEST(NotifySockets, AreAbstractWhereThereCanBeNoFile) {
  Daemon daemon = notifying();
  ASSERT_TRUE(daemon.stop());
  std::ofstream(file_of(daemon)) << "of somebody else";
  daemon.start();
  ASSERT_TRUE(wait_until_settled(daemon)) << daemon.log();
  EXPECT_THAT(socket_of(daemon), StartsWith("@"));
  EXPECT_THAT(daemon.log(), HasSubstr("a file that is no socket is in the way; it is an abstract one"));
  daemon.kill();
  expect_a_new_worker(daemon);
  ASSERT_TRUE(daemon.stop());
  EXPECT_EQ(read_all(file_of(daemon)), "of somebody else");
}

TEST(NotifySockets, AFloodOfItsOwnUserKeepsNoWorkerFromBeingReady) {
  Daemon daemon = notifying();
  ASSERT_TRUE(wait_until_settled(daemon)) << daemon.log();
  for (const std::string_view text : {"malformed", "READY=1\nSTATUS=flood\nSTOPPING=1"}) {
    const Flood first(file_of(daemon), text), second(file_of(daemon), text);
    for (int i = 0; i < 3; ++i) expect_a_new_worker(daemon);
    EXPECT_EQ(daemon.service()["workers"][0]["why"], "serving") << "its own";
  }
}

}  // namespace
}  // namespace refork::test
