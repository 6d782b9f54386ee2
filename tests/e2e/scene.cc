// Services as the end-to-end tests want them, and what is left of them.
#include "e2e/scene.h"

#include <gtest/gtest.h>
#include <sqlite3.h>
#include <unistd.h>

#include <fstream>
#include <memory>

namespace refork::test {

namespace {

using nlohmann::json;

constexpr const char* kNobody = "65534";

std::string test_program(const std::string& name) { return built_program("tests/" + name); }

std::string text(sqlite3_stmt* row, int column) {
  const auto* found = sqlite3_column_text(row, column);
  return found ? reinterpret_cast<const char*>(found) : "";
}

std::optional<int> number(sqlite3_stmt* row, int column) {
  if (sqlite3_column_type(row, column) == SQLITE_NULL) return std::nullopt;
  return sqlite3_column_int(row, column);
}

bool serves(const json& worker) { return worker["state"] == "serving" && worker["tainted"] == false; }

}  // namespace

Daemon web(std::vector<std::string> options, std::vector<std::string> command) {
  if (std::find(options.begin(), options.end(), "--listen") == options.end())
    options.insert(options.end(), {"--listen", "tcp://127.0.0.1:0"});
  // A null dereference is to be a crash, with sanitizers too.
  options.insert(options.end(), {"--environment", "ASAN_OPTIONS=handle_segv=0:handle_abort=0", "--"});
  options.insert(options.end(), command.begin(), command.end());
  Daemon daemon = Daemon::run(std::move(options));
  EXPECT_NE(daemon.log().find("controls at"), std::string::npos) << daemon.log();
  return daemon;
}

Daemon web_of(const std::string& program, std::vector<std::string> options,
              std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(),
                   program.front() == '/' ? program : built_program("examples/" + program));
  Daemon daemon = web(std::move(options), std::move(arguments));
  EXPECT_TRUE(wait_until_settled(daemon)) << daemon.log();
  return daemon;
}

std::string odd_worker() { return test_program("odd_worker"); }
std::string mortal_worker() { return test_program("mortal_worker"); }
std::string unlinked_server() { return test_program("unlinked_server"); }

std::string free_tcp_address() {
  const auto [fd, port] = listen_tcp();
  return Address::tcp(port).text();
}

bool wait_until_settled(const Daemon& daemon) {
  return daemon.wait_for([](const json& service) {
    const auto& workers = service["workers"];
    return service["state"] == "running" && workers.size() == service["wanted"].get<std::size_t>() &&
           std::all_of(workers.begin(), workers.end(), serves);
  });
}

bool wait_for_in_flight(const Daemon& daemon, std::uint64_t count) {
  return daemon.wait_for(
      [count](const json& service) { return service["workers"][0]["in_flight"] == count; });
}

bool wait_until_gone(pid_t pid, std::chrono::milliseconds patience) {
  return wait_until(
      [pid] {
        std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
        std::string line;
        if (!std::getline(file, line)) return true;
        const auto after_name = line.rfind(')');
        return after_name != std::string::npos && line.substr(after_name + 2, 1) == "Z";
      },
      patience);
}

json complete_failures(const Daemon& daemon, std::size_t count) {
  json all;
  wait_until([&] {
    all = daemon.failures();
    return all.size() >= count && std::all_of(all.begin(), all.end(), [](const json& failure) {
             return failure["exit"].is_object();
           });
  });
  return all;
}

std::vector<std::string> cut_by(const json& failure) {
  std::vector<std::string> labels;
  if (failure["drain"].is_object())
    for (const auto& request : failure["drain"]["cut"]) labels.push_back(request["label"].get<std::string>());
  return labels;
}

std::vector<End> ends_of(const Daemon& daemon) {
  std::vector<End> ends;
  sqlite3* opened = nullptr;
  const std::string file = daemon.state_directory() + "/refork.db";
  const int code = sqlite3_open_v2(file.c_str(), &opened, SQLITE_OPEN_READWRITE, nullptr);
  const std::unique_ptr<sqlite3, decltype(&sqlite3_close)> db(opened, sqlite3_close);
  EXPECT_EQ(code, SQLITE_OK) << file;
  sqlite3_stmt* prepared = nullptr;
  sqlite3_prepare_v2(
      db.get(),
      "SELECT worker, requested, outcome, cause, code, signal, cut, crossed, pid, time_ms, service "
      "FROM ends ORDER BY worker",
      -1, &prepared, nullptr);
  const std::unique_ptr<sqlite3_stmt, decltype(&sqlite3_finalize)> row(prepared, sqlite3_finalize);
  EXPECT_TRUE(row) << sqlite3_errmsg(db.get());
  while (row && sqlite3_step(row.get()) == SQLITE_ROW)
    ends.push_back({static_cast<std::uint64_t>(sqlite3_column_int64(row.get(), 0)), text(row.get(), 1),
                    text(row.get(), 2), text(row.get(), 3), number(row.get(), 4), number(row.get(), 5),
                    static_cast<std::uint64_t>(sqlite3_column_int64(row.get(), 6)),
                    static_cast<std::uint64_t>(sqlite3_column_int64(row.get(), 7)),
                    sqlite3_column_int(row.get(), 8),
                    static_cast<std::uint64_t>(sqlite3_column_int64(row.get(), 9)), text(row.get(), 10)});
  return ends;
}

std::vector<End> ends_after_stop(Daemon& daemon) {
  const auto exit = daemon.stop();
  EXPECT_TRUE(exit && exit->code == 0) << daemon.log();
  return ends_of(daemon);
}

Daemon::Ran reforkd(std::vector<std::string> arguments, bool as_nobody,
                    std::vector<std::string> environment) {
  Process::Options options;
  if (as_nobody && ::geteuid() == 0)
    options.argv = {"setpriv", std::string("--reuid=") + kNobody, std::string("--regid=") + kNobody,
                    "--clear-groups"};
  options.argv.push_back(built_program("reforkd"));
  options.argv.insert(options.argv.end(), arguments.begin(), arguments.end());
  options.environment = std::move(environment);
  Process process(std::move(options));
  const auto exit = process.wait();
  return {exit ? exit->code : -1, process.output(), process.errors()};
}

Events::Events(const Daemon& daemon)
    : process_([&] {
        Process::Options options;
        options.argv = {
            built_program("reforkctl"), "--control", daemon.control(), "--json", "events", "--messages"};
        return options;
      }()) {}

}  // namespace refork::test
