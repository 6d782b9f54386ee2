// A primary that has no will of its own. See fake_primary.h.

#include "integration/fake_primary.h"

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>

namespace refork::test {
namespace {

constexpr int channel_number = 10, recorder_number = 11, command_number = 20;

template <class T>
T value_of(base::Result<T> result) {
  if (!result) throw std::runtime_error(result.error().what);
  return *std::move(result);
}

bool readable(int fd, std::chrono::milliseconds patience) {
  pollfd poll_fd{fd, POLLIN, 0};
  return poll(&poll_fd, 1, static_cast<int>(patience.count())) == 1;
}

}  // namespace

FakePrimary::FakePrimary(const std::string& program, Options options) {
  Process::Options plan;
  plan.argv = {program};
  plan.argv.insert(plan.argv.end(), options.arguments.begin(), options.arguments.end());
  plan.environment = options.environment;
  plan.listeners = options.listeners;
  plan.listener_names = options.listener_names;
  int commands[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, commands) != 0)
    throw std::runtime_error("socketpair");
  commands_.reset(commands[0]);
  const base::UniqueFd theirs(commands[1]);
  plan.fds.emplace_back(theirs.get(), command_number);
  base::UniqueFd worker_end;
  if (options.supervised) {
    recorder_ = value_of(recorder::Reader::create(recorder::Identity{17, 3, 1, 0, "web"}));
    auto pair = value_of(proto::Channel::make_pair());
    channel_.emplace(std::move(pair.primary));
    worker_end = std::move(pair.worker);
    plan.fds.emplace_back(worker_end.get(), channel_number);
    plan.fds.emplace_back(recorder_->fd(), recorder_number);
    plan.environment.push_back("REFORK_CHANNEL=" + std::to_string(channel_number));
    plan.environment.push_back("REFORK_RECORDER=" + std::to_string(recorder_number));
  }
  process_ = std::make_unique<Process>(std::move(plan));
}

void FakePrimary::tell(const std::string& command) {
  const std::string line = command + "\n";
  if (::send(commands_.get(), line.data(), line.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(line.size()))
    throw std::runtime_error("the program takes no commands any more");
}

void FakePrimary::tell_and_wait(const std::string& command) {
  const auto done = "done " + command.substr(0, command.find(' ')) + "\n";
  const auto count = [&] {
    std::size_t found = 0;
    const std::string text = output();
    for (auto at = text.find(done); at != std::string::npos; at = text.find(done, at + 1)) ++found;
    return found;
  };
  const auto before = count();
  tell(command);
  if (!wait_until([&] { return count() > before; })) throw std::runtime_error("not done: " + command);
}

void FakePrimary::send(const proto::Message& message) {
  int code = 0;
  const auto settled = [&] {
    const auto sent = channel_->send(message);
    code = sent ? 0 : sent.error().code;
    return code != EAGAIN;  // full: the worker reads on
  };
  if (!wait_until(settled) || code != 0)
    throw std::runtime_error("send: " + std::string(std::strerror(code)));
}

void FakePrimary::send_raw(std::string_view packet) {
  if (::send(channel_->fd(), packet.data(), packet.size(), MSG_NOSIGNAL) < 0)
    throw std::runtime_error("send");
}

void FakePrimary::welcome(std::uint32_t drain_deadline_ms, std::uint32_t lame_duck_ms) {
  expect<proto::Hello>();
  proto::Welcome welcome;
  welcome.service = "web";
  welcome.slot = 3;
  welcome.worker = 17;
  welcome.drain_deadline_ms = drain_deadline_ms;
  welcome.lame_duck_ms = lame_duck_ms;
  send(welcome);
}

proto::Message FakePrimary::receive() {
  if (!readable(channel_->fd(), kProcessPatience)) throw std::runtime_error("no message came");
  auto received = channel_->receive();
  if (auto* message = std::get_if<proto::Message>(&received)) return std::move(*message);
  if (auto* violation = std::get_if<proto::Channel::Violation>(&received))
    throw std::runtime_error(violation->what);
  throw std::runtime_error("the channel closed");
}

bool FakePrimary::silent() { return !readable(channel_->fd(), std::chrono::milliseconds(0)); }

void FakePrimary::close_channel() { channel_.reset(); }

Exit FakePrimary::wait() {
  const auto exit = process_->wait();
  if (!exit) throw std::runtime_error("the program did not end");
  return *exit;
}

std::vector<proto::FailureRecord> FakePrimary::records() const {
  std::vector<proto::FailureRecord> records;
  for (const auto& stored : value_of(recorder_->records()))
    records.push_back(value_of(proto::decode_record(stored.json)));
  return records;
}

}  // namespace refork::test
