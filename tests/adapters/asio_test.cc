// Boost.Asio and Beast on refork::asio::Executor: which domain each kind of callback runs in, over real
// timers, sockets, strands and pools.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <boost/asio.hpp>
#include <boost/asio/experimental/channel.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <cstdio>
#include <thread>

#include "adapters/seen.h"
#include "refork/asio.hpp"
#include "support/http.h"

namespace refork::test {
namespace {

namespace net = boost::asio;
namespace http = boost::beast::http;
using boost::system::error_code;
using net::generic::stream_protocol;
using std::chrono::milliseconds;
using testing::ElementsAre;

using Executor = refork::asio::Executor;
using Timer = refork::asio::Timer;
using Local = net::local::stream_protocol;
using LocalSocket = net::basic_stream_socket<Local, Executor>;
using TcpSocket = net::basic_stream_socket<net::ip::tcp, Executor>;
using TcpAcceptor = net::basic_socket_acceptor<net::ip::tcp, Executor>;

class Asio : public testing::Test {
 protected:
  // Who ran where, in order.
  template <class... Ignored>
  auto note(std::string what) {
    return [this, what = std::move(what)](auto&&...) { order.push_back(what + " in " + active()); };
  }
  net::ip::tcp::endpoint loopback() const { return {net::ip::address_v4::loopback(), 0}; }
  std::pair<LocalSocket, LocalSocket> pair() {
    std::pair<LocalSocket, LocalSocket> both{LocalSocket(executor), LocalSocket(executor)};
    net::local::connect_pair(both.first, both.second);
    return both;
  }

  net::io_context loop;
  Executor executor = refork::asio::make_executor(loop, Domain("otherwise"));
  Watched a{"a"};
  Watched b{"b"};
  std::vector<std::string> order;
};

// D4
TEST_F(Asio, ATimersCallbackBelongsToTheDomainInWhichItWasStarted) {
  Timer timer(executor);
  a.domain.run([&] {
    timer.expires_after(milliseconds(0));
    timer.async_wait([](error_code) { fail_with("of a"); });
  });
  b.domain.run([&] { loop.run(); });  // not to where it fires
  ASSERT_EQ(a.messages(), std::vector<std::string>{"of a"});
  EXPECT_TRUE(is_thrown_plainly(a.last(), "a"));
  EXPECT_EQ(b.count(), 0U);
}

TEST_F(Asio, ATimerMadeInOneDomainAndStartedInAnotherBelongsToTheSecond) {
  std::optional<Timer> timer;
  a.domain.run([&] { timer.emplace(executor, milliseconds(0)); });
  b.domain.run([&] { timer->async_wait(note("it")); });
  loop.run();
  EXPECT_THAT(order, ElementsAre("it in b"));
}

// D5
TEST_F(Asio, ThereIsNoWayOutOfADomainByHoppingFromCallbackToCallback) {
  auto both = pair();
  [[maybe_unused]] LocalSocket& client = both.first;
  [[maybe_unused]] LocalSocket& server = both.second;
  Timer timer(executor);
  char byte = 0;
  a.domain.run([&] {
    net::post(executor, [&] {
      timer.expires_after(milliseconds(0));
      timer.async_wait([&](error_code) {
        client.async_write_some(net::buffer("x", 1), [&](error_code, std::size_t) {
          server.async_read_some(net::buffer(&byte, 1), [&](error_code, std::size_t) { fail_with("far"); });
        });
      });
    });
  });
  loop.run();
  EXPECT_EQ(a.messages(), std::vector<std::string>{"far"});
}

TEST_F(Asio, ACancelledOperationEndsInItsOwnDomain) {
  Timer timer(executor, std::chrono::hours(1));
  auto both = pair();
  [[maybe_unused]] LocalSocket& client = both.first;
  [[maybe_unused]] LocalSocket& server = both.second;
  char byte = 0;
  error_code told;
  a.domain.run([&] {
    timer.async_wait([&](error_code error) {
      told = error;
      fail_with("timer");
    });
    client.async_read_some(net::buffer(&byte, 1), [](error_code, std::size_t) { fail_with("read"); });
    server.async_wait(LocalSocket::wait_read, [](error_code) { fail_with("wait"); });
  });
  b.domain.run([&] {
    timer.cancel();
    client.cancel();
    server.close();
  });
  loop.run();
  EXPECT_EQ(told, net::error::operation_aborted);
  EXPECT_THAT(a.messages(), testing::UnorderedElementsAre("timer", "read", "wait"));
  EXPECT_EQ(b.count(), 0U);
}

// D12: what Node documents of add(timer) and remove(timer), and does not do.
TEST_F(Asio, ATimerThatIsAMemberFiresInTheDomainThatItWasAddedToLast) {
  Timer timer(executor);
  const Domain c("c");
  const auto start = [&] {
    timer.expires_after(milliseconds(0));
    timer.async_wait(note("it"));
  };
  const auto run = [&] {
    loop.restart();
    loop.run();
  };
  a.domain.add(timer);
  EXPECT_THAT(a.domain.members(), ElementsAre(&timer.emitter()));
  c.run(start);
  run();
  start();
  b.domain.add(timer);  // while it waits
  EXPECT_THAT(a.domain.members(), ElementsAre());
  EXPECT_THAT(b.domain.members(), ElementsAre(&timer.emitter()));
  run();
  a.domain.remove(timer);  // it is not a's
  start();
  run();
  start();
  b.domain.remove(timer);
  EXPECT_THAT(b.domain.members(), ElementsAre());
  run();
  c.run(start);
  run();
  EXPECT_THAT(order, ElementsAre("it in a", "it in b", "it in b", "it in otherwise", "it in c"));
}

TEST_F(Asio, WhatAMembersTimerThrowsGoesToItsDomainAndNotToTheOneThatStartedIt) {
  Timer timer(executor, milliseconds(0));
  a.domain.add(timer);
  b.domain.run([&] { timer.async_wait([](error_code) { fail_with("tick"); }); });
  loop.run();
  ASSERT_EQ(a.messages(), std::vector<std::string>{"tick"});
  EXPECT_EQ(a.last().bound, "timer");
  EXPECT_EQ(a.last().domain, "a");
  EXPECT_EQ(b.count(), 0U);
}

TEST_F(Asio, ATimerThatEndsLeavesItsDomainAndWhatWaitedForItIsStillTold) {
  error_code told;
  {
    Timer first(executor, std::chrono::hours(1));
    a.domain.add(first);
    Timer timer(std::move(first));
    EXPECT_THAT(a.domain.members(), ElementsAre(&timer.emitter())) << "moved, it is the same member";
    timer.async_wait([&](error_code error) { told = error; });
  }
  EXPECT_THAT(a.domain.members(), ElementsAre());
  loop.run();
  EXPECT_EQ(told, net::error::operation_aborted);
}

// D7
TEST_F(Asio, ATimersOwnListenerWinsOverItsDomain) {
  Timer timer(executor);
  a.domain.add(timer);
  Emitter& emitter = timer.emitter();
  emitter.report(std::make_error_code(std::errc::timed_out));
  ASSERT_EQ(a.count(), 1U);
  EXPECT_EQ(a.last().emitter, "timer");
  int heard = 0;
  emitter.on_error([&](const Failure&) { ++heard; });
  emitter.report(std::make_error_code(std::errc::timed_out));
  EXPECT_EQ(heard, 1);
  EXPECT_EQ(a.count(), 1U);
}

// D41
TEST_F(Asio, ATimerThatThrowsEachTimeItFiresIsHandledEachTime) {
  Timer timer(executor);
  int fired = 0;
  std::function<void(error_code)> tick = [&](error_code) {
    if (++fired < 5) {
      timer.expires_after(milliseconds(0));
      timer.async_wait(tick);
    }
    fail_with("tick");
  };
  a.domain.run([&] { timer.async_wait(tick); });
  loop.run();
  EXPECT_EQ(fired, 5);
  EXPECT_EQ(a.count(), 5U);
}

// D25
TEST_F(Asio, AfterAThrowTheOtherDueCallbacksStillRunInOrderEachInItsDomain) {
  Timer first(executor, milliseconds(0));
  Timer second(executor, milliseconds(0));
  Timer third(executor, milliseconds(0));
  a.domain.run([&] { first.async_wait([](error_code) { fail_with("first"); }); });
  b.domain.run([&] { second.async_wait(note("second")); });
  third.async_wait(note("third"));
  loop.run();
  EXPECT_EQ(a.count(), 1U);
  EXPECT_THAT(order, ElementsAre("second in b", "third in otherwise"));
}

TEST_F(Asio, SocketsCallBackInTheDomainOfEachOperation) {
  TcpAcceptor acceptor(executor, loopback());
  TcpSocket client(executor);
  TcpSocket accepted(executor);
  char byte = 0;
  a.domain.run([&] { acceptor.async_accept(accepted, note("accept")); });
  b.domain.run([&] { client.async_connect(acceptor.local_endpoint(), note("connect")); });
  loop.run();
  loop.restart();
  a.domain.run([&] { accepted.async_wait(TcpSocket::wait_read, note("wait")); });
  loop.poll();
  b.domain.run([&] { client.async_write_some(net::buffer("x", 1), note("write")); });
  loop.run();
  loop.restart();
  a.domain.run([&] { accepted.async_read_some(net::buffer(&byte, 1), note("read")); });
  loop.run();
  EXPECT_THAT(order, testing::UnorderedElementsAre("accept in a", "connect in b", "wait in a", "write in b",
                                                   "read in a"));
}

TEST_F(Asio, AnAcceptorMovesItsSocketsIntoTheDomainThatAccepts) {
  TcpAcceptor acceptor(executor, loopback());
  TcpSocket client(executor);
  a.domain.run([&] {
    acceptor.async_accept([&](error_code, TcpSocket accepted) {
      net::post(accepted.get_executor(), note("posted"));
      fail_with("accept");
    });
  });
  client.async_connect(acceptor.local_endpoint(), note("connect"));
  loop.run();
  EXPECT_THAT(order, testing::UnorderedElementsAre("connect in otherwise", "posted in a"));
  EXPECT_EQ(a.count(), 1U);
}

TEST_F(Asio, AResolverCallsBackInTheDomainThatAsked) {
  net::ip::basic_resolver<net::ip::tcp, Executor> resolver(executor);
  a.domain.run([&] {
    resolver.async_resolve("127.0.0.1", "80", net::ip::resolver_base::numeric_host,
                           [](error_code, auto) { fail_with("resolved"); });
  });
  loop.run();
  EXPECT_EQ(a.messages(), std::vector<std::string>{"resolved"});
}

TEST_F(Asio, EveryStepOfAComposedOperationRunsInTheDomainThatStartedIt) {
  auto both = pair();
  [[maybe_unused]] LocalSocket& client = both.first;
  [[maybe_unused]] LocalSocket& server = both.second;
  std::string received(4, '\0');
  a.domain.run([&] {
    net::async_read(
        server, net::buffer(received),
        [&](error_code, std::size_t so_far) {
          order.push_back("step in " + active());
          return 4 - so_far;
        },
        note("read"));
  });
  b.domain.run([&] {
    net::async_write(client, net::buffer("ab", 2), [this, c = &client](error_code, std::size_t) {
      order.push_back("write in " + active());
      net::async_write(*c, net::buffer("cd", 2), note("write"));
    });
  });
  loop.run();
  EXPECT_THAT(order, testing::IsSupersetOf({"step in a", "read in a", "write in b"}));
  for (const std::string& entry : order)
    EXPECT_THAT(entry, testing::AnyOf("step in a", "read in a", "write in b"));
  EXPECT_EQ(received, "abcd");
}

TEST_F(Asio, ReadUntilThrowsIntoTheDomainThatReads) {
  auto both = pair();
  [[maybe_unused]] LocalSocket& client = both.first;
  [[maybe_unused]] LocalSocket& server = both.second;
  std::string line;
  a.domain.run([&] {
    net::async_read_until(server, net::dynamic_buffer(line), '\n',
                          [](error_code, std::size_t) { fail_with("line"); });
  });
  b.domain.run([&] { net::async_write(client, net::buffer("hello\n", 6), note("write")); });
  loop.run();
  EXPECT_EQ(a.messages(), std::vector<std::string>{"line"});
  EXPECT_THAT(order, ElementsAre("write in b"));
}

TEST_F(Asio, BeastReadsAndWritesInTheDomainThatStartedThem) {
  auto both = pair();
  [[maybe_unused]] LocalSocket& client = both.first;
  [[maybe_unused]] LocalSocket& server = both.second;
  boost::beast::flat_buffer buffer;
  http::request<http::string_body> request;
  http::response<http::string_body> response{http::status::ok, 11, "fine"};
  response.prepare_payload();
  a.domain.run([&] {
    http::async_read(server, buffer, request, [&, s = &server](error_code, std::size_t) {
      order.push_back("read in " + active());
      http::async_write(*s, response, [](error_code, std::size_t) { fail_with("written"); });
    });
  });
  b.domain.run([&] { net::async_write(client, net::buffer("GET / HTTP/1.1\r\n\r\n", 18), note("sent")); });
  loop.run();
  EXPECT_THAT(order, testing::UnorderedElementsAre("sent in b", "read in a"));
  EXPECT_EQ(a.messages(), std::vector<std::string>{"written"});
}

TEST_F(Asio, ABeastStreamsTimeoutIsToldInTheDomainThatReads) {
  auto both = pair();
  [[maybe_unused]] LocalSocket& client = both.first;
  [[maybe_unused]] LocalSocket& server = both.second;
  boost::beast::basic_stream<Local, Executor> stream(std::move(server));
  char byte = 0;
  error_code told;
  a.domain.run([&] {
    stream.expires_after(milliseconds(1));
    stream.async_read_some(net::buffer(&byte, 1), [&](error_code error, std::size_t) {
      told = error;
      fail_with("timeout");
    });
  });
  loop.run();
  EXPECT_EQ(told, boost::beast::error::timeout);
  EXPECT_EQ(a.messages(), std::vector<std::string>{"timeout"});
}

TEST_F(Asio, WhatIsPostedDeferredOrDispatchedBelongsToTheDomainThatDidSo) {
  a.domain.run([&] {
    net::post(executor, note("post"));
    net::defer(executor, note("defer"));
    net::dispatch(executor, note("dispatch"));
  });
  net::post(executor, note("nobody's"));
  loop.run();
  EXPECT_THAT(order, testing::UnorderedElementsAre("post in a", "defer in a", "dispatch in a",
                                                   "nobody's in otherwise"));
}

TEST_F(Asio, WhatIsDispatchedAtOnceThrowsIntoTheDomainAndNotToItsCaller) {
  bool went_on = false;
  a.domain.run([&] {
    net::post(executor, [&] {
      net::dispatch(executor, [] { fail_with("at once"); });
      went_on = true;
    });
  });
  loop.run();
  EXPECT_TRUE(went_on);
  EXPECT_EQ(a.messages(), std::vector<std::string>{"at once"});
}

TEST_F(Asio, TheExecutorOfAWorkGuardTakesEachDomainThatPosts) {
  auto guard = a.domain.run([&] { return net::make_work_guard(executor); });
  b.domain.run([&] { net::post(guard->get_executor(), note("it")); });
  guard.reset();
  loop.run();
  EXPECT_THAT(order, ElementsAre("it in b"));
}

TEST_F(Asio, AnyIoExecutorKeepsTheDomains) {
  const net::any_io_executor any = executor;
  net::steady_timer timer(any, milliseconds(0));
  a.domain.run([&] {
    timer.async_wait([](error_code) { fail_with("timer"); });
    net::post(any, [] { fail_with("posted"); });
  });
  b.domain.run([&] { loop.run(); });
  EXPECT_THAT(a.messages(), testing::UnorderedElementsAre("timer", "posted"));
  EXPECT_EQ(b.count(), 0U);
}

TEST_F(Asio, InAStrandEachFunctionKeepsItsOwnDomain) {
  const auto strand = net::make_strand(executor);
  a.domain.run([&] {
    net::post(strand, [] { fail_with("first"); });
    net::post(strand, note("second"));
  });
  b.domain.run([&] {
    net::post(strand, note("third"));
    net::post(strand, [] { fail_with("fourth"); });
  });
  loop.run();
  EXPECT_THAT(order, ElementsAre("second in a", "third in b"));
  EXPECT_EQ(a.messages(), std::vector<std::string>{"first"});
  EXPECT_EQ(b.messages(), std::vector<std::string>{"fourth"});
}

TEST_F(Asio, AStrandIsStillAStrand) {
  const auto strand = net::make_strand(executor);
  const net::any_io_executor any = strand;
  EXPECT_FALSE(strand.running_in_this_thread());
  net::basic_waitable_timer<std::chrono::steady_clock, net::wait_traits<std::chrono::steady_clock>,
                            net::strand<Executor>>
      timer(strand, milliseconds(0));
  a.domain.run([&] {
    timer.async_wait([&](error_code) {
      if (strand.running_in_this_thread()) order.push_back("timer in " + active());
    });
    net::post(any, [&] {
      if (strand.running_in_this_thread()) order.push_back("posted in " + active());
    });
  });
  loop.run();
  EXPECT_THAT(order, testing::UnorderedElementsAre("posted in a", "timer in a"));
}

TEST_F(Asio, AHandlersOwnExecutorDecidesAndRestoresTheDomainIfItIsOfThisKind) {
  net::steady_timer plain(loop, milliseconds(0));
  Timer timer(executor, milliseconds(0));
  a.domain.run([&] {
    plain.async_wait(net::bind_executor(executor, note("ours on a plain timer")));
    timer.async_wait(net::bind_executor(loop.get_executor(), note("a plain one on our timer")));
    timer.async_wait(net::bind_executor(loop.get_executor(), refork::bind(note("bound"))));
    timer.async_wait(net::bind_executor(net::make_strand(executor), note("a strand")));
  });
  loop.run();
  EXPECT_THAT(order,
              testing::UnorderedElementsAre("ours on a plain timer in a", "a plain one on our timer in none",
                                            "bound in a", "a strand in a"));
}

TEST_F(Asio, ABoundHandlerKeepsWhatIsAssociatedWithIt) {
  const auto strand = net::make_strand(loop);
  net::cancellation_signal signal;
  net::steady_timer timer(loop, std::chrono::hours(1));
  a.domain.run([&] {
    timer.async_wait(refork::bind(
        net::bind_executor(strand, net::bind_cancellation_slot(signal.slot(), [&](error_code error) {
                             if (error == net::error::operation_aborted && strand.running_in_this_thread())
                               fail_with("in the strand");
                           }))));
  });
  net::post(loop, [&] { signal.emit(net::cancellation_type::total); });
  loop.run();
  EXPECT_EQ(a.messages(), std::vector<std::string>{"in the strand"});
}

// D39
TEST_F(Asio, WhoReceivesFromAChannelDoesSoInItsOwnDomain) {
  net::experimental::channel<Executor, void(error_code, int)> channel(executor);
  a.domain.run([&] {
    channel.async_receive([](error_code, int value) { fail_with(value == 7 ? "seven" : "other"); });
  });
  b.domain.run([&] { net::post(executor, [&] { channel.async_send(error_code(), 7, note("sent")); }); });
  loop.run();
  EXPECT_EQ(a.messages(), std::vector<std::string>{"seven"});
  EXPECT_THAT(order, ElementsAre("sent in b"));
}

TEST_F(Asio, WhatItsPoolOfThreadsRunsBelongsToTheDomainThatPosted) {
  net::thread_pool pool(2);
  const auto pooled = refork::asio::make_executor(pool);
  a.domain.run([&] { net::post(pooled, [] { fail_with("in the pool"); }); });
  // And back: what the pool does for this loop ends in the loop's thread, in the domain that asked.
  b.domain.run([&] {
    net::post(pooled,
              net::bind_executor(executor, [work = net::make_work_guard(loop)] { fail_with("continued"); }));
  });
  pool.join();
  loop.run();
  EXPECT_EQ(a.messages(), std::vector<std::string>{"in the pool"});
  EXPECT_EQ(b.messages(), std::vector<std::string>{"continued"});
}

// D16
TEST_F(Asio, AnInterceptedConnectThatFailsIsReportedAndNotCalled) {
  net::ip::tcp::endpoint closed;
  {
    TcpAcceptor taken(executor, loopback());
    closed = taken.local_endpoint();
  }
  TcpSocket socket(executor);
  bool called = false;
  a.domain.run(
      [&] { socket.async_connect(closed, a.domain.intercept([&] { called = true; }, "on_connect")); });
  loop.run();
  EXPECT_FALSE(called);
  ASSERT_EQ(a.count(), 1U);
  EXPECT_FALSE(a.last().thrown);
  EXPECT_EQ(a.last().kind, Kind::error);
  EXPECT_EQ(a.last().bound, "on_connect");
  EXPECT_EQ(a.last().type, "boost::system::error_code");
  EXPECT_EQ(a.last().message, "Connection refused (system:111)");
  EXPECT_THROW(std::rethrow_exception(a.last().exception), boost::system::system_error);
}

TEST_F(Asio, AnInterceptedOperationThatSucceedsIsCalledWithTheRest) {
  auto both = pair();
  [[maybe_unused]] LocalSocket& client = both.first;
  [[maybe_unused]] LocalSocket& server = both.second;
  std::size_t written = 0;
  a.domain.run([&] {
    client.async_write_some(net::buffer("abc", 3), a.domain.intercept([&](std::size_t size) {
      written = size;
      order.push_back("written in " + active());
    }));
  });
  loop.run();
  EXPECT_EQ(written, 3U);
  EXPECT_THAT(order, ElementsAre("written in a"));
  EXPECT_EQ(a.count(), 0U);
}

TEST_F(Asio, AnErrorOfAnyCategoryIsOneIfItSaysSo) {
  using Traits = ErrorTraits<error_code>;
  EXPECT_FALSE(Traits::is_error(error_code()));
  EXPECT_TRUE(Traits::is_error(net::error::eof));
  EXPECT_TRUE(Traits::is_error(net::error::host_not_found));
  EXPECT_TRUE(Traits::is_error(http::error::bad_method));
  EXPECT_EQ(Traits::describe(net::error::eof).message, "End of file (asio.misc:2)");
}

TEST_F(Asio, AnOperationThatIsOnlyReportedLosesNoErrorAndTakesNoSuccessForOne) {
  auto both = pair();
  [[maybe_unused]] LocalSocket& client = both.first;
  [[maybe_unused]] LocalSocket& server = both.second;
  char byte = 0;
  client.close();
  a.domain.run([&] { server.async_read_some(net::buffer(&byte, 1), refork::asio::reported); });
  b.domain.run([&] { net::post(executor, net::bind_executor(executor, note("other"))); });
  Timer timer(executor, milliseconds(0));
  b.domain.run([&] { timer.async_wait(refork::asio::reported); });
  loop.run();
  ASSERT_EQ(a.count(), 1U);
  EXPECT_EQ(a.last().message, "End of file (asio.misc:2)");
  EXPECT_FALSE(a.last().thrown);
  EXPECT_EQ(b.count(), 0U);
}

TEST_F(Asio, NoScopeThatACallbackLeavesOpenReachesTheNextOne) {
  std::unique_ptr<Scope> left_open;
  net::post(executor, [&] { left_open.reset(new Scope(b.domain.enter())); });
  net::post(executor, note("next"));
  net::post(loop, note("a plain one"));
  loop.run();
  EXPECT_EQ(active(), "none");
  EXPECT_THAT(order, ElementsAre("next in otherwise", "a plain one in none"));
}

// D43, D44
TEST_F(Asio, APendingCallbackKeepsItsDomainAliveAndItsEndLetsGo) {
  Timer timer(executor, milliseconds(0));
  Timer cancelled(executor, std::chrono::hours(1));
  a.domain.run([&] { timer.async_wait(note("timer")); });
  b.domain.run([&] { cancelled.async_wait(note("cancelled")); });
  a.let_go();
  b.let_go();
  EXPECT_TRUE(a.alive());
  EXPECT_TRUE(b.alive());
  cancelled.cancel();
  loop.run();
  EXPECT_FALSE(a.alive());
  EXPECT_FALSE(b.alive());
  EXPECT_THAT(order, testing::UnorderedElementsAre("timer in a", "cancelled in b"));
}

TEST(AsioEnd, ALoopThatEndsBeforeItsCallbacksLetsGoOfTheirDomains) {
  Watched a("a");
  {
    net::io_context loop;
    const Executor executor = refork::asio::make_executor(loop);
    auto timer = std::make_shared<Timer>(executor, std::chrono::hours(1));
    a.domain.run([&] {
      timer->async_wait([timer](error_code) {});
      net::post(net::make_strand(executor), [keep = timer] {});
    });
    a.let_go();
    EXPECT_TRUE(a.alive());
  }
  EXPECT_FALSE(a.alive());
}

// D43
TEST_F(Asio, AThousandCallbacksThatAllThrowLeaveTheStackAsItWas) {
  a.domain.run([&] {
    for (int i = 0; i < 1000; ++i) net::post(executor, [] { fail_with("one of many"); });
  });
  loop.run();
  EXPECT_EQ(a.count(), 1000U);
  EXPECT_EQ(a.last().domains, std::vector<std::string>{"a"});
}

class AsioThreads : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Of, AsioThreads, testing::Values(1, 8));

// Each domain's work hops, by timers and by strands shared with others, over all threads of one loop.
TEST_P(AsioThreads, OverlappingDomainsDoNotMix) {
  constexpr int kDomains = 200;
  constexpr int kHops = 5;
  net::io_context loop;
  const Executor executor = refork::asio::make_executor(loop);
  const auto strand = net::make_strand(executor);
  std::vector<std::unique_ptr<Watched>> domains;
  std::atomic<int> strangers{0};
  struct Hopper : std::enable_shared_from_this<Hopper> {
    Hopper(const Executor& on, net::strand<Executor> shared, std::string mine, std::atomic<int>& counted)
        : timer(on), strand(std::move(shared)), name(std::move(mine)), strangers(counted) {}
    void hop(int left) {
      if (active() != name) ++strangers;
      if (left == 0) fail_with(name.c_str());
      if (left % 2 == 0) return net::post(strand, [self = shared_from_this(), left] { self->hop(left - 1); });
      timer.expires_after(milliseconds(left % 3));
      timer.async_wait([self = shared_from_this(), left](error_code) { self->hop(left - 1); });
    }
    Timer timer;
    net::strand<Executor> strand;
    std::string name;
    std::atomic<int>& strangers;
  };
  for (int i = 0; i < kDomains; ++i) {
    domains.push_back(std::make_unique<Watched>("domain " + std::to_string(i)));
    domains.back()->domain.run([&] {
      std::make_shared<Hopper>(executor, strand, "domain " + std::to_string(i), strangers)->hop(kHops);
    });
  }
  std::vector<std::thread> threads;
  for (int i = 0; i < GetParam(); ++i) threads.emplace_back([&] { loop.run(); });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(strangers, 0);
  for (int i = 0; i < kDomains; ++i)
    EXPECT_EQ(domains[static_cast<std::size_t>(i)]->messages(),
              std::vector<std::string>{"domain " + std::to_string(i)});
}

TEST(AsioServer, AConnectionCallsBackInTheDomainThatItWasAddedToLast) {
  net::io_context loop;
  Worker worker;
  Watched a("a"), b("b");
  std::vector<std::string> seen;
  auto [listener, port] = listen_tcp();
  net::ip::tcp::socket client(loop);
  std::shared_ptr<refork::asio::Connection> connection;
  std::function<void()> next;
  const std::function<void()> moves[] = {
      [&] { a.domain.add(*connection); },    [&] { b.domain.add(*connection); },
      [&] { a.domain.remove(*connection); },  // it is not a's
      [&] { b.domain.remove(*connection); }, [&] { worker.drain(DrainReason::stop); },
  };
  next = [&] {
    connection->wait_for_request([&] {
      char byte = 0;
      connection->socket().read_some(net::buffer(&byte, 1));
      seen.push_back(active());
      next();  // it waits already when it is moved
      moves[seen.size() - 1]();
      if (seen.size() < std::size(moves))
        net::write(client, net::buffer("x", 1));
      else
        connection.reset();
    });
  };
  refork::asio::Server server(loop, worker, [&](std::shared_ptr<refork::asio::Connection> accepted) {
    connection = std::move(accepted);
    EXPECT_EQ(connection->domain(), Domain::current()) << "D6";
    EXPECT_TRUE(connection->domain().members().empty());
    next();
  });
  server.listen({listener.release(), "", ""});
  worker.ready();
  client.connect({net::ip::address_v4::loopback(), port});
  net::write(client, net::buffer("x", 1));
  loop.run();
  EXPECT_THAT(seen, ElementsAre("connection", "a", "b", "b", "connection"));
  EXPECT_EQ(worker.finish(), 0);
}

TEST(AsioServer, AConnectionsOwnListenerWinsAndItsEndTakesItOutOfItsDomain) {
  net::io_context loop;
  Worker worker;
  Watched a("a");
  auto [listener, port] = listen_tcp();
  net::ip::tcp::socket client(loop);
  refork::asio::Server server(loop, worker, [&](std::shared_ptr<refork::asio::Connection> connection) {
    a.domain.add(*connection);
    EXPECT_THAT(a.domain.members(), ElementsAre(connection.get()));
    int heard = 0;
    connection->report(net::error::make_error_code(net::error::connection_reset));
    connection->on_error([&](const Failure&) { ++heard; });
    connection->report(net::error::make_error_code(net::error::connection_reset));
    EXPECT_EQ(heard, 1);
    connection.reset();
    EXPECT_THAT(a.domain.members(), ElementsAre());
    worker.drain(DrainReason::stop);
  });
  server.listen({listener.release(), "", ""});
  worker.ready();
  client.connect({net::ip::address_v4::loopback(), port});
  loop.run();
  ASSERT_EQ(a.count(), 1U);
  EXPECT_EQ(a.last().emitter, "connection");
}

TEST(AsioServer, WhoIsInTheQueueAsADrainBeginsIsServedThoughTheOneBeforeFails) {
  net::io_context loop;
  Worker worker;
  int served = 0;
  {
    refork::asio::Server server(loop, worker, [&](const std::shared_ptr<refork::asio::Connection>&) {
      if (++served == 1) fail_with("in the queue");
    });
    auto [listener, port] = listen_tcp();
    server.listen({listener.release(), "", ""});
    net::ip::tcp::socket first(loop), second(loop);
    for (auto* client : {&first, &second}) client->connect({net::ip::address_v4::loopback(), port});
    worker.ready();
    worker.drain(DrainReason::stop);
    EXPECT_NO_THROW(loop.run());
  }
  EXPECT_EQ(served, 2);
  EXPECT_EQ(worker.finish(), 0);
}

TEST(AsioServer, AListenerThatComesDuringTheDrainServesItsQueueAndNoMore) {
  net::io_context loop;
  Worker worker;
  int served = 0;
  {
    auto [late, late_port] = listen_tcp();
    std::unique_ptr<refork::asio::Server> server;
    server = std::make_unique<refork::asio::Server>(
        loop, worker, [&, &late = late](const std::shared_ptr<refork::asio::Connection>&) {
          if (++served == 1) server->listen({late.release(), "", ""});
        });
    auto [listener, port] = listen_tcp();
    server->listen({listener.release(), "", ""});
    net::ip::tcp::socket first(loop), second(loop);
    first.connect({net::ip::address_v4::loopback(), port});
    second.connect({net::ip::address_v4::loopback(), late_port});
    worker.ready();
    worker.drain(DrainReason::stop);
    loop.run();
    EXPECT_EQ(served, 2);
    boost::system::error_code refused;
    net::ip::tcp::socket third(loop);
    third.connect({net::ip::address_v4::loopback(), late_port}, refused);
    EXPECT_EQ(refused, boost::asio::error::connection_refused);
  }
  EXPECT_EQ(worker.finish(), 0);
}

// D27
TEST(AsioDeathTest, WithoutAHandlerTheOuterDomainIsNotTried) {
  EXPECT_DEATH(
      {
        net::io_context loop;
        const Executor executor = refork::asio::make_executor(loop);
        Domain outer("outer");
        outer.on_error([](const Failure&) { std::fputs("outer was told", stderr); });
        const Domain inner("inner");
        inner.run([&] { net::post(executor, [] { fail_with("nobody's"); }); });
        std::set_terminate([] {
          std::fputs("terminated", stderr);
          std::abort();
        });
        outer.run([&] { loop.run(); });
      },
      "^terminated");
}

}  // namespace
}  // namespace refork::test
