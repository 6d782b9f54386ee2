// What a handler may do with its request's domain: the adapter for cpp-httplib in this process, over a real
// socket.
#include "refork/httplib.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <stdexcept>
#include <string>
#include <thread>

#include "support/http.h"

namespace {

using refork::test::Address;
using refork::test::Answer;
using refork::test::HttpConnection;

refork::Worker::Options serving_on() {
  refork::Worker::Options options;
  options.standalone = refork::Worker::Standalone::serve;
  return options;
}

class HttplibServer : public testing::Test {
 protected:
  HttplibServer() {
    auto [listener, port] = refork::test::listen_tcp();
    address_ = Address::tcp(port);
    server_.listen({listener.release(), "own", ""});
    server_.on_failure([this](const refork::Failure&, const httplib::Request&, httplib::Response& response) {
      ++answered_;
      response.set_content("sorry", "text/plain");
    });
  }
  ~HttplibServer() override {
    worker_.drain();
    thread_.join();
  }
  void start() {
    worker_.ready();
    thread_ = std::thread([this] { server_.run(); });
  }

  refork::Worker worker_{serving_on()};
  refork::httplib::Server server_{worker_, 4};
  Address address_;
  std::atomic<int> answered_{0};
  std::thread thread_;
};

TEST_F(HttplibServer, AnswersAnErrorWith500AfterItSaidContinue) {
  server_.Post("/", [](const httplib::Request&, httplib::Response&) { throw std::runtime_error("no"); });
  start();
  HttpConnection client(address_);
  ASSERT_TRUE(
      client.send("POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi"));
  // To this client all after the head of the 100 is its body.
  const Answer answer = client.read_answer();
  EXPECT_EQ(answer.status, 100) << answer.error;
  EXPECT_NE(answer.body.find("HTTP/1.1 500 "), std::string::npos) << answer.body;
  EXPECT_NE(answer.body.find("Connection: close"), std::string::npos) << answer.body;
}

TEST_F(HttplibServer, AReportedErrorIsTheAnswerWhateverTheHandlerDoesAfterIt) {
  server_.Get("/", [](const httplib::Request&, httplib::Response& response) {
    refork::Domain::current().report(std::make_error_code(std::errc::io_error));
    response.status = 200;
    response.set_content("fine", "text/plain");
  });
  start();
  HttpConnection client(address_);
  const Answer answer = client.get("/");
  EXPECT_EQ(answer.status, 500) << answer.error;
  EXPECT_EQ(answer.body, "sorry");
  EXPECT_TRUE(answer.close);
}

TEST_F(HttplibServer, AnErrorInACallbackThatOutlivesItsRequestAnswersNobody) {
  std::promise<void> request_over;
  std::thread later;
  server_.Get("/", [&](const httplib::Request&, httplib::Response& response) {
    later = std::thread(refork::bind([over = request_over.get_future().share()] {
      over.wait();
      throw std::runtime_error("too late to answer");
    }));
    response.set_content("fine", "text/plain");
  });
  start();
  HttpConnection client(address_);
  EXPECT_EQ(client.get("/").body, "fine");
  EXPECT_EQ(client.get("/nothing").status, 404);  // the first request is over
  request_over.set_value();
  later.join();
  EXPECT_EQ(answered_, 0);
}

}  // namespace
