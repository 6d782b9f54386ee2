#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "proto/channel.h"
#include "proto/record.h"
#include "recorder/reader.h"
#include "support/process.h"

namespace refork::test {

// Stands in for reforkd before one worker: a real channel, a real flight recorder, a real process. Says only
// what the test tells it to say. `commands` is a stream that the program under test reads at descriptor 20.
class FakePrimary {
 public:
  struct Options {
    std::vector<std::string> arguments;
    std::vector<std::string> environment;
    std::vector<int> listeners;
    std::vector<std::string> listener_names;
    bool supervised = true;
  };
  explicit FakePrimary(const std::string& program) : FakePrimary(program, Options()) {}
  FakePrimary(const std::string& program, Options options);

  void tell(const std::string& command);           // without waiting
  void tell_and_wait(const std::string& command);  // until it printed "done VERB"

  void send(const proto::Message& message);
  void send_raw(std::string_view packet);
  void welcome(std::uint32_t drain_deadline_ms = 30000, std::uint32_t lame_duck_ms = 1000);

  // The next message; throws where none comes, or the channel closes. Those of another type are an error.
  proto::Message receive();
  template <class T>
  T expect() {
    auto message = receive();
    if (auto* found = std::get_if<T>(&message)) return std::move(*found);
    throw std::runtime_error("another message came: " + proto::encode(message));
  }
  // Like it, but passes over what comes before.
  template <class T>
  T skip_to() {
    for (;;) {
      auto message = receive();
      if (auto* found = std::get_if<T>(&message)) return std::move(*found);
    }
  }
  bool silent();         // no message is there
  void close_channel();  // reforkd is gone

  bool printed(std::string_view part) { return process_->wait_for_line(part).has_value(); }
  std::string output() const { return process_->output(); }
  Process& process() { return *process_; }
  Exit wait();

  std::vector<proto::FailureRecord> records() const;
  const recorder::Reader& recorder() const { return *recorder_; }

 private:
  std::optional<recorder::Reader> recorder_;
  std::optional<proto::Channel> channel_;
  base::UniqueFd commands_;
  std::unique_ptr<Process> process_;
};

}  // namespace refork::test
