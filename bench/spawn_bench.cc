// What os::spawn() costs beside a bare fork and exec of the same program: the time from the call to the first
// instruction of the child's main. The two alternate, because the clock of a machine wanders. Exits with 1 if
// the ratio of the medians is above the limit.
#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "os/process.h"
#include "os/spawn.h"

namespace {

using refork::base::UniqueFd;

constexpr int report_number = 3;  // the child writes the time there, spawn_bench_child.cc
constexpr double largest_ratio = 1.5;
constexpr int default_rounds = 300, warm_up_rounds = 20;
constexpr int deadline_ms = 20000;

// The same clock in both processes.
std::int64_t now_ns() { return std::chrono::steady_clock::now().time_since_epoch().count(); }

struct Pipe {
  UniqueFd read, write;
};

std::optional<Pipe> make_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return std::nullopt;
  return Pipe{UniqueFd(ends[0]), UniqueFd(ends[1])};
}

// When the child came to life, in nanoseconds after `start`.
std::optional<std::int64_t> hear(Pipe& pipe, std::int64_t start) {
  pipe.write.reset();
  std::int64_t then = 0;
  pollfd poll{pipe.read.get(), POLLIN, 0};
  if (::poll(&poll, 1, deadline_ms) != 1 || ::read(pipe.read.get(), &then, sizeof then) != sizeof then)
    return std::nullopt;
  return then - start;
}

std::optional<std::int64_t> bare(const std::string& program, char** environment) {
  auto pipe = make_pipe();
  if (!pipe) return std::nullopt;
  std::string name = program;
  char* argv[] = {name.data(), nullptr};
  const std::int64_t start = now_ns();
  const pid_t pid = ::fork();
  if (pid == 0) {
    if (pipe->write.get() != report_number)
      ::dup2(pipe->write.get(), report_number);
    else
      ::fcntl(report_number, F_SETFD, 0);
    ::execve(argv[0], argv, environment);
    ::_exit(127);
  }
  const auto time = hear(*pipe, start);
  ::waitpid(pid, nullptr, 0);
  return time;
}

std::optional<std::int64_t> spawned(const refork::os::SpawnPlan& base_plan) {
  auto pipe = make_pipe();
  if (!pipe) return std::nullopt;
  refork::os::SpawnPlan plan = base_plan;
  plan.fds = {{pipe->write.get(), report_number}};
  const std::int64_t start = now_ns();
  auto child = refork::os::spawn(plan);
  if (!child) return std::nullopt;
  const auto time = hear(*pipe, start);
  ::waitpid(child->pid, nullptr, 0);
  return time;
}

struct Distribution {
  double least, median, p90;  // us
};

Distribution distribution(std::vector<std::int64_t> times) {
  std::sort(times.begin(), times.end());
  const auto at = [&](std::size_t percent) {
    return static_cast<double>(times[times.size() * percent / 100]) / 1000;
  };
  return {at(0), at(50), at(90)};
}

void print(const char* name, const Distribution& of) {
  std::printf("%-18s min %8.1f us   median %8.1f us   p90 %8.1f us\n", name, of.least, of.median, of.p90);
}

int measure(const std::string& program, int rounds) {
  refork::os::SpawnPlan plan;
  plan.program = program;
  plan.argv = {program};
  plan.listen_pid = true;
  std::vector<char*> environment = {nullptr};
  for (char** variable = environ; *variable; ++variable) {
    plan.environment.push_back(*variable);
    environment.insert(environment.end() - 1, *variable);
  }
  std::vector<std::int64_t> bare_times, spawn_times;
  for (int round = -warm_up_rounds; round < rounds; ++round) {
    const auto one = bare(program, environment.data()), other = spawned(plan);
    if (!one || !other) {
      std::fprintf(stderr, "spawn_bench: a child could not be started\n");
      return 2;
    }
    if (round < 0) continue;
    bare_times.push_back(*one);
    spawn_times.push_back(*other);
  }
  const Distribution base = distribution(bare_times), own = distribution(spawn_times);
  const double ratio = own.median / base.median;
  print("bare fork and exec", base);
  print("os::spawn", own);
  std::printf("ratio of medians   %.3f (limit %.1f)\n", ratio, largest_ratio);
  return ratio <= largest_ratio ? 0 : 1;
}

}  // namespace

int main(int count, char** arguments) {
  int rounds = default_rounds;
  if (count > 1) {
    const char* end = arguments[1] + std::strlen(arguments[1]);
    const auto [parsed, error] = std::from_chars(arguments[1], end, rounds);
    if (count > 2 || error != std::errc() || parsed != end || rounds < 1) {
      std::fprintf(stderr, "usage: %s [ROUNDS]\n", arguments[0]);
      return 2;
    }
  }
  return measure(REFORK_SPAWN_BENCH_CHILD, rounds);
}
