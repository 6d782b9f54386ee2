// From a worker's failure message to the first instruction of its replacement's main(), through a real
// reforkd, beside a bare fork/exec of the same program, interleaved. Exit code 1 if the median is more
// than 1.5 times the bare one.
//
//   replacement_bench [ROUNDS]
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <map>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "support/daemon.h"

namespace {

using namespace refork::test;

constexpr double most_ratio = 1.5;
constexpr int patience_ms = 5000;
constexpr int quiet_ms =
    30;  // before each measurement, so that neither pays for what was started by the other

long long now_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<long long>(now.tv_sec) * 1000000000LL + now.tv_nsec;
}

// What the workers note, read from a pipe of this name: whoever waits for it takes no time from those
// measured.
class Notes {
 public:
  explicit Notes(const std::string& path) {
    mkfifo(path.c_str(), 0600);
    fd_.reset(open(path.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK));
  }

  void forget() {
    char dropped[4096];
    while (read(fd_.get(), dropped, sizeof dropped) > 0) {
    }
    times_.clear();
  }

  // The time noted under `what` since then; nothing if it is not within some seconds.
  std::optional<long long> wait_for(const std::string& what) {
    while (!times_.contains(what)) {
      pollfd ready{fd_.get(), POLLIN, 0};
      char text[4096];
      if (poll(&ready, 1, patience_ms) <= 0) return std::nullopt;
      const auto length = read(fd_.get(), text, sizeof text);
      if (length <= 0) return std::nullopt;
      std::istringstream lines(std::string(text, static_cast<std::size_t>(length)));  // each is written whole
      std::string word;
      for (long long time = 0; lines >> word >> time;) times_.emplace(word, time);
    }
    return times_.at(what);
  }

 private:
  refork::base::UniqueFd fd_;
  std::map<std::string, long long> times_;
};

double bare_us(const std::string& program, const std::string& file, Notes& notes) {
  notes.forget();
  poll(nullptr, 0, quiet_ms);
  const long long begin = now_ns();
  const pid_t pid = fork();
  if (pid == 0) {
    execl(program.c_str(), program.c_str(), file.c_str(), "once", nullptr);
    _exit(127);
  }
  waitpid(pid, nullptr, 0);
  return static_cast<double>(notes.wait_for("start").value() - begin) / 1000;
}

double replaced_us(const Daemon& daemon, Notes& notes) {
  const auto is_whole = [](const auto& service) {
    return service["state"] == "running" && service["workers"].size() == 2 &&
           service["workers"][0]["state"] == "serving" && service["workers"][1]["state"] == "serving";
  };
  daemon.wait_for(is_whole);
  const auto pids = daemon.pids();
  notes.forget();
  poll(nullptr, 0, quiet_ms);
  kill(pids.at(0), SIGUSR1);
  const auto failed = notes.wait_for("fail"), started = notes.wait_for("start");
  if (!failed || !started) return -1;
  return static_cast<double>(*started - *failed) / 1000;
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
  const std::string file = directory.file("notes");
  Notes notes(file);
  const std::string program = built_program("bench/replacement_bench_worker");
  const Daemon daemon = Daemon::run({"--workers", "2", "--restart-budget", "10000,1s", "--", program, file});
  std::vector<double> bare, replaced;
  for (int i = 0; i < rounds; ++i) {
    bare.push_back(bare_us(program, file, notes));
    replaced.push_back(replaced_us(daemon, notes));
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
