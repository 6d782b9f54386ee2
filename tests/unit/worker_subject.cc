// A worker for tests: does what the lines that it reads from descriptor 20 tell it, and prints what happens
// to it. It uses the public API alone. `--fd`: no control thread; `--drained`: ends by way of on_drained and
// finish(); `--drain`: drains after errors without reforkd, too.
// `--show-query`: the option of that name.

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <deque>
#include <iostream>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "refork/worker.hpp"

using refork::Failure;
using refork::Worker;

namespace {

bool forked_child = false;

}  // namespace

#if defined(__SANITIZE_ADDRESS__)
// Asked by the leak checker at exit. In a forked child its locks may be held by threads that are not there.
extern "C" int __lsan_is_turned_off() { return forked_child; }
#endif

namespace {

constexpr int command_fd = 20;

void say(const std::string& line) {
  const std::string text = line + "\n";
  if (::write(STDOUT_FILENO, text.data(), text.size()) < 0) std::abort();
}

std::string reason_name(refork::DrainReason reason) {
  switch (reason) {
    case refork::DrainReason::error:
      return "error";
    case refork::DrainReason::operator_:
      return "operator";
    case refork::DrainReason::reload:
      return "reload";
    case refork::DrainReason::recycle:
      return "recycle";
    case refork::DrainReason::stop:
      return "stop";
  }
  return "?";
}

Failure boom(const std::string& message) {
  Failure failure;
  failure.type = "std::runtime_error";
  failure.message = message;
  failure.domain = "request";
  failure.context = {{"session_token", "abc"}, {"user", "bob"}};
  return failure;
}

struct Subject {
  Worker& worker;
  std::deque<refork::Request> requests;
  std::deque<refork::Hold> holds;
  std::optional<Failure> last;
  bool over = false;

  void fail(const std::string& message, refork::Then then) {
    Failure failure = boom(message);
    worker.fail(failure, then);
    last = failure;
    say("failed " + failure.id);
  }

  void fail_in_handler() {
    Failure failure = boom("in the handler");
    failure.kind = refork::Kind::handler;
    failure.original = std::make_shared<const Failure>(*last);
    worker.fail(failure);
    say("failed " + failure.id);
  }

  void fail_often(int count) {
    for (int i = 0; i < count; ++i) {
      Failure failure = boom("poison " + std::to_string(i));
      worker.fail(failure, refork::Then::serve);
      last = failure;
    }
    say("failed often");
  }

  // Four threads, each with failures of two kinds in turn.
  void burst(int rounds) {
    std::vector<std::thread> all;
    for (int t = 0; t < 4; ++t)
      all.emplace_back([this, rounds] {
        for (int i = 0; i < 2 * rounds; ++i) {
          Failure failure = boom("poison");
          failure.type = i % 2 == 0 ? "left" : "right";
          worker.fail(failure, refork::Then::serve);
        }
      });
    for (auto& thread : all) thread.join();
  }

  // Several threads fail, begin and end requests at once.
  void storm(int threads, int rounds) {
    std::vector<std::thread> all;
    for (int t = 0; t < threads; ++t)
      all.emplace_back([this, t, rounds] {
        for (int i = 0; i < rounds; ++i) {
          auto request = worker.begin("GET /storm");
          Failure failure = boom("storm");
          failure.type = "storm" + std::to_string(t);
          worker.fail(failure);
        }
      });
    for (auto& thread : all) thread.join();
    say("stormed");
  }

  void fork_child() {
    const pid_t child = fork();
    if (child == 0) {
      forked_child = true;
      auto request = worker.begin("GET /child");
      fail("in the child", refork::Then::drain);
      worker.drain();
      const bool sent = worker.send("1");
      worker.ready();
      say(std::string("child ") +
          (Worker::current() == nullptr && !sent ? "is no worker" : "acts as a worker"));
      over = true;  // returns from main, and so through every destructor
      return;
    }
    int status = 0;
    waitpid(child, &status, 0);
    say("child ended " + std::to_string(WEXITSTATUS(status)));
  }

  void stick() {
    say("stuck");
    for (;;) pause();
  }

  void do_one(const std::string& line) {
    std::istringstream in(line);
    std::string verb, rest;
    in >> verb;
    std::getline(in >> std::ws, rest);
    if (verb == "ready")
      worker.ready();
    else if (verb == "begin")
      requests.push_back(worker.begin(rest));
    else if (verb == "end")
      requests.pop_front();
    else if (verb == "hold")
      holds.push_back(worker.hold());
    else if (verb == "release")
      holds.pop_front();
    else if (verb == "fail")
      fail(rest, refork::Then::drain);
    else if (verb == "fail-serve")
      fail(rest, refork::Then::serve);
    else if (verb == "fail-in-handler")
      fail_in_handler();
    else if (verb == "fail-often")
      fail_often(std::stoi(rest));
    else if (verb == "burst")
      burst(std::stoi(rest));
    else if (verb == "storm")
      storm(4, std::stoi(rest));
    else if (verb == "drain")
      worker.drain();
    else if (verb == "drain-recycle")
      worker.drain(refork::DrainReason::recycle);
    else if (verb == "send")
      say(worker.send(rest) ? "sent" : "not sent");
    else if (verb == "send-large")
      say(worker.send("\"" + std::string(60 * 1024, 'x') + "\"") ? "sent" : "not sent");
    else if (verb == "fill") {
      while (worker.send("\"" + std::string(1000, 'x') + "\"")) {
      }
    } else if (verb == "listen-to-messages")
      worker.on_message([](std::string_view json) { say("message " + std::string(json)); });
    else if (verb == "fork")
      fork_child();
    else if (verb == "stick")
      stick();
    else if (verb == "exec") {
      if (std::system(rest.c_str()) != 0) say("exec failed");
    } else if (verb == "finish")
      over = true;
    if (verb != "fork") say("done " + verb);
  }
};

// Reads commands, and drives the worker where nobody else does.
void serve(Subject& subject, int stop) {
  std::string buffer;
  while (!subject.over) {
    pollfd fds[3] = {{command_fd, POLLIN, 0}, {subject.worker.fd(), POLLIN, 0}, {stop, POLLIN, 0}};
    if (poll(fds, 3, -1) < 0) continue;
    if (fds[2].revents != 0) return;
    if (fds[1].revents != 0) subject.worker.process();
    if (fds[0].revents == 0) continue;
    char chunk[512];
    const auto length = read(command_fd, chunk, sizeof chunk);
    if (length == 0) return;
    if (length > 0) buffer.append(chunk, static_cast<std::size_t>(length));
    for (std::size_t end; !subject.over && (end = buffer.find('\n')) != std::string::npos;) {
      const std::string line = buffer.substr(0, end);
      buffer.erase(0, end + 1);
      subject.do_one(line);
    }
  }
}

bool has(int argc, char** argv, const char* option) {
  for (int i = 1; i < argc; ++i)
    if (std::strcmp(argv[i], option) == 0) return true;
  return false;
}

int run(int argc, char** argv) {
  Worker::Options options;
  options.drive = has(argc, argv, "--fd") ? Worker::Drive::fd : Worker::Drive::thread;
  options.show_query = has(argc, argv, "--show-query");
  if (has(argc, argv, "--drain")) options.standalone = Worker::Standalone::drain;
  Worker worker(options);
  for (const auto& listener : worker.listeners())
    say("listener " + std::to_string(listener.fd) + " " + listener.name + " " + listener.address);
  const int stop = eventfd(0, EFD_CLOEXEC);
  worker.on_pause([] { say("pause"); });
  worker.on_resume([] { say("resume"); });
  worker.on_drain([](const refork::Drain& drain) {
    say("drain " + reason_name(drain.reason) + " " + std::to_string(drain.lame_duck.count()));
  });
  if (has(argc, argv, "--drained"))
    worker.on_drained([stop] {
      say("drained");
      eventfd_write(stop, 1);
    });
  say(worker.supervised() ? "started supervised" : "started alone");
  Subject subject{worker, {}, {}, {}, false};
  serve(subject, stop);
  subject.requests.clear();
  return worker.finish();
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    std::cerr << error.what() << "\n";
    return 2;
  }
}
