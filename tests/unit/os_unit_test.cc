// What systemd is asked about a unit: here by a manager that this test plays.
#include "os/unit.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

#include <string>
#include <thread>

#include "os/listener.h"

namespace refork::os {
namespace {

using std::chrono::milliseconds;
constexpr milliseconds soon{50};
constexpr std::chrono::minutes at_last{1};

class Manager : public ::testing::Test {
 protected:
  ~Manager() override { socket_.unlink_path(); }

  const std::string path_ = ::testing::TempDir() + "refork-manager-" + std::to_string(::getpid());
  const std::string address_ = "unix:path=" + path_;
  ListenSocket socket_ = *ListenSocket::open("unix:" + path_, false);
};

TEST_F(Manager, IsNotWaitedForWhereItSaysNothingAtAll) {
  EXPECT_EQ(unit_stays_stopped("web.service", address_, soon), std::nullopt);
}

TEST_F(Manager, ThatIsNotThereIsNotAsked) {
  EXPECT_EQ(unit_stays_stopped("web.service", "unix:path=" + path_ + "-not", at_last), std::nullopt);
}

int no_answer(sd_bus_message*, void*, sd_bus_error*) noexcept { return 1; }

int list_jobs(sd_bus_message* call, void*, sd_bus_error*) noexcept {
  sd_bus_message* answer = nullptr;
  if (sd_bus_message_new_method_return(call, &answer) < 0) return 1;
  sd_bus_message_append(answer, "a(usssoo)", 2, 1, "other.service", "stop", "running", "/1", "/u1", 2,
                        "web.service", "restart", "running", "/2", "/u2");
  sd_bus_send(nullptr, answer, nullptr);
  sd_bus_message_unref(answer);
  return 1;
}

// Answers one client after the other, each until it goes.
class Answering : public Manager {
 protected:
  void answer(sd_bus_message_handler_t with) {
    thread_ = std::thread([this, with] {
      const int fd = ::accept4(socket_.fd(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
      sd_bus* bus = nullptr;
      sd_bus_new(&bus);
      sd_id128_t id{};
      sd_bus_set_fd(bus, fd, fd);
      sd_bus_set_server(bus, 1, id);
      sd_bus_set_anonymous(bus, 1);
      sd_bus_start(bus);
      sd_bus_add_filter(bus, nullptr, with, nullptr);
      for (int done = 0; done >= 0;)
        if ((done = sd_bus_process(bus, nullptr)) == 0) done = sd_bus_wait(bus, 100'000);
      sd_bus_close_unref(bus);
    });
  }
  ~Answering() override { thread_.join(); }

 private:
  std::thread thread_;
};

TEST_F(Answering, KnowsWhichUnitStaysStopped) {
  answer(list_jobs);
  EXPECT_EQ(unit_stays_stopped("other.service", address_, at_last), true);
}

TEST_F(Answering, KnowsWhichUnitIsStartedAgain) {
  answer(list_jobs);
  EXPECT_EQ(unit_stays_stopped("web.service", address_, at_last), false);
}

TEST_F(Answering, KnowsWhichUnitHasNoJob) {
  answer(list_jobs);
  EXPECT_EQ(unit_stays_stopped("third.service", address_, at_last), false);
}

TEST_F(Answering, IsNotWaitedForWhereItDoesNotAnswer) {
  answer(no_answer);
  EXPECT_EQ(unit_stays_stopped("web.service", address_, soon), std::nullopt);
}

}  // namespace
}  // namespace refork::os
