// The Worker as a process before a primary: each rule of a failure's way, of the drain and of the end.

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <map>

#include "integration/fake_primary.h"

namespace refork::test {
namespace {

using proto::AppMessage;
using proto::Disconnect;
using proto::DrainBegun;
using proto::DrainOrder;
using proto::FailureNote;
using proto::Hello;
using proto::Ready;
using proto::Verdict;
using proto::VerdictGiven;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

const std::string subject = WORKER_SUBJECT;
constexpr std::uint32_t long_ms = 60'000;  // longer than any test: what must not be waited for

// The lines of the output that tell of pauses, resumes and drains.
std::vector<std::string> told(const std::string& output) {
  std::vector<std::string> lines;
  std::istringstream in(output);
  for (std::string line; std::getline(in, line);)
    if (line == "pause" || line == "resume" || line.rfind("drain", 0) == 0) lines.push_back(line);
  return lines;
}

FakePrimary::Options with(std::vector<std::string> arguments) {
  FakePrimary::Options options;
  options.arguments = std::move(arguments);
  return options;
}

// Both drives behave the same.
class WorkerProcess : public ::testing::TestWithParam<std::string> {
 protected:
  FakePrimary start(std::vector<std::string> arguments = {}) {
    arguments.push_back(GetParam());
    FakePrimary primary(subject, with(std::move(arguments)));
    EXPECT_TRUE(primary.printed("started supervised"));  // its callbacks are set
    return primary;
  }
};
INSTANTIATE_TEST_SUITE_P(Drive, WorkerProcess, ::testing::Values("--thread", "--fd"),
                         [](const auto& test) { return test.param.substr(2); });

TEST_P(WorkerProcess, SaysHelloWithItsVersionsAndReadyOnce) {
  auto primary = start();
  const auto hello = primary.expect<Hello>();
  EXPECT_EQ(hello.protocol_max, proto::protocol_version);
  EXPECT_EQ(hello.library, REFORK_VERSION);
  primary.tell_and_wait("ready");
  primary.tell_and_wait("ready");
  primary.expect<Ready>();
  EXPECT_TRUE(primary.silent());
}

TEST_P(WorkerProcess, PausesRecordsAndNudgesOnAFailure) {
  auto primary = start();
  primary.welcome();
  primary.tell_and_wait("fail out of cheese");
  const auto note = primary.expect<FailureNote>();
  EXPECT_EQ(note.then, Then::drain);
  const auto records = primary.records();
  ASSERT_EQ(records.size(), 1u);
  EXPECT_EQ(records[0].id, note.id);
  EXPECT_EQ(records[0].message, "out of cheese");
  EXPECT_EQ(records[0].fingerprint.size(), 16u);
  EXPECT_EQ(records[0].pid, primary.process().pid());
  EXPECT_THAT(primary.output(), HasSubstr("pause\nfailed " + note.id));
}

TEST_P(WorkerProcess, AcceptsAgainOnTheVerdictServeAndIsNotPausedByTheNextFailure) {
  auto primary = start();
  primary.welcome();
  primary.tell_and_wait("fail one");
  primary.send(VerdictGiven{primary.expect<FailureNote>().id, Verdict::serve, 0});
  ASSERT_TRUE(primary.printed("resume"));
  primary.tell_and_wait("fail two");
  primary.expect<FailureNote>();
  EXPECT_THAT(told(primary.output()), ElementsAre("pause", "resume"));
  EXPECT_EQ(primary.records().size(), 2u);
}

TEST_P(WorkerProcess, AcceptsAgainWhereNoVerdictComes) {
  auto primary = start();
  primary.welcome();
  primary.tell_and_wait("fail one");
  primary.expect<FailureNote>();
  EXPECT_TRUE(primary.printed("resume"));
}

TEST_P(WorkerProcess, DrainsOnTheVerdictAndEndsWithTheCodeOfAnError) {
  auto primary = start();
  primary.welcome(30000, 1234);
  primary.tell_and_wait("fail one");
  primary.send(VerdictGiven{primary.expect<FailureNote>().id, Verdict::drain, long_ms});
  EXPECT_FALSE(primary.expect<Disconnect>().deadline);
  EXPECT_EQ(primary.wait().code, 1);
  EXPECT_THAT(told(primary.output()), ElementsAre("pause", "drain error 1234"));
}

TEST_P(WorkerProcess, FinishesItsRequestsBeforeItEnds) {
  auto primary = start();
  primary.welcome();
  primary.tell_and_wait("begin GET /a");
  primary.tell_and_wait("begin GET /b");
  primary.send(DrainOrder{DrainReason::reload, long_ms});
  ASSERT_TRUE(primary.printed("drain reload"));
  EXPECT_TRUE(primary.recorder().counters()->draining);
  primary.tell_and_wait("end");
  EXPECT_TRUE(primary.silent());
  primary.tell("end");
  EXPECT_FALSE(primary.expect<Disconnect>().deadline);
  EXPECT_EQ(primary.wait().code, 0);
}

TEST_P(WorkerProcess, AHoldKeepsItFromEnding) {
  auto primary = start();
  primary.welcome();
  primary.tell_and_wait("hold");
  primary.send(DrainOrder{DrainReason::operator_, long_ms});
  ASSERT_TRUE(primary.printed("drain operator"));
  primary.tell_and_wait("begin GET /a");
  primary.tell_and_wait("end");
  EXPECT_TRUE(primary.silent());
  primary.tell("release");
  primary.expect<Disconnect>();
  EXPECT_EQ(primary.wait().code, 0);
}

TEST_P(WorkerProcess, WithOnDrainedTheApplicationEndsTheProcess) {
  auto primary = start({"--drained"});
  primary.welcome();
  primary.tell_and_wait("begin GET /a");
  primary.send(DrainOrder{DrainReason::stop, long_ms});
  ASSERT_TRUE(primary.printed("drain stop"));
  primary.tell("end");
  EXPECT_TRUE(primary.printed("drained"));
  EXPECT_FALSE(primary.expect<Disconnect>().deadline);
  EXPECT_EQ(primary.wait().code, 0);
}

TEST_P(WorkerProcess, IsGoneAtTheDeadlineAndNamesWhatIsCut) {
  auto primary = start();
  primary.welcome();
  primary.tell_and_wait("begin GET /never?answered");
  primary.send(DrainOrder{DrainReason::operator_, 1});
  EXPECT_TRUE(primary.expect<Disconnect>().deadline);
  EXPECT_EQ(primary.wait().code, 3);
  const auto cut = primary.recorder().in_flight();
  ASSERT_EQ(cut->size(), 1u);
  EXPECT_EQ(cut->at(0).label, "GET /never?answered");
}

TEST_P(WorkerProcess, IsGoneAtTheDeadlineThoughTheApplicationIsStuck) {
  auto primary = start();
  primary.welcome(200);
  primary.tell_and_wait("listen-to-messages");
  primary.send(AppMessage{"1"});  // once it is taken, the deadline is known
  ASSERT_TRUE(primary.printed("message 1"));
  primary.tell_and_wait("begin GET /stuck");
  primary.tell("drain");
  primary.tell("stick");
  EXPECT_EQ(primary.expect<DrainBegun>().reason, DrainReason::operator_);
  EXPECT_TRUE(primary.expect<Disconnect>().deadline);
  EXPECT_EQ(primary.wait().code, 3);
}

TEST_P(WorkerProcess, ASecondErrorAndASecondOrderDoNotExtendTheDeadline) {
  auto primary = start();
  primary.welcome();
  primary.tell_and_wait("begin GET /never");
  primary.send(DrainOrder{DrainReason::operator_, 300});
  ASSERT_TRUE(primary.printed("drain operator"));
  primary.tell("fail again");
  primary.send(VerdictGiven{primary.expect<FailureNote>().id, Verdict::drain, long_ms});
  primary.send(DrainOrder{DrainReason::operator_, long_ms});
  EXPECT_TRUE(primary.expect<Disconnect>().deadline);
  EXPECT_EQ(primary.wait().code, 3);
}

TEST_P(WorkerProcess, ALaterOrderWithAnEarlierDeadlineChangesNothing) {
  auto primary = start();
  primary.welcome();
  primary.tell_and_wait("begin GET /slow");
  primary.send(DrainOrder{DrainReason::reload, long_ms});
  ASSERT_TRUE(primary.printed("drain reload"));
  primary.send(DrainOrder{DrainReason::operator_, 0});
  primary.send(AppMessage{"1"});  // once it is taken, the order before it was read
  primary.tell_and_wait("listen-to-messages");
  ASSERT_TRUE(primary.printed("message 1"));
  primary.tell("end");
  EXPECT_FALSE(primary.expect<Disconnect>().deadline);
  EXPECT_EQ(primary.wait().code, 0);
  EXPECT_THAT(told(primary.output()), ElementsAre("drain reload 1000"));
}

TEST_P(WorkerProcess, DrainsWhenThePrimaryIsGone) {
  auto primary = start();
  primary.welcome();
  primary.tell_and_wait("begin GET /a");
  primary.close_channel();
  ASSERT_TRUE(primary.printed("drain stop"));
  primary.tell("end");
  EXPECT_EQ(primary.wait().code, 0);
}

TEST_P(WorkerProcess, DrainsWhenThePrimaryBreaksTheProtocol) {
  for (const std::string_view packet : {"not JSON", R"({"m":"ready"})"}) {
    auto primary = start();
    primary.welcome();
    primary.send_raw(packet);
    EXPECT_TRUE(primary.printed("drain stop"));
    EXPECT_EQ(primary.wait().code, 0);
    EXPECT_THAT(primary.process().errors(), HasSubstr("refork: reforkd sent"));
  }
}

TEST_P(WorkerProcess, SaysWhichVersionsDoNotFit) {
  auto primary = start();
  primary.expect<Hello>();
  proto::Welcome welcome;
  welcome.protocol = 99;
  primary.send(welcome);
  EXPECT_EQ(primary.wait().code, 1);
  EXPECT_THAT(primary.process().errors(), HasSubstr("reforkd speaks version 99 of the protocol"));
}

TEST_P(WorkerProcess, DrainsOnSigtermAndASecondOneIsHarmless) {
  auto primary = start();
  primary.welcome();
  primary.tell_and_wait("begin GET /a");
  primary.process().signal(SIGTERM);
  EXPECT_EQ(primary.expect<DrainBegun>().reason, DrainReason::operator_);
  ASSERT_TRUE(primary.printed("drain operator"));
  primary.process().signal(SIGTERM);
  primary.tell_and_wait("begin GET /b");
  primary.tell_and_wait("end");
  primary.tell("end");
  primary.expect<Disconnect>();
  EXPECT_EQ(primary.wait().code, 0);
}

TEST_P(WorkerProcess, TellsOfADrainThatItsApplicationAskedFor) {
  auto primary = start();
  primary.welcome();
  primary.tell("drain-recycle");
  EXPECT_EQ(primary.expect<DrainBegun>().reason, DrainReason::recycle);
  EXPECT_FALSE(primary.expect<Disconnect>().deadline);
  EXPECT_EQ(primary.wait().code, 0);
}

TEST_P(WorkerProcess, FinishWithoutADrainIsAnEndOfItsOwnWill) {
  auto primary = start();
  primary.welcome();
  primary.tell("finish");
  EXPECT_FALSE(primary.expect<Disconnect>().deadline);
  EXPECT_EQ(primary.wait().code, 0);
}

TEST_P(WorkerProcess, AnEndRightAfterAFailureHasTheCodeOfAnError) {
  auto primary = start();
  primary.welcome();
  primary.tell("fail one");
  primary.tell("finish");
  primary.expect<FailureNote>();
  primary.expect<Disconnect>();
  EXPECT_EQ(primary.wait().code, 1);
}

TEST_P(WorkerProcess, KeepsMessagesUntilSomebodyTakesThem) {
  auto primary = start();
  primary.welcome();
  primary.send(AppMessage{R"({"early":1})"});
  primary.send(AppMessage{"2"});
  primary.tell("listen-to-messages");
  EXPECT_TRUE(primary.printed(R"(message {"early":1})"));
  EXPECT_TRUE(primary.printed("message 2"));
}

TEST_P(WorkerProcess, KeepsAThousandAndTwentyFourEarlyMessagesAndDropsTheNext) {
  auto primary = start();
  primary.welcome();
  for (int i = 1; i <= 1025; ++i) primary.send(AppMessage{std::to_string(i)});
  ASSERT_TRUE(primary.process().wait_for_error_line("messages are dropped"));
  primary.tell_and_wait("listen-to-messages");
  EXPECT_TRUE(primary.printed("message 1024"));
  primary.send(AppMessage{"\"after\""});
  EXPECT_TRUE(primary.printed("message \"after\""));
  EXPECT_THAT(primary.output(), Not(HasSubstr("message 1025")));
}

TEST_P(WorkerProcess, KeepsOneMebibyteOfEarlyMessagesAndDropsTheNext) {
  auto primary = start();
  primary.welcome();
  const auto body = [](char letter) { return "\"" + std::string(60 * 1024 - 2, letter) + "\""; };
  for (char letter = 'a'; letter < 'a' + 18; ++letter) primary.send(AppMessage{body(letter)});  // 17 fit
  ASSERT_TRUE(primary.process().wait_for_error_line("messages are dropped"));
  primary.tell_and_wait("listen-to-messages");
  EXPECT_TRUE(primary.printed("message " + body('q')));
  EXPECT_THAT(primary.output(), Not(HasSubstr("rrr")));
}

TEST_P(WorkerProcess, SendsMessagesAndRefusesWhatIsNone) {
  auto primary = start();
  primary.welcome();
  primary.tell_and_wait("send {\"a\":[1,2]}");
  EXPECT_EQ(primary.expect<AppMessage>().body, R"({"a":[1,2]})");
  primary.tell_and_wait("send {\"a\":");
  primary.tell_and_wait("send-large");
  EXPECT_TRUE(primary.silent());
  EXPECT_THAT(primary.output(), HasSubstr("not sent"));
}

TEST_P(WorkerProcess, AFullChannelDelaysTheNudgeButLosesNothing) {
  auto primary = start();
  primary.welcome();
  primary.tell_and_wait("fill");
  primary.tell_and_wait("fail when full");
  EXPECT_EQ(primary.records().size(), 1u);
  EXPECT_EQ(primary.skip_to<FailureNote>().id, primary.records()[0].id);
}

TEST_P(WorkerProcess, AFailingHandlerAmendsTheRecordOfItsError) {
  auto primary = start();
  primary.welcome();
  primary.tell_and_wait("fail the first");
  primary.tell_and_wait("fail-in-handler");
  EXPECT_EQ(primary.expect<FailureNote>().id, primary.expect<FailureNote>().id);
  const auto records = primary.records();
  ASSERT_EQ(records.size(), 2u);
  EXPECT_EQ(records[1].id, records[0].id);
  EXPECT_EQ(records[1].revision, 2u);
  EXPECT_EQ(records[1].kind, Kind::handler);
  EXPECT_EQ(records[1].message, "in the handler");
  ASSERT_EQ(records[1].causes.size(), 1u);
  EXPECT_EQ(records[1].causes[0].message, "the first");
}

TEST_P(WorkerProcess, IdenticalFailuresBeyondFiftyASecondBecomeOneRecordWithACount) {
  auto primary = start();
  primary.welcome();
  primary.tell_and_wait("fail-often 60");
  for (int i = 0; i < 50; ++i) EXPECT_EQ(primary.expect<FailureNote>().then, Then::serve);
  const auto collected = primary.expect<FailureNote>().id;
  const auto records = primary.records();
  ASSERT_EQ(records.size(), 51u);
  EXPECT_EQ(records[50].id, collected);
  EXPECT_EQ(records[50].count, 10u);
  EXPECT_EQ(told(primary.output()).size(), 0u);  // its author says that its state is sound
}

TEST_P(WorkerProcess, WhatWasCountedIsRecordedBeforeTheEnd) {
  auto primary = start();
  primary.welcome();
  primary.tell_and_wait("fail-often 60");
  primary.send(DrainOrder{DrainReason::stop, long_ms});
  primary.skip_to<Disconnect>();
  std::uint64_t count = 0;
  for (const auto& record : primary.records()) count += record.count;
  EXPECT_EQ(count, 60u);
}

// How many failures of each type the records stand for.
std::map<std::string, std::uint64_t> counts(const FakePrimary& primary) {
  std::map<std::string, std::uint64_t> all;
  for (const auto& record : primary.records()) all[record.type] += record.count;
  return all;
}

TEST_P(WorkerProcess, ABurstIsCountedExactly) {
  auto primary = start();
  primary.welcome();
  primary.tell_and_wait("fail-often 1000");
  for (int i = 0; i < 51; ++i) primary.expect<FailureNote>();
  EXPECT_THAT(counts(primary), ElementsAre(std::pair("std::runtime_error", 1000u)));
}

// More single records than there are places for, from four threads; nobody frees a place meanwhile.
TEST_P(WorkerProcess, ABurstOfSeveralKindsFromSeveralThreadsIsCountedExactlyEvenAtTheEnd) {
  auto primary = start();
  primary.welcome();
  primary.tell_and_wait("burst 250");
  primary.send(DrainOrder{DrainReason::stop, long_ms});
  primary.skip_to<Disconnect>();
  EXPECT_THAT(counts(primary), ElementsAre(std::pair("left", 1000u), std::pair("right", 1000u)));
  EXPECT_TRUE(primary.recorder().dropped().empty());
}

TEST_P(WorkerProcess, AHandlerThatFailsAfterTheCountWasRecordedLeavesIt) {
  auto primary = start();
  primary.welcome();
  primary.tell_and_wait("fail-often 60");
  for (int i = 0; i < 51; ++i) primary.expect<FailureNote>();
  primary.tell_and_wait("fail-in-handler");
  primary.expect<FailureNote>();
  const auto records = primary.records();
  ASSERT_EQ(records.size(), 52u);
  EXPECT_EQ(records[51].id, records[50].id);
  EXPECT_EQ(records[51].revision, 2u);
  EXPECT_EQ(records[51].count, 10u);
}

TEST_P(WorkerProcess, TellsWhetherItsQueriesMayBeSeen) {
  EXPECT_FALSE(start().recorder().shows_query());
  EXPECT_TRUE(start({"--show-query"}).recorder().shows_query());
}

TEST_P(WorkerProcess, AForkedChildIsNoWorker) {
  auto primary = start();
  primary.welcome();
  primary.tell("fork");
  ASSERT_TRUE(primary.printed("child ended 0"));
  EXPECT_TRUE(primary.printed("child is no worker"));
  EXPECT_TRUE(primary.silent());
  EXPECT_TRUE(primary.records().empty());
  EXPECT_EQ(primary.recorder().counters()->in_flight, 0u);
  EXPECT_EQ(primary.recorder().counters()->pid, primary.process().pid());
  primary.tell_and_wait("ready");
  primary.expect<Ready>();
}

TEST_P(WorkerProcess, WhatItStartsInheritsNothingOfTheWorker) {
  auto primary = start();
  primary.welcome();
  primary.tell_and_wait("exec env; ls -l /proc/self/fd; kill -TERM $$");
  EXPECT_THAT(primary.output(), Not(HasSubstr("REFORK_")));
  EXPECT_THAT(primary.output(), Not(HasSubstr("LISTEN_")));
  EXPECT_THAT(primary.output(), Not(HasSubstr(" 10 ->")));
  EXPECT_THAT(primary.output(), Not(HasSubstr(" 11 ->")));
  EXPECT_THAT(primary.output(), HasSubstr("exec failed"));  // SIGTERM has its default effect there
}

// Threads fail while verdicts come and requests end: in the end nothing is paused that should accept.
TEST_P(WorkerProcess, NoPauseAndNoResumeIsLostWhateverTheOrder) {
  auto primary = start();
  primary.welcome();
  primary.tell("storm 20");
  for (int i = 0; i < 4 * 20; ++i)
    primary.send(VerdictGiven{primary.expect<FailureNote>().id, Verdict::serve, 0});
  ASSERT_TRUE(primary.printed("stormed"));
  ASSERT_TRUE(primary.printed("resume"));
  EXPECT_THAT(told(primary.output()), ElementsAre("pause", "resume"));
  primary.send(DrainOrder{DrainReason::error, long_ms});
  primary.skip_to<Disconnect>();
  EXPECT_EQ(primary.wait().code, 1);
}

TEST_P(WorkerProcess, ADrainInAStormOfErrorsIsOneDrain) {
  auto primary = start();
  primary.welcome();
  primary.tell("storm 40");
  primary.send(VerdictGiven{primary.expect<FailureNote>().id, Verdict::drain, long_ms});
  primary.skip_to<Disconnect>();
  EXPECT_EQ(primary.wait().code, 1);
  EXPECT_THAT(told(primary.output()), ElementsAre("pause", "drain error 1000"));
}

base::UniqueFd listening_tcp() {
  base::UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  EXPECT_EQ(listen(fd.get(), 1), 0);
  return fd;
}

base::UniqueFd listening_unix(const std::string& path) {
  base::UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  EXPECT_EQ(bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  EXPECT_EQ(listen(fd.get(), 1), 0);
  return fd;
}

TEST(WorkerListeners, HaveTheNamesAndAddressesThatTheyCameWith) {
  const TempDir directory;
  const auto tcp = listening_tcp();
  const auto local = listening_unix(directory.file("web.sock"));
  FakePrimary::Options options;
  options.listeners = {tcp.get(), local.get()};
  options.listener_names = {"web"};
  FakePrimary primary(subject, options);
  EXPECT_TRUE(primary.printed("listener 3 web tcp://127.0.0.1:"));
  EXPECT_TRUE(primary.printed("listener 4 unknown unix:" + directory.file("web.sock")));
}

TEST(WorkerAlone, AGrandchildOfTheOneTheyWereForIsNoWorker) {
  FakePrimary::Options options;
  options.environment = {"LISTEN_PID=1", "LISTEN_FDS=1"};
  FakePrimary primary(subject, options);
  EXPECT_TRUE(primary.printed("started alone"));
  EXPECT_THROW(primary.receive(), std::runtime_error);  // closed: it does not even hold the channel
}

TEST(WorkerAlone, SaysWhatIsWrongWithItsEnvironment) {
  FakePrimary::Options options;
  options.supervised = false;
  options.environment = {"REFORK_CHANNEL=banana"};
  FakePrimary primary(subject, options);
  EXPECT_EQ(primary.wait().code, 2);
  EXPECT_THAT(primary.process().errors(), HasSubstr("$REFORK_CHANNEL is \"banana\""));
}

FakePrimary::Options alone(std::vector<std::string> arguments = {}) {
  auto options = with(std::move(arguments));
  options.supervised = false;
  return options;
}

TEST(WorkerAlone, ServesOnAfterAnErrorAndPrintsItAsOneLine) {
  FakePrimary primary(subject, alone());
  primary.tell_and_wait("begin GET /a");
  primary.tell_and_wait("fail out of cheese");
  const auto line = primary.process().wait_for_error_line("out of cheese");
  ASSERT_TRUE(line);
  const auto record = proto::decode_record(*line);
  ASSERT_TRUE(record) << record.error().what;
  EXPECT_EQ(record->pid, primary.process().pid());
  EXPECT_EQ(record->in_flight_at_failure, 1u);
  EXPECT_THAT(record->context,
              ElementsAre(std::pair("session_token", "[redacted]"), std::pair("user", "bob")));
  primary.tell("finish");
  EXPECT_EQ(primary.wait().code, 0);
  EXPECT_TRUE(told(primary.output()).empty());
}

TEST(WorkerAlone, DrainsAfterAnErrorWhereItsSocketsWerePassedOn) {
  const auto tcp = listening_tcp();
  auto options = alone();
  options.listeners = {tcp.get()};
  FakePrimary primary(subject, options);
  primary.tell("fail one");
  EXPECT_EQ(primary.wait().code, 1);
  EXPECT_THAT(told(primary.output()), ElementsAre("drain error 1000"));
}

TEST(WorkerAlone, DrainsAfterAnErrorWhereItWasToldTo) {
  FakePrimary primary(subject, alone({"--drain"}));
  primary.tell("fail one");
  EXPECT_EQ(primary.wait().code, 1);
}

TEST(WorkerAlone, DrainsOnSigterm) {
  FakePrimary primary(subject, alone());
  primary.tell_and_wait("begin GET /a");
  primary.process().signal(SIGTERM);
  ASSERT_TRUE(primary.printed("drain operator"));
  primary.tell("end");
  EXPECT_EQ(primary.wait().code, 0);
}

TEST(WorkerAlone, TellsItsServiceManagerWhenItIsReadyAndWhenItStops) {
  const TempDir directory;
  const auto path = directory.file("notify");
  const base::UniqueFd manager(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  ASSERT_EQ(bind(manager.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  const timeval patience{20, 0};
  ASSERT_EQ(setsockopt(manager.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), 0);
  auto options = alone();
  options.environment = {"NOTIFY_SOCKET=" + path};
  FakePrimary primary(subject, options);
  const auto next = [&manager] {
    char text[64];
    const auto length = recv(manager.get(), text, sizeof text, 0);
    return std::string(text, length > 0 ? static_cast<std::size_t>(length) : 0);
  };
  primary.tell("ready");
  EXPECT_EQ(next(), "READY=1");
  primary.tell("drain");
  EXPECT_EQ(next(), "STOPPING=1");
  EXPECT_EQ(primary.wait().code, 0);
}

}  // namespace
}  // namespace refork::test
