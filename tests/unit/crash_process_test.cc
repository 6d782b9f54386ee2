// Fatal signals in real processes: what the flight recorder tells of each, what reforkd is sent, and that the
// process then dies of just that signal.

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "integration/fake_primary.h"

namespace refork::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED
#endif

// A sanitizer has handlers of its own, which end the process in their way: most tests are about ours alone.
const std::string no_handlers =
    "handle_segv=0:handle_sigbus=0:handle_sigfpe=0:handle_sigill=0:handle_sigtrap=0:handle_abort=0:detect_"
    "leaks=0:detect_stack_use_after_return=0:atexit_sleep_ms=0";

FakePrimary::Options with(std::vector<std::string> arguments, bool supervised = true) {
  FakePrimary::Options options;
  options.arguments = std::move(arguments);
  options.supervised = supervised;
  options.environment = {"ASAN_OPTIONS=" + no_handlers, "TSAN_OPTIONS=" + no_handlers};
  return options;
}

struct Dead {
  FakePrimary primary;
  Exit exit;

  explicit Dead(std::vector<std::string> arguments) : primary(CRASH_SUBJECT, with(std::move(arguments))) {
    primary.welcome();
    primary.tell("die");
    exit = primary.wait();
  }
  std::optional<recorder::Crash> crash() { return primary.recorder().crash(); }
};

// The modules of the stack, by their last part.
std::vector<std::string> modules(const recorder::Crash& crash) {
  std::vector<std::string> names;
  for (const auto& frame : crash.frames) names.push_back(frame.module.substr(frame.module.rfind('/') + 1));
  return names;
}

bool has_own_frames(const recorder::Crash& crash) {
  const auto names = modules(crash);
  return std::count(names.begin(), names.end(), "crash_subject") > 3;
}

struct Way {
  std::string name;
  int signal;
  int code;
  bool frames = true;  // the stack is whole
};
class Crashes : public ::testing::TestWithParam<std::tuple<Way, std::string>> {};

TEST_P(Crashes, LeaveSignalStackRequestAndDomains) {
  const auto& [way, thread] = GetParam();
  Dead dead({way.name, thread});
  EXPECT_EQ(dead.exit.signal, way.signal);
  const auto crash = dead.crash();
  ASSERT_TRUE(crash);
  EXPECT_EQ(crash->signal, way.signal);
  EXPECT_EQ(crash->code, way.code);
  EXPECT_FALSE(crash->contained);
  EXPECT_TRUE(crash->complete);
  EXPECT_TRUE(crash->has_request);
  EXPECT_EQ(crash->label, "GET /crash?token=7");
  EXPECT_EQ(crash->in_flight, 1u);
  EXPECT_THAT(crash->domains, ElementsAre("inner", "http"));
  EXPECT_TRUE(!way.frames || has_own_frames(*crash)) << ::testing::PrintToString(modules(*crash));
  EXPECT_EQ(crash->thread == static_cast<std::uint32_t>(dead.primary.recorder().counters()->pid),
            thread == "main");
  EXPECT_EQ(crash->sender, way.code <= 0 ? dead.primary.recorder().counters()->pid : 0);
  EXPECT_FALSE(dead.primary.skip_to<proto::Crash>().contained);
  EXPECT_EQ(dead.primary.recorder().in_flight()->size(), 1u) << "it got no answer";
}

const auto any_thread = ::testing::Values("main", "other");
std::string name_of(const ::testing::TestParamInfo<Crashes::ParamType>& test) {
  return std::get<0>(test.param).name + "_" + std::get<1>(test.param);
}
INSTANTIATE_TEST_SUITE_P(
    Faults, Crashes,
    ::testing::Combine(::testing::Values(Way{"null", SIGSEGV, SEGV_MAPERR}, Way{"wild", SIGSEGV, SEGV_MAPERR},
                                         Way{"call", SIGSEGV, SEGV_MAPERR}, Way{"jump", SIGSEGV, SEGV_ACCERR},
                                         Way{"bus", SIGBUS, BUS_ADRERR},
                                         Way{"frames", SIGSEGV, SEGV_MAPERR, false}),
                       any_thread),
    name_of);
#if defined(__x86_64__)
INSTANTIATE_TEST_SUITE_P(Instructions, Crashes,
                         ::testing::Combine(::testing::Values(Way{"fpe", SIGFPE, FPE_INTDIV},
                                                              Way{"ill", SIGILL, ILL_ILLOPN},
                                                              Way{"trap", SIGTRAP, SI_KERNEL},
                                                              Way{"sp", SIGSEGV, SEGV_MAPERR, false}),
                                            any_thread),
                         name_of);
#endif
INSTANTIATE_TEST_SUITE_P(Sent, Crashes,
                         ::testing::Combine(::testing::Values(Way{"abort", SIGABRT, SI_TKILL},
                                                              Way{"sys", SIGSYS, SI_TKILL}),
                                            any_thread),
                         name_of);
INSTANTIATE_TEST_SUITE_P(SentToTheProcess, Crashes,
                         ::testing::Combine(::testing::Values(Way{"kill", SIGSEGV, SI_USER, false}),
                                            ::testing::Values("main")),
                         name_of);

TEST(Crash, OfAStackThatOverflowedIsRecordedOnAnotherOne) {
  for (const std::string thread : {"main", "other"}) {
    Dead dead({"overflow", thread});
    EXPECT_EQ(dead.exit.signal, SIGSEGV);
    const auto crash = dead.crash();
    ASSERT_TRUE(crash) << thread;
    EXPECT_EQ(crash->frames.size(), recorder::crash_frames);
    EXPECT_THAT(crash->domains, ElementsAre("inner", "http"));
  }
}

// The thread has neither begun a request nor left a domain before.
TEST(Crash, OfAStackThatOverflowedInItsFirstDomainIsRecorded) {
  for (const std::string where : {"--bare", "--scope"}) {
    Dead dead({"overflow", "other", "--bare", where});
    EXPECT_EQ(dead.exit.signal, SIGSEGV);
    const auto crash = dead.crash();
    ASSERT_TRUE(crash) << where;
    EXPECT_THAT(crash->domains, ElementsAre("bare"));
    EXPECT_FALSE(crash->has_request);
  }
}

TEST(Crash, IsRecordedOnASmallAlternateStackOfTheApplication) {
  for (const std::string way : {"null", "overflow"}) {
    Dead dead({way, "other", "--small-stack"});
    EXPECT_EQ(dead.exit.signal, SIGSEGV);
    const auto crash = dead.crash();
    ASSERT_TRUE(crash) << way;
    EXPECT_TRUE(crash->complete) << way;
    EXPECT_EQ(crash->label, "GET /crash?token=7");
    ASSERT_EQ(crash->frames.size(), 1u) << "there is no room for the unwinder";
    EXPECT_THAT(crash->frames[0].module, HasSubstr("crash_subject"));
  }
}

TEST(Crash, OfAThreadThatBlocksAllSignalsIsRecorded) {
  Dead dead({"null", "other", "--blocked"});
  EXPECT_EQ(dead.exit.signal, SIGSEGV);
  ASSERT_TRUE(dead.crash());
  EXPECT_TRUE(dead.crash()->complete);
}

#ifndef __SANITIZE_THREAD__  // which delivers no timer to a thread that runs a handler
// The handler waits for the unwinder's lock, which its own thread holds.
TEST(Crash, WhoseHandlerCannotGoOnEndsAllTheSame) {
  for (const std::string drive : {"--thread", "--fd"}) {
    Dead dead({"unwinder", "--blocked", drive});
    EXPECT_EQ(dead.exit.signal, SIGSEGV) << drive;
    const auto crash = dead.crash();
    ASSERT_TRUE(crash) << drive;
    EXPECT_EQ(crash->label, "GET /crash?token=7");
    EXPECT_FALSE(dead.primary.skip_to<proto::Crash>().contained);
  }
}

#endif

TEST(Crash, LeavesASignalOfTheApplicationAlone) {
  FakePrimary primary(CRASH_SUBJECT, with({"null", "--own-signal"}));
  primary.welcome();
  ASSERT_TRUE(primary.printed("started"));
  EXPECT_FALSE(primary.recorder().answers_stacks());
  primary.process().signal(recorder::stacks_signal());
  EXPECT_TRUE(primary.printed("the application's signal"));
  primary.tell("die");
  EXPECT_EQ(primary.wait().signal, SIGSEGV);
  EXPECT_TRUE(primary.recorder().crash());
}

TEST(Crash, InADestructorDuringUnwindingIsRecorded) {
  Dead dead({"destructor", "other"});
  EXPECT_EQ(dead.exit.signal, SIGSEGV);
  ASSERT_TRUE(dead.crash());
  EXPECT_TRUE(dead.crash()->complete);
}

TEST(Crash, NamesTheAddressOfTheFault) {
  Dead null({"null"});
  EXPECT_EQ(null.crash()->address, 0u);
  Dead wild({"wild"});
  EXPECT_EQ(wild.crash()->address, 0xb000u);
  EXPECT_GT(wild.crash()->time_ms, 1'600'000'000'000u);
}

TEST(Crash, OfAFunctionThatIsNoneNamesItsCaller) {
  Dead dead({"call"});
  const auto crash = dead.crash();
  ASSERT_TRUE(crash);
  ASSERT_GE(crash->frames.size(), 2u);
  EXPECT_EQ(crash->frames[0].module, "");
  EXPECT_EQ(crash->frames[0].offset, 0u);
  EXPECT_THAT(crash->frames[1].module, HasSubstr("crash_subject"));
}

TEST(Crash, TellsWhichBuildItsModulesAre) {
  Dead dead({"null"});
  const auto crash = dead.crash();
  ASSERT_TRUE(crash);
  ASSERT_FALSE(crash->frames.empty());
  EXPECT_THAT(crash->frames[0].module, HasSubstr("crash_subject"));
  EXPECT_GE(crash->frames[0].build_id.size(), 16u);
}

#ifndef SANITIZED  // which ends a handler that follows a damaged list, and whose heap breaks otherwise
TEST(Crash, OfASmashedStackIsStillRecorded) {
  Dead dead({"smash"});
  EXPECT_NE(dead.exit.signal, 0);
  ASSERT_TRUE(dead.crash());
  EXPECT_EQ(dead.crash()->signal, dead.exit.signal);
  EXPECT_TRUE(dead.crash()->complete);
}

TEST(Crash, OfABrokenHeapNeedsNoHeap) {
  Dead dead({"heap"});
  EXPECT_EQ(dead.exit.signal, SIGABRT);
  ASSERT_TRUE(dead.crash());
  EXPECT_TRUE(dead.crash()->complete);
  EXPECT_TRUE(has_own_frames(*dead.crash()));
}
#endif

TEST(Crash, OfTwoThreadsAtOnceIsRecordedOnce) {
  Dead dead({"two"});
  EXPECT_EQ(dead.exit.signal, SIGSEGV);
  EXPECT_EQ(dead.primary.recorder().crashes().size(), 1u);
  EXPECT_TRUE(dead.crash()->complete);
}

TEST(Crash, OfASecondThreadWhileTheFirstOneIsHandledWaits) {
  Dead dead({"second", "--alone-handler", "hold"});
  EXPECT_EQ(dead.exit.code, 42);
  EXPECT_EQ(dead.primary.recorder().crashes().size(), 1u);
  const std::string output = dead.primary.output();
  EXPECT_EQ(output.find("the application's handler"), output.rfind("the application's handler")) << output;
}

TEST(Crash, OfTerminateIsNoSecondRecord) {
  Dead dead({"terminate"});
  EXPECT_EQ(dead.exit.signal, SIGABRT);
  EXPECT_FALSE(dead.crash());
  ASSERT_EQ(dead.primary.records().size(), 1u);
  EXPECT_EQ(dead.primary.records()[0].kind, Kind::terminate);
  EXPECT_FALSE(dead.primary.skip_to<proto::Crash>().contained) << "reforkd knows that it dies";
}

TEST(Crash, OfAForkedChildIsTheChildsOwn) {
  for (const std::string way : {"fork", "clone"}) {
    Dead dead({way});
    EXPECT_EQ(dead.exit.code, 0);
    EXPECT_THAT(dead.primary.output(), HasSubstr("child died of " + std::to_string(SIGSEGV)));
    EXPECT_FALSE(dead.crash()) << way;
  }
}

TEST(Crash, FromOutsideNamesTheSender) {
  FakePrimary primary(CRASH_SUBJECT, with({"wait"}));
  primary.welcome();
  primary.tell("die");
  ASSERT_TRUE(primary.printed("waiting"));
  primary.process().signal(SIGBUS);
  EXPECT_EQ(primary.wait().signal, SIGBUS);
  const auto crash = primary.recorder().crash();
  ASSERT_TRUE(crash);
  EXPECT_EQ(crash->sender, ::getpid());
  EXPECT_EQ(crash->code, SI_USER);
  EXPECT_EQ(crash->address, 0u);
}

TEST(Crash, GoesOnToTheHandlerThatWasThereBefore) {
  Dead dead({"null", "--alone-handler", "exit"});
  EXPECT_EQ(dead.exit.code, 42);
  EXPECT_THAT(dead.primary.output(), HasSubstr("the application's handler"));
  ASSERT_TRUE(dead.crash());
  EXPECT_EQ(dead.crash()->signal, SIGSEGV);
}

TEST(Crash, DiesOfItsSignalWhereThatHandlerReturns) {
  Dead dead({"null", "--alone-handler", "return"});
  EXPECT_EQ(dead.exit.signal, SIGSEGV);
  EXPECT_THAT(dead.primary.output(), HasSubstr("the application's handler"));
  EXPECT_EQ(dead.primary.recorder().crashes().size(), 1u);
  Dead sent({"kill", "--alone-handler", "return"});
  EXPECT_EQ(sent.exit.signal, SIGSEGV);
}

TEST(Crash, MayBeHandledFirstByAHandlerInstalledLater) {
  Dead dead({"null", "--later-handler"});
  EXPECT_EQ(dead.exit.signal, SIGSEGV);
  EXPECT_THAT(dead.primary.output(), HasSubstr("the application's handler"));
  EXPECT_TRUE(dead.crash());
}

// Which has blocked the signal meanwhile: a fault of the unwinder is to be survived all the same.
TEST(Crash, OfADamagedStackIsHandledBehindALaterHandler) {
  Dead dead({"frames", "--later-handler"});
  EXPECT_EQ(dead.exit.signal, SIGSEGV);
  ASSERT_TRUE(dead.crash());
  EXPECT_TRUE(dead.crash()->complete);
}

TEST(Crash, WithoutReforkdIsALineOnStderr) {
  FakePrimary primary(CRASH_SUBJECT, with({"wild"}, false));
  primary.tell("die");
  EXPECT_EQ(primary.wait().signal, SIGSEGV);
  const std::string errors = primary.process().errors();
  const auto start = errors.find("{\"id\"");
  ASSERT_NE(start, std::string::npos) << errors;
  const auto record = proto::decode_record(errors.substr(start, errors.find('\n', start) - start));
  ASSERT_TRUE(record) << record.error().what;
  EXPECT_EQ(record->kind, Kind::signal);
  EXPECT_EQ(record->message, "SIGSEGV at address 0xb000 (address not mapped)");
  ASSERT_TRUE(record->request);
  EXPECT_EQ(record->request->label, "GET /crash") << "the query is hidden";
  EXPECT_THAT(record->domains, ElementsAre("inner", "http"));
  EXPECT_GT(record->stack.size(), 3u);
}

#ifdef SANITIZED
TEST(Crash, UnderASanitizerGoesOnToItsReport) {
  auto options = with({"null"});
  options.environment = {};
  FakePrimary primary(CRASH_SUBJECT, options);
  primary.welcome();
  primary.tell("die");
  primary.wait();
  EXPECT_THAT(primary.process().errors(), HasSubstr("Sanitizer"));
  EXPECT_TRUE(primary.recorder().crash());
}
#endif

// --- containment

struct Containing {
  FakePrimary primary;

  static FakePrimary start(std::vector<std::string> arguments) {
    arguments.push_back("--contain");
    return FakePrimary(CRASH_SUBJECT, with(std::move(arguments)));
  }
  explicit Containing(std::vector<std::string> arguments) : primary(start(std::move(arguments))) {}
};

TEST(Containment, LetsTheOthersFinishAndThenDiesOfTheSignal) {
  Containing worker({"null", "other", "--keep-busy", "300"});
  worker.primary.welcome(20'000);
  ASSERT_TRUE(worker.primary.printed("busy"));
  worker.primary.tell("die");
  EXPECT_TRUE(worker.primary.skip_to<proto::Crash>().contained);
  const auto crash = worker.primary.recorder().crash();
  ASSERT_TRUE(crash);
  EXPECT_TRUE(crash->contained);
  EXPECT_EQ(crash->label, "GET /crash?token=7");
  EXPECT_FALSE(worker.primary.skip_to<proto::Disconnect>().deadline);
  EXPECT_EQ(worker.primary.wait().signal, SIGSEGV);
  EXPECT_THAT(worker.primary.output(), HasSubstr("answered"));
  EXPECT_THAT(worker.primary.output(), Not(HasSubstr("survived")));
  EXPECT_TRUE(worker.primary.recorder().in_flight()->empty()) << "the culprit was answered, too";
}

TEST(Containment, EndsAtTheDeadlineWhereTheOthersWaitForTheFrozenThread) {
  Containing worker({"null", "other", "--keep-busy", "50", "--lock", "--deadline", "500"});
  worker.primary.expect<proto::Hello>();
  ASSERT_TRUE(worker.primary.printed("busy"));
  worker.primary.tell("die");
  EXPECT_TRUE(worker.primary.skip_to<proto::Crash>().contained);
  EXPECT_EQ(worker.primary.wait().signal, SIGSEGV);
  ASSERT_EQ(worker.primary.recorder().in_flight()->size(), 1u);
  EXPECT_EQ(worker.primary.recorder().in_flight()->at(0).label, "GET /busy");
}

#ifndef __SANITIZE_THREAD__  // as above
// The driver is the thread that is frozen: nobody is left but the kernel's timer.
TEST(Containment, EndsAtTheDeadlineWhereNobodyDrives) {
  Containing worker({"null", "--fd", "--keep-busy", "60000", "--deadline", "200"});
  worker.primary.expect<proto::Hello>();
  worker.primary.tell("die");
  EXPECT_TRUE(worker.primary.skip_to<proto::Crash>().contained);
  EXPECT_EQ(worker.primary.wait().signal, SIGSEGV);
  EXPECT_EQ(worker.primary.recorder().crashes().size(), 1u);
}
#endif

// Whatever lock the frozen thread holds (the allocator's, the unwinder's, one of librefork's own): the others
// finish if they do not need it, and the deadline ends the process if it is needed to finish.
TEST(Containment, EndsByTheSignalWhereverTheFaultWas) {
  std::vector<std::string> ways = {"destructor", "error-handler", "callback"};
#ifndef SANITIZED  // whose allocator has no such list
  ways.push_back("allocator");
#endif
#ifndef __SANITIZE_THREAD__  // as above
  ways.push_back("unwinder");
#endif
  for (const auto& way : ways) {
    SCOPED_TRACE(way);
    Containing worker({way, "other", "--keep-busy", "200", "--deadline", "3000"});
    worker.primary.expect<proto::Hello>();
    ASSERT_TRUE(worker.primary.printed("busy"));
    worker.primary.tell("die");
    EXPECT_TRUE(worker.primary.skip_to<proto::Crash>().contained);
    EXPECT_TRUE(worker.primary.printed("answered"));
    EXPECT_EQ(worker.primary.wait().signal, SIGSEGV);
    const auto crashes = worker.primary.recorder().crashes();
    ASSERT_EQ(crashes.size(), 1u);
    EXPECT_TRUE(crashes[0].contained);
    EXPECT_EQ(crashes[0].label, "GET /crash?token=7");
  }
}

TEST(Containment, OfASecondFaultWhileDrainingIsRecordedToo) {
  Containing worker({"two-requests", "--keep-busy", "300"});
  worker.primary.welcome(20'000);
  ASSERT_TRUE(worker.primary.printed("busy"));
  worker.primary.tell("die");
  EXPECT_TRUE(worker.primary.skip_to<proto::Crash>().contained);
  EXPECT_TRUE(worker.primary.skip_to<proto::Crash>().contained);
  EXPECT_EQ(worker.primary.wait().signal, SIGSEGV);
  EXPECT_EQ(worker.primary.recorder().crashes().size(), 2u);
  EXPECT_TRUE(worker.primary.recorder().in_flight()->empty());
}

TEST(Containment, IsForThreadsWithAPreparedAnswerOnly) {
  for (const std::string thread : {"main", "other"}) {
    Containing worker({"null", thread, "--bare", "--keep-busy", "60000"});
    worker.primary.welcome();
    worker.primary.tell("die");
    EXPECT_FALSE(worker.primary.skip_to<proto::Crash>().contained);
    EXPECT_EQ(worker.primary.wait().signal, SIGSEGV);
    ASSERT_TRUE(worker.primary.recorder().crash());
    EXPECT_FALSE(worker.primary.recorder().crash()->contained);
  }
}

TEST(Containment, IsForFaultsOnly) {
  for (const std::string way : {"abort", "kill"}) {
    Containing worker({way, "--keep-busy", "60000"});
    worker.primary.welcome();
    worker.primary.tell("die");
    EXPECT_FALSE(worker.primary.skip_to<proto::Crash>().contained) << way;
    EXPECT_NE(worker.primary.wait().signal, 0);
  }
}

// --- stacks on demand

TEST(Stacks, AreWrittenByTheThreadsThatAreAsked) {
  FakePrimary primary(CRASH_SUBJECT, with({"none", "--keep-busy", "60000"}));
  primary.welcome();
  ASSERT_TRUE(primary.printed("busy"));
  const auto& recorder = primary.recorder();
  ASSERT_TRUE(wait_until([&] { return recorder.answers_stacks() && recorder.in_flight()->size() == 1; }));
  const auto thread = recorder.in_flight()->at(0).thread;
  const auto pid = primary.process().pid();
  ASSERT_TRUE(recorder.want_stacks());
  ASSERT_EQ(::syscall(SYS_tgkill, pid, thread, recorder::stacks_signal()), 0);
  ASSERT_TRUE(wait_until([&] { return recorder.thread_stacks().size() == 1; }));
  const auto stack = recorder.thread_stacks().at(0);
  EXPECT_EQ(stack.tid, thread);
  EXPECT_EQ(stack.name, "busy");
  EXPECT_EQ(stack.request_label, "GET /busy");
  EXPECT_GT(stack.frames.size(), 3u);
  EXPECT_TRUE(std::ranges::any_of(
      stack.frames, [](const recorder::Address& frame) { return frame.module.ends_with("crash_subject"); }));
}

TEST(Stacks, OfTheRequestsThatAreCutAreToldAtTheDeadline) {
  for (const std::string drive : {"--thread", "--fd"}) {
    FakePrimary primary(CRASH_SUBJECT, with({"none", "--keep-busy", "60000", drive}));
    if (drive == "--thread") primary.welcome(300);
    ASSERT_TRUE(primary.printed("busy"));
    primary.tell("go");
    if (drive == "--fd") continue;  // nobody drives it: there is no drain
    primary.send(proto::DrainOrder{DrainReason::operator_, 100});
    EXPECT_TRUE(primary.skip_to<proto::Disconnect>().deadline);
    EXPECT_EQ(primary.wait().code, 3);
    const auto stacks = primary.recorder().thread_stacks();
    ASSERT_EQ(stacks.size(), 1u);
    EXPECT_EQ(stacks[0].request_label, "GET /busy");
    EXPECT_GT(stacks[0].frames.size(), 3u);
  }
}

}  // namespace
}  // namespace refork::test
