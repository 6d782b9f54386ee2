#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "support/http.h"
#include "support/process.h"

namespace refork::test {

// A real reforkd in a directory of its own, and reforkctl to talk to it. The services are given as options of
// `reforkd run` or as the text of a configuration file. Port 0 is asked of the kernel; address() gives what
// it became.
class Daemon {
 public:
  struct Ran {
    int code = -1;
    std::string out, err;
  };

  static Daemon run(std::vector<std::string> options_and_command);  // after `reforkd run`
  static Daemon with_state(const std::string& state_directory, std::vector<std::string> options_and_command);
  // Of another executable than this build's.
  static Daemon of_program(const std::string& reforkd, std::vector<std::string> options_and_command);
  static Daemon with_config(const std::string& json);
  Daemon(Daemon&&) = default;
  Daemon& operator=(Daemon&&) = delete;
  // Stops it, without patience for what still drains: no worker outlives a test.
  ~Daemon();

  // Starts it again in the same directory, after a stop() or kill_with_keeper().
  void start();
  std::optional<Exit> stop(std::chrono::milliseconds patience = kProcessPatience);  // SIGTERM, and waits
  void kill();              // SIGKILL to reforkd, and waits until its keeper has started the next one
  void kill_with_keeper();  // SIGKILL to both: nobody comes back
  Process& process() { return *process_; }  // what was started: the keeper
  pid_t pid() const;                        // reforkd's own

  Ran ctl(std::vector<std::string> arguments) const;
  // `--json` output; a failing reforkctl fails the test and gives null.
  nlohmann::json json(std::vector<std::string> arguments) const;
  nlohmann::json status() const { return json({"status"}); }
  nlohmann::json service(const std::string& name = "web") const;
  nlohmann::json failures(std::uint32_t limit = 1000) const;
  // Until the service is in this state; false at the deadline.
  bool wait_for_state(const std::string& state, const std::string& service = "web") const;
  // Until `predicate` is true of the service's status.
  bool wait_for(const std::function<bool(const nlohmann::json&)>& predicate,
                const std::string& service = "web") const;
  bool wait_for_failures(std::size_t count) const;
  Address address(std::size_t listener = 0, const std::string& service = "web") const;
  // pids of all workers of the service, in order of slot.
  std::vector<pid_t> pids(const std::string& service = "web") const;

  std::string log() const { return process_->errors(); }
  const TempDir& directory() const { return *directory_; }
  const std::string& state_directory() const { return state_directory_; }
  std::string control() const { return directory_->file("control"); }

 private:
  explicit Daemon(std::vector<std::string> arguments);
  void run_with(std::vector<std::string> options_and_command);
  std::unique_ptr<TempDir> directory_ = std::make_unique<TempDir>();
  std::string state_directory_ = directory_->file("state");
  std::string program_ = built_program("reforkd");
  std::vector<std::string> arguments_;
  std::unique_ptr<Process> process_;
};

}  // namespace refork::test
