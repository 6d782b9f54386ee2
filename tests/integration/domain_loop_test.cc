// Domains over a real event loop, as the pattern's own tests have them: errors from every way a callback can
// be scheduled, with and without a handler, and what becomes of the callbacks around them.
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <array>
#include <boost/asio/defer.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "refork/asio.hpp"
#include "unit/domain_support.h"

namespace refork::test {
namespace {

using std::chrono::milliseconds;

// A loop whose callbacks run in the domain that scheduled them; with no domain they are only called.
struct Loop {
  boost::asio::io_context io{1};
  asio::Executor executor{io.get_executor(), Domain::empty()};

  void post(std::function<void()> f) { boost::asio::post(executor, std::move(f)); }
  void later(std::function<void()> f, milliseconds after = milliseconds(0)) {
    auto timer = std::make_shared<asio::Timer>(executor, after);
    timer->async_wait([timer, f = std::move(f)](const boost::system::error_code&) { f(); });
  }
  // Once a socket has something to read.
  void on_input(std::function<void()> f) {
    std::array<int, 2> pair{};
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, pair.data()), 0);
    const boost::asio::generic::stream_protocol protocol(AF_UNIX, 0);
    auto reader = std::make_shared<asio::Socket>(executor, protocol, pair[0]);
    auto writer = std::make_shared<asio::Socket>(executor, protocol, pair[1]);
    ASSERT_EQ(::send(pair[1], "x", 1, 0), 1);
    reader->async_wait(asio::Socket::wait_read,
                       [reader, writer, f = std::move(f)](const boost::system::error_code&) { f(); });
  }
  void run() { io.run(); }
};

struct Way {
  const char* name;
  void (*schedule)(Loop& loop, std::function<void()> f);
};
void PrintTo(const Way& way, std::ostream* out) { *out << way.name; }

const Way at_once{"AtOnce", [](Loop&, std::function<void()> f) { f(); }};
const std::array<Way, 6> later_ways{{
    {"Posted", [](Loop& loop, std::function<void()> f) { loop.post(std::move(f)); }},
    {"Deferred",
     [](Loop& loop, std::function<void()> f) { boost::asio::defer(loop.executor, std::move(f)); }},
    {"Timer", [](Loop& loop, std::function<void()> f) { loop.later(std::move(f)); }},
    {"TimerThenPosted",
     [](Loop& loop, std::function<void()> f) { loop.later([&loop, f = std::move(f)] { loop.post(f); }); }},
    {"Input", [](Loop& loop, std::function<void()> f) { loop.on_input(std::move(f)); }},
    {"ThreeHops",
     [](Loop& loop, std::function<void()> f) {
       loop.post([&loop, f = std::move(f)] { loop.later([&loop, f] { loop.on_input(f); }); });
     }},
}};

class ErrorFrom : public testing::TestWithParam<Way> {
 protected:
  // Schedules an error in this way, inside the domain.
  void fail_inside(const Domain& domain, const char* message = "boom") {
    domain.run([&] { GetParam().schedule(loop, [message] { throw_error(message); }); });
  }
  Loop loop;
};

const auto name_of = [](const auto& tested) { return std::string(tested.param.name); };
INSTANTIATE_TEST_SUITE_P(AtOnce, ErrorFrom, testing::Values(at_once), name_of);
INSTANTIATE_TEST_SUITE_P(Later, ErrorFrom, testing::ValuesIn(later_ways), name_of);

TEST_P(ErrorFrom, ReachesTheHandlerOfItsDomainAndTheLoopGoesOn) {
  Domain domain("request");
  Seen seen;
  bool after = false;
  domain.on_error(seen.handler());
  fail_inside(domain);
  loop.later([&] { after = true; }, milliseconds(1));
  loop.run();
  ASSERT_EQ(seen.count(), 1U);
  EXPECT_TRUE(seen.last().thrown);
  EXPECT_EQ(seen.last().domain, "request");
  EXPECT_TRUE(seen.last().emitter.empty());
  EXPECT_TRUE(seen.last().bound.empty());
  EXPECT_TRUE(after);
}

TEST_P(ErrorFrom, OfANestedDomainReachesItsHandlerAndNotTheOuterOne) {
  Domain outer;
  Domain inner("inner");
  Seen outer_seen;
  Seen seen;
  outer.on_error(outer_seen.handler());
  inner.on_error(seen.handler());
  outer.run([&] { fail_inside(inner); });
  loop.run();
  EXPECT_EQ(seen.count(), 1U);
  EXPECT_EQ(outer_seen.count(), 0U);
}

TEST_P(ErrorFrom, InAHandlerThatCatchesItItselfIsNobodyElses) {
  Domain domain;
  int caught = 0;
  domain.on_error([&](const Failure&) {
    try {
      throw_error("inside the handler");
    } catch (const std::exception&) {
      ++caught;
    }
  });
  fail_inside(domain);
  loop.run();
  EXPECT_EQ(caught, 1);
}

TEST_P(ErrorFrom, LeavesNoDomainActive) {
  Domain domain;
  Domain scheduled_in_handler = domain;
  domain.on_error([&](const Failure&) {
    EXPECT_FALSE(Domain::current());
    loop.post([&] { scheduled_in_handler = Domain::current(); });
  });
  fail_inside(domain);
  loop.run();
  EXPECT_FALSE(scheduled_in_handler);
  EXPECT_FALSE(Domain::current());
}

using ErrorFromDeathTest = ErrorFrom;
INSTANTIATE_TEST_SUITE_P(AtOnce, ErrorFromDeathTest, testing::Values(at_once), name_of);
INSTANTIATE_TEST_SUITE_P(Later, ErrorFromDeathTest, testing::ValuesIn(later_ways), name_of);

// Ends the process in a way that says with which error.
void tell_at_terminate() {
  std::set_terminate([] {
    std::fputs("terminated, ", stderr);
    try {
      throw;
    } catch (const std::exception& error) {
      std::fprintf(stderr, "error: %s\n", error.what());
    }
    std::abort();
  });
}

TEST_P(ErrorFromDeathTest, WithoutAHandlerEndsTheProcess) {
  EXPECT_DEATH(on_a_thread([this] {
                 tell_at_terminate();
                 fail_inside(Domain("request"), "nobody's");
                 loop.run();
               }),
               "terminated, error: nobody's");
}

TEST_P(ErrorFromDeathTest, WhoseHandlerThrowsEndsTheProcessWithTheHandlersError) {
  EXPECT_DEATH(on_a_thread([this] {
                 tell_at_terminate();
                 Domain domain;
                 domain.on_error([](const Failure&) { throw_error("the handler's"); });
                 fail_inside(domain, "the first");
                 loop.run();
               }),
               "error: the handler's");
}

class LaterErrorFromDeathTest : public ErrorFrom {};
INSTANTIATE_TEST_SUITE_P(Later, LaterErrorFromDeathTest, testing::ValuesIn(later_ways), name_of);

TEST_P(LaterErrorFromDeathTest, IsNotGivenToAnOuterDomain) {
  EXPECT_DEATH(on_a_thread([this] {
                 tell_at_terminate();
                 Domain outer;
                 outer.on_error([](const Failure&) { std::fputs("the outer one was asked\n", stderr); });
                 const Domain inner("inner");
                 outer.add(inner);
                 outer.run([&] { fail_inside(inner, "nobody's"); });
                 loop.run();
               }),
               "^terminated, error: nobody's");
}

TEST(DomainLoop, AnErrorAtOnceOfAnInnerDomainWithoutAHandlerIsTheOuterOnes) {
  Domain outer("outer");
  Seen seen;
  outer.on_error(seen.handler());
  outer.run([] { Domain("inner").run([] { throw_error(); }); });
  ASSERT_EQ(seen.count(), 1U);
  EXPECT_EQ(seen.last().domain, "outer");
}

TEST(DomainLoop, DueTimersAfterOneThatThrowsStillRunInOrder) {
  Loop loop;
  std::string order;
  std::vector<Domain> domains;
  for (const char* name : {"a", "b", "c", "d"}) {
    domains.emplace_back(name);
    domains.back().on_error([&](const Failure& failure) { order += "!" + failure.domain; });
    domains.back().run([&] {
      loop.later([&] {
        order += Domain::current().name();
        throw_error();
      });
    });
  }
  loop.run();
  EXPECT_EQ(order, "a!ab!bc!cd!d");
}

TEST(DomainLoop, ACallbackAfterOneThatThrewInADomainOfItsOwnSeesNone) {
  Loop loop;
  bool second_ran = false;
  loop.later([] {
    Domain domain("made in a timer");
    domain.on_error([](const Failure&) { EXPECT_FALSE(Domain::current()); });
    domain.run([] { throw_error(); });
  });
  loop.later([&] {
    second_ran = true;
    EXPECT_FALSE(Domain::current());
  });
  loop.run();
  EXPECT_TRUE(second_ran);
}

TEST(DomainLoop, TheFirstDomainOfAllMayBeMadeInACallback) {
  Loop loop;
  Seen seen;
  loop.later([&] {
    Domain domain("late");
    domain.on_error(seen.handler());
    domain.run([&] { loop.post([] { throw_error(); }); });
  });
  loop.run();
  ASSERT_EQ(seen.count(), 1U);
  EXPECT_EQ(seen.last().domain, "late");
}

TEST(DomainLoop, AHandlerThatAlwaysSchedulesAnotherErrorStarvesNobody) {
  Loop loop;
  Domain domain;
  bool others_turn = false;
  int errors = 0;
  std::function<void()> fail = [] { throw_error(); };
  domain.on_error([&](const Failure&) {
    ++errors;
    if (!others_turn) domain.run([&] { loop.post(fail); });
  });
  domain.run([&] { loop.post(fail); });
  loop.later([&] { others_turn = true; }, milliseconds(5));
  loop.run();
  EXPECT_GE(errors, 1);
  EXPECT_TRUE(others_turn);
}

TEST(DomainLoop, TheOrderOfCallbacksIsThatOfALoopWithoutDomains) {
  const auto order_of = [](const Domain& domain) {
    Loop loop;
    std::string order;
    domain.run([&] {
      loop.post([&] {
        order += "1";
        loop.post([&] { order += "4"; });
      });
      loop.post([&] { order += "2"; });
      loop.post([&] { order += "3"; });
    });
    loop.run();
    return order;
  };
  EXPECT_EQ(order_of(Domain("some")), order_of(Domain::empty()));
}

TEST(DomainLoop, ContextFollowsTheScheduleAndNeverMixes) {
  Loop loop;
  std::string seen;
  std::vector<Domain> requests;
  for (const char* user : {"ada", "bob"}) {
    requests.emplace_back(user);
    requests.back().set("user", user);
    requests.back().run(
        [&] { loop.post([&] { loop.later([&] { seen += *Domain::current().get("user") + " "; }); }); });
  }
  loop.post([&] { seen += Domain::current() ? "?" : "nobody "; });
  loop.run();
  EXPECT_EQ(seen, "nobody ada bob ");
}

TEST(DomainLoop, ARequestsDomainInsideAServersOwnTakesItsErrorsAlone) {
  Loop loop;
  Domain server("server");
  Domain request("request");
  Domain client("client");
  Seen server_seen;
  Seen request_seen;
  Seen client_seen;
  server.on_error(server_seen.handler());
  request.on_error(request_seen.handler());
  client.on_error(client_seen.handler());
  server.run([&] { loop.post([&] { request.run([&] { loop.later([] { throw_error("request"); }); }); }); });
  client.run([&] { loop.on_input([] { throw_error("client"); }); });
  loop.run();
  EXPECT_EQ(server_seen.count(), 0U);
  ASSERT_EQ(request_seen.count(), 1U);
  EXPECT_EQ(request_seen.last().message, "request");
  ASSERT_EQ(client_seen.count(), 1U);
  EXPECT_EQ(client_seen.last().message, "client");
}

TEST(DomainLoop, OneDomainGetsDifferentErrorsOfEveryWayOnceEach) {
  Loop loop;
  Domain domain;
  Seen seen;
  domain.on_error(seen.handler());
  domain.run([&] {
    loop.post([] { throw 42; });
    loop.post([] { throw nullptr; });
    loop.post([] { throw false; });
    loop.post([] { throw std::string("text"); });
    loop.later([] { throw_error("timer"); }, milliseconds(1));
    loop.later([&] { loop.on_input([] { throw_error("input"); }); }, milliseconds(2));
  });
  loop.run();
  std::string messages;
  for (const auto& failure : seen.failures) messages += failure.message + " ";
  EXPECT_EQ(messages, "42 (null) false text timer input ");
}

// A chain of jobs, each of which starts the next and then throws.
TEST(DomainLoop, AChainOfPoolJobsThatThrowGivesOneDomainAllOfThem) {
  boost::asio::thread_pool pool(2);
  using Executor = asio::BasicExecutor<boost::asio::thread_pool::executor_type>;
  const Executor executor(pool.get_executor(), Domain::empty());
  Domain domain;
  std::mutex mutex;
  std::vector<std::string> messages;
  domain.on_error([&](const Failure& failure) {
    const std::lock_guard lock(mutex);
    messages.push_back(failure.message);
  });
  std::function<void(int)> job = [&](int left) {
    if (left > 0) boost::asio::post(executor, [&, left] { job(left - 1); });
    throw_error(std::to_string(left).c_str());
  };
  domain.run([&] { boost::asio::post(executor, [&] { job(3); }); });
  pool.wait();
  std::sort(messages.rbegin(), messages.rend());
  EXPECT_EQ(messages, (std::vector<std::string>{"3", "2", "1", "0"}));
}

TEST(DomainLoop, PendingCallbacksKeepTheirDomainAndLetItGo) {
  auto flag = std::make_shared<int>();
  const std::weak_ptr<int> alive = flag;
  Loop loop;
  {
    Domain domain;
    domain.on_error([kept = std::move(flag)](const Failure&) {});
    domain.run([&] { loop.later([&] { loop.post([] { throw_error(); }); }); });
  }
  EXPECT_FALSE(alive.expired());
  loop.run();
  EXPECT_TRUE(alive.expired());
}

}  // namespace
}  // namespace refork::test
