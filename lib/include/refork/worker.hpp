#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "refork/domain.hpp"
#include "refork/failure.hpp"
#include "refork/version.hpp"

namespace refork {

// A listening socket that reforkd (or systemd) opened and passed on. The process owns the descriptor from its
// start.
struct Listener {
  int fd = -1;
  std::string name;     // from LISTEN_FDNAMES, "unknown" where it names none
  std::string address;  // "tcp://127.0.0.1:8080", "unix:/run/web.sock"
};

// Why a drain was asked for.
enum class DrainReason {
  error,
  operator_,
  reload,
  recycle,
  stop
};

struct Drain {
  DrainReason reason = DrainReason::operator_;
  std::chrono::milliseconds lame_duck{
      1000};  // how long an idle keep-alive connection waits for a request under way
  std::chrono::steady_clock::time_point deadline;
};

// An accepted request that is not yet answered; ends with its destructor. Movable, may end on another thread
// than it began. Cheap: no lock, no allocation, no system call. Outliving the Worker is allowed and does
// nothing.
class REFORK_API Request {
 public:
  Request() = default;
  Request(Request&& other) noexcept;
  Request& operator=(Request&& other) noexcept;
  ~Request();
  void end() noexcept;
  // From its beginning it may take this long; then it is recorded as a failure of kind `timeout`, and its
  // worker replaced. 0: the service's `request_timeout`, which is also what it begins with.
  void timeout(std::chrono::milliseconds limit) noexcept;
  explicit operator bool() const noexcept { return token_ != 0; }

 private:
  friend class Worker;
  explicit Request(std::uint64_t token) noexcept : token_(token) {}
  std::uint64_t token_ = 0;
};

// Keeps a draining worker from finishing: one for each open connection, whether a request is under way on it
// or not. The same rules as for Request.
class REFORK_API Hold {
 public:
  Hold() = default;
  Hold(Hold&& other) noexcept;
  Hold& operator=(Hold&& other) noexcept;
  ~Hold();
  void release() noexcept;

 private:
  friend class Worker;
  explicit Hold(bool held) noexcept : held_(held) {}
  bool held_ = false;
};

// This process as a worker of reforkd; one a process, made in main() before other threads start: it takes
// REFORK_CHANNEL, REFORK_RECORDER and LISTEN_* out of the environment, so that nothing this process starts
// takes itself for a worker. A child forked without exec is none either: there all of this does nothing.
//
// It handles SIGTERM (by a handler with SA_RESTART, from the constructor to the destructor), SIGRTMAX-3 (the
// stacks of threads are asked for) and, while draining, SIGRTMAX-2, the deadline's kernel timer; leave these
// to it, or call drain() from your own handling of SIGTERM.
//
// It also handles what a process dies of: SIGSEGV, SIGBUS, SIGFPE, SIGILL and SIGABRT, and SIGSYS and
// SIGTRAP where nobody does yet. It records the fault, tells reforkd, which starts the replacement at
// once, and then goes on to the handler that was there before it, or lets the process die of the signal as
// it would have done, with its core. So a handler that recovers from such signals (a garbage collector's,
// a sandbox's) is to be installed after the Worker is made, and to pass on to the Worker's what it does
// not recover from; one that was there before is called too late to keep the process. A stack overflow is
// recorded in the thread that made the Worker, and in those that began a request or entered a domain
// since: they have an alternate stack, their own or librefork's. In any other thread it ends the process
// without a stack in its record, as it does where SIGSEGV is blocked. On an alternate stack of the
// application's with less than 16 KiB to spare the record names the instruction alone.
//
// All members may be called from any thread. Callbacks run on the worker's control thread or, for on_pause,
// on the thread whose error caused it (on the control thread if another callback was under way); in Drive::fd
// mode, all but on_pause run inside process(). They are never run concurrently with each other, must not
// block, and must not throw. on_pause and on_resume alternate; after on_drain neither comes.
//
// Without reforkd the same program works alone: see Standalone.
class REFORK_API Worker {
 public:
  enum class Drive {
    thread,  // a control thread of librefork's own
    fd,      // none: the application polls fd() for reading and calls process()
  };
  // What an error does where there is no reforkd. SIGTERM always drains.
  enum class Standalone {
    automatic,  // drain if the listeners were passed on (somebody restarts and holds them), otherwise serve
    serve,      // answer, log, go on
    drain,
  };
  struct Options {
    Drive drive = Drive::thread;
    Standalone standalone = Standalone::automatic;
    // Used without reforkd; with it, the service's configuration is what counts.
    std::chrono::milliseconds drain_deadline{30000};
    std::chrono::milliseconds lame_duck{1000};
    // Exit codes after a drain that was asked for, after an error, and at the deadline.
    int exit_requested = 0;
    int exit_error = 1;
    int exit_deadline = 3;
    // The queries in the labels of requests ("GET /search?q=7") are meant for the operator's eyes. Otherwise
    // they are hidden wherever a label is recorded. The service's own `redact` goes before this.
    bool show_query = false;
    // A memory fault (SIGSEGV, SIGBUS, SIGFPE, SIGILL) of a thread that has prepared an answer does not end
    // the process at once: the answer is sent, the thread frozen where it stands for ever, and the worker
    // drains; it dies of the signal, with its core, when the other threads have finished, or at the drain's
    // deadline.
    //
    // This is unsound, and meant for servers whose requests share little. The frozen thread keeps its locks,
    // so whoever needs one of them waits until the deadline, which ends the process (if it was the
    // allocator's, all do). What it was changing stays half changed, and the others go on reading it. The
    // fault may have come from memory that was damaged long before, by another request: the others may answer
    // nonsense, or write it to your database. Do not use it where a wrong answer is worse than none, in
    // processes that write files or shared memory that outlive them, or with secrets that an attacker could
    // want to get at by more than one try.
    bool contain_faults = false;
  };

  // Throws std::logic_error for a second Worker, std::runtime_error if $REFORK_CHANNEL is set but is no
  // channel.
  Worker();
  explicit Worker(Options options);
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  static Worker* current() noexcept;  // the process's Worker, or nullptr
  bool supervised() const noexcept;   // there is a reforkd

  // The sockets passed on by LISTEN_FDS, in order; empty without any. Non-blocking unless the service says
  // otherwise.
  const std::vector<Listener>& listeners() const noexcept;

  void ready();  // serving: sends READY; idempotent

  // A request begins. `label` names it to the operator ("GET /search"); longer than 191 bytes is cut. Errors
  // captured by `domain` (by default the current one) are recorded as this request's.
  Request begin(std::string_view label);
  Request begin(std::string_view label, const Domain& domain);
  Hold hold();

  // This thread is alive. Where the service has a watchdog, a thread that has called it once and then not for
  // as long as the watchdog waits is hung, and the worker replaced; threads that never call it are not
  // watched, nor those that have ended. Call it from the thread's own loop, every beat_every(). Cheap; does
  // nothing where there is no watchdog.
  void beat() noexcept;
  // Nothing where nobody looks. As long as reforkd has not said whether somebody does, a moment: ask again
  // then.
  std::optional<std::chrono::milliseconds> beat_every() const noexcept;

  // For faults that are contained (Options::contain_faults): should this thread fault from now on, `bytes` go
  // out on `fd`, which is then shut for writing, and `request` ends as answered. `hold` is that of the
  // connection. The bytes are not copied: they stay as they are until withdraw_answer(), or until this thread
  // prepares another one. Withdraw it before the first byte of another answer is sent. A few stores; any
  // thread for itself.
  static void prepare_answer(const Request& request, const Hold& hold, int fd,
                             std::string_view bytes) noexcept;
  static void withdraw_answer() noexcept;

  // Stop accepting for now; accept again; stop for good. Set before ready(); setting another waits until the
  // old one is not running on another thread. A worker that serves on after an error (a storm) is not paused
  // again by its next one. An on_drain that only posts to the application's loop keeps a hold() until that
  // has run: with nothing in flight the process ends as soon as on_drain has returned.
  void on_pause(std::function<void()> callback);
  void on_resume(std::function<void()> callback);
  void on_drain(std::function<void(const Drain&)> callback);
  // No request and no connection is left. Without this callback the process then exits by itself; with it, it
  // is up to the application to return from main by way of finish(), before the deadline.
  void on_drained(std::function<void()> callback);

  bool draining() const noexcept;  // answers carry Connection: close from now on
  // A request was read from a connection after its lame duck had ended, and is lost: counted as
  // drain.crossed.
  void crossed() noexcept;

  // Records a failure, stops accepting and asks reforkd for a replacement, as a captured error in a domain
  // does by itself. Fills failure.id and, where they are empty, domain, context and stack as of here; its
  // request is that of the active domains. Never throws, never waits. With no verdict for 1 s, it accepts
  // again.
  void fail(Failure& failure, Then then = Then::drain) noexcept;

  // Asks for the drain of this worker, without an error.
  void drain(DrainReason reason = DrainReason::operator_);

  // Says that the process ends now, and returns the exit code for main(): `return worker.finish();`. A clean
  // end if nothing is left in flight. No callback runs any more once it has returned (unless it was called
  // from one, or process() is under way on another thread), and the deadline is no longer enforced here.
  // Idempotent; the destructor does the same.
  int finish() noexcept;

  // Application messages: `json` is one JSON value of at most 60 KiB. Returns false if it is none, where
  // there is no primary (any more), or if its queue is full. Messages that arrive before on_message is set
  // are kept for it, up to 1024 or 1 MiB; those after them are dropped.
  bool send(std::string_view json);
  void on_message(std::function<void(std::string_view json)> callback);

  // Drive::fd only: poll for reading, then call process(), which never blocks. fd() never changes.
  int fd() const noexcept;
  void process();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace refork
