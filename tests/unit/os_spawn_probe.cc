// The child of the spawn tests: it tells what it finds itself to be, one "NAME VALUE" a line, on stdout.
#include <dirent.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <set>
#include <string>

extern char** environ;

namespace {

void tell_descriptors() {
  DIR* directory = ::opendir("/proc/self/fd");
  std::set<int> open;
  while (const dirent* entry = ::readdir(directory))
    if (entry->d_name[0] != '.' && std::atoi(entry->d_name) != ::dirfd(directory))
      open.insert(std::atoi(entry->d_name));
  for (const int fd : open) {
    char target[256] = {};
    if (::readlink(("/proc/self/fd/" + std::to_string(fd)).c_str(), target, sizeof target - 1) > 0)
      std::printf("fd %d %s\n", fd, target);
  }
  ::closedir(directory);
}

void tell_signals() {
  sigset_t mask;
  ::sigprocmask(SIG_SETMASK, nullptr, &mask);
  for (int signal = 1; signal < NSIG; ++signal) {
    struct sigaction action = {};
    if (::sigismember(&mask, signal) == 1) std::printf("blocked %d\n", signal);
    if (::sigaction(signal, nullptr, &action) == 0 && action.sa_handler == SIG_IGN)
      std::printf("ignored %d\n", signal);
  }
}

void tell_user() {
  gid_t groups[64];
  const int count = ::getgroups(64, groups);
  std::printf("uid %u %u\ngid %u %u\ngroups", ::getuid(), ::geteuid(), ::getgid(), ::getegid());
  for (int i = 0; i < count; ++i) std::printf(" %u", groups[i]);
  std::printf("\n");
}

}  // namespace

int main(int count, char** arguments) {
  tell_descriptors();
  tell_signals();
  tell_user();
  for (int i = 0; i < count; ++i) std::printf("argument %s\n", arguments[i]);
  for (char** variable = environ; *variable; ++variable) std::printf("variable %s\n", *variable);
  std::printf("pid %d\npgid %d\n", ::getpid(), ::getpgrp());
  char directory[4096];
  if (::getcwd(directory, sizeof directory)) std::printf("directory %s\n", directory);
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  std::printf("nofile %lu %lu\n", limit.rlim_cur, limit.rlim_max);
  std::fprintf(stderr, "stderr %d\n", 1);
  return 0;
}
