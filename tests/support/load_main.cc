// load: the closed-loop client as a command.
#include <signal.h>

#include <CLI/CLI.hpp>
#include <cstdio>

#include "support/load.h"

int main(int argc, char** argv) {
  using refork::test::Address;
  refork::test::LoadOptions options;
  std::string address = "tcp://127.0.0.1:8080";
  double seconds = 10;
  double pause_ms = 0;
  double patience_s = 5;
  bool new_connections = false;
  bool json = false;
  CLI::App app{"Closed-loop HTTP load that counts what became of each request", "load"};
  app.add_option("address", address, "tcp://HOST:PORT or unix:PATH")->capture_default_str();
  app.add_option("--path", options.path, "what the clients ask for")->capture_default_str();
  app.add_option("--clients", options.clients, "how many clients")->capture_default_str();
  app.add_option("--duration", seconds, "seconds")->capture_default_str();
  app.add_option("--pause", pause_ms, "milliseconds between an answer and the next request")
      ->capture_default_str();
  app.add_option("--patience", patience_s, "seconds until a request counts as hung")->capture_default_str();
  app.add_flag("--new-connections", new_connections, "a new connection for each request");
  app.add_option("--culprit", options.culprit_path, "path of the culprits, e.g. /error");
  app.add_option("--culprit-rate", options.culprit_rate, "culprits a second")->capture_default_str();
  app.add_flag("--culprits-in-pool", options.culprits_in_pool, "culprits use the clients' connections");
  app.add_flag("--json", json, "print the result as one JSON object");
  CLI11_PARSE(app, argc, argv);

  const auto parsed = Address::parse(address);
  if (!parsed) {
    std::fprintf(stderr, "load: %s is no address; expected tcp://HOST:PORT or unix:PATH\n", address.c_str());
    return 2;
  }
  options.address = *parsed;
  options.keep_alive = !new_connections;
  const auto milliseconds = [](double ms) { return std::chrono::milliseconds(static_cast<long>(ms)); };
  options.duration = milliseconds(seconds * 1000);
  options.patience = milliseconds(patience_s * 1000);
  options.pause = std::chrono::microseconds(static_cast<long>(pause_ms * 1000));

  const refork::test::LoadResult result = refork::test::run_load(options);
  std::fputs((json ? result.json() + "\n" : result.summary()).c_str(), stdout);
  return result.noticed() == 0 ? 0 : 1;
}
