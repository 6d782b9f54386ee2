// A worker for tests that dies in the way its arguments say: WAY [THREAD] [OPTION...]. WAY is a name in the
// table below; THREAD is `main` (the default) or `other`. Options:
//   --alone-handler exit|return|mend|hold   a handler of SIGSEGV that was there before the Worker
//   --later-handler                    one that is installed after it, and goes on to the Worker's
//   --contain                          faults are contained; the faulting thread answers descriptor 21
//   --keep-busy MS                     another thread has a request for so long
//   --lock                             ... and then wants a lock that the faulting thread holds
//   --deadline MS                      of a drain, until reforkd names another one
//   --fd                               no control thread
//   --bare                             it dies in a run of a domain, without a request
//   --scope                            ... in a Scope
//   --small-stack                      in a thread whose own alternate stack is small
//   --blocked                          in a thread that blocks all signals
//   --own-signal                       the application handles the signal of stacks itself

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "refork/worker.hpp"

using refork::Worker;

namespace {

constexpr int command_fd = 20, answer_fd = 21;

void say(const std::string& line) {
  const std::string text = line + "\n";
  if (::write(STDOUT_FILENO, text.data(), text.size()) < 0) ::_exit(99);
}

// --- ways to die; what the compiler knows to be wrong it would do otherwise, and a sanitizer would report

#define REFORK_UNCHECKED __attribute__((noinline, no_sanitize("address", "undefined", "thread")))

volatile std::uintptr_t nowhere = 0;
volatile int zero = 0;

REFORK_UNCHECKED void null_read() { static_cast<void>(*reinterpret_cast<volatile int*>(nowhere)); }
REFORK_UNCHECKED void wild_write() { *reinterpret_cast<volatile int*>(nowhere + 0xb000) = 1; }
// Not a tail call: the caller is to be on the stack.
REFORK_UNCHECKED void null_call() {
  reinterpret_cast<void (*)()>(nowhere + 0)();
  zero = 0;
}
REFORK_UNCHECKED void jump_to_data() {
  static char data[64];
  std::uintptr_t address = reinterpret_cast<std::uintptr_t>(data) + nowhere;
  reinterpret_cast<void (*)()>(address)();
  zero = 0;
}
REFORK_UNCHECKED void divide() { zero = 7 / zero; }
void illegal() {
#if defined(__x86_64__)
  __asm__ volatile("ud2");
#else
  __asm__ volatile("udf #0");
#endif
}
void breakpoint() {
#if defined(__x86_64__)
  __asm__ volatile("int3");
#else
  __asm__ volatile("brk #0");
#endif
}
REFORK_UNCHECKED void beyond_file() {
  const int fd = ::memfd_create("short", MFD_CLOEXEC);
  if (::ftruncate(fd, 1) != 0) ::_exit(98);
  auto* at = static_cast<volatile char*>(::mmap(nullptr, 8192, PROT_READ, MAP_SHARED, fd, 0));
  static_cast<void>(at[4096]);
}
REFORK_UNCHECKED int overflow(int depth) {
  volatile char space[4096];
  space[0] = static_cast<char>(depth);
  if (nowhere == 1) return 0;  // never
  return overflow(depth + 1) + space[0];
}
void overflow_stack() { zero = overflow(0); }
void bad_stack_pointer() {
#if defined(__x86_64__)
  __asm__ volatile("movq $0x1003, %%rsp\n pushq %%rax\n" ::: "memory");
#else
  __asm__ volatile("mov x9, #0x1000\n mov sp, x9\n str x9, [sp]\n" ::: "memory", "x9");
#endif
}
// Overwrites what is around it on the stack, and returns into it.
REFORK_UNCHECKED void smash_stack() {
  std::uintptr_t here = 0;
  auto* at = reinterpret_cast<volatile std::uintptr_t*>(reinterpret_cast<std::uintptr_t>(&here) + nowhere);
  for (int i = 0; i < 64; ++i) at[i] = 0x4141414141414141;
}
// The unwinder follows the frame pointer into memory that is not there.
void lost_frames() {
#if defined(__x86_64__)
  __asm__ volatile("movq $0x10, %%rbp\n movq $0, %%rax\n movq (%%rax), %%rax\n" ::: "rax", "memory");
#else
  null_read();
#endif
}
REFORK_UNCHECKED void blow_heap() {
  char* block = static_cast<char*>(std::malloc(32));
  std::memset(block - 16, 0x41, 64 + static_cast<std::size_t>(zero));
  std::free(block);
  std::free(std::malloc(40));
}
// A fault while the allocator's lock may be held: recording must not need it.
void in_allocator() {
  blow_heap();
  std::abort();
}
void bad_system_call() { ::raise(SIGSYS); }
void kill_self() { ::kill(::getpid(), SIGSEGV); }
void wait_for_signal() {
  say("waiting " + std::to_string(::syscall(SYS_gettid)));
  while (true) ::pause();
}
void terminate() { std::terminate(); }
// A fault of the unwinder while it holds its lock: a table of frames that leads nowhere. Whoever walks a
// stack waits for the lock from now on.
extern "C" void __register_frame(void*);
REFORK_UNCHECKED void lock_unwinder() {
  const auto size = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  auto* memory = static_cast<char*>(
      ::mmap(nullptr, 2 * size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ::mprotect(memory + size, size, PROT_NONE);
  const auto length = static_cast<std::uint32_t>(size);  // the next entry lies beyond
  std::memcpy(memory, &length, sizeof length);
  __register_frame(memory);
  throw 1;
}
// The allocator faults on a list that was overwritten, and holds its lock.
REFORK_UNCHECKED void fault_in_allocator() {
  constexpr std::size_t size = 4000;  // neither for the thread's cache nor for a mapping
  void* const block = std::malloc(size);
  void* const fence = std::malloc(size);
  auto* links = reinterpret_cast<volatile std::uintptr_t*>(reinterpret_cast<std::uintptr_t>(block) + nowhere);
  std::free(block);
  links[1] = 0x10;
  zero = std::malloc(4 * size) == fence;
}
struct FaultsInTheEnd {
  ~FaultsInTheEnd() { null_read(); }
};
void unwind_into_fault() {
  const FaultsInTheEnd end;
  throw 1;
}
void fault_in_error_handler() {
  const refork::Domain domain("failing");
  domain.on_error([](const refork::Failure&) { null_read(); });
  domain.run([] { throw 1; });
}
void fault_in_callback() {
  Worker::current()->on_pause([] { null_read(); });
  refork::Failure failure;
  Worker::current()->fail(failure);
}
void spin() {
  say("spinning");
  while (zero == 0) {
  }
}
void fork_a_child() {
  const pid_t child = ::fork();
  if (child == 0) null_read();
  int status = 0;
  ::waitpid(child, &status, 0);
  say("child died of " + std::to_string(WIFSIGNALED(status) ? WTERMSIG(status) : 0));
  ::_exit(0);
}
// A child that no handler of forks was told of.
void clone_a_child() {
  const pid_t child = static_cast<pid_t>(::syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr));
  if (child == 0) null_read();
  int status = 0;
  ::waitpid(child, &status, 0);
  say("child died of " + std::to_string(WIFSIGNALED(status) ? WTERMSIG(status) : 0));
  ::_exit(0);
}
void two_at_once() {
  std::atomic<int> there{0};
  const auto die = [&there] {
    for (++there; there < 2;) {
    }
    null_read();
  };
  std::thread one(die), two(die);
  one.join();
  two.join();
}

// One thread faults while the handler of another one's fault runs: `hold` sees to it.
std::atomic<pid_t> second_thread{0};
std::atomic<int> handled{0};
void one_after_the_other() {
  std::thread other([] {
    second_thread = static_cast<pid_t>(::syscall(SYS_gettid));
    while (handled == 0) continue;
    null_read();
  });
  while (second_thread == 0) continue;
  null_read();
}

const std::map<std::string, void (*)()> ways = {{"null", null_read},
                                                {"wild", wild_write},
                                                {"call", null_call},
                                                {"jump", jump_to_data},
                                                {"fpe", divide},
                                                {"ill", illegal},
                                                {"trap", breakpoint},
                                                {"bus", beyond_file},
                                                {"overflow", overflow_stack},
                                                {"sp", bad_stack_pointer},
                                                {"smash", smash_stack},
                                                {"frames", lost_frames},
                                                {"heap", in_allocator},
                                                {"sys", bad_system_call},
                                                {"abort", std::abort},
                                                {"kill", kill_self},
                                                {"wait", wait_for_signal},
                                                {"terminate", terminate},
                                                {"spin", spin},
                                                {"unwinder", lock_unwinder},
                                                {"allocator", fault_in_allocator},
                                                {"destructor", unwind_into_fault},
                                                {"error-handler", fault_in_error_handler},
                                                {"callback", fault_in_callback},
                                                {"fork", fork_a_child},
                                                {"clone", clone_a_child},
                                                {"two", two_at_once},
                                                {"second", one_after_the_other}};

// --- handlers of the application

void (*worker_handler)(int, siginfo_t*, void*);

void exit_handler(int, siginfo_t*, void*) {
  say("the application's handler");
  ::_exit(42);
}
void return_handler(int, siginfo_t*, void*) { say("the application's handler"); }
bool sleeps(pid_t thread) {
  const int fd =
      ::open(("/proc/self/task/" + std::to_string(thread) + "/stat").c_str(), O_RDONLY | O_CLOEXEC);
  char text[256] = {};
  const bool read = ::read(fd, text, sizeof text - 1) > 0;
  ::close(fd);
  const char* const name_end = read ? std::strrchr(text, ')') : nullptr;
  return name_end != nullptr && name_end[2] == 'S';
}
// Until the second thread waits in its handler, or has come here as well.
void hold_handler(int, siginfo_t*, void*) {
  say("the application's handler");
  if (++handled == 1)
    while (handled == 1 && !sleeps(second_thread)) continue;
  ::_exit(42);
}
// Makes what was wrong right.
void mend_handler(int, siginfo_t* info, void*) {
  const auto page = reinterpret_cast<std::uintptr_t>(info->si_addr) & ~std::uintptr_t{4095};
  ::mmap(reinterpret_cast<void*>(page), 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
         -1, 0);
}
void later_handler(int signal, siginfo_t* info, void* context) {
  say("the application's handler");
  worker_handler(signal, info, context);
}

void install(void (*handler)(int, siginfo_t*, void*), struct sigaction* before = nullptr) {
  struct sigaction action {};
  action.sa_sigaction = handler;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  ::sigaction(SIGSEGV, &action, before);
}

struct Arguments {
  std::string way, thread = "main", alone_handler;
  bool later = false, contain = false, lock = false, fd = false;
  bool bare = false, scope = false, small_stack = false, blocked = false, own_signal = false;
  int busy_ms = -1, deadline_ms = 0;
};

Arguments parse(int argc, char** argv) {
  Arguments arguments;
  arguments.way = argv[1];
  for (int i = 2; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--alone-handler") arguments.alone_handler = argv[++i];
    if (word == "--later-handler") arguments.later = true;
    if (word == "--contain") arguments.contain = true;
    if (word == "--lock") arguments.lock = true;
    if (word == "--fd") arguments.fd = true;
    if (word == "--bare") arguments.bare = true;
    if (word == "--scope") arguments.scope = true;
    if (word == "--small-stack") arguments.small_stack = true;
    if (word == "--blocked") arguments.blocked = true;
    if (word == "--own-signal") arguments.own_signal = true;
    if (word == "--keep-busy") arguments.busy_ms = std::atoi(argv[++i]);
    if (word == "--deadline") arguments.deadline_ms = std::atoi(argv[++i]);
    if (word == "other") arguments.thread = word;
  }
  return arguments;
}

std::mutex application_lock;

// The least that the system's own headers ever called enough, above a page that is not there.
void take_small_stack() {
  constexpr std::size_t size = 8192;
  auto* memory = static_cast<char*>(
      ::mmap(nullptr, 2 * size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ::mprotect(memory, size, PROT_NONE);
  stack_t stack{};
  stack.ss_sp = memory + size;
  stack.ss_size = size;
  if (::sigaltstack(&stack, nullptr) != 0) ::_exit(97);
}

void block_signals() {
  sigset_t all;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, nullptr);
}

// A thread that has nothing to do with any request.
void die_bare(const Arguments& arguments) {
  const refork::Domain domain("bare");
  if (arguments.scope) {
    const auto scope = domain.enter();
    ways.at(arguments.way)();
  } else {
    domain.run([&] { ways.at(arguments.way)(); });
  }
}

// A request that dies.
void die(Worker& worker, const Arguments& arguments) {
  if (arguments.small_stack) take_small_stack();
  if (arguments.blocked) block_signals();
  if (arguments.bare) return die_bare(arguments);
  refork::Domain domain("http"), inner("inner");
  auto request = worker.begin("GET /crash?token=7", domain);
  auto hold = worker.hold();
  if (arguments.contain)
    Worker::prepare_answer(request, hold, answer_fd, "HTTP/1.1 500 Internal Server Error\r\n\r\n");
  domain.run([&] {
    inner.run([&] {
      std::unique_lock lock(application_lock, std::defer_lock);
      if (arguments.lock) lock.lock();
      ways.at(arguments.way)();
    });
  });
}

// Two requests that die, one after the other.
void die_twice(Worker& worker, Arguments arguments) {
  arguments.way = "null";
  std::thread first([&] { die(worker, arguments); });
  std::thread second([&] {
    while (!worker.draining()) std::this_thread::yield();
    die(worker, arguments);
  });
  first.join();
  second.join();
}

// Another request, which is not to be disturbed.
void keep_busy(Worker& worker, const Arguments& arguments) {
  auto request = worker.begin("GET /busy");
  ::pthread_setname_np(::pthread_self(), "busy");
  say("busy");
  std::this_thread::sleep_for(std::chrono::milliseconds(arguments.busy_ms));
  if (arguments.lock) application_lock.lock();
  say("answered");
}

void await_command() {
  char byte;
  while (::read(command_fd, &byte, 1) < 0) continue;
}

int run(const Arguments& arguments) {
  const rlimit no_core{0, 0};
  ::setrlimit(RLIMIT_CORE, &no_core);
  if (arguments.alone_handler == "exit") install(exit_handler);
  if (arguments.alone_handler == "return") install(return_handler);
  if (arguments.alone_handler == "mend") install(mend_handler);
  if (arguments.alone_handler == "hold") install(hold_handler);
  if (arguments.own_signal) {
    struct sigaction action {};
    action.sa_handler = [](int) { say("the application's signal"); };
    ::sigaction(SIGRTMAX - 3, &action, nullptr);
  }
  Worker::Options options;
  options.contain_faults = arguments.contain;
  if (arguments.deadline_ms > 0) options.drain_deadline = std::chrono::milliseconds(arguments.deadline_ms);
  if (arguments.fd) options.drive = Worker::Drive::fd;
  Worker worker(options);
  if (arguments.later) {
    struct sigaction before {};
    install(later_handler, &before);
    worker_handler = before.sa_sigaction;
  }
  std::thread busy;
  if (arguments.busy_ms >= 0) busy = std::thread([&] { keep_busy(worker, arguments); });
  say("started");
  await_command();
  if (arguments.way == "none") {
    busy.join();
  } else if (arguments.way == "two-requests") {
    die_twice(worker, arguments);
  } else if (arguments.thread == "other") {
    std::thread([&] { die(worker, arguments); }).join();
  } else {
    die(worker, arguments);
  }
  say("survived");
  ::_exit(0);
}

}  // namespace

int main(int argc, char** argv) { return run(parse(argc, argv)); }
