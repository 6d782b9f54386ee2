// A fatal signal in a recorder as the failure that operators see.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include "base/ids.h"
#include "supervisor/crash_record.h"
#include "supervisor/failures.h"

namespace refork::supervisor {
namespace {

const Subject subject{"web", 0, 17, 4711, 1};

recorder::Crash null_read() {
  recorder::Crash crash;
  crash.signal = SIGSEGV;
  crash.code = SEGV_MAPERR;
  crash.time_ms = 1700000000000;
  crash.has_request = true;
  crash.label = "GET /crash";
  crash.age_ms = 12;
  crash.in_flight = 3;
  crash.domains = {"inner", "http"};
  crash.frames = {{"/srv/app", "ab01", 16}, {"/usr/lib/libc.so.6", "", 32}, {"", "", 48}};
  return crash;
}

TEST(CrashRecord, SaysWhatAndWhere) {
  const auto record = crash_record(subject, null_read(), "");
  EXPECT_EQ(record.kind, Kind::signal);
  EXPECT_EQ(record.message, "SIGSEGV at address 0x0 (address not mapped)");
  EXPECT_EQ(record.time_ms, 1700000000000u);
  ASSERT_TRUE(record.request);
  EXPECT_EQ(record.request->label, "GET /crash");
  EXPECT_EQ(record.request->age_ms, 12u);
  EXPECT_EQ(record.domain, "inner");
  EXPECT_THAT(record.domains, testing::ElementsAre("inner", "http"));
  EXPECT_EQ(record.in_flight_at_failure, 3u);
  ASSERT_TRUE(record.fault);
  EXPECT_EQ(record.fault->signal, SIGSEGV);
  EXPECT_EQ(record.fault->si_code, SEGV_MAPERR);
  EXPECT_FALSE(record.thrown);
  EXPECT_EQ(record.fingerprint.size(), 16u);
}

TEST(CrashRecord, ItsFramesAreTheApplicationsOrTheSystems) {
  const auto record = crash_record(subject, null_read(), "");
  ASSERT_EQ(record.stack.size(), 3u);
  EXPECT_TRUE(record.stack[0].in_app);
  EXPECT_EQ(record.stack[0].offset, 16u);
  EXPECT_FALSE(record.stack[1].in_app);
  EXPECT_FALSE(record.stack[2].in_app);
  ASSERT_EQ(record.build_ids.size(), 1u);
  EXPECT_EQ(record.build_ids[0].second, "ab01");
}

TEST(CrashRecord, NamesWhoSentIt) {
  auto crash = null_read();
  crash.signal = SIGABRT;
  crash.code = SI_TKILL;
  crash.sender = 4711;
  EXPECT_EQ(crash_record(subject, crash, "").message, "SIGABRT raised by the process itself");
  crash.sender = 815;
  EXPECT_EQ(crash_record(subject, crash, "").message, "SIGABRT sent by process 815");
  EXPECT_EQ(crash_record(subject, crash, "").fault->sender, 815);
}

TEST(CrashRecord, SaysThatItWasContained) {
  auto crash = null_read();
  crash.contained = true;
  EXPECT_EQ(crash_record(subject, crash, "").message,
            "SIGSEGV at address 0x0 (address not mapped); contained");
}

TEST(CrashRecord, OfASignalThatAWorkerMadeUpIsStillOne) {
  recorder::Crash crash;
  crash.signal = -5;
  crash.code = 12345;
  EXPECT_EQ(crash_record(subject, crash, "").message, "signal -5 at address 0x0");
}

TEST(CrashRecord, ItsIdIsTheWorkersAndTheSlots) {
  auto crash = null_read();
  const auto first = crash_record(subject, crash, "").id;
  EXPECT_TRUE(base::is_id(first));
  crash.time_ms += 1;
  crash.address = 5;
  EXPECT_EQ(crash_record(subject, crash, "").id, first) << "whatever the worker says";
  crash.slot = 1;
  EXPECT_NE(crash_record(subject, crash, "").id, first);
  EXPECT_NE(crash_record(Subject{"web", 0, 18, 4711, 1}, null_read(), "").id, first);
}

}  // namespace
}  // namespace refork::supervisor
