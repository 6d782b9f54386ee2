// reforkd: where all parts meet.
#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bus/bus.h"
#include "clean_up.h"
#include "command_line.h"
#include "keeper/keeper.h"
#include "log/log.h"
#include "os/fd_store.h"
#include "os/notify.h"
#include "os/paths.h"
#include "os/process.h"
#include "os/unit.h"
#include "places.h"
#include "reexec.h"
#include "store/store.h"
#include "supervisor/handover.h"
#include "supervisor/loop.h"
#include "supervisor/manager.h"
#include "supervisor/supervisor.h"

namespace refork {
namespace {

using base::Result;

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

constexpr int exit_given_up = 3;

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

constexpr int exit_mistaken = 2;  // by what it was told; as the unit knows it

// An earlier reforkd left something: it must be tried again.
bool has_workers_to_keep() {
  return (":" + variable("LISTEN_FDNAMES") + ":").find(":" + std::string(supervisor::state_name) + ":") !=
         std::string::npos;
}

// 0: there is none.
pid_t keeper_pid() { return std::atoi(variable(keeper::variable).c_str()); }

// What a service manager keeps for as long as the unit is not stopped for good.
bool has_room_for_descriptors() {
  const std::string room = variable("FDSTORE");
  return !variable("NOTIFY_SOCKET").empty() && !room.empty() && room != "0";
}

// A keeper is at the other end of a descriptor, a manager at an address.
os::FdStore open_store(std::vector<os::InheritedFd>& inherited) {
  const auto found = std::ranges::find(inherited, keeper::store_name, &os::InheritedFd::name);
  if (found == inherited.end()) return os::FdStore(variable("NOTIFY_SOCKET"));
  os::FdStore store(std::move(found->fd));
  inherited.erase(found);
  return store;
}

bus::Options bus_options(const CommandLine& line) {
  bus::Options options;
  if (line.system_bus)
    options.system_bus = bus::SystemBusOptions{
        "", [](bool trouble, const std::string& what) { trouble ? log::warning(what) : log::notice(what); }};
  return options;
}

// Everything of one reforkd, from its start to its end or its next execution.
class Reforkd {
 public:
  Reforkd(CommandLine line, Program program)
      : line_(std::move(line)),
        program_(std::move(program)),
        inherited_(os::take_inherited()),
        fds_(open_store(inherited_)) {}
  int run();

 private:
  base::Result<void> prepare();
  void serve();
  base::Result<void> plan_reexec();
  void stop(int signal);
  void give_up();
  void reload();
  bool listeners_stay() const;
  int end(int code);

  CommandLine line_;
  const Program program_;
  std::vector<os::InheritedFd> inherited_;
  os::FdStore fds_;
  std::optional<Places> places_;
  supervisor::Loop loop_;
  std::unique_ptr<store::Store> store_;
  std::unique_ptr<supervisor::Supervisor> supervisor_;
  std::unique_ptr<bus::Bus> bus_;
  std::vector<supervisor::Loop::Source> sources_;
  bool resumed_ = false, reexec_ = false;
  std::optional<int> stop_signal_;  // came when this reforkd was about to execute the next one
};

Result<void> Reforkd::prepare() {
  resumed_ =
      std::ranges::any_of(inherited_, [](const auto& one) { return one.name == supervisor::state_name; });
  auto places = take_places(line_.control, line_.state_dir);
  if (!places) return places.error();
  places_.emplace(std::move(*places));
  store_ = store::Store::open(line_.state_dir, line_.config.config.store);
  supervisor_ = std::make_unique<supervisor::Supervisor>(
      loop_, *store_,
      supervisor::Supervisor::Setup{std::move(line_.config.config),
                                    line_.config_name,
                                    line_.control,
                                    fds_,
                                    std::move(inherited_),
                                    {variable(keeper::variable), program_.path, program_.keeper_argv()},
                                    [this] { return plan_reexec(); },
                                    os::file_identity(line_.state_dir),
                                    supervisor::watchdog_of_manager(keeper_pid()),
                                    line_.one_service,
                                    !variable(executed_variable).empty()});
  if (auto prepared = supervisor_->prepare(); !prepared) return prepared;
  auto socket = supervisor_->handover().take(supervisor::control_name, fds_);
  const int kept = socket.get();
  auto bus =
      bus::Bus::listen(loop_.get(), line_.control, *supervisor_, bus_options(line_), std::move(socket));
  if (!bus) return bus.error();
  bus_ = std::move(*bus);
  if (bus_->fd() != kept || kept < 0) {
    fds_.forget(supervisor::control_name);
    fds_.keep(supervisor::control_name, bus_->fd());
  }
  supervisor_->publish_to(bus_.get());
  if (line_.exit_on_give_up) supervisor_->on_give_up([this] { give_up(); });
  return {};
}

void Reforkd::serve() {
  for (const int signal : {SIGTERM, SIGINT})
    sources_.push_back(loop_.watch_signal(signal, [this, signal] { stop(signal); }));
  sources_.push_back(loop_.watch_signal(SIGCHLD, [this] { supervisor_->reap_strangers(); }));
  sources_.push_back(loop_.watch_signal(SIGHUP, [this] { reload(); }));
  log::notice("reforkd " REFORK_VERSION " controls at " + line_.control);
  supervisor_->run();
  supervisor_->reap_strangers();  // who ended while another program ran in this process
}

void Reforkd::stop(int signal) {
  if (reexec_)
    stop_signal_ = signal;
  else
    supervisor_->shut_down([this] { loop_.exit(0); });
}

void Reforkd::give_up() {
  log::error("every service is given up: reforkd ends");
  resumed_ = false;  // nothing stays for a next one
  supervisor_->shut_down([this] { loop_.exit(exit_given_up); });
}

void Reforkd::reload() {
  supervisor_->reexec([](const Result<void>& done) {
    if (!done) log::error("not reloaded: " + done.error().what);
  });
}

// The answer goes out in the turns that follow; then the loop ends.
Result<void> Reforkd::plan_reexec() {
  const auto next = program_.check();
  if (!next) return next.error();
  if (auto possible = supervisor_->can_listen(*next); !possible) return possible;
  if (std::exchange(reexec_, true)) return {};
  supervisor_->manager().reloading();
  loop_.later([this] { loop_.later([this] { loop_.exit(0); }); });
  return {};
}

// Where the next reforkd gets them from a manager, connections wait in them meanwhile. systemd gives them up
// by itself when the unit stays stopped; here they are given up before where that is known, and the files of
// sockets with them.
bool Reforkd::listeners_stay() const {
  if (!fds_.has_manager()) return false;
  const auto stopped = os::unit_stays_stopped();
  return stopped ? !*stopped : has_room_for_descriptors();
}

int Reforkd::end(int code) {
  if (supervisor_) supervisor_->publish_to(nullptr);
  const bool stays = reexec_ || (code != 0 && resumed_);  // for the next one
  if (bus_) stays ? bus_->leave() : bus_->close();
  const bool listeners = !stays && supervisor_ && listeners_stay();
  if (supervisor_) stays ? supervisor_->leave() : supervisor_->close(listeners);
  if (store_) {
    store_->close();
    store_->dispatch();  // what was written last lets go of its flight recorders
  }
  if (reexec_) {
    fds_.finish();
    places_.reset();
    if (stop_signal_) ::raise(*stop_signal_);  // it is blocked, and waits for the next one
    const auto error = program_.execute(fds_, supervisor_->keeper());
    log::error(error.what);
    code = 1;
  } else if (!stays) {
    fds_.forget_unless(
        [&](const std::string& name) { return listeners && supervisor::is_listener_fd(name); });
  }
  fds_.say("EXIT_STATUS=" + std::to_string(code));
  fds_.finish();
  return code;
}

int Reforkd::run() {
  keep_memory_small();
  block_signals();
  if (const auto prepared = prepare(); !prepared) {
    log::error(prepared.error().what);
    return end(1);
  }
  serve();
  return end(loop_.run());
}

// Somebody keeps descriptors already, or is not wanted.
bool needs_keeper(const CommandLine& line) {
  return line.keeper && variable(keeper::variable).empty() && !has_room_for_descriptors();
}

// As a child of the reforkd whose keeper died.
int keep_running_reforkd(const Program& program) {
  const pid_t pid = ::getppid();
  auto pidfd = os::open_pidfd(pid);
  // Should it have died before, this process has another parent now.
  if (!pidfd || variable(keeper::running_variable) != std::to_string(pid) || ::getppid() != pid) {
    log::error("the reforkd that is to be kept is gone: its keeper ends, too");
    return EXIT_FAILURE;
  }
  return keeper::run({program.path, program.argv,
                      keeper::Running{pid, std::move(*pidfd), base::UniqueFd(keeper::running_socket)}});
}

int start(int argc, char** argv) {
  os::raise_descriptor_limit();  // first: with more descriptors than that nothing could be opened
  Program program(argc, argv);
  if (!variable(keeper::running_variable).empty()) return keep_running_reforkd(program);
  int exit_code = 0;
  auto line = parse_command_line(argc, argv, exit_code);
  if (!line) return exit_code == exit_mistaken && has_workers_to_keep() ? EXIT_FAILURE : exit_code;
  if (line->clean_up) return clean_up();
  for (const auto& problem : line->config.problems)
    std::fprintf(stderr, "reforkd: %s\n", problem.text().c_str());
  if (!line->config.ok()) return has_workers_to_keep() ? EXIT_FAILURE : exit_mistaken;
  if (needs_keeper(*line)) return keeper::run({program.path, program.argv, std::nullopt});
  return Reforkd(*std::move(line), std::move(program)).run();
}

}  // namespace
}  // namespace refork

int main(int argc, char** argv) {
  try {
    return refork::start(argc, argv);
  } catch (const std::exception& error) {
    refork::log::error(error.what());
    return 1;
  }
}
