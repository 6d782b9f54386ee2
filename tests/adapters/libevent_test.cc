// The adapter for libevent: callbacks run in the domain that was active when they were scheduled, whoever
// frees what meanwhile.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <csignal>
#include <functional>
#include <memory>
#include <utility>

#include "adapters/seen.h"
#include "refork/domain.hpp"
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wold-style-cast"
#include "refork/libevent.h"
#pragma GCC diagnostic pop

namespace refork::test {
namespace {

using Function = std::function<void()>;

void call(evutil_socket_t, short, void* function) { (*static_cast<Function*>(function))(); }
void call_data(bufferevent*, void* function) { (*static_cast<Function*>(function))(); }
void call_event(bufferevent*, short, void* function) { (*static_cast<Function*>(function))(); }

// A domain as C knows it, for as long as this lives.
class CDomain {
 public:
  explicit CDomain(const Watched& watched) {
    const Scope scope = watched.domain.enter();
    domain_ = refork_domain_current();
  }
  ~CDomain() { refork_domain_unref(domain_); }
  CDomain(const CDomain&) = delete;
  CDomain& operator=(const CDomain&) = delete;
  operator refork_domain*() const { return domain_; }
  std::size_t members() const { return refork_domain_members(domain_, nullptr, 0); }

 private:
  refork_domain* domain_;
};

class Libevent : public testing::Test {
 protected:
  ~Libevent() override { event_base_free(base); }
  void run() { event_base_dispatch(base); }
  void run_once() { event_base_loop(base, EVLOOP_ONCE); }

  event_base* base = event_base_new();
  const timeval soon{0, 0};
};

TEST_F(Libevent, ATimerRunsInTheDomainThatWasActiveWhenItWasAddedLast) {
  Watched first("first"), second("second");
  std::string seen;
  Function note = [&] { seen += active() + " "; };
  refork_event* timer = refork_event_new(base, -1, 0, call, &note);
  for (const Watched* watched : {&first, &second}) {
    const Scope scope = watched->domain.enter();
    ASSERT_EQ(refork_event_add(timer, &soon), 0);
    const Scope outside = Domain::none();
    run();
  }
  ASSERT_EQ(refork_event_add(timer, &soon), 0);
  run();
  refork_event_free(timer);
  EXPECT_EQ(seen, "first second none ");
}

// D12: what Node documents of add(timer) and remove(timer), and does not do.
TEST_F(Libevent, ATimerThatIsAMemberFiresInTheDomainThatItWasAddedToLast) {
  Watched starts("starts"), first("first"), second("second");
  const CDomain a(first), b(second);
  std::string seen;
  Function note = [&] { seen += active() + " "; };
  refork_event* timer = refork_event_new(base, -1, 0, call, &note);
  refork_emitter* emitter = refork_event_emitter(timer);
  const auto fire = [&] {
    const Scope scope = starts.domain.enter();
    ASSERT_EQ(refork_event_add(timer, &soon), 0);
    const Scope outside = Domain::none();
    run();
  };
  refork_domain_add(a, emitter);
  fire();
  refork_domain_add(b, emitter);
  EXPECT_EQ(a.members(), 0U);
  fire();
  refork_domain_remove(a, emitter);  // it is not a's
  EXPECT_EQ(b.members(), 1U);
  fire();
  refork_domain_remove(b, emitter);
  fire();
  EXPECT_EQ(seen, "first second second none ");
  refork_domain_add(a, emitter);
  refork_event_free(timer);
  EXPECT_EQ(a.members(), 0U);
}

TEST_F(Libevent, AWatcherIsAMemberOfTheDomainInWhichItsEmitterWasMadeAndMoves) {
  Watched first("first"), second("second");
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  Function fail = [&] { fail_with("readable"); };
  refork_event* watcher = refork_event_new(base, ends[0], EV_READ | EV_PERSIST, call, &fail);
  {
    const Scope scope = first.domain.enter();
    refork_event_emitter(watcher);
  }
  ASSERT_EQ(refork_event_add(watcher, nullptr), 0);
  ASSERT_EQ(::write(ends[1], "x", 1), 1);
  run_once();
  EXPECT_EQ(first.count(), 1U);
  refork_domain_add(CDomain(second), refork_event_emitter(watcher));
  run_once();
  EXPECT_EQ(first.count(), 1U);
  EXPECT_EQ(second.count(), 1U);
  refork_event_free(watcher);
  ::close(ends[0]);
  ::close(ends[1]);
}

// D7
TEST_F(Libevent, AnEventsOwnListenerWinsOverItsDomain) {
  Watched watched("request");
  Function nothing = [] {};
  refork_event* timer = refork_event_new(base, -1, 0, call, &nothing);
  refork_emitter* emitter = refork_event_emitter(timer);
  refork_domain_add(CDomain(watched), emitter);
  refork_error error = REFORK_ERROR_INIT;
  error.message = "too late";
  refork_emitter_report(emitter, &error);
  ASSERT_EQ(watched.messages(), std::vector<std::string>{"too late"});
  EXPECT_EQ(watched.last().emitter, "event");
  int heard = 0;
  refork_emitter_on_error(
      emitter, [](const refork_failure*, void* count) { ++*static_cast<int*>(count); }, &heard, nullptr);
  refork_emitter_report(emitter, &error);
  EXPECT_EQ(heard, 1);
  EXPECT_EQ(watched.count(), 1U);
  refork_event_free(timer);
}

TEST_F(Libevent, WhatACallbackThrowsGoesToItsDomainAndTheLoopGoesOn) {
  Watched watched("request");
  int served = 0;
  Function fail = [] { fail_with("in a timer"); };
  Function serve = [&] { ++served; };
  {
    const Scope scope = watched.domain.enter();
    ASSERT_EQ(refork_event_base_once(base, -1, EV_TIMEOUT, call, &fail, &soon), 0);
    ASSERT_EQ(refork_event_base_once(base, -1, EV_TIMEOUT, call, &serve, &soon), 0);
  }
  run();
  EXPECT_EQ(watched.messages(), std::vector<std::string>{"in a timer"});
  EXPECT_EQ(served, 1);
}

TEST_F(Libevent, AnEventKeepsItsDomainUntilItHasHappenedOrIsDeleted) {
  Watched fired("fired"), deleted("deleted");
  Function nothing = [] {};
  refork_event* timer = refork_event_new(base, -1, 0, call, &nothing);
  {
    const Scope scope = fired.domain.enter();
    refork_event_add(timer, &soon);
  }
  fired.let_go();
  EXPECT_TRUE(fired.alive());
  run();
  EXPECT_FALSE(fired.alive());
  {
    const Scope scope = deleted.domain.enter();
    refork_event_add(timer, &soon);
  }
  deleted.let_go();
  EXPECT_TRUE(deleted.alive());
  refork_event_del(timer);
  EXPECT_FALSE(deleted.alive());
  refork_event_free(timer);
  refork_event_free(nullptr);
}

TEST_F(Libevent, ASignalRunsInItsDomainEachTime) {
  Watched watched("signals");
  int count = 0;
  Function fail = [&] {
    ++count;
    fail_with("a signal");
  };
  refork_event* event = refork_event_new(base, SIGUSR1, EV_SIGNAL | EV_PERSIST, call, &fail);
  {
    const Scope scope = watched.domain.enter();
    refork_event_add(event, nullptr);
  }
  for (int i = 0; i < 2; ++i) {
    ::raise(SIGUSR1);
    run_once();
  }
  refork_event_free(event);
  EXPECT_EQ(count, 2);
  EXPECT_EQ(watched.count(), 2U);
}

TEST_F(Libevent, AnEventMayBeFreedByItsOwnCallback) {
  Watched watched("request");
  refork_event* event = nullptr;
  std::string seen;
  Function free_it = [&] {
    refork_event_free(event);
    seen = active();
  };
  event = refork_event_new(base, -1, EV_PERSIST, call, &free_it);
  {
    const Scope scope = watched.domain.enter();
    refork_event_add(event, &soon);
  }
  watched.let_go();
  run();
  EXPECT_EQ(seen, "request");
  EXPECT_FALSE(watched.alive());
}

class Bufferevent : public Libevent {
 protected:
  Bufferevent() {
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, sockets_) != 0) std::abort();
    bufferevent_ = bufferevent_socket_new(base, sockets_[0], BEV_OPT_CLOSE_ON_FREE);
    bufferevent_enable(bufferevent_, EV_READ | EV_WRITE);
  }
  ~Bufferevent() override {
    if (bufferevent_) refork_bufferevent_free(bufferevent_);
    ::close(sockets_[1]);
  }
  void set(const Watched& watched, bufferevent_data_cb read, bufferevent_data_cb write,
           bufferevent_event_cb event, Function& function) {
    const Scope scope = watched.domain.enter();
    ASSERT_EQ(refork_bufferevent_setcb(bufferevent_, read, write, event, &function), 0);
  }
  void receive(const char* text) { ASSERT_GT(::write(sockets_[1], text, 1), 0); }

  bufferevent* bufferevent_;
  int sockets_[2] = {-1, -1};
};

TEST_F(Bufferevent, ReadWriteAndEventCallbacksRunInTheDomainThatSetThem) {
  Watched watched("connection");
  Function fail = [&] { fail_with("in a callback"); };
  set(watched, call_data, nullptr, nullptr, fail);
  receive("x");
  run_once();
  EXPECT_EQ(watched.count(), 1U);
  set(watched, nullptr, call_data, nullptr, fail);
  bufferevent_write(bufferevent_, "y", 1);
  run_once();
  EXPECT_EQ(watched.count(), 2U);
  set(watched, nullptr, nullptr, call_event, fail);
  ::shutdown(sockets_[1], SHUT_WR);
  run_once();
  EXPECT_EQ(watched.count(), 3U);
}

TEST_F(Bufferevent, OtherCallbacksLetGoOfTheDomainOfTheFirst) {
  Watched first("first"), second("second");
  Function nothing = [] {};
  set(first, call_data, nullptr, nullptr, nothing);
  first.let_go();
  EXPECT_TRUE(first.alive());
  set(second, call_data, nullptr, nullptr, nothing);
  EXPECT_FALSE(first.alive());
}

TEST_F(Bufferevent, AMembersCallbacksRunInTheDomainThatItWasAddedToLastWhoeverSetsThem) {
  Watched sets("sets"), first("first"), second("second");
  const CDomain a(first), b(second);
  Function fail = [&] { fail_with("in a callback"); };
  EXPECT_EQ(refork_bufferevent_emitter(bufferevent_), nullptr) << "its callbacks are libevent's own";
  set(sets, call_data, nullptr, nullptr, fail);
  refork_emitter* emitter = refork_bufferevent_emitter(bufferevent_);
  refork_domain_add(a, emitter);
  receive("x");
  run_once();
  EXPECT_EQ(first.count(), 1U);
  set(sets, call_data, nullptr, nullptr, fail);
  EXPECT_EQ(refork_bufferevent_emitter(bufferevent_), emitter);
  receive("x");
  run_once();
  EXPECT_EQ(first.count(), 2U);
  refork_domain_add(b, emitter);
  receive("x");
  run_once();
  EXPECT_EQ(second.count(), 1U);
  EXPECT_EQ(sets.count(), 0U);
  refork_bufferevent_free(std::exchange(bufferevent_, nullptr));
  EXPECT_EQ(b.members(), 0U);
}

TEST_F(Bufferevent, ItsOwnCallbackMayFreeIt) {
  Watched watched("connection");
  std::string seen;
  Function end = [&] {
    refork_bufferevent_free(std::exchange(bufferevent_, nullptr));
    seen = active();
  };
  set(watched, call_data, nullptr, nullptr, end);
  watched.let_go();
  receive("x");
  run();
  EXPECT_EQ(seen, "connection");
  EXPECT_FALSE(watched.alive());
}

TEST_F(Libevent, AListenerRunsInTheDomainThatItWasMadeIn) {
  Watched watched("listener");
  sockaddr_un unnamed{};
  unnamed.sun_family = AF_UNIX;
  const int listening = ::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  ASSERT_EQ(::bind(listening, reinterpret_cast<sockaddr*>(&unnamed), sizeof(sa_family_t)),
            0);  // an abstract name
  socklen_t length = sizeof unnamed;
  ::getsockname(listening, reinterpret_cast<sockaddr*>(&unnamed), &length);
  const auto accept = [](evconnlistener*, evutil_socket_t fd, sockaddr*, int, void*) {
    ::close(fd);
    fail_with("in accepting");
  };
  refork_evconnlistener* listener = nullptr;
  {
    const Scope scope = watched.domain.enter();
    listener = refork_evconnlistener_new(base, accept, nullptr, LEV_OPT_CLOSE_ON_FREE, 8, listening);
  }
  ASSERT_NE(listener, nullptr);
  const int client = ::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  ASSERT_EQ(::connect(client, reinterpret_cast<sockaddr*>(&unnamed), length), 0);
  run_once();
  EXPECT_EQ(watched.count(), 1U);
  ::close(client);
  watched.let_go();
  refork_evconnlistener_free(listener);
  EXPECT_FALSE(watched.alive());
}

}  // namespace
}  // namespace refork::test
