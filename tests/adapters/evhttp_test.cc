// The adapter for evhttp inside one process, driven by the loop itself: what becomes of requests, of their
// domains and of their connections where things go wrong. (As servers, under load: tests/integration and
// tests/e2e.)
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "adapters/seen.h"
#include "refork/worker.hpp"
#include "support/http.h"
#include "support/process.h"
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wold-style-cast"
#include "refork/evhttp.h"
#include "refork/libevent.h"
#pragma GCC diagnostic pop

namespace refork::test {
namespace {

using Serve = std::function<void(refork_evhttp_request*)>;

void reply(refork_evhttp_request* request, int code, const std::string& text) {
  evbuffer* body = evbuffer_new();
  evbuffer_add(body, text.data(), text.size());
  refork_evhttp_reply(request, code, nullptr, body);
  evbuffer_free(body);
}

int report(refork_evhttp_request* request) {
  return refork_report_errno(refork_evhttp_request_domain(request), EIO, "reported");
}

// A server whose loop runs on the test's thread while a client's function runs on another.
class Evhttp : public testing::Test {
 protected:
  Evhttp() {
    refork_worker_options options = REFORK_WORKER_OPTIONS_INIT;
    options.drive = REFORK_DRIVE_FD;
    options.lame_duck_ms = 200;
    EXPECT_EQ(refork_worker_open(&worker_, &options), 0) << refork_error_message();
    server_ = refork_evhttp_new(base_, evhttp_new(base_), worker_);
    refork_evhttp_set_gencb(
        server_,
        [](refork_evhttp_request* request, void* self) { static_cast<Evhttp*>(self)->serve_(request); },
        this);
    auto [listener, port] = listen_tcp();
    address_ = Address::tcp(port);
    EXPECT_EQ(refork_evhttp_listen(server_, listener.release()), 0);
  }
  ~Evhttp() override {
    refork_evhttp_free(server_);
    event_base_free(base_);
    refork_worker_close(worker_);
  }

  // Serves until the client has come to its end and the worker has drained.
  void run(Serve serve, const std::function<void()>& client) {
    serve_ = std::move(serve);
    refork_worker_ready(worker_);
    std::thread thread([&] {
      client();
      refork_worker_drain(worker_, REFORK_DRAIN_STOP);
    });
    event_base_dispatch(base_);
    thread.join();
    EXPECT_EQ(refork_worker_finish(worker_), 0);
  }

  event_base* base_ = event_base_new();
  refork_worker* worker_ = nullptr;
  refork_evhttp* server_ = nullptr;
  Address address_;
  Serve serve_;
};

TEST_F(Evhttp, ServesEachRequestInADomainOfItsOwn) {
  std::vector<std::string> domains;
  run(
      [&](refork_evhttp_request* request) {
        domains.push_back(active());
        reply(request, 200, "ok");
      },
      [&] {
        HttpConnection client(address_);
        EXPECT_EQ(client.get("/").body, "ok");
        EXPECT_EQ(client.get("/").body, "ok");
      });
  EXPECT_EQ(domains, (std::vector<std::string>{"http", "http"}));
}

TEST_F(Evhttp, AnswersWhatIsThrownAndWhatIsReportedWith500AndCloses) {
  run(
      [&](refork_evhttp_request* request) {
        const std::string uri = evhttp_request_get_uri(refork_evhttp_request_get(request));
        if (uri == "/thrown") fail_with("thrown");
        EXPECT_EQ(report(request), 0);
        EXPECT_EQ(refork_evhttp_request_get(request), nullptr);
        reply(request, 200, "too late");  // what still runs must not harm
      },
      [&] {
        for (const char* path : {"/thrown", "/reported"}) {
          HttpConnection client(address_);
          const Answer answer = client.get(path);
          EXPECT_EQ(answer.status, 500) << path << answer.error;
          EXPECT_TRUE(answer.close);
          EXPECT_TRUE(client.wait_closed());
        }
      });
}

TEST_F(Evhttp, AnErrorInTheMidstOfAnAnswerDropsTheConnectionAndWhatFollowsDoesNothing) {
  run(
      [&](refork_evhttp_request* request) {
        evbuffer* part = evbuffer_new();
        refork_evhttp_reply_start(request, 200, nullptr);
        evbuffer_add_printf(part, "the first part");
        refork_evhttp_reply_chunk(request, part);
        EXPECT_EQ(report(request), 0);
        evbuffer_add_printf(part, "the second part");
        refork_evhttp_reply_chunk(request, part);
        refork_evhttp_reply_end(request);
        evbuffer_free(part);
      },
      [&] { EXPECT_EQ(http_get(address_, "/").status, 0); });
}

TEST_F(Evhttp, OnceARequestIsAnsweredItIsOverAndNoSecondAnswerIsSent) {
  int serving = 0;
  run(
      [&](refork_evhttp_request* request) {
        if (++serving == 2) return reply(request, 200, "second");
        reply(request, 200, "first");
        EXPECT_EQ(refork_evhttp_request_get(request), nullptr);
        reply(request, 200, "too late");
        refork_evhttp_reply_start(request, 200, nullptr);
        refork_evhttp_reply_end(request);
      },
      [&] {
        HttpConnection client(address_);
        EXPECT_EQ(client.get("/").body, "first");
        EXPECT_EQ(client.get("/").body, "second");
      });
}

TEST_F(Evhttp, AnErrorThatComesAfterAWholeAnswerIsToldAndTakesNothingBack) {
  run(
      [&](refork_evhttp_request* request) {
        if (std::string(evhttp_request_get_uri(refork_evhttp_request_get(request))) == "/answered")
          reply(request, 200, "whole");
        EXPECT_EQ(report(request), 0);
        EXPECT_EQ(report(request), 0);  // what it waits for may fail twice
      },
      [&] {
        EXPECT_EQ(http_get(address_, "/answered").body, "whole");
        EXPECT_EQ(http_get(address_, "/failed").status, 500);
      });
}

TEST_F(Evhttp, StreamsAnAnswer) {
  run(
      [&](refork_evhttp_request* request) {
        evbuffer* part = evbuffer_new();
        refork_evhttp_reply_start(request, 200, nullptr);
        for (const char* text : {"one ", "two"}) {
          evbuffer_add_printf(part, "%s", text);
          refork_evhttp_reply_chunk(request, part);
        }
        refork_evhttp_reply_end(request);
        evbuffer_free(part);
      },
      [&] { EXPECT_EQ(http_get(address_, "/").body, "one two"); });
}

// Looks again and again whether its request is over, bound to the request's domain.
struct Watch {
  event_base* base;
  refork_evhttp_request* request;
  std::atomic<bool>& over;

  void later() {
    const timeval soon{0, 1000};
    refork_event_base_once(base, -1, EV_TIMEOUT, look, this, &soon);
  }
  static void look(evutil_socket_t, short, void* watch) {
    auto& self = *static_cast<Watch*>(watch);
    if (refork_evhttp_request_get(self.request) != nullptr) return self.later();
    refork_evhttp_reply_end(self.request);  // what still runs must not harm
    self.over = true;
  }
};

TEST_F(Evhttp, ARequestWhoseClientHasGoneIsOverAndStaysValidForWhatIsBoundToIt) {
  std::atomic<bool> over{false};
  std::unique_ptr<Watch> watch;
  run(
      [&](refork_evhttp_request* request) {
        refork_evhttp_reply_start(request, 200, nullptr);  // evhttp finds out while it writes
        watch = std::make_unique<Watch>(Watch{base_, request, over});
        watch->later();
      },
      [&] {
        HttpConnection client(address_);
        EXPECT_TRUE(client.send_get("/"));
        client.close();
        EXPECT_TRUE(wait_until([&] { return over.load(); }));
      });
}

TEST_F(Evhttp, TheFailureCallbackWritesTheAnswerOrHasTheConnectionDropped) {
  refork_evhttp_on_failure(
      server_,
      [](refork_evhttp_request*, const refork_failure* failure, evbuffer* body, void*) {
        evbuffer_add_printf(body, "%s", refork_failure_type(failure));
        return std::string(refork_failure_type(failure)) == "errno" ? 0 : -1;
      },
      nullptr);
  run(
      [&](refork_evhttp_request* request) {
        if (std::string(evhttp_request_get_uri(refork_evhttp_request_get(request))) == "/thrown")
          fail_with("x");
        report(request);
      },
      [&] {
        EXPECT_EQ(http_get(address_, "/reported").body, "errno");
        EXPECT_EQ(http_get(address_, "/thrown").status, 0);
      });
}

TEST_F(Evhttp, RoutesHaveCallbacksOfTheirOwn) {
  const refork_evhttp_cb special = [](refork_evhttp_request* request, void*) {
    reply(request, 200, "special");
  };
  EXPECT_EQ(refork_evhttp_set_cb(server_, "/special", special, nullptr), 0);
  EXPECT_EQ(refork_evhttp_set_cb(server_, "/special", special, nullptr), -EEXIST);
  run([&](refork_evhttp_request* request) { reply(request, 200, "general"); },
      [&] {
        EXPECT_EQ(http_get(address_, "/special").body, "special");
        EXPECT_EQ(http_get(address_, "/else").body, "general");
      });
}

TEST_F(Evhttp, WhatFollowsTheLastRequestDoesNotResetItsAnswer) {
  const std::string large(100'000, 'x');
  run([&](refork_evhttp_request* request) { reply(request, 200, large); },
      [&] {
        HttpConnection client(address_);
        ASSERT_TRUE(
            client.send("GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\nGET /more HTTP/1.1\r\n\r\n"));
        const Answer answer = client.read_answer();
        EXPECT_EQ(answer.body.size(), large.size()) << answer.error;
        EXPECT_TRUE(client.send("and more"));
        EXPECT_TRUE(client.wait_closed());
      });
}

TEST_F(Evhttp, BadRequestsAndHttp10AreAnsweredAndClosed) {
  run([&](refork_evhttp_request* request) { reply(request, 200, "ok"); },
      [&] {
        HttpConnection bad(address_);
        ASSERT_TRUE(bad.send("what is this\r\n\r\n"));
        EXPECT_EQ(bad.read_answer().status, 400);
        HttpConnection old(address_);
        ASSERT_TRUE(old.send("GET / HTTP/1.0\r\n\r\n"));
        EXPECT_EQ(old.read_answer().body, "ok");
        EXPECT_TRUE(old.wait_closed());
      });
}

TEST_F(Evhttp, ServesUnixSockets) {
  const TempDir dir;
  const std::string path = dir.file("sock");
  sockaddr_un at{};
  at.sun_family = AF_UNIX;
  path.copy(at.sun_path, sizeof at.sun_path - 1);
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  ASSERT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&at), sizeof at), 0);
  ASSERT_EQ(::listen(fd, 8), 0);
  EXPECT_EQ(refork_evhttp_listen(server_, fd), 0);
  run([&](refork_evhttp_request* request) { reply(request, 200, "ok"); },
      [&] { EXPECT_EQ(http_get(Address::unix_socket(path), "/").body, "ok"); });
}

}  // namespace
}  // namespace refork::test
