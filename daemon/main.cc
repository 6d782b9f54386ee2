// reforkd: where all parts meet.
#include <malloc.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <memory>
#include <string>

#include "bus/bus.h"
#include "command_line.h"
#include "log/log.h"
#include "os/notify.h"
#include "os/paths.h"
#include "os/process.h"
#include "store/store.h"
#include "supervisor/loop.h"
#include "supervisor/supervisor.h"

namespace refork {
namespace {

using base::Result;

constexpr const char* state_name = "/state";

// Where reforkd keeps what: directories made, and held against a second instance.
struct Places {
  std::string control, recorder_directory;
  base::UniqueFd control_lock, state_lock;

  Places() = default;
  Places(Places&&) = default;
  // Removes what was made to hold them; the locks are ours until then.
  ~Places() {
    if (control_lock) os::remove_lock(control);
    if (!state_lock) return;
    os::remove_lock(recorder_directory + state_name);
    ::rmdir(recorder_directory.c_str());  // kept if a recorder is left in it
  }
};

// A state directory that cannot be written now (full, read-only) is no reason not to supervise; one that
// cannot be used is a mistake.
Result<void> make_state_directory(const std::string& path) {
  const auto made = os::make_directory(path, 0700);
  if (made || made.error().code == EROFS || made.error().code == ENOSPC) return {};
  return made;
}

Result<Places> take_places(const CommandLine& line) {
  Places places;
  const auto directory = std::filesystem::path(line.control).parent_path().string();
  if (!directory.empty())
    if (auto made = os::make_directory(directory, ::geteuid() == 0 ? 0755 : 0700); !made)
      return base::Error{made.error().code, made.error().what + "; name another place by --control SOCKET"};
  if (auto made = make_state_directory(line.state_dir); !made) return made.error();
  auto lock = os::lock_instance(line.control);
  if (!lock) return lock.error();
  places.control = line.control;
  places.control_lock = std::move(*lock);

  auto recorders = os::recorder_directory(line.state_dir);
  if (!recorders) {
    log::warning("flight recorders live in memory only: " + recorders.error().what);
    return places;
  }
  auto held = os::lock_instance(*recorders + state_name);
  if (!held)
    return base::Error{held.error().code, "another reforkd has the state directory " + line.state_dir +
                                              "; name another one by --state-dir"};
  places.state_lock = std::move(*held);
  places.recorder_directory = std::move(*recorders);
  return places;
}

void block_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGCHLD}) sigaddset(&set, signal);
  sigprocmask(SIG_BLOCK, &set, nullptr);
  std::signal(SIGCHLD, SIG_DFL);  // ignored, as it may be inherited, it would cost every exit status
  std::signal(SIGPIPE, SIG_IGN);
}

// A supervisor lives for years: what it needed for a moment goes back to the system, instead of staying in
// arenas and lists.
void keep_memory_small() {
  constexpr int large = 64 * 1024;  // bytes
  mallopt(M_ARENA_MAX, 2);          // the loop's and the store's
  mallopt(M_MMAP_THRESHOLD, large);
  mallopt(M_TRIM_THRESHOLD, large);
}

int fail(const base::Error& error) {
  log::error(error.what);
  return 1;
}

int run(CommandLine line) {
  keep_memory_small();
  os::raise_descriptor_limit();
  block_signals();
  auto places = take_places(line);
  if (!places) return fail(places.error());

  supervisor::Loop loop;
  const auto store = store::Store::open(line.state_dir, line.config.config.store);
  supervisor::Supervisor supervisor(
      loop, *store, {std::move(line.config.config), line.config_name, places->recorder_directory});
  if (auto prepared = supervisor.prepare(); !prepared) {
    supervisor.close();
    store->close();
    return fail(prepared.error());
  }
  auto bus = bus::Bus::listen(loop.get(), line.control, supervisor);
  if (!bus) {
    supervisor.close();
    store->close();
    return fail(bus.error());
  }
  supervisor.publish_to(bus->get());

  const auto stop = [&] {
    os::notify_manager("STOPPING=1");
    supervisor.shut_down([&] { loop.exit(0); });
  };
  const auto on_term = loop.watch_signal(SIGTERM, stop);
  const auto on_int = loop.watch_signal(SIGINT, stop);
  const auto on_child = loop.watch_signal(SIGCHLD, [&] { supervisor.reap_strangers(); });
  const auto on_hup =
      loop.watch_signal(SIGHUP, [] { log::notice("SIGHUP: the configuration is read at the start only"); });
  log::notice("reforkd " REFORK_VERSION " controls at " + line.control);
  supervisor.run([] { os::notify_manager("READY=1"); });
  const int code = loop.run();

  supervisor.publish_to(nullptr);
  (*bus)->close();
  supervisor.close();
  store->close();
  store->dispatch();  // what was written last lets go of its flight recorders
  return code;
}

}  // namespace
}  // namespace refork

int main(int argc, char** argv) {
  try {
    int exit_code = 0;
    auto line = refork::parse_command_line(argc, argv, exit_code);
    if (!line) return exit_code;
    for (const auto& problem : line->config.problems)
      std::fprintf(stderr, "reforkd: %s\n", problem.text().c_str());
    if (!line->config.ok()) return 2;
    return refork::run(std::move(*line));
  } catch (const std::exception& error) {
    refork::log::error(error.what());
    return 1;
  }
}
