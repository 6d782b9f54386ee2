// From recorder to store, while somebody takes his time to name the frames.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include "recorder/writer.h"
#include "supervisor/crash_record.h"
#include "supervisor/failures.h"
#include "supervisor/record_ids.h"
#include "supervisor/unsafe_ends.h"
#include "support/process.h"

namespace refork::supervisor {
namespace {

class LateSymbols : public Symbols {
 public:
  void ask(const Subject&, const proto::FailureRecord& record, Reply reply) override {
    asked.push_back({record.id, std::move(reply)});
  }
  struct Asked {
    std::string record;
    Reply reply;
  };
  std::vector<Asked> asked;
};

class RowsKept : public store::Store {
 public:
  int fd() const noexcept override { return -1; }
  void dispatch() override {}
  void add(core::FailureRow row, std::function<void()> stored) override {
    order.push_back(row.id);
    rows.push_back(std::move(row));
    calls.push_back(std::move(stored));
  }
  void end(core::EndRow row, std::function<void()> stored) override {
    order.push_back("end of " + std::to_string(row.worker));
    ends.push_back(row);
    calls.push_back(std::move(stored));
  }
  void list(core::FailureFilter, Reply<std::vector<std::string>>) override {}
  void top(core::FailureFilter, Reply<std::vector<std::string>>) override {}
  void show(std::string, Reply<std::string>) override {}
  void clear(std::string, Reply<std::uint64_t>) override {}
  std::uint64_t last_worker_id() const noexcept override { return 0; }
  void reserve_worker_ids(std::uint64_t) override {}
  core::StoreStatus status() const override { return {}; }
  std::function<void()>& on_status_change() override { return changed; }
  void close() override {}

  void write() {
    for (const auto& call : std::exchange(calls, {})) call();
  }
  std::vector<core::FailureRow> rows;
  std::vector<core::EndRow> ends;
  std::vector<std::string> order;
  std::vector<std::function<void()>> calls;
  std::function<void()> changed;
};

class FailuresTest : public testing::Test {
 protected:
  FailuresTest() {
    recorder::Identity identity{};
    identity.worker = subject.worker;
    std::strcpy(identity.service, "web");
    recorder = *KeptRecorder::create(identity);
    writer = *recorder::Writer::attach(base::UniqueFd(::fcntl(recorder->reader().fd(), F_DUPFD_CLOEXEC, 0)));
  }
  static proto::FailureRecord record(const std::string& id) {
    proto::FailureRecord record;
    record.id = id;
    record.type = "int";
    record.fingerprint = "0123456789abcdef";
    record.stack = {{"", "", 0, "/srv/app", 16, true}};
    return record;
  }
  void write(const proto::FailureRecord& record) { ASSERT_TRUE(writer->record(proto::encode(record), 1)); }
  Collected collect() { return failures.collect(subject, recorder); }
  std::size_t recorded() const { return recorder->reader().records()->size(); }

  const Subject subject{"web", 0, 17, 4711, 1};
  RowsKept store;
  LateSymbols symbols;
  std::vector<std::string> announced;
  Failures failures{store, symbols,
                    [this](const core::FailureRow& row, const std::string&) { announced.push_back(row.id); }};
  std::shared_ptr<KeptRecorder> recorder;
  recorder::Writer* writer = nullptr;
};

TEST_F(FailuresTest, ARecordWithAStackIsStoredAndAnnouncedWithItsNamesAndThenFreed) {
  write(record("1-1"));
  EXPECT_EQ(collect().fresh, 1u);
  EXPECT_TRUE(store.rows.empty());
  EXPECT_TRUE(announced.empty());
  ASSERT_EQ(symbols.asked.size(), 1u);
  symbols.asked[0].reply(proto::SymbolAnswer{1, {{{"app::f()", "/src/app.cc", 3}}}});
  ASSERT_EQ(store.rows.size(), 1u);
  EXPECT_EQ(announced, std::vector<std::string>{"1-1"});
  EXPECT_THAT(store.rows[0].record,
              testing::HasSubstr(R"x("function":"app::f()","file":"/src/app.cc","line":3)x"));
  EXPECT_NE(store.rows[0].fingerprint, "0123456789abcdef");
  EXPECT_EQ(recorded(), 1u) << "not yet on disk";
  store.write();
  EXPECT_EQ(recorded(), 0u);
}

TEST_F(FailuresTest, WithoutAnAnswerARecordIsStoredAsItCame) {
  write(record("1-1"));
  collect();
  symbols.asked.at(0).reply(std::nullopt);
  ASSERT_EQ(store.rows.size(), 1u);
  EXPECT_EQ(store.rows[0].fingerprint, "0123456789abcdef");
}

TEST_F(FailuresTest, AHangIsStoredOnceAllItsThreadsHaveTheirNames) {
  proto::FailureRecord hang;
  hang.kind = Kind::hang;
  hang.stack = {{"", "", 0, "/srv/app", 16, false}};
  hang.request = proto::RequestRef{"GET /?token=1", 5};
  hang.threads = {{7, "web", "GET /?token=1", hang.stack}, {8, "idle", "", {}}, {9, "log", "", hang.stack}};
  failures.report(subject, hang, false);
  ASSERT_EQ(symbols.asked.size(), 3u) << "its own stack, and those of two threads";
  symbols.asked[2].reply(proto::SymbolAnswer{1, {{{"write_log()", "log.cc", 2}}}});
  symbols.asked[0].reply(proto::SymbolAnswer{1, {{{"spin()", "app.cc", 1}}}});
  EXPECT_TRUE(store.rows.empty());
  symbols.asked[1].reply(std::nullopt);
  ASSERT_EQ(store.rows.size(), 1u);
  const auto stored = *proto::decode_record(store.rows[0].record);
  EXPECT_EQ(stored.stack.at(0).function, "spin()");
  EXPECT_EQ(stored.threads.at(2).stack.at(0).function, "write_log()");
  EXPECT_EQ(stored.request->label, "GET /?[redacted]");
  EXPECT_EQ(stored.threads.at(0).request, "GET /?[redacted]");
  EXPECT_EQ(stored.fingerprint, store.rows[0].fingerprint);
}

// Answers when it is told to.
class LateOutputs : public Outputs {
 public:
  void ask(const Subject& subject, Reply reply) override {
    asked.push_back(subject.output);
    replies.push_back(std::move(reply));
  }
  std::vector<std::string> asked;
  std::vector<Reply> replies;
};

// Of a worker that writes to a file.
class LoggingTest : public FailuresTest {
 protected:
  LoggingTest() {
    logging.output = "/var/log/web.log";
    failures.take_output_from(outputs);
  }
  LateOutputs outputs;
  Subject logging = subject;
};

TEST_F(LoggingTest, TheLastOutputAmendsTheRecordOfTheEndWhichWaitsForIt) {
  failures.report(logging, Kind::exit, "exited with code 3 while serving", 0);
  failures.end(logging, {}, recorder, 0);
  ASSERT_EQ(store.rows.size(), 1u) << "announced at once";
  EXPECT_TRUE(store.ends.empty());
  EXPECT_EQ(outputs.asked, std::vector<std::string>{"/var/log/web.log"});
  outputs.replies.at(0)("starting\nAuthorization: Bearer abc\ncannot go on");
  ASSERT_EQ(store.rows.size(), 2u);
  EXPECT_EQ(store.rows[1].id, store.rows[0].id);
  EXPECT_EQ(store.rows[1].revision, store.rows[0].revision + 1);
  EXPECT_EQ(proto::decode_record(store.rows[1].record)->output_tail,
            "starting\nAuthorization: [redacted]\ncannot go on");
  EXPECT_EQ(store.ends.size(), 1u);
  EXPECT_EQ(announced.size(), 1u);
}

TEST_F(LoggingTest, OfAnEndThatIsNoFailureNobodyAsksForTheOutput) {
  failures.end(logging, {}, recorder, 0);
  EXPECT_TRUE(outputs.asked.empty());
  EXPECT_EQ(store.ends.size(), 1u);
}

TEST_F(LoggingTest, AnOutputThatComesAfterTheEndOfReforkdChangesNothing) {
  failures.report(logging, Kind::boot, "exited with code 3 before it was ready", 0);
  failures.end(logging, {}, recorder, 0);
  failures.store_waiting();
  EXPECT_EQ(store.ends.size(), 1u);
  outputs.replies.at(0)("late");
  EXPECT_EQ(store.rows.size(), 1u);
}

// A start that failed before there was a recorder has no end.
TEST_F(FailuresTest, OfAWorkerThatIsForgottenNothingIsKept) {
  failures.report(subject, Kind::boot, "no memory for its flight recorder", 0);
  ASSERT_EQ(failures.unsafe_reports(subject.worker).size(), 1u);
  ASSERT_EQ(failures.reports(subject.worker).size(), 1u);
  failures.forget(subject.worker);
  EXPECT_TRUE(failures.unsafe_reports(subject.worker).empty());
  EXPECT_TRUE(failures.reports(subject.worker).empty());
  store.write();
  EXPECT_EQ(store.rows.size(), 1u) << "what is on its way to the store gets there";
}

TEST(UnsafeEnds, AreTheNewestAsManyAsTheStoreKeepsInMemory) {
  UnsafeEnds ends;
  const auto add = [&ends](core::WorkerId worker) {
    state::End end;
    end.process.worker = worker;
    ends.add(std::move(end));
  };
  for (core::WorkerId worker = 1; worker <= UnsafeEnds::most; ++worker) add(worker);
  EXPECT_FALSE(ends.take_surplus());
  add(UnsafeEnds::most + 1);
  const auto surplus = ends.take_surplus();
  ASSERT_TRUE(surplus);
  EXPECT_EQ(surplus->process.worker, 1u) << "the oldest";
  EXPECT_FALSE(ends.take_surplus());
  EXPECT_TRUE(ends.erase(2));
  EXPECT_FALSE(ends.erase(1));
}

TEST_F(FailuresTest, ARecordWithoutAStackWaitsForNobody) {
  auto plain = record("1-1");
  plain.stack.clear();
  write(plain);
  collect();
  EXPECT_TRUE(symbols.asked.empty());
  EXPECT_EQ(store.rows.size(), 1u);
}

TEST_F(FailuresTest, AFatalSignalIsCollectedOnceAndIncompleteOnlyFromTheDead) {
  EXPECT_FALSE(collect().crashed);
  auto& slot = *writer->take_crash();
  slot.signal = SIGSEGV;
  std::strcpy(slot.label, "GET /crash?token=7");
  slot.label_length.store(18);
  slot.has_request = 1;
  slot.state.store(static_cast<std::uint32_t>(recorder::CrashState::known));
  EXPECT_FALSE(collect().crashed) << "its handler is at work";
  const auto found = failures.collect(subject, recorder, true);
  EXPECT_TRUE(found.crashed);
  EXPECT_EQ(found.fresh, 1u);
  const auto again = failures.collect(subject, recorder, true);
  EXPECT_TRUE(again.crashed);
  EXPECT_EQ(again.fresh, 0u);
  ASSERT_EQ(store.rows.size(), 1u);
  EXPECT_THAT(store.rows[0].record, testing::HasSubstr("GET /crash"));
  EXPECT_THAT(store.rows[0].record, testing::Not(testing::HasSubstr("token"))) << "the query is hidden";
}

TEST_F(FailuresTest, ARecordThatWaitsIsCollectedOnceAndFoundAgainByTheNextDaemon) {
  write(record("1-1"));
  collect();
  EXPECT_EQ(collect().fresh, 0u);
  EXPECT_EQ(symbols.asked.size(), 1u);
  const auto again =
      KeptRecorder::adopt(base::UniqueFd(::fcntl(recorder->reader().fd(), F_DUPFD_CLOEXEC, 0)));
  ASSERT_TRUE(again);
  EXPECT_EQ((*again)->take().size(), 1u);
}

TEST_F(FailuresTest, AnEndIsStoredAfterTheLastFailureOfItsWorkerAndKeepsTheRecorderUntilThen) {
  write(record("1-1"));
  write(record("1-2"));
  collect();
  core::Ended ended{};
  ended.worker = subject.worker;
  bool done = false;
  recorder->when_done([&done] { done = true; });
  failures.end(subject, ended, recorder, 0);
  symbols.asked.at(1).reply(std::nullopt);
  EXPECT_EQ(store.order, std::vector<std::string>{"1-2"});
  recorder.reset();
  store.write();
  EXPECT_FALSE(done);
  symbols.asked.at(0).reply(std::nullopt);
  EXPECT_THAT(store.order, testing::ElementsAre("1-2", "1-1", "end of 17"));
  store.write();
  symbols.asked.clear();
  EXPECT_TRUE(done);
}

TEST_F(FailuresTest, AReportThatIsMadeAgainByTheNextDaemonHasTheSameId) {
  failures.report(subject, Kind::signal, "killed", 0);
  failures.report(subject, Kind::protocol, "it lies", 0);
  Failures next{store, symbols, [](const core::FailureRow&, const std::string&) {}};
  next.report(subject, Kind::signal, "killed", 0);
  next.assume_reports(subject.worker, {{"protocol", 1}});
  next.report(subject, Kind::protocol, "it lies again", 0);
  ASSERT_EQ(store.order.size(), 4u);
  EXPECT_EQ(store.order[2], store.order[0]);
  EXPECT_NE(store.order[1], store.order[0]);
  EXPECT_NE(store.order[3], store.order[1]) << "another one";
}

TEST_F(FailuresTest, AWorkerCannotTakeTheIdOfWhatReforkdRecordsOfAnother) {
  Subject other = subject;
  ++other.worker;
  recorder::Crash crash;
  write(record(crash_record(other, crash, "").id));
  write(record(report_id(other, Kind::signal, 1)));
  write(record(report_id(other, Kind::signal, 256)));
  write(record("0190a5c3f1b-0badcafe-d001"));  // as librefork has them
  collect();
  failures.store_waiting();
  store.write();
  ASSERT_EQ(store.rows.size(), 1u);
  EXPECT_EQ(store.rows[0].id, "0190a5c3f1b-0badcafe-d001");
  EXPECT_EQ(recorded(), 0u) << "none stays in the recorder";
  EXPECT_NE(report_id(other, Kind::signal, 1), report_id(other, Kind::signal, 257));
}

TEST_F(FailuresTest, AnEndWithoutWaitingFailuresIsStoredAtOnce) {
  core::Ended ended{};
  failures.end(subject, ended, recorder, 0);
  EXPECT_THAT(store.order, testing::ElementsAre("end of 17"));
}

TEST_F(FailuresTest, WhatWaitsAtTheEndIsStoredAsItIsAndALateAnswerChangesNothing) {
  write(record("1-1"));
  collect();
  core::Ended ended{};
  failures.end(subject, ended, recorder, 0);
  failures.store_waiting();
  EXPECT_THAT(store.order, testing::ElementsAre("1-1", "end of 17"));
  symbols.asked.at(0).reply(proto::SymbolAnswer{});
  EXPECT_EQ(store.rows.size(), 1u);
}

TEST_F(FailuresTest, AmendmentsAreNotFreshAndTerminateIsTold) {
  write(record("1-1"));
  EXPECT_FALSE(collect().terminated);
  auto amended = record("1-1");
  amended.revision = 2;
  write(amended);
  EXPECT_EQ(collect().fresh, 0u);
  auto terminate = record("1-2");
  terminate.kind = Kind::terminate;
  write(terminate);
  EXPECT_TRUE(collect().terminated);
}

proto::Frame frame(const std::string& module, std::uint64_t offset, bool in_app,
                   const std::string& function = "") {
  return {function, "", 0, module, offset, in_app};
}

TEST(NameFrames, InlinedFunctionsBecomeFramesOfTheirOwn) {
  proto::FailureRecord record;
  record.stack = {frame("/srv/app", 1, true), frame("/srv/app", 2, true, "known")};
  name_frames(record, {1, {{{"app::in()", "a.cc", 1}, {"app::out()", "a.cc", 9}}, {}}});
  ASSERT_EQ(record.stack.size(), 3u);
  EXPECT_EQ(record.stack[0].function, "app::in()");
  EXPECT_EQ(record.stack[1].line, 9u);
  EXPECT_EQ(record.stack[1].offset, 1u);
  EXPECT_EQ(record.stack[2].function, "known") << "what the worker knew stays";
  EXPECT_EQ(record.fingerprint.size(), 16u);
}

TEST(NameFrames, OwnCodeIsWhatIsNeitherALibrarysModuleNorALibrarysCode) {
  proto::FailureRecord record;
  record.stack = {frame("/usr/lib/libc.so.6", 1, false), frame("/usr/lib/web/server", 2, true),
                  frame("/usr/lib/web/server", 3, false, "refork::Domain::run()"),
                  frame("/opt/librefork.so.0", 4, false), frame("/srv/plugin.so", 5, true)};
  name_frames(
      record,
      {1,
       {{{"memcpy", "/src/libc.c", 1}},
        {{"std::sort()", "/usr/include/c++/12/x.h", 1}, {"app::f()", "/src/a.cc", 1}},
        {{"main::{lambda()#1}::operator()() const", "/src/a.cc", 1}, {"refork::Domain::run()", "d.h", 1}},
        {{"refork_domain_call", "x.cc", 1}},
        {{"plug", "/src/p.cc", 1}}}});
  std::vector<std::string> own;
  for (const auto& one : record.stack)
    if (one.in_app) own.push_back(one.function);
  EXPECT_THAT(own, testing::ElementsAre("app::f()", "main::{lambda()#1}::operator()() const", "plug"));
}

TEST(NameFrames, AnAnswerOfAnotherLengthOrTooManyFramesIsNoHarm) {
  proto::FailureRecord record;
  record.stack.assign(proto::max_frames, frame("/srv/app", 1, true));
  name_frames(record, {1, {{{"a", "", 0}, {"b", "", 0}}}});
  EXPECT_EQ(record.stack.size(), proto::max_frames);
  record.stack.resize(1);
  name_frames(record, {1, {{}, {{"x", "", 0}}, {{"y", "", 0}}}});
  EXPECT_EQ(record.stack.size(), 1u);
}

TEST(NameFrames, LongNamesCostTheOldestFramesAndNotTheContext) {
  proto::FailureRecord record;
  record.id = "1-1";
  record.stack.assign(proto::max_frames, frame("/srv/app", 1, true));
  for (std::size_t i = 0; i < proto::max_context; ++i)
    record.context.emplace_back("key" + std::to_string(i), std::string(300, 'v'));
  const proto::Symbol symbol{std::string(proto::max_value, 'f'), std::string(200, 'p'), 7};
  proto::SymbolAnswer answer{1, {}};
  answer.frames.assign(proto::max_frames, {symbol});
  name_frames(record, answer);
  const auto stored = proto::decode_record(proto::encode(record, proto::max_record_text));
  ASSERT_TRUE(stored);
  EXPECT_EQ(stored->context, record.context);
  EXPECT_GT(stored->stack.size(), 40u);
}

// ---- another life

TEST_F(FailuresTest, OneThatTheNextReforkdMeetsAgainIsNeitherCountedNorToldAgain) {
  auto first = record("first");
  first.stack.clear();
  write(first);
  write(record("second"));  // waits for the names of its stack
  EXPECT_EQ(collect().fresh, 2u);
  failures.report(subject, Kind::protocol, "it floods", 0);
  EXPECT_EQ(failures.tally().failures("web"), 3u);
  EXPECT_EQ(announced.size(), 2u);

  std::vector<std::string> told;
  Failures next{store, symbols,
                [&told](const core::FailureRow& row, const std::string&) { told.push_back(row.id); }};
  next.tally().assume("web", failures.tally().failures("web"), failures.tally().met(17));
  next.assume_reports(17, failures.reports(17));
  for (const auto& json : failures.unsafe_reports(17)) next.report_again(subject, json);
  auto again = KeptRecorder::adopt(base::UniqueFd(::fcntl(recorder->reader().fd(), F_DUPFD_CLOEXEC, 0)));
  ASSERT_TRUE(again);
  EXPECT_EQ(next.collect(subject, *again).fresh, 0u);
  EXPECT_EQ(next.tally().failures("web"), 3u);
  EXPECT_TRUE(told.empty());
  symbols.asked.back().reply(std::nullopt);
  EXPECT_EQ(told, std::vector<std::string>{"second"}) << "it was counted, but not told";
  store.write();
  EXPECT_TRUE(next.tally().met(17).empty());
}

TEST_F(FailuresTest, WhatWasSafeWhenReforkdDiedIsNotRememberedForEver) {
  failures.tally().assume("web", 2, {{17, "gone", true}, {17, "there", true}});
  failures.assume_reports(17, {});
  write(record("there"));
  EXPECT_EQ(collect().fresh, 0u);
  const auto met = failures.tally().met(17);
  ASSERT_EQ(met.size(), 1u);
  EXPECT_EQ(met[0].id, "there");
}

TEST_F(FailuresTest, WhatIsHeldIsToldOnceItCanBeSaved) {
  std::vector<std::string> saved;
  failures.on_change([&saved](const std::string& service) { saved.push_back(service); });
  failures.hold();
  failures.report(subject, Kind::protocol, "it floods", 0);
  EXPECT_TRUE(announced.empty());
  ASSERT_EQ(failures.tally().met(17).size(), 1u);
  EXPECT_FALSE(failures.tally().met(17)[0].told) << "a death now leaves it to the next reforkd to tell";
  failures.release();
  EXPECT_EQ(announced.size(), 1u);
  EXPECT_EQ(saved, std::vector<std::string>{"web"});
  EXPECT_TRUE(failures.tally().met(17)[0].told);
}

}  // namespace
}  // namespace refork::supervisor
