// From a worker's failure message to the first instruction of its replacement's main(), through a real
// reforkd, beside a bare fork/exec of the same program, interleaved. Exit code 1 if the median is more
// than 1.5 times the bare one.
//
//   replacement_bench [ROUNDS]
#include <poll.h>
#include <sys/wait.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <string>
#include <vector>

#include "support/daemon.h"

namespace {

using namespace refork::test;

constexpr double most_ratio = 1.5;
constexpr int quiet_ms =
    30;  // before each measurement, so that neither pays for what was started by the other

long long now_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<long long>(now.tv_sec) * 1000000000LL + now.tv_nsec;
}

// All times noted under `what` so far.
std::vector<long long> noted(const std::string& file, const std::string& what) {
  std::vector<long long> times;
  std::ifstream in(file);
  std::string word;
  long long time = 0;
  while (in >> word >> time)
    if (word == what) times.push_back(time);
  return times;
}

double bare_us(const std::string& program, const std::string& file) {
  std::ofstream(file, std::ios::trunc).close();
  poll(nullptr, 0, quiet_ms);
  const long long begin = now_ns();
  const pid_t pid = fork();
  if (pid == 0) {
    execl(program.c_str(), program.c_str(), file.c_str(), "once", nullptr);
    _exit(127);
  }
  waitpid(pid, nullptr, 0);
  return static_cast<double>(noted(file, "start").at(0) - begin) / 1000;
}

double replaced_us(const Daemon& daemon, const std::string& file) {
  const auto is_whole = [](const auto& service) {
    return service["state"] == "running" && service["workers"].size() == 2 &&
           service["workers"][0]["state"] == "serving" && service["workers"][1]["state"] == "serving";
  };
  daemon.wait_for(is_whole);
  const auto pids = daemon.pids();
  std::ofstream(file, std::ios::trunc).close();
  poll(nullptr, 0, quiet_ms);
  kill(pids.at(0), SIGUSR1);
  if (!wait_until([&] { return !noted(file, "start").empty() && !noted(file, "fail").empty(); })) return -1;
  return static_cast<double>(noted(file, "start").at(0) - noted(file, "fail").at(0)) / 1000;
}

double quantile(const std::vector<double>& sorted, double q) {
  return sorted[static_cast<std::size_t>(q * static_cast<double>(sorted.size() - 1))];
}

double print(const char* what, std::vector<double>& values) {
  std::sort(values.begin(), values.end());
  std::printf("%-28s min %6.0f  p10 %6.0f  median %6.0f  p90 %6.0f  max %6.0f us\n", what, values.front(),
              quantile(values, 0.1), quantile(values, 0.5), quantile(values, 0.9), values.back());
  return quantile(values, 0.5);
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 60;
  const TempDir directory;
  const std::string bare_file = directory.file("bare"), file = directory.file("supervised");
  const std::string program = built_program("bench/replacement_bench_worker");
  const Daemon daemon = Daemon::run({"--workers", "2", "--restart-budget", "10000,1s", "--", program, file});
  std::vector<double> bare, replaced;
  for (int i = 0; i < rounds; ++i) {
    bare.push_back(bare_us(program, bare_file));
    replaced.push_back(replaced_us(daemon, file));
    if (replaced.back() < 0) {
      std::printf("no replacement came\n%s", daemon.log().c_str());
      return 1;
    }
  }
  const double plain = print("bare fork/exec", bare);
  const double supervised = print("failure to replacement", replaced);
  std::printf("ratio of medians %.2f (at most %.1f)\n", supervised / plain, most_ratio);
  return supervised <= most_ratio * plain ? 0 : 1;
}
