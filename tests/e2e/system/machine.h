#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "support/http.h"
#include "support/load.h"
#include "support/process.h"

namespace refork::test {

// A booted Debian 12 of its own for each test: systemd, journal and D-Bus as on any machine, no network but
// its loopback. What is changed in it goes with it. Needs root. The test's own sockets are in its network, so
// that http_get() and Load reach what runs there.
class Machine {
 public:
  struct Ran {
    int code = -1;
    std::string out, err;
  };

  // Boots; throws std::runtime_error with what the console said where that fails.
  Machine();
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;
  ~Machine();

  // Inside, by root with root's usual environment.
  Ran run(std::vector<std::string> argv) const;
  Ran sh(const std::string& script) const { return run({"/bin/sh", "-c", script}); }
  Ran as(const std::string& user, std::vector<std::string> argv) const;
  Process start(std::vector<std::string> argv) const;
  // Output without its last newline; a command that fails fails the test.
  std::string output(std::vector<std::string> argv) const;

  void write(const std::string& path, const std::string& text) const;
  std::string read(const std::string& path) const;
  bool exists(const std::string& path) const;
  std::filesystem::path path(const std::string& inside) const;  // from outside

 private:
  std::unique_ptr<Process> nspawn_;
  pid_t leader_ = 0;  // systemd
};

// In a machine, /packages has the packages of this tree, /newer the same of a higher version, /guides the
// programs of the guides. Servers of examples/, linked against the installed packages: "/servers/http_asio".
std::string server(const std::string& name);

}  // namespace refork::test
