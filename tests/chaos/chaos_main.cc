// chaos: random faults on a real reforkd under load, and what must be true afterwards. The same seed does the
// same things in the same order.
#include <poll.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <random>

#include "chaos/arena.h"
#include "chaos/faults.h"

namespace {

using namespace refork;
using test::Clock;

struct Options {
  std::uint64_t seed = std::random_device{}();
  double seconds = 60;
  int clients = 16;
};

void show_progress(double left, const chaos::Faults& faults) {
  if (!::isatty(STDERR_FILENO)) return;
  std::fprintf(stderr, "\r\033[K%zu faults, %.0f s left", faults.count(), left);
}

int run(const Options& options) {
  std::printf("chaos --seed %lu --seconds %g --clients %d\n", static_cast<unsigned long>(options.seed),
              options.seconds, options.clients);
  std::fflush(stdout);
  chaos::Arena arena(options.clients);
  chaos::Faults faults(arena, options.seed);
  const auto end = Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                      std::chrono::duration<double>(options.seconds));
  while (Clock::now() < end) {
    faults.one();
    ::poll(nullptr, 0,
           static_cast<int>(faults.pause().count()));  // the pace of the faults, not a wait for something
    show_progress(std::chrono::duration<double>(end - Clock::now()).count(), faults);
  }
  if (::isatty(STDERR_FILENO)) std::fputs("\r\033[K", stderr);
  faults.make_good();
  auto problems = faults.problems();
  for (auto& problem : arena.verdict()) problems.push_back(std::move(problem));
  std::printf("%zu faults\n%s", faults.count(), arena.summary().c_str());
  if (problems.empty()) return 0;
  std::printf("\nWhat happened:\n%s\nreforkd said:\n%s\nWrong, with --seed %lu:\n",
              arena.time_line().text().c_str(), arena.daemon().log().c_str(),
              static_cast<unsigned long>(options.seed));
  for (const auto& problem : problems) std::printf("  %s\n", problem.c_str());
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  Options options;
  CLI::App app{"Random faults on a real reforkd under load, and what must be true afterwards", "chaos"};
  app.add_option("--seed", options.seed, "of the faults; a failed run prints its own");
  app.add_option("--seconds", options.seconds, "how long")->capture_default_str()->check(CLI::PositiveNumber);
  app.add_option("--clients", options.clients, "how many ask meanwhile")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  CLI11_PARSE(app, argc, argv);
  try {
    return run(options);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "chaos: %s\n", error.what());
    return 1;
  }
}
