// A worker that notes its first instruction, fails when told by SIGUSR1, and notes when it said so: lines
// "start NS" and "fail NS" of CLOCK_MONOTONIC, appended to the file of its first argument. With a second
// argument it only starts.
#include <fcntl.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <cstdio>
#include <ctime>

#include "refork/worker.hpp"

namespace {

void note(int file, const char* what) {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  char line[64];
  const int length = std::snprintf(line, sizeof line, "%s %lld\n", what,
                                   static_cast<long long>(now.tv_sec) * 1000000000LL + now.tv_nsec);
  if (write(file, line, static_cast<std::size_t>(length)) != length) _exit(2);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  const int file = open(argv[1], O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
  note(file, "start");
  if (argc > 2) return 0;
  sigset_t told;
  sigemptyset(&told);
  sigaddset(&told, SIGUSR1);
  sigprocmask(SIG_BLOCK, &told, nullptr);
  refork::Worker worker;
  worker.ready();
  int signal = 0;
  sigwait(&told, &signal);
  refork::Failure failure;
  failure.message = "told to fail";
  note(file, "fail");
  worker.fail(failure);
  for (;;) pause();  // drained, it exits by itself
}
