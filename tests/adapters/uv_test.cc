// libuv through refork::uv: which domain each kind of callback runs in, over real loops, sockets, files and
// processes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "adapters/seen.h"
#include "refork/uv.hpp"
#include "support/http.h"

namespace refork::test {
namespace {

namespace uv = refork::uv;
using testing::Contains;
using testing::ElementsAre;
using testing::UnorderedElementsAre;

thread_local std::vector<std::string>* noted = nullptr;
void note(const std::string& what) { noted->push_back(what + " in " + active()); }

std::size_t registered() { return uv::detail::Table::instance().size(); }

class Loop {
 public:
  Loop() { uv_loop_init(&loop_); }
  ~Loop() {
    uv_walk(
        &loop_,
        [](uv_handle_t* handle, void*) {
          if (!uv_is_closing(handle)) uv::close(handle, nullptr);
        },
        nullptr);
    run();
    EXPECT_EQ(uv_loop_close(&loop_), 0);
  }
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;
  operator uv_loop_t*() { return &loop_; }
  void run() { uv_run(&loop_, UV_RUN_DEFAULT); }

 private:
  uv_loop_t loop_;
};

class Uv : public testing::Test {
 protected:
  Uv() { noted = &order; }
  ~Uv() override { noted = nullptr; }
  // Runs until nothing is left to do, inside b: nothing must go where it happens to be run.
  void run() {
    b.domain.run([&] { loop.run(); });
  }

  // Handles and requests, which must outlive the loop's last turn.
  template <class T>
  T& make() {
    const auto made = std::make_shared<T>();
    kept_.push_back(made);
    return *made;
  }

 private:
  std::vector<std::shared_ptr<void>> kept_;

 protected:
  std::vector<std::string> order;
  Watched a{"a"};
  Watched b{"b"};
  Loop loop;  // ends first
};

void no_memory(uv_handle_t*, std::size_t, uv_buf_t* buffer) {
  static char bytes[1024];
  note("alloc");
  *buffer = uv_buf_init(bytes, sizeof bytes);
}

sockaddr_in loopback() {
  sockaddr_in address{};
  uv_ip4_addr("127.0.0.1", 0, &address);
  return address;
}
template <class T>
const sockaddr* generic(const T& address) {
  return reinterpret_cast<const sockaddr*>(&address);
}
template <class T>
uv_stream_t* stream(T& handle) {
  return reinterpret_cast<uv_stream_t*>(&handle);
}

// D4
TEST_F(Uv, ATimersCallbackBelongsToTheDomainInWhichItWasStartedAndItsDataIsLeftAlone) {
  auto& timer = make<uv_timer_t>();
  uv_timer_init(loop, &timer);
  timer.data = &timer;
  a.domain.run([&] {
    uv::timer_start(
        &timer, [](uv_timer_t* fired) { fail_with(fired->data == fired ? "of a" : "other data"); }, 0, 0);
  });
  run();
  ASSERT_EQ(a.messages(), std::vector<std::string>{"of a"});
  EXPECT_TRUE(is_thrown_plainly(a.last(), "a"));
  EXPECT_EQ(b.count(), 0U);
}

// D41
TEST_F(Uv, ARepeatingTimerThatThrowsIsHandledEachTimeUntilItIsStopped) {
  auto& timer = make<uv_timer_t>();
  uv_timer_init(loop, &timer);
  int left = 3;
  timer.data = &left;
  a.domain.run([&] {
    uv::timer_start(
        &timer,
        [](uv_timer_t* fired) {
          if (--*static_cast<int*>(fired->data) == 0) uv::timer_stop(fired);
          fail_with("tick");
        },
        0, 1);
  });
  a.let_go();
  EXPECT_TRUE(a.alive());
  run();
  EXPECT_EQ(left, 0);
  EXPECT_FALSE(a.alive()) << "a timer that was stopped holds no domain";
}

TEST_F(Uv, ATimerStartedAgainBelongsToTheLastDomainThatDidSo) {
  auto& timer = make<uv_timer_t>();
  uv_timer_init(loop, &timer);
  a.domain.run([&] {
    uv::timer_start(
        &timer, [](uv_timer_t*) { note("first"); }, 0, 0);
  });
  b.domain.run([&] {
    uv::timer_start(
        &timer, [](uv_timer_t*) { note("second"); }, 0, 0);
  });
  loop.run();
  uv::timer_start(
      &timer, [](uv_timer_t*) { note("nobody's"); }, 0, 0);
  loop.run();
  EXPECT_THAT(order, ElementsAre("second in b", "nobody's in uv"));
}

// D5
// D12: what Node documents of add(timer) and remove(timer), and does not do.
TEST_F(Uv, ATimerThatIsAMemberFiresInTheDomainThatItWasAddedToLast) {
  uv::Timer timer(loop);
  const auto fire = [&] {
    timer.start([] { note("it"); }, std::chrono::milliseconds(0));
    run();
  };
  a.domain.add(timer);
  EXPECT_THAT(a.domain.members(), ElementsAre(&timer));
  fire();
  b.domain.add(timer);
  EXPECT_THAT(a.domain.members(), ElementsAre());
  fire();
  a.domain.remove(timer);  // it is not a's
  fire();
  b.domain.remove(timer);
  EXPECT_THAT(b.domain.members(), ElementsAre());
  fire();
  EXPECT_FALSE(timer.domain());
  EXPECT_THAT(order, ElementsAre("it in a", "it in b", "it in b", "it in uv"));
}

TEST_F(Uv, ATimerMadeInADomainRepeatsThereAndItsOwnTickMayEndIt) {
  std::unique_ptr<uv::Timer> timer;
  a.domain.run([&] { timer = std::make_unique<uv::Timer>(loop, "clock"); });
  int ticks = 0;
  timer->start(
      [&] {
        if (++ticks == 3) timer.reset();
        fail_with("tick");
      },
      std::chrono::milliseconds(0), std::chrono::milliseconds(1));
  EXPECT_TRUE(a.domain.members().empty()) << "D6: bound, and not listed";
  run();
  EXPECT_EQ(a.messages(), std::vector<std::string>(3, "tick"));
  EXPECT_EQ(a.last().bound, "clock");
}

TEST_F(Uv, AWatcherThatIsAMemberFiresInTheDomainThatItWasAddedToLastUntilItEnds) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe(ends.data()), 0);
  auto watcher = std::make_unique<uv::Poll>(loop, ends[0]);
  ASSERT_EQ(::write(ends[1], "x", 1), 1);
  const auto fire = [&] {
    ASSERT_EQ(watcher->start(UV_READABLE,
                             [&](int status, int events) {
                               note(status == 0 && events == UV_READABLE ? "it" : "an error");
                               watcher->stop();
                             }),
              0);
    run();
  };
  fire();
  a.domain.add(*watcher);
  fire();
  b.domain.add(*watcher);
  fire();
  EXPECT_THAT(order, ElementsAre("it in uv", "it in a", "it in b"));
  watcher.reset();
  EXPECT_THAT(b.domain.members(), ElementsAre());
  ::close(ends[0]);
  ::close(ends[1]);
  EXPECT_THROW(uv::Poll(loop, -1), std::system_error);
}

// D7
TEST_F(Uv, ATimersOwnListenerWinsOverItsDomain) {
  uv::Timer timer(loop);
  a.domain.add(timer);
  timer.report(std::make_error_code(std::errc::timed_out));
  ASSERT_EQ(a.count(), 1U);
  EXPECT_EQ(a.last().emitter, "timer");
  int heard = 0;
  timer.on_error([&](const Failure&) { ++heard; });
  timer.report(std::make_error_code(std::errc::timed_out));
  EXPECT_EQ(heard, 1);
  EXPECT_EQ(a.count(), 1U);
}

TEST_F(Uv, ThereIsNoWayOutOfADomainByHoppingFromCallbackToCallback) {
  struct Hops {
    uv_timer_t timer;
    uv_idle_t idle;
    uv_fs_t fs;
    uv_work_t work;
  };
  auto& hops = make<Hops>();
  hops.timer.data = hops.idle.data = hops.fs.data = hops.work.data = &hops;
  uv_timer_init(loop, &hops.timer);
  uv_idle_init(loop, &hops.idle);
  a.domain.run([&] {
    uv::timer_start(
        &hops.timer,
        [](uv_timer_t* timer) {
          uv::idle_start(&static_cast<Hops*>(timer->data)->idle, [](uv_idle_t* idle) {
            uv::idle_stop(idle);
            uv::fs(uv_fs_stat, idle->loop, &static_cast<Hops*>(idle->data)->fs, "/", [](uv_fs_t* fs) {
              uv_fs_req_cleanup(fs);
              uv::queue_work(
                  fs->loop, &static_cast<Hops*>(fs->data)->work, [](uv_work_t*) {},
                  [](uv_work_t*, int) { fail_with("far"); });
            });
          });
        },
        0, 0);
  });
  run();
  EXPECT_EQ(a.messages(), std::vector<std::string>{"far"});
}

// D25
TEST_F(Uv, AfterAThrowTheOtherDueCallbacksStillRunInOrderEachInItsDomain) {
  auto& timers = make<std::array<uv_timer_t, 3>>();
  for (uv_timer_t& timer : timers) uv_timer_init(loop, &timer);
  a.domain.run([&] {
    uv::timer_start(
        &timers[0], [](uv_timer_t*) { fail_with("first"); }, 0, 0);
  });
  b.domain.run([&] {
    uv::timer_start(
        &timers[1], [](uv_timer_t*) { note("second"); }, 0, 0);
  });
  uv_timer_start(
      &timers[2], [](uv_timer_t*) { note("a plain one"); }, 0, 0);
  loop.run();
  EXPECT_EQ(a.count(), 1U);
  EXPECT_THAT(order, ElementsAre("second in b", "a plain one in none"));
  EXPECT_EQ(active(), "none");
}

TEST_F(Uv, IdlePrepareAndCheckCallBackInTheirDomains) {
  auto& idle = make<uv_idle_t>();
  auto& prepare = make<uv_prepare_t>();
  auto& check = make<uv_check_t>();
  uv_idle_init(loop, &idle);
  uv_prepare_init(loop, &prepare);
  uv_check_init(loop, &check);
  check.data = &idle;
  a.domain.run([&] {
    uv::idle_start(&idle, [](uv_idle_t*) { fail_with("idle"); });
    uv::check_start(&check, [](uv_check_t* handle) {
      uv::check_stop(handle);
      uv::idle_stop(static_cast<uv_idle_t*>(handle->data));  // until then it keeps the loop turning
      fail_with("check");
    });
  });
  b.domain.run([&] {
    uv::prepare_start(&prepare, [](uv_prepare_t* handle) {
      uv::prepare_stop(handle);
      note("prepare");
    });
  });
  loop.run();
  EXPECT_THAT(a.messages(), ElementsAre("idle", "check"));
  EXPECT_THAT(order, ElementsAre("prepare in b"));
}

TEST_F(Uv, AnAsyncCallsBackInTheDomainThatMadeItWhoeverSends) {
  auto& async = make<uv_async_t>();
  a.domain.run([&] {
    uv::async_init(loop, &async, [](uv_async_t* handle) {
      uv::close(handle, nullptr);
      fail_with("sent");
    });
  });
  std::thread sender([&] { b.domain.run([&] { uv_async_send(&async); }); });
  run();
  sender.join();
  EXPECT_EQ(a.messages(), std::vector<std::string>{"sent"});
}

TEST_F(Uv, SignalsPollsAndFileEventsCallBackInTheirDomains) {
  auto& signal = make<uv_signal_t>();
  auto& once = make<uv_signal_t>();
  auto& poll = make<uv_poll_t>();
  int pipe[2];
  ASSERT_EQ(::pipe(pipe), 0);
  uv_signal_init(loop, &signal);
  uv_signal_init(loop, &once);
  uv_poll_init(loop, &poll, pipe[0]);
  a.domain.run([&] {
    uv::signal_start(
        &signal,
        [](uv_signal_t* handle, int) {
          uv::signal_stop(handle);
          fail_with("signal");
        },
        SIGUSR2);
    uv::signal_start_oneshot(
        &once, [](uv_signal_t*, int) { fail_with("signal once"); }, SIGUSR2);
    uv::poll_start(&poll, UV_READABLE, [](uv_poll_t* handle, int, int) {
      uv::poll_stop(handle);
      fail_with("poll");
    });
  });
  ASSERT_EQ(::write(pipe[1], "x", 1), 1);
  ::raise(SIGUSR2);
  run();
  EXPECT_THAT(a.messages(), UnorderedElementsAre("signal", "signal once", "poll"));
  ::close(pipe[0]);
  ::close(pipe[1]);
}

TEST_F(Uv, ChangesOfAFileAreToldInTheDomainThatWatchesIt) {
  std::string name = testing::TempDir() + "refork-uv-XXXXXX";
  const int file = ::mkstemp(name.data());
  ASSERT_GE(file, 0);
  auto& event = make<uv_fs_event_t>();
  uv_fs_event_init(loop, &event);
  a.domain.run([&] {
    uv::fs_event_start(
        &event,
        [](uv_fs_event_t* handle, const char*, int, int) {
          uv::fs_event_stop(handle);
          fail_with("changed");
        },
        name.c_str(), 0);
  });
  ASSERT_EQ(::write(file, "x", 1), 1);
  run();
  EXPECT_EQ(a.messages(), std::vector<std::string>{"changed"});
  ::close(file);
  ::unlink(name.c_str());
}

TEST_F(Uv, AProcessEndsInTheDomainThatSpawnedIt) {
  auto& process = make<uv_process_t>();
  char program[] = "/bin/true";
  char* arguments[] = {program, nullptr};
  uv_process_options_t options{};
  options.file = program;
  options.args = arguments;
  options.exit_cb = [](uv_process_t*, std::int64_t, int) { fail_with("exited"); };
  const auto before = options.exit_cb;
  a.domain.run([&] { ASSERT_EQ(uv::spawn(loop, &process, &options), 0); });
  EXPECT_EQ(options.exit_cb, before);
  run();
  EXPECT_EQ(a.messages(), std::vector<std::string>{"exited"});
}

// A server and its client, each with callbacks in a domain of its own.
struct Exchange {
  uv_tcp_t server;
  uv_tcp_t client;
  uv_tcp_t accepted;
  uv_connect_t connect;
  uv_write_t write;
  uv_shutdown_t shutdown;
};

TEST_F(Uv, StreamsCallBackInTheDomainOfEachOperation) {
  auto& exchange = make<Exchange>();
  for (uv_tcp_t* tcp : {&exchange.server, &exchange.client, &exchange.accepted}) {
    uv_tcp_init(loop, tcp);
    tcp->data = &exchange;
  }
  exchange.connect.data = &exchange;
  sockaddr_in address = loopback();
  uv_tcp_bind(&exchange.server, generic(address), 0);
  int length = sizeof address;
  uv_tcp_getsockname(&exchange.server, reinterpret_cast<sockaddr*>(&address), &length);
  a.domain.run([&] {
    uv::listen(stream(exchange.server), 1, [](uv_stream_t* server, int) {
      auto& all = *static_cast<Exchange*>(server->data);
      note("connection");
      uv_accept(server, stream(all.accepted));
      uv::read_start(stream(all.accepted), no_memory, [](uv_stream_t* from, ssize_t size, const uv_buf_t*) {
        note(size > 0 ? "read" : "end");
        if (size > 0) return;
        uv::close(from, [](uv_handle_t*) { note("closed"); });
        uv::close(&static_cast<Exchange*>(from->data)->server, nullptr);
        fail_with("at the end");
      });
    });
  });
  b.domain.run([&] {
    uv::tcp_connect(
        &exchange.connect, &exchange.client, generic(address), [](uv_connect_t* connect, int status) {
          auto& all = *static_cast<Exchange*>(connect->data);
          note(status == 0 ? "connect" : "refused");
          uv_buf_t bytes = uv_buf_init(const_cast<char*>("x"), 1);
          uv::write(&all.write, stream(all.client), &bytes, 1, [](uv_write_t*, int) { note("write"); });
          uv::shutdown(&all.shutdown, stream(all.client), [](uv_shutdown_t* shutdown, int) {
            note("shutdown");
            uv::close(shutdown->handle, nullptr);
            fail_with("shut down");
          });
        });
  });
  loop.run();
  EXPECT_THAT(order,
              UnorderedElementsAre("connection in a", "connect in b", "write in b", "shutdown in b",
                                   "alloc in a", "read in a", "alloc in a", "end in a", "closed in a"));
  EXPECT_EQ(a.messages(), std::vector<std::string>{"at the end"});
  EXPECT_EQ(b.messages(), std::vector<std::string>{"shut down"});
  EXPECT_EQ(registered(), 0U);
}

TEST_F(Uv, AConnectionCallbackThatThrowsDropsThatConnectionAndTheNextIsServed) {
  const std::string name = testing::TempDir() + "refork-uv-" + std::to_string(::getpid());
  ::unlink(name.c_str());
  auto& server = make<uv_pipe_t>();
  auto& clients = make<std::array<uv_pipe_t, 2>>();
  auto& connects = make<std::array<uv_connect_t, 2>>();
  uv_pipe_init(loop, &server, 0);
  uv_pipe_bind(&server, name.c_str());
  int seen = 0;
  server.data = &seen;
  a.domain.run([&] {
    uv::listen(stream(server), 8, [](uv_stream_t* listening, int) {
      if (++*static_cast<int*>(listening->data) == 2) uv::close(listening, nullptr);
      fail_with("before it was accepted");
    });
  });
  b.domain.run([&] {
    for (std::size_t i = 0; i < 2; ++i) {
      uv_pipe_init(loop, &clients[i], 0);
      uv::pipe_connect(&connects[i], &clients[i], name.c_str(), [](uv_connect_t* connect, int status) {
        note(status == 0 ? "connect" : "refused");
        uv::close(connect->handle, nullptr);
      });
    }
  });
  loop.run();
  EXPECT_EQ(seen, 2);
  EXPECT_EQ(a.count(), 2U);
  EXPECT_THAT(order, ElementsAre("connect in b", "connect in b"));
}

TEST_F(Uv, DatagramsCallBackInTheDomainsOfSenderAndReceiver) {
  auto& receiver = make<uv_udp_t>();
  auto& sender = make<uv_udp_t>();
  auto& send = make<uv_udp_send_t>();
  uv_udp_init(loop, &receiver);
  uv_udp_init(loop, &sender);
  sockaddr_in address = loopback();
  uv_udp_bind(&receiver, generic(address), 0);
  int length = sizeof address;
  uv_udp_getsockname(&receiver, reinterpret_cast<sockaddr*>(&address), &length);
  a.domain.run([&] {
    uv::udp_recv_start(&receiver, no_memory,
                       [](uv_udp_t* udp, ssize_t size, const uv_buf_t*, const sockaddr*, unsigned) {
                         if (size == 0) return;
                         uv::udp_recv_stop(udp);
                         fail_with("received");
                       });
  });
  b.domain.run([&] {
    uv_buf_t bytes = uv_buf_init(const_cast<char*>("x"), 1);
    uv::udp_send(&send, &sender, &bytes, 1, generic(address), [](uv_udp_send_t*, int) { note("sent"); });
  });
  loop.run();
  EXPECT_EQ(a.messages(), std::vector<std::string>{"received"});
  EXPECT_THAT(order, Contains("sent in b"));
}

TEST_F(Uv, FilesAreOpenedReadAndClosedInTheDomainThatAsked) {
  struct Reading {
    uv_fs_t request;
    uv_file file;
    char bytes[16];
    uv_buf_t buffer;
  };
  auto& reading = make<Reading>();
  reading.request.data = &reading;
  a.domain.run([&] {
    uv::fs(uv_fs_open, loop, &reading.request, "/dev/zero", O_RDONLY, 0, [](uv_fs_t* opened) {
      auto& self = *static_cast<Reading*>(opened->data);
      note("open");
      self.file = static_cast<uv_file>(opened->result);
      uv_fs_req_cleanup(opened);
      self.buffer = uv_buf_init(self.bytes, sizeof self.bytes);
      uv::fs(uv_fs_read, opened->loop, opened, self.file, &self.buffer, 1U, 0, [](uv_fs_t* read) {
        note(read->result == 16 ? "read" : "error");
        uv_fs_req_cleanup(read);
        uv::fs(uv_fs_close, read->loop, read, static_cast<Reading*>(read->data)->file, [](uv_fs_t* closed) {
          uv_fs_req_cleanup(closed);
          fail_with("closed");
        });
      });
    });
  });
  run();
  EXPECT_THAT(order, ElementsAre("open in a", "read in a"));
  EXPECT_EQ(a.messages(), std::vector<std::string>{"closed"});
  // Without a callback it waits, as in libuv.
  EXPECT_EQ(uv::fs(uv_fs_stat, loop, &reading.request, "/", nullptr), 0);
  uv_fs_req_cleanup(&reading.request);
  EXPECT_EQ(registered(), 0U);
}

TEST_F(Uv, NamesAndRandomBytesComeBackToTheDomainThatAsked) {
  auto& names = make<uv_getaddrinfo_t>();
  auto& name = make<uv_getnameinfo_t>();
  auto& random = make<uv_random_t>();
  char bytes[8];
  const sockaddr_in address = loopback();
  addrinfo hints{};
  hints.ai_flags = AI_NUMERICHOST;
  a.domain.run([&] {
    uv::getaddrinfo(
        loop, &names,
        [](uv_getaddrinfo_t*, int, addrinfo* found) {
          uv_freeaddrinfo(found);
          fail_with("address");
        },
        "127.0.0.1", nullptr, &hints);
    uv::getnameinfo(
        loop, &name, [](uv_getnameinfo_t*, int, const char*, const char*) { fail_with("name"); },
        generic(address), NI_NUMERICHOST);
    uv::random(loop, &random, bytes, sizeof bytes, 0,
               [](uv_random_t*, int, void*, std::size_t) { fail_with("bytes"); });
  });
  run();
  EXPECT_THAT(a.messages(), UnorderedElementsAre("address", "name", "bytes"));
}

TEST_F(Uv, WorkOfThePoolAndWhatComesAfterItBelongToTheDomainThatQueuedThem) {
  auto& work = make<uv_work_t>();
  auto& alone = make<uv_work_t>();
  a.domain.run([&] {
    uv::queue_work(
        loop, &work, [](uv_work_t*) { fail_with("working"); },
        [](uv_work_t*, int status) {
          note(status == 0 ? "after" : "cancelled");
          fail_with("after it");
        });
    uv::queue_work(
        loop, &alone, [](uv_work_t*) { fail_with("alone"); }, nullptr);
  });
  run();
  EXPECT_THAT(a.messages(), UnorderedElementsAre("working", "after it", "alone"));
  EXPECT_THAT(order, ElementsAre("after in a"));
  EXPECT_EQ(registered(), 0U);
}

TEST_F(Uv, WhatIsCancelledOrClosedWhileItWaitsIsToldInItsOwnDomain) {
  auto& client = make<uv_tcp_t>();
  auto& connect = make<uv_connect_t>();
  uv_tcp_init(loop, &client);
  sockaddr_in nowhere{};
  uv_ip4_addr("127.0.0.1", 1, &nowhere);
  a.domain.run([&] {
    uv::tcp_connect(&connect, &client, generic(nowhere), [](uv_connect_t*, int status) {
      fail_with(status == UV_ECANCELED ? "cancelled" : "other");
    });
  });
  b.domain.run([&] { uv::close(&client, [](uv_handle_t*) { note("closed"); }); });
  loop.run();
  EXPECT_EQ(a.messages(), std::vector<std::string>{"cancelled"});
  EXPECT_THAT(order, ElementsAre("closed in b"));
  EXPECT_EQ(registered(), 0U);
}

TEST_F(Uv, ACallThatFailsLeavesEverythingAsItWas) {
  int pair[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
  auto& pipe = make<uv_pipe_t>();
  uv_pipe_init(loop, &pipe, 0);
  uv_pipe_open(&pipe, pair[0]);
  const uv_read_cb read = [](uv_stream_t* from, ssize_t, const uv_buf_t*) {
    note("read");
    uv::close(from, nullptr);
  };
  a.domain.run([&] { EXPECT_EQ(uv::read_start(stream(pipe), no_memory, read), 0); });
  b.domain.run([&] { EXPECT_EQ(uv::read_start(stream(pipe), no_memory, read), UV_EALREADY); });
  auto& unopened = make<uv_pipe_t>();
  auto& write = make<uv_write_t>();
  auto& work = make<uv_work_t>();
  EXPECT_EQ(uv::queue_work(loop, &work, nullptr, nullptr), UV_EINVAL);
  uv_pipe_init(loop, &unopened, 0);
  uv_buf_t bytes = uv_buf_init(const_cast<char*>("x"), 1);
  EXPECT_EQ(uv::write(&write, stream(unopened), &bytes, 1, [](uv_write_t*, int) { note("write"); }),
            UV_EBADF);
  ASSERT_EQ(::write(pair[1], "x", 1), 1);
  loop.run();
  EXPECT_THAT(order, ElementsAre("alloc in a", "read in a"));
  EXPECT_EQ(registered(), 0U);
  ::close(pair[1]);
}

TEST_F(Uv, NoScopeThatACallbackLeavesOpenReachesTheNextOne) {
  static std::unique_ptr<Scope> left_open;
  auto& timers = make<std::array<uv_timer_t, 2>>();
  timers[0].data = &b;
  for (uv_timer_t& timer : timers) uv_timer_init(loop, &timer);
  uv::timer_start(
      &timers[0],
      [](uv_timer_t* timer) {
        left_open.reset(new Scope(static_cast<Watched*>(timer->data)->domain.enter()));
      },
      0, 0);
  uv_timer_start(
      &timers[1], [](uv_timer_t*) { note("next"); }, 0, 0);
  loop.run();
  left_open.reset();
  EXPECT_THAT(order, ElementsAre("next in none"));
}

// D43, D44
TEST_F(Uv, WhatIsPendingKeepsItsDomainAliveAndItsEndLetsGo) {
  auto& timer = make<uv_timer_t>();
  auto& closed = make<uv_timer_t>();
  auto& work = make<uv_work_t>();
  Watched c("c");
  uv_timer_init(loop, &timer);
  uv_timer_init(loop, &closed);
  a.domain.run([&] {
    uv::timer_start(
        &timer, [](uv_timer_t*) {}, 0, 0);
  });
  b.domain.run([&] {
    uv::timer_start(
        &closed, [](uv_timer_t*) {}, 100000, 0);
  });
  c.domain.run([&] {
    uv::queue_work(
        loop, &work, [](uv_work_t*) {}, nullptr);
  });
  for (Watched* domain : {&a, &b, &c}) {
    domain->let_go();
    EXPECT_TRUE(domain->alive());
  }
  uv::close(&closed, nullptr);
  EXPECT_FALSE(b.alive());
  loop.run();
  EXPECT_FALSE(a.alive()) << "a timer that has fired holds no domain";
  EXPECT_FALSE(c.alive());
}

TEST(UvServer, AConnectionThatIsClosedWhileItWritesGivesTheWholeAnswerFirst) {
  const std::string answer(8 * 1024 * 1024, 'x');  // more than the sockets hold
  std::size_t arrived = 0;
  Loop loop;
  Worker worker;
  {
    uv::Server server(loop, worker, [&](std::shared_ptr<uv::Connection> connection) {
      connection->write(answer, {});
      connection->close();
    });
    auto [listener, port] = listen_tcp();
    server.listen({listener.release(), "", ""});
    worker.ready();
    std::thread client([&, port = port] {
      const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
      sockaddr_in to = loopback();
      to.sin_port = htons(port);
      EXPECT_EQ(::connect(fd, generic(to), sizeof to), 0);
      char bytes[64 * 1024];
      for (ssize_t got = 1; got > 0;) {
        got = ::read(fd, bytes, sizeof bytes);
        if (got > 0) arrived += static_cast<std::size_t>(got);
      }
      ::close(fd);
      worker.drain(DrainReason::stop);
    });
    loop.run();
    client.join();
  }
  EXPECT_EQ(arrived, answer.size());
  EXPECT_EQ(worker.finish(), 0);
}

TEST(UvServer, AConnectionReceivesInTheDomainThatItWasAddedToLast) {
  Watched a("a"), b("b");
  Loop loop;
  Worker worker;
  std::vector<std::string> seen;
  {
    const int client = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    std::shared_ptr<uv::Connection> connection;
    std::function<void()> next;
    const std::function<void()> moves[] = {
        [&] { a.domain.add(*connection); },
        [&] { b.domain.add(*connection); },
        [&] { a.domain.remove(*connection); },  // it is not a's
        [&] { b.domain.remove(*connection); },
        [&] {
          a.domain.add(*connection);
          EXPECT_THAT(a.domain.members(), ElementsAre(connection.get()));
          int heard = 0;
          connection->report(std::make_error_code(std::errc::connection_reset));
          connection->on_error([&](const Failure&) { ++heard; });
          connection->report(std::make_error_code(std::errc::connection_reset));
          EXPECT_EQ(heard, 1);
          EXPECT_EQ(a.count(), 1U) << "its own listener wins over its domain";
          std::exchange(connection, nullptr)->drop();
          worker.drain(DrainReason::stop);
        },
    };
    next = [&] {
      connection->wait_for_request([&](std::string_view) {
        seen.push_back(active());
        next();  // it waits already when it is moved
        if (seen.size() < std::size(moves)) {
          EXPECT_EQ(::write(client, "x", 1), 1);
        }
        moves[seen.size() - 1]();
      });
    };
    uv::Server server(loop, worker, [&](std::shared_ptr<uv::Connection> accepted) {
      connection = std::move(accepted);
      EXPECT_EQ(connection->domain(), Domain::current()) << "D6";
      EXPECT_TRUE(connection->domain().members().empty());
      next();
    });
    auto [listener, port] = listen_tcp();
    server.listen({listener.release(), "", ""});
    worker.ready();
    sockaddr_in to = loopback();
    to.sin_port = htons(port);
    ASSERT_EQ(::connect(client, generic(to), sizeof to), 0);
    ASSERT_EQ(::write(client, "x", 1), 1);
    loop.run();
    EXPECT_THAT(a.domain.members(), ElementsAre());
    ::close(client);
  }
  EXPECT_THAT(seen, ElementsAre("connection", "a", "b", "b", "connection"));
  EXPECT_EQ(worker.finish(), 0);
}

TEST_F(Uv, AThousandCallbacksThatAllThrowLeaveTheStackAsItWas) {
  auto& idle = make<uv_idle_t>();
  uv_idle_init(loop, &idle);
  a.domain.run([&] {
    uv::idle_start(&idle, [](uv_idle_t* handle) {
      static int left = 1000;
      if (--left == 0) uv::idle_stop(handle);
      fail_with("one of many");
    });
  });
  loop.run();
  EXPECT_EQ(a.count(), 1000U);
  EXPECT_EQ(a.last().domains, std::vector<std::string>{"a"});
}

class UvThreads : public testing::TestWithParam<std::size_t> {};
INSTANTIATE_TEST_SUITE_P(Of, UvThreads, testing::Values(1, 8));

// A loop a thread; each is set up on the main thread and run on its own. Each domain hops through timers and
// the pool of threads, which all loops share.
TEST_P(UvThreads, OverlappingDomainsDoNotMix) {
  constexpr std::size_t kDomains = 50;
  static std::atomic<int> strangers;
  strangers = 0;
  struct Hopper {
    uv_timer_t timer;
    uv_work_t work;
    std::string name;
    int left = 4;
    void check() const {
      if (active() != name) ++strangers;
    }
    void hop() {
      check();
      uv::queue_work(
          timer.loop, &work, [](uv_work_t* request) { static_cast<Hopper*>(request->data)->check(); },
          [](uv_work_t* request, int) {
            auto& self = *static_cast<Hopper*>(request->data);
            self.check();
            self.start();
          });
    }
    void start() {
      uv::timer_start(
          &timer,
          [](uv_timer_t* fired) {
            auto& self = *static_cast<Hopper*>(fired->data);
            if (self.left-- > 0) return self.hop();
            uv::close(fired, nullptr);
            fail_with(self.name.c_str());
          },
          static_cast<std::uint64_t>(left % 2), 0);
    }
  };
  struct One {
    Loop loop;
    std::vector<std::unique_ptr<Watched>> domains;
    std::vector<std::unique_ptr<Hopper>> hoppers;
  };
  std::vector<std::unique_ptr<One>> loops;
  for (std::size_t l = 0; l < GetParam(); ++l) {
    loops.push_back(std::make_unique<One>());
    One& one = *loops.back();
    for (std::size_t i = 0; i < kDomains; ++i) {
      const std::string name = std::to_string(l) + "." + std::to_string(i);
      one.domains.push_back(std::make_unique<Watched>(name));
      one.hoppers.push_back(std::make_unique<Hopper>());
      Hopper& hopper = *one.hoppers.back();
      hopper.name = name;
      hopper.timer.data = hopper.work.data = &hopper;
      uv_timer_init(one.loop, &hopper.timer);
      one.domains.back()->domain.run([&] { hopper.start(); });
    }
  }
  std::vector<std::thread> threads;
  for (auto& one : loops) threads.emplace_back([&one] { one->loop.run(); });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(strangers, 0);
  for (const auto& one : loops)
    for (std::size_t i = 0; i < kDomains; ++i)
      EXPECT_EQ(one->domains[i]->messages(), std::vector<std::string>{one->hoppers[i]->name});
  EXPECT_EQ(registered(), 0U);
}

// D27
TEST(UvDeathTest, WithoutAHandlerTheOuterDomainIsNotTried) {
  EXPECT_DEATH(
      {
        std::set_terminate([] {
          std::fputs("terminated", stderr);
          std::abort();
        });
        Loop loop;
        uv_timer_t timer;
        uv_timer_init(loop, &timer);
        Domain outer("outer");
        outer.on_error([](const Failure&) { std::fputs("outer was told", stderr); });
        const Domain inner("inner");
        inner.run([&] {
          uv::timer_start(
              &timer, [](uv_timer_t*) { fail_with("nobody's"); }, 0, 0);
        });
        outer.run([&] { loop.run(); });
      },
      "^terminated");
}

}  // namespace
}  // namespace refork::test
