// What supervision costs: the throughput of a server under reforkd as a ratio to the same server alone,
// interleaved in one run, and what an idle reforkd with four workers takes: wakeups and memory. Exit code 1
// if a bound is broken.
//
//   supervision_bench [ROUNDS] [SECONDS]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "support/daemon.h"
#include "support/load.h"
#include "support/process.h"

namespace {

using namespace refork::test;

constexpr double least_ratio = 0.98;
constexpr long most_rss_kb = 10 * 1024;
constexpr std::chrono::seconds idle_time{10};

double requests_per_second(const Address& address, double seconds) {
  LoadOptions options;
  options.address = address;
  options.clients = 16;
  options.duration = std::chrono::milliseconds(static_cast<long>(seconds * 1000));
  const LoadResult result = run_load(options);
  if (result.noticed() != 0) std::printf("%s", result.summary().c_str());
  return result.per_second();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// "VmRSS", "voluntary_ctxt_switches" of /proc/PID/status.
long proc_status(pid_t pid, const std::string& field) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(status, line);)
    if (line.rfind(field + ":", 0) == 0) return std::atol(line.c_str() + field.size() + 1);
  return -1;
}

// Of all its threads together.
long switches(pid_t pid) {
  long sum = 0;
  for (const auto& task : std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/task"))
    sum += proc_status(std::atoi(task.path().filename().c_str()), "voluntary_ctxt_switches");
  return sum;
}

struct Rates {
  double alone, supervised;
};

// Of fresh processes each time: where one happens to lie in memory is worth some percent, for as long as it
// lives.
Rates measure(double seconds, bool alone_first) {
  Process::Options options;
  options.argv = {built_program("examples/http_asio"), "--port", "0"};
  const Process alone(std::move(options));
  const auto line = alone.wait_for_line("listening on ");
  const Address alone_at = *Address::parse(line->substr(line->find("tcp://")));
  const Daemon daemon = Daemon::run(
      {"--workers", "1", "--listen", "tcp://127.0.0.1:0", "--", built_program("examples/http_asio")});
  daemon.wait_for_state("running");
  const Address supervised_at = daemon.address();
  Rates rates{};
  if (alone_first) rates.alone = requests_per_second(alone_at, seconds);
  rates.supervised = requests_per_second(supervised_at, seconds);
  if (!alone_first) rates.alone = requests_per_second(alone_at, seconds);
  return rates;
}

bool throughput(int rounds, double seconds) {
  std::vector<double> bare, supervised, ratios;
  for (int i = 0; i < rounds; ++i) {
    const Rates rates = measure(seconds, i % 2 == 0);
    bare.push_back(rates.alone);
    supervised.push_back(rates.supervised);
    ratios.push_back(rates.supervised / rates.alone);
  }
  const double ratio = median(ratios);
  std::printf(
      "throughput   alone %.0f/s, supervised %.0f/s (medians of %d rounds): ratio %.3f (median of the "
      "pairs)\n",
      median(bare), median(supervised), rounds, ratio);
  return ratio >= least_ratio;  // of pairs side by side: what the machine does meanwhile cancels out
}

bool idle() {
  Daemon daemon = Daemon::run(
      {"--workers", "4", "--listen", "tcp://127.0.0.1:0", "--", built_program("examples/http_asio")});
  daemon.wait_for_state("running");
  const pid_t pid = daemon.pid();
  std::this_thread::sleep_for(std::chrono::seconds(1));  // the answer to the last question is through
  const long before = switches(pid);
  std::this_thread::sleep_for(idle_time);
  const long wakeups = switches(pid) - before;
  const long rss = proc_status(pid, "VmRSS");
  std::printf("idle         %ld wakeups in %lld s, RSS %.1f MB with 4 workers\n", wakeups,
              static_cast<long long>(idle_time.count()), static_cast<double>(rss) / 1024);
  return wakeups == 0 && rss <= most_rss_kb;
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 30;
  const double seconds = argc > 2 ? std::atof(argv[2]) : 0.5;
  const bool fast = throughput(rounds, seconds);
  const bool quiet = idle();
  if (!fast) std::printf("FAILED: supervised throughput is below %.2f of the server alone\n", least_ratio);
  if (!quiet) std::printf("FAILED: an idle reforkd wakes up, or takes more than 10 MB\n");
  return fast && quiet ? 0 : 1;
}
